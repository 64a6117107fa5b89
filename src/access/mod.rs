//! Who is meant and what they may do, as values: names, roles, actions and scopes. Pure.

pub mod action;
pub mod address;
pub mod name;
pub mod rate;
pub mod role;
pub mod scope;
pub mod token_scope;

pub use action::{Action, Actions};
pub use address::AddressBlock;
pub use name::{Email, NamespacePath, TeamName, UserName};
pub use rate::{ClientLimits, LoginLimits, Rate, RateLimits, Rates};
pub use role::Role;
pub use scope::Scopes;
pub use token_scope::TokenScopes;
