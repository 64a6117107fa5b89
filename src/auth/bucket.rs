//! The arithmetic of a rate: a bucket that each request fills and that runs out as time passes.

use std::time::Duration;

use crate::access::Rate;
use crate::clock::Timestamp;

/// A bucket. A request fills it by as many units as the time of its rate has microseconds, and in each microsecond as many
/// run out as the rate has requests, so that nothing is ever rounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// At `at`.
    level: i64,
    at: Timestamp,
}

impl Bucket {
    /// An empty one.
    pub(super) fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, level: 0, at: now }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// By how much a request fills it.
    fn unit(&self) -> i64 {
        i64::try_from(self.rate.per().as_micros()).unwrap_or(i64::MAX)
    }

    fn capacity(&self) -> i64 {
        self.unit().saturating_mul(i64::from(self.rate.requests()))
    }

    /// How full it is at a moment; at an earlier one than before, as full as it was.
    fn level_at(&self, now: Timestamp) -> i64 {
        let passed = i64::try_from(self.at.until(now).as_micros()).unwrap_or(i64::MAX);
        self.level.saturating_sub(passed.saturating_mul(i64::from(self.rate.requests()))).max(0)
    }

    /// How long until it takes another request; zero when it does.
    pub(super) fn wait(&self, now: Timestamp) -> Duration {
        let over = self.level_at(now).saturating_add(self.unit()).saturating_sub(self.capacity());
        self.lasts(over)
    }

    /// How many more it takes at once.
    pub(super) fn remaining(&self, now: Timestamp) -> u32 {
        let room = self.capacity().saturating_sub(self.level_at(now)).max(0);
        u32::try_from(room / self.unit()).unwrap_or(u32::MAX)
    }

    /// Lets requests in, whether or not there is room.
    pub(super) fn fill(&mut self, requests: u32, now: Timestamp) {
        self.level = self.level_at(now).saturating_add(self.unit().saturating_mul(i64::from(requests)));
        self.at = self.at.max(now);
    }

    /// Sets it to run out at a moment.
    pub(super) fn set_empty_at(&mut self, empty_at: Timestamp, now: Timestamp) {
        let lasts = i64::try_from(now.until(empty_at).as_micros()).unwrap_or(i64::MAX);
        self.level = lasts.saturating_mul(i64::from(self.rate.requests()));
        self.at = now;
    }

    /// How long it takes to run out.
    pub(super) fn runs_out_in(&self, now: Timestamp) -> Duration {
        self.lasts(self.level_at(now))
    }

    /// How long requests last in it.
    pub(super) fn time_of(&self, requests: u32) -> Duration {
        self.lasts(self.unit().saturating_mul(i64::from(requests)))
    }

    /// How long units last, rounded up.
    fn lasts(&self, units: i64) -> Duration {
        let units = u64::try_from(units).unwrap_or(0);
        Duration::from_micros(units.div_ceil(u64::from(self.rate.requests())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate() -> impl Strategy<Value = Rate> {
        (1..2_000_u32, prop::sample::select(vec!["s", "m", "h", "d"]))
            .prop_map(|(requests, unit)| format!("{requests}/{unit}").parse().expect("a rate"))
    }

    fn take(bucket: &mut Bucket, now: Timestamp) -> bool {
        let free = bucket.wait(now).is_zero();
        if free {
            bucket.fill(1, now);
        }
        free
    }

    proptest! {
        /// From any moment on, never more than the burst and what the rate gives in the time since.
        #[test]
        fn never_more_than_the_rate(rate in rate(), pauses in prop::collection::vec(0..200_000_000_i64, 1..300)) {
            let start = Timestamp::from_micros(1_700_000_000_000_000);
            let mut bucket = Bucket::new(rate, start);
            let (mut now, mut admitted) = (start, Vec::new());
            for pause in pauses {
                now = now.after(Duration::from_micros(u64::try_from(pause).expect("positive")));
                for _ in 0..3 {
                    if take(&mut bucket, now) {
                        admitted.push(now);
                    }
                }
            }
            for (at, from) in admitted.iter().enumerate() {
                for (to, last) in admitted.iter().enumerate().skip(at) {
                    let passed = from.until(*last).as_micros();
                    let most = u128::from(rate.requests()) * (passed + rate.per().as_micros()) / rate.per().as_micros();
                    prop_assert!((to - at + 1) as u128 <= most, "{} in {passed} us", to - at + 1);
                }
            }
        }

        /// Whoever waits as long as he was told is let through, and nobody who waits less is.
        #[test]
        fn the_wait_is_true(rate in rate(), requests in 0..5_000_u32) {
            let now = Timestamp::from_micros(1_700_000_000_000_000);
            let mut bucket = Bucket::new(rate, now);
            bucket.fill(requests, now);
            let wait = bucket.wait(now);
            prop_assert_eq!(wait.is_zero(), requests < rate.requests());
            prop_assert!(bucket.wait(now.after(wait)).is_zero());
            if !wait.is_zero() {
                let sooner = wait.checked_sub(Duration::from_micros(1)).expect("some time");
                prop_assert!(!bucket.wait(now.after(sooner)).is_zero());
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut bucket = Bucket::new("2/m".parse().expect("a rate"), now);
        assert!(take(&mut bucket, now) && take(&mut bucket, now));
        assert!(!take(&mut bucket, now.before(Duration::from_hours(1))));
        assert!(!take(&mut bucket, now.after(Duration::from_secs(29))));
        assert_eq!(bucket.remaining(now.after(Duration::from_secs(30))), 1);
        assert!(take(&mut bucket, now.after(Duration::from_secs(30))));
    }
}
