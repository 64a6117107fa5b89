//! Public keys: which are taken, what they are called, and how a signature is checked with one.
//!
//! Keys come from the policy and, in certificates, from an authority that the policy trusts; never from what is judged.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest as _, Sha256};
use x509_parser::asn1_rs::{Any, FromDer as _, Oid, oid};
use x509_parser::pem::parse_x509_pem;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::limits::{KEY_BYTES_MAX, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::oci::digest::{Algorithm, Digest};

const EC: Oid<'static> = oid!(1.2.840.10045.2.1);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);
const P521: Oid<'static> = oid!(1.3.132.0.35);
const RSA: Oid<'static> = oid!(1.2.840.113549.1.1.1);
const ED25519: Oid<'static> = oid!(1.3.101.112);

/// The kinds of keys that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// RSA with 2048 to 8192 bits, PKCS #1 v1.5.
    Rsa,
    /// Pure Ed25519 (RFC 8032); cosign makes Ed25519ph, which is another scheme and not taken.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Rsa => "RSA",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// Which hash a signature is made over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashChoice {
    /// The one that belongs to the key (SHA-256 for P-256 and RSA, SHA-384 for P-384, SHA-512 for P-521); then SHA-256 for
    /// P-384 and P-521, which is what `cosign verify` assumes of every key.
    #[default]
    Auto,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Why a text is not a public key that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not PEM, or more than one block of it.
    #[error("a public key is one PEM block `PUBLIC KEY` (or `RSA PUBLIC KEY`), {KEY_BYTES_MAX} bytes at most")]
    Pem,
    /// The block is not what it says.
    #[error("the public key is not a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)")]
    Form,
    /// The algorithm or its curve.
    #[error("keys of this kind are not taken: P-256, P-384, P-521, RSA and Ed25519 are")]
    Unsupported,
    /// The length of an RSA key.
    #[error("an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits; this one has {0}")]
    RsaBits(usize),
}

/// Why a signature was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It is not the key's signature over these bytes.
    Wrong,
    /// The key does not go with the hash that was chosen.
    Hash,
    /// The key signs whole messages, and of this one there are only hashes.
    Whole,
    /// The key may have signed another hash than those that there are.
    Unhashed,
}

/// The hashes that signatures are made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in a statement.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// How many bytes one has.
    pub(super) fn output_len(self) -> usize {
        self.algorithm().output_len()
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The hashes of a message, taken as it goes by.
#[derive(Clone)]
pub struct Hashing([digest::Context; 3]);

impl Hashing {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|context| context.update(bytes));
    }

    /// The hashes of everything taken in.
    pub fn finish(self) -> Hashes {
        Hashes(self.0.map(digest::Context::finish).to_vec())
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self(Hash::ALL.map(|hash| digest::Context::new(hash.algorithm())))
    }
}

/// The hashes of a message: by everything that signatures are made over, or the one that is known.
#[derive(Clone, Debug)]
pub struct Hashes(Vec<digest::Digest>);

impl Hashes {
    /// Those of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hashing = Hashing::default();
        hashing.update(bytes);
        hashing.finish()
    }

    /// The one that is known.
    pub fn known(digest: &Digest) -> Self {
        let hash = match digest.algorithm() {
            Algorithm::Sha256 => Hash::Sha256,
            Algorithm::Sha512 => Hash::Sha512,
        };
        // It has the length of its algorithm.
        Self(digest::Digest::import_less_safe(digest.as_bytes(), hash.algorithm()).into_iter().collect())
    }

    /// The value of a hash, where it is there.
    pub(super) fn get(&self, hash: Hash) -> Option<&[u8]> {
        self.find(hash).map(AsRef::as_ref)
    }

    fn find(&self, hash: Hash) -> Option<&digest::Digest> {
        self.0.iter().find(|known| known.algorithm() == hash.algorithm())
    }

    /// Every hash that is there, and its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Hash, &[u8])> {
        Hash::ALL.into_iter().filter_map(|hash| Some((hash, self.get(hash)?)))
    }

    /// One of them as a digest; there are none of SHA-384.
    pub(super) fn digest(&self, hash: Hash) -> Option<Digest> {
        format!("{}:{}", hash.name(), hex::encode(self.get(hash)?)).parse().ok()
    }
}

