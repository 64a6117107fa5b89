//! A signature and everything that came along with it, held against one authority.
//!
//! The order matters: the form first (`super::bundle`), then the signature itself, which throws most away for little, then
//! certificate, log and timestamps, and only then what was signed.

use sha2::{Digest as _, Sha256};

use super::bundle::{Bundle, Content};
use super::certificate::Leaf;
use super::failure::Failure;
use super::key::{HashChoice, Hashes, KeyKind, PublicKey, Rejected};
use super::proof::{Format, Need, Signer, Trust};
use super::roots::Root;
use super::sigstore::{Believe, BundleVerifier as _, Found, Signed};
use super::text::to_base64;
use super::verdict::ReasonCode;
use crate::clock::Timestamp;

/// What has to be there beside the signature.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    tlog: bool,
    timestamp: bool,
    sct: bool,
}

/// What was found to hold beside the signature.
#[derive(Debug, Default)]
pub(super) struct Held {
    times: Vec<Timestamp>,
    pub(super) tlog: bool,
    pub(super) sct: bool,
    pub(super) timestamp: bool,
}

impl Held {
    /// The earliest time that somebody vouches for.
    pub(super) fn signed_at(&self) -> Option<Timestamp> {
        self.times.iter().min().copied()
    }
}

/// Who made a signature, and the name of the key it was made with.
pub(super) struct Made {
    pub(super) signer: Signer,
    pub(super) key: String,
}

/// A signature, read: in the form of a bundle whatever it was, and what it is over.
pub(super) struct Evidence<'a> {
    pub(super) bundle: Bundle,
    pub(super) signed: Signed<'a>,
    pub(super) format: Format,
}

/// What a mismatch is about, when what was signed names the digest after all: the log entry is of something else. What was
/// signed is read for that alone, and not when the signature fails for another reason.
pub(super) fn or_of_the_log(failure: Failure, is_named: impl FnOnce() -> bool) -> Failure {
    if failure.code == ReasonCode::SubjectMismatch && is_named() {
        return Failure::new(ReasonCode::TlogInvalid, failure.message);
    }
    failure
}

