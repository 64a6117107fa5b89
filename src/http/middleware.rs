//! What every request passes: an identifier, the guards, one log line, the metrics, and a net under panics.

use std::any::Any;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::Instrument;

use crate::auth::Auth;
use crate::clock::Entropy;
use crate::http::metrics::Metrics;
use crate::http::pages::PageGuard;
use crate::oci::error::{Condition, ErrorBody};
use crate::oci::route::Route;
use crate::telemetry::route;

/// Carries a request's identifier (read if sane, made otherwise, always answered).
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest identifier taken from a client in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What the outermost layer needs.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// Makes identifiers.
    pub entropy: Arc<dyn Entropy>,
    /// Which hosts may be asked for; `None`: any.
    pub guard: Option<HostGuard>,
    /// Whose web pages may change something.
    pub pages: PageGuard,
}

/// Wraps a request: identifier, guard, log line, metrics. Use with `axum::middleware::from_fn_with_state`.
pub async fn envelope(
    axum::extract::State(envelope): axum::extract::State<Envelope>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let _under_way = envelope.metrics.begin_request();
    let id = request_id(request.headers(), envelope.entropy.as_ref());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (route, repo) = describe(&method, &uri);
    let span = tracing::info_span!("request", request.id = %id.to_str().unwrap_or_default());
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let allowed = envelope.guard.as_ref().is_none_or(|guard| guard.allows(request.headers(), &uri));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let mut response = if !allowed {
        misdirected(uri.path(), &id)
    } else if !envelope.pages.allows(&method, &uri, request.headers(), peer) {
        from_elsewhere(uri.path(), &id)
    } else {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
        answer.unwrap_or_else(|panic| span.in_scope(|| after_panic(panic.as_ref(), uri.path(), &id)))
    };
    response.headers_mut().insert(X_REQUEST_ID, id);
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    envelope.metrics.observe_request(route, method_label(&method), status, elapsed);
    span.in_scope(|| {
        tracing::info!(
            http.method = %method,
            http.route = route,
            http.status = status,
            repo.name = repo.as_deref(),
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    });
    response
}

/// Hosts under which a server without accounts answers, so that no web page can reach it through a name of its own
/// (DNS rebinding).
#[derive(Clone, Debug, Default)]
pub struct HostGuard {
    /// Host of `public_url`.
    pub public_host: Option<String>,
    /// The rule ends with the first account.
    pub auth: Option<Arc<Auth>>,
}

impl HostGuard {
    fn allows(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        if self.auth.as_ref().is_some_and(|auth| auth.has_accounts()) {
            return true;
        }
        let from_header = headers.get(HOST).and_then(|value| value.to_str().ok());
        let Some(authority) = uri.authority().map(http::uri::Authority::as_str).or(from_header) else { return false };
        // Neither a second Host nor user information has a place here (RFC 9112 section 3.2, RFC 9110 section 4.2.4);
        // whoever sends them wants two readers to see two hosts.
        if headers.get_all(HOST).iter().count() > 1 || authority.contains('@') {
            return false;
        }
        let host = without_port(authority).to_ascii_lowercase();
        let name = host.strip_suffix('.').unwrap_or(&host);
        let local = name == "localhost" || name.ends_with(".localhost");
        local
            || is_loopback(name)
            || self.public_host.as_deref().is_some_and(|public| public.eq_ignore_ascii_case(name))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse() == Ok(Ipv6Addr::LOCALHOST),
        None => matches!(host.parse(), Ok(IpAddr::V4(v4)) if v4.is_loopback()),
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => authority,
    }
}

fn request_id(headers: &HeaderMap, entropy: &dyn Entropy) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(X_REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(hex::encode(entropy.bytes16())).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

/// The route's name for metrics and logs, and the repository for logs.
fn describe(method: &Method, uri: &Uri) -> (&'static str, Option<String>) {
    let path = uri.path();
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/v2") {
        return match Route::parse(method, path, uri.query()) {
            Ok(route) => (route.name(), route.repo().map(ToString::to_string)),
            Err(_) => (route::UNKNOWN, None),
        };
    }
    let name = match path {
        "/" => route::ROOT,
        _ if below("/health") => route::HEALTH,
        _ if below("/metrics") => route::METRICS,
        _ if below("/api/v1") => route::API,
        _ => route::UNKNOWN,
    };
    (name, None)
}

/// A method as a label: only those that exist, so that a client cannot make labels up.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn misdirected(path: &str, id: &HeaderValue) -> Response {
    let message = "this registry has no accounts yet, so it answers only to localhost, 127.0.0.0/8, [::1] and the host of \
                   public_url; set public_url, or insecure_anonymous = true to answer to any host";
    refusal(StatusCode::MISDIRECTED_REQUEST, Condition::HostRefused, message, path, id)
}

