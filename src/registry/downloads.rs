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
use crate::metadata::MetadataError;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::downloads::{Download, DownloadRecord};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::registry::{Registry, Result};
use crate::telemetry;

/// Counts of an hour that a node keeps with an address; beyond, it keeps those of an account and a manifest together.
const CLIENTS_MAX: usize = 5_000;

/// Most of these of one account: whoever comes from everywhere hides nobody's address but his own.
const ACCOUNT_CLIENTS_MAX: usize = CLIENTS_MAX / 10;

/// Most of these of those who say no name, who are not told apart otherwise.
const NAMELESS_CLIENTS_MAX: usize = CLIENTS_MAX / 2;

/// Counts of an hour that it keeps by account; beyond, it keeps those of a manifest together.
const ACCOUNTS_MAX: usize = 2 * CLIENTS_MAX;

/// Counts of an hour that it keeps in all; others are forgotten.
const COUNTS_MAX: usize = 3 * CLIENTS_MAX;

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
    /// How many of these have an address, by account.
    with_address: HashMap<Option<String>, usize>,
    /// The same of all accounts.
    with_address_in_all: usize,
    /// Whether it was said that some are not told apart.
    said: bool,
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
            self.with_address.clear();
            (self.with_address_in_all, self.said) = (0, false);
        }
        if self.told_apart.contains(&download) || self.find_room(&mut download) {
            self.add(download, 1);
        }
    }

    /// Makes room for a count that is new in this hour, and takes from it what there is no room for. `false`: there is none.
    fn find_room(&mut self, download: &mut Download) -> bool {
        let asked = (download.actor.is_some(), download.address.is_some());
        if !self.takes_address_of(download) {
            download.address = None;
        }
        if self.told_apart.len() >= ACCOUNTS_MAX && !self.told_apart.contains(download) {
            (download.actor, download.address) = (None, None);
        }
        let has_room = self.told_apart.contains(download) || self.told_apart.len() < COUNTS_MAX;
        if has_room && self.told_apart.insert(download.clone()) && download.address.is_some() {
            *self.with_address.entry(download.actor.clone()).or_default() += 1;
            self.with_address_in_all += 1;
        }
        let is_whole = has_room && asked == (download.actor.is_some(), download.address.is_some());
        if !is_whole && !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                account = download.actor.as_deref(),
                "more clients download in this hour than are told apart; some are counted without address or account"
            );
        }
        has_room
    }

    /// Whether one more count of an account may have an address.
    fn takes_address_of(&self, download: &Download) -> bool {
        let most = if download.actor.is_some() { ACCOUNT_CLIENTS_MAX } else { NAMELESS_CLIENTS_MAX };
        let own = self.with_address.get(&download.actor).copied().unwrap_or_default();
        own < most && self.with_address_in_all < CLIENTS_MAX
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
    /// cannot be written down now is kept for the next time, as long as there is room; what the database does not take at
    /// all is forgotten, so that nothing waits behind it.
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
            match self.metadata.download_add(&taken).await {
                Ok(()) => {}
                Err(error @ (MetadataError::Unavailable(_) | MetadataError::Full(_))) => {
                    let mut state = self.downloads.state();
                    for (download, pulls) in taken {
                        state.add(download, pulls);
                    }
                    return Err(error.into());
                }
                Err(error) => {
                    let pulls = taken.iter().fold(0_u64, |all, (_, pulls)| all.saturating_add(*pulls));
                    tracing::error!(
                        error = telemetry::chain(&error),
                        pulls,
                        "downloads cannot be written down; they are lost"
                    );
                }
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
    fn many_accounts_of_an_hour_are_counted_together() {
        let mut state = State::default();
        let accounts = ACCOUNTS_MAX + 100;
        for number in 0..accounts {
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

    /// Whoever has many addresses, with an account or without.
    #[test]
    fn nobody_hides_the_addresses_of_others() {
        let from = |actor: Option<&str>, number: usize| {
            let [.., high, low] = number.to_be_bytes();
            let (actor, address) = (actor.map(str::to_owned), Some([10, 0, high, low].into()));
            Download { actor, address, ..download(1, "") }
        };
        let mut state = State::default();
        for number in 0..CLIENTS_MAX {
            state.count(from(Some("everywhere"), number));
            state.count(from(None, number));
        }
        for actor in [Some("ann"), Some("bob")] {
            state.count(from(actor, 1));
        }
        let counts = all(&mut state);
        let of = |actor: Option<&str>| -> Vec<(bool, u64)> {
            let mut own: Vec<_> = counts
                .iter()
                .filter(|(key, _)| key.actor.as_deref() == actor)
                .map(|(key, pulls)| (key.address.is_some(), *pulls))
                .collect();
            own.sort_unstable();
            own
        };
        assert_eq!((of(Some("ann")), of(Some("bob"))), (vec![(true, 1)], vec![(true, 1)]));
        for (actor, most) in [(Some("everywhere"), ACCOUNT_CLIENTS_MAX), (None, NAMELESS_CLIENTS_MAX)] {
            let own = of(actor);
            assert_eq!(own[0], (false, (CLIENTS_MAX - most) as u64), "the others are together, and under his name");
            assert_eq!(own.len(), 1 + most);
        }
        assert!(state.said);
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
            for number in 0..ACCOUNTS_MAX {
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
