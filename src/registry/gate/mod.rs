//! The gate: nothing that a signature policy speaks of is given out, or gets a tag, before it was judged.
//!
//! ```text
//!   what is asked for --> policies that apply --> assessment of the digest --> ruling --> bytes, or a refusal
//!                                                  (kept; made once for all who wait)
//! ```
//!
//! Invariants: a tag is resolved once, the ruling is about the digest that came of it, and those bytes are given. An
//! assessment holds for one revision of the policies and one generation of the repository's signatures; the generation
//! comes with the manifest in one statement, so what one node has acknowledged counts on every node with the next request.
//! What carries signatures is given to everybody who may read the repository, by its form alone: nobody could check
//! otherwise.

mod assess;
mod blobs;
mod candidates;
mod document;
mod lookalikes;
mod record;
mod ruling;
mod signature;
mod sweep;
mod tags;
mod trial;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::name::{PolicyName, RepoName};
use crate::oci::reference::Reference;
use crate::registry::{Registry, RegistryError, Result, StoredManifest};
use crate::verify::policy::{Blobs, DOCUMENT_BYTES_MAX, Gate as Place, InForce, Mode, Policies, Readers};

use assess::{Asker, Assessment, is_about};
use blobs::KeptBlob;
pub use document::{PolicyFollowed, PolicyStored};
pub use ruling::Ruling;
use sweep::Sweeper;
pub use sweep::{SweepOptions, SweepStats};
pub use trial::{Compared, DRY_RUN_TIME_MAX, DryRunPage};
use turns::Turns;

/// Most bytes of a policy document.
pub const POLICY_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// The row id of a repository that is not there; what is found out about one is not kept.
const NOWHERE: i64 = 0;
/// Digests whose assessments are kept.
const ASSESSMENTS_MAX: usize = 10_000;
/// Blobs of which it is known whether they are readable.
const BLOBS_MAX: usize = 10_000;
/// Digests whose signatures are read at once: each takes the memory of their manifests and of one signature, and waits for
/// the store.
const READERS: usize = 16;
/// Signatures that are checked at once: each takes a processor.
const PLACES: usize = 4;
/// Dry runs at once.
const DRY_RUNS: usize = 2;

/// Whoever asks for something.
#[async_trait]
pub trait Reader: Sync {
    /// Whether he is among those who may read what does not pass yet, by what his account may do and not by what his token
    /// says: whoever signs asks to pull.
    ///
    /// # Errors
    /// Those of the store.
    async fn reads_unverified(&self, readers: &Readers) -> Result<bool>;
}

/// A digest in a repository.
type Key = (i64, Digest);

/// The same where nobody keeps it: what is asked for with every pull is looked up without a copy.
#[derive(Clone, Copy, Hash)]
struct At<'a>(i64, &'a Digest);

impl Equivalent<Key> for At<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0 && *self.1 == key.1
    }
}

/// The policies in force, and what was found out under them.
pub struct Gate {
    policies: Arc<InForce>,
    /// The number of the newest document in the database that was looked at, whether it can be used or not; 0: none.
    seen: AtomicI64,
    /// Whether anybody has to say who he is, as whoever looked for documents last has said.
    has_accounts: AtomicBool,
    /// One who looks for another document at a time: of two, the one with the older document must not be the last.
    following: tokio::sync::Mutex<()>,
    assessments: Cache<Key, Arc<Assessment>>,
    blobs: Cache<Key, KeptBlob>,
    /// To assess a digest, and to find who makes a blob readable.
    turns: Turns,
    blob_turns: Turns,
    /// To read the signatures of a digest.
    readers: Semaphore,
    /// To check one.
    places: Semaphore,
    /// To find out what other policies would change.
    dry_runs: Semaphore,
    sweeper: Sweeper,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            policies: Arc::default(),
            seen: AtomicI64::new(0),
            has_accounts: AtomicBool::new(false),
            following: tokio::sync::Mutex::default(),
            assessments: Cache::new(ASSESSMENTS_MAX),
            blobs: Cache::new(BLOBS_MAX),
            turns: Turns::default(),
            blob_turns: Turns::default(),
            readers: Semaphore::new(READERS),
            places: Semaphore::new(PLACES),
            dry_runs: Semaphore::new(DRY_RUNS),
            sweeper: Sweeper::default(),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("revision", &self.policies.current().revision()).finish_non_exhaustive()
    }
}

impl Gate {
    /// The policies that hold, and where others are put in their place. What was found out under them is judged anew then.
    pub fn policies(&self) -> &Arc<InForce> {
        &self.policies
    }

