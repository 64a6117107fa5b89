//! The trait for webhooks, method by method: which are reads, which are transactions, and what they run.

use async_trait::async_trait;

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::change;
use crate::metadata::logic::{Database, outbox, webhooks, work};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::{
    Delivery, DeliveryClaim, DeliveryRecord, Denial, NewWebhook, Settled, TestQueued, WebhookAdded, WebhookRecord,
};
use crate::metadata::webhooks::WebhookStore;

#[async_trait]
impl<D: Database> WebhookStore for D {
    async fn webhook_add(&self, new: &NewWebhook, by: &Actor) -> Result<WebhookAdded> {
        change!(self, [new, by], |tx| webhooks::add(tx, &new, &by))
    }

    async fn webhook_list(&self, namespace: &NamespacePath) -> Result<Option<Vec<WebhookRecord>>> {
        work!(self.read, [namespace], |conn| webhooks::list(conn, &namespace))
    }

    async fn webhook_activate(
        &self,
        namespace: &NamespacePath,
        id: &str,
        active: bool,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool> {
        work!(self.write, [namespace, id, by], |tx| webhooks::activate(tx, &namespace, &id, active, now, &by))
    }

    async fn webhook_delete(&self, namespace: &NamespacePath, id: &str, now: Timestamp, by: &Actor) -> Result<bool> {
        work!(self.write, [namespace, id, by], |tx| webhooks::delete(tx, &namespace, &id, now, &by))
    }

    async fn webhook_test(
        &self,
        namespace: &NamespacePath,
        id: &str,
        now: Timestamp,
        by: &Actor,
    ) -> Result<TestQueued> {
        work!(self.write, [namespace, id, by], |tx| webhooks::test(tx, &namespace, &id, now, &by))
    }

    async fn denials_tell(&self, denials: &[Denial], now: Timestamp) -> Result<()> {
        work!(self.write, [denials], |tx| outbox::tell_denials(tx, &denials, now))
    }

    async fn delivery_list(
        &self,
        namespace: &NamespacePath,
        dead: bool,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Option<Vec<DeliveryRecord>>> {
        work!(self.read, [namespace], |conn| webhooks::deliveries(conn, &namespace, dead, before, limit))
    }

    async fn delivery_again(&self, namespace: &NamespacePath, id: i64, now: Timestamp, by: &Actor) -> Result<bool> {
        work!(self.write, [namespace, by], |tx| webhooks::again(tx, &namespace, id, now, &by))
    }

    async fn delivery_due(&self, now: Timestamp) -> Result<bool> {
        work!(self.read, [], |conn| webhooks::due(conn, now))
    }

    async fn delivery_claim(&self, claim: DeliveryClaim) -> Result<Vec<Delivery>> {
        work!(self.write, [], |tx| webhooks::claim(tx, claim))
    }

    async fn delivery_settle(&self, settled: &Settled) -> Result<bool> {
        work!(self.write, [settled], |tx| webhooks::settle(tx, &settled))
    }

    async fn delivery_tidy(&self, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64> {
        work!(self.write, [], |tx| webhooks::tidy(tx, now, dead_until, limit))
    }
}