/// A public key of a kind that is taken.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads a key as `cosign generate-key-pair` and `openssl pkey -pubout` write it, or as `openssl rsa -RSAPublicKey_out`
    /// does.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > KEY_BYTES_MAX {
            return Err(KeyError::Pem);
        }
        let (rest, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| KeyError::Pem)?;
        if !rest.trim_ascii().is_empty() {
            return Err(KeyError::Pem);
        }
        match block.label.as_str() {
            "PUBLIC KEY" => Self::from_spki(&block.contents),
            "RSA PUBLIC KEY" => Self::from_spki(&rsa_spki(&block.contents).ok_or(KeyError::Form)?),
            _ => Err(KeyError::Pem),
        }
    }

    /// Reads a key from DER (RFC 5280, section 4.1.2.7).
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > KEY_BYTES_MAX {
            return Err(KeyError::Form);
        }
        let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Form)?;
        if !rest.is_empty() || info.subject_public_key.unused_bits != 0 {
            return Err(KeyError::Form);
        }
        let (algorithm, parameters) = (&info.algorithm.algorithm, info.algorithm.parameters.as_ref());
        let point = info.subject_public_key.data.as_ref();
        let kind = if *algorithm == EC {
            ec_kind(parameters, point)?
        } else if *algorithm == RSA {
            check_rsa(parameters, point)?;
            KeyKind::Rsa
        } else if *algorithm == ED25519 && parameters.is_none() && point.len() == 32 {
            KeyKind::Ed25519
        } else {
            return Err(KeyError::Unsupported);
        };
        Ok(Self { kind, spki: der.to_vec() })
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether the key can make a signature over this hash.
    pub fn signs(&self, hash: HashChoice) -> bool {
        !hashes(self.kind, hash).is_empty()
    }

    /// Whether log entries and timestamps of such signatures are verified: what verifies them (`super::sigstore`) knows one
    /// hash of each kind of key, and no key on P-521.
    pub fn is_witnessed(&self, hash: HashChoice) -> bool {
        use HashChoice::{Auto, Sha256, Sha384};
        matches!(
            (self.kind, hash),
            (KeyKind::P256 | KeyKind::Rsa, Auto | Sha256) | (KeyKind::P384, Auto | Sha384) | (KeyKind::Ed25519, Auto)
        )
    }

    /// Its DER encoding.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Its name: `sha256:` and the hash of its DER encoding in hexadecimal.
    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(&self.spki)))
    }

    /// Checks a signature over `message`, with the hashes that `choice` stands for, one after the other.
    pub(super) fn verify(&self, choice: HashChoice, message: &[u8], value: &[u8]) -> Result<(), Rejected> {
        let holds = |hash: &Hash| UnparsedPublicKey::new(scheme(self.kind, *hash), &self.spki).verify(message, value);
        match hashes(self.kind, choice) {
            [] => Err(Rejected::Hash),
            taken if taken.iter().any(|hash| holds(hash).is_ok()) => Ok(()),
            _ => Err(Rejected::Wrong),
        }
    }

    /// The same for a message of which there are the hashes. A scheme takes the hash that belongs to it and no other.
    pub(super) fn verify_hashed(&self, choice: HashChoice, known: &Hashes, value: &[u8]) -> Result<(), Rejected> {
        let holds = |hash: &Hash| {
            let digest = known.find(*hash);
            digest.is_some_and(|digest| scheme(self.kind, *hash).verify_digest_sig(&self.spki, digest, value).is_ok())
        };
        match hashes(self.kind, choice) {
            [] => Err(Rejected::Hash),
            _ if self.kind == KeyKind::Ed25519 => Err(Rejected::Whole),
            taken if taken.iter().any(holds) => Ok(()),
            taken if taken.iter().all(|hash| known.find(*hash).is_some()) => Err(Rejected::Wrong),
            _ => Err(Rejected::Unhashed),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind, self.fingerprint())
    }
}

