//! Accounts as the store gives and takes them.

use std::net::IpAddr;

use crate::access::{Email, NamespacePath, Role, TeamName, TokenScopes, UserName};
use crate::clock::Timestamp;
use crate::metadata::model::limits::Quota;

/// Identifies an account for ever: it is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub i64);

/// Who did something, for the record of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The account, or `command line`; `None`: nobody in particular.
    pub name: Option<String>,
    /// From where.
    pub address: Option<IpAddr>,
    /// Of the request.
    pub request_id: Option<String>,
}

impl Actor {
    /// The operator at the command line.
    pub fn command_line() -> Self {
        Self { name: Some("command line".to_owned()), ..Self::default() }
    }

    /// A job of the server. No account has a name with a space in it.
    pub fn job(name: &str) -> Self {
        Self { name: Some(format!("{name} job")), ..Self::default() }
    }
}

/// What nodes compare to notice that somebody may do more or less than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessState {
    /// Moves with every change.
    pub version: i64,
    /// There is an account.
    pub accounts: bool,
}

/// An account.
#[derive(Clone, Debug)]
pub struct UserRecord {
    /// Its number.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// Its mail address.
    pub email: Option<Email>,
    /// The PHC string of its password.
    pub password: Option<String>,
    /// May do everything.
    pub admin: bool,
    /// The namespace of a robot.
    pub robot_of: Option<NamespacePath>,
    /// Disabled since then.
    pub disabled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Moves with each other password and each disabling.
    pub epoch: i64,
}

/// A robot of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotRecord {
    /// Its whole name.
    pub name: UserName,
    /// Its own role in its namespace, without those of teams.
    pub role: Option<Role>,
    /// Disabled since then.
    pub disabled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its name.
    pub name: UserName,
    /// Its mail address.
    pub email: Option<Email>,
    /// The PHC string of its password.
    pub password: Option<String>,
    /// May do everything.
    pub admin: bool,
    /// The namespace of a robot, and its role there.
    pub robot_of: Option<(NamespacePath, Role)>,
    /// Now.
    pub now: Timestamp,
}

/// What became of a new account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserAdded {
    /// It is there.
    Added(UserId),
    /// Another account has the name.
    NameTaken,
    /// Another account has the address.
    EmailTaken,
    /// There is no such namespace.
    NamespaceUnknown,
    /// A robot has no password, and may not do everything.
    Robot,
}

/// What to change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Another password (a PHC string), or none. Ends its logins, and what came of the old one.
    Password(Option<String>),
    /// Disabled, or not any more. Ends all its tokens, which do not come back.
    Disabled(bool),
    /// May do everything, or not any more.
    Admin(bool),
}

/// What became of a change or an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is done.
    Done,
    /// What was to be changed is not there.
    Unknown,
    /// It would leave nobody who may do everything.
    Last,
    /// It is nothing for a robot: it has no password, and may not do everything.
    Robot,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its public number.
    pub id: String,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// What its owner calls it.
    pub name: String,
    /// It comes from a login by password, and ends when that changes.
    pub login: bool,
    /// What it is limited to.
    pub scopes: TokenScopes,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Who makes it; `None`: the operator.
    pub maker: Option<Maker>,
    /// The number of a token of the same account that ends with this one's beginning, and must not have ended before.
    pub replaces: Option<String>,
    /// Now.
    pub now: Timestamp,
}

/// Who makes a token. All of it is looked at again in the transaction that makes the token: a node may have heard nothing yet
/// of an account that was disabled.
#[derive(Clone, Debug)]
pub struct Maker {
    /// The account, which must not be disabled.
    pub id: UserId,
    /// What [`UserRecord::epoch`] must still be, unless it acts by a token.
    pub epoch: i64,
    /// The public number of the token by which it acts, which must be there; with an API token ends what it makes.
    pub token: Option<String>,
    /// When its credential ends, and with it what it makes; `None`: not by itself.
    pub until: Option<Timestamp>,
    /// By what right.
    pub right: MakerRight,
}

/// By what right an account makes a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MakerRight {
    /// It is its own.
    Own,
    /// It may do everything.
    Everything,
    /// It has at least this role in the namespace of a robot, or may do everything.
    Role(NamespacePath, Role),
}

/// What became of a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAdded {
    /// It is there.
    Added,
    /// There is no such account, it is disabled, or the token that this one replaces has ended.
    OwnerUnknown,
    /// What proved who makes it has ended, or he may not any more.
    MakerEnded,
}

/// A token, as its owner may see it again.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Its public number.
    pub id: String,
    /// Whose it is.
    pub user: UserName,
    /// What its owner calls it.
    pub name: String,
    /// What it is limited to.
    pub scopes: TokenScopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, a minute more or less.
    pub used_at: Option<Timestamp>,
    /// The public number of the API token by which it was made, with which it ends.
    pub parent: Option<String>,
    /// The account that made it for this one.
    pub made_by: Option<UserName>,
}

/// An account that may act.
#[derive(Clone, Debug)]
pub struct PrincipalRecord {
    /// Its number.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// May do everything.
    pub admin: bool,
    /// Moves with each other password and each disabling.
    pub epoch: i64,
    /// The token by which it acts.
    pub token: Option<PrincipalToken>,
}

/// The token by which an account acts.
#[derive(Clone, Debug)]
pub struct PrincipalToken {
    /// Its public number.
    pub id: String,
    /// What it is limited to.
    pub scopes: TokenScopes,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was used last.
    pub used_at: Option<Timestamp>,
    /// It comes from a login by password.
    pub login: bool,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Its path.
    pub path: NamespacePath,
    /// Its repositories are public unless they say something else.
    pub public: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who has a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// An account.
    User(UserName),
    /// Every account of a team.
    Team(TeamName),
}

/// What became of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// It is as it should be.
    Done,
    /// There is no such namespace.
    NamespaceUnknown,
    /// There is no such user or team.
    MemberUnknown,
    /// It would leave the namespace without an owner.
    LastOwner,
}

/// A key that signs tokens.
#[derive(Clone, Debug)]
pub struct SigningKeyRecord {
    /// Its name in tokens.
    pub kid: String,
    /// Both halves, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it verifies no more.
    pub ends_at: Timestamp,
}

/// What is known of a repository and of somebody in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryRights {
    /// The namespace that owns it.
    pub namespace: Option<NamespacePath>,
    /// Anybody may pull from repositories of it that say nothing themselves, and from those that are not there yet.
    pub namespace_public: bool,
    /// Anybody may pull.
    pub public: bool,
    /// The role of the one who was asked for.
    pub role: Option<Role>,
    /// What the namespace may hold.
    pub quota: Quota,
}

/// What became of a new namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceAdded {
    /// It is there.
    Added,
    /// It was there.
    Taken,
    /// There is no such account.
    OwnerUnknown,
}
