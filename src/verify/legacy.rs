//! Signatures as cosign 1 and 2 attach them: a layer of a `.sig` or `.att` manifest, and annotations around it.
//!
//! They are written down as a bundle and then go the way of every bundle, so that there is one set of rules and one code
//! that compares log entries, certificates and signatures with each other
//! (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>, "Storage" and "Verification").

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::failure::{Failure, at_most};
use super::json;
use super::limits::{
    ATTESTATION_BYTES_MAX, LOG_BODY_BYTES_MAX, SIGNATURE_VALUE_BYTES_MAX, TEXT_BYTES_MAX, TIMESTAMP_BYTES_MAX,
};
use super::text::{base64, certificate, to_base64};

/// The signature of a simple signing payload in base64; empty beside an envelope, which has its own.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The signer's certificate in PEM.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// What Rekor answered.
pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// What a timestamp authority answered.
pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// Most bytes of an annotation that holds JSON around a log entry: base64 and the members around it.
const ENTRY_BYTES_MAX: usize = LOG_BODY_BYTES_MAX * 3 / 2;

/// The `bundle` annotation, written by Go from a structure without names for JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RekorBundle {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: RekorPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RekorPayload {
    body: String,
    integrated_time: u64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimestampAnswer {
    #[serde(rename = "SignedRFC3161Timestamp")]
    timestamp: String,
}

/// The head of a log entry's body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyHead {
    kind: String,
    api_version: String,
}

/// The bundle that says what a layer of a `.sig` manifest and its annotations say.
///
/// The annotation `chain` is left out: intermediates come from the trusted root.
///
/// # Errors
/// `malformed`, `limit_exceeded`, and those of [`Bundle::parse`].
pub fn simple_signing(annotations: &BTreeMap<String, String>) -> Result<Bundle, Failure> {
    let signature = annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
    if signature.is_empty() {
        return Err(Failure::malformed(format!("the layer has no annotation {SIGNATURE}")));
    }
    base64(signature, SIGNATURE_VALUE_BYTES_MAX, "the signature")?;
    let timestamp = annotations.get(TIMESTAMP).map(|text| timestamp(text)).transpose()?;
    bundle(annotations, timestamp, "messageSignature", json!({ "signature": signature }))
}

/// The bundle that says what a layer of a `.att` manifest and its annotations say.
///
/// Its timestamp is left out: cosign has the whole envelope stamped instead of the signature, which is not what a timestamp
/// in a bundle is for, so that one cannot stand for the other.
///
/// # Errors
/// `malformed`, `limit_exceeded`, and those of [`Bundle::parse`].
pub fn envelope(envelope: &[u8], annotations: &BTreeMap<String, String>) -> Result<Bundle, Failure> {
    at_most(envelope.len(), ATTESTATION_BYTES_MAX, "bytes of the envelope")?;
    bundle(annotations, None, "dsseEnvelope", json::strict(envelope, "the envelope")?)
}

fn bundle(
    annotations: &BTreeMap<String, String>,
    timestamp: Option<String>,
    name: &str,
    content: Value,
) -> Result<Bundle, Failure> {
    let entry = annotations.get(BUNDLE).map(|text| entry(text)).transpose()?;
    let leaf = annotations.get(CERTIFICATE).filter(|pem| !pem.is_empty()).map(|pem| certificate(pem)).transpose()?;
    // Version 0.1 is the one whose log entries have a promise and no proof; without an entry it could not have a timestamp.
    let version = if entry.is_some() { "+json;version=0.1" } else { ".v0.3+json" };
    let mut material = match leaf {
        Some(der) => json!({ "certificate": { "rawBytes": to_base64(&der) } }),
        None => json!({ "publicKey": { "hint": "" } }),
    };
    if let Some(entry) = entry {
        material["tlogEntries"] = json!([entry]);
    }
    if let Some(timestamp) = timestamp {
        material["timestampVerificationData"] = json!({ "rfc3161Timestamps": [{ "signedTimestamp": timestamp }] });
    }
    let mut bundle = json!({
        "mediaType": format!("application/vnd.dev.sigstore.bundle{version}"),
        "verificationMaterial": material,
    });
    bundle[name] = content;
    Bundle::of_annotations(bundle.to_string().as_bytes())
}

fn entry(text: &str) -> Result<Value, Failure> {
    let what = format!("the annotation {BUNDLE}");
    at_most(text.len(), ENTRY_BYTES_MAX, &format!("bytes of {what}"))?;
    let RekorBundle { promise, payload } = json::read(text.as_bytes(), &what)?;
    let body = base64(&payload.body, LOG_BODY_BYTES_MAX, "the body of the log entry")?;
    let head: BodyHead = json::read(&body, "the body of the log entry")?;
    at_most(payload.log_id.len(), TEXT_BYTES_MAX, "bytes of the identifier of the log")?;
    let log_id =
        hex::decode(&payload.log_id).map_err(|_| Failure::malformed(format!("{what}: logID is not hexadecimal")))?;
    Ok(json!({
        "logIndex": payload.log_index.to_string(),
        "logId": { "keyId": to_base64(&log_id) },
        "kindVersion": { "kind": head.kind, "version": head.api_version },
        "integratedTime": payload.integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": promise },
        "canonicalizedBody": payload.body,
    }))
}

fn timestamp(text: &str) -> Result<String, Failure> {
    let what = format!("the annotation {TIMESTAMP}");
    at_most(text.len(), TIMESTAMP_BYTES_MAX * 3 / 2, &format!("bytes of {what}"))?;
    json::read::<TimestampAnswer>(text.as_bytes(), &what).map(|answer| answer.timestamp)
}
