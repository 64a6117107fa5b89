//! How many requests somebody may send: buckets by account or address, in this process.
//!
//! Where several nodes serve, each adds once a second what it has let through to a bucket in the database or in Redis, and
//! goes on with how full that one is. So each gets as much of a limit as is asked of it, and nothing is kept for a node that
//! is gone. A request never waits for that; so each node may let through once what is free at the time, before
//! it hears of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::access::{AddressBlock, RateLimits, Rates};
use crate::auth::bucket::Bucket;
use crate::auth::identity::Identity;
use crate::auth::service::{Auth, AuthError, Credentials, Result, Sender};
use crate::clock::Timestamp;
use crate::metadata::model::accounts::UserId;
use crate::metadata::model::limits::{BucketFill, BucketLevel};

/// Clients whose buckets are kept. One that is forgotten begins with an empty one.
const CLIENTS_MAX: usize = 100_000;

/// Clients of whose requests other nodes are told at a time.
const SHARED_BATCH: usize = 500;

/// Most clients of whose requests they are told in a second; what others send is counted here alone.
const SHARED_MAX: usize = 10_000;

/// How much longer what is told may last than what is in the bucket here. Requests are told as if all came at once, so a
/// node that could tell nobody for an hour would else shut a client out for what has long run out.
const TOLD_LATE_MAX: Duration = Duration::from_secs(2);

/// Pause between two looks for counters that say nothing any more.
const FORGET_PAUSE: Duration = Duration::from_mins(1);

/// Fewer than that many forgotten at once are the last of them: the store forgets a thousand of a kind in a transaction.
const FORGET_ROWS: u64 = 1_000;

/// Where requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `/v2`.
    V2,
    /// `/api/v1`.
    Api,
}

/// How much of a limit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests in a time.
    pub limit: u32,
    /// That time.
    pub window: Duration,
    /// Requests that would be let through at once.
    pub remaining: u32,
}

/// Who sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Address(AddressBlock),
    Account(UserId),
    /// Whoever acts by the same rules, by a digest of their numbers.
    Publisher([u8; 16]),
}

impl Client {
    fn of(identity: &Identity, by: Sender<'_>) -> Self {
        match identity {
            Identity::Principal(principal) => Self::Account(principal.id),
            Identity::Publisher(publisher) => {
                let mut digest = [0; 16];
                digest.copy_from_slice(&Sha256::digest(publisher.holder())[..16]);
                Self::Publisher(digest)
            }
            Identity::Everybody | Identity::Unidentified | Identity::Anonymous(_) => Self::Address(by().address.into()),
        }
    }
}

type ClientKey = (Surface, Client);

/// The buckets of a client: one for each rate that holds.
#[derive(Debug)]
struct Buckets {
    each: Vec<Bucket>,
    /// Requests that other nodes have not been told of.
    untold: u32,
}

impl Buckets {
    fn check(&self, now: Timestamp) -> Result<()> {
        let wait = self.each.iter().map(|bucket| bucket.wait(now)).max().unwrap_or_default();
        if wait.is_zero() { Ok(()) } else { Err(AuthError::TooManyRequests { wait }) }
    }
}

/// What other nodes have to be told of a client.
#[derive(Debug)]
struct Untold {
    key: ClientKey,
    requests: u32,
    /// What that comes to in each of the buckets.
    fills: Vec<BucketFill>,
}

/// Every client's buckets.
#[derive(Debug)]
pub(super) struct RateGuard {
    limits: RateLimits,
    shared: bool,
    clients: Cache<ClientKey, Arc<Mutex<Buckets>>>,
    /// Clients with something untold.
    untold: Mutex<Vec<ClientKey>>,
}

impl RateGuard {
    pub(super) fn new(limits: RateLimits, shared: bool) -> Self {
        Self { limits, shared, clients: Cache::new(CLIENTS_MAX), untold: Mutex::default() }
    }

