//! Sigstore bundles, versions 0.1 to 0.3, held to their form before anything in them is believed.
//!
//! (<https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto>, as JSON.) What is checked here is
//! what the library behind `sigstore-verify` is lax about: unknown and repeated members, a missing media type, log entries
//! and timestamps that stand twice, an integrated time that nobody signed, and the size and number of everything.

use std::collections::HashSet;

use serde::Deserialize;

use super::der;
use super::dsse::{Envelope, Wire};
use super::failure::{Failure, at_most};
use super::json;
use super::key::{Hash, Hashes};
use super::limits::{
    ATTESTATION_BYTES_MAX, CERTIFICATE_BYTES_MAX, CHAIN_MAX, CHECKPOINT_BYTES_MAX, CHECKPOINT_LINES_MAX,
    LOG_BODY_BYTES_MAX, LOG_ENTRIES_MAX, PROOF_HASHES_MAX, SIGNATURE_VALUE_BYTES_MAX, TEXT_BYTES_MAX,
    TIMESTAMP_BYTES_MAX, TIMESTAMPS_MAX,
};
use super::text::base64;
use super::verdict::ReasonCode;

/// Which rules a bundle is written by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 0.1: every log entry has the log's promise, and here its proof of inclusion as well.
    V01,
    /// 0.2: every log entry has its proof of inclusion.
    V02,
    /// 0.3: as 0.2, with one certificate in place of a chain.
    V03,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A DSSE envelope with its payload.
    Envelope(Envelope),
    /// Bytes that stand elsewhere.
    Message(Message),
}

/// A signature of bytes that stand elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The signature's value.
    pub signature: Vec<u8>,
    /// The hash of the bytes as whoever wrote the bundle says, which nobody has signed.
    pub digest: Option<(Hash, Vec<u8>)>,
}

/// Whether log entries need a proof of inclusion. The version does not say: it is the sender's word, and with version 0.1 on
/// the outside the proof could be left away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proofs {
    /// Each of them.
    Required,
    /// The promise of the log is enough in version 0.1.
    Promised,
}

