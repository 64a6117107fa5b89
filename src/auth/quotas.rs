//! What a namespace may hold.
//!
//! Nothing is written down for a quota but the quota itself: what a namespace holds is summed up when somebody pushes into
//! one that has a quota, and remembered for a second, or for longer where the sum takes long. What this node lets in
//! meanwhile is added. Whoever looks at a quota is shown a sum of his own, since what is kept for pushes is not kept where
//! there is no quota, and does not tell what went; it is remembered for as long as keeps its cost low. So a push elsewhere
//! costs nothing, no row is hot, and what may come in beyond the quota is what other nodes let in before the next sum, and
//! bodies whose length nobody said beforehand.
//!
//! A sum is a task of its own, and of each namespace there is one at a time: the database goes on with what was asked by
//! somebody who has gone away, so the next one waits for that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::access::NamespacePath;
use crate::auth::identity::Identity;
use crate::auth::service::{Auth, AuthError, Result};
use crate::clock::Timestamp;
use crate::metadata::MetadataError;
use crate::metadata::model::UploadId;
use crate::metadata::model::limits::{Quota, Usage};
use crate::oci::name::RepoName;

/// Namespaces whose usage is remembered.
const NAMESPACES_MAX: usize = 10_000;

/// Namespaces of which it is remembered what was shown.
const SHOWN_MAX: usize = 1_000;

/// Shortest pause between two sums.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// How much longer than a sum the pause after it is, so that sums take a twentieth of a connection at most.
const PAUSE_FACTOR: u32 = 20;

/// Why something may not come in.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// There is no room for it.
    #[error(
        "the quota of namespace {namespace} has no room for this: {used} of {limit} {unit} are used, and {asked} more \
         are asked for"
    )]
    Exceeded {
        /// Whose quota.
        namespace: NamespacePath,
        /// `bytes` or `repositories`.
        unit: &'static str,
        /// What it holds, with what is coming in.
        used: u64,
        /// What it may hold.
        limit: u64,
        /// What was asked for.
        asked: u64,
    },
    /// Nobody knows.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// A quota and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaOf {
    /// The namespace.
    pub namespace: NamespacePath,
    /// What it may hold.
    pub quota: Quota,
}

/// What is known of each namespace that has a quota.
#[derive(Debug)]
pub(super) struct Quotas {
    namespaces: Cache<NamespacePath, Arc<Held>>,
    /// Apart from the others: whoever looks at many makes nothing be forgotten that pushes go by.
    shown: Cache<NamespacePath, LastShown>,
    /// The sums under way.
    sums: TaskTracker,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { namespaces: Cache::new(NAMESPACES_MAX), shown: Cache::new(SHOWN_MAX), sums: TaskTracker::new() }
    }
}

/// What a namespace holds.
#[derive(Debug, Default)]
struct Held {
    /// Held while it is summed up.
    summing: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

/// What was shown last of a namespace; held while it is summed up.
type LastShown = Arc<tokio::sync::Mutex<Option<Shown>>>;

/// A sum that somebody looked at.
#[derive(Clone, Copy, Debug)]
struct Shown {
    usage: Usage,
    /// By the clock of the machine, which goes on when that of the database stands still.
    at: Instant,
    good_for: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// The last sum, with the moment at which it was begun and how long it is good.
    summed: Option<(Usage, Timestamp, Duration)>,
    /// Bytes that came in since.
    added: u64,
    /// Bytes that are coming in.
    coming: u64,
    /// Sessions whose bytes are coming in, and so are no part of a sum.
    sessions: HashSet<UploadId>,
    /// Repositories without content until now, into which something comes or came since the sum.
    begun: HashMap<RepoName, Begun>,
}

/// A repository that is no part of the sum.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    /// Rooms for what comes into it.
    rooms: usize,
    /// Whether anything came.
    filled: bool,
}

