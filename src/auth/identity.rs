//! Somebody, and the answer to what he may do.

use std::sync::Arc;

use crate::access::{Action, Actions, Role, Scopes, TokenScopes, UserName};
use crate::auth::logins::LOGIN;
use crate::auth::trust::Publisher;
use crate::clock::Timestamp;
use crate::metadata::model::accounts::{Maker, MakerRight, PrincipalRecord, RepositoryRights, UserId};
use crate::oci::name::RepoName;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Identity {
    /// There are no accounts, so nobody is told from anybody else, and everybody may do everything.
    Everybody,
    /// Somebody who sent no credentials.
    Unidentified,
    /// Nobody in particular, with a token that says so, and what it grants.
    Anonymous(Arc<Scopes>),
    /// An account.
    Principal(Arc<Principal>),
    /// A job elsewhere, by the rules of namespaces.
    Publisher(Arc<Publisher>),
}

/// An account that acts, and by what.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its number.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// May do everything.
    pub admin: bool,
    /// Moves with each other password and each disabling: what comes of the account now is worth nothing later.
    pub epoch: i64,
    /// What the credential takes away from that.
    pub limit: Limit,
}

/// What a credential limits its owner to.
#[derive(Clone, Debug)]
pub enum Limit {
    /// Nothing: a password.
    None,
    /// Nothing: a certificate.
    Certificate {
        /// When it ends.
        until: Timestamp,
    },
    /// The scopes of an API token.
    Token {
        /// Its public number.
        id: String,
        /// Where it may be used for what.
        scopes: TokenScopes,
        /// When it ends.
        until: Option<Timestamp>,
    },
    /// The access that the token service wrote into a token.
    Access {
        /// Where it may be used for what.
        scopes: Scopes,
        /// The API token by which it was asked for.
        token: Option<String>,
        /// The scopes of that.
        within: TokenScopes,
        /// When it ends itself.
        until: Timestamp,
    },
}

impl Limit {
    /// What it leaves of all actions in a repository.
    pub fn actions(&self, repo: &RepoName) -> Actions {
        match self {
            Self::None | Self::Certificate { .. } => Actions::ALL,
            Self::Token { scopes, .. } => scopes.actions(repo),
            Self::Access { scopes, .. } => scopes.actions(repo),
        }
    }
}

impl Principal {
    /// Whether its credential takes anything away from what it may.
    pub fn is_limited(&self) -> bool {
        match &self.limit {
            Limit::None | Limit::Certificate { .. } => false,
            Limit::Token { scopes, .. } => !scopes.is_unlimited(),
            Limit::Access { .. } => true,
        }
    }

    /// The public number of the API token by which it acts.
    pub fn token_id(&self) -> Option<&str> {
        match &self.limit {
            Limit::None | Limit::Certificate { .. } => None,
            Limit::Token { id, .. } => Some(id),
            Limit::Access { token, .. } => token.as_deref(),
        }
    }

    /// It as the maker of a token. What is made ends when its credential does; but whoever logged in by a password may make
    /// tokens that outlast the login.
    pub fn maker(&self, right: MakerRight) -> Maker {
        let until = match &self.limit {
            Limit::Token { id, .. } if id.starts_with(LOGIN) => None,
            _ => self.until(),
        };
        Maker { id: self.id, epoch: self.epoch, token: self.token_id().map(str::to_owned), until, right }
    }

    /// When the credential by which it acts ends, and with it all that comes of it; `None`: not by itself.
    pub fn until(&self) -> Option<Timestamp> {
        match &self.limit {
            Limit::None => None,
            Limit::Token { until, .. } => *until,
            Limit::Certificate { until } | Limit::Access { until, .. } => Some(*until),
        }
    }
}

impl From<PrincipalRecord> for Principal {
    fn from(record: PrincipalRecord) -> Self {
        let limit = record.token.map_or(Limit::None, |token| Limit::Token {
            id: token.id,
            scopes: token.scopes,
            until: token.expires_at,
        });
        Self { id: record.id, name: record.name, admin: record.admin, epoch: record.epoch, limit }
    }
}

