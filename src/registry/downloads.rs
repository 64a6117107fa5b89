//! Who downloaded what: gathered in memory, written down once a minute, never within the request.
//!
//! A download is a GET of a manifest that gives it. What is written down of whoever asks is for the operator to say; by
//! default it is nothing at all. Counts are by the hour, so that somebody who asks without end is one row an hour, and there
//! is an end to those whom a node tells apart in an hour. A node that dies loses the last minute.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::downloads::{Download, DownloadRecord};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::registry::{Registry, Result};

/// Counts of an hour that a node keeps by account and address; beyond, it keeps those of a manifest together.
const CLIENTS_MAX: usize = 5_000;

/// Counts of an hour that it keeps in all; others are forgotten.
const COUNTS_MAX: usize = 2 * CLIENTS_MAX;

/// Counts that wait for a database that does not answer; others are forgotten.
const PENDING_MAX: usize = 2 * COUNTS_MAX;

/// Counts written down in one transaction.
const BATCH: usize = 500;

/// Rows forgotten in one transaction.
const FORGET_BATCH: u32 = 1_000;

/// Pause between two times of writing down.
const PAUSE: Duration = Duration::from_mins(1);

/// Pause between two looks for what is old.
const FORGET_PAUSE: Duration = Duration::from_hours(1);

/// Most bytes of a name that are written down: many publishers at once are one long name, and a key of the database must not
/// become too long.
const ACTOR_BYTES_MAX: usize = 255;

/// What counts are taken together by.
const HOUR: Duration = Duration::from_hours(1);

/// What is written down of those who download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientDetail {
    /// Nothing, and no download either.
    #[default]
    Off,
    /// The account, and the network of the address: `/24` of IPv4, `/48` of IPv6.
    Network,
    /// The account and the address.
    Address,
}

/// What the operator decides.
#[derive(Clone, Copy, Debug)]
pub struct DownloadOptions {
    /// What is written down.
    pub clients: ClientDetail,
    /// For how long.
    pub keep: Duration,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self { clients: ClientDetail::Off, keep: Duration::from_hours(30 * 24) }
    }
}

/// Downloads that are not written down yet.
#[derive(Debug, Default)]
pub(super) struct Downloads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The hour of the counts that are told apart.
    hour: Timestamp,
    told_apart: HashSet<Download>,
    pending: HashMap<Download, u64>,
    /// When they were written down last.
    written_at: Option<Timestamp>,
    /// When it was looked for old ones last.
    forgot_at: Option<Timestamp>,
}

impl State {
    fn count(&mut self, mut download: Download) {
        if self.hour != download.hour {
            self.hour = download.hour;
            self.told_apart.clear();
        }
        if self.told_apart.len() >= CLIENTS_MAX && !self.told_apart.contains(&download) {
            (download.actor, download.address) = (None, None);
        }
        let is_known = self.told_apart.contains(&download);
        if is_known || self.told_apart.len() < COUNTS_MAX {
            self.told_apart.insert(download.clone());
            self.add(download, 1);
        }
    }

    fn add(&mut self, download: Download, pulls: u64) {
        if self.pending.len() < PENDING_MAX || self.pending.contains_key(&download) {
            let count = self.pending.entry(download).or_default();
            *count = count.saturating_add(pulls);
        }
    }

    /// Some of them, in the order in which every node writes them down, so that no two wait for each other.
    fn take(&mut self) -> Vec<(Download, u64)> {
        let mut taken: Vec<_> = self.pending.extract_if(|_, _| true).take(BATCH).collect();
        taken.sort_unstable();
        taken
    }
}

impl Downloads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a pause is over; a clock that was set back ends it as well.
fn is_over(pause: Duration, since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_none_or(|since| now < since || now >= since.after(pause))
}

/// The first address of the network of an address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80)).into(),
    }
}

impl Registry {
    /// Takes note that somebody downloaded a manifest, if the operator wants to know.
    pub fn note_download(&self, repo: &RepoName, digest: &Digest, by: impl FnOnce() -> Actor) {
        let shown: fn(IpAddr) -> IpAddr = match self.options.downloads.clients {
            ClientDetail::Off => return,
            ClientDetail::Network => network,
            ClientDetail::Address => |address| address.to_canonical(),
        };
        let Actor { name: actor, address, .. } = by();
        let actor = actor.map(|mut actor| {
            actor.truncate(actor.floor_char_boundary(ACTOR_BYTES_MAX));
            actor
        });
        let hour = self.clock.now().floor(HOUR);
        let (repo, digest, address) = (repo.clone(), digest.clone(), address.map(shown));
        self.downloads.state().count(Download { hour, repo, digest, actor, address });
    }

