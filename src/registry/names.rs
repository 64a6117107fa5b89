//! The names of upload sessions, which say by themselves whether a session may begin under them.
//!
//! A session is written down with its first bytes, not by the POST that gives its name: most sessions take one request
//! more and are over. So a name carries when it was given and for which algorithm, and a proof that this registry gave it,
//! in this repository, to this principal.
//!
//! ```text
//! seconds since 1970 (4 bytes) | 65,536ths of one (2 bytes) | random (5 bytes, with version, variant and algorithm) |
//! proof (5 bytes)
//! ```
//!
//! Names that were given one after the other so stand side by side in the index of the database, which writes few pages
//! for many of them.
//!
//! The proof is the beginning of an HMAC-SHA-256 under a key that the database keeps. Whoever found one by trying could
//! begin a session in a repository to which they may push anyway; it only tells a name that never was from one that is.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::{Entropy, Timestamp};
use crate::metadata::model::UploadId;
use crate::oci::digest::Algorithm;
use crate::oci::name::RepoName;

/// Bytes of a name that its proof covers.
const PROVEN_BYTES: usize = 11;

/// The bit of byte 8 that says SHA-512.
const LONG_BIT: u8 = 0x20;

/// Gives names and knows them again.
#[derive(Clone)]
pub(super) struct SessionNames {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for SessionNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionNames").finish_non_exhaustive()
    }
}

/// To whom a session belongs.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Where.
    pub repo: &'a RepoName,
    /// Who; `None`: nobody in particular.
    pub principal: Option<&'a str>,
}

impl<'a> From<&'a RepoName> for Holder<'a> {
    fn from(repo: &'a RepoName) -> Self {
        Self { repo, principal: None }
    }
}

impl SessionNames {
    /// Names under a key.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        // A key shorter than a block is filled up with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        Self { keyed: Hmac::new(&block.into()) }
    }

    /// A new name.
    pub(super) fn give(
        &self,
        holder: Holder<'_>,
        algorithm: Algorithm,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> UploadId {
        let mut bytes = entropy.bytes16();
        bytes[..6].copy_from_slice(&parts_of_seconds(now).to_be_bytes()[2..]);
        bytes[8] = match algorithm {
            Algorithm::Sha256 => bytes[8] & !LONG_BIT,
            Algorithm::Sha512 => bytes[8] | LONG_BIT,
        };
        // The bits that every UUID of its version has are among those that are proven.
        let mut bytes = UploadId::from_bytes(bytes).bytes();
        let proof = self.proof(&bytes, holder).finalize().into_bytes();
        let (_, place) = bytes.split_at_mut(PROVEN_BYTES);
        place.copy_from_slice(&proof[..place.len()]);
        UploadId::from_bytes(bytes)
    }

    /// The algorithm for which a name was given less than `lifetime` ago; `None`: it was not, or not to this holder.
    pub(super) fn judge(
        &self,
        id: &UploadId,
        holder: Holder<'_>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Option<Algorithm> {
        let bytes = id.bytes();
        let (proven, proof) = bytes.split_at(PROVEN_BYTES);
        self.proof(&bytes, holder).verify_truncated_left(proof).ok()?;
        let given = u32::from_be_bytes(*proven.first_chunk()?);
        let age = u64::from(seconds(now).saturating_sub(given));
        let long = proven.get(8)? & LONG_BIT != 0;
        (age < lifetime.as_secs()).then_some(if long { Algorithm::Sha512 } else { Algorithm::Sha256 })
    }

    fn proof(&self, bytes: &[u8; 16], holder: Holder<'_>) -> Hmac<Sha256> {
        let mut keyed = self.keyed.clone();
        keyed.update(&bytes[..PROVEN_BYTES]);
        keyed.update(holder.repo.as_str().as_bytes());
        // No name of a repository has this byte, so the two cannot be cut elsewhere.
        keyed.update(&[0]);
        keyed.update(holder.principal.unwrap_or_default().as_bytes());
        keyed
    }
}

/// Seconds since 1970, until 2106.
fn seconds(now: Timestamp) -> u32 {
    u32::try_from(now.as_micros() / 1_000_000).unwrap_or(if now.as_micros() < 0 { 0 } else { u32::MAX })
}

/// The same in 65,536ths; 48 bits.
fn parts_of_seconds(now: Timestamp) -> u64 {
    let micros = u64::try_from(now.as_micros() % 1_000_000).unwrap_or_default();
    (u64::from(seconds(now)) << 16) | ((micros << 16) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn names_stand_in_the_order_in_which_they_were_given() {
        let (names, here) = (SessionNames::new(&[7; 32]), "a/b".parse().expect("a name"));
        let holder = Holder { repo: &here, principal: None };
        let moments = [0, 16, 999_999, 1_000_000, 1_000_000_000_000, 1_795_246_580_999_984, 1_795_246_581_000_000];
        let given = moments.map(|micros| {
            let (now, entropy) = (Timestamp::from_micros(micros), SeededEntropy::new(micros.unsigned_abs()));
            names.give(holder, Algorithm::Sha256, now, &entropy)
        });
        assert!(given.is_sorted_by(|one, next| one.as_str() < next.as_str()), "{given:?}");
    }

    #[test]
    fn a_name_is_known_where_and_to_whom_it_was_given_for_a_while() {
        let names = SessionNames::new(&[7; 32]);
        let (here, there): (RepoName, RepoName) = ("a/b".parse().expect("a name"), "a/c".parse().expect("a name"));
        let mine = Holder { repo: &here, principal: Some("me") };
        for (algorithm, seed) in [(Algorithm::Sha256, 1), (Algorithm::Sha512, 2)] {
            let id = names.give(mine, algorithm, at(1_000_000), &SeededEntropy::new(seed));
            assert_eq!(UploadId::parse(id.as_str()), Some(id.clone()));
            assert_eq!(&id.as_str()[14..15], "8", "RFC 9562, section 5.8");
            assert_eq!(names.judge(&id, mine, at(1_000_000), HOUR), Some(algorithm));
            assert_eq!(names.judge(&id, mine, at(1_003_599), HOUR), Some(algorithm));
            assert_eq!(names.judge(&id, mine, at(1_003_600), HOUR), None, "it is too old");
            for other in [
                Holder { principal: None, ..mine },
                Holder { principal: Some("you"), ..mine },
                Holder { repo: &there, ..mine },
            ] {
                assert_eq!(names.judge(&id, other, at(1_000_000), HOUR), None, "{other:?}");
            }
            assert_eq!(SessionNames::new(&[8; 32]).judge(&id, mine, at(1_000_000), HOUR), None, "another key");
        }
    }

    #[test]
    fn no_bit_of_a_name_can_change() {
        let names = SessionNames::new(&[7; 32]);
        let repo: RepoName = "a".parse().expect("a name");
        let holder = Holder { repo: &repo, principal: None };
        let id = names.give(holder, Algorithm::Sha256, at(1_000_000), &SeededEntropy::new(1));
        for bit in 0..128 {
            let mut bytes = id.bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let other = UploadId::from_bytes(bytes);
            let known = names.judge(&other, holder, at(1_000_000), HOUR).is_some();
            assert_eq!(known, other == id, "bit {bit}: {}", other.as_str());
        }
    }
}
