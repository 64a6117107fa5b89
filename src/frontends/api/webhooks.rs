//! Webhooks of a namespace, and what became of their deliveries. For administrators of the namespace.

use axum::extract::State;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::{NamespacePath, Role};
use crate::clock::Timestamp;
use crate::hooks::WebhookWish;
use crate::metadata::model::webhooks::{DeliveryRecord, DeliveryState, HookEvent, HookEvents, WebhookRecord};

/// A webhook. Its secret is not shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct Webhook {
    id: String,
    url: String,
    /// push, tag, delete, denial, trust.
    events: Vec<&'static str>,
    /// Whether anything is sent.
    active: bool,
    /// Seconds since 1970.
    created_at: i64,
}

/// The webhooks of a namespace.
#[derive(Serialize, ToSchema)]
pub(super) struct Webhooks {
    webhooks: Vec<Webhook>,
}

/// A new webhook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    url: String,
    /// push, tag, delete, denial, trust; all of them when it is left out.
    events: Option<Vec<String>>,
    /// What signs deliveries: `whsec_` and 24 to 64 bytes in base64; one is made when it is left out.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
}

/// A webhook that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookMade {
    id: String,
    /// What signs deliveries, if it was made here. It is shown only now.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// What to change of a webhook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookChange {
    active: bool,
}

/// A delivery that was put on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryMade {
    delivery: i64,
}

/// An event on its way to a webhook, or at its end.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryShown {
    id: i64,
    webhook: String,
    /// `id` of the event.
    event: String,
    /// What happened, such as `manifest.push`.
    kind: String,
    subject: String,
    /// Seconds since 1970.
    created_at: i64,
    attempts: u32,
    /// waiting, delivered or dead.
    state: &'static str,
    /// When it is sent next, was delivered, or was given up.
    at: i64,
    last_status: Option<u16>,
    last_error: Option<String>,
}

/// Deliveries, the newest first, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Deliveries {
    deliveries: Vec<DeliveryShown>,
    next: Option<String>,
}

/// Which deliveries.
#[derive(Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    dead: bool,
}

fn seconds(moment: Timestamp) -> i64 {
    moment.as_micros() / 1_000_000
}

impl From<WebhookRecord> for Webhook {
    fn from(hook: WebhookRecord) -> Self {
        let WebhookRecord { id, url, events, active, created_at } = hook;
        Self { id, url, events: events.names(), active, created_at: seconds(created_at) }
    }
}

impl From<DeliveryRecord> for DeliveryShown {
    fn from(delivery: DeliveryRecord) -> Self {
        let (state, at) = match delivery.state {
            DeliveryState::Waiting(at) => ("waiting", at),
            DeliveryState::Delivered(at) => ("delivered", at),
            DeliveryState::Dead(at) => ("dead", at),
        };
        Self {
            id: delivery.id,
            webhook: delivery.webhook,
            event: delivery.event_id,
            kind: delivery.kind,
            subject: delivery.subject,
            created_at: seconds(delivery.created_at),
            attempts: delivery.attempts,
            state,
            at: seconds(at),
            last_status: delivery.last_status,
            last_error: delivery.last_error,
        }
    }
}

/// The namespace, if the caller administers it.
async fn administered(api: &Api, caller: &Caller, path: &str) -> Result<NamespacePath, ApiError> {
    let path: NamespacePath = parse("path", path)?;
    caller.with_role(api, &path, Role::Admin).await?;
    Ok(path)
}

/// Lists webhooks.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}/webhooks", tag = "webhooks", params(("path" = String, Path)),
    responses((status = 200, body = Webhooks), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Path(path): Path<String>) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    let webhooks = api.hooks.list(&path).await?.into_iter().map(Webhook::from).collect();
    json(StatusCode::OK, &Webhooks { webhooks })
}

/// Makes a webhook.
#[utoipa::path(post, path = "/api/v1/namespaces/{path}/webhooks", tag = "webhooks", params(("path" = String, Path)),
    request_body = NewWebhook,
    responses((status = 201, body = WebhookMade), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn add(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Body(new): Body<NewWebhook>,
) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    let events = match new.events {
        None => HookEvents::ALL,
        Some(names) => {
            let events: Result<Vec<HookEvent>, _> = names.iter().map(|name| parse("events", name)).collect();
            HookEvents::of(events?)
        }
    };
    let wish = WebhookWish { url: new.url, events, secret: new.secret };
    let made = api.hooks.add(&path, wish, &caller.actor).await?;
    let secret = made.secret.map(|secret| secret.expose_secret().to_owned());
    json(StatusCode::CREATED, &WebhookMade { id: made.id, secret })
}

/// Lets a webhook rest, or wakes it up.
#[utoipa::path(patch, path = "/api/v1/namespaces/{path}/webhooks/{id}", tag = "webhooks",
    params(("path" = String, Path), ("id" = String, Path)), request_body = WebhookChange,
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    Body(change): Body<WebhookChange>,
) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    api.hooks.activate(&path, &id, change.active, &caller.actor).await?;
    Ok(no_content())
}

/// Ends a webhook, with what is on its way to it.
#[utoipa::path(delete, path = "/api/v1/namespaces/{path}/webhooks/{id}", tag = "webhooks",
    params(("path" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(State(api): State<Api>, caller: Caller, Path((path, id)): Path<(String, String)>) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    api.hooks.remove(&path, &id, &caller.actor).await?;
    Ok(no_content())
}

/// Sends a webhook an event that says nothing; the list of deliveries tells what became of it.
#[utoipa::path(post, path = "/api/v1/namespaces/{path}/webhooks/{id}/test", tag = "webhooks",
    params(("path" = String, Path), ("id" = String, Path)),
    responses((status = 202, body = DeliveryMade), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn test(State(api): State<Api>, caller: Caller, Path((path, id)): Path<(String, String)>) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    let delivery = api.hooks.test(&path, &id, &caller.actor).await?;
    json(StatusCode::ACCEPTED, &DeliveryMade { delivery })
}

/// Lists what was sent to the webhooks of a namespace, or what was given up.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}/deliveries", tag = "webhooks",
    params(("path" = String, Path), ("dead" = Option<bool>, Query), ("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Deliveries), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn deliveries(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Query(which): Query<Which>,
    Query(page): Query<Page>,
) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    let before = page.after().map(|last| parse("last", last)).transpose()?;
    let limit = page.limit();
    let found = api.hooks.deliveries(&path, which.dead, before, limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|delivery| delivery.id.to_string());
    json(StatusCode::OK, &Deliveries { deliveries: found.into_iter().map(DeliveryShown::from).collect(), next })
}

/// Sends an event again, whatever became of it.
#[utoipa::path(post, path = "/api/v1/namespaces/{path}/deliveries/{id}/resend", tag = "webhooks",
    params(("path" = String, Path), ("id" = i64, Path)),
    responses((status = 202), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn resend(State(api): State<Api>, caller: Caller, Path((path, id)): Path<(String, String)>) -> Answer {
    let path = administered(&api, &caller, &path).await?;
    api.hooks.resend(&path, parse("id", &id)?, &caller.actor).await?;
    json(StatusCode::ACCEPTED, &serde_json::json!({}))
}
