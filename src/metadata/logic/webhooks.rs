//! Webhooks, and what is on its way to them.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, namespaces};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::{
    Delivery, DeliveryClaim, DeliveryRecord, DeliveryState, HookEvents, KEPT_MAX, NewWebhook, Outcome, Settled,
    TestQueued, WAITING_MAX, WEBHOOKS_MAX, WebhookAdded, WebhookRecord,
};
use crate::metadata::rows::{expect_rows, inconsistent, records};
use crate::metadata::sql::webhooks as sql;

/// How long it is tried to deliver an event.
pub(super) const TRIED_FOR: Duration = Duration::from_hours(24);

record! {
    struct WebhookRow {
        key_id: String,
        url: String,
        events: i64,
        active: bool,
        created_at: i64,
    }
}

record! {
    struct TargetRow {
        id: i64,
        key_id: String,
        url: String,
        secret_sealed: Vec<u8>,
    }
}

record! {
    struct ClaimedRow {
        id: i64,
        hook_id: i64,
        attempts: i64,
        event_id: String,
        kind: String,
        subject: String,
        data: String,
        created_at: i64,
        ends_at: i64,
    }
}

record! {
    struct DeliveryRow {
        id: i64,
        webhook: String,
        event_id: String,
        kind: String,
        subject: String,
        created_at: i64,
        attempts: i64,
        last_status: Option<i64>,
        last_error: Option<String>,
        next_at: Option<i64>,
        done_at: Option<i64>,
        dead_at: Option<i64>,
    }
}

