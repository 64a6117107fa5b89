//! Rules for publishing: made, listed and ended.

use super::issuers::HostError;
use super::keys::{KeySet, KeysError};
use crate::access::{Audience, ClaimRules, Issuer, NamespacePath, PublisherName, Role};
use crate::auth::admin::AdminError;
use crate::auth::service::Auth;
use crate::metadata::MetadataError;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::publishers::{NewPublisher, PublisherAdded, PublisherRecord};
use crate::metadata::publishers::PUBLISHERS_MAX;

/// Longest JWK set of a rule in bytes.
const JWKS_BYTES_MAX: usize = 16 << 10;

/// Issuers that sign for everybody, for whatever audience a job asks, with the claims of which one has to say whose job it
/// is.
const FOR_EVERYBODY: [(&str, &[&str]); 2] = [
    (
        "https://token.actions.githubusercontent.com",
        &["repository", "repository_id", "repository_owner", "repository_owner_id", "sub"],
    ),
    ("https://gitlab.com", &["project_path", "project_id", "namespace_path", "namespace_id", "sub"]),
];

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct PublisherWish {
    /// What it is called in its namespace.
    pub name: PublisherName,
    /// Whose tokens it takes.
    pub issuer: Issuer,
    /// For whom they have to be; `None`: for this registry, by the name that it has in its own tokens.
    pub audience: Option<Audience>,
    /// What else they have to say.
    pub claims: ClaimRules,
    /// What they are good for; never owner.
    pub role: Role,
    /// A token is taken any number of times, and needs no `jti`.
    pub reuse: bool,
    /// The issuer's keys (a JWK set); `None`: it says itself where they are.
    pub jwks: Option<String>,
}

/// Why a rule is not made.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The role.
    #[error("a rule gives the roles read, write and admin; owners are accounts")]
    Owner,
    /// It would take the jobs of strangers.
    #[error(
        "this issuer signs for everybody: one of the claims {} has to say whose job it is, without wildcards before the first \
         slash",
        .0.join(", ")
    )]
    Stranger(&'static [&'static str]),
    /// The issuer cannot be asked for its keys.
    #[error("{0}; give the keys themselves if it cannot be asked")]
    Issuer(#[from] HostError),
    /// The keys.
    #[error("the keys: {0}")]
    Keys(#[from] KeysError),
    /// They are too long.
    #[error("the keys have more than {JWKS_BYTES_MAX} bytes")]
    KeysLong,
    /// This registry's own name is no audience.
    #[error("name the audience")]
    Audience,
    /// No such namespace.
    #[error("there is no namespace `{0}`")]
    NamespaceUnknown(NamespacePath),
    /// The name.
    #[error("the namespace has a rule `{0}` already")]
    NameTaken(PublisherName),
    /// Their number.
    #[error("a namespace has {PUBLISHERS_MAX} rules at most")]
    Full,
    /// The database.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

impl Auth {
    /// Makes a rule of a namespace.
    ///
    /// # Errors
    /// What is wrong with it, or [`PublisherError::NamespaceUnknown`].
    pub async fn add_publisher(
        &self,
        namespace: &NamespacePath,
        wish: PublisherWish,
        by: &Actor,
    ) -> Result<(), PublisherError> {
        if wish.role > Role::Admin {
            return Err(PublisherError::Owner);
        }
        let everybody = FOR_EVERYBODY.iter().find(|(issuer, _)| *issuer == wish.issuer.as_str());
        if let Some((_, owners)) = everybody.filter(|(_, owners)| !wish.claims.tells_owner(owners)) {
            return Err(PublisherError::Stranger(owners));
        }
        match &wish.jwks {
            None => self.options.issuers.check(wish.issuer.as_str())?,
            Some(jwks) if jwks.len() > JWKS_BYTES_MAX => return Err(PublisherError::KeysLong),
            Some(jwks) => drop(KeySet::parse_given(jwks)?),
        }
        let audience =
            wish.audience.map_or_else(|| self.service().parse().map_err(|_| PublisherError::Audience), Ok)?;
        let PublisherWish { name, issuer, claims, role, reuse, jwks, audience: _ } = wish;
        let (namespace, now) = (namespace.clone(), self.clock.now());
        let new = NewPublisher { namespace, name, issuer, audience, claims, role, reuse, jwks, now };
        match self.store.publisher_add(&new, by).await? {
            PublisherAdded::Added => self.seen(()).await,
            PublisherAdded::NamespaceUnknown => Err(PublisherError::NamespaceUnknown(new.namespace)),
            PublisherAdded::NameTaken => Err(PublisherError::NameTaken(new.name)),
            PublisherAdded::Full => Err(PublisherError::Full),
        }
    }

    /// The rules of a namespace. `None`: there is no such namespace.
    ///
    /// # Errors
    /// [`PublisherError::Store`].
    pub async fn publishers(&self, namespace: &NamespacePath) -> Result<Option<Vec<PublisherRecord>>, PublisherError> {
        Ok(self.store.publisher_list(namespace).await?)
    }

    /// Ends a rule, and within a second on every node the tokens that came of it. `false`: there is none.
    ///
    /// # Errors
    /// [`PublisherError::Store`].
    pub async fn end_publisher(
        &self,
        namespace: &NamespacePath,
        name: &PublisherName,
        by: &Actor,
    ) -> Result<bool, PublisherError> {
        let ended = self.store.publisher_delete(namespace, name, self.clock.now(), by).await?;
        self.seen(ended).await
    }

    async fn seen<T>(&self, value: T) -> Result<T, PublisherError> {
        self.changed(value).await.map_err(|error| match error {
            AdminError::Store(error) => PublisherError::Store(error),
            other => PublisherError::Store(MetadataError::Unavailable(other.to_string())),
        })
    }
}
