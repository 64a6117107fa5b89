//! Bodies and pages of requests, read once, within limits.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::error::ApiError;

/// Longest body in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// Longest time until it has come.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Entries of a page when the client does not say, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;

/// A JSON body.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _api: &Api) -> Result<Self, ApiError> {
        let limited = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let whole = tokio::time::timeout(BODY_TIME_MAX, limited).await;
        let invalid = |why: &str| ApiError::Invalid(why.to_owned());
        let whole = whole.map_err(|_| invalid("the body did not come in time"))?;
        let whole = whole.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => ApiError::TooLarge,
            None => invalid("the body broke off"),
        })?;
        let whole = whole.to_bytes();
        let body = serde_json::from_slice(&whole).map_err(|error| ApiError::Invalid(format!("the body: {error}")))?;
        Ok(Self(body))
    }
}

/// Parts of the path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        refuse_nul(parts.uri.path())?;
        let read = axum::extract::Path::from_request_parts(parts, api).await;
        read.map(|axum::extract::Path(path)| Self(path)).map_err(|error| ApiError::Invalid(error.body_text()))
    }
}

/// Parameters after the path.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        refuse_nul(parts.uri.query().unwrap_or_default())?;
        let read = axum::extract::Query::from_request_parts(parts, api).await;
        read.map(|axum::extract::Query(query)| Self(query)).map_err(|error| ApiError::Invalid(error.body_text()))
    }
}

/// Postgres takes no text with this character, and nothing has it in its name.
fn refuse_nul(encoded: &str) -> Result<(), ApiError> {
    if encoded.contains("%00") { Err(ApiError::Invalid("the address contains a NUL".to_owned())) } else { Ok(()) }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    n: Option<u32>,
    last: Option<String>,
}

impl Page {
    pub(super) fn limit(&self) -> u32 {
        self.n.unwrap_or(PAGE).min(PAGE_MAX)
    }

    pub(super) fn after(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

/// A part of the path or of the body, as what it must be.
pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error| ApiError::Invalid(format!("{name}: {error}")))
}
