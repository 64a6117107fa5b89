//! Request headers that decide what is answered or written: conditions, ranges, types (RFC 9110, sections 8.3, 13, 14).
//!
//! Invariant: a header that only asks for less is ignored when malformed; one that guards a write is refused.

use std::ops::Range;
use std::str::FromStr;

use axum::response::Response;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;

use super::failure::Failure;
use super::reply::{DOCKER_CONTENT_DIGEST, Reply};
use crate::clock::Timestamp;
use crate::metadata::model::Precondition;
use crate::oci::digest::Digest;
use crate::oci::error::Condition;
use crate::oci::etag::{EntityTags, etag, if_range_holds};
use crate::oci::media_type::MediaType;
use crate::oci::range::{ContentRange, Ranges, Selection};
use crate::oci::reference::Reference;
use crate::registry::{ChunkRange, RegistryError};

/// Content as a `Range` sees it.
pub(super) struct Ranged<'a> {
    /// Its digest.
    pub(super) digest: &'a Digest,
    /// Its size in bytes.
    pub(super) size: u64,
    /// What `Last-Modified` says.
    pub(super) modified: Timestamp,
    /// Most ranges in one request.
    pub(super) ranges_max: usize,
}

/// The part of a content that a GET wants; ends are exclusive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: 200.
    All,
    /// One part: 206.
    One(Range<u64>),
    /// Several, in this order: 206 in parts.
    Many(Vec<Range<u64>>),
}

/// What `Range`, under the condition of `If-Range`, means for a content.
///
/// # Errors
/// 416 when no range lies within the content, 400 when there are too many: clients of lazy image formats fall back to
/// single ranges on 400 and on nothing else.
pub(super) fn wanted_range(headers: &HeaderMap, content: &Ranged<'_>) -> Result<Wanted, Failure> {
    let Some(range) = joined(headers, &RANGE) else { return Ok(Wanted::All) };
    if let Some(condition) = joined(headers, &IF_RANGE)
        && !if_range_holds(&condition, content.digest, Some(content.modified.to_system_time()))
    {
        return Ok(Wanted::All);
    }
    let parsed = Ranges::parse(&range, content.ranges_max)
        .map_err(|error| Failure::new(Condition::TooManyRanges, error.to_string(), Value::Null))?;
    match parsed.map(|ranges| ranges.select(content.size)) {
        None | Some(Selection::Whole) => Ok(Wanted::All),
        Some(Selection::Unsatisfiable) => Err(Failure::unsatisfiable(content.size)),
        Some(Selection::Parts(mut parts)) => match parts.pop() {
            Some(only) if parts.is_empty() => Ok(Wanted::One(only)),
            Some(last) => {
                parts.push(last);
                Ok(Wanted::Many(parts))
            }
            None => Ok(Wanted::All),
        },
    }
}

/// What `If-Match` and `If-None-Match` say about reading a content: 412, 304, or nothing.
pub(super) fn judge(headers: &HeaderMap, digest: &Digest) -> Result<Option<Response>, Failure> {
    let tags = |name| joined(headers, name).and_then(|text| EntityTags::parse(&text));
    let expected = tags(&IF_MATCH).and_then(|tags| tags.strong());
    if expected.is_some_and(|digests: Vec<Digest>| !digests.contains(digest)) {
        return Err(RegistryError::PreconditionFailed(Reference::Digest(digest.clone())).into());
    }
    let known = tags(&IF_NONE_MATCH).is_some_and(|tags| tags.names(digest));
    Ok(known.then(|| {
        let reply = Reply::new(StatusCode::NOT_MODIFIED).header(ETAG, etag(digest));
        reply.header(DOCKER_CONTENT_DIGEST, digest).finish()
    }))
}

/// What `If-Match` or `If-None-Match` demand of what a PUT replaces: of manifests, whose tag is their digest, and of the policy
/// document, whose tag is its revision.
///
/// # Errors
/// 400 when one is malformed or both are there: a guard that is not understood must not be dropped.
pub(super) fn precondition<T: FromStr>(headers: &HeaderMap) -> Result<Precondition<T>, Failure> {
    let tags = |name: &HeaderName| {
        if !headers.contains_key(name) {
            return Ok(None);
        }
        let tags = joined(headers, name).and_then(|text| EntityTags::parse(&text));
        tags.map(Some).ok_or_else(|| invalid(&format!("{name} is not * or a list of entity tags")))
    };
    match (tags(&IF_MATCH)?, tags(&IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (Some(tags), None) => Ok(tags.strong().map_or(Precondition::Exists, Precondition::AnyOf)),
        (None, Some(tags)) => Ok(tags.all().map_or(Precondition::Absent, Precondition::NoneOf)),
        (Some(_), Some(_)) => Err(invalid("if-match and if-none-match cannot be combined")),
    }
}

/// `Content-Range` of a chunk.
///
/// # Errors
/// 400 when it is malformed.
pub(super) fn chunk_range(headers: &HeaderMap) -> Result<Option<ChunkRange>, Failure> {
    let Some(text) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let parsed = text.to_str().ok().and_then(|text| ContentRange::parse(text).ok());
    match parsed {
        Some(ContentRange { start, end }) => Ok(Some(ChunkRange { start, end })),
        None => Err(Failure::from(Condition::ContentRangeInvalid)),
    }
}

/// `Content-Type` of a manifest, without parameters.
///
/// # Errors
/// 400 when it is malformed.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(text) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    match text.to_str().ok().map(MediaType::from_header) {
        Some(Ok(media_type)) => Ok(Some(media_type.as_str().to_owned())),
        Some(Err(error)) => Err(Failure::new(Condition::ManifestInvalid, error.to_string(), Value::Null)),
        None => Err(Failure::from(Condition::ManifestInvalid)),
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(Condition::HeaderInvalid, message, Value::Null)
}

