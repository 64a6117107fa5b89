//! API tokens of the caller, and of anybody for those who may do everything.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::{TokenScopes, UserName};
use crate::auth::TokenWish;
use crate::auth::secret::ApiToken;
use crate::clock::Timestamp;
use crate::metadata::model::accounts::{MakerRight, TokenRecord};

/// A token, without its text.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenShown {
    id: String,
    user: String,
    name: String,
    /// `GLOB:ACTIONS`; an empty list limits nothing.
    scopes: Vec<String>,
    /// Seconds since 1970.
    created_at: i64,
    expires_at: Option<i64>,
    used_at: Option<i64>,
    /// The number of the API token by which it was made, with which it ends.
    made_with: Option<String>,
    /// The account that made it for this one.
    made_by: Option<String>,
}

/// Tokens, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    tokens: Vec<TokenShown>,
    next: Option<String>,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// Whose; the caller's when it is left out.
    user: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
    /// In seconds.
    expires_in: Option<u64>,
}

/// A new token, which is shown only here.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenMade {
    id: String,
    token: String,
}

impl TokenMade {
    pub(super) fn new(id: String, token: &ApiToken) -> Self {
        Self { id, token: token.expose().to_owned() }
    }
}

/// What somebody says of a token that he wants.
pub(super) fn wish(name: String, scopes: &[String], expires_in: Option<u64>) -> Result<TokenWish, ApiError> {
    let scopes = TokenScopes::parse(scopes).map_err(|error| ApiError::Invalid(format!("scopes: {error}")))?;
    Ok(TokenWish { name, scopes, life: expires_in.map(Duration::from_secs) })
}

/// Whose tokens.
#[derive(Deserialize)]
pub(super) struct Which {
    user: Option<String>,
}

impl From<TokenRecord> for TokenShown {
    fn from(token: TokenRecord) -> Self {
        let seconds = |moment: Timestamp| moment.as_micros() / 1_000_000;
        Self {
            id: token.id,
            user: token.user.to_string(),
            name: token.name,
            scopes: token.scopes.to_texts(),
            created_at: seconds(token.created_at),
            expires_at: token.expires_at.map(seconds),
            used_at: token.used_at.map(seconds),
            made_with: token.parent,
            made_by: token.made_by.map(|maker| maker.to_string()),
        }
    }
}

fn whose(caller: &Caller, user: Option<&str>) -> Result<UserName, ApiError> {
    let own = caller.whole()?;
    match user {
        None => Ok(own.name.clone()),
        Some(user) => {
            let user: UserName = parse("user", user)?;
            if user != own.name {
                caller.admin()?;
            }
            Ok(user)
        }
    }
}

/// Lists tokens of the caller; of others for those who may do everything.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens",
    params(("user" = Option<String>, Query), ("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Tokens), (status = 401), (status = 403)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(which): Query<Which>,
    Query(page): Query<Page>,
) -> Answer {
    let user = whose(&caller, which.user.as_deref())?;
    shown(&api, &user, &page).await
}

/// A part of the list of an account's tokens.
pub(super) async fn shown(api: &Api, user: &UserName, page: &Page) -> Answer {
    let limit = page.limit();
    let found = api.auth.accounts().token_list(Some(user), page.after(), limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|token| token.id.clone());
    json(StatusCode::OK, &Tokens { tokens: found.into_iter().map(TokenShown::from).collect(), next })
}

/// Makes a token of the caller; of others for those who may do everything. One that is made by an API token ends with that.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = TokenMade), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<NewToken>) -> Answer {
    let user = whose(&caller, new.user.as_deref())?;
    let wish = wish(new.name, &new.scopes, new.expires_in)?;
    let own = caller.whole()?;
    let right = if user == own.name { MakerRight::Own } else { MakerRight::Everything };
    let (id, token) = api.auth.add_token(&user, wish, Some(own.maker(right)), &caller.actor).await?;
    json(StatusCode::CREATED, &TokenMade::new(id, &token))
}

/// Ends a token of the caller, with those that were made by it; of others for those who may do everything.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Answer {
    let principal = caller.whole()?;
    let owner = (!principal.admin).then_some(&principal.name);
    if !api.auth.end_token(owner, &id, &caller.actor).await? {
        return Err(ApiError::NotFound("token"));
    }
    Ok(no_content())
}
