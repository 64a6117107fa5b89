//! Webhooks: the trait that a database implements, beside that for accounts.
//!
//! What a webhook is told of is written into its outbox in the transaction in which it happens; nothing else does that. A
//! node that sends takes a delivery for a time, and says what became of it.

use std::fmt;

use async_trait::async_trait;

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::{
    Delivery, DeliveryClaim, DeliveryRecord, Denial, NewWebhook, Settled, TestQueued, WebhookAdded, WebhookRecord,
};

/// A place for webhooks.
#[async_trait]
pub trait WebhookStore: fmt::Debug + Send + Sync {
    /// Makes a webhook of a namespace.
    async fn webhook_add(&self, new: &NewWebhook, by: &Actor) -> Result<WebhookAdded>;

    /// The webhooks of a namespace by their numbers. `None`: there is no such namespace.
    async fn webhook_list(&self, namespace: &NamespacePath) -> Result<Option<Vec<WebhookRecord>>>;

    /// Lets a webhook rest, or wakes it up. `false`: there is none.
    async fn webhook_activate(
        &self,
        namespace: &NamespacePath,
        id: &str,
        active: bool,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool>;

    /// Ends a webhook with what is on its way to it. `false`: there is none.
    async fn webhook_delete(&self, namespace: &NamespacePath, id: &str, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Puts an event of the kind `webhook.test` on its way.
    async fn webhook_test(&self, namespace: &NamespacePath, id: &str, now: Timestamp, by: &Actor)
    -> Result<TestQueued>;

    /// Puts events on their way that say who was refused.
    async fn denials_tell(&self, denials: &[Denial], now: Timestamp) -> Result<()>;

    /// Deliveries of a namespace's webhooks, the newest first, those before `before`, `limit` at most. `None`: there is no
    /// such namespace.
    async fn delivery_list(
        &self,
        namespace: &NamespacePath,
        dead: bool,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Option<Vec<DeliveryRecord>>>;

    /// Sends a delivery again, from the first attempt on, whatever became of it. `false`: there is none, or it is being sent.
    async fn delivery_again(&self, namespace: &NamespacePath, id: i64, now: Timestamp, by: &Actor) -> Result<bool>;

    /// Whether anything is to be sent.
    async fn delivery_due(&self, now: Timestamp) -> Result<bool>;

    /// Takes what is to be sent now, one delivery of each webhook of which none is being sent, those that are due longest.
    async fn delivery_claim(&self, claim: DeliveryClaim) -> Result<Vec<Delivery>>;

    /// Says what became of an attempt. `false`: it is not the caller's any more.
    async fn delivery_settle(&self, settled: &Settled) -> Result<bool>;

    /// Gives up what was not delivered in time, to be kept until `dead_until`; removes what was delivered or given up long
    /// ago, or is more than is kept of a webhook. Says of how many rows, `limit` of each at most.
    async fn delivery_tidy(&self, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64>;
}