    /// Writes down who downloaded what, once a minute or now, and forgets once an hour what is older than it is kept. What
    /// cannot be written down is kept for the next time, as long as there is room.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn flush_downloads(&self, at_once: bool) -> Result<()> {
        let now = self.clock.now();
        {
            let mut state = self.downloads.state();
            if !at_once && !is_over(PAUSE, state.written_at, now) {
                return Ok(());
            }
            state.written_at = Some(now);
        }
        loop {
            let taken = self.downloads.state().take();
            if taken.is_empty() {
                break;
            }
            if let Err(error) = self.metadata.download_add(&taken).await {
                let mut state = self.downloads.state();
                for (download, pulls) in taken {
                    state.add(download, pulls);
                }
                return Err(error.into());
            }
        }
        if is_over(FORGET_PAUSE, self.downloads.state().forgot_at, now) {
            self.downloads.state().forgot_at = Some(now);
            // A row says when its hour began.
            let before = now.before(self.options.downloads.keep).before(HOUR);
            while self.metadata.download_forget(before, FORGET_BATCH).await? == u64::from(FORGET_BATCH) {}
        }
        Ok(())
    }

    /// Downloads from a repository, those counted last first, those before a row; `limit` at most.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn downloads(&self, repo: &RepoName, before: Option<i64>, limit: u32) -> Result<Vec<DownloadRecord>> {
        Ok(self.metadata.download_list(repo, before.unwrap_or(i64::MAX), limit).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::Algorithm;

    fn at(hour: u32) -> Timestamp {
        Timestamp::default().after(HOUR * hour)
    }

    fn download(hour: u32, actor: &str) -> Download {
        Download {
            hour: at(hour),
            repo: "a/b".parse().expect("a name"),
            digest: Digest::of(Algorithm::Sha256, b"manifest"),
            actor: Some(actor.to_owned()),
            address: Some([192, 0, 2, 1].into()),
        }
    }

    fn all(state: &mut State) -> Vec<(Download, u64)> {
        let mut all = Vec::new();
        loop {
            let some = state.take();
            if some.is_empty() {
                return all;
            }
            assert!(some.len() <= BATCH);
            all.extend(some);
        }
    }

    #[test]
    fn an_hour_of_somebody_and_a_manifest_is_one_count() {
        let mut state = State::default();
        for (hour, actor) in [(1, "ann"), (1, "ann"), (1, "bob"), (2, "ann")] {
            state.count(download(hour, actor));
        }
        let counts: Vec<(Timestamp, String, u64)> =
            all(&mut state).into_iter().map(|(key, pulls)| (key.hour, key.actor.unwrap_or_default(), pulls)).collect();
        let expected = [(1, "ann", 2), (1, "bob", 1), (2, "ann", 1)];
        assert_eq!(counts, expected.map(|(hour, actor, pulls)| (at(hour), actor.to_owned(), pulls)));
        assert!(all(&mut state).is_empty());
    }

    #[test]
    fn many_clients_of_an_hour_are_counted_together() {
        let mut state = State::default();
        let clients = CLIENTS_MAX + 100;
        for number in 0..clients {
            state.count(download(1, &format!("u{number}")));
            // It is the hour that is bounded, not what waits to be written down.
            if number == 1_000 {
                all(&mut state);
            }
        }
        state.count(download(1, "u0"));
        let counts = all(&mut state);
        let together: Vec<u64> = counts
            .iter()
            .filter(|(key, _)| key.actor.is_none() && key.address.is_none())
            .map(|(_, pulls)| *pulls)
            .collect();
        assert_eq!(together, [100]);
        assert!(counts.iter().any(|(key, pulls)| key.actor.as_deref() == Some("u0") && *pulls == 1));
        state.count(download(2, "somebody new"));
        assert!(all(&mut state)[0].0.actor.is_some(), "the next hour begins anew");
    }

    #[test]
    fn there_is_an_end_to_what_is_counted_and_to_what_waits() {
        let mut state = State::default();
        for number in 0..COUNTS_MAX + 100 {
            let repo = format!("a/r{number}").parse().expect("a name");
            state.count(Download { repo, ..download(1, "ann") });
        }
        assert_eq!(state.pending.len(), COUNTS_MAX);
        for hour in 2..10 {
            for number in 0..CLIENTS_MAX {
                state.count(download(hour, &format!("u{number}")));
            }
        }
        assert_eq!(state.pending.len(), PENDING_MAX);
    }

    #[test]
    fn a_network_is_known_by_its_first_address() {
        for (address, first) in
            [("192.0.2.77", "192.0.2.0"), ("::ffff:192.0.2.77", "192.0.2.0"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::")]
        {
            let parsed = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(network(parsed(address)), parsed(first), "{address}");
        }
    }
}
