//! Rules for publishing, as the store gives and takes them.

use std::collections::BTreeMap;

use crate::access::{Audience, ClaimRules, Issuer, NamespacePath, PublisherName, Role};
use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;

/// Identifies a rule for ever: it is never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(pub i64);

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct NewPublisher {
    /// The namespace in which it gives a role.
    pub namespace: NamespacePath,
    /// What it is called there.
    pub name: PublisherName,
    /// Whose tokens it takes.
    pub issuer: Issuer,
    /// For whom they have to be.
    pub audience: Audience,
    /// What else they have to say.
    pub claims: ClaimRules,
    /// What they are good for; never owner.
    pub role: Role,
    /// A token is taken any number of times, and needs no `jti`.
    pub reuse: bool,
    /// The issuer's keys (a JWK set); `None`: it says itself where they are.
    pub jwks: Option<String>,
    /// Now.
    pub now: Timestamp,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct PublisherRecord {
    /// Its number.
    pub id: PublisherId,
    /// The namespace in which it gives a role.
    pub namespace: NamespacePath,
    /// What it is called there.
    pub name: PublisherName,
    /// Whose tokens it takes.
    pub issuer: Issuer,
    /// For whom they have to be.
    pub audience: Audience,
    /// What else they have to say.
    pub claims: ClaimRules,
    /// What they are good for.
    pub role: Role,
    /// A token is taken any number of times, and needs no `jti`.
    pub reuse: bool,
    /// It has the issuer's keys itself.
    pub has_jwks: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a rule gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherRole {
    /// Its number.
    pub id: PublisherId,
    /// Where.
    pub namespace: NamespacePath,
    /// What the rule is called there.
    pub name: PublisherName,
    /// Which role.
    pub role: Role,
}

impl PublisherRole {
    /// How whoever acts by it is called in records: `publisher:NAMESPACE/NAME`.
    pub fn shown(&self) -> String {
        format!("publisher:{}/{}", self.namespace, self.name)
    }
}

/// What became of a new rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherAdded {
    /// It is there.
    Added,
    /// There is no such namespace.
    NamespaceUnknown,
    /// The namespace has one of this name.
    NameTaken,
    /// The namespace has as many as it may have.
    Full,
}

/// A token that is given for another one's.
#[derive(Clone, Debug)]
pub struct PublisherUse {
    /// The rules that take it, with what they looked at.
    pub rules: Vec<(PublisherId, BTreeMap<String, String>)>,
    /// SHA-256 of its `jti`.
    pub jti: Option<[u8; 32]>,
    /// Who signed it.
    pub issuer: Issuer,
    /// From where it came; who that is, the rules say.
    pub by: Actor,
    /// When nobody takes it any more.
    pub ends_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}
