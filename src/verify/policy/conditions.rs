//! What has to hold for the predicate of an attestation.

use std::fmt;

use serde_json::Value;

use super::pattern::Pattern;
use super::reading::Reading;
use super::shape::{Node, listed};
use crate::oci::json::excerpt;

/// A place in a predicate, and what has to be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// A JSON pointer (RFC 6901); empty for the whole predicate.
    pointer: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equals(Value),
    In(Vec<Value>),
    Contains(Value),
    Matches(Pattern),
    AtMost(f64),
    Exists(bool),
}

/// The names of the tests in a document.
const TESTS: [&str; 6] = ["equals", "in", "contains", "matches", "atMost", "exists"];

impl Condition {
    pub(super) fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let pointer = node.field("pointer").and_then(|at| read_pointer(&at, cx));
        let given: Vec<_> = TESTS.into_iter().filter_map(|name| Some((name, node.field(name)?))).collect();
        let [(name, at)] = given.as_slice() else {
            let what = if given.is_empty() { "says nothing" } else { "says several things" };
            cx.findings.error(&node.place, format!("this condition {what}; it needs one of {}", listed(&TESTS)));
            return None;
        };
        let test = match *name {
            "equals" => Test::Equals(at.value().clone()),
            "in" => Test::In(at.value().as_array()?.clone()),
            "contains" => Test::Contains(at.value().clone()),
            "matches" => Test::Matches(cx.pattern(at)?),
            "atMost" => Test::AtMost(at.value().as_f64()?),
            _ => Test::Exists(at.value().as_bool()?),
        };
        Some(Self { pointer: pointer?, test })
    }

    /// Whether it holds for a predicate; else what is there instead, as a sentence.
    pub fn holds(&self, predicate: &Value) -> Result<(), String> {
        let found = predicate.pointer(&self.pointer);
        let holds = match (&self.test, found) {
            (Test::Exists(wanted), found) => found.is_some() == *wanted,
            (_, None) => false,
            (Test::Equals(wanted), Some(found)) => same(found, wanted),
            (Test::In(wanted), Some(found)) => wanted.iter().any(|wanted| same(found, wanted)),
            (Test::Contains(wanted), Some(found)) => {
                found.as_array().is_some_and(|items| items.iter().any(|item| same(item, wanted)))
            }
            (Test::Matches(pattern), Some(found)) => found.as_str().is_some_and(|text| pattern.matches(text)),
            (Test::AtMost(most), Some(found)) => found.as_f64().is_some_and(|number| number <= *most),
        };
        if holds {
            return Ok(());
        }
        let found = found.map_or_else(|| "nothing".to_owned(), |found| excerpt(&found.to_string()));
        Err(format!("{} is {found}, and has to be {}", Pointer(&self.pointer), self.test))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", Pointer(&self.pointer), self.test)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(value) => write!(f, "{}", excerpt(&value.to_string())),
            Self::In(values) => write!(f, "one of {}", excerpt(&Value::from(values.clone()).to_string())),
            Self::Contains(value) => write!(f, "a list with {}", excerpt(&value.to_string())),
            Self::Matches(pattern) => write!(f, "a text that matches {}", excerpt(pattern.as_str())),
            Self::AtMost(most) => write!(f, "{most} at most"),
            Self::Exists(true) => f.write_str("there"),
            Self::Exists(false) => f.write_str("missing"),
        }
    }
}

/// A pointer as sentences show it.
struct Pointer<'a>(&'a str);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "the predicate" } else { self.0 })
    }
}

/// Whether both are the same; a number is the same number however it is written.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn read_pointer(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<String> {
    let text = node.text()?;
    // RFC 6901, section 3: `~` stands only before `0` or `1`.
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if escapes && text.starts_with('/') {
        return Some(text.to_owned());
    }
    let message = format!(
        "`{}` is not a JSON pointer; write it like `/buildDefinition/buildType`, with `~1` for a slash in a name and `~0` for \
         a tilde",
        excerpt(text)
    );
    cx.findings.error(&node.place, message);
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(value: &Value) -> Result<Condition, String> {
        let none = |_: &str| Err("no files".to_owned());
        let mut cx = Reading::new(&none);
        let read = Condition::read(&Node::root(value), &mut cx);
        let findings = cx.findings.finish(&std::collections::HashMap::new());
        read.ok_or_else(|| findings[0].to_string())
    }

    #[test]
    fn conditions_look_at_one_place() {
        let predicate = json!({
            "type": "x", "n": 3, "half": 0.5, "whole": 3.0, "yes": true, "list": ["a", 1], "a/b": {"~": null}, "deep": [{"k": "v"}],
        });
        for (text, expected) in [
            (json!({"pointer": "/type", "equals": "x"}), true),
            (json!({"pointer": "/type", "equals": "X"}), false),
            (json!({"pointer": "/n", "equals": 3}), true),
            (json!({"pointer": "/n", "equals": "3"}), false),
            (json!({"pointer": "/whole", "equals": 3}), true),
            (json!({"pointer": "/yes", "equals": true}), true),
            (json!({"pointer": "/none", "equals": "x"}), false),
            (json!({"pointer": "/type", "in": ["y", "x"]}), true),
            (json!({"pointer": "/type", "in": ["y"]}), false),
            (json!({"pointer": "/list", "contains": 1}), true),
            (json!({"pointer": "/list", "contains": "b"}), false),
            (json!({"pointer": "/type", "contains": "x"}), false),
            (json!({"pointer": "/type", "matches": "[w-z]"}), true),
            (json!({"pointer": "/type", "matches": ""}), false),
            (json!({"pointer": "/n", "matches": "3"}), false),
            (json!({"pointer": "/n", "atMost": 3}), true),
            (json!({"pointer": "/half", "atMost": 0.4}), false),
            (json!({"pointer": "/type", "atMost": 9}), false),
            (json!({"pointer": "/none", "atMost": 9}), false),
            (json!({"pointer": "/a~1b/~0", "exists": true}), true),
            (json!({"pointer": "/none", "exists": false}), true),
            (json!({"pointer": "/n", "exists": false}), false),
            (json!({"pointer": "/deep/0/k", "equals": "v"}), true),
            (json!({"pointer": "/deep/00/k", "equals": "v"}), false),
        ] {
            assert_eq!(condition(&text).expect("a condition").holds(&predicate).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_there_instead_is_said() {
        let wanted = condition(&json!({"pointer": "/a", "in": [1, "b"]})).expect("a condition");
        assert_eq!(wanted.holds(&json!({"a": [2]})), Err(r#"/a is [2], and has to be one of [1,"b"]"#.to_owned()));
        assert_eq!(wanted.holds(&json!(5)), Err(r#"/a is nothing, and has to be one of [1,"b"]"#.to_owned()));
    }

    #[test]
    fn a_condition_says_one_thing_of_one_place() {
        for (text, expected) in [
            (json!({"pointer": "/a"}), "says nothing"),
            (json!({"pointer": "/a", "equals": 1, "exists": true}), "says several things"),
            (json!({"pointer": "a", "equals": 1}), "is not a JSON pointer"),
            (json!({"pointer": "/a~2", "equals": 1}), "is not a JSON pointer"),
            (json!({"pointer": "/a", "matches": "["}), "not a regular expression"),
        ] {
            let fault = condition(&text).expect_err("no condition");
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
