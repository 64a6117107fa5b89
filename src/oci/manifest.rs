//! Manifests: what a pushed document is and what it names.
//!
//! A [`Manifest`] is strict JSON whose content fits its media type, so that no two clients can read it as two different
//! things (CVE-2021-41190). Types that this registry does not know are taken as well; what they name is then collected
//! where it has the form of a descriptor.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::oci::descriptor::{MemberFault, annotations};
use crate::oci::digest::Digest;
use crate::oci::json::{self, JsonError};
use crate::oci::media_type::{
    DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, MediaType, MediaTypeError, OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST,
};

pub use crate::oci::descriptor::Descriptor;

/// Limits on what a manifest may hold.
#[derive(Clone, Copy, Debug)]
pub struct ManifestLimits {
    /// Deepest nesting of JSON.
    pub depth_max: usize,
    /// Most descriptors.
    pub descriptors_max: usize,
    /// Most annotations on one object.
    pub annotations_max: usize,
}

/// What a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// OCI image manifest or Docker schema 2: a config and layers.
    Image,
    /// OCI index or Docker manifest list: other manifests.
    Index,
    /// Something else.
    Other,
}

/// A manifest, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type, without parameters.
    pub media_type: String,
    /// What it is.
    pub kind: ManifestKind,
    /// What the referrers API says it is: `artifactType`, or an image's `config.mediaType`.
    pub artifact_type: Option<String>,
    /// `config`.
    pub config: Option<Descriptor>,
    /// `layers`; of an unknown type also `blobs`.
    pub layers: Vec<Descriptor>,
    /// `manifests`.
    pub manifests: Vec<Descriptor>,
    /// `subject`.
    pub subject: Option<Descriptor>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// Why a document is not a manifest. The text names the place and the rule.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not strict JSON within the limits.
    #[error("not strict JSON: {0}")]
    Json(#[from] JsonError),
    /// It is JSON, but not an object.
    #[error("the document must be a JSON object")]
    NotAnObject,
    /// Neither the header nor the document says what it is, and its content does not either.
    #[error("neither Content-Type nor mediaType says what this is")]
    MediaTypeMissing,
    /// `Content-Type` or `mediaType` is malformed.
    #[error("{place}: {error}")]
    MediaType {
        /// Which of the two.
        place: &'static str,
        /// The rule.
        error: MediaTypeError,
    },
    /// `Content-Type` and `mediaType` contradict each other.
    #[error("Content-Type says {header}, mediaType says {document}")]
    MediaTypeContradiction {
        /// `Content-Type`.
        header: MediaType,
        /// `mediaType`.
        document: MediaType,
    },
    /// It is of Docker's first format.
    #[error("Docker schema 1 manifests are not supported; push schema 2 or OCI")]
    DockerSchema1,
    /// It could be read as an image and as an index.
    #[error("the document has both layers and manifests")]
    Ambiguous,
    /// It has a member that its type does not have.
    #[error("{media_type} cannot have {member}")]
    Contradiction {
        /// The type.
        media_type: String,
        /// The member.
        member: &'static str,
    },
    /// It names more than the limit.
    #[error("the document has more than {max} descriptors")]
    TooManyDescriptors {
        /// The limit.
        max: usize,
    },
    /// A member is missing or wrong.
    #[error("{path} {fault}")]
    Member {
        /// Where, such as `layers[3].digest`.
        path: String,
        /// What is wrong.
        fault: String,
    },
}

impl Manifest {
    /// Reads a pushed document. `content_type` is the request's header, parameters included.
    ///
    /// Headers that say nothing (none, `application/json`, `application/octet-stream`, ...) leave it to the document.
    pub fn parse(payload: &[u8], content_type: Option<&str>, limits: &ManifestLimits) -> Result<Self, ManifestError> {
        let Value::Object(object) = json::parse(payload, limits.depth_max)? else {
            return Err(ManifestError::NotAnObject);
        };
        let document = Document { object, limits };
        if document.has("fsLayers") {
            return Err(ManifestError::DockerSchema1);
        }
        if document.has("layers") && document.has("manifests") {
            return Err(ManifestError::Ambiguous);
        }
        document.check_count()?;
        let media_type = document.media_type(content_type)?;
        if media_type.is_docker_schema1() {
            return Err(ManifestError::DockerSchema1);
        }
        match kind(&media_type) {
            ManifestKind::Image => document.image(&media_type),
            ManifestKind::Index => document.index(&media_type),
            ManifestKind::Other => Ok(document.other(&media_type)),
        }
    }

