//! Signatures as cosign makes them with a key, without cosign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::servers::{BUNDLE, SigningKey};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::fixtures::{IMAGE_MANIFEST, descriptor, sha256};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Somebody with a P-256 key.
pub(super) struct Signer {
    key: SigningKey,
}

/// A referrer manifest and the blobs that it names.
pub(super) struct Signed {
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: Vec<Vec<u8>>,
}

impl Signed {
    /// Stores everything under the manifest's digest, or a tag.
    pub(super) async fn push(&self, app: &TestApp, repo: &str, tag: Option<&str>, token: Option<&str>) -> String {
        for blob in &self.blobs {
            let path = format!("/v2/{repo}/blobs/uploads/?digest={}", sha256(blob));
            let request = super::with(app.post(&path), token).body(blob.clone());
            crate::app::expect(request, reqwest::StatusCode::CREATED).await;
        }
        let digest = sha256(&self.manifest);
        let request = super::with(app.put(&format!("/v2/{repo}/manifests/{}", tag.unwrap_or(&digest))), token);
        let request = request.header("content-type", IMAGE_MANIFEST).body(self.manifest.clone());
        crate::app::expect(request, reqwest::StatusCode::CREATED).await;
        digest
    }
}

impl Signer {
    pub(super) fn new() -> Self {
        Self { key: SigningKey::generate().expect("a key") }
    }

    pub(super) fn pem(&self) -> String {
        self.key.public_key()
    }

    fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.key.sign(message).expect("a signature"))
    }

    /// `cosign sign --key`, as version 3 does: a bundle that refers to a manifest.
    pub(super) fn bundle(&self, subject: &[u8]) -> Signed {
        self.statement(subject, "https://sigstore.dev/cosign/sign/v1", &sha256(subject))
    }

    /// A bundle that refers to one manifest and is about the digest of perhaps another one.
    pub(super) fn statement(&self, subject: &[u8], predicate_type: &str, about: &str) -> Signed {
        let hex = about.trim_start_matches("sha256:");
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": hex}}],
            "predicateType": predicate_type, "predicate": {},
        });
        bundle_of(subject, self.envelope(&payload.to_string()).to_string().into_bytes())
    }

    /// A bundle around whatever is to be signed.
    pub(super) fn envelope(&self, payload: &str) -> Value {
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": self.key.dsse(payload).expect("an envelope"),
        })
    }

    /// `cosign sign --key` as version 2 does: what stands under the tag `sha256-<hex>.sig`.
    pub(super) fn simple(&self, subject: &[u8]) -> Signed {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": "example.com/a"},
                "image": {"docker-manifest-digest": sha256(subject)}, "type": "cosign container image signature",
            },
            "optional": null,
        });
        self.simple_of(&[&payload.to_string()])
    }

    /// The same around whatever is to be signed, a layer each.
    pub(super) fn simple_of(&self, payloads: &[&str]) -> Signed {
        let layer = |payload: &&str| {
            let mut layer = descriptor(SIMPLE_SIGNING, payload.as_bytes());
            layer["annotations"] = json!({"dev.cosignproject.cosign/signature": self.sign(payload.as_bytes())});
            layer
        };
        let config = br#"{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": payloads.iter().map(layer).collect::<Vec<_>>(),
        });
        let payloads = payloads.iter().map(|payload| payload.as_bytes().to_vec());
        Signed { manifest: manifest.to_string().into_bytes(), blobs: [config].into_iter().chain(payloads).collect() }
    }
}

/// A referrer with these bytes as its bundle.
pub(super) fn bundle_of(subject: &[u8], bundle: Vec<u8>) -> Signed {
    let mut config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    config["artifactType"] = Value::from(BUNDLE);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": BUNDLE, "config": config,
        "layers": [descriptor(BUNDLE, &bundle)], "subject": descriptor(IMAGE_MANIFEST, subject),
    });
    Signed { manifest: manifest.to_string().into_bytes(), blobs: vec![b"{}".to_vec(), bundle] }
}

/// The tag of cosign's version 2 for a manifest.
pub(super) fn sig_tag(subject: &[u8]) -> String {
    format!("{}.sig", sha256(subject).replace(':', "-"))
}
