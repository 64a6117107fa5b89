//! Names in client certificates that prove an account.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::own_or_admin;
use super::error::ApiError;
use super::input::{Body, Path, Query, parse};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::UserName;
use crate::auth::CertificateError;
use crate::metadata::model::certificates::CertificateRecord;

/// A name.
#[derive(Serialize, ToSchema)]
pub(super) struct Name {
    /// `uri:`, `dns:`, `email:` or `cn:`, and the name.
    name: String,
    /// Seconds since 1970.
    created_at: i64,
}

/// The names of an account.
#[derive(Serialize, ToSchema)]
pub(super) struct Names {
    certificates: Vec<Name>,
}

/// A name to be given to an account, or to be taken from it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// `uri:`, `dns:`, `email:` or `cn:`, and the name.
    name: String,
}

impl From<CertificateRecord> for Name {
    fn from(record: CertificateRecord) -> Self {
        Self { name: record.name.to_string(), created_at: record.created_at.as_micros() / 1_000_000 }
    }
}

impl From<CertificateError> for ApiError {
    fn from(error: CertificateError) -> Self {
        let why = error.to_string();
        match error {
            CertificateError::UserUnknown(_) => Self::NotFound("account"),
            CertificateError::NameTaken(_) | CertificateError::Full => Self::Conflict(why),
            CertificateError::Store(error) => error.into(),
        }
    }
}

async fn shown(api: &Api, user: &UserName) -> Result<Names, ApiError> {
    let names = api.auth.certificates(user).await?.ok_or(ApiError::NotFound("account"))?;
    Ok(Names { certificates: names.into_iter().map(Name::from).collect() })
}

/// Lists the names in client certificates that prove an account. For its owner, and those who may do everything.
#[utoipa::path(get, path = "/api/v1/users/{name}/certificates", tag = "users", params(("name" = String, Path)),
    responses((status = 200, body = Names), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Path(user): Path<String>) -> Answer {
    let user: UserName = parse("name", &user)?;
    own_or_admin(&caller, &user)?;
    json(StatusCode::OK, &shown(&api, &user).await?)
}

/// Lets whoever has a certificate with this name be the account. For those who may do everything.
#[utoipa::path(post, path = "/api/v1/users/{name}/certificates", tag = "users", params(("name" = String, Path)),
    request_body = Wish,
    responses((status = 201, body = Names), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn add(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    Body(wish): Body<Wish>,
) -> Answer {
    caller.admin()?;
    let user: UserName = parse("name", &user)?;
    api.auth.add_certificate(&user, &parse("name", &wish.name)?, &caller.actor).await?;
    json(StatusCode::CREATED, &shown(&api, &user).await?)
}

/// Takes that back, within a second on every node. For those who may do everything.
#[utoipa::path(delete, path = "/api/v1/users/{name}/certificates", tag = "users",
    params(("name" = String, Path), ("name" = String, Query)),
    responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    Query(wish): Query<Wish>,
) -> Answer {
    caller.admin()?;
    let user: UserName = parse("name", &user)?;
    if api.auth.end_certificate(&user, &parse("name", &wish.name)?, &caller.actor).await? {
        Ok(no_content())
    } else {
        Err(ApiError::NotFound("name"))
    }
}
