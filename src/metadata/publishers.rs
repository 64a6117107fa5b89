//! Rules for publishing: the trait that a database implements, beside that for accounts.

use std::fmt;

use async_trait::async_trait;

use crate::access::{Audience, Issuer, NamespacePath, PublisherName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::publishers::{
    NewPublisher, PublisherAdded, PublisherId, PublisherRecord, PublisherRole, PublisherUse,
};

/// Most rules of one namespace.
pub const PUBLISHERS_MAX: i64 = 100;

/// A place for rules. One call is one transaction; a change of rules moves
/// [`AccessState::version`](crate::metadata::model::accounts::AccessState).
#[async_trait]
pub trait PublisherStore: fmt::Debug + Send + Sync {
    /// Makes a rule.
    async fn publisher_add(&self, new: &NewPublisher, by: &Actor) -> Result<PublisherAdded>;

    /// The rules of a namespace in the order of their names. `None`: there is no such namespace.
    async fn publisher_list(&self, path: &NamespacePath) -> Result<Option<Vec<PublisherRecord>>>;

    /// Ends a rule. `false`: there is none.
    async fn publisher_delete(
        &self,
        path: &NamespacePath,
        name: &PublisherName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool>;

    /// The rules for an issuer and one of some audiences, in one namespace or in all, those behind one in the order of their
    /// numbers, `limit` at most.
    async fn publisher_match(
        &self,
        issuer: &Issuer,
        audiences: &[Audience],
        namespace: Option<&NamespacePath>,
        after: Option<PublisherId>,
        limit: u32,
    ) -> Result<Vec<PublisherRecord>>;

    /// The keys that rules have themselves.
    async fn publisher_keys(&self, ids: &[PublisherId]) -> Result<Vec<(PublisherId, String)>>;

    /// What rules give; those that have ended are missing.
    async fn publisher_find(&self, ids: &[PublisherId]) -> Result<Vec<PublisherRole>>;

    /// Takes note that a token was used, and says by which of its rules: those that are still there, and have not seen its
    /// `jti` or do not mind.
    async fn publisher_use(&self, used: &PublisherUse) -> Result<Vec<PublisherRole>>;

    /// Forgets tokens that nobody takes any more, and says how many.
    async fn publisher_sweep(&self, now: Timestamp) -> Result<u64>;
}
