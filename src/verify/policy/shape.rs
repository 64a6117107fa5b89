//! What a document may hold, as tables: from them come the check of its form, its JSON Schema and its reference page.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::finding::Findings;
use super::text::{DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, element, member};
use crate::oci::json::excerpt;

/// The form of a value.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text that is not empty.
    Text,
    /// What a file holds, as a text: as long as the document may be.
    File,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number from 1 to 1000.
    Count,
    /// A number.
    Number,
    /// `true` or `false`.
    Truth,
    /// A text, a number, `true` or `false`.
    Scalar,
    /// A list.
    List {
        /// The form of each element.
        of: &'static Shape,
        /// Fewest elements.
        least: usize,
        /// Most elements.
        most: usize,
    },
    /// A mapping with these members and no others.
    Table(&'static [Field]),
    /// A mapping with names of the writer's choice.
    Names(&'static Shape),
    /// The first where it is a text, else the second.
    Either(&'static Shape, &'static Shape),
}

/// A member of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// Its form.
    pub(super) shape: Shape,
    /// Whether it has to be there; what it is when it is not.
    pub(super) presence: Presence,
    /// What it means, as a sentence.
    pub(super) about: &'static str,
}

/// Whether a member has to be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence {
    /// It has to.
    Needed,
    /// It may be missing.
    Optional,
    /// It is this JSON when it is missing.
    Default(&'static str),
}

/// Most entries of a mapping with free names, and largest count.
const NAMES_MAX: usize = 64;
const COUNT_MAX: u64 = 1000;
/// Longest text in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Most words that a message lists: those of a document are many, and are listed once for each fault.
const LISTED_MAX: usize = 20;

/// Notes everything in `value` that has not its form. What `null` stands for is what is missing.
pub(super) fn check(shape: &Shape, value: &Value, place: &str, findings: &mut Findings) {
    match (shape, value) {
        (Shape::Either(word, _), Value::String(_)) => check(word, value, place, findings),
        (Shape::Either(_, other), _) => check(other, value, place, findings),
        (Shape::Text | Shape::Scalar, Value::String(text)) => check_text(text, TEXT_BYTES_MAX, place, findings),
        (Shape::File, Value::String(text)) => check_text(text, DOCUMENT_BYTES_MAX, place, findings),
        (Shape::Word(words), Value::String(text)) if !words.contains(&text.as_str()) => {
            findings.error(place, format!("`{}` is none of {}", excerpt(text), listed(words)));
        }
        (Shape::Count, Value::Number(number)) if number.as_u64().is_some_and(|n| (1..=COUNT_MAX).contains(&n)) => {}
        (Shape::List { of, least, most }, Value::Array(items)) => {
            check_length(items.len(), *least, *most, place, findings);
            // What is beyond the limit is not looked at: it may be without end.
            for (at, item) in items.iter().take(*most).enumerate() {
                check(of, item, &element(place, at), findings);
            }
        }
        (Shape::Table(fields), Value::Object(members)) => check_table(fields, members, place, findings),
        (Shape::Names(of), Value::Object(members)) => {
            check_length(members.len(), 0, NAMES_MAX, place, findings);
            for (name, value) in members.iter().take(NAMES_MAX) {
                if name.is_empty() || name.len() > NAME_BYTES_MAX {
                    findings
                        .error(place, format!("a name here has 1 to {NAME_BYTES_MAX} bytes, not `{}`", excerpt(name)));
                } else {
                    check(of, value, &member(place, name), findings);
                }
            }
        }
        (Shape::Word(_), Value::String(_))
        | (Shape::Number | Shape::Scalar, Value::Number(_))
        | (Shape::Truth | Shape::Scalar, Value::Bool(_)) => {}
        _ => findings.error(place, format!("this is {}, and has to be {}", kind(value), wanted(shape))),
    }
}

fn check_text(text: &str, most: usize, place: &str, findings: &mut Findings) {
    if text.is_empty() {
        findings.error(place, "this is empty; say something, or leave it out");
    } else if text.len() > most {
        findings.error(place, format!("this is longer than {most} bytes"));
    }
}

fn check_length(length: usize, least: usize, most: usize, place: &str, findings: &mut Findings) {
    if length < least {
        findings.error(place, "this is empty; it needs at least one entry");
    } else if length > most {
        findings.too_many(place, format!("there are {length} entries here, and {most} at most may be"));
    }
}

fn check_table(fields: &[Field], members: &Map<String, Value>, place: &str, findings: &mut Findings) {
    for (name, value) in members {
        match fields.iter().find(|field| field.name == name) {
            Some(field) if value.is_null() && !matches!(field.presence, Presence::Needed) => {}
            Some(field) => check(&field.shape, value, &member(place, name), findings),
            None => findings.error(member(place, &excerpt(name)), unknown(fields, name)),
        }
    }
    for field in fields.iter().filter(|field| matches!(field.presence, Presence::Needed)) {
        if !members.contains_key(field.name) {
            findings.error(place, format!("`{}` is missing: {}", field.name, field.about));
        }
    }
}

fn unknown(fields: &[Field], name: &str) -> String {
    let likeness = |field: &&Field| strsim::jaro_winkler(&field.name.to_lowercase(), &name.to_lowercase());
    let nearest =
        fields.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|field| likeness(field) > 0.8);
    let hint = if let Some(field) = nearest {
        format!("did you mean `{}`?", field.name)
    } else {
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        format!("there are {}", listed(&names))
    };
    format!("nothing is called `{}` here; {hint}", excerpt(name))
}

