//! What bounds clients.

mod attempts;
pub(super) mod quotas;
mod rates;

use async_trait::async_trait;

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::limits::{LimitStore, SharedBuckets};
use crate::metadata::logic::accounts::change;
use crate::metadata::logic::{Conn, Database, values, work};
use crate::metadata::model::UploadId;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::limits::{Attempted, BucketFill, BucketLevel, CountedAttempt, LoginAttempt, Quota, Usage};
use crate::metadata::sql::limits as sql;
use crate::oci::name::RepoName;

#[async_trait]
impl<D: Database> SharedBuckets for D {
    async fn rate_fill(&self, fills: &[BucketFill], now: Timestamp) -> Result<Vec<BucketLevel>> {
        work!(self.write, [fills], |tx| rates::fill(tx, &fills, now))
    }
}

#[async_trait]
impl<D: Database> LimitStore for D {
    async fn login_try(&self, attempt: &LoginAttempt) -> Result<Attempted> {
        work!(self.write, [attempt], |tx| attempts::begin(tx, &attempt))
    }

    async fn login_give_back(&self, counted: &CountedAttempt, known_until: Option<Timestamp>) -> Result<()> {
        work!(self.write, [counted], |tx| attempts::give_back(tx, &counted, known_until))
    }

    async fn limits_forget(&self, now: Timestamp) -> Result<u64> {
        work!(self.write, [], |tx| forget(tx, now))
    }

    async fn quota_set(&self, path: &NamespacePath, quota: Quota, now: Timestamp, by: &Actor) -> Result<bool> {
        change!(self, [path, by], |tx| quotas::set(tx, &path, quota, now, &by))
    }

    async fn quota_find(&self, path: &NamespacePath) -> Result<Option<Quota>> {
        work!(self.read, [path], |conn| quotas::find(conn, &path))
    }

    async fn repository_holds(&self, repo: &RepoName) -> Result<bool> {
        work!(self.read, [repo], |conn| quotas::holds(conn, &repo))
    }

    async fn quota_usage(&self, path: &NamespacePath, without: &[UploadId]) -> Result<Usage> {
        work!(self.read, [path, without], |conn| quotas::usage(conn, &path, &without))
    }
}

async fn forget<C: Conn>(tx: &mut C, now: Timestamp) -> Result<u64> {
    let attempts = tx.run(&sql::ATTEMPT_FORGET, values![now]).await?;
    Ok(attempts + tx.run(&sql::RATE_FORGET, values![now]).await?)
}
