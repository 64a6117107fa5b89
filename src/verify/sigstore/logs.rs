//! Entries of logs: the certificates in them, and when the key of a log counts.
//!
//! The library parses the certificates of an entry, and an entry that nobody asks to be in its log can hold anything. It holds the promise of a log against the time in which its key counts, and the checkpoint against the start of that time
//! alone: whoever comes by the key of a log that was closed long ago could still show proofs of inclusion.

use std::ops::RangeInclusive;

use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::rekor::body::{DsseV001Signature, IntotoSignature, RekorEntryBody};
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Checkpoint, TimeRange, TransparencyLogEntry};

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::verify::der;
use crate::verify::failure::{Failure, at_most};
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

    /// Checks that every checkpoint is by a log whose key counted when the entry was made: at the time that the log has
    /// signed, else at all of `times`, and now where nobody says when it was.
    ///
    /// # Errors
    /// `tlog_invalid`.
    pub(super) fn check(&self, entries: &[TransparencyLogEntry], times: &[Timestamp]) -> Result<(), Failure> {
        for entry in entries {
            let Some(proof) = &entry.inclusion_proof else { continue };
            let promised = entry.integrated_time.filter(|_| entry.inclusion_promise.is_some());
            let at = match (promised, times) {
                (Some(time), _) => vec![Timestamp::from_micros(time.as_microsecond())],
                (None, []) => vec![SystemClock.now()],
                (None, times) => times.to_vec(),
            };
            let signed_by = |log: &Log| proof.checkpoint.checkpoint().is_some_and(|note| log.has_signed(note));
            let counts = |log: &&Log| at.iter().all(|time| log.window.contains(time));
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
