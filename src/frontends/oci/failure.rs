//! Refusals and failures as answers: the one place where an error becomes a status, a code and a JSON body.
//!
//! Invariant: what went wrong on this side goes to the log, once, with its causes; the client gets the row of the error
//! table and nothing of it.

use std::error::Error;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

use super::reply::{JSON_MEDIA_TYPE, Reply};
use super::trust;
use crate::auth::AuthError;
use crate::oci::error::{Condition, ErrorBody};
use crate::oci::range::content_range_unsatisfied;
use crate::oci::route::RouteError;
use crate::registry::RegistryError;

/// Longest `Retry-After` in seconds: containerd gives up on longer ones.
const RETRY_AFTER_SECS_MAX: u64 = 60;

/// When to try again after a refusal for too many sessions: they end as pushes do.
const SESSIONS_RETRY: Duration = Duration::from_secs(10);

/// An answer other than success, before it is rendered.
#[derive(Debug)]
pub(super) struct Failure {
    condition: Condition,
    body: ErrorBody,
    headers: Vec<(HeaderName, String)>,
}

impl Failure {
    /// With a message of its own.
    pub(super) fn new(condition: Condition, message: impl Into<String>, detail: Value) -> Self {
        Self { condition, body: ErrorBody::new(condition, message, detail), headers: Vec::new() }
    }

    /// With another header.
    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// No range of the request lies within the content's `size` bytes.
    pub(super) fn unsatisfiable(size: u64) -> Self {
        let condition = Condition::RangeUnsatisfiable;
        Self::from(condition).with_header(CONTENT_RANGE, content_range_unsatisfied(size))
    }

    /// A failure on this side, for the log.
    pub(super) fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        Self::from(Condition::Internal)
    }

    /// The row of the error table.
    pub(super) fn condition(&self) -> Condition {
        self.condition
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.condition.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = Reply::new(status);
        for (name, value) in self.headers {
            reply = reply.header(name, value);
        }
        reply.bytes(JSON_MEDIA_TYPE, Bytes::from(self.body.to_json()))
    }
}

impl From<Condition> for Failure {
    fn from(condition: Condition) -> Self {
        Self { condition, body: ErrorBody::from(condition), headers: Vec::new() }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        let too_many = |condition, wait| Self::from(condition).with_header(RETRY_AFTER, seconds(wait));
        match error {
            AuthError::Busy => too_many(Condition::TooManyLogins, Duration::ZERO),
            AuthError::TooManyFailures { wait } => too_many(Condition::TooManyFailures, wait),
            AuthError::TooManyRequests { wait } => too_many(Condition::TooManyRequests, wait),
            AuthError::Wrong | AuthError::Malformed => {
                Self::new(Condition::Unauthorized, error.to_string(), Value::Null)
            }
            AuthError::Store(error) => RegistryError::from(error).into(),
            other => Self::internal(&other),
        }
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let failure = Self::new(error.condition(), error.to_string(), Value::Null);
        match error {
            RouteError::MethodNotAllowed { allow } => failure.with_header(ALLOW, allow),
            _ => failure,
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        let plain = |condition| Self::new(condition, message.clone(), Value::Null);
        match error {
            RegistryError::RepositoryUnknown => plain(Condition::RepositoryUnknown),
            RegistryError::BlobUnknown(digest) => {
                Self::new(Condition::BlobUnknown, message, json!({"digest": digest.to_string()}))
            }
            RegistryError::BlobDamaged(digest) => {
                Self::new(Condition::BlobDamaged, message, json!({"digest": digest.to_string()}))
            }
            RegistryError::ManifestDamaged(reference) => {
                Self::new(Condition::ManifestDamaged, message, json!({"reference": reference.to_string()}))
            }
            RegistryError::ManifestUnknown(reference) => {
                Self::new(Condition::ManifestUnknown, message, json!({"reference": reference.to_string()}))
            }
            RegistryError::ManifestInvalid(_) => plain(Condition::ManifestInvalid),
            RegistryError::ManifestTooLarge { .. } => plain(Condition::ManifestTooLarge),
            RegistryError::ContentMissing(digests) => content_missing(digests.iter().map(ToString::to_string)),
            RegistryError::UploadUnknown => plain(Condition::UploadUnknown),
            RegistryError::UploadRange { received } => {
                Self::new(Condition::UploadRange, message, json!({"received": received}))
            }
            RegistryError::DigestMismatch { declared, actual } => {
                let detail = json!({"declared": declared.to_string(), "actual": actual.to_string()});
                Self::new(Condition::DigestMismatch, message, detail)
            }
            RegistryError::SizeMismatch { declared, actual } => {
                Self::new(Condition::SizeMismatch, message, json!({"declared": declared, "actual": actual}))
            }
            RegistryError::BodyBroken => plain(Condition::BodyBroken),
            RegistryError::BodyTimeout => plain(Condition::BodyTimeout),
            RegistryError::BlobTooLarge { .. } => plain(Condition::BlobTooLarge),
            RegistryError::TagImmutable(tag) => {
                Self::new(Condition::TagImmutable, message, json!({"tag": tag.as_str()}))
            }
            RegistryError::Unverified(ruling) => trust::refusal(&ruling, trust::Sought::Manifest, "REPOSITORY"),
            RegistryError::PreconditionFailed(_) => plain(Condition::PreconditionFailed),
            RegistryError::Referenced { by, .. } => {
                Self::new(Condition::Referenced, message, json!({"manifest": by.to_string()}))
            }
            // The store itself said that it is full, so there are no numbers to tell.
            RegistryError::StoreFull | RegistryError::DiskFull { .. } => plain(Condition::DiskFull),
            RegistryError::TooManySessions { .. } => {
                plain(Condition::TooManySessions).with_header(RETRY_AFTER, seconds(SESSIONS_RETRY))
            }
            RegistryError::Busy { retry_after } => {
                plain(Condition::Busy).with_header(RETRY_AFTER, seconds(retry_after))
            }
            RegistryError::Internal(source) => Self::internal(source.as_ref()),
        }
    }
}

/// One entry for each digest, so that a client can tell which of them to push.
fn content_missing(digests: impl Iterator<Item = String>) -> Failure {
    let condition = Condition::ContentMissing;
    let entry = |digest: String| (format!("{digest} is unknown to the repository"), json!({"digest": digest}));
    let mut entries = digests.map(entry);
    let Some((message, detail)) = entries.next() else { return Failure::from(condition) };
    let first = ErrorBody::new(condition, message, detail);
    let body = entries.fold(first, |body, (message, detail)| body.and(condition, message, detail));
    Failure { condition, body, headers: Vec::new() }
}

/// Whole seconds, at least one, since zero would mean "at once".
fn seconds(span: Duration) -> String {
    let rounded_up = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    rounded_up.clamp(1, RETRY_AFTER_SECS_MAX).to_string()
}

/// An error and everything that caused it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::oci::digest::{Algorithm, Digest};