/// All lines of a header as one list (RFC 9110, section 5.3); `None` when there is none, or one that is no text.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|line| line.to_str()).collect();
    lines.ok().filter(|lines| !lines.is_empty()).map(|lines| lines.join(","))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::oci::digest::Algorithm;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let line = |(name, value): &(HeaderName, &str)| (name.clone(), HeaderValue::from_str(value).expect("a header"));
        lines.iter().map(line).collect()
    }

    fn wanted(lines: &[(HeaderName, &str)], size: u64) -> Result<Wanted, Condition> {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let content = Ranged { digest: &digest, size, modified: Timestamp::from_micros(0), ranges_max: 3 };
        wanted_range(&headers(lines), &content).map_err(|failure| failure.condition())
    }

    #[test]
    fn ranges_keep_their_number_and_order() {
        let range = |text| wanted(&[(RANGE, text)], 10);
        assert_eq!(range("bytes=1-2"), Ok(Wanted::One(1..3)));
        assert_eq!(range("bytes=5-6,1-2, 1-2"), Ok(Wanted::Many(vec![5..7, 1..3, 1..3])));
        assert_eq!(range("bytes=50-60,1-2"), Ok(Wanted::One(1..3)));
        assert_eq!(range("bytes=50-60"), Err(Condition::RangeUnsatisfiable));
        assert_eq!(range("bytes=1-2,1-2,1-2,1-2"), Err(Condition::TooManyRanges));
        assert_eq!(range("apples=1-2"), Ok(Wanted::All));
        assert_eq!(wanted(&[(RANGE, "bytes=0-")], 0), Ok(Wanted::All));
        // Two lines are one list.
        assert_eq!(wanted(&[(RANGE, "bytes=1-2"), (RANGE, "5-6")], 10), Ok(Wanted::Many(vec![1..3, 5..7])));
        assert_eq!(wanted(&[(RANGE, "bytes=1-2"), (IF_RANGE, "\"other\"")], 10), Ok(Wanted::All));
    }

    #[test]
    fn a_guard_that_is_not_understood_is_refused() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let tag = etag(&digest);
        let read = |lines: &[(HeaderName, &str)]| precondition(&headers(lines)).map_err(|failure| failure.condition());
        assert_eq!(read(&[]), Ok(Precondition::None));
        assert_eq!(read(&[(IF_MATCH, "*")]), Ok(Precondition::Exists));
        assert_eq!(read(&[(IF_NONE_MATCH, "*")]), Ok(Precondition::Absent));
        assert_eq!(read(&[(IF_MATCH, &tag)]), Ok(Precondition::AnyOf(vec![digest.clone()])));
        assert_eq!(read(&[(IF_MATCH, &format!("W/{tag}"))]), Ok(Precondition::AnyOf(Vec::new())));
        assert_eq!(read(&[(IF_NONE_MATCH, &tag)]), Ok(Precondition::NoneOf(vec![digest])));
        assert_eq!(read(&[(IF_MATCH, "x")]), Err(Condition::HeaderInvalid));
        assert_eq!(read(&[(IF_MATCH, "\u{e4}")]), Err(Condition::HeaderInvalid));
        assert_eq!(read(&[(IF_MATCH, "*"), (IF_NONE_MATCH, &tag)]), Err(Condition::HeaderInvalid));
    }

    #[test]
    fn a_type_loses_its_parameters_and_nothing_else() {
        let read = |text: &str| media_type(&headers(&[(CONTENT_TYPE, text)])).map_err(|failure| failure.condition());
        assert_eq!(read("application/vnd.x+json; charset=utf-8"), Ok(Some("application/vnd.x+json".to_owned())));
        assert_eq!(read("no type"), Err(Condition::ManifestInvalid));
        assert_eq!(media_type(&HeaderMap::new()).map_err(|failure| failure.condition()), Ok(None));
    }
}