impl TryFrom<WebhookRow> for WebhookRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: WebhookRow) -> Result<Self> {
        let unknown = || inconsistent("webhooks", "events", &row.key_id, "there are no such events");
        Ok(Self {
            events: HookEvents::of_bits(row.events).ok_or_else(unknown)?,
            id: row.key_id,
            url: row.url,
            active: row.active,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl TryFrom<DeliveryRow> for DeliveryRecord {
    type Error = crate::metadata::MetadataError;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        let state = match (row.next_at, row.done_at, row.dead_at) {
            (Some(next), None, None) => DeliveryState::Waiting(Timestamp::from_micros(next)),
            (None, Some(done), None) => DeliveryState::Delivered(Timestamp::from_micros(done)),
            (None, None, Some(dead)) => DeliveryState::Dead(Timestamp::from_micros(dead)),
            _ => return Err(inconsistent("outbox", "next_at", row.id, "it waits, is delivered or is given up")),
        };
        let status = row.last_status.map(u16::try_from).transpose();
        Ok(Self {
            id: row.id,
            webhook: row.webhook,
            event_id: row.event_id,
            kind: row.kind,
            subject: row.subject,
            created_at: Timestamp::from_micros(row.created_at),
            attempts: attempts(row.id, row.attempts)?,
            last_status: status.map_err(|error| inconsistent("outbox", "last_status", row.id, error))?,
            last_error: row.last_error,
            state,
        })
    }
}

fn attempts(row: i64, number: i64) -> Result<u32> {
    u32::try_from(number).map_err(|error| inconsistent("outbox", "attempts", row, error))
}

pub(super) async fn add<C: Conn>(tx: &mut C, new: &NewWebhook, by: &Actor) -> Result<WebhookAdded> {
    // The namespace stays, and nobody else adds one, until this is done.
    bump(tx).await?;
    let NewWebhook { id, namespace, url, origin, secret_sealed, events, now } = new;
    let Some(ns) = namespaces::find_id(tx, namespace).await? else { return Ok(WebhookAdded::NamespaceUnknown) };
    let there: Vec<WebhookRow> = tx.all(&sql::LIST, values![ns]).await?;
    if there.len() >= WEBHOOKS_MAX {
        return Ok(WebhookAdded::TooMany);
    }
    let values = values![id.as_str(), ns, url.as_str(), secret_sealed.as_slice(), events.bits(), *now];
    expect_rows(&sql::INSERT, 1, tx.run(&sql::INSERT, values).await?)?;
    let detail = json!({"webhook": id, "to": origin, "events": events.names()});
    record_change(tx, by, "webhook.add", namespace, detail, *now).await?;
    Ok(WebhookAdded::Added)
}

pub(super) async fn list<C: Conn>(conn: &mut C, namespace: &NamespacePath) -> Result<Option<Vec<WebhookRecord>>> {
    let Some(ns) = namespaces::find_id(conn, namespace).await? else { return Ok(None) };
    records::<WebhookRow, _>(conn.all(&sql::LIST, values![ns]).await?).map(Some)
}

pub(super) async fn activate<C: Conn>(
    tx: &mut C,
    namespace: &NamespacePath,
    id: &str,
    active: bool,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    let Some(hook) = find(tx, namespace, id).await? else { return Ok(false) };
    if tx.run(&sql::ACTIVATE, values![hook, i64::from(active)]).await? == 0 {
        return Ok(false);
    }
    let detail = json!({"webhook": id, "active": active});
    record_change(tx, by, "webhook.activate", namespace, detail, now).await?;
    Ok(true)
}

pub(super) async fn delete<C: Conn>(
    tx: &mut C,
    namespace: &NamespacePath,
    id: &str,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    let Some(hook) = find(tx, namespace, id).await? else { return Ok(false) };
    if tx.run(&sql::DELETE, values![hook]).await? == 0 {
        return Ok(false);
    }
    record_change(tx, by, "webhook.delete", namespace, json!({"webhook": id}), now).await?;
    Ok(true)
}

pub(super) async fn test<C: Conn>(
    tx: &mut C,
    namespace: &NamespacePath,
    id: &str,
    now: Timestamp,
    by: &Actor,
) -> Result<TestQueued> {
    let Some(hook) = find(tx, namespace, id).await? else { return Ok(TestQueued::WebhookUnknown) };
    let data = json!({"namespace": namespace.as_str(), "webhook": id, "actor": by.name}).to_string();
    let values =
        values![hook, "webhook.test", namespace.as_str(), data.as_str(), now, now.after(TRIED_FOR), WAITING_MAX - 1];
    let queued: Option<(i64,)> = tx.first(&sql::QUEUE, values).await?;
    let Some((delivery,)) = queued else { return Ok(TestQueued::Full) };
    record_change(tx, by, "webhook.test", namespace, json!({"webhook": id}), now).await?;
    Ok(TestQueued::Queued(delivery))
}

/// The row of a webhook of a namespace.
async fn find<C: Conn>(tx: &mut C, namespace: &NamespacePath, id: &str) -> Result<Option<i64>> {
    let Some(ns) = namespaces::find_id(tx, namespace).await? else { return Ok(None) };
    let row: Option<(i64,)> = tx.first(&sql::FIND, values![ns, id]).await?;
    Ok(row.map(|(id,)| id))
}

async fn record_change<C: Conn>(
    tx: &mut C,
    by: &Actor,
    kind: &'static str,
    namespace: &NamespacePath,
    detail: Json,
    now: Timestamp,
) -> Result<()> {
    write_down(tx, by, Event { kind, subject: namespace.as_str(), detail, now }).await
}

pub(super) async fn deliveries<C: Conn>(
    conn: &mut C,
    namespace: &NamespacePath,
    dead: bool,
    before: Option<i64>,
    limit: u32,
) -> Result<Option<Vec<DeliveryRecord>>> {
    let Some(ns) = namespaces::find_id(conn, namespace).await? else { return Ok(None) };
    let values = values![ns, before.unwrap_or(i64::MAX), i64::from(dead), limit];
    records::<DeliveryRow, _>(conn.all(&sql::DELIVERIES, values).await?).map(Some)
}

pub(super) async fn again<C: Conn>(
    tx: &mut C,
    namespace: &NamespacePath,
    id: i64,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    let Some(ns) = namespaces::find_id(tx, namespace).await? else { return Ok(false) };
    if tx.run(&sql::AGAIN, values![ns, id, now, now.after(TRIED_FOR)]).await? == 0 {
        return Ok(false);
    }
    record_change(tx, by, "webhook.resend", namespace, json!({"delivery": id}), now).await?;
    Ok(true)
}

pub(super) async fn due<C: Conn>(conn: &mut C, now: Timestamp) -> Result<bool> {
    conn.scalar(&sql::DUE, values![now]).await
}

pub(super) async fn claim<C: Conn>(tx: &mut C, claim: DeliveryClaim) -> Result<Vec<Delivery>> {
    let DeliveryClaim { now, until, after, limit } = claim;
    let mut claimed: Vec<ClaimedRow> = tx.all(&sql::CLAIM, values![now, until, after, limit]).await?;
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    claimed.sort_unstable_by_key(|row| row.hook_id);
    let hooks: Vec<i64> = claimed.iter().map(|row| row.hook_id).collect();
    let targets: Vec<TargetRow> = tx.all(&sql::TARGETS, values![hooks.as_slice()]).await?;
    let targets: HashMap<i64, TargetRow> = targets.into_iter().map(|row| (row.id, row)).collect();
    let delivery = |row: ClaimedRow| {
        let target = targets.get(&row.hook_id)?;
        Some(attempts(row.id, row.attempts).map(|attempt| Delivery {
            id: row.id,
            attempt,
            hook: row.hook_id,
            webhook: target.key_id.clone(),
            url: target.url.clone(),
            secret_sealed: target.secret_sealed.clone(),
            event_id: row.event_id,
            kind: row.kind,
            subject: row.subject,
            data: row.data,
            created_at: Timestamp::from_micros(row.created_at),
            ends_at: Timestamp::from_micros(row.ends_at),
        }))
    };
    // Without a target the webhook has just ended, and the row with it.
    claimed.into_iter().filter_map(delivery).collect()
}

pub(super) async fn settle<C: Conn>(tx: &mut C, settled: &Settled) -> Result<bool> {
    let (mut next, mut done, mut dead, mut ends) = (None, None, None, None);
    match settled.outcome {
        Outcome::Again(at) => next = Some(at),
        Outcome::Delivered(at, until) => (done, ends) = (Some(at), Some(until)),
        Outcome::Dead(at, until) => (dead, ends) = (Some(at), Some(until)),
    }
    let values = &[
        settled.id.into(),
        settled.attempt.into(),
        next.into(),
        Value::Int(settled.status.map(i64::from)),
        Value::text_option(settled.error.as_deref()),
        done.into(),
        dead.into(),
        ends.into(),
    ];
    Ok(tx.run(&sql::SETTLE, values).await? > 0)
}

pub(super) async fn tidy<C: Conn>(tx: &mut C, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64> {
    let given_up = tx.run(&sql::GIVE_UP, values![now, dead_until, limit]).await?;
    let mut tidied = given_up + tx.run(&sql::FORGET, values![now, limit]).await?;
    let overfull: Vec<(i64, i64)> = tx.all(&sql::OVERFULL, values![KEPT_MAX]).await?;
    for (hook, up_to) in overfull {
        tidied += tx.run(&sql::TRIM, values![hook, up_to, limit]).await?;
    }
    Ok(tidied)
}
