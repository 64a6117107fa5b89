//! From bytes to a tree: YAML 1.2 or JSON, bounded in size, depth and number of values.
//!
//! A text that begins with `{` is read as strict JSON, any other as YAML with the core schema: `on`, `yes` and `no` are
//! texts. Anchors may be used again, and each use counts as if it were written out, so that a few lines cannot become a
//! gigabyte. Members that stand twice, tags, keys that are not texts, and a second document are refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Number, Value};

use crate::oci::json;

/// Most bytes of a document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// How deep it may be nested.
const DEPTH_MAX: usize = 12;
/// Longest name of a member in bytes: places are made of names, and every value has one.
pub(super) const NAME_BYTES_MAX: usize = 128;
/// Most values in it, those behind aliases counted each time.
const VALUES_MAX: usize = 50_000;
/// Most bytes of its texts and names, those behind aliases counted each time: a value can be as long as the document.
const TEXT_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;

/// A document as a tree.
#[derive(Debug)]
pub(super) struct Tree {
    /// What it says.
    pub(super) value: Value,
    /// Where it says so: lines by places, from 1. Empty for JSON.
    pub(super) lines: HashMap<String, usize>,
}

/// Why there is no tree: the line, if it is known, and the sentence.
pub(super) type Unread = (Option<usize>, String);

/// Reads a document.
pub(super) fn read(bytes: &[u8]) -> Result<Tree, Unread> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err((None, format!("the document is larger than {DOCUMENT_BYTES_MAX} bytes; split what it says")));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|b| *b == b'\n').count();
        (Some(line), "this is not UTF-8; save the file as UTF-8".to_owned())
    })?;
    if text.trim_start().starts_with('{') {
        let value = json::parse(text.trim_start().as_bytes(), DEPTH_MAX).map_err(|error| (None, error.to_string()))?;
        return Ok(Tree { value, lines: HashMap::new() });
    }
    read_yaml(text)
}

/// The place of a member.
pub(super) fn member(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// The place of an element.
pub(super) fn element(place: &str, at: usize) -> String {
    format!("{place}[{at}]")
}

fn read_yaml(text: &str) -> Result<Tree, Unread> {
    let mut builder = Builder::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error: ScanError| (Some(error.marker().line()), error.info().to_owned()))?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        if documents > 1 {
            return Err((Some(span.start.line()), "a second document begins here; write one only".to_owned()));
        }
        builder.take(event, span).map_err(|message| (Some(span.start.line()), message))?;
    }
    Ok(Tree { value: builder.root.unwrap_or_default(), lines: builder.lines })
}

/// A list or a mapping that is not complete.
struct Open {
    place: String,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// Builds the tree from events.
#[derive(Default)]
struct Builder {
    root: Option<Value>,
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    lines: HashMap<String, usize>,
    weight: Weight,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                no_tag(tag.is_some())?;
                if self.wants_key() {
                    return self.take_key(text.into_owned(), span);
                }
                let place = self.next_place();
                self.lines.entry(place).or_insert_with(|| span.start.line());
                let value = if style == ScalarStyle::Plain { plain(&text)? } else { Value::from(text.into_owned()) };
                self.charge(Weight::of(&value))?;
                self.put(value, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                no_tag(tag.is_some())?;
                self.begin(anchor, Items::List(Vec::new()), span)
            }
            Event::MappingStart(anchor, tag) => {
                no_tag(tag.is_some())?;
                self.begin(anchor, Items::Mapping(Map::new(), None), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return Err("an alias cannot be a name here; write the name out".to_owned());
                }
                // An anchor around the alias is not complete, so there is no value and no way to nest without end.
                let known = self.anchors.get(&anchor).map(Weight::of);
                self.charge(known.ok_or("this alias stands inside what it stands for; write it out")?)?;
                self.put(self.anchors.get(&anchor).cloned().unwrap_or_default(), 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    /// Whether the next scalar is the name of a member.
    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { items: Items::Mapping(_, None), .. }))
    }