impl Identity {
    /// The account, if it is one.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Everybody | Self::Unidentified | Self::Anonymous(_) | Self::Publisher(_) => None,
        }
    }

    /// How it is called in records; `None`: it is nobody in particular.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Everybody | Self::Unidentified | Self::Anonymous(_) => None,
            Self::Principal(principal) => Some(principal.name.to_string()),
            Self::Publisher(publisher) => Some(publisher.shown()),
        }
    }

    /// To whom its upload sessions belong.
    pub fn holder(&self) -> Option<String> {
        match self {
            Self::Everybody | Self::Unidentified | Self::Anonymous(_) => None,
            Self::Principal(principal) => Some(principal.id.0.to_string()),
            Self::Publisher(publisher) => Some(publisher.holder()),
        }
    }

    /// Whether others' credentials may help it: it has shown none of its own.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::Unidentified | Self::Anonymous(_))
    }

    /// What its credential grants in a repository, whatever it may do there.
    pub(super) fn limit(&self, repo: &RepoName) -> Actions {
        match self {
            Self::Everybody | Self::Unidentified => Actions::ALL,
            Self::Anonymous(scopes) => scopes.actions(repo),
            Self::Principal(principal) => principal.limit.actions(repo),
            Self::Publisher(publisher) => publisher.limit(repo),
        }
    }

    /// The same where these are the rights. What everybody may pull, an API token may pull whatever its scopes say.
    pub(super) fn granted(&self, repo: &RepoName, rights: &RepositoryRights) -> Actions {
        let by_token = self.principal().is_some_and(|principal| matches!(principal.limit, Limit::Token { .. }));
        let open = rights.public || rights.namespace_public;
        let public = if by_token && open { Actions::of([Action::Pull]) } else { Actions::NONE };
        self.limit(repo).union(public)
    }

    /// Whether its credential lets it read the list of all repositories. A token of the token service has to say so.
    pub fn has_catalog(&self) -> bool {
        match self {
            Self::Everybody | Self::Unidentified => true,
            Self::Anonymous(scopes) => scopes.has_catalog(),
            Self::Principal(principal) => match &principal.limit {
                Limit::None | Limit::Certificate { .. } | Limit::Token { .. } => true,
                Limit::Access { scopes, .. } => scopes.has_catalog(),
            },
            Self::Publisher(publisher) => publisher.limit.as_ref().is_none_or(Scopes::has_catalog),
        }
    }

    /// Whether it may do everything, with a credential that takes nothing away; everybody, where there are no accounts.
    pub fn is_administrator(&self) -> bool {
        match self {
            Self::Everybody => true,
            Self::Principal(principal) => principal.admin && !principal.is_limited(),
            Self::Unidentified | Self::Anonymous(_) | Self::Publisher(_) => false,
        }
    }

    /// What the API token by which it acts, or acted when it asked for access, leaves of all actions in a repository. The
    /// access itself does not count.
    pub fn token_actions(&self, repo: &RepoName) -> Actions {
        match self.principal().map(|principal| &principal.limit) {
            Some(Limit::Token { scopes, .. } | Limit::Access { within: scopes, .. }) => scopes.actions(repo),
            Some(Limit::None | Limit::Certificate { .. }) | None => Actions::ALL,
        }
    }

    /// What it may do where these are the rights, whatever its credential says.
    pub(super) fn actions(&self, rights: &RepositoryRights) -> Actions {
        let role = match self {
            Self::Everybody => return Actions::ALL,
            Self::Principal(principal) if principal.admin => return Actions::ALL,
            Self::Principal(_) => rights.role,
            Self::Publisher(publisher) => rights.namespace.as_ref().and_then(|namespace| publisher.role_in(namespace)),
            Self::Unidentified | Self::Anonymous(_) => None,
        };
        let public = if rights.public { Actions::of([Action::Pull]) } else { Actions::NONE };
        role.map_or(Actions::NONE, Role::actions).union(public)
    }

    /// Its number, if it is an account.
    pub fn id(&self) -> Option<UserId> {
        self.principal().map(|principal| principal.id)
    }
}

/// Whether something may be done, and what to say if not.
///
/// Nothing here depends on whether a repository that somebody may not pull from is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// Not without credentials, or not with these: others may help.
    Unauthenticated,
    /// The credential does not say so, but its owner may: another one of his would help.
    OutOfScope,
    /// Not by this account, for which the repository is not there.
    Missing,
    /// Not by this account.
    Denied,
}