    /// The rates of clients that are known by more than their address, or not.
    fn rates(&self, surface: Surface, known: bool) -> &Rates {
        match (surface, known) {
            (Surface::V2, false) => &self.limits.v2_anonymous,
            (Surface::V2, true) => &self.limits.v2_authenticated,
            (Surface::Api, false) => &self.limits.api_anonymous,
            (Surface::Api, true) => &self.limits.api_authenticated,
        }
    }

    /// Lets a request through; `None`: there is no limit.
    fn admit(&self, key: ClientKey, now: Timestamp) -> Result<Option<Standing>> {
        let (surface, client) = key;
        let rates = self.rates(surface, !matches!(client, Client::Address(_)));
        if rates.is_unlimited() {
            return Ok(None);
        }
        let buckets = self.buckets(key, rates, now);
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.check(now)?;
        for bucket in &mut buckets.each {
            bucket.fill(1, now);
        }
        if self.shared {
            self.add_untold(key, &mut buckets, 1);
        }
        let tightest = buckets.each.iter().min_by_key(|bucket| bucket.remaining(now));
        Ok(tightest.map(|bucket| Standing {
            limit: bucket.rate().requests(),
            window: bucket.rate().per(),
            remaining: bucket.remaining(now),
        }))
    }

    /// Whether a request would be let through; it is not counted.
    fn check(&self, key: ClientKey, now: Timestamp) -> Result<()> {
        let Some(buckets) = self.clients.get(&key) else { return Ok(()) };
        buckets.lock().unwrap_or_else(PoisonError::into_inner).check(now)
    }

    fn buckets(&self, key: ClientKey, rates: &Rates, now: Timestamp) -> Arc<Mutex<Buckets>> {
        let made = || {
            let each = rates.all().iter().map(|rate| Bucket::new(*rate, now)).collect();
            Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Buckets { each, untold: 0 })))
        };
        let Ok(buckets) = self.clients.get_or_insert_with(&key, made);
        buckets
    }

    /// Notes requests of which other nodes have to be told, unless there is too much to tell already.
    fn add_untold(&self, key: ClientKey, buckets: &mut Buckets, requests: u32) {
        if buckets.untold == 0 {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            if untold.len() >= SHARED_MAX {
                return;
            }
            untold.push(key);
        }
        buckets.untold = buckets.untold.saturating_add(requests);
    }

    /// What other nodes have to be told, a batch of it.
    fn take_untold(&self, now: Timestamp) -> Vec<Untold> {
        let keys: Vec<ClientKey> = {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = untold.len().saturating_sub(SHARED_BATCH);
            untold.drain(rest..).collect()
        };
        let taken = keys.into_iter().filter_map(|key| {
            let buckets = self.clients.get(&key)?;
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let requests = std::mem::take(&mut buckets.untold);
            let fills = buckets.each.iter().map(|bucket| BucketFill {
                key: name(key, bucket),
                lasts: bucket.time_of(requests).min(bucket.runs_out_in(now).saturating_add(TOLD_LATE_MAX)),
            });
            Some(Untold { key, requests, fills: fills.collect() })
        });
        taken.filter(|untold| untold.requests > 0).collect()
    }

    /// Goes on with what is said of all nodes, and with what has come since that was asked for.
    fn take_over(&self, key: ClientKey, levels: &HashMap<String, Timestamp>, now: Timestamp) {
        let Some(buckets) = self.clients.get(&key) else { return };
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = buckets.untold;
        for bucket in &mut buckets.each {
            let Some(empty_at) = levels.get(&name(key, bucket)) else { continue };
            let mut shared = *bucket;
            shared.set_empty_at(*empty_at, now);
            shared.fill(untold, now);
            // What all nodes let in is more than what one does, unless the others' place for it was emptied.
            if shared.runs_out_in(now) > bucket.runs_out_in(now) {
                *bucket = shared;
            }
        }
    }

    /// Keeps for later what could not be told.
    fn put_back(&self, untold: &[Untold]) {
        for Untold { key, requests, .. } in untold {
            let Some(buckets) = self.clients.get(key) else { continue };
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            self.add_untold(*key, &mut buckets, *requests);
        }
    }
}

