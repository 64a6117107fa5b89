//! What is wrong with a document: where, what, and what to do; all of it at once.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Value, json};

/// Most findings of one severity that are kept; of a document with more faults nobody reads the rest.
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

/// Findings as they are made, in any order. Each severity is bounded by itself, so that no number of warnings hides an error.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Kept,
    warnings: Kept,
    excess: bool,
}

/// Findings of one severity, and how many there were more.
#[derive(Debug, Default)]
struct Kept {
    findings: Vec<Finding>,
    more: usize,
}

impl Findings {
    /// Notes why the document cannot be used.
    pub(super) fn error(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Error, place.into(), message.into());
    }

    /// Notes that there is more of something than is looked at.
    pub(super) fn too_many(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.excess = true;
        self.error(place, message);
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
        let kept = if severity == Severity::Error { &mut self.errors } else { &mut self.warnings };
        if kept.findings.len() < FINDINGS_MAX {
            kept.findings.push(Finding { severity, place, line: None, message });
        } else {
            kept.more += 1;
        }
    }

    /// Whether the document cannot be used.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.findings.is_empty()
    }

    /// Whether there was more of something than is looked at.
    pub(super) fn has_excess(&self) -> bool {
        self.excess
    }

    /// All that were kept with their lines, errors first, then in the order of the document.
    pub(super) fn finish(self, lines: &HashMap<String, usize>) -> Vec<Finding> {
        let mut all = Vec::new();
        for (severity, Kept { mut findings, more }) in
            [(Severity::Error, self.errors), (Severity::Warning, self.warnings)]
        {
            for finding in &mut findings {
                finding.line = nearest_line(lines, &finding.place);
                // What a document says may be anything, and findings are shown on terminals.
                for text in [&mut finding.place, &mut finding.message] {
                    *text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                }
            }
            findings.sort_by(|a, b| (a.line, &a.place).cmp(&(b.line, &b.place)));
            findings.dedup();
            all.append(&mut findings);
            if more > 0 {
                let message = format!("{more} more {}s are not shown; mend these first", severity.as_str());
                all.push(Finding { severity, place: String::new(), line: None, message });
            }
        }
        all
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