    async fn rendered(error: RegistryError) -> (u16, Option<String>, String) {
        let response = Failure::from(error).into_response();
        let retry = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, retry, String::from_utf8(body.to_vec()).expect("JSON is text"))
    }

    #[tokio::test]
    async fn nothing_of_an_inner_failure_reaches_the_client() {
        let error = RegistryError::Internal("the password of the database is hunter2".into());
        let (status, _, body) = rendered(error).await;
        assert_eq!(status, 500);
        insta::assert_snapshot!(body, @r#"{"errors":[{"code":"UNKNOWN","message":"internal error"}]}"#);
    }

    #[tokio::test]
    async fn a_busy_registry_names_a_time_that_clients_accept() {
        for (wait, header) in [(0, "1"), (1, "1"), (1_500, "2"), (60_000, "60"), (3_600_000, "60")] {
            let (status, retry, body) =
                rendered(RegistryError::Busy { retry_after: Duration::from_millis(wait) }).await;
            assert_eq!((status, retry.as_deref()), (503, Some(header)));
            assert!(body.contains("TOOMANYREQUESTS"));
        }
    }

    #[tokio::test]
    async fn a_full_disk_tells_its_numbers_when_it_knows_them() {
        let (status, _, body) = rendered(RegistryError::DiskFull { free: 5, min: 9 }).await;
        assert_eq!(status, 507);
        insta::assert_snapshot!(body, @r#"{"errors":[{"code":"DENIED","message":"only 5 bytes are free on the registry's disk and 9 must stay (disk_free_bytes_min)"}]}"#);
        let (_, _, body) = rendered(RegistryError::StoreFull).await;
        insta::assert_snapshot!(body, @r#"{"errors":[{"code":"DENIED","message":"the registry's disk is full (disk_free_bytes_min should have kept a reserve)"}]}"#);
    }

    #[tokio::test]
    async fn missing_content_has_an_entry_for_each_digest() {
        let digests: Vec<Digest> = [b"a", b"b"].iter().map(|data| Digest::of(Algorithm::Sha256, *data)).collect();
        let (status, _, body) = rendered(RegistryError::ContentMissing(digests.clone())).await;
        assert_eq!(status, 404);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let named: Vec<&Value> = (0..3).map(|at| &body["errors"][at]["detail"]["digest"]).collect();
        assert_eq!(named, [&json!(digests[0].to_string()), &json!(digests[1].to_string()), &Value::Null]);
    }
}
