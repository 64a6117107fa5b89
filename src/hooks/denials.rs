//! Refusals, counted by who was refused, where, what for, and minute.
//!
//! Counts stand in memory until their minute is over, so that whoever is refused a thousand times a second is one event a
//! minute for each webhook. A node that dies loses the last of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::hooks::Hooks;
use crate::metadata::Result;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::Denial;
use crate::oci::name::RepoName;

/// Most counts at once; what else there is in their minutes is not told.
const COUNTS_MAX: usize = 10_000;

/// Most counts told in one transaction.
const BATCH: usize = 500;

/// What counts are taken together by.
const MINUTE: Duration = Duration::from_mins(1);

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// When the minute began.
    minute: Timestamp,
    repo: RepoName,
    name: Option<String>,
    action: &'static str,
}

/// The counts that are not told yet.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<Key, u64>>);

impl Denials {
    fn count(&self, key: Key) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < COUNTS_MAX || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }

    /// Takes some of those whose minute is over at `now`; `None`: of all. A clock that was set back leaves minutes that seem to come; they
    /// are over as well.
    fn take(&self, now: Option<Timestamp>) -> Vec<Denial> {
        let current = now.map(|now| now.floor(MINUTE));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = counts.extract_if(|key, _| Some(key.minute) != current).take(BATCH);
        over.map(|(Key { minute, repo, name, action }, count)| Denial { repo, name, action, minute, count }).collect()
    }

    /// Takes back what could not be told.
    fn put_back(&self, denials: Vec<Denial>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Denial { repo, name, action, minute, count } in denials {
            *counts.entry(Key { minute, repo, name, action }).or_default() += count;
        }
    }
}

impl Hooks {
    /// Counts that an account may not do something in a repository (or in a namespace, by its path); the webhooks of its
    /// namespace are told when the minute is over.
    pub fn denied(&self, repo: &RepoName, action: &'static str, by: &Actor) {
        let minute = self.clock.now().floor(MINUTE);
        self.denials.count(Key { minute, repo: repo.clone(), name: by.name.clone(), action });
    }

    /// Puts what was counted in minutes that are over on its way; at the end of the process, in the one that is not over
    /// as well. What cannot be put there is counted on.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tell_denials(&self, all: bool) -> Result<()> {
        let now = self.clock.now();
        loop {
            let denials = self.denials.take((!all).then_some(now));
            if denials.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.store.denials_tell(&denials, now).await {
                self.denials.put_back(denials);
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(300_000_001);
    const LATER: Timestamp = Timestamp::from_micros(360_000_000);

    fn key(repo: &str, now: Timestamp) -> Key {
        let repo = repo.parse().expect("a name");
        Key { minute: now.floor(MINUTE), repo, name: Some("ann".to_owned()), action: "push" }
    }

    fn taken(denials: &Denials, now: Timestamp) -> Vec<(String, u64)> {
        let mut taken: Vec<(String, u64)> =
            denials.take(Some(now)).into_iter().map(|denial| (denial.repo.to_string(), denial.count)).collect();
        taken.sort();
        taken
    }

    #[test]
    fn a_minute_of_somebody_in_a_repository_is_counted_once() {
        let denials = Denials::default();
        for repo in ["a/b", "a/b", "a/c"] {
            denials.count(key(repo, NOW));
        }
        assert!(taken(&denials, NOW).is_empty(), "the minute is not over");
        denials.count(key("a/b", LATER));
        assert_eq!(taken(&denials, LATER), [("a/b".to_owned(), 2), ("a/c".to_owned(), 1)]);
        assert!(taken(&denials, LATER).is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_counted_on() {
        let denials = Denials::default();
        denials.count(key("a/b", NOW));
        let taken_before = denials.take(Some(LATER));
        denials.count(key("a/b", NOW));
        denials.put_back(taken_before);
        assert_eq!(taken(&denials, LATER), [("a/b".to_owned(), 2)]);
    }

    #[test]
    fn there_is_an_end_to_counting() {
        let denials = Denials::default();
        for number in 0..COUNTS_MAX + 10 {
            denials.count(key(&format!("a/r{number}"), NOW));
        }
        denials.count(key("a/r0", NOW));
        let mut told = Vec::new();
        loop {
            let some = taken(&denials, LATER);
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= BATCH);
            told.extend(some);
        }
        assert_eq!((told.len(), told.iter().map(|(_, count)| count).sum::<u64>()), (COUNTS_MAX, COUNTS_MAX as u64 + 1));
    }
}
