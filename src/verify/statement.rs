//! What a signature says, read from the bytes that were signed and from nothing else.
//!
//! An annotation, a tag or a `subject` only says where to look; what counts for a digest is what the signer has put down
//! about that digest.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::{Failure, at_most};
use super::json;
use super::key::{Hash, Hashes};
use super::limits::{ATTESTATION_BYTES_MAX, SIGNATURE_BYTES_MAX, STATEMENT_VALUES_MAX, SUBJECTS_MAX, TEXT_BYTES_MAX};
use super::verdict::ReasonCode;
use crate::oci::digest::Digest;

/// The predicate of a statement that is a signature and nothing else.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The `type` of a simple signing payload that is a container signature. Others, such as `atomic container signature` of
/// other tools, are none of cosign's.
pub const SIMPLE_SIGNING: &str = "cosign container image signature";

/// The types of in-toto statements; cosign writes both.
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// What a signer says about a digest.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// This is what I release.
    Signature {
        /// The name that it was signed under, of a simple signing payload.
        docker_reference: Option<String>,
        /// What else the signer put in (`cosign sign -a name=value`).
        annotations: BTreeMap<String, Value>,
        /// The type of predicate, of a statement.
        predicate_type: Option<String>,
    },
    /// Something is so about it.
    Attestation {
        /// What kind of thing.
        predicate_type: String,
        /// What it is.
        predicate: Value,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SimpleSigning {
    critical: Critical,
    optional: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
    annotations: Option<Map<String, Value>>,
}

impl Subject {
    fn is(&self, digest: &Digest) -> bool {
        self.digest.get(digest.algorithm().as_str()).is_some_and(|hex| *hex == digest.hex())
    }

    /// Whether it has one of the hashes at least, and none that differs.
    fn is_file(&self, hashes: &Hashes) -> bool {
        let named = |(hash, value): (Hash, &[u8])| Some(*self.digest.get(hash.name())? == hex::encode(value));
        let mut named = hashes.iter().filter_map(named).peekable();
        named.peek().is_some() && named.all(|is_same| is_same)
    }
}

/// What a signed simple signing payload says of `subject`.
///
/// # Errors
/// `malformed` (also for another `type`), `limit_exceeded`, `subject_mismatch`.
pub fn simple_signing(payload: &[u8], subject: &Digest) -> Result<Claim, Failure> {
    let SimpleSigning { critical, optional } = read_simple_signing(payload)?;
    if critical.kind != SIMPLE_SIGNING {
        return Err(Failure::malformed(format!("the type of the payload is not `{SIMPLE_SIGNING}`")));
    }
    if critical.image.digest != subject.to_string() {
        return Err(mismatch(subject));
    }
    Ok(Claim::Signature {
        docker_reference: Some(critical.identity.docker_reference),
        annotations: optional.unwrap_or_default().into_iter().collect(),
        predicate_type: None,
    })
}

/// Whether bytes have the form of a simple signing payload, whatever it says.
///
/// # Errors
/// `malformed`, `limit_exceeded`.
pub fn check_simple_signing(payload: &[u8]) -> Result<(), Failure> {
    read_simple_signing(payload).map(drop)
}

/// What a signed in-toto statement says of `subject`
/// (<https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>).
///
/// # Errors
/// `malformed`, `limit_exceeded`, `subject_mismatch`.
pub fn statement(payload: &[u8], subject: &Digest) -> Result<Claim, Failure> {
    claim(payload, |named| named.is(subject), || mismatch(subject)).map(|(claim, _)| claim)
}

/// What a signed in-toto statement says of a file, and a digest it names the file by; `None`: by SHA-384 alone.
///
/// Whoever states something of a file may choose the hash; of manifests, it is the one of their digest.
///
/// # Errors
/// `malformed`, `limit_exceeded`, `subject_mismatch`.
pub(super) fn statement_of_file(payload: &[u8], hashes: &Hashes) -> Result<(Claim, Option<Digest>), Failure> {
    let mismatch = || Failure::new(ReasonCode::SubjectMismatch, "what was signed is not about this file");
    let (claim, named) = claim(payload, |named| named.is_file(hashes), mismatch)?;
    let hash = [Hash::Sha256, Hash::Sha512].into_iter().find(|hash| named.contains_key(hash.name()));
    Ok((claim, hash.and_then(|hash| hashes.digest(hash))))
}

/// What a statement says of the subject that `is` the one asked for, and the digests that it names it by.
fn claim(
    payload: &[u8],
    is: impl Fn(&Subject) -> bool,
    mismatch: impl FnOnce() -> Failure,
) -> Result<(Claim, BTreeMap<String, String>), Failure> {
    let statement = read_statement(payload)?;
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(Failure::malformed("the _type of the statement is not that of in-toto, version 1 or 0.1"));
    }
    at_most(statement.predicate_type.len(), TEXT_BYTES_MAX, "bytes of predicateType")?;
    if statement.predicate_type.is_empty() {
        return Err(Failure::malformed("predicateType of the statement is empty"));
    }
    let mut named = statement.subject.into_iter().filter(is);
    let first = named.next().ok_or_else(mismatch)?;
    if statement.predicate_type != COSIGN_SIGN {
        let Statement { predicate_type, predicate, .. } = statement;
        return Ok((Claim::Attestation { predicate_type, predicate }, first.digest));
    }
    at_most(payload.len(), SIGNATURE_BYTES_MAX, "bytes of the statement of a signature")?;
    // Which annotations hold would depend on which of the two is read.
    if named.next().is_some() {
        return Err(Failure::malformed("the statement names the digest twice"));
    }
    let claim = Claim::Signature {
        docker_reference: None,
        annotations: first.annotations.unwrap_or_default().into_iter().collect(),
        predicate_type: Some(statement.predicate_type),
    };
    Ok((claim, first.digest))
}

/// Whether bytes have the form of a statement that is more than a signature, whatever it says and of what.
pub fn is_attestation(payload: &[u8]) -> bool {
    read_statement(payload).is_ok_and(|statement| statement.predicate_type != COSIGN_SIGN)
}

fn mismatch(subject: &Digest) -> Failure {
    Failure::new(ReasonCode::SubjectMismatch, format!("what was signed is not {subject}"))
}

fn read_simple_signing(payload: &[u8]) -> Result<SimpleSigning, Failure> {
    at_most(payload.len(), SIGNATURE_BYTES_MAX, "bytes of the payload")?;
    json::read(payload, "the payload")
}

/// Everything but the predicate has names that differ in more than their case.
fn read_statement(payload: &[u8]) -> Result<Statement, Failure> {
    const WHAT: &str = "the statement";
    at_most(payload.len(), ATTESTATION_BYTES_MAX, "bytes of the statement")?;
    let mut value = json::exact(payload, STATEMENT_VALUES_MAX, WHAT)?;
    let predicate = value.get_mut("predicate").map(Value::take);
    json::unambiguous(&value, WHAT)?;
    if let Some(subjects) = value.get("subject").and_then(Value::as_array) {
        at_most(subjects.len(), SUBJECTS_MAX, "subjects of the statement")?;
    }
    let statement: Statement = json::typed(value, WHAT)?;
    Ok(Statement { predicate: predicate.unwrap_or_default(), ..statement })
}
