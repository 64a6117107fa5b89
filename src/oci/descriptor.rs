//! Descriptors: what a manifest says about a content it names (image-spec, "OCI Content Descriptors").

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::oci::digest::Digest;
use crate::oci::json::excerpt;
use crate::oci::media_type::MEDIA_TYPE_BYTES_MAX;

/// A content that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `mediaType`.
    pub media_type: String,
    /// `digest`.
    pub digest: Digest,
    /// `size` in bytes; fits into an `i64`.
    pub size: u64,
    /// The `platform` member as JSON text.
    pub platform: Option<String>,
}

/// Which member of an object is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberFault {
    /// Name of the member; empty for the object itself.
    pub(crate) member: &'static str,
    /// What is wrong.
    pub(crate) fault: String,
}

impl MemberFault {
    pub(crate) fn new(member: &'static str, fault: impl Into<String>) -> Self {
        Self { member, fault: fault.into() }
    }
}

impl Descriptor {
    /// Reads a descriptor; unknown members are left alone.
    pub(crate) fn parse(value: &Value, annotations_max: usize) -> Result<Self, MemberFault> {
        let Value::Object(object) = value else { return Err(MemberFault::new("", "must be an object")) };
        annotations(object, annotations_max)?;
        Ok(Self {
            media_type: media_type(object)?,
            digest: digest(object)?,
            size: size(object)?,
            platform: platform(object)?,
        })
    }

    /// Whether the registry is expected to hold the content: layers of some types stay at their vendor's.
    pub fn is_distributable(&self) -> bool {
        let media_type = self.media_type.to_ascii_lowercase();
        !media_type.contains("nondistributable")
            && !media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
    }
}

/// The `annotations` of a manifest or descriptor: texts by name, at most `max`.
pub(crate) fn annotations(object: &Map<String, Value>, max: usize) -> Result<BTreeMap<String, String>, MemberFault> {
    let fault = |text: String| MemberFault::new("annotations", text);
    let entries = match object.get("annotations") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(fault("must be an object".to_owned())),
    };
    if entries.len() > max {
        return Err(fault(format!("has more than {max} entries")));
    }
    let entry = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        _ => Err(fault(format!("value of `{}` must be a string", excerpt(name)))),
    };
    entries.iter().map(entry).collect()
}

/// Types of contents are many and not all well-formed, so the only rule is that they can be shown and stored.
fn media_type(object: &Map<String, Value>) -> Result<String, MemberFault> {
    let text = text(object, "mediaType")?;
    if text.is_empty() || text.len() > MEDIA_TYPE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(MemberFault::new("mediaType", "must be 1 to 255 bytes without control characters"));
    }
    Ok(text.to_owned())
}

fn digest(object: &Map<String, Value>) -> Result<Digest, MemberFault> {
    let text = text(object, "digest")?;
    text.parse().map_err(|error| MemberFault::new("digest", format!("`{}`: {error}", excerpt(text))))
}

fn size(object: &Map<String, Value>) -> Result<u64, MemberFault> {
    let value = object.get("size").ok_or_else(|| MemberFault::new("size", "is missing"))?;
    let size = value.as_u64().filter(|size| i64::try_from(*size).is_ok());
    size.ok_or_else(|| MemberFault::new("size", "must be an integer from 0 to 9223372036854775807"))
}

fn platform(object: &Map<String, Value>) -> Result<Option<String>, MemberFault> {
    match object.get("platform") {
        None | Some(Value::Null) => Ok(None),
        Some(platform @ Value::Object(_)) => Ok(Some(platform.to_string())),
        Some(_) => Err(MemberFault::new("platform", "must be an object")),
    }
}

fn text<'a>(object: &'a Map<String, Value>, member: &'static str) -> Result<&'a str, MemberFault> {
    match object.get(member) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(MemberFault::new(member, "must be a string")),
        None => Err(MemberFault::new(member, "is missing")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn with(member: &str, value: Value) -> Value {
        let mut descriptor = json!({"mediaType": "a/b", "digest": DIGEST, "size": 3});
        descriptor[member] = value;
        descriptor
    }

    #[test]
    fn faults_name_their_member() {
        let cases = [
            (with("digest", json!("md5:00")), "digest", "`md5:00`: the digest algorithm"),
            (with("digest", json!(7)), "digest", "must be a string"),
            (with("size", json!(-1)), "size", "must be an integer"),
            (with("size", json!(1.0)), "size", "must be an integer"),
            (with("size", json!(u64::MAX)), "size", "must be an integer"),
            (with("size", json!("3")), "size", "must be an integer"),
            (with("mediaType", json!("")), "mediaType", "must be 1 to 255 bytes"),
            (with("mediaType", json!("a\nb")), "mediaType", "must be 1 to 255 bytes"),
            (with("annotations", json!({"a": 1})), "annotations", "value of `a` must be a string"),
            (with("annotations", json!({"a": "", "b": "", "c": ""})), "annotations", "has more than 2 entries"),
            (with("annotations", json!([])), "annotations", "must be an object"),
            (with("platform", json!("linux")), "platform", "must be an object"),
            (json!({"mediaType": "a/b", "size": 3}), "digest", "is missing"),
            (json!({"mediaType": "a/b", "digest": DIGEST}), "size", "is missing"),
            (json!("x"), "", "must be an object"),
        ];
        for (value, member, fault) in cases {
            let found = Descriptor::parse(&value, 2).expect_err("a bad descriptor");
            assert_eq!(found.member, member, "{value}");
            assert!(found.fault.contains(fault), "{value}: {}", found.fault);
        }
    }

    #[test]
    fn unknown_members_are_left_alone() {
        let value = with("platform", json!({"os": "linux"}));
        let descriptor = Descriptor::parse(&value, 2).expect("a descriptor");
        assert_eq!(descriptor.platform.as_deref(), Some(r#"{"os":"linux"}"#));
        assert_eq!(Descriptor::parse(&with("x", json!([1])), 2).expect("a descriptor").size, 3);
    }

    #[test]
    fn some_layers_stay_at_their_vendors() {
        let is_distributable = |media_type: &str| {
            Descriptor::parse(&with("mediaType", json!(media_type)), 2).expect("a descriptor").is_distributable()
        };
        assert!(is_distributable("application/vnd.oci.image.layer.v1.tar+gzip"));
        assert!(!is_distributable("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
        assert!(!is_distributable("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
    }
}
