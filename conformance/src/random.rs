//! Random choices from a printed seed, so that a failed run can be repeated byte for byte.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// Random numbers and bytes from a seed (`SplitMix64`; nothing here is a secret).
pub struct Random(AtomicU64);

impl Random {
    /// A source that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A seed that nobody chose.
    pub fn any_seed() -> u64 {
        std::hash::RandomState::new().build_hasher().finish()
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut value = self.0.fetch_add(SPLIT_MIX_STEP, Ordering::Relaxed).wrapping_add(SPLIT_MIX_STEP);
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that happens in so many of 1,000 cases.
    pub fn permille(&self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// `length` random bytes.
    pub fn bytes(&self, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        Bytes::from(bytes)
    }

    /// A short word that no other call gives.
    pub fn word(&self) -> String {
        format!("{:012x}", self.next() >> 16)
    }
}

const SPLIT_MIX_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        assert_eq!(Random::new(7).bytes(100), Random::new(7).bytes(100));
        assert_ne!(Random::new(7).bytes(100), Random::new(8).bytes(100));
    }
}
