//! Strict JSON for what is signed, and for what comes along with a signature.
//!
//! Go reads the names of members without regard to case and lets the last one win, other languages differ; a text that two
//! verifiers can read as two things is refused here. No member twice in any spelling, nothing behind the value, no byte
//! order mark, and no member that the reader does not know where the type says so.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;
use super::limits::JSON_DEPTH_MAX;
use crate::oci::json::{self, JSON_VALUES_MAX, JsonError};

/// Reads a text in which no object has two members whose names differ in case only.
///
/// # Errors
/// `malformed` with the place, which begins with `what`; `limit_exceeded` for more values than manifests may have.
pub(super) fn strict(text: &[u8], what: &str) -> Result<Value, Failure> {
    let value = exact(text, JSON_VALUES_MAX, what)?;
    unambiguous(&value, what)?;
    Ok(value)
}

/// Reads a text in which no object has two members with one name. Names that differ in case pass: the predicates of
/// attestations hold maps of other people's names, such as environment variables.
///
/// # Errors
/// `malformed` with the place, which begins with `what`; `limit_exceeded` for more than `values_max` values.
pub(super) fn exact(text: &[u8], values_max: usize, what: &str) -> Result<Value, Failure> {
    json::parse_long(text, JSON_DEPTH_MAX, values_max).map_err(|error| match error {
        JsonError::Form(error) => Failure::malformed(format!("{what} is not strict JSON: {error}")),
        JsonError::Values(error) => Failure::limit(format!("{what} has more than {values_max} values: {error}")),
    })
}

/// Reads a text into a type, under the rules of [`strict`].
///
/// # Errors
/// `malformed` with the place, which begins with `what`.
pub(super) fn read<T: DeserializeOwned>(text: &[u8], what: &str) -> Result<T, Failure> {
    typed(strict(text, what)?, what)
}

/// Reads a value into a type.
///
/// # Errors
/// `malformed` with the place, which begins with `what`.
pub(super) fn typed<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::malformed(format!("{what}: {error}")))
}

/// Checks that no object in `value` has two members whose names differ in case only.
///
/// # Errors
/// `malformed` with the place, which begins with `what`.
pub(super) fn unambiguous(value: &Value, what: &str) -> Result<(), Failure> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| unambiguous(item, what)),
        Value::Object(members) => {
            let mut seen = HashSet::with_capacity(members.len());
            for (name, inner) in members {
                if !seen.insert(folded(name)) {
                    let name = json::excerpt(name);
                    return Err(Failure::malformed(format!(
                        "{what}: two members are called `{name}` but for their case"
                    )));
                }
                unambiguous(inner, what)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A name as Go's decoder compares it: by simple folding, which also takes `ſ` for `s` and the Kelvin sign for `k`.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::verdict::ReasonCode;

    fn fault(text: &str) -> String {
        let failure = strict(text.as_bytes(), "the text").expect_err("not strict");
        assert_eq!(failure.code, ReasonCode::Malformed);
        failure.message
    }

    #[test]
    fn names_differ_in_more_than_their_case() {
        for text in [
            r#"{"digest":1,"Digest":2}"#,
            r#"{"a":[{"b":{"Image":1,"iMAGE":2}}]}"#,
            "{\"sig\":1,\"\u{17f}ig\":2}",
            "{\"key\":1,\"\u{212a}ey\":2}",
            r#"{"stra\u00dfe":1,"STRASSE":2}"#,
        ] {
            assert!(fault(text).contains("but for their case"), "{text}");
            assert!(exact(text.as_bytes(), JSON_VALUES_MAX, "the text").is_ok(), "{text}");
        }
        assert!(strict(br#"{"a":{"b":1},"c":{"b":1}}"#, "the text").is_ok());
    }

    #[test]
    fn nothing_stands_twice_or_around_the_value() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "{} {}", "{}x", "\u{feff}{}", "", "{\"a\":1,}"] {
            assert!(fault(text).contains("not strict JSON"), "{text}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(strict(nested(JSON_DEPTH_MAX).as_bytes(), "the text").is_ok());
        assert!(strict(nested(JSON_DEPTH_MAX + 1).as_bytes(), "the text").is_err());
        assert!(strict("[".repeat(1 << 20).as_bytes(), "the text").is_err());
    }
}
