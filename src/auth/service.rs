//! Identities from credentials, and verdicts about identities.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::access::{Action, Actions, ClientLimits, NamespacePath, Role, UserName};
use crate::audit::{Audit, Proof};
use crate::auth::attempts::Attempts;
use crate::auth::certificate::{ClientCertificate, Holder};
use crate::auth::identity::{Identity, Limit, Principal, Verdict};
use crate::auth::keys::{KeyError, Keys};
use crate::auth::password::{Judged, KeptPassword};
use crate::auth::quotas::Quotas;
use crate::auth::rates::RateGuard;
use crate::auth::remembered::Remembered;
use crate::auth::seal::Secret;
use crate::auth::secret::{ApiToken, PREFIX};
use crate::auth::tokens::{has_expired, is_jwt};
use crate::auth::trust::Issuers;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::metadata::MetadataError;
use crate::metadata::accounts::AccountStore;
use crate::metadata::limits::SharedBuckets;
use crate::metadata::model::accounts::{AccessState, Actor, PrincipalRecord, RepositoryRights, UserId, UserRecord};
use crate::oci::name::RepoName;

/// Repositories of accounts whose rights are remembered.
const RIGHTS_MAX: usize = 50_000;

/// Credentials that are remembered.
const CREDENTIALS_MAX: usize = 10_000;

/// How long a password that was right is not hashed again.
const PASSWORD_REMEMBERED: Duration = Duration::from_mins(5);

/// How often it is written down that a token was used.
const USED_GRAIN: Duration = Duration::from_mins(1);

/// Most tokens of which that is kept in mind.
const USED_MAX: usize = 10_000;

/// Tokens written down in one transaction.
const USED_BATCH: usize = 500;

/// Password hashes at once: each takes a processor and 19 MiB.
const HASHES_MAX: usize = 2;

/// Logins that may wait for their turn to be hashed.
const LOGINS_WAITING_MAX: usize = 32;

/// Why somebody could not be told.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nobody has these credentials. It is not said why: neither whether there is such an account.
    #[error("the user name or password or token is wrong, or has expired")]
    Wrong,
    /// The header is none of those that are understood.
    #[error("the Authorization header is neither Basic nor Bearer nor a token")]
    Malformed,
    /// Too many passwords are being checked.
    #[error("too many logins at once; try again")]
    Busy,
    /// Too many logins have failed. The same is said whether there is such an account.
    #[error("too many logins have failed; wait before you try again")]
    TooManyFailures {
        /// How long.
        wait: Duration,
    },
    /// Too many requests have come from this account or address.
    #[error("too many requests; wait before you send more")]
    TooManyRequests {
        /// How long.
        wait: Duration,
    },
    /// There is no secret under which signing keys could be kept.
    #[error("there is no `auth.secret_file`, so no tokens can be made")]
    NoSecret,
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// Says from where credentials come, and is asked only where that is counted or written down.
pub(crate) type Sender<'a> = &'a (dyn Fn() -> Actor + Send + Sync);

/// Shorthand for this layer's results.
pub(super) type Result<T> = std::result::Result<T, AuthError>;

/// Rules that an operator may set.
#[derive(Debug)]
pub struct AuthOptions {
    /// What the token service calls this registry: `service` of the challenge, `iss` and `aud` of its tokens.
    pub service: String,
    /// What seals the signing keys; `None`: there are no accounts to make tokens for.
    pub secret: Option<Secret>,
    /// Everybody may do everything, whatever accounts there are.
    pub open: bool,
    /// How many requests and logins somebody may send.
    pub limits: ClientLimits,
    /// Where nodes share what they let through, if not in the database.
    pub buckets: Option<Arc<dyn SharedBuckets>>,
    /// Whose tokens rules may be about, without their keys.
    pub issuers: Issuers,
}

/// Whether what stands in the place of a password is one, and no token.
fn is_password(text: &SecretString) -> bool {
    ApiToken::parse(text.expose_secret()).is_none() && !is_jwt(text.expose_secret())
}

/// When something was done last.
#[derive(Debug)]
pub(super) struct Pause(AtomicI64);

