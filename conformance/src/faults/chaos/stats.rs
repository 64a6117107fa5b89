//! What was done, what was heard, what went wrong on purpose.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tokio::time::{Duration, Instant, sleep_until};

/// Counters by name.
#[derive(Default)]
pub(super) struct Stats {
    done: RefCell<BTreeMap<&'static str, u64>>,
    heard: RefCell<BTreeMap<String, u64>>,
    weather: RefCell<BTreeMap<&'static str, u64>>,
    counted: RefCell<BTreeMap<&'static str, u64>>,
}

impl Stats {
    /// An operation of a worker succeeded.
    pub(super) fn did(&self, what: &'static str) {
        *self.done.borrow_mut().entry(what).or_default() += 1;
    }

    /// An answer that may be tried again came, or none.
    pub(super) fn heard(&self, what: impl Into<String>) {
        *self.heard.borrow_mut().entry(what.into()).or_default() += 1;
    }

    /// Something went wrong on purpose.
    pub(super) fn weather(&self, what: &'static str) {
        *self.weather.borrow_mut().entry(what).or_default() += 1;
    }

    /// A figure.
    pub(super) fn count(&self, what: &'static str, number: u64) {
        *self.counted.borrow_mut().entry(what).or_default() += number;
    }

    /// One line for each kind.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            line("operations", &self.done.borrow()),
            line("answers to try again", &self.heard.borrow()),
            line("weather", &self.weather.borrow()),
        ];
        if !self.counted.borrow().is_empty() {
            lines.push(line("checked", &self.counted.borrow()));
        }
        lines
    }

    /// Says now and then how far a long run is.
    pub(super) async fn tell(&self, end: Instant) {
        let mut next = Instant::now() + TELL_EVERY;
        while next < end {
            sleep_until(next).await;
            println!("{} s to go\n  {}", (end - next).as_secs(), self.lines().join("\n  "));
            next += TELL_EVERY;
        }
    }
}

const TELL_EVERY: Duration = Duration::from_mins(1);

fn line<K: AsRef<str>>(name: &str, counts: &BTreeMap<K, u64>) -> String {
    let sum: u64 = counts.values().sum();
    let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{} {count}", name.as_ref())).collect();
    format!("{name}: {sum} ({})", parts.join(", "))
}
