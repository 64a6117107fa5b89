//! Publishing without a secret of our own: tokens of others, taken by the rules of namespaces.
//!
//! - [`issuers`] knows the keys of others, fetched by way of a [`Fetch`] from hosts that the operator allows.
//! - `keys` and `token` read their documents and tokens; nothing in a token says which key verifies it but its name.
//! - `exchange` gives a token of the token service for one of others; `rules` makes, lists and ends the rules.
//!
//! Every dialect in which packages are published may use [`Auth::exchange`](crate::auth::Auth::exchange).

mod exchange;
mod issuers;
mod keys;
mod principal;
mod rules;
mod token;

pub use exchange::{ExchangeError, Exchanged, Refusal};
pub use issuers::{Fetch, FetchError, HostError, Issuers};
pub use keys::KeysError;
pub use principal::Publisher;
pub use rules::{PublisherError, PublisherWish};
