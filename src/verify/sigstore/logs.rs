//! Entries of logs: the certificates in them, and when the key of a log counts.
//!
//! The library parses the certificates of an entry, and an entry that nobody asks to be in its log can hold anything. It
//! holds the promise of a log against the time in which its key counts, and the checkpoint against the start of that time
//! alone: whoever comes by the key of a log that was closed long ago could still show proofs of inclusion.
//!
//! Rekor 2 promises nothing and says no time, and closes its logs year by year. There a timestamp says whether the key
//! counted. Without one nobody can say more than that the log has begun: to hold the entry against the clock would refuse
//! what was signed and logged as it should be, on the day that its log is closed.

use std::ops::RangeInclusive;

use serde_json::Value;
use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::rekor::body::{DsseV001Signature, IntotoSignature, RekorEntryBody};
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Checkpoint, DerCertificate, KindVersion, TimeRange, TransparencyLogEntry};
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::oci::json::JSON_VALUES_MAX;
use crate::verify::der;
use crate::verify::failure::{Failure, at_most};
use crate::verify::json;
use crate::verify::limits::CERTIFICATE_BYTES_MAX;
use crate::verify::verdict::ReasonCode;

/// The logs of a trusted root.
pub(super) struct Logs(Vec<Log>);

struct Log {
    id: Vec<u8>,
    key: VerificationKey,
    window: RangeInclusive<Timestamp>,
}

impl Logs {
    /// # Errors
    /// What is wrong with a key, in the library's words.
    pub(super) fn new(root: &TrustedRoot) -> Result<Self, String> {
        let logs = root.tlogs.iter().map(|log| {
            let key = VerificationKey::from_spki(&log.public_key.raw_bytes).map_err(|error| error.to_string())?;
            Ok(Log { id: log.log_id.key_id.as_bytes().to_vec(), key, window: window(log.public_key.valid_for) })
        });
        logs.collect::<Result<_, _>>().map(Self)
    }

    /// Leaves out the entries of other logs: what nobody vouches for proves nothing, and takes nothing from what stands
    /// beside it.
    pub(super) fn retain_known(&self, entries: &mut Vec<TransparencyLogEntry>) {
        entries.retain(|entry| self.0.iter().any(|log| log.id == entry.log_id.key_id.as_bytes()));
    }

    /// Checks that every checkpoint is by a log whose key counted when the entry was made: at the time that the log has
    /// signed, else at all of `times`. Where nobody says when it was, the log has to have begun by now.
    ///
    /// # Errors
    /// `tlog_invalid`.
    pub(super) fn check(&self, entries: &[TransparencyLogEntry], times: &[Timestamp]) -> Result<(), Failure> {
        for entry in entries {
            let Some(proof) = &entry.inclusion_proof else { continue };
            let at = match time_of(entry) {
                Some(time) => vec![time],
                None => times.to_vec(),
            };
            let signed_by = |log: &Log| proof.checkpoint.checkpoint().is_some_and(|note| log.has_signed(note));
            let counts = |log: &&Log| match at.as_slice() {
                [] => *log.window.start() <= SystemClock.now(),
                at => at.iter().all(|time| log.window.contains(time)),
            };
            if !self.0.iter().filter(counts).any(signed_by) {
                let message = "the checkpoint of the log is not by a key that counted then";
                return Err(Failure::new(ReasonCode::TlogInvalid, message));
            }
        }
        Ok(())
    }
}

impl Log {
    /// The four bytes at a signature of a checkpoint only say which keys to try.
    fn has_signed(&self, checkpoint: &Checkpoint) -> bool {
        let mut signatures = checkpoint.signatures().iter().filter(|by| self.id.starts_with(by.key_id.as_bytes()));
        signatures.any(|by| self.key.verify(checkpoint.signed_data(), &by.signature).is_ok())
    }
}

/// When an entry was taken in, where its log puts its name to that: Rekor 1 does, in a promise.
pub(super) fn time_of(entry: &TransparencyLogEntry) -> Option<Timestamp> {
    let signs =
        matches!(entry.kind_version, KindVersion::HashedRekordV001 | KindVersion::DsseV001 | KindVersion::IntotoV002);
    let time = entry.integrated_time.filter(|_| signs && entry.inclusion_promise.is_some());
    time.map(|time| Timestamp::from_micros(time.as_microsecond()))
}

