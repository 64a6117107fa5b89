//! Names in client certificates, as the store gives and takes them.

use crate::access::CertificateName;
use crate::clock::Timestamp;
use crate::metadata::model::accounts::PrincipalRecord;

/// A name that an account has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRecord {
    /// The name.
    pub name: CertificateName,
    /// Since when.
    pub created_at: Timestamp,
}

/// An account that has a name.
#[derive(Clone, Debug)]
pub struct CertificateOwner {
    /// The account.
    pub principal: PrincipalRecord,
    /// It may do nothing.
    pub disabled: bool,
}

/// What became of a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateAdded {
    /// It is there.
    Added,
    /// There is no such account.
    UserUnknown,
    /// An account has it.
    NameTaken,
    /// The account has as many as it may have.
    Full,
}
