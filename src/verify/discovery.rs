//! Where signatures of a digest are looked for, and what is known of them before their bytes are read.

use bytes::Bytes;

use super::artifact::{Artifact, ArtifactKind, Form, LayerRef};
use super::policy::CandidateRef;
use super::proof::{Candidate, Format, Material};
use crate::oci::digest::Digest;
use crate::oci::name::Tag;

/// The tags under which cosign keeps signatures and attestations of a digest.
pub fn signature_tags(digest: &Digest) -> Vec<Tag> {
    let name = digest.to_string().replace(':', "-");
    ["sig", "att"].iter().filter_map(|suffix| format!("{name}.{suffix}").parse().ok()).collect()
}

/// A signature that was found and not read yet.
#[derive(Clone, Debug)]
pub struct Found {
    reference: CandidateRef,
    kind: ArtifactKind,
    layer: LayerRef,
}

impl AsRef<CandidateRef> for Found {
    fn as_ref(&self) -> &CandidateRef {
        &self.reference
    }
}

impl Found {
    /// The signatures that a manifest carries, if it says that it is about `subject`, under one of cosign's tags or
    /// without any.
    pub fn in_manifest(subject: &Digest, artifact: &Digest, manifest: &[u8]) -> Vec<Self> {
        let tags = signature_tags(subject);
        let Some(form) = Form::parse(manifest) else { return Vec::new() };
        let mut read = std::iter::once(None).chain(tags.iter().map(Some)).filter_map(|tag| form.under(tag));
        let about = |read: &Artifact| read.subject == *subject && read.kind != ArtifactKind::Fallback;
        let Some(Artifact { kind, layers, .. }) = read.find(about) else { return Vec::new() };
        let found = |(number, layer)| Self::new(artifact, kind, number, layer);
        layers.into_iter().enumerate().map(found).collect()
    }

    fn new(artifact: &Digest, kind: ArtifactKind, number: usize, layer: LayerRef) -> Self {
        let format = if kind == ArtifactKind::Bundle { Format::Bundle } else { Format::Legacy };
        let annotations: usize = layer.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
        let size = layer.size.saturating_add(annotations as u64);
        Self { reference: CandidateRef { artifact: artifact.clone(), layer: number, format, size }, kind, layer }
    }

    /// The layer that it stands in.
    pub fn layer(&self) -> &LayerRef {
        &self.layer
    }

    /// The signature, once the layer was read.
    pub fn with(self, bytes: Bytes) -> Candidate {
        let CandidateRef { artifact, layer, format, .. } = self.reference;
        let annotations = self.layer.annotations;
        let material = match self.kind {
            ArtifactKind::Signatures => Material::SimpleSigning { payload: bytes, annotations },
            ArtifactKind::Attestations => Material::Envelope { envelope: bytes, annotations },
            ArtifactKind::Bundle | ArtifactKind::Fallback => Material::Bundle(bytes),
        };
        Candidate { artifact, layer, format, material }
    }
}