/// What a client is about to send.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Where to.
    pub repo: &'a RepoName,
    /// How much of it.
    pub bytes: u64,
    /// The session that takes it all, if it is known that it is not more than `bytes`.
    pub session: Option<&'a UploadId>,
}

/// Room for something that is coming in, until it is dropped.
#[derive(Debug)]
pub struct Room {
    held: Arc<Held>,
    bytes: u64,
    session: Option<UploadId>,
    begun: Option<RepoName>,
}

impl Shown {
    /// A sum that took so long, ended at a moment.
    fn new(usage: Usage, at: Instant, took: Duration) -> Self {
        Self { usage, at, good_for: took.saturating_mul(PAUSE_FACTOR) }
    }

    fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < self.good_for
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.summed.is_some_and(|(_, at, good_for)| at <= now && now < at.after(good_for))
    }

    /// Nothing came in since the sum was begun, or what came may have been part of it already.
    fn is_exact(&self) -> bool {
        self.added == 0 && !self.begun.values().any(|begun| begun.filled)
    }

    fn used(&self) -> Usage {
        let (summed, ..) = self.summed.unwrap_or_default();
        Usage {
            bytes: summed.bytes.saturating_add(self.added).saturating_add(self.coming),
            repositories: summed.repositories.saturating_add(self.begun.len() as u64),
        }
    }

    /// Repositories into which something came.
    fn filled(&self) -> Vec<RepoName> {
        self.begun.iter().filter(|(_, begun)| begun.filled).map(|(repo, _)| repo.clone()).collect()
    }
}

impl Room {
    /// It came in, with so many bytes.
    pub fn fill(self, bytes: u64) {
        let mut state = self.held.state();
        state.added = state.added.saturating_add(bytes);
        if let Some(begun) = self.begun.as_ref().and_then(|repo| state.begun.get_mut(repo)) {
            begun.filled = true;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.held.state();
        state.coming = state.coming.saturating_sub(self.bytes);
        if let Some(session) = &self.session {
            state.sessions.remove(session);
        }
        if let Some(Entry::Occupied(mut entry)) = self.begun.take().map(|repo| state.begun.entry(repo)) {
            let begun = entry.get_mut();
            begun.rooms = begun.rooms.saturating_sub(1);
            if begun.rooms == 0 && !begun.filled {
                entry.remove();
            }
        }
    }
}

/// The first bound that a wish goes beyond.
fn excess(of: &QuotaOf, used: Usage, wish: Usage) -> Option<QuotaError> {
    let bounds = [
        ("bytes", of.quota.bytes, used.bytes, wish.bytes),
        ("repositories", of.quota.repositories, used.repositories, wish.repositories),
    ];
    bounds.into_iter().find_map(|(unit, limit, used, asked)| {
        let limit = limit.filter(|limit| asked > 0 && used.saturating_add(asked) > *limit)?;
        Some(QuotaError::Exceeded { namespace: of.namespace.clone(), unit, used, limit, asked })
    })
}

impl Auth {
    /// The quota that binds a push of somebody into a repository. It is known from what he may do there.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn quota_of(&self, identity: &Identity, repo: &RepoName) -> Result<Option<QuotaOf>> {
        if matches!(identity, Identity::Everybody) {
            return Ok(None);
        }
        let rights = self.rights(identity.id(), repo).await?;
        let namespace = rights.namespace.clone().filter(|_| rights.quota != Quota::default());
        Ok(namespace.map(|namespace| QuotaOf { namespace, quota: rights.quota }))
    }