/// The certificate of this key that a log has written down in place of the key, as it does for a signature that somebody
/// gave a certificate to; for the kinds of entries in which the library looks for a bare key alone.
pub(super) fn certificate_of(key: &[u8], entry: &TransparencyLogEntry) -> Option<DerCertificate> {
    let Ok(RekorEntryBody::HashedRekordV001(body)) =
        RekorEntryBody::parse(&entry.canonicalized_body, entry.kind_version)
    else {
        return None;
    };
    let certificate = body.spec.signature.public_key.parse_certificate().ok()?;
    let is_of_key = X509Certificate::from_der(certificate.as_bytes())
        .is_ok_and(|(_, certificate)| certificate.public_key().raw == key);
    is_of_key.then_some(certificate)
}

/// Says of entries that were refused which of them the library cannot verify, whatever they hold: those of Rekor 2 for keys
/// other than P-256, and over another hash than SHA-256.
pub(super) fn explain(failure: Failure, entries: &[TransparencyLogEntry]) -> Failure {
    if failure.code == ReasonCode::TlogInvalid && entries.iter().any(is_of_another_algorithm) {
        const WHY: &str =
            "log entries of Rekor 2 for keys other than P-256, and over another hash than SHA-256, are not verified";
        return Failure::new(ReasonCode::UnsupportedAlgorithm, format!("{WHY}: {}", failure.message));
    }
    failure
}

fn is_of_another_algorithm(entry: &TransparencyLogEntry) -> bool {
    let Ok(body) = json::exact(entry.canonicalized_body.as_bytes(), JSON_VALUES_MAX, "the body of the log entry")
    else {
        return false;
    };
    let is_not = |pointer: &str, known: &str| {
        body.pointer(pointer).and_then(Value::as_str).is_some_and(|name| !name.eq_ignore_ascii_case(known))
    };
    is_not("/spec/hashedRekordV002/signature/verifier/keyDetails", "PKIX_ECDSA_P256_SHA_256")
        || is_not("/spec/hashedRekordV002/data/algorithm", "SHA2_256")
        || is_not("/spec/data/hash/algorithm", "sha256")
}

/// Checks the certificates in the body of an entry before they are parsed. A body that cannot be read has none; that it
/// cannot be read is for the library to say.
///
/// # Errors
/// `malformed`, `limit_exceeded`.
pub(super) fn check_certificates(entry: &TransparencyLogEntry) -> Result<(), Failure> {
    let Ok(body) = RekorEntryBody::parse(&entry.canonicalized_body, entry.kind_version) else { return Ok(()) };
    let certificates: Vec<_> = match &body {
        RekorEntryBody::DsseV001(body) => {
            body.spec.signatures.iter().map(DsseV001Signature::parse_certificate).collect()
        }
        RekorEntryBody::IntotoV002(body) => {
            body.spec.content.envelope.signatures.iter().map(IntotoSignature::parse_certificate).collect()
        }
        RekorEntryBody::HashedRekordV001(body) => vec![body.spec.signature.public_key.parse_certificate()],
        // The certificates of the other kinds are compared byte by byte and not parsed.
        _ => return Ok(()),
    };
    for certificate in certificates.into_iter().flatten() {
        at_most(certificate.as_bytes().len(), CERTIFICATE_BYTES_MAX, "bytes of the certificate in the log entry")?;
        der::check(certificate.as_bytes(), "the certificate in the log entry")?;
    }
    Ok(())
}

/// Both ends count. Without a window a key counts always.
fn window(range: Option<TimeRange>) -> RangeInclusive<Timestamp> {
    let start = range.map_or(i64::MIN, |range| range.start.as_microsecond());
    let end = match range.and_then(|range| range.end) {
        Some(end) => end.as_microsecond(),
        None => i64::MAX,
    };
    Timestamp::from_micros(start)..=Timestamp::from_micros(end)
}
