//! Logins of people: a token of 30 days (HS256) that can be renewed and revoked.
//!
//! What makes a login revocable is a row beside the API tokens: it ends by logout, with the next password, and with the
//! account. The token only proves which row is meant.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::access::TokenScopes;
use crate::auth::admin::AdminError;
use crate::auth::identity::{Limit, Principal};
use crate::auth::service::{Auth, AuthError, Result};
use crate::clock::Timestamp;
use crate::metadata::model::accounts::{Actor, MakerRight, NewToken, TokenAdded, UserId};

/// How long a login lives.
pub const LOGIN_LIFE: Duration = Duration::from_hours(24 * 30);

/// What a login says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
    jti: String,
    uid: i64,
}

/// A login that was made.
#[derive(Debug)]
pub struct Login {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who logged in.
    pub principal: Principal,
}

impl Auth {
    /// Logs somebody in by name and password.
    ///
    /// # Errors
    /// [`AuthError::Wrong`], [`AuthError::Busy`], [`AuthError::TooManyFailures`], [`AuthError::NoSecret`],
    /// [`AuthError::Store`].
    pub async fn log_in_for_long(&self, user: &str, password: &SecretString, by: &Actor) -> Result<Login> {
        let principal = self.log_in(user, password, by).await?;
        let by = Actor { name: Some(principal.name.to_string()), ..by.clone() };
        self.begin_login(principal, None, &by).await
    }

    /// A new login in the place of one that has not ended.
    ///
    /// # Errors
    /// [`AuthError::Wrong`] for anybody who is not logged in.
    pub async fn renew_login(&self, principal: &Principal, by: &Actor) -> Result<Login> {
        let old = login_id(principal)?;
        let login = self.begin_login(Principal { limit: Limit::None, ..principal.clone() }, Some(old), by).await?;
        self.refresh().await?;
        Ok(login)
    }

    /// Ends a login.
    ///
    /// # Errors
    /// [`AuthError::Wrong`] for anybody who is not logged in.
    pub async fn log_out(&self, principal: &Principal, by: &Actor) -> Result<()> {
        let id = login_id(principal)?;
        self.store.token_delete(Some(&principal.name), id, self.clock.now(), by).await?;
        self.refresh().await.map(drop)
    }

    /// A login, in the place of an old one if there is one, which must not have ended.
    async fn begin_login(&self, principal: Principal, old: Option<&str>, by: &Actor) -> Result<Login> {
        let secret = self.options.secret.as_ref().ok_or(AuthError::NoSecret)?;
        let now = self.clock.now();
        let expires_at = now.after(LOGIN_LIFE);
        let (id, mut hash) = (format!("{LOGIN}{}", hex::encode(self.entropy.bytes16())), [0; 32]);
        // No token has this hash; the row is found by its number.
        for part in hash.chunks_exact_mut(16) {
            part.copy_from_slice(&self.entropy.bytes16());
        }
        let new = NewToken {
            id: id.clone(),
            hash,
            name: "login".to_owned(),
            login: true,
            scopes: TokenScopes::default(),
            expires_at: Some(expires_at),
            maker: Some(principal.maker(MakerRight::Own)),
            replaces: old.map(str::to_owned),
            now,
        };
        if self.store.token_add(&principal.name, &new, by).await? != TokenAdded::Added {
            return Err(AuthError::Wrong);
        }
        let seconds = |moment: Timestamp| u64::try_from(moment.as_micros() / 1_000_000).unwrap_or(0);
        let claims = Claims {
            iss: self.options.service.clone(),
            sub: principal.name.to_string(),
            aud: self.options.service.clone(),
            iat: seconds(now),
            exp: seconds(expires_at),
            jti: id.clone(),
            uid: principal.id.0,
        };
        let key = EncodingKey::from_secret(secret.login_key());
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| AuthError::NoSecret)?;
        let limit = Limit::Token { id, scopes: TokenScopes::default(), until: Some(expires_at) };
        Ok(Login { token, expires_at, principal: Principal { limit, ..principal } })
    }

    /// Who has a login, and until when.
    pub(super) async fn by_login(&self, text: &str, now: Timestamp) -> Result<(Principal, Timestamp)> {
        let secret = self.options.secret.as_ref().ok_or(AuthError::Wrong)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[&self.options.service]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(secret.login_key());
        let claims = decode::<Claims>(text, &key, &validation).map_err(|_| AuthError::Wrong)?.claims;
        let until = i64::try_from(claims.exp.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let until = Timestamp::from_micros(until);
        if until <= now || !claims.jti.starts_with(LOGIN) {
            return Err(AuthError::Wrong);
        }
        let found = self.store.principal_find(UserId(claims.uid), Some(&claims.jti), now).await?;
        Ok((Principal::from(found.ok_or(AuthError::Wrong)?), until))
    }

    /// Makes an account for somebody who asks for one. It never may do everything.
    ///
    /// # Errors
    /// As for any new account.
    pub async fn register(
        &self,
        name: &crate::access::UserName,
        email: Option<crate::access::Email>,
        password: SecretString,
        by: &Actor,
    ) -> std::result::Result<UserId, AdminError> {
        // Who asks is who the account is for, unless he has one already.
        let by = Actor { name: by.name.clone().or_else(|| Some(name.to_string())), ..by.clone() };
        self.add_user(name, email, Some(crate::auth::Given::Plain(password)), false, &by).await
    }
}

/// How the number of a login begins; that of an API token has only hexadecimal digits.
pub(super) const LOGIN: &str = "login-";

/// The login by which somebody acts himself. A token of the token service may come from one, and is none.
fn login_id(principal: &Principal) -> Result<&str> {
    match &principal.limit {
        Limit::Token { id, .. } if id.starts_with(LOGIN) => Ok(id),
        _ => Err(AuthError::Wrong),
    }
}
