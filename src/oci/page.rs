//! Pages of lists: `n` and `last` of a request, and the `Link` to the next page (RFC 8288).
//!
//! A number that is too large is not an error: the limit of the list cuts it anyway. A text that is no number is one,
//! because whoever wrote it meant something else than the whole list.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a query value may hold as it is: unreserved characters, and `/` and `:` (RFC 3986, section 3.4).
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The value of `last` that continues behind them; `None` on the last page.
    pub next: Option<String>,
}

/// A request for a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Most entries wanted; `None`: as many as the limit allows.
    pub n: Option<u32>,
    /// Entries after this one.
    pub last: Option<String>,
}

/// `n` is not a non-negative integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("n must be a non-negative integer")]
pub struct PageError;

impl PageRequest {
    /// From the query's `n` and `last`, already decoded. An empty value counts as absent, a huge `n` as the largest
    /// number there is.
    pub fn parse(n: Option<&str>, last: Option<&str>) -> Result<Self, PageError> {
        let n = n.filter(|text| !text.is_empty()).map(parse_count).transpose()?;
        let last = last.filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self { n, last })
    }

    /// The request for the page that begins behind `last`.
    #[must_use]
    pub fn after(&self, last: &str) -> Self {
        Self { n: self.n, last: Some(last.to_owned()) }
    }

    /// Target of the next page: `path?n=..&last=..`, with `filter` parameters kept in front.
    pub fn render(&self, path: &str, filter: &[(&str, &str)]) -> String {
        let n = self.n.map(|n| n.to_string());
        let page = [("n", n.as_deref()), ("last", self.last.as_deref())];
        let page = page.iter().filter_map(|(key, value)| value.map(|value| (*key, value)));
        let mut target = path.to_owned();
        for (at, (key, value)) in filter.iter().copied().chain(page).enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(key);
            target.push('=');
            target.extend(utf8_percent_encode(value, QUERY));
        }
        target
    }
}

/// The value of a `Link` header that names `target` as the next page (RFC 8288, section 3).
pub fn link_next(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

fn parse_count(text: &str) -> Result<u32, PageError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PageError);
    }
    // Only digits are left, so the one thing that can fail is the size.
    Ok(text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn n_is_a_non_negative_integer_and_huge_ones_are_cut() {
        let cases = [
            ("0", Ok(Some(0))),
            ("007", Ok(Some(7))),
            ("10000", Ok(Some(10_000))),
            ("4294967296", Ok(Some(u32::MAX))),
            ("", Ok(None)),
            ("-1", Err(PageError)),
            ("+1", Err(PageError)),
            ("1e3", Err(PageError)),
            ("ten", Err(PageError)),
            ("1 ", Err(PageError)),
        ];
        for (text, expected) in cases {
            assert_eq!(PageRequest::parse(Some(text), None).map(|page| page.n), expected, "{text}");
        }
        let huge = "9".repeat(100_000);
        assert_eq!(PageRequest::parse(Some(&huge), None).map(|page| page.n), Ok(Some(u32::MAX)));
    }

    #[test]
    fn an_empty_last_is_no_last() {
        assert_eq!(PageRequest::parse(None, Some("")), Ok(PageRequest::default()));
    }

    #[test]
    fn targets_keep_n_and_filters() {
        let page = PageRequest { n: Some(2), last: None };
        assert_eq!(page.after("v1").render("/v2/a/tags/list", &[]), "/v2/a/tags/list?n=2&last=v1");
        assert_eq!(PageRequest::default().after("a b").render("/x", &[]), "/x?last=a%20b");
        assert_eq!(PageRequest::default().render("/x", &[]), "/x");
        let filtered = page.after("sha256:00").render("/x", &[("artifactType", "application/a+json")]);
        assert_eq!(filtered, "/x?artifactType=application/a%2Bjson&n=2&last=sha256:00");
        assert_eq!(link_next("/x?n=1"), "</x?n=1>; rel=\"next\"");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(n in proptest::option::of(".*"), last in proptest::option::of(".*")) {
            let _ = PageRequest::parse(n.as_deref(), last.as_deref());
        }

        #[test]
        fn a_target_is_a_safe_header_value(last in ".+", n: Option<u32>) {
            let target = PageRequest { n, last: Some(last) }.render("/v2/a/tags/list", &[]);
            prop_assert!(target.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>' && b != b'"'));
        }
    }
}