fn name((surface, client): ClientKey, bucket: &Bucket) -> String {
    let surface = match surface {
        Surface::V2 => "v2",
        Surface::Api => "api",
    };
    match client {
        Client::Address(block) => format!("{surface} {} address {block}", bucket.rate()),
        Client::Account(id) => format!("{surface} {} account {}", bucket.rate(), id.0),
        Client::Publisher(digest) => format!("{surface} {} publisher {}", bucket.rate(), hex::encode(digest)),
    }
}

impl Auth {
    /// Who has these credentials, unless he, or the address that he comes from, has sent too many requests. Whoever sends
    /// none is counted before anything else is done for him; wrong ones count like none. `late`: by a token that may have
    /// expired meanwhile.
    ///
    /// # Errors
    /// As [`identify`](Self::identify), and [`AuthError::TooManyRequests`].
    pub async fn identify_within(
        &self,
        surface: Surface,
        credentials: &Credentials,
        late: bool,
        by: Sender<'_>,
    ) -> Result<(Identity, Option<Standing>)> {
        let by_address = || self.admit(surface, &Identity::Unidentified, by);
        if matches!(credentials, Credentials::None) {
            let standing = by_address()?;
            return Ok((self.identify(credentials, by).await?, standing));
        }
        match self.identify_once(credentials, late, by).await {
            Ok(identity) => {
                let standing = self.admit(surface, &identity, by)?;
                Ok((identity, standing))
            }
            Err(AuthError::Wrong) => {
                by_address()?;
                Err(AuthError::Wrong)
            }
            Err(other) => Err(other),
        }
    }

    /// Counts a request of somebody who is known by now. Where there is no limit, nobody asks from where it comes.
    ///
    /// # Errors
    /// [`AuthError::TooManyRequests`].
    pub fn admit(&self, surface: Surface, identity: &Identity, by: Sender<'_>) -> Result<Option<Standing>> {
        let known = matches!(identity, Identity::Principal(_) | Identity::Publisher(_));
        if self.rates.rates(surface, known).is_unlimited() {
            return Ok(None);
        }
        self.rates.admit((surface, Client::of(identity, by)), self.clock.now())
    }

    /// Whether an address may send a request that is counted by [`admit`](Self::admit) only when it is refused: of many jobs
    /// behind one address each may show a good token, and whoever guesses is held up all the same.
    ///
    /// # Errors
    /// [`AuthError::TooManyRequests`].
    pub fn check_room(&self, surface: Surface, by: Sender<'_>) -> Result<()> {
        self.rates.check((surface, Client::Address(by().address.into())), self.clock.now())
    }

