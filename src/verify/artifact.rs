//! Which manifests are signature artifacts, by nothing but their form.
//!
//! They can be read by anybody who may read the repository, since nobody could verify otherwise; so the form is narrow, and
//! a layer of another kind, an image under the name of a signature, makes it an ordinary manifest that needs a pass of its
//! own. What a signature artifact claims is not believed here.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bundle::{Bundle, Content};
use super::dsse::Envelope;
use super::failure::{Failure, at_most};
use super::json;
use super::limits::{
    ATTESTATION_BYTES_MAX, CONFIG_BYTES_MAX, FALLBACK_CHILDREN_MAX, LAYERS_MAX, MANIFEST_BYTES_MAX, SIGNATURE_BYTES_MAX,
};
use super::statement::{check_simple_signing, is_attestation};
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::json::JSON_VALUES_MAX;
use crate::oci::media_type::{DOCKER_MANIFEST, OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST};
use crate::oci::name::Tag;

/// The layer of a `.sig` manifest.
pub const SIMPLE_SIGNING_LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The layer of a `.att` manifest.
pub const ENVELOPE_LAYER: &str = "application/vnd.dsse.envelope.v1+json";
/// What the media types of bundles begin with.
pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The media type of bundles that cosign attaches.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The type of signatures in cosign's OCI 1.1 referrer mode.
pub const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The type of attestations in that mode.
pub const COSIGN_ATTESTATION: &str = "application/vnd.dev.cosign.artifact.att.v1+json";

/// Members of manifests that name nothing, whatever they hold.
const PLAIN: [&str; 2] = ["schemaVersion", "annotations"];

/// What kind of signature artifact a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactKind {
    /// A referrer with one Sigstore bundle.
    Bundle,
    /// A `.sig` tag or a referrer with simple signing payloads: each layer is a signature.
    Signatures,
    /// A `.att` tag or a referrer with DSSE envelopes: each layer is an attestation.
    Attestations,
    /// The index behind a fallback tag (`sha256-<hex>`): a list of referrers, each of which has to be looked at by itself.
    Fallback,
}

impl ArtifactKind {
    fn layer_bytes_max(self) -> usize {
        match self {
            Self::Signatures => SIGNATURE_BYTES_MAX,
            Self::Bundle | Self::Attestations => ATTESTATION_BYTES_MAX,
            Self::Fallback => MANIFEST_BYTES_MAX,
        }
    }

    fn has_layer(self, media_type: &str) -> bool {
        match self {
            Self::Bundle => media_type.starts_with(BUNDLE_PREFIX),
            Self::Signatures => media_type == SIMPLE_SIGNING_LAYER,
            Self::Attestations => media_type == ENVELOPE_LAYER,
            Self::Fallback => media_type == OCI_IMAGE_MANIFEST || media_type == DOCKER_MANIFEST,
        }
    }
}

/// A layer of a signature artifact, or a manifest in an index behind a fallback tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRef {
    /// What it is called.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Its type.
    pub media_type: String,
    /// Its annotations, in which old signatures stand.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest that has the form of a signature artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The digest that it says it is about, by its tag or its `subject`. A hint: what counts is in the signed claim.
    pub subject: Digest,
    /// What kind it is.
    pub kind: ArtifactKind,
    /// Its layers; of an index, its manifests.
    pub layers: Vec<LayerRef>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
}

impl Artifact {
    /// Reads a manifest that stands under `tag`, or under its digest alone. `None`: it is no signature artifact.
    ///
    /// That its layers are what their types say has to be checked with [`check_layer`] as well, once the bytes are there,
    /// and its config with [`check_config`]; and that every manifest of an index is a signature artifact itself.
    pub fn parse(tag: Option<&Tag>, manifest: &[u8]) -> Option<Self> {
        Form::parse(manifest)?.under(tag)
    }
}

/// A manifest that was read, of which it depends on its tag what it is.
#[derive(Debug)]
pub struct Form(Document);

