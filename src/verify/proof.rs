//! What one signature proves to one authority: the only way from bytes to belief.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::bundle::{Bundle, Content};
use super::evidence::{Evidence, Made, or_of_the_log};
use super::failure::at_most;
use super::key::{HashChoice, PublicKey};
use super::legacy;
use super::limits::SIGNATURE_BYTES_MAX;
use super::roots::Root;
use super::sigstore::Signed;
use super::statement;
use crate::clock::Timestamp;
use crate::oci::digest::Digest;

pub use super::failure::Failure;
pub use super::statement::Claim;

/// One signature as it was found: bytes, and where they are from. Nothing in it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The manifest that carries it.
    pub artifact: Digest,
    /// Which of its layers.
    pub layer: usize,
    /// The format.
    pub format: Format,
    /// The bytes.
    pub material: Material,
}

/// How a signature is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Sigstore bundle.
    Bundle,
    /// A layer of a `.sig` or `.att` manifest, and its annotations.
    Legacy,
}

/// The bytes of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// The JSON of a bundle.
    Bundle(Bytes),
    /// A layer of a `.sig` manifest.
    SimpleSigning {
        /// What was signed.
        payload: Bytes,
        /// The annotations of the layer, in which the signature stands.
        annotations: BTreeMap<String, String>,
    },
    /// A layer of a `.att` manifest.
    Envelope {
        /// The JSON of a DSSE envelope.
        envelope: Bytes,
        /// The annotations of the layer.
        annotations: BTreeMap<String, String>,
    },
}

impl Material {
    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        let (bytes, annotations) = match self {
            Self::Bundle(bytes) => return bytes.len(),
            Self::SimpleSigning { payload: bytes, annotations } | Self::Envelope { envelope: bytes, annotations } => {
                (bytes, annotations)
            }
        };
        bytes.len() + annotations.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// Whether something has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It has to be there and to hold.
    Require,
    /// It is not looked at.
    Ignore,
}

/// Whom a check may believe, and what it has to find.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Who has a key.
    Key {
        /// The key.
        key: &'a PublicKey,
        /// The hash that is signed.
        hash: HashChoice,
        /// An entry in a log of `root`.
        tlog: Need,
        /// A timestamp of an authority of `root`.
        timestamp: Need,
        /// Logs and timestamp authorities.
        root: Option<&'a Root>,
    },
    /// Whomever an authority of a root has given a certificate.
    Keyless {
        /// The root.
        root: &'a Root,
        /// The proof that the certificate is in a log.
        sct: Need,
        /// An entry in a log.
        tlog: Need,
    },
}

/// What holds for a signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// The manifest that carries it.
    pub artifact: Digest,
    /// The format.
    pub format: Format,
    /// Who made it.
    pub signer: Signer,
    /// The name of the key that made it ([`PublicKey::fingerprint`]): with a certificate, of the key in that. It is another
    /// at each keyless signature, so it does not tell signers apart.
    pub key: String,
    /// What it says.
    pub claim: Claim,
    /// When it was made, where a log or a timestamp authority vouches for that: the earliest such time.
    pub signed_at: Option<Timestamp>,
    /// Whether it is in a log.
    pub tlog: bool,
    /// Whether its certificate is in a log.
    pub sct: bool,
    /// Whether a timestamp authority vouches for its time.
    pub timestamp: bool,
}

/// Who made a signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signer {
    /// Who has a key.
    Key {
        /// Its name ([`PublicKey::fingerprint`]).
        fingerprint: String,
    },
    /// Whom an issuer vouched for.
    Identity {
        /// The issuer.
        issuer: String,
        /// The identity: an e-mail address or a URI.
        subject: String,
        /// Further claims by the names that policies give them.
        claims: BTreeMap<String, String>,
    },
}

/// Checks one signature for one authority and one digest. Takes about a millisecond.
///
/// Pure, but that it looks at the machine's clock to refuse times from the future, and entries of a log that has not begun
/// where nobody says when they were made.
///
/// # Errors
/// Why the signature proves nothing to this authority about this digest.
pub fn check(candidate: &Candidate, trust: &Trust<'_>, subject: &Digest) -> Result<Proof, Failure> {
    Sound::read(candidate, subject)?.check(trust)
}

/// A signature whose form is sound, to be checked for one authority after the other: it is parsed once for all of them.
pub struct Sound<'a> {
    candidate: &'a Candidate,
    subject: &'a Digest,
    evidence: Evidence<'a>,
    /// What it says, once somebody was to believe it.
    claim: OnceCell<Result<Claim, Failure>>,
}

impl<'a> Sound<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with its form, for everybody.
    pub fn read(candidate: &'a Candidate, subject: &'a Digest) -> Result<Self, Failure> {
        Ok(Self { candidate, subject, evidence: read(candidate, subject)?, claim: OnceCell::new() })
    }

    /// Checks it for one authority, as [`check`] does.
    ///
    /// # Errors
    /// Why the signature proves nothing to this authority about this digest.
    pub fn check(&self, trust: &Trust<'_>) -> Result<Proof, Failure> {
        let held = self.evidence.check(trust);
        let (Made { signer, key }, held) = held.map_err(|failure| or_of_the_log(failure, || self.claim().is_ok()))?;
        Ok(Proof {
            artifact: self.candidate.artifact.clone(),
            format: self.candidate.format,
            signer,
            key,
            claim: self.claim().clone()?,
            signed_at: held.signed_at(),
            tlog: held.tlog,
            sct: held.sct,
            timestamp: held.timestamp,
        })
    }

    fn claim(&self) -> &Result<Claim, Failure> {
        self.claim.get_or_init(|| match (&self.evidence.bundle.content, self.evidence.signed) {
            (Content::Envelope(envelope), _) => statement::statement(&envelope.payload, self.subject),
            (Content::Message(_), Signed::Bytes(payload)) => statement::simple_signing(payload, self.subject),
            (Content::Message(_), Signed::Digest(_) | Signed::Hashed(..)) => Err(Failure::malformed("it says nothing")),
        })
    }
}

fn read<'a>(candidate: &'a Candidate, subject: &'a Digest) -> Result<Evidence<'a>, Failure> {
    let (bundle, signed) = match &candidate.material {
        Material::Bundle(text) => (Bundle::parse(text)?, Signed::Digest(subject)),
        Material::SimpleSigning { payload, annotations } => {
            at_most(payload.len(), SIGNATURE_BYTES_MAX, "bytes of the payload")?;
            (legacy::simple_signing(annotations)?, Signed::Bytes(payload))
        }
        Material::Envelope { envelope, annotations } => {
            (legacy::envelope(envelope, annotations)?, Signed::Digest(subject))
        }
    };
    if matches!((&bundle.content, signed), (Content::Message(_), Signed::Digest(_))) {
        return Err(Failure::malformed("the bundle does not contain a DSSE envelope, as one of a manifest must"));
    }
    let format = if matches!(candidate.material, Material::Bundle(_)) { Format::Bundle } else { Format::Legacy };
    Ok(Evidence { bundle, signed, format })
}
