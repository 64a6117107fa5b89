//! Strict JSON (RFC 8259 within the bounds of RFC 7493, I-JSON), as image-spec wants it for manifests.
//!
//! UTF-8, no member twice in one object however it is spelled, nothing behind the value, and limits on depth and on the
//! number of values, both checked before memory or stack is spent on them.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most values (members, elements, scalars) in one document: a short text must not become a large tree.
pub const JSON_VALUES_MAX: usize = 1 << 18;

/// Why a text is not the JSON that is wanted here; says line and column.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It has not the form.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// It has more values than are read.
    #[error("{0}")]
    Values(serde_json::Error),
}

/// Reads a document whose arrays and objects are nested at most `depth_max` deep (and never deeper than 127).
pub fn parse(payload: &[u8], depth_max: usize) -> Result<Value, JsonError> {
    parse_long(payload, depth_max, JSON_VALUES_MAX)
}

/// The same with another limit on the number of values.
pub fn parse_long(payload: &[u8], depth_max: usize, values_max: usize) -> Result<Value, JsonError> {
    let values_left = Cell::new(Some(values_max));
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let value = Strict { depth_left: depth_max, values_left: &values_left }.deserialize(&mut deserializer);
    let value = value.map_err(|error| match values_left.get() {
        Some(_) => JsonError::Form(error),
        None => JsonError::Values(error),
    })?;
    deserializer.end()?;
    Ok(value)
}

/// `text` cut to a length that fits into a message.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// Builds a [`Value`] under the limits that are left.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: usize,
    /// `None`, once there was one too many.
    values_left: &'a Cell<Option<usize>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.values_left.get().and_then(|left| left.checked_sub(1));
        self.values_left.set(left);
        if left.is_none() {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!("member `{}` is there twice", excerpt(&key))));
            }
            let value = map.next_value_seed(inner)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fault(text: &[u8]) -> String {
        parse(text, 64).expect_err("not strict JSON").to_string()
    }

    #[test]
    fn ordinary_documents_are_read() {
        let text = br#" {"a": [1, -2, 0.5, "\u00fc\ud83d\ude00", true, null, {}], "b": {"a": 1}} "#;
        assert_eq!(parse(text, 3).expect("JSON"), json!({"a": [1, -2, 0.5, "ü😀", true, null, {}], "b": {"a": 1}}));
    }

    #[test]
    fn members_stand_once_however_they_are_spelled() {
        assert!(fault(br#"{"a":1,"a":1}"#).contains("`a` is there twice"));
        assert!(fault(br#"{"a":1,"\u0061":2}"#).contains("`a` is there twice"));
        assert!(fault(br#"{"x":[{"b":{"c":1,"c":2}}]}"#).contains("`c` is there twice"));
    }

    #[test]
    fn nothing_stands_behind_the_value() {
        for text in [&b"{} {}"[..], b"{}x", b"[1],", b"{}\0", b"1 2"] {
            assert!(parse(text, 64).is_err(), "{}", text.escape_ascii());
        }
        assert!(parse(b"{} \n\t\r", 64).is_ok());
    }

    #[test]
    fn only_utf8_without_lone_surrogates() {
        for text in
            [&b"{\"a\":\"\xff\"}"[..], b"{\"\xc3\":1}", br#"{"a":"\ud800"}"#, b"\xef\xbb\xbf{}", b"{\"a\":\"\n\"}"]
        {
            assert!(parse(text, 64).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn depth_is_limited_before_the_stack_is() {
        let nested = |n: usize| [b"[".repeat(n), b"]".repeat(n)].concat();
        assert!(parse(&nested(64), 64).is_ok());
        assert!(fault(&nested(65)).contains("too deeply"));
        assert!(parse(&b"[".repeat(1 << 22), usize::MAX).is_err());
        assert!(parse(&b"{\"a\":".repeat(1 << 20), usize::MAX).is_err());
    }

    #[test]
    fn the_number_of_values_is_limited() {
        let array = |n: usize| format!("[{}]", vec!["0"; n].join(",")).into_bytes();
        assert!(parse(&array(JSON_VALUES_MAX - 1), 64).is_ok());
        assert!(fault(&array(JSON_VALUES_MAX)).contains("too many values"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(parse(b"1e999", 64).is_err());
        assert!(parse(b"NaN", 64).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn parse_and_render_are_inverse(value in value()) {
            prop_assert_eq!(parse(value.to_string().as_bytes(), 64).expect("own text"), value);
        }

        #[test]
        fn parsing_never_panics(junk: Vec<u8>, near in r#"[\[\]{}",:0-9a-e\\ .-]{0,60}"#) {
            let _ = parse(&junk, 8);
            let _ = parse(near.as_bytes(), 8);
        }

        #[test]
        fn excerpts_are_short(text in ".*") {
            prop_assert!(excerpt(&text).chars().count() <= 83);
        }
    }
}