    /// Tells other nodes what was let through, and hears what they let through. To be called every second.
    ///
    /// # Errors
    /// [`AuthError::Store`]; what could not be told is told later, and until then this node counts alone.
    pub async fn reconcile_limits(&self) -> Result<()> {
        // What comes in meanwhile is told in the next second.
        for _ in 0..SHARED_MAX.div_ceil(SHARED_BATCH) {
            let untold = self.rates.take_untold(self.clock.now());
            if untold.is_empty() {
                break;
            }
            if let Err(error) = self.tell(&untold).await {
                self.rates.put_back(&untold);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Forgets what counts no more, now and then.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn forget_limits(&self) -> Result<()> {
        if self.limits_forgotten.is_due(self.clock.now(), FORGET_PAUSE) {
            while self.store.limits_forget(self.clock.now()).await? >= FORGET_ROWS {}
        }
        Ok(())
    }

    async fn tell(&self, untold: &[Untold]) -> Result<()> {
        let fills: Vec<BucketFill> = untold.iter().flat_map(|untold| untold.fills.iter().cloned()).collect();
        let levels = self.buckets.rate_fill(&fills, self.clock.now()).await?;
        let levels = levels.into_iter().map(|BucketLevel { key, empty_at }| (key, empty_at)).collect();
        let now = self.clock.now();
        for Untold { key, .. } in untold {
            self.rates.take_over(*key, &levels, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn guard(v2: &str) -> RateGuard {
        let rates = || v2.parse().expect("rates");
        let limits = RateLimits { v2_anonymous: rates(), v2_authenticated: rates(), ..RateLimits::default() };
        RateGuard::new(limits, false)
    }

    fn address(text: &str) -> ClientKey {
        (Surface::V2, Client::Address(AddressBlock::from(text.parse().ok())))
    }

    #[test]
    fn each_client_has_his_own() {
        let guard = guard("2/m");
        let account = (Surface::V2, Client::Account(UserId(1)));
        for key in [address("192.0.2.1"), address("192.0.2.2"), address("2001:db8::1"), account] {
            for remaining in [1, 0] {
                let standing = guard.admit(key, NOW).expect("admitted").expect("a limit");
                assert_eq!((standing.limit, standing.remaining), (2, remaining));
            }
            let refused = guard.admit(key, NOW);
            assert!(matches!(refused, Err(AuthError::TooManyRequests { wait }) if wait == Duration::from_secs(30)));
        }
        assert!(guard.admit(address("2001:db8::2"), NOW).is_err(), "the same network");
        assert!(guard.admit(address("192.0.2.1"), NOW.after(Duration::from_secs(30))).is_ok());
    }

    #[test]
    fn what_is_looked_at_is_not_counted() {
        let guard = guard("2/m");
        let key = address("192.0.2.1");
        for _ in 0..5 {
            guard.check(key, NOW).expect("room");
        }
        for _ in 0..2 {
            guard.admit(key, NOW).expect("admitted");
        }
        assert!(guard.check(key, NOW).is_err());
        assert!(guard.check(key, NOW.after(Duration::from_secs(30))).is_ok());
    }

    #[test]
    fn all_rates_hold_at_once() {
        let guard = guard("2/m,3/h");
        let key = address("192.0.2.1");
        for at in [0, 0, 60] {
            assert!(guard.admit(key, NOW.after(Duration::from_secs(at))).is_ok());
        }
        let Err(AuthError::TooManyRequests { wait }) = guard.admit(key, NOW.after(Duration::from_mins(1))) else {
            panic!("the hour is full");
        };
        assert_eq!(wait, Duration::from_mins(19));
    }

    #[test]
    fn what_is_told_late_is_not_told_as_if_it_came_now() {
        let guard = RateGuard { shared: true, ..guard("60/m") };
        let key = address("192.0.2.1");
        let told = |now| {
            let untold = guard.take_untold(now);
            assert_eq!((untold.len(), untold[0].fills.len()), (1, 1));
            (untold[0].requests, untold[0].fills[0].lasts, untold)
        };
        for _ in 0..60 {
            guard.admit(key, NOW).expect("admitted");
        }
        let (requests, lasts, untold) = told(NOW.after(Duration::from_secs(1)));
        assert_eq!((requests, lasts), (60, Duration::from_mins(1)));
        guard.put_back(&untold);
        for second in 1..=600 {
            guard.admit(key, NOW.after(Duration::from_secs(second))).expect("one a second");
        }
        let (requests, lasts, untold) = told(NOW.after(Duration::from_mins(10)));
        assert_eq!((requests, lasts), (660, Duration::from_secs(62)));
        guard.put_back(&untold);
        assert_eq!(told(NOW.after(Duration::from_hours(1))).1, TOLD_LATE_MAX);
        assert!(guard.take_untold(NOW).is_empty(), "all of it was taken");
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let guard = guard("none");
        assert_eq!(guard.admit(address("192.0.2.1"), NOW).expect("admitted"), None);
        assert_eq!(guard.clients.len(), 0);
    }
}
