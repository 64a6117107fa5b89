//! The OCI distribution API, `/v2`: one function that parses, asks the registry once, and renders.
//!
//! Invariants: every answer below `/v2`, refusals too, names the API version; nothing is compressed or converted; an
//! answer to HEAD has the headers of GET and no body.

mod blobs;
mod body;
mod conditions;
mod failure;
mod lists;
mod manifests;
mod ranges;
mod reply;
mod uploads;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use self::body::{Inbound, Settled};
use self::failure::Failure;
use self::reply::{Answer, DOCKER_API_VERSION, JSON_MEDIA_TYPE, Reply};
use crate::http::sendfile::FileQueue;
use crate::metadata::model::UploadId;
use crate::oci::error::Condition;
use crate::oci::route::{BlobAction, ManifestAction, Route, UploadAction};
use crate::registry::{Purge, Registry, RegistryError};

/// Answers a request for any path below `/v2`.
pub async fn handle(registry: Arc<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Parts { method, uri, version, headers, mut extensions, .. } = parts;
    let awaits_continue =
        headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let inbound = Inbound::new(body, registry.limits().body_idle_max, awaits_continue);
    let exchange = Exchange { registry, headers, inbound, files: extensions.remove() };
    let answer = match Route::parse(&method, uri.path(), uri.query()) {
        Ok(route) => dispatch_in_time(&exchange, route).await,
        Err(error) => Err(error.into()),
    };
    let mut response = answer.unwrap_or_else(Failure::into_response);
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert(DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if exchange.inbound.settle().await == Settled::Unread && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request, apart from its route.
struct Exchange {
    registry: Arc<Registry>,
    headers: HeaderMap,
    inbound: Inbound,
    /// Where files may be announced that the kernel sends.
    files: Option<FileQueue>,
}

/// Ends what takes longer than any request may, so that a late write of a session that is long dead cannot happen.
async fn dispatch_in_time(exchange: &Exchange, route: Route) -> Answer {
    let time_max = exchange.registry.limits().request_time_max;
    let answer = tokio::time::timeout(time_max, dispatch(exchange, route)).await;
    answer.unwrap_or_else(|_| Err(Condition::BodyTimeout.into()))
}

async fn dispatch(exchange: &Exchange, route: Route) -> Answer {
    match route {
        Route::Base => Ok(Reply::new(StatusCode::OK).bytes(JSON_MEDIA_TYPE, Bytes::from_static(b"{}"))),
        Route::Catalog { page } => lists::catalog(exchange, &page).await,
        Route::Blob { repo, digest, action } => match action {
            BlobAction::Get => blobs::get(exchange, &repo, &digest).await,
            BlobAction::Head => blobs::head(exchange, &repo, &digest).await,
            BlobAction::Delete { purge_wait } => blobs::delete(exchange, &repo, &digest, purge(purge_wait)).await,
        },
        Route::UploadStart { repo, digest, algorithm, mount } => {
            uploads::start(exchange, &repo, digest.as_ref(), algorithm, mount.as_ref()).await
        }
        Route::Upload { repo, id, action } => {
            let id = UploadId::parse(&id).ok_or(RegistryError::UploadUnknown)?;
            match action {
                UploadAction::Status => uploads::status(exchange, &repo, &id).await,
                UploadAction::Append => uploads::append(exchange, &repo, &id).await,
                UploadAction::Finish { digest } => uploads::finish(exchange, &repo, &id, &digest).await,
                UploadAction::Cancel => uploads::cancel(exchange, &repo, &id).await,
            }
        }
        Route::Manifest { repo, reference, action } => match action {
            ManifestAction::Get => manifests::get(exchange, &repo, &reference).await,
            ManifestAction::Head => manifests::head(exchange, &repo, &reference).await,
            ManifestAction::Put { tags } => manifests::put(exchange, &repo, reference, tags).await,
            ManifestAction::Delete { purge_wait } => {
                manifests::delete(exchange, &repo, &reference, purge(purge_wait)).await
            }
        },
        Route::Tags { repo, page } => lists::tags(exchange, &repo, &page).await,
        Route::Referrers { repo, digest, artifact_type, page } => {
            lists::referrers(exchange, &repo, &digest, artifact_type.as_deref(), &page).await
        }
    }
}

fn purge(wait: bool) -> Purge {
    if wait { Purge::Wait } else { Purge::Later }
}
