//! How large the parts of an upload are.
//!
//! S3 takes at most 10,000 parts, each of 5 MiB to 5 GiB but the last (AWS, "Amazon S3 multipart upload limits"). Nobody
//! knows how long an upload will be, so parts grow with their number: the first thousand are small, since most blobs
//! are, and 10,000 hold more than a tebibyte even when numbers are left out and when memory was short in the beginning.

/// Least size in bytes of a part that is not the last.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;

/// Largest size of a part in bytes.
pub(super) const PART_BYTES_MAX: u64 = 5 << 30;

/// Highest number of a part; the first is 1.
pub(super) const NUMBER_MAX: u16 = 10_000;

/// What is read beyond a part before it is cut, so that the rest of a body can always be a part of its own.
pub(super) const LOOK_AHEAD_BYTES: u64 = PART_BYTES_MIN;

/// Parts up to this number may be cut early when memory is short.
const EARLY_NUMBER_MAX: u16 = 2_000;

/// Parts up to this number may end a body, whatever their size.
const SHORT_NUMBER_MAX: u16 = 5_000;

/// From there on a body's rest below this size waits for more, in bytes.
const SHORT_BYTES: u64 = 32 << 20;

/// Size of equal parts when nobody says how long the blob will be: 10,000 of them hold 125 GB.
const EQUAL_BYTES: u64 = 12 << 20;

/// Equal parts of a blob of known length; the rest is for numbers that are left out.
const EQUAL_NUMBERS: u64 = 9_000;

/// Last number and part size of each step.
const STEPS: [(u16, u64); 5] =
    [(1_000, 8 << 20), (1_250, 16 << 20), (1_500, 32 << 20), (EARLY_NUMBER_MAX, 64 << 20), (NUMBER_MAX, 160 << 20)];

/// Sizes of one upload's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Size of the first parts.
    first: u64,
    /// The largest part that there is memory for.
    max: u64,
    /// The one size of all parts, where the store wants one.
    equal: Option<u64>,
}

impl Plan {
    /// Parts that grow.
    pub(super) fn growing(first: u64, max: u64) -> Self {
        Self { first, max, equal: None }
    }

    /// Parts of one size.
    pub(super) fn equal(size: u64) -> Self {
        Self { first: size, max: size, equal: Some(size) }
    }

    /// The one size of all parts, if there is one.
    pub(super) fn equal_size(&self) -> Option<u64> {
        self.equal
    }

    /// Size of a part for which there is memory, in bytes.
    pub(super) fn size(&self, number: u16) -> u64 {
        if let Some(size) = self.equal {
            return size;
        }
        let step = STEPS.iter().find(|(last, _)| number <= *last).map_or(PART_BYTES_MIN, |(_, size)| *size);
        step.min(self.max).max(self.first)
    }

    /// The least size at which a part may be cut because memory is short, in bytes.
    pub(super) fn least(&self, number: u16) -> u64 {
        if self.equal.is_none() && number <= EARLY_NUMBER_MAX { PART_BYTES_MIN } else { self.size(number) }
    }

    /// What is read beyond a part before it is cut, in bytes.
    pub(super) fn look_ahead(&self, number: u16) -> u64 {
        if self.equal.is_none() && number < EARLY_NUMBER_MAX { LOOK_AHEAD_BYTES } else { 0 }
    }

    /// The least size of a part that ends a body but perhaps not the blob, in bytes; `None`: there is no such part.
    pub(super) fn least_at_end(&self, number: u16) -> Option<u64> {
        match self.equal {
            Some(_) => None,
            None if number <= SHORT_NUMBER_MAX => Some(PART_BYTES_MIN),
            None => Some(SHORT_BYTES),
        }
    }
}

/// The one size of all parts of a blob of which at least `known` bytes come, `exact`ly so or not.
pub(super) fn equal_size(first: u64, known: u64, exact: bool) -> u64 {
    let needed = known.div_ceil(EQUAL_NUMBERS).next_multiple_of(1 << 20);
    let guess = if exact { 0 } else { EQUAL_BYTES };
    first.max(needed).max(guess).clamp(PART_BYTES_MIN, PART_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROWING: Plan = Plan { first: 8 << 20, max: 219 << 20, equal: None };

    /// Numbers used by a blob of `len` bytes whose parts have the sizes that `size` gives.
    fn numbers(len: u64, size: impl Fn(u16) -> u64) -> Option<u16> {
        let mut left = len;
        for number in 1..=NUMBER_MAX {
            left = left.saturating_sub(size(number));
            if left == 0 {
                return Some(number);
            }
        }
        None
    }

    #[test]
    fn a_hundred_gigabytes_and_a_tebibyte_fit() {
        for first in [PART_BYTES_MIN, 8 << 20, 64 << 20] {
            let plan = Plan { first, ..GROWING };
            assert!(numbers(100_000_000_000, |n| plan.size(n)).is_some_and(|n| n < 3_000));
            assert!(numbers(1 << 40, |n| plan.size(n)).is_some());
            let used = numbers(1 << 40, |n| plan.least(n)).expect("it fits when memory is always short");
            assert!(used < NUMBER_MAX - 1_000, "numbers are left for {used} parts that a lost writer may have begun");
        }
    }

    #[test]
    fn equal_parts_hold_what_is_announced() {
        for len in [1, 20_000_000, 100_000_000_000, 1 << 40, 5 << 40] {
            let size = equal_size(8 << 20, len, true);
            assert!(numbers(len, |_| size).is_some_and(|n| u64::from(n) <= EQUAL_NUMBERS), "{len} in parts of {size}");
        }
        assert_eq!(equal_size(8 << 20, 20_000_000, true), 8 << 20);
        let unknown = equal_size(8 << 20, 0, false);
        assert!(numbers(100_000_000_000, |_| unknown).is_some(), "also what is not announced");
        assert_eq!(equal_size(112 << 20, 0, false), 112 << 20);
    }

    proptest! {
        #[test]
        fn every_part_is_one_that_s3_takes(number in 1..=NUMBER_MAX, first in PART_BYTES_MIN..=64 << 20, max in 64_u64 << 20..=PART_BYTES_MAX) {
            let plan = Plan::growing(first, max);
            for size in [plan.size(number), plan.least(number), plan.size(number) + plan.look_ahead(number)] {
                prop_assert!((PART_BYTES_MIN..=PART_BYTES_MAX).contains(&size));
            }
            prop_assert!(plan.least(number) <= plan.size(number));
            prop_assert!(plan.size(number) <= plan.size(number.saturating_add(1).min(NUMBER_MAX)));
            prop_assert!(plan.size(number) <= max.max(first));
        }
    }
}
