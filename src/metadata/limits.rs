//! What bounds clients: the trait that a database implements, beside that for accounts.

use std::fmt;

use async_trait::async_trait;

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::UploadId;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::limits::{Attempted, BucketFill, BucketLevel, CountedAttempt, LoginAttempt, Quota, Usage};
use crate::oci::name::RepoName;

/// Buckets that nodes share, in the database or elsewhere.
#[async_trait]
pub trait SharedBuckets: fmt::Debug + Send + Sync {
    /// Adds to buckets, and tells how full they are now. No bucket is named twice.
    async fn rate_fill(&self, fills: &[BucketFill], now: Timestamp) -> Result<Vec<BucketLevel>>;
}

/// A place for what is counted.
#[async_trait]
pub trait LimitStore: SharedBuckets {
    /// Counts a login that is about to be tried as one that failed, unless too many have.
    async fn login_try(&self, attempt: &LoginAttempt) -> Result<Attempted>;

    /// Takes back what was counted for a login that did not fail. With `known_until`, the password was right: nothing is
    /// held against this account from this address any more, and the address is known until then.
    async fn login_give_back(&self, counted: &CountedAttempt, known_until: Option<Timestamp>) -> Result<()>;

    /// Forgets some of what counts no more; tells how much.
    async fn limits_forget(&self, now: Timestamp) -> Result<u64>;

    /// Says what a namespace may hold. `false`: there is no such namespace.
    async fn quota_set(&self, path: &NamespacePath, quota: Quota, now: Timestamp, by: &Actor) -> Result<bool>;

    /// What a namespace may hold. `None`: there is no such namespace.
    async fn quota_find(&self, path: &NamespacePath) -> Result<Option<Quota>>;

    /// Whether a repository has any content.
    async fn repository_holds(&self, repo: &RepoName) -> Result<bool>;

    /// What a namespace holds now, with what uploads have received, but for those that are named.
    async fn quota_usage(&self, path: &NamespacePath, without: &[UploadId]) -> Result<Usage>;
}
