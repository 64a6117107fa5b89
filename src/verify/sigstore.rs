//! The one place that knows which library verifies certificates, logs and timestamps.
//!
//! `sigstore-verify` is young and changes often, so it is pinned, and stands behind a trait of three words: a bundle, what
//! was signed, whom to believe. What it is lax about is refused before it is asked (`super::bundle`), and what it says is
//! checked again where that is cheap.

mod chains;
mod logs;

use sigstore_verify::bundle::Error as FormError;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::tsa::verify_timestamp_for_authority;
use sigstore_verify::types::bundle::{CertificateContent, VerificationMaterialContent};
use sigstore_verify::types::{
    Artifact, ArtifactDigest, Bundle as Parsed, DerPublicKey, HashAlgorithm, MediaType, PublicKeyIdentifier,
    SignatureBytes, TransparencyLogEntry,
};
use sigstore_verify::{
    CertificateError, Error, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier,
};

use self::logs::Logs;
use super::bundle::Bundle;
use super::failure::Failure;
use super::key::{Hashes, PublicKey};
use super::verdict::ReasonCode;
use crate::clock::Timestamp;
use crate::oci::digest::{Algorithm, Digest};

/// The trusted root of Sigstore's public-good instance, as it was when the library was released.
pub(super) const PUBLIC_GOOD: &str = SIGSTORE_PRODUCTION_TRUSTED_ROOT;

/// What the signature of a bundle is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signed<'a> {
    /// A statement that names this digest, or bytes that have it.
    Digest(&'a Digest),
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes that have these hashes, of which the digest is one.
    Hashed(&'a Hashes, &'a Digest),
}

/// Whom to believe, and what has to be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Believe<'a> {
    /// A key. Log entries and timestamps are looked at where they are asked for, and left out otherwise.
    Key { key: &'a PublicKey, tlog: bool, timestamp: bool },
    /// A certificate, whoever it names. Everything in the bundle has to hold.
    Certificate { sct: bool, tlog: bool },
}

/// What was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Times that a log or a timestamp authority has signed.
    pub(super) times: Vec<Timestamp>,
    /// How many of these are of logs.
    pub(super) log_times: usize,
    /// Every log entry is in its log.
    pub(super) tlog: bool,
    /// The certificate is in a log.
    pub(super) sct: bool,
    /// The certificate leads to an authority of the root and was valid at every one of `times`.
    pub(super) certificate: bool,
}

/// Verifies a bundle under a trusted root.
pub(super) trait BundleVerifier {
    /// # Errors
    /// Why it does not hold.
    fn verify(&self, bundle: &Bundle, signed: Signed<'_>, believe: Believe<'_>) -> Result<Found, Failure>;
}

/// A trusted root in the library's form.
pub(super) struct Library {
    root: TrustedRoot,
    verifier: Verifier,
    logs: Logs,
    warnings: Vec<String>,
}

impl Library {
    /// # Errors
    /// What is wrong with the trusted root, in the library's words.
    pub(super) fn new(root: &str) -> Result<Self, String> {
        let mut root = TrustedRoot::from_json(root).map_err(|error| error.to_string())?;
        let warnings = chains::hold_to_their_chains(&mut root)?;
        let verifier = Verifier::new(&root).map_err(|error| error.to_string())?;
        Ok(Self { verifier, logs: Logs::new(&root)?, root, warnings })
    }