impl Form {
    /// Reads a manifest. `None`: it is no JSON, or too long for one that carries signatures.
    pub fn parse(manifest: &[u8]) -> Option<Self> {
        if manifest.len() > MANIFEST_BYTES_MAX {
            return None;
        }
        json::read(manifest, "the manifest").ok().map(Self)
    }

    /// Whether none of its members but those of a form could hold a descriptor, which whoever reads the manifest as something
    /// else would follow.
    pub fn has_nothing_else(&self) -> bool {
        let is_plain = |(name, value): (&String, &Value)| {
            PLAIN.contains(&name.as_str()) || !(value.is_array() || value.is_object())
        };
        self.0.others.iter().all(is_plain)
    }

    /// What it is under a tag, or under its digest alone, as [`Artifact::parse`] says.
    pub fn under(&self, tag: Option<&Tag>) -> Option<Artifact> {
        let Self(document) = self;
        let media_type = document.media_type.as_deref();
        let named = tag.and_then(|tag| named_subject(tag.as_str()));
        if media_type == Some(OCI_IMAGE_INDEX) {
            let (subject, None) = named? else { return None };
            return document.index(subject);
        }
        if media_type.is_some_and(|media_type| media_type != OCI_IMAGE_MANIFEST && media_type != DOCKER_MANIFEST) {
            return None;
        }
        match named {
            Some((subject, Some(kind))) => document.tagged(subject, kind),
            Some((_, None)) | None => document.referrer(),
        }
    }
}

impl Document {
    /// A `.sig` or `.att` tag, which says what it is; tools write configs of many types beside it. A `subject` that names
    /// something else would make it two things at once.
    fn tagged(&self, subject: Digest, kind: ArtifactKind) -> Option<Artifact> {
        let is_other = |named: &Descriptor| named.digest != subject.to_string();
        if self.manifests.is_some() || self.subject.as_ref().is_some_and(is_other) {
            return None;
        }
        if self.config.as_ref()?.size > CONFIG_BYTES_MAX as u64 {
            return None;
        }
        Some(Artifact { subject, kind, layers: layers(self.layers.as_ref()?, kind, LAYERS_MAX)? })
    }

    /// What refers to a manifest, by its type: `artifactType`, or the type of its config where there is none (image-spec,
    /// "Guidelines for Artifact Usage").
    fn referrer(&self) -> Option<Artifact> {
        let (config, subject) = (self.config.as_ref()?, self.subject.as_ref()?);
        if self.manifests.is_some() || config.size > CONFIG_BYTES_MAX as u64 {
            return None;
        }
        let kind = match self.artifact_type.as_deref().unwrap_or(&config.media_type) {
            COSIGN_SIGNATURE => ArtifactKind::Signatures,
            COSIGN_ATTESTATION => ArtifactKind::Attestations,
            artifact_type if artifact_type.starts_with(BUNDLE_PREFIX) => ArtifactKind::Bundle,
            _ => return None,
        };
        let layers_max = if kind == ArtifactKind::Bundle { 1 } else { LAYERS_MAX };
        let layers = layers(self.layers.as_ref()?, kind, layers_max)?;
        Some(Artifact { subject: subject.digest.parse().ok()?, kind, layers })
    }

    /// The index behind a fallback tag. A tool puts each referrer into it once; one that stands there again is work for
    /// nothing.
    fn index(&self, subject: Digest) -> Option<Artifact> {
        if self.config.is_some() || self.layers.is_some() || self.subject.is_some() {
            return None;
        }
        let kind = ArtifactKind::Fallback;
        let mut children = layers(self.manifests.as_ref()?, kind, FALLBACK_CHILDREN_MAX)?;
        let mut seen = HashSet::new();
        children.retain(|child| seen.insert(child.digest.clone()));
        Some(Artifact { subject, kind, layers: children })
    }
}