impl Default for Pause {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Pause {
    /// Whether it was done so long ago; if so, it counts as done now.
    pub(super) fn is_due(&self, now: Timestamp, pause: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let due = now.as_micros() < last || now.before(pause).as_micros() >= last;
        if due {
            self.0.store(now.as_micros(), Ordering::Relaxed);
        }
        due
    }
}

/// What a client sent to say who it is.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nothing, or empty ones.
    None,
    /// A name and a password; the password may be a token.
    Basic {
        /// The name.
        user: String,
        /// The password, or a token.
        password: SecretString,
    },
    /// A token.
    Token(SecretString),
    /// What the token service gave for an `offline_token`, or an API token in its place.
    Refresh(SecretString),
    /// No words, but a certificate.
    Certificate(Arc<ClientCertificate>),
}

/// Tells and judges identities.
pub struct Auth {
    pub(super) store: Arc<dyn AccountStore>,
    audit: Arc<Audit>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    version: AtomicI64,
    accounts: AtomicBool,
    rights: Remembered<(Option<UserId>, RepoName), Arc<RepositoryRights>>,
    /// By keyed hash, so that no look into the table tells anything about a secret.
    credentials: Remembered<[u8; 32], (Arc<Principal>, Timestamp)>,
    pub(super) bearers: Remembered<[u8; 32], (Identity, Timestamp)>,
    /// By fingerprint.
    pub(super) certificates: Remembered<[u8; 32], Holder>,
    pub(super) options: AuthOptions,
    pub(super) keys: Keys,
    pub(super) keys_loaded: Pause,
    pub(super) making_key: tokio::sync::Mutex<()>,
    keyed: Hmac<Sha256>,
    pub(super) hashing: Arc<Semaphore>,
    pub(super) logins: Semaphore,
    pub(super) attempts: Attempts,
    pub(super) rates: RateGuard,
    pub(super) quotas: Quotas,
    pub(super) buckets: Arc<dyn SharedBuckets>,
    pub(super) limits_forgotten: Pause,
    used: Mutex<HashMap<String, Timestamp>>,
    used_flushed: Pause,
    pub(super) exchanged_swept: Pause,
}