    /// What the trusted root has that never counts.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Asks the library for a signature of a key. A certificate that somebody put beside it says nothing here.
    fn ask_for_key(
        &self,
        artifact: Artifact<'_>,
        parsed: &mut Parsed,
        key: &PublicKey,
        tlog: bool,
    ) -> Result<VerificationResult, Error> {
        let material = &mut parsed.verification_material;
        if !matches!(material.content, VerificationMaterialContent::PublicKey(_)) {
            material.content = VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new(""));
        }
        if !tlog {
            material.tlog_entries.clear();
            // Version 0.1 has no bundles without log entries.
            parsed.media_type = MediaType::Bundle0_3;
        }
        let logged = material.tlog_entries.iter().find_map(|entry| logs::certificate_of(key.spki(), entry));
        if let Some(certificate) = logged {
            // It is of this key, so a signature by it is one of the key, and who issued it does not matter.
            material.content = VerificationMaterialContent::Certificate(CertificateContent::new(certificate));
            return self.verifier.verify(
                artifact,
                parsed,
                &VerificationPolicy::any_identity().skip_certificate_chain(),
            );
        }
        let policy = PublicKeyVerificationPolicy::new(DerPublicKey::from_bytes(key.spki()));
        let policy = if tlog { policy } else { policy.skip_tlog_unsafe() };
        self.verifier.verify(artifact, parsed, &policy)
    }

    /// Leaves the entries of the root's logs alone; one has to be left where a log is asked for.
    fn leave_known_logs(&self, parsed: &mut Parsed, believe: Believe<'_>) -> Result<(), Failure> {
        let entries = &mut parsed.verification_material.tlog_entries;
        if entries.is_empty() {
            return Ok(());
        }
        self.logs.retain_known(entries);
        if !entries.is_empty() {
            return Ok(());
        }
        if let Believe::Key { tlog: true, .. } | Believe::Certificate { tlog: true, .. } = believe {
            return Err(Failure::new(ReasonCode::TlogInvalid, "its log entry is of no log of the trusted root"));
        }
        // Version 0.1 has no bundles without log entries, and version 0.3 none with a chain.
        parsed.media_type = MediaType::Bundle0_2;
        Ok(())
    }

    /// The times in those timestamps that are by an authority of the root. The others, which nobody asked for, are nothing.
    fn stamped(&self, parsed: &Parsed, signature: &[u8]) -> Vec<Timestamp> {
        let (signature, authorities) = (SignatureBytes::from_bytes(signature), self.root.tsa_authorities());
        let tokens = parsed.verification_material.timestamp_verification_data.rfc3161_timestamps.iter();
        let verified = tokens.filter_map(|token| {
            let by = |authority| verify_timestamp_for_authority(&token.signed_timestamp, &signature, authority).ok();
            authorities.iter().find_map(by)
        });
        verified.map(|time| Timestamp::from_micros(time.as_microsecond())).collect()
    }
}

impl BundleVerifier for Library {
    fn verify(&self, bundle: &Bundle, signed: Signed<'_>, believe: Believe<'_>) -> Result<Found, Failure> {
        let mut parsed = Parsed::from_json(bundle.text())
            .map_err(|error| Failure::malformed(format!("the bundle cannot be read: {error}")))?;
        parsed.verification_material.tlog_entries.iter().try_for_each(logs::check_certificates)?;
        leave_leaf(&mut parsed);
        self.leave_known_logs(&mut parsed, believe)?;
        let artifact = artifact(signed)?;
        let mut witnesses = Vec::new();
        let result = match believe {
            Believe::Key { key, tlog, timestamp } => {
                if !timestamp {
                    let material = &parsed.verification_material;
                    if tlog && material.tlog_entries.iter().any(|entry| logs::time_of(entry).is_none()) {
                        witnesses = self.stamped(&parsed, bundle.signature());
                    }
                    parsed.verification_material.timestamp_verification_data.rfc3161_timestamps.clear();
                }
                self.ask_for_key(artifact, &mut parsed, key, tlog)
            }
            Believe::Certificate { sct, tlog } => {
                let policy = VerificationPolicy::any_identity();
                let policy = if sct { policy } else { policy.skip_sct() };
                let policy = if tlog { policy } else { policy.skip_tlog_unsafe() };
                self.verifier.verify(artifact, &parsed, &policy)
            }
        };
        let entries = &parsed.verification_material.tlog_entries;
        let explained = |error: Error| logs::explain(failure(&error), entries);
        let found = result.map(|result| found(&result, entries)).map_err(explained)?;
        if found.tlog {
            witnesses.extend_from_slice(&found.times);
            self.logs.check(entries, &witnesses)?;
        }
        Ok(found)
    }
}

