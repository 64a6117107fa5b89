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
mod ruling;
mod signature;
mod tags;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::{Registry, RegistryError, Result, StoredManifest};
use crate::verify::policy::{Blobs, DOCUMENT_BYTES_MAX, Gate as Place, InForce, Mode, Policies, Readers};

use assess::Assessment;
pub use document::{PolicyFollowed, PolicyStored};
pub use ruling::Ruling;

/// Most bytes of a policy document.
pub const POLICY_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// The row id of a repository that is not there; what is found out about one is not kept.
const NOWHERE: i64 = 0;
/// Digests whose assessments are kept.
const ASSESSMENTS_MAX: usize = 10_000;
/// Blobs that are known to be readable.
const BLOBS_MAX: usize = 10_000;
/// Digests whose signatures are looked at at once: each takes a processor, and the memory of one signature.
const PLACES: usize = 4;
/// Entries of the list of those who assess something, beyond which it is cleared of those who are done.
const TURNS_MAX: usize = 1_000;

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

/// The policies in force, and what was found out under them.
pub struct Gate {
    policies: Arc<InForce>,
    /// The number of the document in the database that they are from; 0: they are from elsewhere.
    document: AtomicI64,
    /// The number of the newest one that was looked at, whether it can be used or not.
    seen: AtomicI64,
    /// One who looks for another document at a time: of two, the one with the older document must not be the last.
    following: tokio::sync::Mutex<()>,
    assessments: Cache<Key, Arc<Assessment>>,
    blobs: Cache<Key, (i64, Ruling)>,
    turns: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>,
    /// To look at the signatures of one digest.
    places: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            policies: Arc::default(),
            document: AtomicI64::new(0),
            seen: AtomicI64::new(0),
            following: tokio::sync::Mutex::default(),
            assessments: Cache::new(ASSESSMENTS_MAX),
            blobs: Cache::new(BLOBS_MAX),
            turns: Mutex::default(),
            places: Semaphore::new(PLACES),
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

    /// The number of the document in the database that the policies are from; 0: they are from elsewhere.
    fn document(&self) -> i64 {
        self.document.load(Ordering::Acquire)
    }

    /// The number of the newest document that was looked at.
    fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }

    /// A document was looked at.
    fn see(&self, number: i64) {
        self.seen.store(number, Ordering::Release);
    }

    /// The policies are from this document. Said after they were put in force: whoever sets a tag asks for the number first,
    /// and so starts over when he judged in between.
    fn set_document(&self, number: i64) {
        self.document.store(number, Ordering::Release);
    }

    /// Whether there is any policy that guards blobs.
    pub fn guards_anything(&self) -> bool {
        self.policies.current().iter().any(|policy| policy.mode == Mode::Enforce && policy.blobs == Blobs::Gate)
    }

    /// An assessment of a digest, if it still holds.
    fn kept(&self, key: &Key, generation: i64, policies: &Policies, now: Timestamp) -> Option<Arc<Assessment>> {
        self.assessments.get(key).filter(|kept| kept.holds(generation, policies, now))
    }

    /// One at a time for each digest; the others find what the first one found out.
    fn turn(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= TURNS_MAX {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        turns.insert(key.clone(), Arc::downgrade(&turn));
        turn
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
        let ruling = self.rule(repo, &record).await?;
        if !ruling.refuses() {
            self.pulls.note(&record, self.clock.now());
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
            return self.rule(repo, &record).await;
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
}
