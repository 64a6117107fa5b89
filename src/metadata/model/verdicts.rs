//! What was found out about digests, and the walk over what passed, as the store gives and takes them.

use super::trust::Standing;
use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;

/// The outcome of what passes; statements have it too.
const PASS: &str = "pass";

/// What was found out about a digest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictRecord {
    /// The outcome as one word.
    pub outcome: String,
    /// Manifests whose signatures counted, to be looked at first.
    pub evidence: Vec<Digest>,
    /// When it was judged.
    pub checked_at: Timestamp,
    /// Since when it does not pass any more, if that was told.
    pub failed_at: Option<Timestamp>,
}

impl VerdictRecord {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.outcome == PASS
    }
}

/// What the policies that enforce say of a digest together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All are satisfied.
    Pass,
    /// One is not.
    Refusal(Refusal),
    /// There is none.
    Nothing,
}

/// A policy that is not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The outcome as one word.
    pub outcome: &'static str,
    /// Its name.
    pub policy: String,
    /// Why, as one word.
    pub reason: &'static str,
    /// Whether everything was looked at that could satisfy it.
    pub is_certain: bool,
}

impl Found {
    /// One word for it.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Pass => PASS,
            Self::Refusal(refusal) => refusal.outcome,
            Self::Nothing => "off",
        }
    }
}

/// What was found out about a digest, to be written down.
#[derive(Clone, Debug)]
pub struct VerdictPut {
    /// Where its repository stood when its signatures were read.
    pub standing: Standing,
    /// The number of the policy document in the database, 0 for none; `None`: the policies are not from there.
    pub document: Option<i64>,
    /// The revision of the policies.
    pub revision: String,
    /// The digest.
    pub digest: Digest,
    /// What was found out.
    pub found: Found,
    /// Manifests whose signatures counted.
    pub evidence: Vec<Digest>,
    /// Now.
    pub now: Timestamp,
}

/// What became of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictTurn {
    /// It passed and does not any more.
    Failed,
    /// It passes again.
    Passed,
}

/// A digest about which something was found out, on a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictEntry {
    /// Row id of its repository.
    pub repository: i64,
    /// Its repository; `None`: that is gone.
    pub repo: Option<RepoName>,
    /// The digest.
    pub digest: Digest,
    /// Whether it passed.
    pub passed: bool,
    /// Whether it was told that it does not pass any more.
    pub failed: bool,
}

/// A walk over what passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictSweep {
    /// When it began.
    pub began_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// The revision of the policies that it judges by.
    pub revision: String,
}

/// A node's wish to begin a walk.
#[derive(Clone, Debug)]
pub struct VerdictSweepTake {
    /// The node.
    pub node: String,
    /// The revision of the policies that it judges by.
    pub revision: String,
    /// Now.
    pub now: Timestamp,
    /// Until when it keeps others from it.
    pub until: Timestamp,
    /// The walk before it.
    pub last: VerdictSweep,
}

/// A node's wish to go on with a walk.
#[derive(Clone, Debug)]
pub struct VerdictSweepKeep {
    /// The node.
    pub node: String,
    /// When the walk began.
    pub began_at: Timestamp,
    /// Until when it keeps others from it.
    pub until: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
}
