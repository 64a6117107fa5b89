//! Signatures as cosign 3 makes them, without cosign: for whoever needs thousands of them.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{SigningKey, SigningLab, base64, from_base64, from_pem_certificate};

/// Media type and version of the bundles.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const PAYLOAD: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

impl SigningKey {
    /// `cosign sign --key` without services: a bundle that says that a digest (`sha256:` and 64 digits) was signed.
    pub fn bundle(&self, digest: &str) -> Result<Vec<u8>> {
        let envelope = self.envelope(digest)?;
        let hint = base64(&Sha256::digest(super::from_pem(&self.public_key())?));
        Ok(bundle(&json!({ "publicKey": { "hint": hint } }), &envelope))
    }

    /// A statement about a digest, signed.
    fn envelope(&self, digest: &str) -> Result<Value> {
        let hex = digest.strip_prefix("sha256:").context("only SHA-256 digests are signed")?;
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": [{ "digest": { "sha256": hex } }],
            "predicateType": SIGNATURE, "predicate": {},
        });
        self.dsse(&statement.to_string())
    }

    /// An envelope (DSSE) around whatever is to be signed as an in-toto statement.
    pub fn dsse(&self, payload: &str) -> Result<Value> {
        let signed = format!("DSSEv1 {} {PAYLOAD} {} {payload}", PAYLOAD.len(), payload.len());
        let signature = base64(&self.sign(signed.as_bytes())?);
        Ok(json!({
            "payload": base64(payload.as_bytes()), "payloadType": PAYLOAD, "signatures": [{ "sig": signature }],
        }))
    }
}

impl SigningLab {
    /// `cosign sign` by whoever an identity token speaks of: a bundle with a certificate for a key that nobody keeps, and
    /// an entry in the log.
    pub fn keyless_bundle(&self, issuer: &str, address: &str, digest: &str) -> Result<Vec<u8>> {
        let key = SigningKey::generate()?;
        let claims = json!({ "iss": issuer, "sub": address, "email": address });
        let certificate = self.services.signers.issue(&super::from_pem(&key.public_key())?, &claims)?;
        let envelope = key.envelope(digest)?;
        let verifier = base64(certificate.as_bytes());
        let proposed = json!({
            "kind": "dsse",
            "spec": { "proposedContent": { "envelope": envelope.to_string(), "verifiers": [verifier] } },
        });
        let (name, entry) = self.services.log.add(&proposed)?;
        let material = json!({
            "certificate": { "rawBytes": base64(&from_pem_certificate(&certificate)?) },
            "tlogEntries": [in_bundle(&entry[name])?],
        });
        Ok(bundle(&material, &envelope))
    }
}

/// An entry that Rekor has answered, as a bundle has it (`dev.sigstore.rekor.v1.TransparencyLogEntry`).
fn in_bundle(entry: &Value) -> Result<Value> {
    let bytes = |hex: &Value| Ok::<_, anyhow::Error>(base64(&hex::decode(hex.as_str().context("no hash")?)?));
    let proof = &entry["verification"]["inclusionProof"];
    let hashes = proof["hashes"].as_array().context("no hashes")?.iter().map(bytes).collect::<Result<Vec<_>>>()?;
    let body = entry["body"].as_str().context("no body")?;
    let kind: Value = serde_json::from_slice(&from_base64(body)?)?;
    Ok(json!({
        "logIndex": entry["logIndex"].to_string(),
        "logId": { "keyId": bytes(&entry["logID"])? },
        "kindVersion": { "kind": kind["kind"], "version": kind["apiVersion"] },
        "integratedTime": entry["integratedTime"].to_string(),
        "inclusionPromise": { "signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"] },
        "inclusionProof": {
            "logIndex": proof["logIndex"].to_string(), "rootHash": bytes(&proof["rootHash"])?,
            "treeSize": proof["treeSize"].to_string(), "hashes": hashes,
            "checkpoint": { "envelope": proof["checkpoint"] },
        },
        "canonicalizedBody": body,
    }))
}

fn bundle(material: &Value, envelope: &Value) -> Vec<u8> {
    let bundle = json!({ "mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope });
    bundle.to_string().into_bytes()
}
