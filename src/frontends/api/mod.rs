//! `/api/v1`: accounts, teams, namespaces and tokens; everything that the command line does, over HTTP.
//!
//! Who may call is said by each handler's first line: `Caller::identified`, `Caller::admin`, or a role in a namespace.
//! Refusals are JSON of one shape, `{"error", "code", "requestId"}`; the whole is described at `/openapi.json`.

mod accounts;
mod audit;
mod certificates;
mod described;
mod downloads;
mod error;
mod input;
mod namespaces;
mod openapi;
mod publishers;
mod quotas;
mod repositories;
mod robots;
mod sessions;
mod teams;
mod tokens;
mod webhooks;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, get, patch, post, put};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use self::error::{ApiError, Refusal};
use crate::access::{NamespacePath, Role, WebOrigin};
use crate::audit::Audit;
use crate::auth::{Auth, Credentials, Identity, Principal, Standing, Surface};
use crate::hooks::Hooks;
use crate::http::cors::{Cors, cors};
use crate::http::credentials::credentials_of;
use crate::http::middleware::X_REQUEST_ID;
use crate::http::origin::Origins;
use crate::http::standing::tell_standing;
use crate::metadata::model::accounts::Actor;
use crate::registry::Registry;

/// What handlers share.
#[derive(Clone, Debug)]
pub struct Api {
    /// The registry.
    pub registry: Arc<Registry>,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// Who is told what happens.
    pub hooks: Arc<Hooks>,
    /// From where a request came.
    pub origins: Origins,
    /// Whether anybody may make himself an account.
    pub registration_open: bool,
    /// Web pages of other origins that may call.
    pub pages: Arc<[WebOrigin]>,
}

/// Shorthand for handlers.
type Answer = Result<Response, ApiError>;

/// Every path below `/api/v1` that is about accounts, and the description of them.
pub fn routes(api: Api) -> Router {
    let pages = Cors::new(&api.pages);
    Router::new()
        .route("/api/v1/auth/register", post(sessions::register))
        .route("/api/v1/auth/login", post(sessions::login))
        .route("/api/v1/auth/verify", post(sessions::verify))
        .route("/api/v1/auth/refresh", post(sessions::refresh))
        .route("/api/v1/auth/logout", post(sessions::logout))
        .route("/api/v1/auth/oidc/exchange", post(publishers::exchange))
        .route("/api/v1/users", get(accounts::list).post(accounts::add))
        .route("/api/v1/users/{name}", get(accounts::show).patch(accounts::change).delete(accounts::remove))
        .route("/api/v1/users/{name}/password", put(accounts::set_password))
        .route(
            "/api/v1/users/{name}/certificates",
            get(certificates::list).post(certificates::add).delete(certificates::remove),
        )
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::remove))
        .route("/api/v1/teams", get(teams::list).post(teams::create))
        .route("/api/v1/teams/{name}", get(teams::show).delete(teams::remove))
        .route("/api/v1/teams/{name}/members/{user}", put(teams::join).delete(teams::leave))
        .route("/api/v1/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/api/v1/namespaces/{path}", get(namespaces::show).patch(namespaces::change).delete(namespaces::remove))
        .route("/api/v1/namespaces/{path}/members/{member}", put(namespaces::grant).delete(namespaces::revoke))
        .route("/api/v1/namespaces/{path}/quota", get(quotas::show).put(quotas::set))
        .route("/api/v1/namespaces/{path}/robots", get(robots::list).post(namespaces::add_robot))
        .route("/api/v1/namespaces/{path}/robots/{name}", delete(robots::remove))
        .route("/api/v1/namespaces/{path}/robots/{name}/tokens", get(robots::tokens).post(robots::add_token))
        .route("/api/v1/namespaces/{path}/robots/{name}/tokens/{id}", delete(robots::remove_token))
        .route("/api/v1/namespaces/{path}/publishers", get(publishers::list).post(publishers::add))
        .route("/api/v1/namespaces/{path}/publishers/{name}", delete(publishers::remove))
        .route("/api/v1/namespaces/{path}/webhooks", get(webhooks::list).post(webhooks::add))
        .route("/api/v1/namespaces/{path}/webhooks/{id}", patch(webhooks::change).delete(webhooks::remove))
        .route("/api/v1/namespaces/{path}/webhooks/{id}/test", post(webhooks::test))
        .route("/api/v1/namespaces/{path}/deliveries", get(webhooks::deliveries))
        .route("/api/v1/namespaces/{path}/deliveries/{id}/resend", post(webhooks::resend))
        .route("/api/v1/repositories", get(repositories::list))
        .route("/api/v1/repositories/{*name}", delete(repositories::remove).put(repositories::set_visibility))
        .route("/api/v1/downloads", get(downloads::list))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/audit/verify", get(audit::verify))
        .method_not_allowed_fallback(async || ApiError::Method)
        .route("/api/v1", any(unknown))
        .route("/api/v1/", any(unknown))
        .route("/api/v1/{*path}", any(unknown))
        .route("/openapi.json", get(openapi::document))
        .layer(from_fn_with_state(pages, cors))
        .layer(from_fn(with_request_id))
        .with_state(api)
}

