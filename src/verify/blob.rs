//! Signatures of files, as `cosign sign-blob` makes them: a bundle beside the file.
//!
//! The registry itself judges manifests (`super::proof`); this is for the command line.

use super::bundle::{Bundle, Content};
use super::evidence::{Evidence, Made, or_of_the_log};
use super::failure::Failure;
use super::key::Hashes;
use super::proof::{Claim, Format, Signer, Trust};
use super::sigstore::Signed;
use super::statement;
use crate::clock::Timestamp;
use crate::oci::digest::{Algorithm, Digest};

/// A file, or what is known of it.
#[derive(Clone, Copy, Debug)]
pub enum Blob<'a> {
    /// Its bytes.
    Bytes(&'a [u8]),
    /// Its digest. Enough for a statement, and for a message signature that is in a log.
    Digest(&'a Digest),
    /// Its hashes, as it is too long to be held. Enough for everything but keys that sign whole messages (Ed25519), and
    /// log entries of keys that sign another hash than SHA-256.
    Hashed(&'a Hashes),
}

/// What holds for the signature of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct BlobProof {
    /// Who made it.
    pub signer: Signer,
    /// What it says of the file; `None`: it is over the file itself.
    pub claim: Option<Claim>,
    /// When it was made: the earliest time that a log or a timestamp authority vouches for.
    pub signed_at: Option<Timestamp>,
    /// Whether it is in a log.
    pub tlog: bool,
    /// Whether its certificate is in a log.
    pub sct: bool,
    /// Whether a timestamp authority vouches for its time.
    pub timestamp: bool,
}

/// Checks the bundle of a file for one authority.
///
/// # Errors
/// Why it proves nothing to this authority about this file.
pub fn check_blob(bundle: &[u8], blob: Blob<'_>, trust: &Trust<'_>) -> Result<BlobProof, Failure> {
    let bundle = Bundle::parse(bundle)?;
    let digest = match blob {
        Blob::Bytes(bytes) => Digest::of(Algorithm::Sha256, bytes),
        Blob::Digest(digest) => digest.clone(),
        Blob::Hashed(hashes) => hashes.sha256(),
    };
    let signed = match (&bundle.content, blob) {
        (Content::Message(_), Blob::Bytes(bytes)) => Signed::Bytes(bytes),
        (Content::Message(_), Blob::Hashed(hashes)) => Signed::Hashed(hashes, &digest),
        (Content::Message(_) | Content::Envelope(_), _) => Signed::Digest(&digest),
    };
    let evidence = Evidence { bundle, signed, format: Format::Bundle };
    let claim = || match &evidence.bundle.content {
        Content::Envelope(envelope) => statement::statement(&envelope.payload, &digest).map(Some),
        Content::Message(_) => Ok(None),
    };
    let held = evidence.check(trust);
    let (Made { signer, .. }, held) =
        held.map_err(|failure| or_of_the_log(failure, || matches!(claim(), Ok(Some(_)))))?;
    let signed_at = held.signed_at();
    Ok(BlobProof { signer, claim: claim()?, signed_at, tlog: held.tlog, sct: held.sct, timestamp: held.timestamp })
}