/// `a, b and c`, or the first of them and how many there are besides.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().take(LISTED_MAX).map(|word| format!("`{}`", excerpt(word))).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        all if words.len() > all.len() => format!("{} and {} more", all.join(", "), words.len() - all.len()),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::File => "a text (in quotes, where it looks like something else)".to_owned(),
        Shape::Word(words) => format!("one of {}", listed(words)),
        Shape::Count => format!("a whole number from 1 to {COUNT_MAX}"),
        Shape::Number => "a number".to_owned(),
        Shape::Truth => "true or false".to_owned(),
        Shape::Scalar => "a text, a number, true or false".to_owned(),
        Shape::List { .. } => "a list".to_owned(),
        Shape::Table(fields) => {
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            format!("a mapping with {}", listed(&names))
        }
        Shape::Names(_) => "a mapping".to_owned(),
        Shape::Either(first, second) => format!("{}, or {}", wanted(first), wanted(second)),
    }
}

/// The JSON Schema (2020-12) of a form.
pub(super) fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::File => json!({ "type": "string", "minLength": 1 }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Count => json!({ "type": "integer", "minimum": 1, "maximum": COUNT_MAX }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Truth => json!({ "type": "boolean" }),
        Shape::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Shape::List { of, least, most } => {
            json!({ "type": "array", "items": schema(of), "minItems": least, "maxItems": most })
        }
        Shape::Names(of) => {
            json!({ "type": "object", "additionalProperties": schema(of), "maxProperties": NAMES_MAX })
        }
        Shape::Either(first, second) => json!({ "anyOf": [schema(first), schema(second)] }),
        Shape::Table(fields) => table_schema(fields),
    }
}

fn table_schema(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let mut property = schema(&field.shape);
        property["description"] = Value::from(field.about);
        match field.presence {
            Presence::Needed => required.push(field.name),
            Presence::Optional => property = nullable(property),
            Presence::Default(text) => {
                property = nullable(property);
                property["default"] = serde_json::from_str(text).unwrap_or(Value::Null);
            }
        }
        properties.insert(field.name.to_owned(), property);
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The same, or `null`.
fn nullable(mut schema: Value) -> Value {
    let description = schema.as_object_mut().and_then(|members| members.remove("description"));
    let mut forms = match schema.get_mut("anyOf").map(Value::take) {
        Some(Value::Array(forms)) => forms,
        _ => vec![schema],
    };
    forms.push(json!({ "type": "null" }));
    json!({ "anyOf": forms, "description": description })
}

/// Rows of the reference: every member below a form, with its path.
pub(super) fn reference(shape: &Shape, path: &str, rows: &mut String) {
    match shape {
        Shape::Table(fields) => {
            for field in *fields {
                let path = member(path, field.name);
                let default = match field.presence {
                    Presence::Needed => "needed".to_owned(),
                    Presence::Optional => "–".to_owned(),
                    Presence::Default(text) => format!("`{text}`"),
                };
                let form = form(&field.shape);
                writeln!(rows, "| `{path}` | {form} | {default} | {} |", field.about).expect("a String takes any text");
                reference(&field.shape, &path, rows);
            }
        }
        Shape::List { of, .. } => reference(of, &format!("{path}[]"), rows),
        Shape::Names(of) => reference(of, &member(path, "*"), rows),
        _ => {}
    }
}

fn form(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::File => "text".to_owned(),
        Shape::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Count => "whole number".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Truth => "truth".to_owned(),
        Shape::Scalar => "text, number or truth".to_owned(),
        Shape::List { of, .. } => format!("list of: {}", form(of)),
        Shape::Table(_) | Shape::Names(_) => "mapping".to_owned(),
        Shape::Either(first, second) => format!("{}; or {}", form(first), form(second)),
    }
}

/// A value of a document whose form was noted, right or wrong, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    /// Where it stands.
    pub(super) place: String,
}

impl<'a> Node<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, place: String::new() }
    }

    /// A member that is there and not `null`.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self { value, place: member(&self.place, name) })
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The value as it is.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// The elements of a list; none of anything else.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let node = |(at, value)| Self { value, place: element(&self.place, at) };
        items.iter().enumerate().map(node).collect()
    }

    /// The members of a mapping; none of anything else.
    pub(super) fn members(&self) -> Vec<(&'a str, Self)> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(name, value)| (name.as_str(), Self { value, place: member(&self.place, name) })).collect()
    }

    /// The text of a member.
    pub(super) fn text_of(&self, name: &str) -> Option<&'a str> {
        self.value.get(name)?.as_str()
    }

    /// The elements of a member that is a list.
    pub(super) fn items_of(&self, name: &str) -> Vec<Self> {
        self.field(name).map(|node| node.items()).unwrap_or_default()
    }

    /// The members of a member that is a mapping, with their texts.
    pub(super) fn texts_of(&self, name: &str) -> Vec<(String, String)> {
        let members = self.field(name).map(|node| node.members()).unwrap_or_default();
        members.iter().filter_map(|(name, node)| Some(((*name).to_owned(), node.text()?.to_owned()))).collect()
    }
}
