//! What other parts of the registry have sealed by its one secret.

use crate::auth::seal::Unsealable;
use crate::auth::service::Auth;

/// Why something cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is nothing to seal it with.
    #[error(
        "the registry's one secret is not there: set `auth.secret_file` to a file of 32 bytes or more, the same on every node"
    )]
    NoSecret,
    /// It cannot be opened.
    #[error(transparent)]
    Unsealable(#[from] Unsealable),
}

impl Auth {
    /// Seals a text under a name, which has to be given again to open it.
    ///
    /// # Errors
    /// [`SealError::NoSecret`].
    pub fn seal(&self, name: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let secret = self.options.secret.as_ref().ok_or(SealError::NoSecret)?;
        Ok(secret.seal(name, text, self.entropy.as_ref())?)
    }

    /// Opens what was sealed under a name.
    ///
    /// # Errors
    /// Either [`SealError`].
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let secret = self.options.secret.as_ref().ok_or(SealError::NoSecret)?;
        Ok(secret.open(name, sealed)?)
    }
}
