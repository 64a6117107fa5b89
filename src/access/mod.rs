//! Who is meant and what they may do, as values: names, roles, actions and scopes. Pure.

pub mod action;
pub mod address;
pub mod certificate;
pub mod claims;
pub mod name;
pub mod publisher;
pub mod rate;
pub mod role;
pub mod scope;
pub mod token_scope;
pub mod web_origin;

pub use action::{Action, Actions};
pub use address::AddressBlock;
pub use certificate::CertificateName;
pub use claims::ClaimRules;
pub use name::{Email, NamespacePath, TeamName, UserName};
pub use publisher::{Audience, Issuer, PublisherName};
pub use rate::{ClientLimits, LoginLimits, Rate, RateLimits, Rates};
pub use role::Role;
pub use scope::Scopes;
pub use token_scope::TokenScopes;
pub use web_origin::{WebOrigin, WebOriginError};
