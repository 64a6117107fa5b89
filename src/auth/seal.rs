//! What the one secret seals: keys that the database keeps and must not know.
//!
//! AES-256-GCM under a key that follows from the secret by HKDF-SHA-256 (RFC 5869), a nonce of chance before the text, and
//! the name of what is sealed as associated data, so that no sealed text can stand in the place of another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::clock::Entropy;

/// Fewest bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 32;

/// Most bytes of a secret that are looked at.
pub const SECRET_BYTES_MAX: usize = 4096;

/// The secret, in the forms in which it is used.
pub struct Secret {
    sealing: LessSafeKey,
    login: [u8; 32],
}

/// A sealed text that cannot be opened: it is another secret's, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another secret, or has been changed since")]
pub struct Unsealable;

/// A secret that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, this one has {0}")]
pub struct UnfitSecret(usize);

struct KeyBytes;

impl KeyType for KeyBytes {
    fn len(&self) -> usize {
        32
    }
}

impl Secret {
    /// From the bytes that an operator keeps; white space around them does not count.
    ///
    /// # Errors
    /// [`UnfitSecret`] when they are too few.
    pub fn new(bytes: &[u8]) -> Result<Self, UnfitSecret> {
        let bytes = bytes.trim_ascii();
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(UnfitSecret(bytes.len()));
        }
        let unfit = |_| UnfitSecret(bytes.len());
        let extracted = Salt::new(HKDF_SHA256, b"bonded").extract(bytes);
        let derive = |purpose: &[u8]| {
            let mut key = [0; 32];
            extracted.expand(&[purpose], KeyBytes).and_then(|derived| derived.fill(&mut key)).map(|()| key)
        };
        let sealing = derive(b"seal 1").and_then(|key| UnboundKey::new(&AES_256_GCM, &key)).map_err(unfit)?;
        Ok(Self { sealing: LessSafeKey::new(sealing), login: derive(b"login 1").map_err(unfit)? })
    }

    /// The key of login tokens (HS256).
    pub(super) fn login_key(&self) -> &[u8; 32] {
        &self.login
    }

    /// Seals a text under a name.
    pub(super) fn seal(&self, name: &str, text: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, Unsealable> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&entropy.bytes16()[..NONCE_LEN]);
        let mut sealed = nonce.to_vec();
        let mut body = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.sealing.seal_in_place_append_tag(nonce, Aad::from(name.as_bytes()), &mut body).map_err(|_| Unsealable)?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what was sealed under a name.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut body = body.to_vec();
        let text = self.sealing.open_in_place(nonce, Aad::from(name.as_bytes()), &mut body).map_err(|_| Unsealable)?;
        Ok(text.to_vec())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    const LONG: &[u8] = b"a secret of thirty-two bytes, or more";

    #[test]
    fn a_text_is_opened_under_its_name_with_its_secret_only() {
        let (secret, other) = (Secret::new(LONG).expect("a secret"), Secret::new(&[7; 32]).expect("a secret"));
        let entropy = SeededEntropy::new(1);
        let sealed = secret.seal("key a", b"text", &entropy).expect("sealed");
        assert_eq!(secret.open("key a", &sealed), Ok(b"text".to_vec()));
        assert_eq!(secret.open("key b", &sealed), Err(Unsealable));
        assert_eq!(other.open("key a", &sealed), Err(Unsealable));
        assert_ne!(secret.seal("key a", b"text", &entropy).expect("sealed"), sealed, "another nonce");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(secret.open("key a", &changed), Err(Unsealable), "{at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(secret.open("key a", &sealed[..len]), Err(Unsealable), "{len}");
        }
    }

    #[test]
    fn short_secrets_are_refused_and_white_space_does_not_count() {
        assert_eq!(Secret::new(&[b'a'; 31]).expect_err("short"), UnfitSecret(31));
        assert_eq!(Secret::new(&[b' '; 64]).expect_err("blank"), UnfitSecret(0));
        let sealed = Secret::new(LONG).expect("a secret").seal("n", b"t", &SeededEntropy::new(1)).expect("sealed");
        let with_line_break = [b" ", LONG, b"\n"].concat();
        assert_eq!(Secret::new(&with_line_break).expect("the same").open("n", &sealed), Ok(b"t".to_vec()));
    }
}
