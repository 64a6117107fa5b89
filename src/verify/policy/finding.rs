//! What is wrong with a document: where, what, and what to do; all of it at once.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Value, json};

/// Most findings that are kept; a document with more of them is no document.
const FINDINGS_MAX: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can be used, and probably does not say what was meant.
    Warning,
}

impl Severity {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where, such as `policies[0].authorities[1].key.pem`; empty for the document as a whole.
    pub place: String,
    /// The line it begins at, where the document has lines.
    pub line: Option<usize>,
    /// What is wrong and what to do, in one sentence.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity.as_str())?;
        if !self.place.is_empty() {
            write!(f, "{}", self.place)?;
        }
        match self.line {
            Some(line) if self.place.is_empty() => write!(f, "line {line}: ")?,
            Some(line) => write!(f, " (line {line}): ")?,
            None if self.place.is_empty() => {}
            None => f.write_str(": ")?,
        }
        f.write_str(&self.message)
    }
}

impl Finding {
    /// The finding as programs read it.
    pub fn to_json(&self) -> Value {
        let mut object = json!({ "severity": self.severity.as_str(), "at": self.place, "message": self.message });
        if let Some(line) = self.line {
            object["line"] = Value::from(line);
        }
        object
    }
}

/// Why a document cannot be used, and what else is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Finding>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Findings as they are made, in any order.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Notes why the document cannot be used.
    pub(super) fn error(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Error, place.into(), message.into());
    }

    /// Notes what is odd.
    pub(super) fn warning(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, place.into(), message.into());
    }

    /// The value, or a note of why there is none.
    pub(super) fn take<T>(&mut self, place: &str, made: Result<T, impl fmt::Display>) -> Option<T> {
        made.map_err(|error| self.error(place, error.to_string())).ok()
    }

    fn add(&mut self, severity: Severity, place: String, message: String) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(Finding { severity, place, line: None, message });
        }
    }

    /// Whether the document cannot be used.
    pub(super) fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All of them with their lines, errors first, then in the order of the document.
    pub(super) fn finish(mut self, lines: &HashMap<String, usize>) -> Vec<Finding> {
        for finding in &mut self.0 {
            finding.line = nearest_line(lines, &finding.place);
            // What a document says may be anything, and findings are shown on terminals.
            for text in [&mut finding.place, &mut finding.message] {
                *text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            }
        }
        self.0.sort_by(|a, b| (a.severity, a.line, &a.place).cmp(&(b.severity, b.line, &b.place)));
        self.0.dedup();
        self.0
    }
}

/// The line of a place, or of the nearest one around it.
fn nearest_line(lines: &HashMap<String, usize>, mut place: &str) -> Option<usize> {
    while !place.is_empty() {
        if let Some(line) = lines.get(place) {
            return Some(*line);
        }
        place = &place[..place.rfind(['.', '[']).unwrap_or(0)];
    }
    None
}
