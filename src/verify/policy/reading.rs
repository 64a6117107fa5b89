//! What stays at hand while a document is read: the findings so far, the roots by name, the files that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::finding::Findings;
use super::pattern::{Pattern, PatternError, Wanted};
use super::shape::{Node, listed};
use crate::clock::Timestamp;
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::json::excerpt;
use crate::oci::name::{POLICY_NAME_BYTES_MAX, PolicyName};
use crate::verify::roots::Root;

/// Gives the bytes of a file that a document names, relative to it; or says why it cannot.
pub type Files<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// Most expressions of one document, each of which takes memory.
const PATTERNS_MAX: usize = 500;
/// Most files that one document names.
const FILES_MAX: usize = 256;

/// What stays at hand.
pub(super) struct Reading<'a> {
    /// What is wrong so far.
    pub(super) findings: Findings,
    /// Files that were read, and what they held.
    pub(super) seen: BTreeMap<String, Digest>,
    /// Roots that an authority asked for.
    used: BTreeSet<String>,
    roots: BTreeMap<String, Option<Arc<Root>>>,
    files: Files<'a>,
    patterns: usize,
    files_asked: usize,
}

impl<'a> Reading<'a> {
    /// Nothing yet.
    pub(super) fn new(files: Files<'a>) -> Self {
        Self {
            findings: Findings::default(),
            seen: BTreeMap::new(),
            used: BTreeSet::new(),
            roots: BTreeMap::new(),
            files,
            patterns: 0,
            files_asked: 0,
        }
    }

    /// Reads all roots; what is `given` stands for every one in a file.
    pub(super) fn read_roots(&mut self, node: &Node<'_>, given: Option<&[u8]>) {
        for (name, root) in node.field("trustRoots").map(|roots| roots.members()).unwrap_or_default() {
            let (bytes, place) = match (root.field("file"), root.field("json")) {
                (Some(file), None) => (self.root_file(&file, given), file.place),
                (None, Some(json)) => (json.text().map(|text| text.as_bytes().to_vec()), json.place),
                _ => {
                    self.findings.error(&root.place, "a trusted root is either a `file` or `json`");
                    (None, root.place)
                }
            };
            let read = bytes.and_then(|bytes| {
                let read = Root::from_json(&bytes).map_err(|error| format!("this is no trusted root: {error}"));
                self.findings.take(&place, read)
            });
            for warning in read.iter().flat_map(Root::warnings) {
                self.findings.warning(&place, warning.as_str());
            }
            self.roots.insert(name.to_owned(), read.map(Arc::new));
        }
    }

    /// The root of a name.
    pub(super) fn root(&mut self, node: &Node<'_>) -> Option<Arc<Root>> {
        let name = node.text()?;
        self.used.insert(name.to_owned());
        if let Some(root) = self.roots.get(name) {
            return root.clone();
        }
        let names: Vec<_> = self.roots.keys().map(String::as_str).collect();
        let message = format!("no trusted root is called `{}`; `trustRoots` has {}", excerpt(name), listed(&names));
        self.findings.error(&node.place, message);
        None
    }

    /// Roots that no authority asked for.
    pub(super) fn unused_roots(&self) -> Vec<String> {
        self.roots.keys().filter(|name| !self.used.contains(*name)).cloned().collect()
    }

    fn root_file(&mut self, node: &Node<'_>, given: Option<&[u8]>) -> Option<Vec<u8>> {
        let Some(bytes) = given else { return self.file(node) };
        self.seen.insert(node.text()?.to_owned(), Digest::of(Algorithm::Sha256, bytes));
        Some(bytes.to_vec())
    }

