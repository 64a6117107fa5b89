//! Times and sizes as an operator writes them: `"15m"`, `"1h30m"`, `"256MiB"`, `268435456`.
//!
//! What is read is what is printed back: both types are written in the largest unit that holds them exactly.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, such as `"24h"`, `"90s"` or `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A length of time after which something happens, or `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanOrNever(pub Option<Duration>);

/// A number of bytes: an integer, or a text such as `"256MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The address of a database. Its password is never printed: not by `config show`, not by an error, not for debugging.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

/// Why a text is no time or no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a time.
    #[error("`{0}` is not a time; write it like \"24h\", \"15m\", \"90s\" or \"500ms\"")]
    Span(String),
    /// Neither a time nor `never`.
    #[error("`{0}` is not a time; write it like \"7d\" or \"24h\", or \"never\"")]
    SpanOrNever(String),
    /// Not a size.
    #[error("`{0}` is not a size; write it like 268435456 or \"256MiB\"")]
    Size(String),
}

/// What the schema of a [`Span`] gives as its format.
pub(super) const TIME_FORMAT: &str = "time-span";

/// How a time that never comes is written.
const NEVER: &str = "never";

/// Units of time in milliseconds, largest first.
const SPAN_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes; the binary ones, largest first, are those that are printed.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Span(text.to_owned());
        let mut rest = text.trim();
        let mut total = (!rest.is_empty()).then_some(0_u64).ok_or_else(error)?;
        while !rest.is_empty() {
            let (number, behind) = split_number(rest);
            let (unit, next) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
            let millis = SPAN_UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(error)?.1;
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).ok_or_else(error)?;
            total = total.checked_add(part).ok_or_else(error)?;
            rest = next;
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // Days are understood, hours are what people compare: 24h, not 1d.
        for (unit, millis) in &SPAN_UNITS[1..] {
            if rest >= *millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl FromStr for SpanOrNever {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.trim() == NEVER {
            return Ok(Self(None));
        }
        text.parse::<Span>().map(|span| Self(Some(span.0))).map_err(|_| UnitError::SpanOrNever(text.to_owned()))
    }
}

impl fmt::Display for SpanOrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str(NEVER),
            Some(span) => Span(span).fmt(f),
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Size(text.to_owned());
        let (number, unit) = split_number(text.trim());
        let scale = match unit.trim() {
            "" => 1,
            unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1,
        };
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS[..4].iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"15m\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": TIME_FORMAT, "pattern": "^([0-9]+(d|h|m|s|ms))+$" })
    }
}

impl<'de> Deserialize<'de> for SpanOrNever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for SpanOrNever {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for SpanOrNever {
    fn schema_name() -> Cow<'static, str> {
        "SpanOrNever".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": TIME_FORMAT, "pattern": "^(never|([0-9]+(d|h|m|s|ms))+)$" })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes such as 268435456 or \"256MiB\"")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(Size).map_err(|_| E::custom(UnitError::Size(number.to_string())))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Size, E> {
                Ok(Size(number))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ ?([KMGT]iB|[kMGT]?B)?$" })
    }
}

impl DatabaseUrl {
    /// The whole address, with its password; for the driver only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    /// With `***` in place of the password (RFC 3986, section 3.2.1, and the `password` parameter).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => format!("{user}:***@{host}"),
                None => format!("{user}@{host}"),
            },
            None => authority.to_owned(),
        };
        let separator = if scheme.is_empty() { "" } else { "://" };
        write!(f, "{scheme}{separator}{authority}")?;
        let Some((path, query)) = behind.split_once('?') else { return f.write_str(behind) };
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=***"),
            _ => parameter.to_owned(),
        });
        write!(f, "{path}?{}", parameters.collect::<Vec<_>>().join("&"))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number that is at least one, for `#[serde(deserialize_with)]`.
pub(super) fn positive<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    let number = T::deserialize(deserializer)?;
    if number == T::default() { Err(D::Error::custom("it must be at least 1")) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_any_unit_and_printed_in_the_largest() {
        let cases =
            [("24h", "24h"), ("90s", "1m30s"), ("1h30m", "1h30m"), ("1d", "24h"), ("500ms", "500ms"), ("0s", "0s")];
        for (text, printed) in cases {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), printed);
        }
        for bad in ["", "15", "m", "15 minutes", "-1s", "99999999999999999999h", "1.5h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn never_is_a_time_that_does_not_come() {
        for (text, expected) in [("never", None), ("7d", Some(Duration::from_hours(168)))] {
            let read: SpanOrNever = text.parse().expect(text);
            assert_eq!(read.0, expected);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        assert_eq!("soon".parse::<SpanOrNever>(), Err(UnitError::SpanOrNever("soon".to_owned())));
    }

    #[test]
    fn sizes_are_read_in_any_unit_and_printed_in_the_largest() {
        let cases = [("268435456", "256MiB"), ("256MiB", "256MiB"), ("1kB", "1000"), ("3 GiB", "3GiB"), ("0", "0")];
        for (text, printed) in cases {
            assert_eq!(text.parse::<Size>().expect(text).to_string(), printed);
        }
        for bad in ["", "MiB", "-1", "1.5GiB", "1mib", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let cases = [
            ("postgres://u:secret@host:5432/db", "postgres://u:***@host:5432/db"),
            ("postgres://u:se@cret@host/db", "postgres://u:***@host/db"),
            ("postgres://u@host/db?sslmode=require", "postgres://u@host/db?sslmode=require"),
            ("postgres://host/db?password=secret&x=1", "postgres://host/db?password=***&x=1"),
            ("postgres://u:secret@/db?host=/run/postgresql", "postgres://u:***@/db?host=/run/postgresql"),
            ("u:secret@host", "u:***@host"),
        ];
        for (url, printed) in cases {
            let url = DatabaseUrl(url.to_owned());
            assert_eq!((url.to_string(), format!("{url:?}")), (printed.to_owned(), printed.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0..u64::MAX, bytes: u64) {
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
        }
    }
}
