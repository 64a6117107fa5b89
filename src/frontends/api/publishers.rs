//! Publishing without a secret of our own: rules of namespaces, and tokens of others given for ours.

use std::collections::BTreeMap;

use axum::extract::State;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Path, parse};
use super::{Answer, Api, Caller, Sent, json, no_content};
use crate::access::{ClaimRules, NamespacePath, Role};
use crate::auth::{ExchangeError, Exchanged, Identity, PublisherError, PublisherWish, Refusal, Surface};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::publishers::PublisherRecord;

/// A rule.
#[derive(Serialize, ToSchema)]
pub(super) struct Rule {
    name: String,
    /// Whose tokens it takes: their `iss`, byte for byte.
    issuer: String,
    /// For whom they have to be: their `aud`, byte for byte.
    audience: String,
    /// Globs that the values of other claims have to match.
    claims: BTreeMap<String, String>,
    /// read, write or admin.
    role: String,
    /// A token is taken any number of times, and needs no `jti`.
    reuse: bool,
    /// It has the issuer's keys itself, and does not ask for them.
    has_jwks: bool,
    /// Seconds since 1970.
    created_at: i64,
}

/// The rules of a namespace.
#[derive(Serialize, ToSchema)]
pub(super) struct Rules {
    publishers: Vec<Rule>,
}

/// A new rule.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRule {
    name: String,
    issuer: String,
    /// The name of this registry when it is left out.
    audience: Option<String>,
    claims: BTreeMap<String, String>,
    /// read, write or admin; `write` when it is left out.
    role: Option<String>,
    #[serde(default)]
    reuse: bool,
    /// A JWK set with public keys, for an issuer that cannot be asked.
    #[schema(value_type = Option<Object>)]
    jwks: Option<Value>,
}

/// A token of somebody else.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Foreign {
    #[schema(value_type = String)]
    token: SecretString,
    /// Only the rules of this namespace.
    namespace: Option<String>,
}

/// A token of this registry.
#[derive(Serialize, ToSchema)]
pub(super) struct Given {
    /// To be sent as `Authorization: Bearer`, or as a password with any name.
    token: String,
    /// The same.
    access_token: String,
    token_type: String,
    /// Seconds.
    expires_in: u64,
    /// RFC 3339.
    issued_at: String,
    /// Where it is good for what.
    namespaces: Vec<NamespaceRole>,
}

/// A role in a namespace.
#[derive(Serialize, ToSchema)]
pub(super) struct NamespaceRole {
    path: String,
    role: String,
}

impl From<PublisherRecord> for Rule {
    fn from(rule: PublisherRecord) -> Self {
        Self {
            name: rule.name.to_string(),
            issuer: rule.issuer.to_string(),
            audience: rule.audience.to_string(),
            claims: rule.claims.patterns().clone(),
            role: rule.role.to_string(),
            reuse: rule.reuse,
            has_jwks: rule.has_jwks,
            created_at: rule.created_at.as_micros() / 1_000_000,
        }
    }
}

impl From<PublisherError> for ApiError {
    fn from(error: PublisherError) -> Self {
        let why = error.to_string();
        match error {
            PublisherError::NamespaceUnknown(_) => Self::NotFound("namespace"),
            PublisherError::NameTaken(_) | PublisherError::Full => Self::Conflict(why),
            PublisherError::Owner
            | PublisherError::Stranger(_)
            | PublisherError::Issuer(_)
            | PublisherError::Keys(_)
            | PublisherError::KeysLong
            | PublisherError::Audience => Self::Invalid(why),
            PublisherError::Store(error) => error.into(),
        }
    }
}

impl From<ExchangeError> for ApiError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(refusal) => Self::Wrong(refusal.to_string()),
            ExchangeError::Unavailable => Self::Elsewhere(error.to_string()),
            ExchangeError::Auth(error) => error.into(),
        }
    }
}

/// Lists the rules by which others' jobs may publish. For administrators of the namespace.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}/publishers", tag = "publishers", params(("path" = String, Path)),
    responses((status = 200, body = Rules), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Path(path): Path<String>) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Admin).await?;
    let rules = api.auth.publishers(&path).await?.ok_or(ApiError::NotFound("namespace"))?;
    json(StatusCode::OK, &Rules { publishers: rules.into_iter().map(Rule::from).collect() })
}