impl Auth {
    /// Over a store, which it asks for the state that counts, and with the record of what happened.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(
        store: Arc<dyn AccountStore>,
        audit: Arc<Audit>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: AuthOptions,
    ) -> Result<Self> {
        let mut key = [0; 64];
        for part in key.chunks_exact_mut(16) {
            part.copy_from_slice(&entropy.bytes16());
        }
        let buckets = options.buckets.clone();
        let auth = Self {
            buckets: buckets.unwrap_or_else(|| Arc::<dyn AccountStore>::clone(&store)),
            store,
            audit,
            clock,
            entropy,
            version: AtomicI64::new(i64::MIN),
            accounts: AtomicBool::new(true),
            rights: Remembered::new(RIGHTS_MAX),
            credentials: Remembered::new(CREDENTIALS_MAX),
            bearers: Remembered::new(CREDENTIALS_MAX),
            attempts: Attempts::new(options.limits.logins),
            rates: RateGuard::new(options.limits.rates.clone(), options.limits.shared),
            quotas: Quotas::default(),
            limits_forgotten: Pause::default(),
            certificates: Remembered::new(CREDENTIALS_MAX),
            options,
            keys: Keys::default(),
            keys_loaded: Pause::default(),
            making_key: tokio::sync::Mutex::default(),
            keyed: Hmac::new(&key.into()),
            hashing: Arc::new(Semaphore::new(HASHES_MAX)),
            logins: Semaphore::new(HASHES_MAX + LOGINS_WAITING_MAX),
            used: Mutex::default(),
            used_flushed: Pause::default(),
            exchanged_swept: Pause::default(),
        };
        auth.refresh().await?;
        Ok(auth)
    }

    /// Looks whether anything has changed. To be called every second, and after each change in this process.
    pub async fn refresh(&self) -> Result<AccessState> {
        let state = self.store.access_state().await?;
        self.take_over(state);
        Ok(state)
    }

    pub(super) fn take_over(&self, state: AccessState) {
        self.accounts.store(state.accounts, Ordering::Release);
        self.version.store(state.version, Ordering::Release);
    }

    /// Whether accounts count: there is any, and the registry is not open all the same. Without one, everybody may do everything.
    pub fn has_accounts(&self) -> bool {
        self.accounts.load(Ordering::Acquire) && !self.options.open
    }

    /// Whether tokens can be made.
    pub fn has_secret(&self) -> bool {
        self.options.secret.is_some()
    }

    /// What the token service calls this registry.
    pub fn service(&self) -> &str {
        &self.options.service
    }

    /// The present moment, as everything here is judged by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn version(&self) -> i64 {
        self.version.load(Ordering::Acquire)
    }

    /// The record of what happened.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// Who has these credentials; `by` says from where they come.
    ///
    /// # Errors
    /// [`AuthError::Wrong`], [`AuthError::Busy`], [`AuthError::TooManyFailures`], [`AuthError::Store`].
    pub async fn identify(&self, credentials: &Credentials, by: Sender<'_>) -> Result<Identity> {
        self.identify_once(credentials, false, by).await
    }

    /// The same; `late`: also by a token that has ended by itself, for a request that goes on with an upload.
    pub(super) async fn identify_once(
        &self,
        credentials: &Credentials,
        late: bool,
        by: Sender<'_>,
    ) -> Result<Identity> {
        if !self.has_accounts() {
            return Ok(Identity::Everybody);
        }
        let token = match credentials {
            Credentials::None => return Ok(Identity::Unidentified),
            Credentials::Certificate(certificate) => return self.by_certificate(certificate, by).await,
            Credentials::Basic { user, password } if is_password(password) => {
                return self.by_password(user, password, by).await.map(Identity::Principal);
            }
            Credentials::Basic { password: token, .. } | Credentials::Token(token) | Credentials::Refresh(token) => {
                token.expose_secret()
            }
        };
        let found = match credentials {
            _ if token.starts_with(PREFIX) => {
                let renews = matches!(credentials, Credentials::Refresh(_));
                self.by_token(token, renews, by).await.map(Identity::Principal)
            }
            Credentials::Refresh(_) => Err(AuthError::Wrong),
            Credentials::Basic { .. } => self.by_exchanged(token).await,
            _ => self.by_jwt(token).await,
        };
        let found = match found {
            Err(AuthError::Wrong) if late => self.identify_late(credentials).await,
            found => found,
        };
        // Tokens of the token service expire every few minutes, and clients come with them once more.
        if matches!(found, Err(AuthError::Wrong)) && !has_expired(token, self.clock.now()) {
            self.audit.login_refused(None, &by());
        }
        found
    }

    /// Who has an API token; or, where that `renews` something, a refresh token, which is good for nothing else.
    async fn by_token(&self, text: &str, renews: bool, by: Sender<'_>) -> Result<Arc<Principal>> {
        let (version, now) = (self.version(), self.clock.now());
        let key = self.keyed_hash(&["token", text]);
        if let Some((principal, until)) = self.credentials.get(&key, version)
            && now < until
        {
            self.note_use(&principal, now);
            return Ok(principal);
        }
        let token = ApiToken::parse(text).ok_or(AuthError::Wrong)?;
        let found = self.store.token_find(token.hash().as_bytes(), now).await?.ok_or(AuthError::Wrong)?;
        let expires_at = found.token.as_ref().and_then(|token| token.expires_at);
        let is_refresh = found.token.as_ref().is_some_and(|token| token.login);
        if is_refresh && !renews {
            return Err(AuthError::Wrong);
        }
        let principal = Arc::new(Principal::from(found));
        if !is_refresh {
            let until = expires_at.unwrap_or(Timestamp::from_micros(i64::MAX));
            self.credentials.put(key, version, (Arc::clone(&principal), until));
        }
        self.note_use(&principal, now);
        if let Some(id) = principal.token_id() {
            self.audit.logged_in_by(Proof::Token, principal.name.as_str(), id, by).await;
        }
        Ok(principal)
    }

    /// Who has an API token that may have ended by itself, but that nobody ended. It is known for a week at least.
    pub(super) async fn by_ended_token(&self, text: &str) -> Result<Identity> {
        let token = ApiToken::parse(text).ok_or(AuthError::Wrong)?;
        let found = self.store.token_find(token.hash().as_bytes(), Timestamp::from_micros(0)).await?;
        let is_refresh = |found: &PrincipalRecord| found.token.as_ref().is_some_and(|token| token.login);
        let found = found.filter(|found| !is_refresh(found)).ok_or(AuthError::Wrong)?;
        Ok(Identity::Principal(Arc::new(Principal::from(found))))
    }

    /// Takes note that a token was used; at most once a minute for each.
    fn note_use(&self, principal: &Principal, now: Timestamp) {
        let Some(id) = principal.token_id() else { return };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < USED_MAX || used.contains_key(id) {
            used.insert(id.to_owned(), now);
        }
    }

    /// Writes down, once a minute, which tokens were used. What cannot be written is lost: it is a hint for their owners.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn flush_used(&self) -> Result<()> {
        if !self.used_flushed.is_due(self.clock.now(), USED_GRAIN) {
            return Ok(());
        }
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut used: Vec<(String, Timestamp)> = used.into_iter().collect();
        // Nodes that write down the same tokens do so in the same order.
        used.sort_unstable();
        for used in used.chunks(USED_BATCH) {
            self.store.token_used(used).await?;
        }
        Ok(())
    }

    async fn by_password(&self, user: &str, password: &SecretString, by: Sender<'_>) -> Result<Arc<Principal>> {
        let key = self.password_key(user, password);
        if let Some(principal) = self.remembered(&key) {
            return Ok(principal);
        }
        let _turn = self.turn(key).await?;
        // Whoever had the turn before may have shown the same password.
        if let Some(principal) = self.remembered(&key) {
            return Ok(principal);
        }
        let (version, by) = (self.version(), by());
        let principal = Arc::new(self.try_password(user, password, &by).await?);
        self.audit.logged_in(principal.name.as_str(), by).await?;
        let until = self.clock.now().after(PASSWORD_REMEMBERED);
        self.credentials.put(key, version, (Arc::clone(&principal), until));
        Ok(principal)
    }

    fn password_key(&self, user: &str, password: &SecretString) -> [u8; 32] {
        self.keyed_hash(&["password", user, password.expose_secret()])
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Arc<Principal>> {
        let found = self.credentials.get(key, self.version());
        found.filter(|(_, until)| self.clock.now() < *until).map(|(principal, _)| principal)
    }

    /// Whether a password is that of an account.
    ///
    /// # Errors
    /// [`AuthError::Wrong`] when it is not; [`AuthError::TooManyFailures`].
    pub async fn check_password(&self, user: &str, password: &SecretString, by: &Actor) -> Result<()> {
        self.log_in(user, password, by).await.map(drop)
    }

    /// The account with a name and a password, which is hashed in any case.
    pub(super) async fn log_in(&self, user: &str, password: &SecretString, by: &Actor) -> Result<Principal> {
        let _turn = self.turn(self.password_key(user, password)).await?;
        self.try_password(user, password, by).await
    }

    /// The same for one whose turn it is. It is counted as a failure until it is known to be none.
    async fn try_password(&self, user: &str, password: &SecretString, by: &Actor) -> Result<Principal> {
        let _waiting = self.logins.try_acquire().map_err(|_| AuthError::Busy)?;
        let counted = self.begin_attempt(user, by.address.into()).await.inspect_err(|error| {
            // Whether there is such an account is not looked up for what is not tried.
            if matches!(error, AuthError::TooManyFailures { .. }) {
                self.audit.login_refused(None, by);
            }
        })?;
        let found = self.hash_password(user, password, by).await;
        match &found {
            Ok(_) => self.end_attempt(&counted).await?,
            Err(AuthError::Wrong) => {}
            Err(_) => self.drop_attempt(&counted).await?,
        }
        found
    }

    /// The account with a name and a password. It takes as long for a name that nobody has.
    async fn hash_password(&self, user: &str, password: &SecretString, by: &Actor) -> Result<Principal> {
        let name = user.parse::<UserName>().ok();
        let found = match &name {
            Some(name) => self.store.user_find(name).await?,
            None => None,
        };
        let kept = found.as_ref().and_then(|user| KeptPassword::parse(user.password.as_deref()?).ok());
        let known = kept.is_some();
        let judged = self.judge(kept.unwrap_or_else(KeptPassword::of_nobody), password.clone()).await?;
        let right = |user: &UserRecord| known && user.disabled_at.is_none() && judged != Judged::Wrong;
        let Some(user) = found.as_ref().filter(|user| right(user)).cloned() else {
            // A name that no account has may be a password in the wrong field.
            self.audit.login_refused(found.map(|user| user.name.to_string()).as_deref(), by);
            return Err(AuthError::Wrong);
        };
        if let (Judged::Outdated(new), Some(old)) = (&judged, &user.password) {
            self.store.user_rehashed(user.id, old, new.as_str()).await?;
        }
        Ok(Principal { id: user.id, name: user.name, admin: user.admin, epoch: user.epoch, limit: Limit::None })
    }

    /// Hashes on a thread of its own, two at once.
    async fn judge(&self, kept: KeptPassword, password: SecretString) -> Result<Judged> {
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| AuthError::Busy)?;
        let salt = self.entropy.bytes16();
        // The turn ends with the hash and not with the request: a client that goes away ends no thread.
        let judge = move || {
            let _turn = turn;
            kept.judge(&password, salt)
        };
        tokio::task::spawn_blocking(judge).await.map_err(|_| AuthError::Busy)
    }

    pub(super) fn keyed_hash(&self, parts: &[&str]) -> [u8; 32] {
        let mut keyed = self.keyed.clone();
        for part in parts {
            keyed.update(&(part.len() as u64).to_be_bytes());
            keyed.update(part.as_bytes());
        }
        keyed.finalize().into_bytes().into()
    }

    /// Whether somebody may do something in a repository, whether or not it is there.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn judge_action(&self, identity: &Identity, repo: &RepoName, action: Action) -> Result<Verdict> {
        if matches!(identity, Identity::Everybody) {
            return Ok(Verdict::Allowed);
        }
        if matches!(identity, Identity::Unidentified) {
            return Ok(Verdict::Unauthenticated);
        }
        let rights = self.rights(identity.id(), repo).await?;
        let may = identity.actions(&rights).contains(action);
        // In a public namespace everybody may pull from what is not there, and so be told that it is not.
        let nowhere = !may && action == Action::Pull && rights.namespace_public;
        Ok(match (may || nowhere, identity.granted(repo, &rights).contains(action)) {
            (true, true) if nowhere => Verdict::Missing,
            (true, true) => Verdict::Allowed,
            (true, false) => Verdict::OutOfScope,
            (false, _) if identity.is_nobody() => Verdict::Unauthenticated,
            (false, _) if action == Action::Pull => Verdict::Missing,
            (false, _) => Verdict::Denied,
        })
    }

    /// What somebody may do in a repository, whatever his credential says.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn actions(&self, identity: &Identity, repo: &RepoName) -> Result<Actions> {
        if matches!(identity, Identity::Everybody) {
            return Ok(Actions::ALL);
        }
        let rights = self.rights(identity.id(), repo).await?;
        Ok(identity.actions(&rights))
    }

    /// The role of an account in a namespace, as a member of it or of a longer path's.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn role_in(&self, user: UserId, path: &NamespacePath) -> Result<Option<Role>> {
        let rights = self.store.rights(path.as_repository(), Some(user)).await?;
        Ok(rights.role.filter(|_| rights.namespace.as_ref() == Some(path)))
    }

    /// The role of an account where a repository is.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub async fn role_at(&self, user: UserId, repo: &RepoName) -> Result<Option<Role>> {
        self.rights(Some(user), repo).await.map(|rights| rights.role)
    }

    /// One statement for everybody and every repository, so that its time tells nothing.
    pub(super) async fn rights(&self, user: Option<UserId>, repo: &RepoName) -> Result<Arc<RepositoryRights>> {
        let (version, key) = (self.version(), (user, repo.clone()));
        if let Some(rights) = self.rights.get(&key, version) {
            return Ok(rights);
        }
        let rights = Arc::new(self.store.rights(repo, user).await?);
        self.rights.put(key, version, Arc::clone(&rights));
        Ok(rights)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("accounts", &self.has_accounts()).finish_non_exhaustive()
    }
}
