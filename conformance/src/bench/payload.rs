//! Bytes to push that no registry has seen before, at next to no cost.
//!
//! All blobs of one length begin with the same noise and end in 64 bytes of their own. The hash of the beginning is
//! computed once and continued for each blob, so that the client does not spend the time the server is measured by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conformance::random::Random;
use sha2::{Digest as _, Sha256};

/// Noise to cut blobs from, and the numbers that make them differ.
pub(crate) struct Payloads {
    noise: Bytes,
    /// Hashes of beginnings of the noise, by their length.
    hashed: Mutex<BTreeMap<usize, Sha256>>,
    next: AtomicU64,
}

impl Payloads {
    /// Blobs of up to `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let random = Random::new(NOISE_SEED);
        let (hashed, next) = (Mutex::default(), AtomicU64::new(Random::any_seed()));
        Arc::new(Self { noise: random.bytes(bytes_max), hashed, next })
    }

    /// A number that no other call of any run gives.
    pub(crate) fn stamp(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A new blob of this length, which is at least 64 and at most what the noise was made for.
    pub(crate) fn blob(&self, bytes: usize) -> Blob {
        let start = self.noise.slice(..bytes.saturating_sub(TAIL_BYTES).min(self.noise.len()));
        let mut tail = [b'.'; TAIL_BYTES];
        tail.iter_mut().zip(format!("{:016x}\n", self.stamp()).bytes()).for_each(|(to, from)| *to = from);
        let mut hash = self.hash_of(&start);
        hash.update(tail);
        Blob { start, tail: Bytes::copy_from_slice(&tail), digest: format!("sha256:{}", hex::encode(hash.finalize())) }
    }

    fn hash_of(&self, start: &[u8]) -> Sha256 {
        let mut hashed = self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        hashed.entry(start.len()).or_insert_with(|| Sha256::new_with_prefix(start)).clone()
    }
}

/// Content with its digest, in two pieces.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    start: Bytes,
    tail: Bytes,
    digest: String,
}

impl Blob {
    /// These bytes.
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let tail = bytes.into();
        let digest = digest_of(&tail);
        Self { start: Bytes::new(), tail, digest }
    }

    /// `sha256:` and hex.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.start.len() + self.tail.len()
    }

    /// All of it, in order.
    pub(crate) fn pieces(&self) -> [&[u8]; 2] {
        [&self.start, &self.tail]
    }

    /// The bytes from `begin` to before `end`, in order.
    pub(crate) fn range(&self, begin: usize, end: usize) -> [&[u8]; 2] {
        let cut = |piece: &'_ Bytes, offset: usize| {
            let place = |at: usize| at.saturating_sub(offset).min(piece.len());
            place(begin)..place(end)
        };
        let (start, tail) = (cut(&self.start, 0), cut(&self.tail, self.start.len()));
        [self.start.get(start).unwrap_or_default(), self.tail.get(tail).unwrap_or_default()]
    }
}

/// `sha256:` and hex of these bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// What makes a blob differ from all others.
const TAIL_BYTES: usize = 64;
const NOISE_SEED: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_differ_and_have_the_digest_of_their_bytes() {
        let payloads = Payloads::new(5000);
        for bytes in [64, 1024, 5000] {
            let (one, other) = (payloads.blob(bytes), payloads.blob(bytes));
            assert_eq!((one.len(), one.pieces().concat().len()), (bytes, bytes));
            assert_eq!(digest_of(&one.pieces().concat()), one.digest());
            assert_ne!(one.digest(), other.digest());
        }
    }

    #[test]
    fn a_range_may_cross_the_pieces() {
        let blob = Payloads::new(200).blob(200);
        let whole = blob.pieces().concat();
        for (begin, end) in [(0, 200), (0, 100), (100, 150), (140, 200), (136, 136)] {
            assert_eq!(blob.range(begin, end).concat(), whole[begin..end]);
        }
    }
}