fn from_elsewhere(path: &str, id: &HeaderValue) -> Response {
    let message = "a browser sent this for a web page of another origin, which may change nothing here; if the page is \
                   yours, name its origin in api.allowed_origins";
    refusal(StatusCode::FORBIDDEN, Condition::PageRefused, message, path, id)
}

fn after_panic(panic: &(dyn Any + Send), path: &str, id: &HeaderValue) -> Response {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("unknown"), "a handler panicked");
    let message = Condition::Internal.row().message;
    refusal(StatusCode::INTERNAL_SERVER_ERROR, Condition::Internal, message, path, id)
}

/// A refusal in the shape of the others under its path: those of `/api/v1` have one of their own.
fn refusal(status: StatusCode, condition: Condition, message: &str, path: &str, id: &HeaderValue) -> Response {
    let body = if path == "/api/v1" || path.starts_with("/api/v1/") {
        let code = if condition == Condition::Internal { "INTERNAL" } else { condition.row().code };
        json!({"code": code, "error": message, "requestId": id.to_str().unwrap_or_default()}).to_string()
    } else {
        ErrorBody::new(condition, message, Value::Null).to_json()
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_refusal_has_the_shape_of_its_path() {
        let id = HeaderValue::from_static("the-request");
        let text = async |response: Response| {
            let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
            String::from_utf8(body.to_vec()).expect("JSON is text")
        };
        for path in ["/api/v1", "/api/v1/users"] {
            let internal = r#"{"code":"INTERNAL","error":"internal error","requestId":"the-request"}"#;
            assert_eq!(text(after_panic(&"secret", path, &id)).await, internal);
            assert!(text(misdirected(path, &id)).await.starts_with(r#"{"code":"DENIED","error":"this registry"#));
        }
        for path in ["/v2/", "/api/v10", "/"] {
            let internal = r#"{"errors":[{"code":"UNKNOWN","message":"internal error"}]}"#;
            assert_eq!(text(after_panic(&"secret", path, &id)).await, internal);
        }
    }

    #[test]
    fn the_guard_knows_this_machine_and_the_public_host() {
        let guard = HostGuard { public_host: Some("registry.example.com".to_owned()), auth: None };
        let allows = |host: &str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).expect("a header"))]);
            guard.allows(&headers, &Uri::from_static("/v2/"))
        };
        for good in [
            "localhost",
            "localhost:8080",
            "LOCALHOST.:1",
            "app.localhost",
            "127.0.0.1",
            "127.9.8.7:80",
            "[::1]",
            "[::1]:80",
            "registry.example.com:443",
            "Registry.Example.Com",
        ] {
            assert!(allows(good), "{good}");
        }
        for bad in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1",
            "[::2]",
            "::1",
            "0.0.0.0",
            "xlocalhost",
            "127.0.0.1@evil.example",
            "evil.example@localhost",
            "",
        ] {
            assert!(!allows(bad), "{bad}");
        }
        assert!(!guard.allows(&HeaderMap::new(), &Uri::from_static("/v2/")), "no host at all");
    }
}
