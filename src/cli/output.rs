//! How verbs print numbers and texts: for people, or one JSON object a line for programs.

use std::fmt::Display;

use clap::ValueEnum;

use super::print;

/// For whom to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Prints one line: the text, or the object.
    pub(super) fn line(self, text: impl FnOnce() -> String, object: impl FnOnce() -> serde_json::Value) {
        match self {
            Self::Text => print(format_args!("{}\n", text())),
            Self::Json => print(format_args!("{}\n", escaped(&object().to_string()))),
        }
    }
}

/// A text of others for a terminal: what would move the cursor, or turn the order of letters around, is a question mark.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_direction(c) { '?' } else { c }).collect()
}

/// JSON, in which the same is escaped (RFC 8259, section 7): outside of texts it has none of it.
fn escaped(json: &str) -> String {
    let escape = |c: char| match c {
        c if c.is_control() || is_direction(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json.chars().map(escape).collect()
}

/// What says in which direction to write (Unicode, UAX #9).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes with three digits, such as `1.25 GiB`.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Hundredths in whole numbers, so that nothing is rounded up into the next unit.
    let (mut hundredths, mut unit) = (u128::from(bytes) * 100 / 1024, 0);
    while hundredths >= 102_400 && unit + 1 < UNITS.len() {
        hundredths /= 1024;
        unit += 1;
    }
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{rest:02} {}", UNITS[unit]),
        10..100 => format!("{whole}.{} {}", rest / 10, UNITS[unit]),
        _ => format!("{whole} {}", UNITS[unit]),
    }
}

/// `1 blob`, `2 blobs`.
pub(super) fn count(number: u64, noun: impl Display) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_move_nothing() {
        assert_eq!(plain("a\tb\u{7f}\u{202e}c\u{2067}"), "a?b??c?");
        assert_eq!(plain("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn json_of_others_moves_nothing_and_says_the_same() {
        let value = serde_json::json!({"a": "\u{1b}[2J\u{7f}\u{9b}\u{202e}x", "b": "Grüße"});
        let written = escaped(&value.to_string());
        assert!(written.chars().all(|c| plain(&c.to_string()) == c.to_string()), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).expect("JSON"), value);
    }

    #[test]
    fn bytes_are_written_with_three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (20 << 20, "20.0 MiB"),
            ((1 << 30) - 1, "1023 MiB"),
            (u64::MAX, "16383 PiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
        assert_eq!((count(1, "blob"), count(0, "blob")), ("1 blob".to_owned(), "0 blobs".to_owned()));
    }
}
