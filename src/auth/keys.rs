//! The keys that sign tokens: ES256, kept in the database under the one secret, renewed before they are old.
//!
//! A new key signs from the moment at which it is made; an old one verifies until the last token that it signed has ended.
//! Nodes may make keys at the same time: all are valid, and the newest signs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};

use crate::auth::seal::{Secret, Unsealable};
use crate::clock::{Entropy, Timestamp};
use crate::metadata::model::accounts::SigningKeyRecord;
use crate::telemetry;

/// How long a key signs.
pub(super) const SIGNS_FOR: Duration = Duration::from_hours(24 * 30);

/// How long it verifies after that: longer than any token that it signs lives.
pub(super) const VERIFIES_FOR: Duration = Duration::from_hours(24 * 2);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret is another one.
    #[error("signing key {kid}: {source}; every node needs the same `auth.secret_file`")]
    Sealed {
        /// Which.
        kid: String,
        /// Why.
        source: Unsealable,
    },
    /// The cryptographic library refuses.
    #[error("signing key {kid} cannot be used")]
    Unfit {
        /// Which.
        kid: String,
    },
}

/// Keys in memory.
#[derive(Debug, Default)]
pub(super) struct Keys {
    opened: RwLock<Vec<Arc<Key>>>,
    /// The names of those that cannot be opened, of which that was said.
    refused: Mutex<BTreeSet<String>>,
}

/// A key.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) created_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) signs: EncodingKey,
    pub(super) verifies: DecodingKey,
    public: Value,
}

impl Key {
    /// A new key, and the row that keeps it.
    pub(super) fn make(
        secret: &Secret,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(Self, SigningKeyRecord), KeyError> {
        let unfit = |_| KeyError::Unfit { kid: "(new)".to_owned() };
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(unfit)?;
        let kid = hex::encode(&entropy.bytes16()[..8]);
        let sealed = secret.seal(&kid, document.as_ref(), entropy);
        let sealed = sealed.map_err(|source| KeyError::Sealed { kid: kid.clone(), source })?;
        let ends_at = now.after(SIGNS_FOR).after(VERIFIES_FOR);
        let record = SigningKeyRecord { kid: kid.clone(), sealed, created_at: now, ends_at };
        Ok((Self::of(&record, document.as_ref())?, record))
    }

    /// A key that the database kept.
    pub(super) fn open(secret: &Secret, record: &SigningKeyRecord) -> Result<Self, KeyError> {
        let kid = record.kid.clone();
        let document = secret.open(&kid, &record.sealed).map_err(|source| KeyError::Sealed { kid, source })?;
        Self::of(record, &document)
    }

    fn of(record: &SigningKeyRecord, document: &[u8]) -> Result<Self, KeyError> {
        let unfit = || KeyError::Unfit { kid: record.kid.clone() };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document).map_err(|_| unfit())?;
        // An uncompressed point: 4, and two coordinates of 32 bytes (SEC 1, section 2.3.3).
        let point = pair.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else { return Err(unfit()) };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self {
            kid: record.kid.clone(),
            created_at: record.created_at,
            ends_at: record.ends_at,
            signs: EncodingKey::from_ec_der(document),
            verifies: DecodingKey::from_ec_components(&x, &y).map_err(|_| unfit())?,
            public: json!({
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": record.kid, "x": x, "y": y,
            }),
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Keys {
    /// Takes these in place of those before. What cannot be opened is left out, and said once: it belongs to a node with
    /// another secret, whose tokens nobody here takes.
    pub(super) fn replace(&self, secret: &Secret, records: &[SigningKeyRecord]) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|kid| records.iter().any(|record| record.kid == *kid));
        let opened = records.iter().filter_map(|record| match Key::open(secret, record) {
            Ok(key) => Some(key),
            Err(error) => {
                if refused.insert(record.kid.clone()) {
                    tracing::warn!(error = telemetry::chain(&error), "a signing key is left out");
                }
                None
            }
        });
        let mut keys: Vec<Key> = opened.collect();
        keys.sort_by(|one, other| (one.created_at, &one.kid).cmp(&(other.created_at, &other.kid)));
        let keys = keys.into_iter().map(Arc::new).collect();
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The newest, if it is young enough to sign.
    pub(super) fn signing(&self, now: Timestamp) -> Option<Arc<Key>> {
        let newest = self.read().last().cloned();
        newest.filter(|key| key.created_at.until(now) < SIGNS_FOR)
    }

    /// The one with this name, if it still verifies.
    pub(super) fn find(&self, kid: &str, now: Timestamp) -> Option<Arc<Key>> {
        self.read().iter().find(|key| key.kid == kid && now < key.ends_at).cloned()
    }

    /// The public halves as a JWK set (RFC 7517, section 5).
    pub(super) fn public(&self, now: Timestamp) -> Value {
        let keys: Vec<Value> =
            self.read().iter().filter(|key| now < key.ends_at).map(|key| key.public.clone()).collect();
        json!({"keys": keys})
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Key>>> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }
}