    fn take_key(&mut self, name: String, span: Span) -> Result<(), String> {
        let Some(Open { place, items: Items::Mapping(members, key), .. }) = self.open.last_mut() else { return Ok(()) };
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("a name has {NAME_BYTES_MAX} bytes at most; `{}` is longer", json::excerpt(&name)));
        }
        if members.contains_key(&name) {
            return Err(format!("`{}` stands here twice; keep one", json::excerpt(&name)));
        }
        self.lines.insert(member(place, &name), span.start.line());
        let weight = Weight { values: 0, bytes: name.len() };
        *key = Some(name);
        self.charge(weight)
    }

    /// Where the next value stands.
    fn next_place(&self) -> String {
        match self.open.last() {
            None => String::new(),
            Some(Open { place, items: Items::List(items), .. }) => element(place, items.len()),
            Some(Open { place, items: Items::Mapping(_, key), .. }) => {
                member(place, key.as_deref().unwrap_or_default())
            }
        }
    }

    fn begin(&mut self, anchor: usize, items: Items, span: Span) -> Result<(), String> {
        if self.wants_key() {
            return Err("a name here is a text, not a list nor a mapping".to_owned());
        }
        if self.open.len() == DEPTH_MAX {
            return Err(format!("this is nested deeper than {DEPTH_MAX} levels"));
        }
        let place = self.next_place();
        self.lines.entry(place.clone()).or_insert_with(|| span.start.line());
        self.open.push(Open { place, anchor, items });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(Open { anchor, items, .. }) = self.open.pop() else { return Ok(()) };
        let value = match items {
            Items::List(items) => Value::from(items),
            Items::Mapping(members, _) => Value::from(members),
        };
        // What stands in it has been counted as it came.
        self.charge(Weight { values: 1, bytes: 0 })?;
        self.put(value, anchor)
    }

    /// Counts what is about to be kept, before memory is spent on it.
    fn charge(&mut self, weight: Weight) -> Result<(), String> {
        self.weight = self.weight.and(weight);
        if self.weight.values > VALUES_MAX {
            return Err(format!("the document has more than {VALUES_MAX} values, aliases written out"));
        }
        if self.weight.bytes > TEXT_BYTES_MAX {
            return Err(format!("the document has more than {TEXT_BYTES_MAX} bytes of texts, aliases written out"));
        }
        Ok(())
    }

    /// Puts a complete value, which has been counted, where it belongs.
    fn put(&mut self, value: Value, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            // The copy is kept, so it counts as one more.
            self.charge(Weight::of(&value))?;
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(value),
            Some(Items::List(items)) => items.push(value),
            Some(Items::Mapping(members, key)) => {
                members.insert(key.take().unwrap_or_default(), value);
            }
        }
        Ok(())
    }
}

fn no_tag(tagged: bool) -> Result<(), String> {
    if tagged { Err("tags such as `!!str` are not read here; put a text in quotes instead".to_owned()) } else { Ok(()) }
}

/// What a value takes of memory.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    /// How many values there are in it, itself included.
    values: usize,
    /// How long its texts and names are together.
    bytes: usize,
}