async fn unknown() -> ApiError {
    ApiError::NotFound("resource in /api/v1")
}

/// Names the request in the body of a refusal, so that whoever reads it can be helped, and tells what is left of a limit.
async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(X_REQUEST_ID).cloned();
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let mut response = next.run(request).await;
    if let Some(standing) = told.0.get() {
        tell_standing(response.headers_mut(), *standing);
    }
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        *response.body_mut() = Body::from(refusal.to_json(id.as_ref().and_then(|id| id.to_str().ok())));
    }
    // Who may do what, and secrets that are shown once, are nothing to be kept on the way or to be run as a script.
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What is left of the caller's limit, once that is known.
#[derive(Clone, Debug, Default)]
struct Told(Arc<OnceLock<Standing>>);

/// From where somebody asks, whose credentials may be any.
#[derive(Debug)]
struct Origin(Actor);

impl FromRequestParts<Api> for Origin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        match Caller::from_request_parts(parts, api).await {
            Ok(_) | Err(ApiError::Wrong(_)) => Ok(Self(sender(parts, api))),
            Err(other) => Err(other),
        }
    }
}

/// From where somebody asks, whose credentials nobody looks at, and whose request is counted by whoever answers it,
/// if there is room for it.
#[derive(Debug)]
struct Sent(Actor);

impl FromRequestParts<Api> for Sent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        api.auth.check_room(Surface::Api, &|| sender(parts, api))?;
        Ok(Self(sender(parts, api)))
    }
}

/// Who calls, and from where.
#[derive(Debug)]
struct Caller {
    identity: Identity,
    actor: Actor,
    audit: Arc<Audit>,
    /// What is asked for, where refusals are counted.
    action: String,
}

/// From where a request comes, for the record of what happened.
fn sender(parts: &Parts, api: &Api) -> Actor {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let request_id = parts.headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    Actor { name: None, address: api.origins.client(&parts.headers, peer), request_id }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let credentials = match credentials_of(parts) {
            Ok(credentials) => credentials,
            // As long as there are no accounts, nobody looks at credentials.
            Err(_) if !api.auth.has_accounts() => Credentials::None,
            Err(error) => {
                api.auth.admit(Surface::Api, &Identity::Unidentified, &|| sender(parts, api))?;
                return Err(error.into());
            }
        };
        let found = api.auth.identify_within(Surface::Api, &credentials, false, &|| sender(parts, api)).await;
        let (identity, standing) = found?;
        if let (Some(standing), Some(Told(told))) = (standing, parts.extensions.get()) {
            // A request has one caller; if it were asked for again, the first answer would do.
            told.set(standing).ok();
        }
        let actor = Actor { name: identity.name(), ..sender(parts, api) };
        // Whatever is behind it names something that somebody made.
        let resource = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let action = format!("{} /api/v1/{resource}", parts.method);
        Ok(Self { identity, actor, audit: Arc::clone(api.auth.audit()), action })
    }
}

impl Caller {
    /// An account, by whatever credential.
    fn identified(&self) -> Result<&Principal, ApiError> {
        match &self.identity {
            Identity::Principal(principal) => Ok(principal),
            Identity::Everybody => Err(ApiError::NoAccounts),
            Identity::Unidentified | Identity::Anonymous(_) => Err(self.refused(ApiError::Unauthenticated)),
            Identity::Publisher(_) => Err(self.refused(ApiError::Limited)),
        }
    }

    /// An account that acts with everything it may: by a password, a login, or a token without scopes.
    fn whole(&self) -> Result<&Principal, ApiError> {
        let principal = self.identified()?;
        if principal.is_limited() { Err(self.refused(ApiError::Limited)) } else { Ok(principal) }
    }

    /// An account that may do everything.
    fn admin(&self) -> Result<&Principal, ApiError> {
        let principal = self.whole()?;
        if principal.admin { Ok(principal) } else { Err(self.refused(ApiError::Denied)) }
    }

    /// Counts a refusal of somebody who may not.
    fn refused(&self, error: ApiError) -> ApiError {
        self.audit.refused(&self.action, &self.actor);
        error
    }

    /// An account with a role in a namespace, or one that may do everything. To anybody without any role there the
    /// namespace is not there.
    async fn with_role(&self, api: &Api, path: &NamespacePath, least: Role) -> Result<&Principal, ApiError> {
        let principal = self.whole()?;
        if principal.admin {
            return Ok(principal);
        }
        let role = api.auth.role_in(principal.id, path).await?;
        if role.is_none_or(|role| role < least) {
            api.hooks.denied(path.as_repository(), "administer", &self.actor);
        }
        match role {
            None => Err(self.refused(ApiError::NotFound("namespace"))),
            Some(role) if role < least => Err(self.refused(ApiError::Denied)),
            Some(_) => Ok(principal),
        }
    }
}

/// `/.well-known/jwks.json`: the keys by which others may verify tokens of the token service. For everybody.
pub async fn jwks(auth: &Auth) -> Response {
    let keys = auth.jwks().await.map_err(ApiError::from);
    keys.and_then(|keys| json(StatusCode::OK, &keys)).unwrap_or_else(ApiError::into_response)
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let text = serde_json::to_string(body).map_err(|error| ApiError::internal(&error))?;
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
