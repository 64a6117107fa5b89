//! Names in client certificates: the trait that a database implements, beside that for accounts.

use std::fmt;

use async_trait::async_trait;

use crate::access::{CertificateName, UserName};
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::certificates::{CertificateAdded, CertificateOwner, CertificateRecord};

/// Most names of one account.
pub const CERTIFICATE_NAMES_MAX: i64 = 100;

/// A place for names that certificates have. One call is one transaction; a change moves
/// [`AccessState::version`](crate::metadata::model::accounts::AccessState).
#[async_trait]
pub trait CertificateStore: fmt::Debug + Send + Sync {
    /// Gives a name to an account.
    async fn certificate_add(
        &self,
        user: &UserName,
        name: &CertificateName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<CertificateAdded>;

    /// The names of an account in their order. `None`: there is no such account.
    async fn certificate_list(&self, user: &UserName) -> Result<Option<Vec<CertificateRecord>>>;

    /// Takes a name from an account. `false`: it does not have it.
    async fn certificate_delete(
        &self,
        user: &UserName,
        name: &CertificateName,
        now: Timestamp,
        by: &Actor,
    ) -> Result<bool>;

    /// The accounts that have any of these names, each once, disabled ones too.
    async fn certificate_find(&self, names: &[CertificateName]) -> Result<Vec<CertificateOwner>>;
}