    /// The bytes of a file beside the document.
    pub(super) fn file(&mut self, node: &Node<'_>) -> Option<Vec<u8>> {
        let name = node.text()?;
        // Who may write a policy must not learn what else is on this machine.
        let beside = |part: &str| !part.is_empty() && part != "." && part != "..";
        if name.contains(['\\', '\0']) || !name.split('/').all(beside) {
            let message = "a file is named relative to the folder of the document, and lies in it: `roots/public.json`";
            self.findings.error(&node.place, message);
            return None;
        }
        self.files_asked += 1;
        if self.files_asked > FILES_MAX {
            self.findings
                .error(&node.place, format!("a document names {FILES_MAX} files at most; write keys as `pem`"));
            return None;
        }
        let read = (self.files)(name).map_err(|error| format!("`{}` cannot be read: {error}", excerpt(name)));
        let bytes = self.findings.take(&node.place, read)?;
        self.seen.insert(name.to_owned(), Digest::of(Algorithm::Sha256, &bytes));
        Some(bytes)
    }

    /// An expression.
    pub(super) fn pattern(&mut self, node: &Node<'_>) -> Option<Pattern> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            let message = format!("a document has {PATTERNS_MAX} regular expressions at most; use exact texts");
            self.findings.error(&node.place, message);
            return None;
        }
        let made: Result<Pattern, PatternError> = Pattern::parse(node.text()?);
        self.findings.take(&node.place, made)
    }

    /// An exact text under one name, or an expression under the other; one of them has to be there.
    pub(super) fn wanted(&mut self, node: &Node<'_>, exact: &str, pattern: &str) -> Option<Wanted> {
        match (node.field(exact), node.field(pattern)) {
            (Some(text), None) => text.text().map(|text| Wanted::Exact(text.to_owned())),
            (None, Some(expression)) => self.pattern(&expression).map(Wanted::Pattern),
            (Some(_), Some(_)) => {
                self.findings.error(&node.place, format!("`{exact}` and `{pattern}` are both here; keep one"));
                None
            }
            (None, None) => {
                self.findings.error(&node.place, format!("`{exact}` is missing (or `{pattern}`)"));
                None
            }
        }
    }

    /// A name of a policy or an authority.
    pub(super) fn name(&mut self, node: &Node<'_>) -> Option<String> {
        let at = node.field("name")?;
        let text = at.text()?;
        if let Ok(name) = text.parse::<PolicyName>() {
            return Some(name.to_string());
        }
        let message = format!(
            "`{}` cannot be a name; use up to {POLICY_NAME_BYTES_MAX} small letters, digits, `.`, `_` and `-`, a letter or a digit \
             first",
            excerpt(text)
        );
        self.findings.error(&at.place, message);
        None
    }

    /// A date and time of a member, if it is there.
    pub(super) fn moment(&mut self, node: &Node<'_>, name: &str) -> Option<Timestamp> {
        let at = node.field(name)?;
        let text = at.text()?;
        let moment = Timestamp::parse_rfc3339(text);
        if moment.is_none() {
            let message = format!("`{}` is not a date and a time; write it like 2026-10-01T00:00:00Z", excerpt(text));
            self.findings.error(&at.place, message);
        }
        moment
    }

    /// A length of time of a member, if it is there.
    pub(super) fn span(&mut self, node: &Node<'_>, name: &str) -> Option<Duration> {
        let at = node.field(name)?;
        let text = at.text()?;
        let span = span(text);
        if span.is_none() {
            let message = format!("`{}` is not a length of time; write it like `90d`, `12h` or `30m`", excerpt(text));
            self.findings.error(&at.place, message);
        }
        span
    }
}

/// A length of time that is longer than zero, such as `90d` or `1h30m`.
fn span(mut text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = text[..end].parse().ok()?;
        let scale = match text.as_bytes()[end] {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(scale)?)?;
        text = &text[end + 1..];
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_with_units() {
        assert_eq!(span("90d"), Some(Duration::from_hours(24 * 90)));
        assert_eq!(span("1h30m5s"), Some(Duration::from_secs(5405)));
        for bad in ["", "0d", "90", "d", "1w", "-1d", "1.5h", "99999999999999999999d", "9999999999999999999d", "1ü"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
