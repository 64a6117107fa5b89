//! What an operator asks: health and metrics. Everybody who reaches the listener may call; they name no repository.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::http::Services;
use crate::registry::RegistryError;

/// Media type of [`crate::http::Metrics::render`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything beside `/v2` on the main listener; `/metrics` only when it has no listener of its own.
pub fn routes(services: &Services, with_metrics: bool) -> Router {
    let router = Router::new()
        .route("/", get(root))
        .route("/health", get(ready))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready));
    let router = if with_metrics { router.route("/metrics", get(metrics)) } else { router };
    router.with_state(services.clone())
}

/// `/metrics` and health, for `metrics_listen`.
pub fn metrics_routes(services: &Services) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(ready))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(services.clone())
}

async fn root() -> Response {
    let text = "bonded, an OCI registry. The API is at /v2/.\n";
    answer(StatusCode::OK, "text/plain; charset=utf-8", text.to_owned())
}

async fn live() -> Response {
    answer(StatusCode::OK, "application/json", json!({"status": "ok"}).to_string())
}

/// What a load balancer is told when this node should get no requests; the log has the details.
async fn ready(State(services): State<Services>) -> Response {
    let reason = if services.draining.has_begun() {
        "shutting down"
    } else if services.clock_doubt.is_set() {
        "the clock jumped"
    } else if let Err(reason) = services.registry.check_ready().await {
        tracing::warn!(reason, "not ready");
        "a store does not answer"
    } else {
        return live().await;
    };
    let body = json!({"status": "unavailable", "reason": reason});
    answer(StatusCode::SERVICE_UNAVAILABLE, "application/json", body.to_string())
}

async fn metrics(State(services): State<Services>) -> Response {
    match services.registry.store_counts().await {
        Ok(counts) => {
            let registry = &services.registry;
            let (collected, scrubbed) = (registry.collector_stats(), registry.scrub_stats());
            let text = services.metrics.render(counts, &collected, &scrubbed, &registry.verdict_sweep_stats());
            answer(StatusCode::OK, OPENMETRICS, text)
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &RegistryError) -> Response {
    match error {
        RegistryError::RepositoryUnknown => problem(StatusCode::NOT_FOUND, "there is no such repository"),
        RegistryError::Busy { retry_after } => {
            let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "the registry is busy; try again");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().clamp(1, 60)));
            response
        }
        other => {
            tracing::error!(error = %anyhow::Error::msg(format!("{other:?}")), "request failed");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

/// An error as RFC 9457 writes it.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("error");
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    answer(status, "application/problem+json", body.to_string())
}

fn answer(status: StatusCode, media_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
