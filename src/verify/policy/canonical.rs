//! One text for everything that says the same: the revision of a document is its digest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::oci::digest::{Algorithm, Digest};

/// The revision of a document and of the files that it names, in lower-case hexadecimal.
///
/// It stays the same under another order of members, other spaces, comments, quotes or aliases, JSON instead of YAML, and
/// `null` instead of nothing; it changes with anything else, and with the bytes of any file.
pub(super) fn revision(document: &Value, files: &BTreeMap<String, Digest>) -> String {
    let mut text = String::from("{\"document\":");
    write(document, &mut text);
    text.push_str(",\"files\":{");
    for (at, (name, digest)) in files.iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        write!(text, "{separator}{}:\"{digest}\"", Value::from(name.as_str())).expect("a String takes any text");
    }
    text.push_str("}}");
    Digest::of(Algorithm::Sha256, text.as_bytes()).hex()
}

/// Members in the order of their names, without spaces and without those that are `null`.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            let sorted: BTreeMap<_, _> = members.iter().filter(|(_, value)| !value.is_null()).collect();
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                let separator = if at == 0 { "" } else { "," };
                write!(text, "{separator}{}:", Value::from(name.as_str())).expect("a String takes any text");
                write(value, text);
            }
            text.push('}');
        }
        scalar => write!(text, "{scalar}").expect("a String takes any text"),
    }
}
