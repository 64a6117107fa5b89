//! A key with which a test signs what no client would.

use anyhow::Result;
use rcgen::{KeyPair, SigningKey as _};

/// A P-256 key.
#[derive(Debug)]
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The public half, as PEM.
    pub fn public_key(&self) -> String {
        self.0.public_key_pem()
    }

    /// A signature (ECDSA with SHA-256, as DER).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign(message)?)
    }
}
