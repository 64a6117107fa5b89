//! Building answers: a status, headers, perhaps a body; and the header names that only registries know.

use std::fmt::Display;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::failure::Failure;
use crate::clock::Timestamp;

/// What a handler gives.
pub(super) type Answer = Result<Response, Failure>;

/// The digest of the content, in the client's algorithm.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// How clients recognize a registry.
pub(super) const DOCKER_API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The session's identifier; docker reads it.
pub(super) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The subject of a manifest that was taken in.
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A tag that was set.
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// Which filters a list of referrers went through.
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The media type of lists and errors.
pub(super) const JSON_MEDIA_TYPE: &str = "application/json";

/// `Cache-Control` of what was asked for by digest: it cannot change, but not everybody may see it.
pub(super) const CACHE_FOR_EVER: &str = "private, max-age=31536000, immutable";

/// Headers of an answer with all that is told of signatures; a map that grows is filled anew each time.
const HEADERS: usize = 16;

/// The first second since 1970 that an HTTP date cannot say (year 10000).
const HTTP_DATE_SECS_END: u64 = 253_402_300_800;

/// An answer in the making.
pub(super) struct Reply(Response);

impl Reply {
    /// An answer without headers.
    pub(super) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
        Self(response)
    }

    /// An answer that says that it has no body, which some clients insist on.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self::new(status).header(CONTENT_LENGTH, 0)
    }

    /// Adds a header, beside others of that name.
    pub(super) fn header(mut self, name: HeaderName, value: impl Display) -> Self {
        if let Ok(value) = HeaderValue::try_from(value.to_string()) {
            self.0.headers_mut().append(name, value);
        } else {
            // Every value is made of parsed parts, so this is a bug; an answer without the header is still an answer.
            tracing::error!(header = name.as_str(), "a header value has characters that no header may have");
        }
        self
    }

    /// Adds a header if there is a value.
    pub(super) fn maybe(self, name: HeaderName, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// The answer with a body whose length stands in the headers.
    pub(super) fn body(mut self, body: Body) -> Response {
        *self.0.body_mut() = body;
        self.0
    }

    /// The answer with these bytes.
    pub(super) fn bytes(self, content_type: &str, bytes: Bytes) -> Response {
        self.header(CONTENT_TYPE, content_type).header(CONTENT_LENGTH, bytes.len()).body(Body::from(bytes))
    }

    /// The answer without a body.
    pub(super) fn finish(self) -> Response {
        self.0
    }
}

/// A moment as an HTTP date (RFC 9110, section 5.6.7); `None` outside the years 1970 to 9999.
pub(super) fn http_date(moment: Timestamp) -> Option<String> {
    let time = moment.to_system_time();
    let representable = time.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < HTTP_DATE_SECS_END);
    representable.then(|| httpdate::fmt_http_date(time))
}