impl Evidence<'_> {
    /// Checks the signature's value.
    fn verify(&self, key: &PublicKey, hash: HashChoice) -> Result<(), Rejected> {
        let value = self.bundle.signature();
        match (&self.bundle.content, self.signed) {
            (Content::Envelope(envelope), _) => key.verify(hash, &envelope.signed_bytes(), value),
            (Content::Message(_), Signed::Bytes(bytes)) => key.verify(hash, bytes, value),
            (Content::Message(_), Signed::Hashed(hashes, _)) => key.verify_hashed(hash, hashes, value),
            (Content::Message(_), Signed::Digest(digest)) => key.verify_hashed(hash, &Hashes::known(digest), value),
        }
    }

    /// The key is the policy's, whatever the hint or a `keyid` says; a hint only makes the message better.
    fn check_made_by(&self, key: &PublicKey, hash: HashChoice) -> Result<(), Failure> {
        if self.bundle.certificate.is_some() && self.format == Format::Bundle {
            let message = "it was made with a certificate, and this authority is a key";
            return Err(Failure::new(ReasonCode::NoTrustedSigner, message));
        }
        let Err(rejected) = self.verify(key, hash) else { return Ok(()) };
        let fingerprint = key.fingerprint();
        Err(match rejected {
            Rejected::Hash => Failure::new(
                ReasonCode::UnsupportedAlgorithm,
                format!("{} keys do not sign the hash that the policy names", key.kind()),
            ),
            Rejected::Whole => Failure::new(
                ReasonCode::UnsupportedAlgorithm,
                format!("{} keys sign the whole of what they sign, and of this there are only hashes", key.kind()),
            ),
            Rejected::Unhashed => Failure::new(
                ReasonCode::UnsupportedAlgorithm,
                format!("{} keys sign another hash than the one that is given; the bytes are needed", key.kind()),
            ),
            Rejected::Wrong if key.kind() == KeyKind::Ed25519 && self.is_message() => Failure::new(
                ReasonCode::UnsupportedAlgorithm,
                "it is no pure Ed25519 signature of the key; cosign makes Ed25519ph here, which is not taken",
            ),
            Rejected::Wrong if self.hints_at_another(key) => {
                Failure::new(ReasonCode::NoTrustedSigner, format!("it says it is by another key than {fingerprint}"))
            }
            Rejected::Wrong => {
                Failure::new(ReasonCode::BadSignature, format!("it is not a signature of the key {fingerprint}"))
            }
        })
    }

    fn is_message(&self) -> bool {
        matches!(self.bundle.content, Content::Message(_))
    }

    fn hints_at_another(&self, key: &PublicKey) -> bool {
        let hint = &self.bundle.hint;
        !hint.is_empty() && *hint != to_base64(&Sha256::digest(key.spki()))
    }

    /// What else has to be there for a key. What is not asked for is not looked at, and proves nothing.
    fn at_key(&self, key: &PublicKey, wanted: Wanted, root: Option<&Root>) -> Result<Held, Failure> {
        if !wanted.tlog && !wanted.timestamp {
            return Ok(Held::default());
        }
        self.check_present(wanted)?;
        if key.kind() == KeyKind::P521 {
            let message = "log entries and timestamps of P-521 keys are not verified";
            return Err(Failure::new(ReasonCode::UnsupportedAlgorithm, message));
        }
        let missing = if wanted.tlog { ReasonCode::TlogMissing } else { ReasonCode::NoTimestamp };
        let root = root.ok_or_else(|| Failure::new(missing, "the authority has no trusted root to verify it with"))?;
        let believe = Believe::Key { key, tlog: wanted.tlog, timestamp: wanted.timestamp };
        let found = self.verified(root, believe)?;
        let times = if wanted.timestamp { found.log_times + self.bundle.timestamps } else { usize::MAX };
        self.held(found, wanted, times)
    }

    /// The certificate, which has to have made the signature.
    fn leaf(&self) -> Result<Leaf, Failure> {
        let der = self.bundle.certificate.as_deref();
        let message = "it was made with a key, and this authority wants a certificate";
        let leaf = Leaf::parse(der.ok_or_else(|| Failure::no_certificate(message))?)?;
        if leaf.key.kind() == KeyKind::P521 {
            let message = "certificates with P-521 keys are not verified";
            return Err(Failure::new(ReasonCode::UnsupportedAlgorithm, message));
        }
        match self.verify(&leaf.key, HashChoice::Auto) {
            Ok(()) => Ok(leaf),
            Err(Rejected::Whole | Rejected::Unhashed) => {
                let message = format!(
                    "of certificates with {} keys the whole of what was signed is needed, and there are only hashes",
                    leaf.key.kind()
                );
                Err(Failure::new(ReasonCode::UnsupportedAlgorithm, message))
            }
            Err(_) => Err(Failure::new(ReasonCode::BadSignature, "it is not a signature of its certificate's key")),
        }
    }

    fn at_certificate(&self, leaf: &Leaf, wanted: Wanted, root: &Root) -> Result<Held, Failure> {
        self.check_present(wanted)?;
        if self.bundle.log_entries == 0 && self.bundle.timestamps == 0 {
            let message = "neither a log nor a timestamp authority says when it was made";
            return Err(Failure::new(ReasonCode::NoTimestamp, message));
        }
        let believe = Believe::Certificate { sct: wanted.sct, tlog: wanted.tlog };
        let found = self.verified(root, believe)?;
        let in_time = |time: &Timestamp| leaf.validity.contains(&time.as_micros().div_euclid(1_000_000));
        if !found.certificate || !found.times.iter().all(in_time) {
            return Err(Failure::new(ReasonCode::CertUntrusted, "the certificate was not verified"));
        }
        let times = found.log_times + self.bundle.timestamps;
        self.held(found, wanted, times)
    }

    /// What has been found to be a signature here, and is none to the library, is one with another hash than it knows.
    fn verified(&self, root: &Root, believe: Believe<'_>) -> Result<Found, Failure> {
        root.verifier().verify(&self.bundle, self.signed, believe).map_err(|failure| {
            if failure.code == ReasonCode::BadSignature {
                return Failure::new(ReasonCode::UnsupportedAlgorithm, failure.message);
            }
            failure
        })
    }

    fn check_present(&self, wanted: Wanted) -> Result<(), Failure> {
        if wanted.tlog && self.bundle.log_entries == 0 {
            return Err(Failure::new(ReasonCode::TlogMissing, "it has no log entry, and the policy requires one"));
        }
        if wanted.timestamp && self.bundle.timestamps == 0 {
            return Err(Failure::new(ReasonCode::NoTimestamp, "it has no timestamp, and the policy requires one"));
        }
        Ok(())
    }

    /// What the library says is held against what was wanted once more, so that no shortcut in it becomes one here.
    /// With fewer than `times`, no timestamp was.
    fn held(&self, found: Found, wanted: Wanted, times: usize) -> Result<Held, Failure> {
        if wanted.tlog && !found.tlog {
            return Err(Failure::new(ReasonCode::TlogMissing, "its log entry was not verified"));
        }
        if wanted.sct && !found.sct {
            return Err(Failure::new(ReasonCode::SctInvalid, "that its certificate is in a log was not verified"));
        }
        let timestamp = self.bundle.timestamps > 0 && found.times.len() >= times;
        if wanted.timestamp && !timestamp {
            return Err(Failure::new(ReasonCode::NoTimestamp, "its timestamp was not verified"));
        }
        Ok(Held { times: found.times, tlog: found.tlog, sct: found.sct, timestamp })
    }

    /// Checks everything but what was signed, which is read last.
    pub(super) fn check(&self, trust: &Trust<'_>) -> Result<(Made, Held), Failure> {
        match trust {
            Trust::Key { key, hash, tlog, timestamp, root } => {
                self.check_made_by(key, *hash)?;
                let wanted =
                    Wanted { tlog: *tlog == Need::Require, timestamp: *timestamp == Need::Require, sct: false };
                let held = self.at_key(key, wanted, *root)?;
                let fingerprint = key.fingerprint();
                Ok((Made { signer: Signer::Key { fingerprint: fingerprint.clone() }, key: fingerprint }, held))
            }
            Trust::Keyless { root, sct, tlog } => {
                let leaf = self.leaf()?;
                let wanted = Wanted { tlog: *tlog == Need::Require, timestamp: false, sct: *sct == Need::Require };
                let held = self.at_certificate(&leaf, wanted, root)?;
                let Leaf { issuer, subject, claims, key, .. } = leaf;
                Ok((Made { signer: Signer::Identity { issuer, subject, claims }, key: key.fingerprint() }, held))
            }
        }
    }
}