/// Whether the bytes of a layer are what the kind of its artifact says: JSON of that form, within its limits. What is no
/// attestation is a signature, and has the limit of one whatever it is wrapped in.
///
/// # Errors
/// `malformed`, `limit_exceeded`, and those of [`Bundle::parse`].
pub fn check_layer(kind: ArtifactKind, bytes: &[u8]) -> Result<(), Failure> {
    at_most(bytes.len(), kind.layer_bytes_max(), "bytes of the layer")?;
    let content = match kind {
        ArtifactKind::Bundle => Bundle::parse(bytes)?.content,
        ArtifactKind::Signatures => return check_simple_signing(bytes),
        ArtifactKind::Attestations => Content::Envelope(Envelope::parse(bytes)?),
        ArtifactKind::Fallback => return Err(Failure::malformed("an index has no layers")),
    };
    let attests =
        |content: &Content| matches!(content, Content::Envelope(envelope) if is_attestation(&envelope.payload));
    if bytes.len() <= SIGNATURE_BYTES_MAX || attests(&content) {
        return Ok(());
    }
    at_most(bytes.len(), SIGNATURE_BYTES_MAX, "bytes of a layer that is no attestation")
}

/// Whether referrers of a type are signatures or attestations, if they have the form.
pub fn is_signature_type(artifact_type: &str) -> bool {
    artifact_type.starts_with(BUNDLE_PREFIX) || [COSIGN_SIGNATURE, COSIGN_ATTESTATION].contains(&artifact_type)
}

/// Whether the bytes of a config can stand beside signatures: an object in JSON, within its limit.
///
/// Whoever pushes names any blob of the repository as the config, of any type and size, and everybody may read what
/// carries signatures. A layer of an image that is refused must not be given away as one, however short it is. The config of
/// such an image can be: it is JSON as well, and runs nowhere.
///
/// # Errors
/// `malformed`, `limit_exceeded`.
pub fn check_config(bytes: &[u8]) -> Result<(), Failure> {
    at_most(bytes.len(), CONFIG_BYTES_MAX, "bytes of the config")?;
    let is_object = json::exact(bytes, JSON_VALUES_MAX, "the config")?.is_object();
    if is_object { Ok(()) } else { Err(Failure::malformed("the config is not an object in JSON")) }
}

/// Whether signatures are found under a tag: `sha256-<64 digits>`, with `.sig` or `.att` behind it or nothing.
pub fn is_signature_tag(tag: &Tag) -> bool {
    named_subject(tag.as_str()).is_some()
}

/// What a tag of cosign's is about: `sha256-<64 digits>` with `.sig`, `.att` or nothing behind it.
fn named_subject(tag: &str) -> Option<(Digest, Option<ArtifactKind>)> {
    let (hex, kind) = match tag.strip_prefix("sha256-")?.split_once('.') {
        None => (tag.strip_prefix("sha256-")?, None),
        Some((hex, "sig")) => (hex, Some(ArtifactKind::Signatures)),
        Some((hex, "att")) => (hex, Some(ArtifactKind::Attestations)),
        Some(_) => return None,
    };
    Some((format!("{}:{hex}", Algorithm::Sha256).parse().ok()?, kind))
}

/// At least one, and all of the kind and the size that they may have.
fn layers(layers: &[Descriptor], kind: ArtifactKind, max: usize) -> Option<Vec<LayerRef>> {
    if layers.is_empty() && kind != ArtifactKind::Fallback || layers.len() > max {
        return None;
    }
    let read = |layer: &Descriptor| {
        let fits = kind.has_layer(&layer.media_type) && layer.size <= kind.layer_bytes_max() as u64;
        let digest = layer.digest.parse().ok().filter(|_| fits)?;
        let annotations = layer.annotations.clone().unwrap_or_default();
        Some(LayerRef { digest, size: layer.size, media_type: layer.media_type.clone(), annotations })
    };
    layers.iter().map(read).collect()
}
