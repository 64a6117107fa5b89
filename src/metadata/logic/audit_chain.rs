//! The record of what happened, sealed and read.
//!
//! On SQLite ids are in the order of commits. On Postgres an event may become visible after one with a larger id; it is
//! found all the same, because it has no number, and follows those that were sealed before.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::audit::{AuditEvent, AuditFilter, AuditNote, AuditPage, AuditTail, Seal};
use crate::metadata::rows::{expect_rows, unsigned};
use crate::metadata::sql::audit as sql;

/// For how long a node that seals keeps others from it.
const LEASE: Duration = Duration::from_secs(3);

/// Ids looked at by one statement that filters.
const SPAN: i64 = 10_000;

/// Spans looked at for one page.
const SPANS_MAX: usize = 20;

/// By how much an event may have happened before one with a smaller id: longer than any transaction takes.
const DISORDER: Duration = Duration::from_hours(1);

record! {
    /// A row of `audit_events`.
    struct EventRow {
        id: i64,
        at: i64,
        kind: String,
        actor: Option<String>,
        address: Option<String>,
        request_id: Option<String>,
        subject: String,
        detail: String,
        sequence: Option<i64>,
        hash: Option<Vec<u8>>,
    }
}

impl From<EventRow> for AuditEvent {
    fn from(row: EventRow) -> Self {
        let EventRow { id, at, kind, actor, address, request_id, subject, detail, sequence, hash } = row;
        let seal = sequence.map(|sequence| place(sequence, hash));
        let at = Timestamp::from_micros(at);
        Self { id, at, kind, actor, address, request_id, subject, detail, seal }
    }
}

/// What is no hash is none that could be right; whoever verifies the chain finds it.
fn place(sequence: i64, hash: Option<Vec<u8>>) -> Seal {
    Seal { sequence, hash: hash.and_then(|hash| hash.try_into().ok()).unwrap_or_default() }
}

fn events(rows: Vec<EventRow>) -> Vec<AuditEvent> {
    rows.into_iter().map(AuditEvent::from).collect()
}

pub(super) async fn note<C: Conn>(tx: &mut C, notes: &[AuditNote], now: Timestamp) -> Result<()> {
    let row = |note: &AuditNote| {
        let AuditNote { by, kind, subject, detail } = note;
        let address = by.address.map(|address| address.to_string());
        json!([by.name, address, by.request_id, kind, subject, detail.to_string()])
    };
    let rows: Vec<Json> = notes.iter().map(row).collect();
    let written = tx.run(&sql::NOTES, &[now.into(), Value::rows(&rows)]).await?;
    expect_rows(&sql::NOTES, rows.len() as u64, written)
}

/// Whether a transaction that seals is worth while.
pub(super) async fn is_due<C: Conn>(conn: &mut C, node: &str, now: Timestamp) -> Result<bool> {
    conn.scalar(&sql::DUE, values![node, now, i64::MIN]).await
}

pub(super) async fn seal<C: Conn>(tx: &mut C, node: &str, now: Timestamp, limit: u32) -> Result<u64> {
    let leased: Option<(i64, Option<Vec<u8>>)> = tx.first(&sql::LEASE, values![node, now, now.after(LEASE)]).await?;
    let Some((sequence, hash)) = leased else { return Ok(0) };
    let mut last = place(sequence, hash);
    // After the lease, so that this sees what the one who had it before has sealed.
    let found = unsealed(tx, i64::MIN, limit).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let row = |event: &AuditEvent| {
        last = last.next(event);
        (event.id, last.sequence, hex::encode(last.hash))
    };
    let rows: Vec<(i64, i64, String)> = found.iter().map(row).collect();
    let sealed = tx.run(&sql::SEAL, &[Value::rows(&rows)]).await?;
    expect_rows(&sql::SEAL, rows.len() as u64, sealed)?;
    let head = &[last.sequence.into(), Value::Bytes(Some(&last.hash))];
    expect_rows(&sql::HEAD_MOVED, 1, tx.run(&sql::HEAD_MOVED, head).await?)?;
    Ok(sealed)
}

pub(super) async fn leave<C: Conn>(tx: &mut C, node: &str) -> Result<()> {
    tx.run(&sql::LEAVE, values![node]).await.map(drop)
}

pub(super) async fn head<C: Conn>(conn: &mut C) -> Result<Seal> {
    let (sequence, hash): (i64, Option<Vec<u8>>) = conn.one(&sql::HEAD, &[]).await?;
    Ok(place(sequence, hash))
}

pub(super) async fn unsealed<C: Conn>(conn: &mut C, after: i64, limit: u32) -> Result<Vec<AuditEvent>> {
    Ok(events(conn.all(&sql::UNSEALED, values![after, limit]).await?))
}

pub(super) async fn chain<C: Conn>(conn: &mut C, after: i64, limit: u32) -> Result<Vec<AuditEvent>> {
    Ok(events(conn.all(&sql::CHAIN, values![after, limit]).await?))
}

pub(super) async fn tail<C: Conn>(conn: &mut C, limit: u32) -> Result<AuditTail> {
    let (events, since): (i64, Option<i64>) = conn.one(&sql::TAIL, values![i64::MIN, limit]).await?;
    let events = unsigned("audit_events", "count", "unsealed", events)?;
    Ok(AuditTail { events, since: since.map(Timestamp::from_micros) })
}

/// Goes back through spans of ids, so that one statement never reads more than a span, however few events fit.
pub(super) async fn list<C: Conn>(
    conn: &mut C,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<AuditPage> {
    let since = filter.since.unwrap_or(Timestamp::from_micros(i64::MIN));
    let until = filter.until.unwrap_or(Timestamp::from_micros(i64::MAX));
    let mut page = AuditPage { events: Vec::new(), next: Some(before.unwrap_or(i64::MAX)) };
    for _ in 0..SPANS_MAX {
        let left = limit.saturating_sub(u32::try_from(page.events.len()).unwrap_or(u32::MAX));
        let Some(before) = page.next.filter(|_| left > 0) else { break };
        let newest: Option<(i64, i64)> = conn.first(&sql::NEWEST, values![before]).await?;
        let Some((newest, _)) = newest.filter(|(_, at)| Timestamp::from_micros(*at) >= since.before(DISORDER)) else {
            page.next = None;
            break;
        };
        let lowest = newest.saturating_sub(SPAN - 1);
        let values = &[
            before.into(),
            lowest.into(),
            since.into(),
            until.into(),
            Value::text_option(filter.actor.as_deref()),
            Value::text_option(filter.kind.as_deref()),
            Value::text_option(filter.subject.as_deref()),
            left.into(),
        ];
        let found = events(conn.all(&sql::LIST, values).await?);
        let full = found.len() == left as usize;
        page.next = Some(found.last().filter(|_| full).map_or(lowest, |last| last.id));
        page.events.extend(found);
    }
    Ok(page)
}