    /// The descriptor by which the referrers API lists this manifest, as JSON text.
    pub fn referrer_descriptor(&self, digest: &Digest, size: u64) -> String {
        let entry = ReferrerEntry {
            media_type: &self.media_type,
            digest: digest.to_string(),
            size,
            artifact_type: self.artifact_type.as_deref(),
            annotations: &self.annotations,
        };
        serde_json::to_string(&entry).expect("texts and numbers can be written as JSON")
    }
}

/// distribution-spec, "Listing Referrers".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrerEntry<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

fn kind(media_type: &MediaType) -> ManifestKind {
    if media_type.is(OCI_IMAGE_MANIFEST) || media_type.is(DOCKER_MANIFEST) {
        ManifestKind::Image
    } else if media_type.is(OCI_IMAGE_INDEX) || media_type.is(DOCKER_MANIFEST_LIST) {
        ManifestKind::Index
    } else {
        ManifestKind::Other
    }
}

/// A document on its way to a [`Manifest`]. A null member counts as absent: Go writes it for lists that are not there.
struct Document<'a> {
    object: Map<String, Value>,
    limits: &'a ManifestLimits,
}

impl Document<'_> {
    fn image(&self, media_type: &MediaType) -> Result<Manifest, ManifestError> {
        self.check_schema_version()?;
        self.check_absent(media_type, &["manifests"])?;
        let config = self.descriptor("config")?.ok_or_else(|| member("config", "is missing"))?;
        let layers = self.descriptors("layers")?;
        Ok(Manifest {
            media_type: media_type.to_string(),
            kind: ManifestKind::Image,
            artifact_type: self.artifact_type()?.or_else(|| Some(config.media_type.clone())),
            config: Some(config),
            layers,
            manifests: Vec::new(),
            subject: self.descriptor("subject")?,
            annotations: self.annotations()?,
        })
    }

    fn index(&self, media_type: &MediaType) -> Result<Manifest, ManifestError> {
        self.check_schema_version()?;
        self.check_absent(media_type, &["config", "layers"])?;
        Ok(Manifest {
            media_type: media_type.to_string(),
            kind: ManifestKind::Index,
            artifact_type: self.artifact_type()?,
            config: None,
            layers: Vec::new(),
            manifests: self.descriptors("manifests")?,
            subject: self.descriptor("subject")?,
            annotations: self.annotations()?,
        })
    }

    /// Nothing is known of the type's rules, so what has another form than expected is simply not a descriptor.
    fn other(&self, media_type: &MediaType) -> Manifest {
        let collect = |name: &str| -> Vec<Descriptor> {
            let entries = self.object.get(name).and_then(Value::as_array).into_iter().flatten();
            entries.filter_map(|entry| self.read(entry).ok()).collect()
        };
        let one = |name: &str| self.object.get(name).and_then(|value| self.read(value).ok());
        Manifest {
            media_type: media_type.to_string(),
            kind: ManifestKind::Other,
            artifact_type: self.artifact_type().unwrap_or_default(),
            config: one("config"),
            layers: [collect("layers"), collect("blobs")].concat(),
            manifests: collect("manifests"),
            subject: one("subject"),
            annotations: self.annotations().unwrap_or_default(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    fn media_type(&self, content_type: Option<&str>) -> Result<MediaType, ManifestError> {
        let header = content_type.filter(|text| !text.trim().is_empty()).map(MediaType::from_header).transpose();
        let header = header.map_err(|error| ManifestError::MediaType { place: "Content-Type", error })?;
        let header = header.filter(|header| !header.is_generic());
        let document = match self.object.get("mediaType") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.parse::<MediaType>()),
            Some(_) => Some(Err(MediaTypeError)),
        };
        let document = document.transpose().map_err(|error| ManifestError::MediaType { place: "mediaType", error })?;
        match (header, document) {
            (Some(header), Some(document)) if header != document => {
                Err(ManifestError::MediaTypeContradiction { header, document })
            }
            (_, Some(media_type)) | (Some(media_type), None) => Ok(media_type),
            (None, None) => self.infer_media_type(),
        }
    }

    /// `mediaType` was optional in the first OCI documents.
    fn infer_media_type(&self) -> Result<MediaType, ManifestError> {
        let media_type = if self.has("manifests") {
            OCI_IMAGE_INDEX
        } else if self.has("layers") || self.has("config") {
            OCI_IMAGE_MANIFEST
        } else {
            return Err(ManifestError::MediaTypeMissing);
        };
        media_type.parse().map_err(|error| ManifestError::MediaType { place: "mediaType", error })
    }

    fn check_schema_version(&self) -> Result<(), ManifestError> {
        match self.object.get("schemaVersion").map(Value::as_u64) {
            Some(Some(2)) => Ok(()),
            Some(Some(1)) => Err(ManifestError::DockerSchema1),
            Some(_) => Err(member("schemaVersion", "must be 2")),
            None => Err(member("schemaVersion", "is missing")),
        }
    }

    fn check_absent(&self, media_type: &MediaType, members: &[&'static str]) -> Result<(), ManifestError> {
        match members.iter().find(|member| self.has(member)) {
            Some(member) => Err(ManifestError::Contradiction { media_type: media_type.to_string(), member }),
            None => Ok(()),
        }
    }

    /// Counted before anything is read, so that the limit bounds the work as well.
    fn check_count(&self) -> Result<(), ManifestError> {
        let lists = ["layers", "manifests", "blobs"].iter().filter_map(|name| self.object.get(*name)?.as_array());
        let single = ["config", "subject"].iter().filter(|name| self.has(name)).count();
        let max = self.limits.descriptors_max;
        if lists.map(Vec::len).sum::<usize>() + single > max {
            return Err(ManifestError::TooManyDescriptors { max });
        }
        Ok(())
    }

    fn artifact_type(&self) -> Result<Option<String>, ManifestError> {
        match self.object.get("artifactType") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if text.parse::<MediaType>().is_ok() => Ok(Some(text.clone())),
            Some(_) => Err(member("artifactType", "must be a media type")),
        }
    }

    fn annotations(&self) -> Result<BTreeMap<String, String>, ManifestError> {
        annotations(&self.object, self.limits.annotations_max).map_err(|fault| at("", &fault))
    }

    fn descriptor(&self, name: &'static str) -> Result<Option<Descriptor>, ManifestError> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.read(value).map(Some).map_err(|fault| at(name, &fault)),
        }
    }

    fn descriptors(&self, name: &'static str) -> Result<Vec<Descriptor>, ManifestError> {
        let entries = match self.object.get(name) {
            Some(Value::Array(entries)) => entries,
            Some(Value::Null) => return Ok(Vec::new()),
            Some(_) => return Err(member(name, "must be an array")),
            None => return Err(member(name, "is missing")),
        };
        let read = |(i, entry)| self.read(entry).map_err(|fault| at(&format!("{name}[{i}]"), &fault));
        entries.iter().enumerate().map(read).collect()
    }

    fn read(&self, value: &Value) -> Result<Descriptor, MemberFault> {
        Descriptor::parse(value, self.limits.annotations_max)
    }
}

fn member(path: &str, fault: &str) -> ManifestError {
    ManifestError::Member { path: path.to_owned(), fault: fault.to_owned() }
}

fn at(place: &str, fault: &MemberFault) -> ManifestError {
    let dot = if place.is_empty() || fault.member.is_empty() { "" } else { "." };
    ManifestError::Member { path: format!("{place}{dot}{}", fault.member), fault: fault.fault.clone() }
}

#[cfg(test)]
mod tests;
