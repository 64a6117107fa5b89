//! The OCI distribution API, `/v2`: one function that parses, asks the registry once, and renders.
//!
//! Invariants: every answer below `/v2`, refusals too, names the API version; nothing is compressed or converted; an
//! answer to HEAD has the headers of GET and no body.

mod access;
mod blobs;
mod body;
mod conditions;
mod failure;
mod lists;
mod manifests;
mod policy;
mod quotas;
mod ranges;
mod reply;
mod token;
mod trust;
mod uploads;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

pub use self::access::Gate;
use self::access::need;
use self::body::{Inbound, Settled};
use self::failure::Failure;
use self::reply::{Answer, DOCKER_API_VERSION, JSON_MEDIA_TYPE, Reply};
use crate::access::Action;
use crate::auth::Identity;
use crate::http::sendfile::FileQueue;
use crate::http::standing::tell_standing;
use crate::metadata::model::UploadId;
use crate::metadata::model::accounts::Actor;
use crate::oci::error::Condition;
use crate::oci::name::RepoName;
use crate::oci::route::{BlobAction, ManifestAction, PolicyAction, Route, RouteError, UploadAction};
use crate::registry::{Holder, Purge, Registry, RegistryError};

/// Answers a request for any path below `/v2`.
pub async fn handle(registry: Arc<Registry>, gate: Gate, request: Request) -> Response {
    if request.uri().path() == TOKEN_PATH {
        return token::handle(&gate, request).await;
    }
    let (mut parts, body) = request.into_parts();
    let (method, version) = (parts.method.clone(), parts.version);
    let awaits_continue =
        parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let inbound = Inbound::new(body, registry.limits().body_idle_max, awaits_continue);
    let files = parts.extensions.remove();
    let route = Route::parse(&parts.method, parts.uri.path(), parts.uri.query());
    let (admitted, standing) = match gate.identify(&parts, goes_on(&route), route.as_ref().ok().and_then(need)).await {
        Ok((identity, standing)) => (admit(&gate, &parts, identity, route).await, standing),
        Err(failure) => (Err(failure), None),
    };
    let peer = peer(&parts);
    let headers = std::mem::take(&mut parts.headers);
    let (route, identity) = match admitted {
        Ok((route, identity)) => (Ok(route), identity),
        Err(failure) => (Err(failure), Identity::Unidentified),
    };
    let principal = identity.holder();
    let exchange = Exchange { registry, gate, identity, principal, peer, uri: parts.uri, headers, inbound, files };
    let answer = match route {
        Ok(route) => dispatch_in_time(&exchange, route).await,
        Err(failure) => Err(failure),
    };
    let mut response = answer.unwrap_or_else(Failure::into_response);
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert(DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(standing) = standing {
        tell_standing(headers, standing);
    }
    if exchange.inbound.settle().await == Settled::Unread && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Where the token service is.
const TOKEN_PATH: &str = "/v2/token";

/// The other end of the connection.
fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

/// Whether a request goes on with a session. Sessions are their principals' alone, so a token that has expired leads to no
/// others.
fn goes_on(route: &Result<Route, RouteError>) -> bool {
    matches!(
        route,
        Ok(Route::Upload { action: UploadAction::Append | UploadAction::Finish { .. } | UploadAction::Cancel, .. })
    )
}

/// What a request asks for and who sends it, if he may.
async fn admit(
    gate: &Gate,
    parts: &Parts,
    identity: Identity,
    route: Result<Route, RouteError>,
) -> Result<(Route, Identity), Failure> {
    match route {
        Ok(route) => Ok((gate.admit(parts, &identity, route).await?, identity)),
        Err(error) => {
            gate.require_identity(parts, &identity)?;
            Err(error.into())
        }
    }
}

/// A request, apart from its route.
struct Exchange {
    registry: Arc<Registry>,
    gate: Gate,
    identity: Identity,
    /// Whose sessions it begins: the number of an account.
    principal: Option<String>,
    /// The other end of the connection.
    peer: Option<IpAddr>,
    uri: Uri,
    headers: HeaderMap,
    inbound: Inbound,
    /// Where files may be announced that the kernel sends.
    files: Option<FileQueue>,
}

impl Exchange {
    /// To whom a session of this request belongs.
    fn holder<'a>(&'a self, repo: &'a RepoName) -> Holder<'a> {
        Holder { repo, principal: self.principal.as_deref() }
    }

    /// Who sends it, for the record of what happened.
    fn actor(&self) -> Actor {
        self.gate.actor(&self.headers, self.peer, &self.identity)
    }

    /// Whether whoever sends it may do something in a repository, whatever his token says.
    async fn may(&self, action: Action, repo: &RepoName) -> Result<bool, Failure> {
        let actions = self.gate.auth.actions(&self.identity, repo).await;
        actions.map(|actions| actions.contains(action)).map_err(Failure::from)
    }
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
        Route::Policy(action) => match action {
            PolicyAction::Get { number: None } => policy::get(exchange).await,
            PolicyAction::Get { number: Some(number) } => policy::get_old(exchange, number).await,
            PolicyAction::Put => policy::put(exchange).await,
            PolicyAction::Revisions { page } => policy::revisions(exchange, &page).await,
            PolicyAction::DryRun(wanted) => policy::dry_run(exchange, wanted).await,
        },
        Route::Verdict { repo, reference, policy } => {
            trust::verdict(exchange, &repo, &reference, policy.as_ref()).await
        }
        Route::Tags { repo, page } => lists::tags(exchange, &repo, &page).await,
        Route::Referrers { repo, digest, artifact_type, page } => {
            lists::referrers(exchange, &repo, &digest, artifact_type.as_deref(), &page).await
        }
    }
}

fn purge(wait: bool) -> Purge {
    if wait { Purge::Wait } else { Purge::Later }
}
