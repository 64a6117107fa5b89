//! Entity tags and the conditions that name them (RFC 9110, section 13).
//!
//! The tag of a content is its digest in quotes, so a strong comparison is one of digests.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::oci::digest::Digest;

/// `ETag` of a content.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// One entity tag (RFC 9110, section 8.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Whether it stands for "much the same" instead of "the same bytes".
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: String,
}

/// `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: whatever is there.
    Any,
    /// One of these; never empty.
    List(Vec<EntityTag>),
}

impl EntityTags {
    /// Reads the header's value (several lines joined by commas); `None` when it is malformed.
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim_matches([' ', '\t']);
        if header == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (tag, behind) = split_tag(rest)?;
            tags.push(tag);
            rest = behind.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
        (!tags.is_empty()).then_some(Self::List(tags))
    }

    /// Weak comparison, as `If-None-Match` wants it: whether a content with `digest` is named.
    pub fn names(&self, digest: &Digest) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| is_digest(tag, digest)),
        }
    }

    /// What strong tags say, as `If-Match` wants them; `None` for `*`. A tag that says no `T` is left out, since it was never
    /// the tag of anything here.
    pub fn strong<T: FromStr>(&self) -> Option<Vec<T>> {
        self.said(|tag| !tag.weak)
    }

    /// What all tags say, as `If-None-Match` wants them; `None` for `*`.
    pub fn all<T: FromStr>(&self) -> Option<Vec<T>> {
        self.said(|_| true)
    }

    fn said<T: FromStr>(&self, keep: impl Fn(&EntityTag) -> bool) -> Option<Vec<T>> {
        match self {
            Self::Any => None,
            Self::List(tags) => {
                Some(tags.iter().filter(|tag| keep(tag)).filter_map(|tag| tag.opaque.parse().ok()).collect())
            }
        }
    }
}

/// Whether the condition of `If-Range` holds (RFC 9110, section 13.1.5), so that `Range` counts. `last_modified` is what
/// the answer's `Last-Modified` would say.
pub fn if_range_holds(header: &str, digest: &Digest, last_modified: Option<SystemTime>) -> bool {
    let header = header.trim_matches([' ', '\t']);
    match split_tag(header) {
        Some((tag, "")) => !tag.weak && is_digest(&tag, digest),
        Some(_) => false,
        None => match (httpdate::parse_http_date(header), last_modified) {
            (Ok(date), Some(modified)) => whole_seconds(date) == whole_seconds(modified),
            _ => false,
        },
    }
}

fn is_digest(tag: &EntityTag, digest: &Digest) -> bool {
    tag.opaque.parse().is_ok_and(|named: Digest| named == *digest)
}

/// Dates of HTTP have no fractions of a second.
fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs)
}

/// `[ "W/" ] DQUOTE *etagc DQUOTE` at the beginning, and what stands behind it.
fn split_tag(text: &str) -> Option<(EntityTag, &str)> {
    let (weak, quoted) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
    let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    let fits = opaque.bytes().all(|b| b > b' ' && b != 0x7f);
    fits.then(|| (EntityTag { weak, opaque: opaque.to_owned() }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::digest::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[test]
    fn lists_and_stars() {
        let tag = |weak, opaque: &str| EntityTag { weak, opaque: opaque.to_owned() };
        let cases = [
            ("*", Some(EntityTags::Any)),
            (" \"a\" ", Some(EntityTags::List(vec![tag(false, "a")]))),
            (
                "\"a\", W/\"b,c\" ,,\"\"",
                Some(EntityTags::List(vec![tag(false, "a"), tag(true, "b,c"), tag(false, "")])),
            ),
            ("", None),
            (",", None),
            ("a", None),
            ("\"a", None),
            ("\"a\"\"b\"", None),
            ("\"a b\"", None),
            ("*, \"a\"", None),
            ("w/\"a\"", None),
        ];
        for (header, expected) in cases {
            assert_eq!(EntityTags::parse(header), expected, "{header}");
        }
    }

    #[test]
    fn weak_tags_count_for_reading_only() {
        let weak = EntityTags::parse(&format!("\"x\", W/{}", etag(&digest("a")))).expect("tags");
        assert!(weak.names(&digest("a")));
        assert!(!weak.names(&digest("b")));
        assert_eq!(weak.strong::<Digest>(), Some(vec![]));
        assert_eq!(weak.all(), Some(vec![digest("a")]));
        let strong = EntityTags::parse(&etag(&digest("a"))).expect("tags");
        assert_eq!(strong.strong(), Some(vec![digest("a")]));
        assert!(EntityTags::Any.names(&digest("a")));
        assert_eq!(EntityTags::Any.strong::<Digest>(), None);
    }

    #[test]
    fn if_range_takes_a_strong_tag_or_the_exact_date() {
        let content = digest("a");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_300);
        let holds = |header: &str| if_range_holds(header, &content, Some(modified));
        assert!(holds(&etag(&content)));
        assert!(!holds(&format!("W/{}", etag(&content))));
        assert!(!holds(&etag(&digest("b"))));
        assert!(!holds(&format!("{0}, {0}", etag(&content))));
        assert!(holds("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!holds("Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!holds("yesterday"));
        assert!(!if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", &content, None));
    }

    fn render(tags: &EntityTags) -> String {
        match tags {
            EntityTags::Any => "*".to_owned(),
            EntityTags::List(tags) => {
                let texts: Vec<String> =
                    tags.iter().map(|tag| format!("{}\"{}\"", if tag.weak { "W/" } else { "" }, tag.opaque)).collect();
                texts.join(", ")
            }
        }
    }

    proptest! {
        #[test]
        fn parse_and_render_are_inverse(list in proptest::collection::vec((any::<bool>(), "[!#-~]{0,20}"), 1..8)) {
            let tags = list.into_iter().map(|(weak, opaque)| EntityTag { weak, opaque }).collect();
            let tags = EntityTags::List(tags);
            prop_assert_eq!(EntityTags::parse(&render(&tags)), Some(tags));
        }

        #[test]
        fn parsing_never_panics(header in ".*", near in "[W/\", *a-]{0,30}") {
            for header in [header, near] {
                let _ = EntityTags::parse(&header);
                let _ = if_range_holds(&header, &digest("a"), None);
            }
        }
    }
}
