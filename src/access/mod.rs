//! Who is meant and what they may do, as values: names, roles, actions and scopes. Pure.

pub mod action;
pub mod name;
pub mod role;
pub mod scope;
pub mod token_scope;

pub use action::{Action, Actions};
pub use name::{Email, NamespacePath, TeamName, UserName};
pub use role::Role;
pub use scope::Scopes;
pub use token_scope::TokenScopes;