    /// Makes room for what is about to come into a repository.
    ///
    /// # Errors
    /// [`QuotaError::Exceeded`] when there is none.
    pub async fn make_room(&self, of: &QuotaOf, wish: Wish<'_>) -> std::result::Result<Room, QuotaError> {
        let is_new = of.quota.repositories.is_some() && !self.holds(wish.repo).await?;
        let held = known(&self.quotas.namespaces, &of.namespace);
        self.sum_up(&of.namespace, &held, State::is_fresh).await?;
        match take(&held, of, wish, is_new) {
            Ok(room) => Ok(room),
            // What came in since the sum was begun may be in it already.
            Err(_) if !held.state().is_exact() => {
                self.sum_up(&of.namespace, &held, |state, now| state.is_fresh(now) && state.is_exact()).await?;
                take(&held, of, wish, is_new)
            }
            Err(exceeded) => Err(exceeded),
        }
    }

    /// What a namespace may hold and what it holds now, or held not longer ago than twenty times as long as it took to sum
    /// that up. `None`: there is no such namespace.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn quota_and_usage(&self, namespace: &NamespacePath) -> Result<Option<(Quota, Usage)>> {
        let Some(quota) = self.store.quota_find(namespace).await? else { return Ok(None) };
        let mut shown = known(&self.quotas.shown, namespace).lock_owned().await;
        let begun = Instant::now();
        if let Some(shown) = shown.filter(|shown| shown.is_good(begun)) {
            return Ok(Some((quota, shown.usage)));
        }
        let (store, namespace) = (Arc::clone(&self.store), namespace.clone());
        let sum = self.quotas.sums.spawn(async move {
            let usage = store.quota_usage(&namespace, &[]).await?;
            let ended = Instant::now();
            *shown = Some(Shown::new(usage, ended, ended.saturating_duration_since(begun)));
            Ok(usage)
        });
        Ok(Some((quota, outcome(sum).await?)))
    }

    async fn holds(&self, repo: &RepoName) -> Result<bool> {
        Ok(self.store.repository_holds(repo).await?)
    }

    /// Sums up what a namespace holds unless what is known will do; one at a time does so, and the others wait for it.
    async fn sum_up(
        &self,
        namespace: &NamespacePath,
        held: &Arc<Held>,
        will_do: impl Fn(&State, Timestamp) -> bool,
    ) -> Result<()> {
        if will_do(&held.state(), self.clock.now()) {
            return Ok(());
        }
        let alone = Arc::clone(&held.summing).lock_owned().await;
        let (at, begun) = (self.clock.now(), Instant::now());
        let (added, filled, sessions): (_, _, Vec<UploadId>) = {
            let state = held.state();
            if will_do(&state, at) {
                return Ok(());
            }
            (state.added, state.filled(), state.sessions.iter().cloned().collect())
        };
        let (store, namespace, held) = (Arc::clone(&self.store), namespace.clone(), Arc::clone(held));
        let sum = self.quotas.sums.spawn(async move {
            let _alone = alone;
            let usage = store.quota_usage(&namespace, &sessions).await?;
            let good_for = PAUSE_MIN.max(begun.elapsed().saturating_mul(PAUSE_FACTOR));
            let mut state = held.state();
            state.added = state.added.saturating_sub(added);
            state.begun.retain(|repo, _| !filled.contains(repo));
            state.summed = Some((usage, at, good_for));
            Ok(())
        });
        outcome(sum).await
    }
}

/// What came of a sum, for whoever still waits for it.
async fn outcome<T>(sum: JoinHandle<Result<T>>) -> Result<T> {
    let ended = |error| MetadataError::Unavailable(format!("the sum ended before its time: {error}"));
    sum.await.map_err(ended)?
}

/// What is known of a namespace, or the beginning of it.
fn known<T: Default>(cache: &Cache<NamespacePath, Arc<T>>, namespace: &NamespacePath) -> Arc<T> {
    let Ok(known) = cache.get_or_insert_with(namespace, || Ok::<_, std::convert::Infallible>(Arc::default()));
    known
}

