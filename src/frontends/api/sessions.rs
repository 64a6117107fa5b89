//! Registration and logins.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::Account;
use super::error::ApiError;
use super::input::{Body, parse};
use super::{Answer, Api, Caller, Origin, json, no_content};
use crate::access::Email;
use crate::auth::{Credentials, Identity, Login};

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct Registration {
    username: String,
    #[schema(value_type = String)]
    password: SecretString,
    email: Option<String>,
}

/// A name and a password.
#[derive(Deserialize, ToSchema)]
pub(super) struct Password {
    username: String,
    #[schema(value_type = String)]
    password: SecretString,
}

/// A token that somebody wants to know about.
#[derive(Deserialize, ToSchema)]
pub(super) struct Token {
    #[schema(value_type = String)]
    token: SecretString,
}

/// A login.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    success: bool,
    /// To be sent as `Authorization: Bearer`.
    token: String,
    /// Seconds since 1970.
    expires_at: i64,
    user: Account,
}

/// Whether a token is good, and whose it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Verified {
    valid: bool,
    user: Option<Account>,
}

/// Makes an account for whoever asks, where `auth.registration` is `open`. It never may do everything.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "auth", request_body = Registration,
    responses((status = 201, body = Account), (status = 400), (status = 403), (status = 409)))]
pub(super) async fn register(State(api): State<Api>, Origin(from): Origin, Body(new): Body<Registration>) -> Answer {
    if !api.auth.has_accounts() {
        return Err(ApiError::NoAccounts);
    }
    if !api.registration_open {
        api.auth.audit().refused("POST /api/v1/auth", &from);
        return Err(ApiError::Closed);
    }
    let name = parse("username", &new.username)?;
    let email = new.email.as_deref().map(|email| parse::<Email>("email", email)).transpose()?;
    if crate::access::UserName::is_robot(&name) {
        return Err(ApiError::Invalid("username: this is the name of a robot".to_owned()));
    }
    api.auth.register(&name, email, new.password, &from).await?;
    json(StatusCode::CREATED, &Account::find(&api, &name).await?)
}

/// Logs in by name and password, for 30 days.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", request_body = Password,
    responses((status = 200, body = LoggedIn), (status = 401), (status = 403), (status = 429)))]
pub(super) async fn login(State(api): State<Api>, Origin(from): Origin, Body(given): Body<Password>) -> Answer {
    if !api.auth.has_accounts() {
        return Err(ApiError::NoAccounts);
    }
    let login = api.auth.log_in_for_long(&given.username, &given.password, &from).await?;
    logged_in(&api, login).await
}

async fn logged_in(api: &Api, login: Login) -> Answer {
    let user = Account::find(api, &login.principal.name).await?;
    let expires_at = login.expires_at.as_micros() / 1_000_000;
    json(StatusCode::OK, &LoggedIn { success: true, token: login.token, expires_at, user })
}

/// Says whether a token is good. Everybody who has it may ask.
#[utoipa::path(post, path = "/api/v1/auth/verify", tag = "auth", request_body = Token,
    responses((status = 200, body = Verified)))]
pub(super) async fn verify(State(api): State<Api>, Origin(from): Origin, Body(given): Body<Token>) -> Answer {
    let user = match api.auth.identify(&Credentials::Token(given.token), &|| from.clone()).await {
        Ok(Identity::Principal(principal)) => Some(Account::find(&api, &principal.name).await?),
        Ok(_) | Err(crate::auth::AuthError::Wrong | crate::auth::AuthError::Malformed) => None,
        Err(error) => return Err(error.into()),
    };
    json(StatusCode::OK, &Verified { valid: user.is_some(), user })
}

/// Gives a new login for one that has not ended, which ends.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth",
    responses((status = 200, body = LoggedIn), (status = 401), (status = 403)))]
pub(super) async fn refresh(State(api): State<Api>, caller: Caller) -> Answer {
    let login = api.auth.renew_login(caller.whole()?, &caller.actor).await?;
    logged_in(&api, login).await
}

/// Ends a login.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth",
    responses((status = 204), (status = 401), (status = 403)))]
pub(super) async fn logout(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    api.auth.log_out(caller.whole()?, &caller.actor).await?;
    Ok(no_content())
}
