//! Which web pages of other origins may call (CORS, as the Fetch standard has it).
//!
//! A page is known by its origin, letter for letter. Browsers are never told to send what they keep by themselves (cookies,
//! passwords, client certificates): a page has to bring its own token. An answer to an origin that is not named says
//! nothing about any of this, but that it depends on the origin.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method};
use tower::{Layer as _, ServiceExt as _};
use tower_http::cors::CorsLayer;

use crate::access::WebOrigin;
use crate::http::middleware::X_REQUEST_ID;
use crate::http::standing::{RATE_LIMIT, RATE_REMAINING};

/// How long a browser may remember what it was told.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The origins that may call, and what they are told. Without any it does nothing.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Arc<[HeaderValue]>,
    layer: Arc<CorsLayer>,
}

impl Cors {
    /// Lets pages of these origins call.
    pub fn new(origins: &[WebOrigin]) -> Self {
        // Visible ASCII is all that an origin has.
        let value = |origin: &WebOrigin| HeaderValue::from_str(origin.as_str()).ok();
        let origins: Vec<HeaderValue> = origins.iter().filter_map(value).collect();
        let layer = CorsLayer::new()
            .allow_origin(origins.clone())
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([ACCEPT, AUTHORIZATION, CONTENT_TYPE, X_REQUEST_ID])
            .expose_headers(exposed())
            .max_age(REMEMBERED);
        Self { origins: origins.into(), layer: Arc::new(layer) }
    }
}

/// What a page may read of an answer beside its body.
fn exposed() -> [HeaderName; 5] {
    [RATE_LIMIT, RATE_REMAINING, RETRY_AFTER, WWW_AUTHENTICATE, X_REQUEST_ID]
}

/// Answers preflights and tells pages what they may. Use with `axum::middleware::from_fn_with_state`.
pub async fn cors(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    if cors.origins.is_empty() {
        return next.run(request).await;
    }
    let mut from = request.headers().get_all(ORIGIN).iter();
    let is_named = from.next().is_some_and(|origin| cors.origins.contains(origin)) && from.next().is_none();
    if is_named {
        let Ok(response) = cors.layer.layer(next).oneshot(request).await;
        return response;
    }
    let mut response = next.run(request).await;
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    response
}
