//! The record of what happened, for those who may do everything.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Query, parse};
use super::{Answer, Api, Caller, json};
use crate::clock::Timestamp;
use crate::metadata::model::audit::{AuditEvent, AuditFilter, Seal};

/// Entries of a page when the client does not say, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub(super) struct EventShown {
    /// Its place in the chain; missing for a second or so.
    sequence: Option<i64>,
    /// Its hash there, as hexadecimal digits.
    hash: Option<String>,
    id: i64,
    /// Microseconds since 1970.
    at: i64,
    /// The same as a date and a time, to the second.
    time: String,
    /// Such as `manifest.push`.
    kind: String,
    /// The account, the job, or `command line`.
    actor: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    /// What it was done to.
    subject: String,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

impl From<AuditEvent> for EventShown {
    fn from(event: AuditEvent) -> Self {
        let detail = event.detail();
        let AuditEvent { id, at, kind, actor, address, request_id, subject, seal, .. } = event;
        Self {
            sequence: seal.map(|seal| seal.sequence),
            hash: seal.map(|seal| hex::encode(seal.hash)),
            id,
            at: at.as_micros(),
            time: at.to_rfc3339(),
            kind,
            actor,
            address,
            request_id,
            subject,
            detail,
        }
    }
}

/// Events, the newest first, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Events {
    events: Vec<EventShown>,
    /// To be sent as `last`. A page may have fewer events than were asked for, even none, and still not be the last one.
    next: Option<String>,
}

/// What became of a walk along the chain.
#[derive(Serialize, ToSchema)]
pub(super) struct Verification {
    ok: bool,
    /// Events that are as they were sealed, from the first one on.
    sealed: i64,
    /// The last of them, as `SEQUENCE:HASH`.
    last: String,
    broken: Option<BrokenShown>,
    /// Events that have no place in the chain yet.
    unsealed: u64,
}

/// The first thing that is wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct BrokenShown {
    sequence: i64,
    why: String,
}

/// Which events, and which part of the list.
#[derive(Deserialize)]
pub(super) struct Which {
    n: Option<u32>,
    last: Option<String>,
    since: Option<String>,
    until: Option<String>,
    actor: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
}

/// A place of the chain that was kept elsewhere.
#[derive(Deserialize)]
pub(super) struct Expected {
    expect: Option<String>,
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let wrong = || ApiError::Invalid(format!("{name}: a date and time such as 2026-11-21T08:00:00Z is needed"));
    text.map(|text| Timestamp::parse_rfc3339(text).ok_or_else(wrong)).transpose()
}

/// Lists what happened, the newest first. For those who may do everything.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit",
    params(("n" = Option<u32>, Query), ("last" = Option<String>, Query),
        ("since" = Option<String>, Query, description = "not before this date and time (RFC 3339)"),
        ("until" = Option<String>, Query, description = "before this date and time (RFC 3339)"),
        ("actor" = Option<String>, Query), ("kind" = Option<String>, Query),
        ("subject" = Option<String>, Query, description = "what the subject begins with")),
    responses((status = 200, body = Events), (status = 400), (status = 401), (status = 403)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Query(which): Query<Which>) -> Answer {
    caller.admin()?;
    let filter = AuditFilter {
        since: moment("since", which.since.as_deref())?,
        until: moment("until", which.until.as_deref())?,
        actor: which.actor,
        kind: which.kind,
        subject: which.subject,
    };
    let before = which.last.as_deref().map(|last| parse("last", last)).transpose()?;
    let limit = which.n.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let page = api.auth.audit().list(&filter, before, limit).await?;
    let next = page.next.map(|next| next.to_string());
    json(StatusCode::OK, &Events { events: page.events.into_iter().map(EventShown::from).collect(), next })
}

/// Walks along the chain of hashes; one walk at a time. For those who may do everything.
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "audit",
    params(("expect" = Option<String>, Query, description = "SEQUENCE:HASH, as an earlier answer had it as `last`")),
    responses((status = 200, body = Verification), (status = 400), (status = 401), (status = 403), (status = 429)))]
pub(super) async fn verify(State(api): State<Api>, caller: Caller, Query(expected): Query<Expected>) -> Answer {
    caller.admin()?;
    let expected = expected.expect.as_deref().map(|text| parse::<Seal>("expect", text)).transpose()?;
    let verified = api.auth.audit().verify(expected).await?.ok_or(ApiError::Busy)?;
    let broken = verified.broken.map(|broken| BrokenShown { sequence: broken.sequence(), why: broken.to_string() });
    let answer = Verification {
        ok: broken.is_none(),
        sealed: verified.last.sequence,
        last: verified.last.to_string(),
        broken,
        unsealed: verified.unsealed.events,
    };
    json(StatusCode::OK, &answer)
}
