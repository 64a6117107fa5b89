//! Signatures of files, as `cosign sign-blob` makes them: a bundle beside the file.
//!
//! The registry itself judges manifests (`super::proof`); this is for the command line.

use super::bundle::{Bundle, Content};
use super::evidence::{Evidence, Made, or_of_the_log};
use super::failure::Failure;
use super::key::{Hash, Hashes};
use super::proof::{Claim, Format, Signer, Trust};
use super::sigstore::Signed;
use super::statement::statement_of_file;
use super::verdict::ReasonCode;
use crate::clock::Timestamp;
use crate::oci::digest::Digest;

/// A file, or what is known of it.
#[derive(Clone, Copy, Debug)]
pub enum Blob<'a> {
    /// Its bytes.
    Bytes(&'a [u8]),
    /// Its digest. Enough for a statement that names it so, and for the signature of a key that signs this hash.
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
    let hashes = match blob {
        Blob::Bytes(bytes) => Hashes::of(bytes),
        Blob::Digest(digest) => Hashes::known(digest),
        Blob::Hashed(hashes) => hashes.clone(),
    };
    if let Content::Message(message) = &bundle.content {
        message.check_digest(&hashes)?;
    }
    // A statement is read before it is known who signed it, as it says which digest the library finds the file by.
    let said = match &bundle.content {
        Content::Envelope(envelope) => Some(statement_of_file(&envelope.payload, &hashes)),
        Content::Message(_) => None,
    };
    let named = said.as_ref().and_then(|said| said.as_ref().ok()?.1.clone());
    let known = || hashes.digest(Hash::Sha256).or_else(|| hashes.digest(Hash::Sha512));
    let digest = named.or_else(known).ok_or_else(|| Failure::malformed("the file has no digest"))?;
    let signed = match (&bundle.content, blob) {
        (Content::Message(_), Blob::Bytes(bytes)) => Signed::Bytes(bytes),
        (Content::Message(_), Blob::Hashed(hashes)) => Signed::Hashed(hashes, &digest),
        (Content::Message(_) | Content::Envelope(_), _) => Signed::Digest(&digest),
    };
    let evidence = Evidence { bundle, signed, format: Format::Bundle };
    let (Made { signer, .. }, held) = evidence.check(trust).map_err(|failure| match &said {
        Some(Ok((_, None))) if matches!(failure.code, ReasonCode::SubjectMismatch | ReasonCode::TlogInvalid) => {
            let message = "its statement names the file by SHA-384 alone, which is not verified with a trusted root";
            Failure::new(ReasonCode::UnsupportedAlgorithm, message)
        }
        // The signature of a message has been found to be one of this file.
        said => or_of_the_log(failure, || !matches!(said, Some(Err(_)))),
    })?;
    let claim = said.transpose()?.map(|(claim, _)| claim);
    let signed_at = held.signed_at();
    Ok(BlobProof { signer, claim, signed_at, tlog: held.tlog, sct: held.sct, timestamp: held.timestamp })
}
