//! Content digests: `algorithm:hex`, parsed once, and the hasher that makes them.
//!
//! A [`Digest`] can only hold a registered algorithm with the right number of bytes, so nothing past this module checks
//! one again. A [`Hasher`] can be written down in the middle of an upload and taken up by another process.

use std::fmt;
use std::str::FromStr;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};

/// A registered digest algorithm (image-spec descriptor.md, "Registered Algorithms").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 32 bytes; the canonical one.
    #[default]
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of a digest in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm),
        }
    }
}

/// Why a text is not a digest this registry can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `:` between algorithm and value.
    #[error("a digest is written algorithm:hex")]
    Form,
    /// The algorithm is not one of the registered ones.
    #[error("the digest algorithm must be sha256 or sha512")]
    Algorithm,
    /// The value has the wrong length or characters other than lower-case hexadecimal digits.
    #[error(
        "the digest value must be lower-case hexadecimal of the algorithm's length (64 digits for sha256, 128 for sha512)"
    )]
    Value,
}

/// A digest: algorithm and bytes.
///
/// Written `algorithm:hex`, which is also how both databases hold it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl Digest {
    /// The digest of `data`.
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }

    /// The value in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    fn from_slice(algorithm: Algorithm, value: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..value.len()].copy_from_slice(value);
        Self { algorithm, bytes }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, value) = text.split_once(':').ok_or(DigestError::Form)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let lower_hex = value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if value.len() != algorithm.digest_len() * 2 || !lower_hex {
            return Err(DigestError::Value);
        }
        let mut bytes = [0; 64];
        hex::decode_to_slice(value, &mut bytes[..algorithm.digest_len()]).map_err(|_| DigestError::Value)?;
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every request shows a few digests: one piece of text costs one allocation where it is kept, and none elsewhere.
        let name = self.algorithm.as_str().as_bytes();
        let mut text = [b':'; "sha512:".len() + 2 * 64];
        let end = name.len() + 1 + 2 * self.algorithm.digest_len();
        text[..name.len()].copy_from_slice(name);
        hex::encode_to_slice(self.as_bytes(), &mut text[name.len() + 1..end]).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&text[..end]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A running hash that can be saved at any byte and restored elsewhere.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

/// The first byte of a saved state; it changes when `sha2` changes its own format, so that an old state is refused, never
/// misread.
const STATE_FORMAT: u8 = 1;

impl Hasher {
    /// A hasher at byte 0.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// The algorithm this hasher runs.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(data),
            Self::Sha512(hasher) => hasher.update(data),
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_slice(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_slice(Algorithm::Sha512, &hasher.finalize()),
        }
    }

    /// The state as bytes: a format byte, the algorithm, and what `sha2` serializes.
    pub fn save(&self) -> Vec<u8> {
        let (algorithm, state) = match self {
            Self::Sha256(hasher) => (1, hasher.serialize().to_vec()),
            Self::Sha512(hasher) => (2, hasher.serialize().to_vec()),
        };
        let mut saved = Vec::with_capacity(state.len() + 2);
        saved.extend([STATE_FORMAT, algorithm]);
        saved.extend(state);
        saved
    }

    /// The hasher that [`save`](Self::save) wrote down, or `None` for a state of another format.
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let (&[format, algorithm], state) = saved.split_first_chunk::<2>()?;
        match (format, algorithm) {
            (STATE_FORMAT, 1) => {
                let state = SerializedState::<Sha256>::try_from(state).ok()?;
                Sha256::deserialize(&state).ok().map(Self::Sha256)
            }
            (STATE_FORMAT, 2) => {
                let state = SerializedState::<Sha512>::try_from(state).ok()?;
                Sha512::deserialize(&state).ok().map(Self::Sha512)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_digest_is_the_known_one() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY);
    }

    #[test]
    fn bad_digests_name_their_fault() {
        for (text, fault) in [
            ("", DigestError::Form),
            ("sha256", DigestError::Form),
            ("sha256:baddigeststring", DigestError::Value),
            ("sha512:e3b0", DigestError::Value),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", DigestError::Algorithm),
            ("SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", DigestError::Algorithm),
            ("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", DigestError::Value),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(fault), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parse_and_display_are_inverse(data: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &data);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn a_saved_hasher_goes_on_where_it_was(head: Vec<u8>, tail: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&head);
            let mut restored = Hasher::restore(&hasher.save()).expect("own format");
            restored.update(&tail);
            prop_assert_eq!(restored.finish(), Digest::of(algorithm, &[head, tail].concat()));
        }

        #[test]
        fn restoring_junk_is_none_or_a_hasher(junk: Vec<u8>) {
            let _ = Hasher::restore(&junk);
        }
    }
}