/// A bundle whose form is right. Nothing in it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What was signed.
    pub content: Content,
    /// The signer's certificate (DER); without one a key made the signature, and the policy has to know which.
    pub certificate: Option<Vec<u8>>,
    /// What the bundle says of that key: in cosign's, the hash of its DER encoding in base64. Nothing is chosen by it.
    pub hint: String,
    /// How many timestamps there are.
    pub timestamps: usize,
    /// How many log entries there are.
    pub log_entries: usize,
    text: String,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// `malformed`, `limit_exceeded`, `tlog_missing` (a log entry without what proves it), `tlog_invalid` (a log entry that
    /// stands twice, or a time that nobody signed).
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        Self::read(text, Proofs::Required)
    }

    /// Reads a bundle that was written down from annotations: they hold the promise of the log, and never a proof.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse).
    pub(super) fn of_annotations(text: &[u8]) -> Result<Self, Failure> {
        Self::read(text, Proofs::Promised)
    }

    fn read(text: &[u8], proofs: Proofs) -> Result<Self, Failure> {
        at_most(text.len(), ATTESTATION_BYTES_MAX, "bytes of the bundle")?;
        let document: Document = json::read(text, "the bundle")?;
        let version = version(&document.media_type)?;
        let material = document.verification_material;
        let certificate = certificate(&material, version)?;
        let hint = material.public_key.map(|key| key.hint).unwrap_or_default();
        check_log_entries(&material.tlog_entries, version, proofs)?;
        let log_entries = material.tlog_entries.len();
        let timestamps = timestamps(material.timestamp_verification_data)?;
        let content = match (document.dsse_envelope, document.message_signature) {
            (Some(envelope), None) => Content::Envelope(envelope.try_into()?),
            (None, Some(message)) => Content::Message(message.try_into()?),
            _ => return Err(Failure::malformed("the bundle must have either dsseEnvelope or messageSignature")),
        };
        let text = str::from_utf8(text).map_err(|_| Failure::malformed("the bundle is not UTF-8"))?.to_owned();
        Ok(Self { content, certificate, hint, timestamps, log_entries, text })
    }

    /// The signature's value.
    pub fn signature(&self) -> &[u8] {
        match &self.content {
            Content::Envelope(envelope) => &envelope.signature,
            Content::Message(message) => &message.signature,
        }
    }

    /// The bundle as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Wire>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Option<KeyHint>,
    certificate: Option<Certificate>,
    #[serde(rename = "x509CertificateChain")]
    chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<Entry>,
    timestamp_verification_data: Option<TimestampData>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Certificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimestampData {
    #[serde(default, rename = "rfc3161Timestamps")]
    timestamps: Vec<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Timestamp {
    signed_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    log_index: Integer,
    log_id: LogId,
    kind_version: KindVersion,
    #[serde(default)]
    integrated_time: Integer,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<Proof>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proof {
    #[serde(default)]
    log_index: Integer,
    root_hash: String,
    tree_size: Integer,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: Checkpoint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    envelope: String,
}

/// An `int64` of protobuf, which JSON writes as a text; a number is read as well (`ProtoJSON`).
#[derive(Deserialize)]
#[serde(untagged)]
enum Integer {
    Number(i64),
    Text(String),
}

impl Default for Integer {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Integer {
    /// The value, which is never negative where it is used here.
    fn value(&self, what: &str) -> Result<i64, Failure> {
        let value = match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => text.parse().ok().filter(|value: &i64| value.to_string() == *text),
        };
        let value = value.filter(|value| *value >= 0);
        value.ok_or_else(|| Failure::malformed(format!("{what} is not an integer from 0 to 2^63-1")))
    }
}

/// Both spellings of version 0.3 are in use.
fn version(media_type: &str) -> Result<Version, Failure> {
    match media_type {
        "application/vnd.dev.sigstore.bundle+json;version=0.1" => Ok(Version::V01),
        "application/vnd.dev.sigstore.bundle+json;version=0.2" => Ok(Version::V02),
        "application/vnd.dev.sigstore.bundle+json;version=0.3" | "application/vnd.dev.sigstore.bundle.v0.3+json" => {
            Ok(Version::V03)
        }
        _ => Err(Failure::malformed("mediaType is not that of a Sigstore bundle of version 0.1, 0.2 or 0.3")),
    }
}

/// The first certificate. Those behind it must keep the limits as well, since the library reads them.
fn certificate(material: &Material, version: Version) -> Result<Option<Vec<u8>>, Failure> {
    let certificates: &[Certificate] = match (&material.public_key, &material.certificate, &material.chain) {
        (Some(key), None, None) => {
            at_most(key.hint.len(), TEXT_BYTES_MAX, "bytes of the hint at the key")?;
            return Ok(None);
        }
        (None, Some(certificate), None) => std::slice::from_ref(certificate),
        (None, None, Some(chain)) if version != Version::V03 => &chain.certificates,
        (None, None, Some(_)) => {
            return Err(Failure::malformed("a bundle of version 0.3 has one certificate and no chain"));
        }
        _ => return Err(Failure::malformed("the bundle must have either a key or a certificate")),
    };
    at_most(certificates.len(), CHAIN_MAX, "certificates in the chain")?;
    let decode = |certificate: &Certificate| {
        let certificate = base64(&certificate.raw_bytes, CERTIFICATE_BYTES_MAX, "the certificate")?;
        der::check(&certificate, "the certificate").map(|()| certificate)
    };
    let certificates = certificates.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    let first = certificates.into_iter().next();
    first.map(Some).ok_or_else(|| Failure::malformed("the chain of certificates is empty"))
}

fn timestamps(data: Option<TimestampData>) -> Result<usize, Failure> {
    let timestamps = data.map(|data| data.timestamps).unwrap_or_default();
    at_most(timestamps.len(), TIMESTAMPS_MAX, "timestamps")?;
    let mut seen = HashSet::new();
    for timestamp in &timestamps {
        let token = base64(&timestamp.signed_timestamp, TIMESTAMP_BYTES_MAX, "the timestamp")?;
        der::check(&token, "the timestamp")?;
        if !seen.insert(token) {
            return Err(Failure::malformed("a timestamp stands in the bundle twice"));
        }
    }
    Ok(timestamps.len())
}

impl Message {
    /// Checks that the bundle is one for a file, as far as it says.
    ///
    /// # Errors
    /// `subject_mismatch`, `unsupported_algorithm`.
    pub(super) fn check_digest(&self, hashes: &Hashes) -> Result<(), Failure> {
        let Some((hash, value)) = &self.digest else { return Ok(()) };
        let (code, message) = match hashes.get(*hash) {
            Some(known) if known == value => return Ok(()),
            Some(_) => (ReasonCode::SubjectMismatch, "the bundle says that it is for another file"),
            None => (ReasonCode::UnsupportedAlgorithm, "the bundle has another hash than the one that is given"),
        };
        Err(Failure::new(code, message))
    }
}

impl TryFrom<MessageSignature> for Message {
    type Error = Failure;

    fn try_from(wire: MessageSignature) -> Result<Self, Failure> {
        let digest = wire.message_digest.map(MessageDigest::value).transpose()?;
        Ok(Self {
            signature: base64(&wire.signature, SIGNATURE_VALUE_BYTES_MAX, "the signature of the message")?,
            digest,
        })
    }
}

impl MessageDigest {
    fn value(self) -> Result<(Hash, Vec<u8>), Failure> {
        at_most(self.algorithm.len(), TEXT_BYTES_MAX, "bytes of the name of the digest")?;
        let value = base64(&self.digest, TEXT_BYTES_MAX, "the digest of the message")?;
        let hash = match self.algorithm.as_str() {
            "SHA2_256" => Hash::Sha256,
            "SHA2_384" => Hash::Sha384,
            "SHA2_512" => Hash::Sha512,
            _ => {
                let message = "the digest of the message is none of SHA2_256, SHA2_384 and SHA2_512";
                return Err(Failure::new(ReasonCode::UnsupportedAlgorithm, message));
            }
        };
        if value.len() != hash.output_len() {
            return Err(Failure::malformed("the digest of the message has not the length of its algorithm"));
        }
        Ok((hash, value))
    }
}

fn check_log_entries(entries: &[Entry], version: Version, proofs: Proofs) -> Result<(), Failure> {
    at_most(entries.len(), LOG_ENTRIES_MAX, "log entries")?;
    let mut places = HashSet::new();
    let mut bodies = HashSet::new();
    for entry in entries {
        let log = base64(&entry.log_id.key_id, TEXT_BYTES_MAX, "the identifier of the log")?;
        let body = base64(&entry.canonicalized_body, LOG_BODY_BYTES_MAX, "the body of the log entry")?;
        let index = entry.log_index.value("logIndex of the log entry")?;
        if !places.insert((log.clone(), index)) || !bodies.insert((log, body)) {
            return Err(Failure::new(ReasonCode::TlogInvalid, "a log entry stands in the bundle twice"));
        }
        entry.check(version, proofs)?;
    }
    Ok(())
}

impl Entry {
    /// What proves the entry is there as its version wants it.
    fn check(&self, version: Version, proofs: Proofs) -> Result<(), Failure> {
        let lacks = |what: &str| Failure::new(ReasonCode::TlogMissing, format!("a log entry lacks {what}"));
        let kind_len = self.kind_version.kind.len().max(self.kind_version.version.len());
        at_most(kind_len, TEXT_BYTES_MAX, "bytes of the kind of the log entry")?;
        let time = Some(self.integrated_time.value("integratedTime of the log entry")?).filter(|time| *time != 0);
        match (&self.inclusion_promise, time) {
            (Some(promise), Some(_)) => {
                let what = "the promise of the log entry";
                base64(&promise.signed_entry_timestamp, SIGNATURE_VALUE_BYTES_MAX, what)?;
            }
            (Some(_), None) => return Err(lacks("the time that its promise is for")),
            (None, Some(_)) => {
                let message = "a log entry has an integrated time that the log has not signed";
                return Err(Failure::new(ReasonCode::TlogInvalid, message));
            }
            (None, None) if version == Version::V01 => return Err(lacks("the promise of the log")),
            (None, None) => {}
        }
        match &self.inclusion_proof {
            Some(proof) => proof.check(),
            None if version == Version::V01 && proofs == Proofs::Promised => Ok(()),
            None => Err(lacks("its proof of inclusion")),
        }
    }
}

impl Proof {
    fn check(&self) -> Result<(), Failure> {
        self.log_index.value("logIndex of the proof of inclusion")?;
        self.tree_size.value("treeSize of the proof of inclusion")?;
        at_most(self.hashes.len(), PROOF_HASHES_MAX, "hashes of the proof of inclusion")?;
        for hash in self.hashes.iter().chain([&self.root_hash]) {
            base64(hash, TEXT_BYTES_MAX, "a hash of the proof of inclusion")?;
        }
        let checkpoint = &self.checkpoint.envelope;
        at_most(checkpoint.len(), CHECKPOINT_BYTES_MAX, "bytes of the checkpoint of the log")?;
        at_most(checkpoint.lines().count(), CHECKPOINT_LINES_MAX, "lines of the checkpoint of the log")
    }
}
