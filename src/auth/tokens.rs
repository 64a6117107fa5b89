//! The token service: short-lived tokens that say what they are for (distribution, "Token Authentication Specification").
//!
//! A token names an account by its number, the API token by which it was asked for, if any, and what it grants. It is
//! signed with ES256. Whether the account may still do that is asked when a node sees the token for the first time, and
//! again whenever [`AccessState::version`](crate::metadata::model::accounts::AccessState) has moved.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::scope::AccessEntry;
use crate::access::{Action, Actions, Scopes};
use crate::auth::identity::{Identity, Limit, Principal};
use crate::auth::keys::{Key, KeyError};
use crate::auth::secret::PREFIX;
use crate::auth::service::{Auth, AuthError, Credentials, Result};
use crate::auth::trust::Publisher;
use crate::clock::Timestamp;
use crate::metadata::model::accounts::{PrincipalRecord, UserId};
use crate::oci::name::RepoName;

/// How long a token lives: at least 60 s by the specification, and long enough for an upload over a slow line to go on.
pub const TOKEN_LIFE: Duration = Duration::from_mins(5);

/// By how much the clocks of two nodes may differ.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Longest token that is looked at in bytes: one for a hundred repositories, with the longest names, is no longer.
pub const TOKEN_BYTES_MAX: usize = 48 << 10;

/// What a token says (RFC 7519, section 4.1, and `access`).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The account's name; empty: nobody's.
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    access: Vec<AccessEntry>,
    /// The account's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<i64>,
    /// What the account's [`epoch`](crate::metadata::model::accounts::UserRecord::epoch) was.
    #[serde(default, skip_serializing_if = "is_zero")]
    epoch: i64,
    /// The public number of the API token that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tok: Option<String>,
    /// The numbers of the rules by which somebody acts who has no account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<i64>,
    /// Whether it may do whatever they give, and not only what `access` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
}

/// A token that was made.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// How long it lives.
    pub life: Duration,
    /// When it was made.
    pub issued_at: Timestamp,
    /// What it says that may be done.
    pub granted: Scopes,
}

impl Auth {
    /// Makes a token with what somebody may do of what he asks for; with nothing, if need be.
    ///
    /// # Errors
    /// [`AuthError::Store`], [`AuthError::Keys`].
    pub async fn issue(&self, identity: &Identity, wanted: &Scopes) -> Result<Issued> {
        let mut granted = Scopes::default();
        for (repo, actions) in wanted.repositories() {
            granted.allow(repo.clone(), self.grantable(identity, repo).await?.intersection(actions));
        }
        if wanted.has_catalog() && identity.has_catalog() {
            granted.allow_catalog();
        }
        let (now, principal) = (self.clock.now(), identity.principal());
        let (rules, until) = match identity {
            Identity::Publisher(publisher) => (publisher.numbers(), Some(publisher.until)),
            _ => (Vec::new(), principal.and_then(|principal| principal.until())),
        };
        // It ends with the credential that it comes from, if not before.
        let life = until.map_or(TOKEN_LIFE, |until| TOKEN_LIFE.min(now.until(until)));
        let claims = Claims {
            access: granted.to_access(),
            uid: principal.map(|principal| principal.id.0),
            epoch: principal.map_or(0, |principal| principal.epoch),
            tok: principal.and_then(|principal| principal.token_id().map(str::to_owned)),
            rules,
            ..self.claims(identity.name().unwrap_or_default(), life, now)
        };
        Ok(Issued { granted, ..self.sign(&claims, life, now).await? })
    }

    /// What a token may say that somebody may do. It may pull from all that is missing in a public namespace, and so from
    /// what is hidden there.
    async fn grantable(&self, identity: &Identity, repo: &RepoName) -> Result<Actions> {
        if matches!(identity, Identity::Everybody) {
            return Ok(Actions::ALL);
        }
        let rights = self.rights(identity.id(), repo).await?;
        let hidden = if rights.namespace_public { Actions::of([Action::Pull]) } else { Actions::NONE };
        Ok(identity.actions(&rights).union(hidden).intersection(identity.granted(repo, &rights)))
    }

    /// Makes a token with all that rules give.
    pub(super) async fn issue_to(&self, publisher: &Publisher) -> Result<Issued> {
        let now = self.clock.now();
        let life = now.until(publisher.until);
        let claims = Claims { rules: publisher.numbers(), whole: true, ..self.claims(publisher.shown(), life, now) };
        self.sign(&claims, life, now).await
    }

