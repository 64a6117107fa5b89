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
use crate::oci::error::{Condition, ErrorBody};
use crate::oci::range::content_range_unsatisfied;
use crate::oci::route::RouteError;
use crate::registry::RegistryError;

/// Longest `Retry-After` in seconds: containerd gives up on longer ones.
const RETRY_AFTER_SECS_MAX: u64 = 60;

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
            RegistryError::PreconditionFailed(_) => plain(Condition::PreconditionFailed),
            RegistryError::Referenced { by, .. } => {
                Self::new(Condition::Referenced, message, json!({"manifest": by.to_string()}))
            }
            // The store itself said that it is full, so there are no numbers to tell.
            RegistryError::DiskFull { min: 0, .. } => Self::from(Condition::DiskFull),
            RegistryError::DiskFull { .. } => plain(Condition::DiskFull),
            RegistryError::Busy { retry_after } => {
                plain(Condition::Busy).with_header(RETRY_AFTER, seconds(retry_after))
            }
            RegistryError::Internal(source) => {
                tracing::error!(error = %chain(source.as_ref()), "a request failed");
                Self::from(Condition::Internal)
            }
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
