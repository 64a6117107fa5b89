//! What changes accounts, for the command line and for the interface alike.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::access::{Email, NamespacePath, Role, TokenScopes, UserName};
use crate::auth::identity::{Limit, Principal};
use crate::auth::password::{KeptPassword, NewPassword, WeakPassword};
use crate::auth::secret::ApiToken;
use crate::auth::service::Auth;
use crate::metadata::MetadataError;
use crate::metadata::accounts::AccountStore;
use crate::metadata::model::accounts::{
    Actor, Changed, Maker, MakerRight, NewToken, NewUser, TokenAdded, UserAdded, UserChange, UserId,
};

/// Longest life of a token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_hours(24 * 366 * 10);

/// Longest name of a token in characters.
const TOKEN_NAME_CHARS_MAX: usize = 100;

/// Why an account is not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The password.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// The name.
    #[error("there is an account `{0}` already")]
    NameTaken(UserName),
    /// The address.
    #[error("another account has this mail address")]
    EmailTaken,
    /// No such account.
    #[error("there is no account `{0}`")]
    UserUnknown(UserName),
    /// No such namespace.
    #[error("there is no namespace `{0}`")]
    NamespaceUnknown(NamespacePath),
    /// The last one.
    #[error("`{0}` is the last account that may do everything; make another one first")]
    LastAdmin(UserName),
    /// A person's thing for a robot.
    #[error("`{0}` is a robot: it has no password, and may do what its roles say")]
    Robot(UserName),
    /// Who makes a token may not any more.
    #[error("what proved who you are has ended, or you may not do this any more; log in again")]
    MakerEnded,
    /// The name of a token.
    #[error("the name of a token has {TOKEN_NAME_CHARS_MAX} printable characters at most")]
    TokenName,
    /// The life of a token.
    #[error("a token lives for a second at least and for ten years at most")]
    TokenLife,
    /// Too many passwords are being hashed.
    #[error("too many logins at once; try again")]
    Busy,
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
    /// The database.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

/// A password that is new to this registry.
#[derive(Debug)]
pub enum Given {
    /// As somebody types it.
    Plain(SecretString),
    /// As another registry kept it.
    Kept(KeptPassword),
}

/// A token to be made.
#[derive(Debug)]
pub struct TokenWish {
    /// What its owner calls it.
    pub name: String,
    /// What it is limited to.
    pub scopes: TokenScopes,
    /// How long it lives; `None`: until it is ended.
    pub life: Option<Duration>,
}

impl Auth {
    /// The accounts themselves.
    pub fn accounts(&self) -> &dyn AccountStore {
        self.store.as_ref()
    }

    /// Makes an account of a person.
    ///
    /// # Errors
    /// What is wrong with the password, or who has the name or the address already.
    pub async fn add_user(
        &self,
        name: &UserName,
        email: Option<Email>,
        password: Option<Given>,
        admin: bool,
        by: &Actor,
    ) -> Result<UserId, AdminError> {
        let password = match password {
            None => None,
            Some(given) => Some(self.keep(name, email.as_ref(), given).await?),
        };
        let (name, now) = (name.clone(), self.clock.now());
        self.add(NewUser { name, email, password, admin, robot_of: None, now }, by).await
    }

    /// Makes a machine's account in a namespace. It has no password, only tokens.
    ///
    /// # Errors
    /// [`AdminError::NameTaken`], [`AdminError::NamespaceUnknown`].
    pub async fn add_robot(
        &self,
        name: &UserName,
        namespace: &NamespacePath,
        role: Role,
        by: &Actor,
    ) -> Result<UserId, AdminError> {
        let robot_of = Some((namespace.clone(), role));
        let (name, now) = (name.clone(), self.clock.now());
        self.add(NewUser { name, email: None, password: None, admin: false, robot_of, now }, by).await
    }

    async fn add(&self, new: NewUser, by: &Actor) -> Result<UserId, AdminError> {
        match self.store.user_add(&new, by).await? {
            UserAdded::Added(id) => self.changed(id).await,
            UserAdded::NameTaken => Err(AdminError::NameTaken(new.name)),
            UserAdded::EmailTaken => Err(AdminError::EmailTaken),
            UserAdded::Robot => Err(AdminError::Robot(new.name)),
            UserAdded::NamespaceUnknown => match new.robot_of {
                Some((namespace, _)) => Err(AdminError::NamespaceUnknown(namespace)),
                None => Err(AdminError::UserUnknown(new.name)),
            },
        }
    }

    /// Gives an account another password. Every login by the old one ends.
    ///
    /// # Errors
    /// What is wrong with the password, [`AdminError::UserUnknown`], [`AdminError::Robot`] or [`AdminError::Busy`].
    pub async fn set_password(&self, name: &UserName, given: Given, by: &Actor) -> Result<(), AdminError> {
        let user = self.store.user_find(name).await?.ok_or_else(|| AdminError::UserUnknown(name.clone()))?;
        if user.robot_of.is_some() {
            return Err(AdminError::Robot(name.clone()));
        }
        let kept = self.keep(name, user.email.as_ref(), given).await?;
        self.change_user(name, &UserChange::Password(Some(kept)), by).await
    }

