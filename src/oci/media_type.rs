//! Media types (RFC 6838, section 4.2) and the ones that manifests and their configs have.

use std::fmt;
use std::str::FromStr;

/// OCI image manifest.
pub const OCI_IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index; also what the referrers API answers with.
pub const OCI_IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image manifest, version 2, schema 1: `.v1+json` and `.v1+prettyjws`.
pub const DOCKER_SCHEMA1_PREFIX: &str = "application/vnd.docker.distribution.manifest.v1+";
/// Config of an OCI image.
pub const OCI_IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Config of a Docker image.
pub const DOCKER_IMAGE_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Config of what no client can run; its bytes are `{}` (image-spec, "Guidance for an Empty Descriptor").
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Longest media type in bytes (image-spec keeps to RFC 6838: twice 127 and a slash).
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// Longest half of a media type in bytes.
const NAME_BYTES_MAX: usize = 127;

/// What clients send when they have nothing to say about the type.
const GENERIC: &[&str] =
    &["application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"];

/// A text is not a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a media type is written type/subtype (RFC 6838), 255 bytes at most")]
pub struct MediaTypeError;

/// `type/subtype` without parameters, as it was written. Compared without regard to case (RFC 6838, section 4.2).
#[derive(Clone, Debug)]
pub struct MediaType(String);

impl MediaType {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From a `Content-Type` header; parameters are left out.
    pub fn from_header(header: &str) -> Result<Self, MediaTypeError> {
        header.split(';').next().unwrap_or_default().trim_matches([' ', '\t']).parse()
    }

    /// Whether it is this type.
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }

    /// Whether it says nothing about what the content is.
    pub fn is_generic(&self) -> bool {
        GENERIC.iter().any(|generic| self.is(generic))
    }

    /// Whether it is one of Docker's first manifest format.
    pub fn is_docker_schema1(&self) -> bool {
        self.0.to_ascii_lowercase().starts_with(DOCKER_SCHEMA1_PREFIX)
    }
}

impl PartialEq for MediaType {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for MediaType {}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        match text.split_once('/') {
            Some((kind, subtype)) if is_name(kind) && is_name(subtype) => Ok(Self(text.to_owned())),
            _ => Err(MediaTypeError),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `restricted-name` (RFC 6838, section 4.2).
fn is_name(text: &str) -> bool {
    let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    starts_well && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_char)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_and_bad_media_types() {
        let longest = format!("{}/{}", "a".repeat(127), "b".repeat(127));
        assert_eq!(longest.len(), MEDIA_TYPE_BYTES_MAX);
        for good in [OCI_IMAGE_INDEX, "a/b", "application/vnd.x.y!#$&-^_.+z", &longest] {
            assert_eq!(good.parse::<MediaType>().map(|t| t.to_string()).as_deref(), Ok(good), "{good}");
        }
        let bad = ["", "a", "a/", "/b", "a/b/c", "a b/c", "a/b; c=d", "*/*", ".a/b", "a/ü", &format!("{longest}b")];
        for bad in bad {
            assert_eq!(bad.parse::<MediaType>(), Err(MediaTypeError), "{bad}");
        }
    }

    #[test]
    fn headers_lose_their_parameters() {
        let parsed = MediaType::from_header("Application/JSON ; charset=utf-8").expect("a media type");
        assert_eq!(parsed.as_str(), "Application/JSON");
        assert!(parsed.is_generic() && parsed.is("application/json"));
        assert_eq!(MediaType::from_header("; charset=utf-8"), Err(MediaTypeError));
    }

    #[test]
    fn docker_schema_1_is_known() {
        let is_schema1 = |text: &str| text.parse::<MediaType>().expect("a media type").is_docker_schema1();
        assert!(is_schema1("application/vnd.docker.distribution.manifest.v1+prettyjws"));
        assert!(is_schema1("application/vnd.docker.distribution.manifest.v1+json"));
        assert!(!is_schema1(DOCKER_MANIFEST));
    }

    proptest! {
        #[test]
        fn parse_and_display_are_inverse(text in "[a-z0-9][a-zA-Z0-9.+!#$&^_-]{0,40}/[A-Z0-9][a-zA-Z0-9.+!#$&^_-]{0,40}") {
            prop_assert_eq!(text.parse::<MediaType>().map(|parsed| parsed.to_string()), Ok(text));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = MediaType::from_header(&text);
        }
    }
}
