//! Client certificates: what they call their owners, and the accounts that these names are given to.
//!
//! A name proves an account only because an authority of `tls.client_ca` has put it into a certificate. Whether the
//! certificate is good, TLS has judged when it was shown; here it is read, and held to its time, which may end before the
//! connection does.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::access::{CertificateName, UserName};
use crate::audit::Proof;
use crate::auth::admin::AdminError;
use crate::auth::identity::{Identity, Limit, Principal};
use crate::auth::service::{Auth, AuthError, Sender};
use crate::clock::Timestamp;
use crate::metadata::MetadataError;
use crate::metadata::certificates::CERTIFICATE_NAMES_MAX;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::certificates::{CertificateAdded, CertificateRecord};

/// Most names of one certificate that are looked at.
const NAMES_MAX: usize = 32;

/// A certificate that TLS has found to be good, and its names.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    names: Vec<CertificateName>,
    /// SHA-256 of the whole.
    fingerprint: [u8; 32],
    /// When its time is over.
    until: Timestamp,
}

/// Whose a certificate is.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    /// None of its names is given to an account.
    Nobody,
    /// An account that is disabled, or more than one.
    Refused,
    /// An account.
    Account(Arc<Principal>),
}

/// Why a name is not given to an account.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No such account.
    #[error("there is no account `{0}`")]
    UserUnknown(UserName),
    /// The name is another account's, or this one's already.
    #[error("`{0}` is given to an account already")]
    NameTaken(CertificateName),
    /// Their number.
    #[error("an account has {CERTIFICATE_NAMES_MAX} names of certificates at most")]
    Full,
    /// The database.
    #[error(transparent)]
    Store(#[from] MetadataError),
}

impl ClientCertificate {
    /// Reads a certificate (DER). `None`: it is none.
    ///
    /// Names of other kinds, and those that cannot be given to an account, are left out.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let seconds = certificate.validity().not_after.timestamp();
        let alternatives = certificate.subject_alternative_name().ok()?;
        let alternatives = alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let alternatives = alternatives.filter_map(|name| match name {
            GeneralName::URI(uri) => Some(format!("uri:{uri}")),
            GeneralName::DNSName(host) => Some(format!("dns:{host}")),
            GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
            _ => None,
        });
        let common = certificate.subject().iter_common_name();
        let common = common.filter_map(|name| Some(format!("cn:{}", name.as_str().ok()?)));
        let mut names: Vec<CertificateName> =
            alternatives.chain(common).take(NAMES_MAX).filter_map(|name| name.parse().ok()).collect();
        names.sort_unstable();
        names.dedup();
        let until = Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        Some(Self { names, fingerprint: Sha256::digest(der).into(), until })
    }

    /// What it calls its owner.
    pub fn names(&self) -> &[CertificateName] {
        &self.names
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Auth {
    /// Who has a certificate. One whose names nobody has is as good as none: an authority may be there for other services
    /// too.
    pub(super) async fn by_certificate(
        &self,
        certificate: &ClientCertificate,
        by: Sender<'_>,
    ) -> Result<Identity, AuthError> {
        let version = self.version();
        if certificate.until <= self.clock.now() {
            self.audit().login_refused(None, &by());
            return Err(AuthError::Wrong);
        }
        let holder = if let Some(holder) = self.certificates.get(&certificate.fingerprint, version) {
            holder
        } else {
            let holder = self.holder_of(certificate).await?;
            self.certificates.put(certificate.fingerprint, version, holder.clone());
            if let Holder::Account(principal) = &holder {
                let fingerprint = hex::encode(certificate.fingerprint);
                self.audit().logged_in_by(Proof::Certificate, principal.name.as_str(), &fingerprint, by).await;
            }
            holder
        };
        match holder {
            Holder::Nobody => Ok(Identity::Unidentified),
            Holder::Refused => {
                self.audit().login_refused(None, &by());
                Err(AuthError::Wrong)
            }
            Holder::Account(principal) => Ok(Identity::Principal(principal)),
        }
    }

    async fn holder_of(&self, certificate: &ClientCertificate) -> Result<Holder, AuthError> {
        let names = &certificate.names;
        let mut owners = self.store.certificate_find(names).await?;
        Ok(match (owners.pop(), owners.is_empty()) {
            (None, _) => Holder::Nobody,
            (Some(owner), true) if !owner.disabled => {
                let limit = Limit::Certificate { until: certificate.until };
                Holder::Account(Arc::new(Principal { limit, ..Principal::from(owner.principal) }))
            }
            (Some(_), _) => {
                tracing::warn!(?names, "a client certificate is that of a disabled account, or of more than one");
                Holder::Refused
            }
        })
    }

    /// Gives a name to an account: whoever has a certificate with it is that account.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub async fn add_certificate(
        &self,
        user: &UserName,
        name: &CertificateName,
        by: &Actor,
    ) -> Result<(), CertificateError> {
        match self.store.certificate_add(user, name, self.clock.now(), by).await? {
            CertificateAdded::Added => self.certificates_changed(()).await,
            CertificateAdded::UserUnknown => Err(CertificateError::UserUnknown(user.clone())),
            CertificateAdded::NameTaken => Err(CertificateError::NameTaken(name.clone())),
            CertificateAdded::Full => Err(CertificateError::Full),
        }
    }

    /// The names that an account has. `None`: there is no such account.
    ///
    /// # Errors
    /// [`CertificateError::Store`].
    pub async fn certificates(&self, user: &UserName) -> Result<Option<Vec<CertificateRecord>>, CertificateError> {
        Ok(self.store.certificate_list(user).await?)
    }

    /// Takes a name from an account, within a second on every node. `false`: it does not have it.
    ///
    /// # Errors
    /// [`CertificateError::Store`].
    pub async fn end_certificate(
        &self,
        user: &UserName,
        name: &CertificateName,
        by: &Actor,
    ) -> Result<bool, CertificateError> {
        let ended = self.store.certificate_delete(user, name, self.clock.now(), by).await?;
        self.certificates_changed(ended).await
    }

    async fn certificates_changed<T>(&self, value: T) -> Result<T, CertificateError> {
        self.changed(value).await.map_err(|error| match error {
            AdminError::Store(error) => CertificateError::Store(error),
            other => CertificateError::Store(MetadataError::Unavailable(other.to_string())),
        })
    }
}
