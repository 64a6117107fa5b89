//! Accounts: for those who may do everything, and for their owners.

use axum::extract::State;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::{Email, NamespacePath, UserName};
use crate::auth::{Given, Principal};
use crate::metadata::model::accounts::{UserChange, UserRecord};

/// An account.
#[derive(Serialize, ToSchema)]
pub(super) struct Account {
    name: String,
    email: Option<String>,
    admin: bool,
    disabled: bool,
    /// The namespace of a robot.
    robot_of: Option<String>,
    /// Seconds since 1970.
    created_at: i64,
}

/// Accounts, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Accounts {
    users: Vec<Account>,
    next: Option<String>,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    name: String,
    email: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
    #[serde(default)]
    admin: bool,
}

/// What to change of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountChange {
    disabled: Option<bool>,
    admin: Option<bool>,
}

/// Another password. Whoever changes his own names the old one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    #[schema(value_type = Option<String>)]
    old: Option<SecretString>,
    #[schema(value_type = String)]
    new: SecretString,
}

impl From<UserRecord> for Account {
    fn from(user: UserRecord) -> Self {
        Self {
            name: user.name.to_string(),
            email: user.email.as_ref().map(Email::to_string),
            admin: user.admin,
            disabled: user.disabled_at.is_some(),
            robot_of: user.robot_of.as_ref().map(NamespacePath::to_string),
            created_at: user.created_at.as_micros() / 1_000_000,
        }
    }
}

impl Account {
    pub(super) async fn find(api: &Api, name: &UserName) -> Result<Self, ApiError> {
        let found = api.auth.accounts().user_find(name).await?;
        found.map(Self::from).ok_or(ApiError::NotFound("account"))
    }
}

/// Somebody's own account, or any for those who may do everything.
pub(super) fn own_or_admin<'c>(caller: &'c Caller, name: &UserName) -> Result<&'c Principal, ApiError> {
    let principal = caller.whole()?;
    if principal.name == *name { Ok(principal) } else { caller.admin() }
}

/// Lists accounts. For those who may do everything.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Accounts), (status = 401), (status = 403)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Query(page): Query<Page>) -> Answer {
    caller.admin()?;
    let limit = page.limit();
    let users = api.auth.accounts().user_list(page.after(), limit).await?;
    let next = users.last().filter(|_| users.len() == limit as usize).map(|user| user.name.to_string());
    json(StatusCode::OK, &Accounts { users: users.into_iter().map(Account::from).collect(), next })
}

/// Makes an account. For those who may do everything.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = NewAccount,
    responses((status = 201, body = Account), (status = 400), (status = 401), (status = 403), (status = 409)))]
pub(super) async fn add(State(api): State<Api>, caller: Caller, Body(new): Body<NewAccount>) -> Answer {
    caller.admin()?;
    let name: UserName = parse("name", &new.name)?;
    if name.is_robot() {
        return Err(ApiError::Invalid("name: robots are made in their namespace".to_owned()));
    }
    let email = new.email.as_deref().map(|email| parse::<Email>("email", email)).transpose()?;
    let password = new.password.map(Given::Plain);
    api.auth.add_user(&name, email, password, new.admin, &caller.actor).await?;
    json(StatusCode::CREATED, &Account::find(&api, &name).await?)
}

/// Shows an account. For its owner, and those who may do everything.
#[utoipa::path(get, path = "/api/v1/users/{name}", tag = "users", params(("name" = String, Path)),
    responses((status = 200, body = Account), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn show(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    let name = if name == "me" { caller.identified()?.name.clone() } else { parse("name", &name)? };
    own_or_admin(&caller, &name)?;
    json(StatusCode::OK, &Account::find(&api, &name).await?)
}

/// Changes an account. For those who may do everything.
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "users", params(("name" = String, Path)), request_body = AccountChange,
    responses((status = 200, body = Account), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(change): Body<AccountChange>,
) -> Answer {
    caller.admin()?;
    let name: UserName = parse("name", &name)?;
    let changes = [change.disabled.map(UserChange::Disabled), change.admin.map(UserChange::Admin)];
    for change in changes.into_iter().flatten() {
        api.auth.change_user(&name, &change, &caller.actor).await?;
    }
    json(StatusCode::OK, &Account::find(&api, &name).await?)
}

/// Sets a password. For the owner of the account, who names the old one, and for those who may do everything.
#[utoipa::path(put, path = "/api/v1/users/{name}/password", tag = "users", params(("name" = String, Path)),
    request_body = PasswordChange,
    responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn set_password(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(change): Body<PasswordChange>,
) -> Answer {
    let name: UserName = parse("name", &name)?;
    let principal = own_or_admin(&caller, &name)?;
    if principal.name == name {
        let old = change.old.ok_or_else(|| ApiError::Invalid("old: the password so far is missing".to_owned()))?;
        api.auth.check_password(name.as_str(), &old, &caller.actor).await?;
    }
    api.auth.set_password(&name, Given::Plain(change.new), &caller.actor).await?;
    Ok(no_content())
}

/// Ends an account, with its tokens and roles. For those who may do everything.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "users", params(("name" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn remove(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    caller.admin()?;
    api.auth.delete_user(&parse("name", &name)?, &caller.actor).await?;
    Ok(no_content())
}