/// Makes a rule. For administrators of the namespace.
#[utoipa::path(post, path = "/api/v1/namespaces/{path}/publishers", tag = "publishers", params(("path" = String, Path)),
    request_body = NewRule,
    responses((status = 201, body = Rule), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn add(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Body(new): Body<NewRule>,
) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Admin).await?;
    let wish = PublisherWish {
        name: parse("name", &new.name)?,
        issuer: parse("issuer", &new.issuer)?,
        audience: new.audience.as_deref().map(|audience| parse("audience", audience)).transpose()?,
        claims: ClaimRules::parse(new.claims).map_err(|error| ApiError::Invalid(format!("claims: {error}")))?,
        role: new.role.as_deref().map_or(Ok(Role::Write), |role| parse("role", role))?,
        reuse: new.reuse,
        jwks: new.jwks.as_ref().map(Value::to_string),
    };
    let name = wish.name.clone();
    api.auth.add_publisher(&path, wish, &caller.actor).await?;
    let rules = api.auth.publishers(&path).await?.unwrap_or_default();
    let made = rules.into_iter().find(|rule| rule.name == name).ok_or(ApiError::NotFound("rule"))?;
    json(StatusCode::CREATED, &Rule::from(made))
}

/// Ends a rule, and within a second on every node what came of it. For administrators of the namespace.
#[utoipa::path(delete, path = "/api/v1/namespaces/{path}/publishers/{name}", tag = "publishers",
    params(("path" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Admin).await?;
    if api.auth.end_publisher(&path, &parse("name", &name)?, &caller.actor).await? {
        Ok(no_content())
    } else {
        Err(ApiError::NotFound("rule"))
    }
}

/// Gives a token of this registry, for minutes, for one of somebody whom a rule trusts. For everybody who has one.
#[utoipa::path(post, path = "/api/v1/auth/oidc/exchange", tag = "auth", request_body = Foreign,
    responses((status = 200, body = Given), (status = 400), (status = 401), (status = 403), (status = 503)))]
pub(super) async fn exchange(
    State(api): State<Api>,
    Sent(by): Sent,
    foreign: Result<Body<Foreign>, ApiError>,
) -> Answer {
    if !api.auth.has_accounts() {
        return Err(ApiError::NoAccounts);
    }
    let exchanged = try_exchange(&api, &by, foreign).await.inspect_err(|error| {
        if matches!(error, ApiError::Wrong(_) | ApiError::Invalid(_) | ApiError::TooLarge) {
            // Whether there was room has been asked before; of many at once, those are counted for which there still is.
            api.auth.admit(Surface::Api, &Identity::Unidentified, &|| by.clone()).ok();
        }
    })?;
    let shown = |(path, role): (NamespacePath, Role)| NamespaceRole { path: path.to_string(), role: role.to_string() };
    let given = Given {
        token: exchanged.issued.token.clone(),
        access_token: exchanged.issued.token,
        token_type: "Bearer".to_owned(),
        expires_in: exchanged.issued.life.as_secs(),
        issued_at: exchanged.issued.issued_at.to_rfc3339(),
        namespaces: exchanged.publisher.namespaces().into_iter().map(shown).collect(),
    };
    json(StatusCode::OK, &given)
}

async fn try_exchange(api: &Api, by: &Actor, foreign: Result<Body<Foreign>, ApiError>) -> Result<Exchanged, ApiError> {
    let Body(foreign) = foreign?;
    let namespace = foreign.namespace.as_deref().map(|path| parse::<NamespacePath>("namespace", path)).transpose()?;
    let exchanged = api.auth.exchange(&foreign.token, namespace.as_ref(), by).await;
    if let Err(ExchangeError::Refused(refusal)) = &exchanged {
        api.auth.audit().login_refused(None, by);
        // These have a true token of an issuer whom a rule trusts; nobody else is worth an event.
        if let (Refusal::Claims | Refusal::Used, Some(namespace)) = (refusal, &namespace) {
            api.hooks.denied(namespace.as_repository(), "exchange", by);
        }
    }
    Ok(exchanged?)
}