fn take(held: &Arc<Held>, of: &QuotaOf, wish: Wish<'_>, is_new: bool) -> std::result::Result<Room, QuotaError> {
    let mut state = held.state();
    let Wish { repo, bytes, session } = wish;
    // What comes into one repository at the same time is one more repository together.
    let repositories = u64::from(is_new && !state.begun.contains_key(repo));
    if let Some(exceeded) = excess(of, state.used(), Usage { bytes, repositories }) {
        return Err(exceeded);
    }
    state.coming = state.coming.saturating_add(bytes);
    state.sessions.extend(session.cloned());
    if is_new {
        state.begun.entry(repo.clone()).or_default().rooms += 1;
    }
    drop(state);
    Ok(Room { held: Arc::clone(held), bytes, session: session.cloned(), begun: is_new.then(|| repo.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(bytes: Option<u64>, repositories: Option<u64>) -> QuotaOf {
        QuotaOf { namespace: "a".parse().expect("a path"), quota: Quota { bytes, repositories } }
    }

    fn repo(name: &str) -> RepoName {
        name.parse().expect("a name")
    }

    fn wish(repo: &RepoName, bytes: u64) -> Wish<'_> {
        Wish { repo, bytes, session: None }
    }

    #[test]
    fn room_is_taken_until_it_is_given_back_or_filled() {
        let (held, of, repo) = (Arc::<Held>::default(), bound(Some(100), None), repo("a/b"));
        let one = take(&held, &of, wish(&repo, 60), false).expect("room");
        let refused = take(&held, &of, wish(&repo, 60), false).expect_err("no room");
        assert_eq!(
            refused.to_string(),
            "the quota of namespace a has no room for this: 60 of 100 bytes are used, and 60 more are asked for"
        );
        drop(one);
        take(&held, &of, wish(&repo, 60), false).expect("room").fill(70);
        assert_eq!(held.state().used().bytes, 70);
        assert!(take(&held, &of, wish(&repo, 31), false).is_err() && take(&held, &of, wish(&repo, 30), false).is_ok());
    }

    #[test]
    fn a_repository_counts_once_however_much_comes_into_it() {
        let (held, of) = (Arc::<Held>::default(), bound(None, Some(1)));
        let (first, second) = (repo("a/b"), repo("a/c"));
        let one = take(&held, &of, wish(&first, 1), true).expect("room");
        let other = take(&held, &of, wish(&first, 1), true).expect("the same repository");
        assert!(take(&held, &of, wish(&second, 1), true).is_err());
        drop(one);
        assert!(take(&held, &of, wish(&second, 1), true).is_err(), "something still comes into the first one");
        drop(other);
        take(&held, &of, wish(&second, 1), true).expect("room").fill(1);
        assert!(take(&held, &of, wish(&first, 1), true).is_err(), "something came into the second one");
        assert_eq!(held.state().filled(), [second]);
    }

    #[test]
    fn whoever_looks_costs_a_twentieth_of_a_connection_at_most() {
        let (usage, ended) = (Usage { bytes: 5, repositories: 1 }, Instant::now());
        let shown = Shown::new(usage, ended, Duration::from_millis(500));
        assert!(shown.is_good(ended) && shown.is_good(ended + Duration::from_millis(9_999)));
        assert!(!shown.is_good(ended + Duration::from_secs(10)));
        assert!(!Shown::new(usage, ended, Duration::ZERO).is_good(ended), "what costs nothing is summed up each time");
    }

    #[test]
    fn each_bound_is_looked_at_alone() {
        let used = Usage { bytes: 200, repositories: 3 };
        let push = |bytes, repositories| Usage { bytes, repositories };
        assert!(excess(&bound(None, None), used, push(1 << 40, 1)).is_none());
        assert!(excess(&bound(Some(100), None), used, push(0, 1)).is_none(), "nothing comes in");
        assert!(excess(&bound(None, Some(3)), used, push(5, 0)).is_none(), "the repository is there");
        let refused = excess(&bound(None, Some(3)), used, push(5, 1));
        assert!(matches!(
            refused,
            Some(QuotaError::Exceeded { unit: "repositories", used: 3, limit: 3, asked: 1, .. })
        ));
    }
}