/// Leaves the signer's certificate alone of a chain: authorities are those of the trusted root, whatever comes along with a
/// signature, and the library would look for its way to the root among these without regard to how long an authority of the
/// root lets the way be.
fn leave_leaf(parsed: &mut Parsed) {
    if let VerificationMaterialContent::X509CertificateChain { certificates } =
        &mut parsed.verification_material.content
    {
        certificates.truncate(1);
    }
}

fn artifact(signed: Signed<'_>) -> Result<Artifact<'_>, Failure> {
    let digest = match signed {
        Signed::Bytes(bytes) => return Ok(Artifact::from_blob(bytes)),
        Signed::Digest(digest) | Signed::Hashed(_, digest) => digest,
    };
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => HashAlgorithm::Sha2256,
        Algorithm::Sha512 => HashAlgorithm::Sha2512,
    };
    let digest = ArtifactDigest::new(algorithm, digest.as_bytes().to_vec());
    let digest = digest.map_err(|error| Failure::new(ReasonCode::UnsupportedAlgorithm, error.to_string()))?;
    Ok(Artifact::from_digest(digest))
}

fn found(result: &VerificationResult, entries: &[TransparencyLogEntry]) -> Found {
    let times = result.verified_timestamps().iter().map(|time| Timestamp::from_micros(time.as_microsecond()));
    Found {
        times: times.collect(),
        log_times: entries.iter().filter_map(logs::time_of).count(),
        tlog: result.tlog_verified(),
        sct: result.sct_verified(),
        certificate: result.certificate_verified(),
    }
}

/// The library's errors in the words of verdicts. What it adds later is refused all the same, as `malformed`.
fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Certificate(CertificateError::NotYetValid { .. } | CertificateError::Expired { .. }) => {
            ReasonCode::CertExpired
        }
        Error::Certificate(CertificateError::ChainInvalid(why)) if is_of_time(why) => ReasonCode::CertExpired,
        Error::Certificate(CertificateError::Sct(_)) => ReasonCode::SctInvalid,
        Error::Certificate(CertificateError::Malformed(_)) => ReasonCode::Malformed,
        Error::Certificate(_) => ReasonCode::CertUntrusted,
        // The content of the bundle has been checked before, so what is left to be incompatible is a log entry.
        Error::TransparencyLog(_)
        | Error::UnsupportedBundle(_)
        | Error::Bundle(
            FormError::MissingCheckpoint | FormError::LogIndexOutOfRange { .. } | FormError::CheckpointRootMismatch,
        ) => ReasonCode::TlogInvalid,
        Error::Bundle(FormError::MissingInclusionPromise(_) | FormError::MissingInclusionProof(_)) => {
            ReasonCode::TlogMissing
        }
        Error::Timestamp(why) if is_of_algorithm(&why.to_string()) => ReasonCode::UnsupportedAlgorithm,
        Error::Bundle(FormError::MissingSigningTimeEvidence | FormError::MissingTimestamp) | Error::Timestamp(_) => {
            ReasonCode::NoTimestamp
        }
        Error::SignatureInvalid(_) => ReasonCode::BadSignature,
        Error::UnsupportedArtifact(_) | Error::Crypto(_) => ReasonCode::UnsupportedAlgorithm,
        Error::ArtifactMismatch(_) => ReasonCode::SubjectMismatch,
        _ => ReasonCode::Malformed,
    };
    Failure::new(code, error.to_string())
}

/// A chain is checked at the times of the signature, and that one of its certificates was not valid then is told by the name
/// of the error underneath alone. Misread, it would be a certificate that is not trusted.
fn is_of_time(why: &str) -> bool {
    why.contains("CertExpired") || why.contains("CertNotValidYet")
}

/// A timestamp of a key or a hash that the library does not know is told by words alone, those of the last authority of the
/// root. Misread, it would be a timestamp that does not hold.
fn is_of_algorithm(why: &str) -> bool {
    why.contains("not an EC key") || why.contains("does not support hash algorithm")
}
