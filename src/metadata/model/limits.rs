//! What bounds clients, as the store gives and takes it.

use std::time::Duration;

use crate::access::LoginLimits;
use crate::clock::Timestamp;

/// A login that is about to be tried. Each key is a digest of what it stands for.
#[derive(Clone, Debug)]
pub struct LoginAttempt {
    /// The account and the address.
    pub pair: String,
    /// The address.
    pub address: String,
    /// The account.
    pub account: String,
    /// How many may fail.
    pub limits: LoginLimits,
    /// When it is.
    pub now: Timestamp,
}

/// What became of a [`LoginAttempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// It may be tried.
    Counted(CountedAttempt),
    /// Not before a moment.
    Refused {
        /// What is refused: everything from the address, or only the account from there.
        key: String,
        /// From then on it may be tried.
        until: Timestamp,
    },
}

/// What was counted for a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedAttempt {
    /// The account and the address.
    pub pair: String,
    /// Every key, with the end of the time in which it was counted.
    pub counted: Vec<(String, Timestamp)>,
}

/// What comes into a bucket that nodes share.
#[derive(Clone, Debug)]
pub struct BucketFill {
    /// Which one.
    pub key: String,
    /// How long it takes to run out.
    pub lasts: Duration,
}

/// How full a bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLevel {
    /// Which one.
    pub key: String,
    /// When it will have run out.
    pub empty_at: Timestamp,
}

/// What a namespace may hold; `None`: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of its blobs and manifests, those of each repository counted by themselves.
    pub bytes: Option<u64>,
    /// Repositories.
    pub repositories: Option<u64>,
}

/// What a namespace holds, counted as [`Quota`] counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Repositories.
    pub repositories: u64,
}