/// Named curves only, and points only in the one form that everybody writes, so that a key has one fingerprint.
fn ec_kind(parameters: Option<&Any<'_>>, point: &[u8]) -> Result<KeyKind, KeyError> {
    let curve = parameters.and_then(|any| any.as_oid().ok()).ok_or(KeyError::Unsupported)?;
    let (kind, coordinate_len) = if curve == P256 {
        (KeyKind::P256, 32)
    } else if curve == P384 {
        (KeyKind::P384, 48)
    } else if curve == P521 {
        (KeyKind::P521, 66)
    } else {
        return Err(KeyError::Unsupported);
    };
    let is_uncompressed = point.first() == Some(&4) && point.len() == 1 + 2 * coordinate_len;
    if is_uncompressed { Ok(kind) } else { Err(KeyError::Form) }
}

fn check_rsa(parameters: Option<&Any<'_>>, key: &[u8]) -> Result<(), KeyError> {
    if parameters.is_none_or(|any| any.as_null().is_err()) {
        return Err(KeyError::Form);
    }
    let (rest, key) = RSAPublicKey::from_der(key).map_err(|_| KeyError::Form)?;
    let modulus = match key.modulus {
        [0, modulus @ ..] => modulus,
        [first, ..] if *first >= 0x80 => return Err(KeyError::Form),
        modulus => modulus,
    };
    let Some(first) = modulus.first().filter(|first| **first != 0 && rest.is_empty()) else {
        return Err(KeyError::Form);
    };
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { Err(KeyError::RsaBits(bits)) }
}

/// What an RSA key is in a `SubjectPublicKeyInfo` (RFC 3279, section 2.3.1), so that it has one fingerprint however it is
/// written.
fn rsa_spki(key: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 3;
    /// `rsaEncryption` with its NULL.
    const ALGORITHM: [u8; 15] = [SEQUENCE, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let der = |tag: u8, content: &[u8]| {
        let length = match u16::try_from(content.len()).ok()?.to_be_bytes() {
            [0, low @ ..0x80] => vec![low],
            [0, low] => vec![0x81, low],
            [high, low] => vec![0x82, high, low],
        };
        Some([&[tag], &length[..], content].concat())
    };
    der(SEQUENCE, &[&ALGORITHM[..], &der(BIT_STRING, &[&[0], key].concat())?].concat())
}

/// The hashes to try, in this order.
fn hashes(kind: KeyKind, choice: HashChoice) -> &'static [Hash] {
    match (kind, choice) {
        // Its hash is built in; one with a hash before it is Ed25519ph.
        (KeyKind::Ed25519, HashChoice::Auto) => &[Hash::Sha512],
        (KeyKind::Ed25519, _) => &[],
        (KeyKind::P384, HashChoice::Auto) => &[Hash::Sha384, Hash::Sha256],
        (KeyKind::P521, HashChoice::Auto) => &[Hash::Sha512, Hash::Sha256],
        (_, HashChoice::Auto | HashChoice::Sha256) => &[Hash::Sha256],
        (_, HashChoice::Sha384) => &[Hash::Sha384],
        (_, HashChoice::Sha512) => &[Hash::Sha512],
    }
}

/// The scheme of a kind of key with a hash.
fn scheme(kind: KeyKind, hash: Hash) -> &'static dyn VerificationAlgorithm {
    match (kind, hash) {
        (KeyKind::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, Hash::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, Hash::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (KeyKind::P521, Hash::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyKind::P521, Hash::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyKind::P521, Hash::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::Ed25519, _) => &signature::ED25519,
    }
}
