//! Who somebody is, and what he may do. Knows no HTTP and no SQL.
//!
//! - [`Auth`] tells identities from credentials, and judges what an identity may do in a repository.
//! - What it has found out it remembers, until [`AccessState::version`](crate::metadata::model::accounts::AccessState) moves:
//!   each change of what anybody may do moves it, and each node looks every second.
//! - As long as there is no account, everybody may do everything.

pub mod password;
pub mod seal;
pub mod secret;

mod admin;
mod attempts;
mod bucket;
mod catalog;
mod certificate;
mod identity;
mod keys;
mod logins;
mod quotas;
mod rates;
mod remembered;
mod sealing;
mod service;
mod tokens;
mod trust;

pub use admin::{AdminError, Given, TOKEN_LIFE_MAX, TokenWish};
pub use certificate::{CertificateError, ClientCertificate};
pub use identity::{Identity, Limit, Principal, Verdict};
pub use keys::KeyError;
pub use logins::{LOGIN_LIFE, Login};
pub use quotas::{QuotaError, QuotaOf, Room, Wish};
pub use rates::{Standing, Surface};
pub use sealing::SealError;
pub use service::{Auth, AuthError, AuthOptions, Credentials};
pub use tokens::{Issued, TOKEN_BYTES_MAX, TOKEN_LIFE};
pub use trust::{
    ExchangeError, Exchanged, Fetch, FetchError, HostError, Issuers, KeysError, Publisher, PublisherError,
    PublisherWish, Refusal,
};