impl Weight {
    fn of(value: &Value) -> Self {
        let own = |bytes| Self { values: 1, bytes };
        match value {
            Value::String(text) => own(text.len()),
            Value::Array(items) => items.iter().map(Self::of).fold(own(0), Self::and),
            Value::Object(members) => {
                let names = members.keys().map(String::len).sum();
                members.values().map(Self::of).fold(own(names), Self::and)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => own(0),
        }
    }

    fn and(self, other: Self) -> Self {
        Self { values: self.values.saturating_add(other.values), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// A scalar without quotes (YAML 1.2.2, section 10.3.2, the core schema).
fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Ok(Value::from(text));
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let number = whole.parse::<i64>().map(Number::from).or_else(|_| whole.parse::<u64>().map(Number::from));
        return number.map(Value::Number).map_err(|_| "this number is too large; put a text in quotes".to_owned());
    }
    let is_float = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.bytes().any(|b| b.is_ascii_digit());
    let float = is_float.then(|| whole.parse::<f64>().ok().and_then(Number::from_f64)).flatten();
    Ok(float.map_or_else(|| Value::from(text), Value::Number))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        read(text.as_bytes()).expect(text).value
    }

    fn fault(text: &str) -> String {
        let (line, message) = read(text.as_bytes()).expect_err(text);
        format!("{}: {message}", line.unwrap_or(0))
    }

    #[test]
    fn yaml_is_read_with_the_core_schema() {
        let text = "on: [push, 'no', yes]\nn: [1, -2, +3, 1.5, 1e3, 0x10, 1.2.3, 90d]\nt: [true, False, ~, null, '']\n\
            at: 2026-10-01T00:00:00Z\npem: |\n  a\n  b\n";
        let expected = json!({
            "on": ["push", "no", "yes"], "n": [1, -2, 3, 1.5, 1000.0, "0x10", "1.2.3", "90d"],
            "t": [true, false, null, null, ""], "at": "2026-10-01T00:00:00Z", "pem": "a\nb\n",
        });
        assert_eq!(value(text), expected);
        assert_eq!(value(""), Value::Null);
        assert_eq!(value("# nothing"), Value::Null);
    }

    #[test]
    fn lines_are_known() {
        let lines = read(b"a:\n- b: 1\n  c:\n    d\n-\n  - e\n").expect("YAML").lines;
        let line = |place: &str| lines.get(place).copied();
        assert_eq!([line("a"), line("a[0].b"), line("a[0].c"), line("a[1][0]")], [Some(1), Some(2), Some(3), Some(6)]);
    }

    #[test]
    fn json_is_read_strictly() {
        assert_eq!(value(" {\"a\": \"\\ud83d\\ude00\"}"), json!({"a": "😀"}));
        assert!(fault(r#"{"a": 1, "a": 2}"#).contains("twice"));
        assert!(read(b"{a: b}").is_err());
    }

    #[test]
    fn anchors_are_written_out_and_counted() {
        assert_eq!(value("a: &x [1, {b: 2}]\nc: *x\n"), json!({"a": [1, {"b": 2}], "c": [1, {"b": 2}]}));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..20 {
            let uses = vec![format!("*a{}", n - 1); 10].join(", ");
            writeln!(bomb, "a{n}: &a{n} [{uses}]").expect("a String takes any text");
        }
        assert!(fault(&bomb).contains("more than 50000 values"));
        // Few values, and each of them long.
        let long = "x".repeat(1 << 12);
        let uses = |n: usize| format!("a: &x \"{long}\"\nb: [{}]\n", vec!["*x"; n].join(","));
        assert_eq!(value(&uses(1000))["b"][999], json!(long));
        assert!(fault(&uses(1100)).contains("more than 4194304 bytes of texts"));
        let copies = format!("a: &a [&b [&c [&d [&e \"{}\"]]]]\n", "x".repeat(1_000_000));
        assert!(fault(&copies).contains("more than 4194304 bytes of texts"));
        assert!(fault("a: &x [*x]").contains("inside what it stands for"));
        assert!(fault("a: &x b\n*x : c\n").contains("cannot be a name"));
    }

    #[test]
    fn what_nobody_means_is_refused() {
        for (text, expected) in [
            ("a: 1\nb:\n  c: 1\n  c: 2\n", "4: `c` stands here twice"),
            ("a: !!str 5", "1: tags such as"),
            ("a: 1\n---\nb: 2\n", "a second document begins here"),
            ("[a]: 1", "1: a name here is a text"),
            ("a: 99999999999999999999", "1: this number is too large"),
            ("a: [1, 2", "expected ',' or ']'"),
            (&"[".repeat(100), "1: this is nested deeper"),
            (&format!("{}: 1", "a".repeat(200)), "1: a name has 128 bytes at most"),
            (&" ".repeat(DOCUMENT_BYTES_MAX + 1), "0: the document is larger"),
        ] {
            assert!(fault(text).contains(expected), "{}", fault(text));
        }
        assert_eq!(read(b"a: 1\nb: \xff").expect_err("not UTF-8").0, Some(2));
    }

    proptest! {
        #[test]
        fn reading_never_panics(junk: Vec<u8>, near in "[\\[\\]{}&*!:?,#|>'\"%@~a-c0-2. \n\t-]{0,200}") {
            let _ = read(&junk);
            let _ = read(near.as_bytes());
        }

        #[test]
        fn json_says_the_same_as_yaml(names in proptest::collection::btree_map("[a-z]{1,4}", "[ -~]{0,9}", 0..6)) {
            let json = json!({"list": [1, true, null, names]});
            let yaml = format!("# YAML\n{json}");
            prop_assert_eq!(value(&json.to_string()), value(&yaml));
        }
    }
}