    /// The number of the newest document that was looked at. The policies are from it, or from the last one before it that
    /// can be used: one that cannot be used stops nobody.
    fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }

    /// A document was looked at. Said after its policies were put in force: whoever sets a tag asks for the number first, and
    /// so starts over when he judged in between.
    fn see(&self, number: i64) {
        self.seen.store(number, Ordering::Release);
    }

    /// Whether there is any policy that guards blobs.
    pub fn guards_anything(&self) -> bool {
        self.policies.current().iter().any(|policy| policy.mode == Mode::Enforce && policy.blobs == Blobs::Gate)
    }

    /// An assessment of a digest, if it still holds and answers whoever asks.
    fn kept(
        &self,
        key: At<'_>,
        generation: i64,
        policies: &Policies,
        now: Timestamp,
        asker: Asker<'_>,
    ) -> Option<Arc<Assessment>> {
        let kept = self.assessments.get(&key).filter(|kept| kept.holds(generation, policies, now));
        kept.filter(|kept| kept.answers(asker))
    }
}

/// Something that is given out only by what the gate says of it.
#[derive(Debug)]
#[must_use = "nobody may have it before the gate was asked"]
pub struct Guarded<T> {
    content: T,
    ruling: Ruling,
}

impl<T> Guarded<T> {
    /// What the gate says.
    pub fn ruling(&self) -> &Ruling {
        &self.ruling
    }

    /// Gives it to a reader, with what he is to be told about it.
    ///
    /// # Errors
    /// [`RegistryError::Unverified`] when it does not pass and he is no exception.
    pub async fn admit(self, reader: &dyn Reader) -> Result<(T, Ruling)> {
        if !self.ruling.refuses() {
            return Ok((self.content, self.ruling));
        }
        for readers in self.ruling.exceptions() {
            if !reader.reads_unverified(readers).await? {
                return Err(RegistryError::Unverified(Box::new(self.ruling)));
            }
        }
        let ruling = self.ruling.bypassed();
        Ok((self.content, ruling))
    }
}

impl Registry {
    /// Whether the policies come from a file of this node, and not from the database.
    pub fn policies_are_a_file(&self) -> bool {
        self.options.policy_file
    }

    /// The gate, with the policies in force.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A manifest by tag or digest (end-3), with what the gate says of it.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`].
    pub async fn pull_manifest(&self, repo: &RepoName, reference: &Reference) -> Result<Guarded<StoredManifest>> {
        let record = self.manifest_record(repo, reference).await?;
        let now = self.clock.now();
        let ruling = self.rule(repo, &record, now).await?;
        if !ruling.refuses() {
            self.pulls.note(&record, now);
        }
        Ok(Guarded { content: record.into(), ruling })
    }

    /// The digest that a reference stands for; asking for it is no pull.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`].
    pub async fn resolve(&self, repo: &RepoName, reference: &Reference) -> Result<Digest> {
        match reference {
            Reference::Digest(digest) => Ok(digest.clone()),
            Reference::Tag(_) => Ok(self.manifest_record(repo, reference).await?.digest),
        }
    }

    /// What the gate says of a digest, which need not be there yet.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn verdict(&self, repo: &RepoName, digest: &Digest) -> Result<Ruling> {
        if let Some(record) = self.metadata.manifest_find(repo, &Reference::Digest(digest.clone())).await? {
            return self.rule(repo, &record, self.clock.now()).await;
        }
        // Before anything of a policy is told.
        let standing = self.metadata.trust_standing(repo).await?.ok_or(RegistryError::RepositoryUnknown)?;
        let policies = self.gate.policies.current();
        let applying = policies.applying(repo, Place::Pull, None);
        if applying.is_empty() {
            return Ok(Ruling::off());
        }
        let assessment = self.assess(repo, standing, digest, &policies, None).await?;
        Ok(assessment.ruling(&policies, &applying))
    }

    /// What one policy alone says of a digest, which need not be there yet, wherever that policy is asked. `None`: no policy
    /// with this name is about the repository, whether there is one or not.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn verdict_by(&self, repo: &RepoName, digest: &Digest, name: &PolicyName) -> Result<Option<Ruling>> {
        let record = self.metadata.manifest_find(repo, &Reference::Digest(digest.clone())).await?;
        // Before anything of a policy is told.
        let standing = match &record {
            Some(record) => record.standing,
            None => self.metadata.trust_standing(repo).await?.ok_or(RegistryError::RepositoryUnknown)?,
        };
        let policies = self.gate.policies.current();
        let named = policies.get(name.as_str()).filter(|policy| is_about(policy, repo));
        let Some(policy) = named else { return Ok(None) };
        let asking = record.as_ref().map_or_else(|| vec![policy], |record| self.asking(record, &[policy]));
        if asking.is_empty() {
            return Ok(Some(Ruling::exempt(digest, &policies, self.clock.now())));
        }
        let assessment = self.assess(repo, standing, digest, &policies, None).await?;
        Ok(Some(assessment.ruling(&policies, &asking)))
    }
}