    /// Claims that grant nothing.
    fn claims(&self, sub: String, life: Duration, now: Timestamp) -> Claims {
        let seconds = u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0);
        Claims {
            iss: self.options.service.clone(),
            sub,
            aud: self.options.service.clone(),
            exp: seconds + life.as_secs(),
            nbf: seconds,
            iat: seconds,
            jti: hex::encode(self.entropy.bytes16()),
            access: Vec::new(),
            uid: None,
            epoch: 0,
            tok: None,
            rules: Vec::new(),
            whole: false,
        }
    }

    async fn sign(&self, claims: &Claims, life: Duration, now: Timestamp) -> Result<Issued> {
        let key = self.signing_key(now).await?;
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
        let token = encode(&header, claims, &key.signs).map_err(|_| KeyError::Unfit { kid: key.kid.clone() })?;
        Ok(Issued { token, life, issued_at: now, granted: Scopes::default() })
    }

    /// The public keys of all nodes, as `/.well-known/jwks.json` gives them.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn jwks(&self) -> Result<Value> {
        let now = self.clock.now();
        if self.keys_loaded.is_due(now, KEYS_PAUSE) {
            self.load_keys(now).await?;
        }
        Ok(self.keys.public(now))
    }

    /// Reads the keys that other nodes have made, or this one before it was started again.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn read_keys(&self) -> Result<()> {
        self.load_keys(self.clock.now()).await
    }

    /// Who has a token of the token service.
    pub(super) async fn by_jwt(&self, text: &str) -> Result<Identity> {
        let (version, now) = (self.version(), self.clock.now());
        let key = self.keyed_hash(&["jwt", text]);
        if let Some((identity, until)) = self.bearers.get(&key, version)
            && now < until
        {
            return Ok(identity);
        }
        let (identity, until) = self.read_jwt(text, now).await?;
        self.bearers.put(key, version, (identity.clone(), until));
        Ok(identity)
    }

    /// Who has a token from an exchange, which may stand in the place of a password; no other token of these may.
    pub(super) async fn by_exchanged(&self, text: &str) -> Result<Identity> {
        match self.by_jwt(text).await? {
            identity @ Identity::Publisher(_) => Ok(identity),
            _ => Err(AuthError::Wrong),
        }
    }

    /// Who has a token that nobody remembers, and until when.
    async fn read_jwt(&self, text: &str, now: Timestamp) -> Result<(Identity, Timestamp)> {
        let header = decode_header(text).ok().filter(|_| text.len() <= TOKEN_BYTES_MAX).ok_or(AuthError::Wrong)?;
        if header.alg == Algorithm::HS256 {
            let (principal, until) = self.by_login(text, now).await?;
            return Ok((Identity::Principal(Arc::new(principal)), until));
        }
        let claims = self.verify(text, header, now).await?;
        let until = moment(claims.exp);
        if until <= now {
            return Err(AuthError::Wrong);
        }
        Ok((self.bearer_of(claims, now).await?, until))
    }

    /// Who has a token that has ended by itself, an API token or one of the token service, but whose account and API token
    /// nobody ended.
    ///
    /// Only for requests that go on with an upload: a layer may take longer to come than a token lives
    /// (moby/moby#33558).
    ///
    /// # Errors
    /// [`AuthError::Wrong`], [`AuthError::Store`].
    pub(super) async fn identify_late(&self, credentials: &Credentials) -> Result<Identity> {
        let text = match credentials {
            Credentials::Token(text) | Credentials::Basic { password: text, .. } => text.expose_secret(),
            _ => return Err(AuthError::Wrong),
        };
        if text.starts_with(PREFIX) {
            return self.by_ended_token(text).await;
        }
        let found = self.by_ended_jwt(text).await?;
        // As in `by_exchanged`.
        let may_be_basic = matches!(found, Identity::Publisher(_));
        if matches!(credentials, Credentials::Basic { .. }) && !may_be_basic {
            Err(AuthError::Wrong)
        } else {
            Ok(found)
        }
    }

    async fn by_ended_jwt(&self, text: &str) -> Result<Identity> {
        let now = self.clock.now();
        let header = decode_header(text).ok().filter(|_| text.len() <= TOKEN_BYTES_MAX).ok_or(AuthError::Wrong)?;
        let claims = self.verify(text, header, now).await?;
        let issued_at = moment(claims.iat);
        self.bearer_of(claims, issued_at).await
    }

    /// Who has a token that says this; its API token must not have ended by then.
    async fn bearer_of(&self, claims: Claims, then: Timestamp) -> Result<Identity> {
        let scopes = Scopes::of_access(&claims.access);
        if !claims.rules.is_empty() {
            let limit = (!claims.whole).then_some(scopes);
            return self.by_rules(&claims.rules, moment(claims.exp), limit).await;
        }
        let Some(id) = claims.uid else { return Ok(Identity::Anonymous(Arc::new(scopes))) };
        let found = self.store.principal_find(UserId(id), claims.tok.as_deref(), then).await?;
        // What came of an API token or of a login ends with that.
        let holds = |found: &PrincipalRecord| claims.tok.is_some() || claims.epoch == found.epoch;
        let found = found.filter(holds).ok_or(AuthError::Wrong)?;
        let within = found.token.as_ref().map(|token| token.scopes.clone()).unwrap_or_default();
        let limit = Limit::Access { scopes, token: claims.tok, until: moment(claims.exp), within };
        Ok(Identity::Principal(Arc::new(Principal { limit, ..Principal::from(found) })))
    }

    /// Reads a token whose signature is right. Whether it has expired is for the caller to see.
    async fn verify(&self, text: &str, header: Header, now: Timestamp) -> Result<Claims> {
        // Only one algorithm and one kind of key are ever used, whatever the header says.
        let kid = header.kid.filter(|_| header.alg == Algorithm::ES256).ok_or(AuthError::Wrong)?;
        let key = match self.keys.find(&kid, now) {
            Some(key) => key,
            None => self.look_for_key(&kid, now).await?.ok_or(AuthError::Wrong)?,
        };
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[&self.options.service]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        // By our clock, below and in the caller.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let claims = decode::<Claims>(text, &key.verifies, &validation).map_err(|_| AuthError::Wrong)?.claims;
        let latest = now.after(CLOCK_SKEW).as_micros() / 1_000_000;
        if i64::try_from(claims.nbf).unwrap_or(i64::MAX) > latest {
            return Err(AuthError::Wrong);
        }
        Ok(claims)
    }

    /// The key that signs now; made when there is none young enough.
    pub(super) async fn signing_key(&self, now: Timestamp) -> Result<Arc<Key>> {
        if let Some(key) = self.keys.signing(now) {
            return Ok(key);
        }
        // One at a time makes a key; the others find it.
        let _alone = self.making_key.lock().await;
        self.load_keys(now).await?;
        if let Some(key) = self.keys.signing(now) {
            return Ok(key);
        }
        let secret = self.options.secret.as_ref().ok_or(AuthError::NoSecret)?;
        let (_, record) = Key::make(secret, now, self.entropy.as_ref())?;
        self.store.key_add(&record).await?;
        self.load_keys(now).await?;
        self.keys.signing(now).ok_or(AuthError::NoSecret)
    }

    /// Another node may have made a key since; that is looked for once a second at most, whatever clients send.
    async fn look_for_key(&self, kid: &str, now: Timestamp) -> Result<Option<Arc<Key>>> {
        let _alone = self.making_key.lock().await;
        if let Some(key) = self.keys.find(kid, now) {
            return Ok(Some(key));
        }
        if self.keys_loaded.is_due(now, KEYS_PAUSE) {
            self.load_keys(now).await?;
        }
        Ok(self.keys.find(kid, now))
    }

    /// Without a secret there are none to be read.
    async fn load_keys(&self, now: Timestamp) -> Result<()> {
        let Some(secret) = &self.options.secret else { return Ok(()) };
        let records = self.store.key_list(now).await?;
        self.keys.replace(secret, &records);
        Ok(())
    }
}

/// Whether an account is as it was made.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(epoch: &i64) -> bool {
    *epoch == 0
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
}

/// Whether a token says of itself that it has expired. Nothing else of it is believed.
pub(super) fn has_expired(text: &str, now: Timestamp) -> bool {
    #[derive(Deserialize)]
    struct End {
        exp: u64,
    }
    let claims = text.split('.').nth(1).filter(|_| text.len() <= TOKEN_BYTES_MAX);
    let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let end = claims.and_then(|claims| serde_json::from_slice::<End>(&claims).ok());
    end.is_some_and(|end| moment(end.exp) <= now)
}

/// Whether a text is a signed token by its form, and so nobody's password.
pub(super) fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.len() <= TOKEN_BYTES_MAX && decode_header(text).is_ok()
}

/// Shortest pause between two looks for keys that nobody knows.
const KEYS_PAUSE: Duration = Duration::from_secs(1);
