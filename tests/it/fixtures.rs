//! Content to push: blobs from a seed, manifests from a builder. No binary fixtures.

use bonded::metadata::model::accounts::Actor;
use bonded::oci::digest::{Algorithm, Digest};
use serde_json::{Value, json};

/// Who does something where nobody asks.
pub(crate) static NOBODY: Actor = Actor { name: None, address: None, request_id: None };

/// Media type of an OCI image manifest.
pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Media type of an OCI image index.
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `len` bytes that follow from `seed`, without a short period.
pub(crate) fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

/// The sha256 digest of `data`, as text.
pub(crate) fn sha256(data: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, data).to_string()
}

/// The sha512 digest of `data`, as text.
pub(crate) fn sha512(data: &[u8]) -> String {
    Digest::of(Algorithm::Sha512, data).to_string()
}

/// A descriptor of `data`.
pub(crate) fn descriptor(media_type: &str, data: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(data), "size": data.len()})
}

/// An image manifest in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageBuilder {
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
    subject: Option<Value>,
    artifact_type: Option<String>,
    annotations: Vec<(String, String)>,
}

impl ImageBuilder {
    /// An image whose config is `{}` and that has no layers.
    pub(crate) fn new() -> Self {
        Self { config: b"{}".to_vec(), ..Self::default() }
    }

    /// Adds a layer.
    pub(crate) fn layer(mut self, data: &[u8]) -> Self {
        self.layers.push(data.to_vec());
        self
    }

    /// Names a subject by its manifest's bytes.
    pub(crate) fn subject(mut self, media_type: &str, manifest: &[u8]) -> Self {
        self.subject = Some(descriptor(media_type, manifest));
        self
    }

    /// Sets `artifactType`.
    pub(crate) fn artifact_type(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// Adds an annotation.
    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The blobs the manifest names.
    pub(crate) fn blobs(&self) -> Vec<Vec<u8>> {
        std::iter::once(self.config.clone()).chain(self.layers.iter().cloned()).collect()
    }

    /// The manifest's bytes.
    pub(crate) fn manifest(&self) -> Vec<u8> {
        let layer = |data: &Vec<u8>| descriptor("application/vnd.oci.image.layer.v1.tar", data);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &self.config),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        if let Some(subject) = &self.subject {
            manifest["subject"] = subject.clone();
        }
        if let Some(artifact_type) = &self.artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        for (key, value) in &self.annotations {
            manifest["annotations"][key] = json!(value);
        }
        serde_json::to_vec_pretty(&manifest).expect("a manifest is JSON")
    }
}

/// An index of these image manifests.
pub(crate) fn index(manifests: &[Vec<u8>]) -> Vec<u8> {
    let children: Vec<Value> = manifests.iter().map(|manifest| descriptor(IMAGE_MANIFEST, manifest)).collect();
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": children}))
        .expect("an index is JSON")
}
