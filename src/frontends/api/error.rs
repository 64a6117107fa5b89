//! Refusals of `/api/v1`, in one shape.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::input::BODY_BYTES_MAX;
use crate::auth::{AdminError, AuthError};
use crate::hooks::HookError;
use crate::metadata::MetadataError;
use crate::registry::RegistryError;
use crate::telemetry;

/// Why a request is not done.
#[derive(Debug)]
pub(super) enum ApiError {
    /// Who are you?
    Unauthenticated,
    /// The credentials are wrong.
    Wrong(String),
    /// Not you.
    Denied,
    /// Not by this token.
    Limited,
    /// There are no accounts yet, and the first one is made at the command line.
    NoAccounts,
    /// Registration is closed.
    Closed,
    /// There is no such thing.
    NotFound(&'static str),
    /// It is there already, or would leave something without an owner.
    Conflict(String),
    /// Not by this method.
    Method,
    /// The request is malformed.
    Invalid(String),
    /// The body is too long.
    TooLarge,
    /// Later.
    Busy,
    /// Something is under way that has to end first.
    UnderWay {
        /// When it is worth asking again.
        wait: Duration,
    },
    /// A store does not answer.
    Unavailable,
    /// Not before a time has passed.
    TooMany {
        /// Of what.
        why: String,
        /// How long.
        wait: Duration,
    },
    /// Somebody else does not answer; later.
    Elsewhere(String),
    /// A failure on this side, which the log has.
    Internal,
}

impl ApiError {
    /// A failure on this side.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = telemetry::chain(error), "a request failed");
        Self::Internal
    }

    fn parts(&self) -> (StatusCode, &'static str, String) {
        let text = |text: &str| text.to_owned();
        match self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "AUTHENTICATION", text("authentication is required")),
            Self::Wrong(why) => (StatusCode::UNAUTHORIZED, "AUTHENTICATION", why.clone()),
            Self::Denied => (StatusCode::FORBIDDEN, "DENIED", text("this account may not do that")),
            Self::Limited => (StatusCode::FORBIDDEN, "DENIED", text("a token with scopes may not do that; log in")),
            Self::NoAccounts => (
                StatusCode::FORBIDDEN,
                "DENIED",
                text("there are no accounts yet; `bonded user add NAME --admin --password-stdin` makes the first one"),
            ),
            Self::Closed => (StatusCode::FORBIDDEN, "DENIED", text("registration is closed; ask an administrator")),
            Self::NotFound(what) => (StatusCode::NOT_FOUND, "NOT_FOUND", format!("there is no such {what}")),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                text("this cannot be done here; the header Allow says what can"),
            ),
            Self::Conflict(why) => (StatusCode::CONFLICT, "CONFLICT", why.clone()),
            Self::Invalid(why) => (StatusCode::BAD_REQUEST, "INVALID", why.clone()),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", format!("the body is longer than {BODY_BYTES_MAX} bytes"))
            }
            Self::UnderWay { .. } => (StatusCode::SERVICE_UNAVAILABLE, "BUSY", text("the registry is busy; try again")),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "BUSY", text("too many logins at once; try again")),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text("the registry cannot do that now; try again"))
            }
            Self::TooMany { why, .. } => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY", why.clone()),
            Self::Elsewhere(why) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", why.clone()),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", text("internal error")),
        }
    }
}

/// When to ask again for what depends on somebody else, in seconds.
const ELSEWHERE_WAIT_SECS: u64 = 10;

impl IntoResponse for ApiError {
    /// The request's identifier is put in by the layer that knows it.
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        let wait = match self {
            Self::TooMany { wait, .. } | Self::UnderWay { wait } => wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
            Self::Elsewhere(_) => ELSEWHERE_WAIT_SECS,
            _ => 1,
        };
        let refusal = Refusal { code, message };
        let mut response = (status, refusal.to_json(None)).into_response();
        response.extensions_mut().insert(refusal);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="bonded""#));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.max(1)));
            }
            _ => {}
        }
        response
    }
}

/// The body of a refusal, until the request's identifier is put in.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn to_json(&self, request_id: Option<&str>) -> String {
        let shown =
            RefusalShown { code: self.code, error: self.message.clone(), request_id: request_id.map(str::to_owned) };
        json!(shown).to_string()
    }
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
pub(super) struct RefusalShown {
    /// What is wrong: `AUTHENTICATION`, `BUSY`, `CONFLICT`, `DENIED`, `INTERNAL`, `INVALID`, `METHOD_NOT_ALLOWED`,
    /// `NOT_FOUND`, `TOO_LARGE`, `TOO_MANY` or `UNAVAILABLE`.
    code: &'static str,
    /// What is wrong, and what to do, for people.
    error: String,
    /// By which the request is found in the log.
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Wrong | AuthError::Malformed => Self::Wrong(error.to_string()),
            AuthError::Busy => Self::Busy,
            AuthError::TooManyFailures { wait } | AuthError::TooManyRequests { wait } => {
                Self::TooMany { why: error.to_string(), wait }
            }
            AuthError::Store(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let why = error.to_string();
        match error {
            AdminError::Weak(_) | AdminError::TokenName | AdminError::TokenLife => Self::Invalid(why),
            AdminError::NameTaken(_) | AdminError::EmailTaken | AdminError::LastAdmin(_) | AdminError::Robot(_) => {
                Self::Conflict(why)
            }
            AdminError::UserUnknown(_) => Self::NotFound("account"),
            AdminError::MakerEnded => Self::Wrong(why),
            AdminError::NamespaceUnknown(_) => Self::NotFound("namespace"),
            AdminError::Busy => Self::Busy,
            AdminError::Store(error) => error.into(),
            AdminError::Hash => Self::internal(&error),
        }
    }
}

impl From<HookError> for ApiError {
    fn from(error: HookError) -> Self {
        let why = error.to_string();
        match error {
            HookError::Url(_) | HookError::Secret | HookError::NoEvents => Self::Invalid(why),
            HookError::Seal(_) | HookError::TooMany | HookError::Full => Self::Conflict(why),
            HookError::NamespaceUnknown(_) => Self::NotFound("namespace"),
            HookError::WebhookUnknown(_) => Self::NotFound("webhook"),
            HookError::DeliveryUnknown(_) => Self::NotFound("delivery, or it is being sent just now"),
            HookError::Store(error) => error.into(),
        }
    }
}

impl From<MetadataError> for ApiError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Unavailable(_) | MetadataError::Full(_) => {
                tracing::warn!(error = telemetry::chain(&error), "a request failed");
                Self::Unavailable
            }
            other => Self::internal(&other),
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::RepositoryUnknown => Self::NotFound("repository"),
            RegistryError::Busy { retry_after } => Self::UnderWay { wait: retry_after },
            other => Self::internal(&other),
        }
    }
}
