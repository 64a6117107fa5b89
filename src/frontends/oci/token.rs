//! `/v2/token`: the token service, by GET and by POST (distribution, "Token Authentication Specification" and "Docker
//! Registry v2 authentication using `OAuth2`").
//!
//! A subset of what was asked for, or nothing of it, is an answer of 200 all the same: the registry will say what is
//! missing. Every answer is JSON, refusals too (containerd/containerd#4982).

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::access::Gate;
use super::failure::Failure;
use super::peer;
use super::reply::{Answer, DOCKER_API_VERSION, JSON_MEDIA_TYPE, Reply};
use crate::access::Scopes;
use crate::auth::{AuthError, Credentials, Identity, Issued, Surface};
use crate::oci::error::Condition;

/// Longest form of a POST in bytes.
const FORM_BYTES_MAX: usize = 64 << 10;

/// Longest time until a form has come.
const FORM_TIME_MAX: Duration = Duration::from_secs(10);

/// Answers a request for the token service.
pub(super) async fn handle(gate: &Gate, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match parts.method {
        Method::GET => get(gate, &parts).await,
        Method::POST => match form(body).await {
            Some(form) => post(gate, &parts, &form).await,
            None => Ok(invalid("the form is too long or did not come whole")),
        },
        _ => Err(Failure::from(Condition::MethodNotAllowed).with_header(ALLOW, "GET, POST")),
    };
    let mut response = answer.unwrap_or_else(Failure::into_response);
    let headers = response.headers_mut();
    headers.insert(DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
    // Tokens are secrets (RFC 6749, section 5.1).
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn form(body: Body) -> Option<Bytes> {
    let whole = tokio::time::timeout(FORM_TIME_MAX, Limited::new(body, FORM_BYTES_MAX).collect()).await;
    Some(whole.ok()?.ok()?.to_bytes())
}

/// `GET /v2/token?service=&scope=&account=&offline_token=`.
async fn get(gate: &Gate, parts: &Parts) -> Answer {
    let (identity, _) = gate.identify(parts, false, None).await?;
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let offline = parameters.is_offline();
    answer(gate, parts, &identity, &parameters, offline).await
}

/// `POST /v2/token` with a form: `grant_type=password` or `refresh_token`.
async fn post(gate: &Gate, parts: &Parts, form: &Bytes) -> Answer {
    if !is_form(&parts.headers) {
        return Ok(invalid("the body has to be a form, application/x-www-form-urlencoded"));
    }
    let parameters = Parameters::parse(form);
    let secret = |name| parameters.first(name).map(|text| SecretString::from(text.to_owned()));
    let credentials = match parameters.first("grant_type") {
        Some("password") => match (parameters.first("username"), secret("password")) {
            (Some(user), Some(password)) => Credentials::Basic { user: user.to_owned(), password },
            _ => return Ok(invalid("username and password are needed")),
        },
        Some("refresh_token") => match secret("refresh_token") {
            Some(token) => Credentials::Refresh(token),
            None => return Ok(invalid("refresh_token is needed")),
        },
        Some(_) => {
            let description = "the grant types are password and refresh_token";
            return Ok(refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", description));
        }
        None => return Ok(invalid("grant_type is needed: password or refresh_token")),
    };
    let from = || gate.sender(parts);
    let identity = match gate.auth.identify_within(Surface::V2, &credentials, false, &from).await {
        Ok((identity, _)) => identity,
        Err(error @ (AuthError::Wrong | AuthError::Malformed)) => {
            let mut refusal = refuse(StatusCode::UNAUTHORIZED, "invalid_grant", &error.to_string());
            // "A server that generates a 401 MUST send a WWW-Authenticate" (RFC 9110, section 15.5.2).
            if let Ok(challenge) = HeaderValue::from_str(&gate.challenge(parts, None, Some("invalid_token"))) {
                refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            return Ok(refusal);
        }
        Err(error) => return Err(error.into()),
    };
    let offline = parameters.is_offline();
    answer(gate, parts, &identity, &parameters, offline).await
}

async fn answer(gate: &Gate, parts: &Parts, identity: &Identity, parameters: &Parameters, offline: bool) -> Answer {
    let wanted = Scopes::parse(parameters.all("scope"));
    let issued = gate.auth.issue(identity, &wanted).await.map_err(Failure::from)?;
    let refresh = match (offline, identity.principal()) {
        (true, Some(principal)) => {
            let by = gate.actor(&parts.headers, peer(parts), identity);
            gate.auth.add_login(principal, REFRESH_LIFE, &by).await.map_err(AuthError::from)?
        }
        _ => None,
    };
    let mut body = shown(&issued);
    if let Some(refresh) = refresh {
        body["refresh_token"] = json!(refresh.expose());
    }
    Ok(json_reply(StatusCode::OK, &body))
}

/// How long a refresh token lives.
const REFRESH_LIFE: Duration = Duration::from_hours(24 * 90);

fn shown(issued: &Issued) -> Value {
    json!({
        "token": issued.token,
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": issued.life.as_secs(),
        "issued_at": issued.issued_at.to_rfc3339(),
        // Always said, whatever was asked for (distribution, "Docker Registry v2 authentication using OAuth2").
        "scope": issued.granted.to_string(),
    })
}

/// A form that says too little, or none.
fn invalid(description: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, "invalid_request", description)
}

/// Whether a body says that it is a form. One that says nothing is read as one.
fn is_form(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(CONTENT_TYPE) else { return true };
    let kind = given.to_str().ok().and_then(|given| given.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// An error in the words of OAuth 2.0 (RFC 6749, section 5.2), beside those of the registry, for clients of either.
fn refuse(status: StatusCode, error: &str, description: &str) -> Response {
    let code = if status == StatusCode::UNAUTHORIZED { "UNAUTHORIZED" } else { "UNSUPPORTED" };
    let body = json!({
        "error": error,
        "error_description": description,
        "errors": [{"code": code, "message": description}],
    });
    json_reply(status, &body)
}

fn json_reply(status: StatusCode, body: &Value) -> Response {
    Reply::new(status).bytes(JSON_MEDIA_TYPE, Bytes::from(body.to_string()))
}

/// Parameters of a query or a form.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Whether a refresh token is wanted, in the words of either specification.
    fn is_offline(&self) -> bool {
        self.first("offline_token") == Some("true") || self.first("access_type") == Some("offline")
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