    /// Changes an account.
    ///
    /// # Errors
    /// [`AdminError::UserUnknown`], [`AdminError::LastAdmin`], [`AdminError::Robot`].
    pub async fn change_user(&self, name: &UserName, change: &UserChange, by: &Actor) -> Result<(), AdminError> {
        let changed = self.store.user_change(name, change, self.clock.now(), by).await?;
        self.ended(name, changed).await
    }

    /// Ends an account.
    ///
    /// # Errors
    /// [`AdminError::UserUnknown`], [`AdminError::LastAdmin`].
    pub async fn delete_user(&self, name: &UserName, by: &Actor) -> Result<(), AdminError> {
        let changed = self.store.user_delete(name, self.clock.now(), by).await?;
        self.ended(name, changed).await
    }

    async fn ended(&self, name: &UserName, changed: Changed) -> Result<(), AdminError> {
        match changed {
            Changed::Done => self.changed(()).await,
            Changed::Unknown => Err(AdminError::UserUnknown(name.clone())),
            Changed::Last => Err(AdminError::LastAdmin(name.clone())),
            Changed::Robot => Err(AdminError::Robot(name.clone())),
        }
    }

    /// Makes a token of an account. It is shown only here. It ends with the API token by which it is made, and when the
    /// credential ends by which it is made; `maker`: whose that is, `None` for the operator.
    ///
    /// # Errors
    /// [`AdminError::UserUnknown`], [`AdminError::MakerEnded`], [`AdminError::TokenName`], [`AdminError::TokenLife`].
    pub async fn add_token(
        &self,
        user: &UserName,
        wish: TokenWish,
        maker: Option<Maker>,
        by: &Actor,
    ) -> Result<(String, ApiToken), AdminError> {
        let TokenWish { name, scopes, life } = wish;
        if name.chars().count() > TOKEN_NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(AdminError::TokenName);
        }
        if life.is_some_and(|life| life < Duration::from_secs(1) || life > TOKEN_LIFE_MAX) {
            return Err(AdminError::TokenLife);
        }
        let token = ApiToken::new(self.entropy.as_ref());
        let (id, now) = (hex::encode(&self.entropy.bytes16()[..6]), self.clock.now());
        let until = maker.as_ref().and_then(|maker| maker.until);
        let expires_at = life.map(|life| now.after(life)).into_iter().chain(until).min();
        let hash = *token.hash().as_bytes();
        let (login, replaces) = (false, None);
        let new = NewToken { id: id.clone(), hash, name, login, scopes, expires_at, maker, replaces, now };
        match self.store.token_add(user, &new, by).await? {
            TokenAdded::Added => Ok((id, token)),
            TokenAdded::OwnerUnknown => Err(AdminError::UserUnknown(user.clone())),
            TokenAdded::MakerEnded => Err(AdminError::MakerEnded),
        }
    }

    /// Ends a token of an account, or of anybody, within a second on every node. `false`: there is none.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn end_token(&self, owner: Option<&UserName>, id: &str, by: &Actor) -> Result<bool, AdminError> {
        let ended = self.store.token_delete(owner, id, self.clock.now(), by).await?;
        self.changed(ended).await
    }

    /// Makes a token that stands for a password for `life`: a refresh token of the token service. `None` for who showed
    /// no password: what comes of a token must not live longer than it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_login(
        &self,
        principal: &Principal,
        life: Duration,
        by: &Actor,
    ) -> Result<Option<ApiToken>, MetadataError> {
        if !matches!(principal.limit, Limit::None) {
            return Ok(None);
        }
        let token = ApiToken::new(self.entropy.as_ref());
        let (id, now) = (hex::encode(&self.entropy.bytes16()[..6]), self.clock.now());
        let new = NewToken {
            id,
            hash: *token.hash().as_bytes(),
            name: "login".to_owned(),
            login: true,
            scopes: TokenScopes::default(),
            expires_at: Some(now.after(life)),
            maker: Some(principal.maker(MakerRight::Own)),
            replaces: None,
            now,
        };
        let made = self.store.token_add(&principal.name, &new, by).await?;
        Ok((made == TokenAdded::Added).then_some(token))
    }

    /// What a password is kept as. Whoever sets one waits with those who log in, and is sent away when too many do.
    async fn keep(&self, name: &UserName, email: Option<&Email>, given: Given) -> Result<String, AdminError> {
        let plain = match given {
            Given::Kept(kept) => return Ok(kept.as_str().to_owned()),
            Given::Plain(plain) => plain,
        };
        let _waiting = self.logins.try_acquire().map_err(|_| AdminError::Busy)?;
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| AdminError::Busy)?;
        let (name, email, salt) = (name.clone(), email.cloned(), self.entropy.bytes16());
        let hash = move || {
            // It ends with the hash and not with the request: a client that goes away ends no thread.
            let _turn = turn;
            let new = NewPassword::judge(plain, &name, email.as_ref().map(Email::as_str))?;
            new.hash(salt).map_err(|_| AdminError::Hash)
        };
        let kept = tokio::task::spawn_blocking(hash).await.map_err(|_| AdminError::Hash)??;
        Ok(kept.as_str().to_owned())
    }

    /// Lets a change take effect in this process at once.
    pub(super) async fn changed<T>(&self, value: T) -> Result<T, AdminError> {
        let state = self.store.access_state().await?;
        self.take_over(state);
        Ok(value)
    }
}
