//! The keys of somebody who signs tokens (JWK sets, RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of one set.
const KEYS_MAX: usize = 100;

/// Members of a JWK that nobody but its owner may know (RFC 7518, section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Public keys.
#[derive(Debug)]
pub(super) struct KeySet(Vec<IssuerKey>);

struct IssuerKey {
    kid: Option<String>,
    fits: Vec<Algorithm>,
    key: DecodingKey,
}

/// Why a document is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Its form.
    #[error("it is not a JWK set, `{{\"keys\": [...]}}`")]
    Form,
    /// It has too many.
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    /// It has none that could be used.
    #[error("it has no public key for RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA")]
    None,
    /// It has what should never leave its owner.
    #[error("it has a private or a shared key; give only public ones, and replace this one")]
    Private,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads what an issuer gives; keys of kinds that are of no use are left out.
    pub(super) fn parse(document: &[u8]) -> Result<Self, KeysError> {
        let Document { keys } = serde_json::from_slice(document).map_err(|_| KeysError::Form)?;
        if keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let usable: Vec<IssuerKey> = keys.into_iter().filter_map(IssuerKey::of).collect();
        if usable.is_empty() { Err(KeysError::None) } else { Ok(Self(usable)) }
    }

    /// Reads what somebody writes into a rule, which has no private keys.
    pub(super) fn parse_given(document: &str) -> Result<Self, KeysError> {
        let Document { keys } = serde_json::from_str(document).map_err(|_| KeysError::Form)?;
        if keys.iter().any(|key| PRIVATE.iter().any(|name| key.get(name).is_some())) {
            return Err(KeysError::Private);
        }
        Self::parse(document.as_bytes())
    }

    /// The key for a token. One that does not name its key is taken where there is only one that fits.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self.0.iter().filter(|key| key.fits.contains(&algorithm));
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)).map(|key| &key.key),
            None => fitting.next().filter(|_| fitting.next().is_none()).map(|key| &key.key),
        }
    }
}

impl IssuerKey {
    fn of(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let mut fits = algorithms(&jwk.algorithm);
        if let Some(only) = jwk.common.key_algorithm {
            fits.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        if fits.is_empty() {
            return None;
        }
        Some(Self { key: DecodingKey::from_jwk(&jwk).ok()?, kid: jwk.common.key_id, fits })
    }
}

/// With which algorithms a key may be used. A key that is shared is used with none.
fn algorithms(key: &AlgorithmParameters) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match key {
        AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![ES256],
            EllipticCurve::P384 => vec![ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![EdDSA],
        _ => Vec::new(),
    }
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerKey").field("kid", &self.kid).field("fits", &self.fits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn set(keys: &Value) -> Result<KeySet, KeysError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    fn ec(kid: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": kid})
    }

    #[test]
    fn a_key_is_found_by_its_name_and_only_for_its_kind() {
        let keys = set(&json!([ec("a"), ec("b"), {"kty": "new", "kid": "c"}, {"kty": "oct", "k": "AAAA", "kid": "d"}]));
        let keys = keys.expect("keys");
        for (kid, algorithm, found) in [
            (Some("a"), Algorithm::ES256, true),
            (Some("a"), Algorithm::ES384, false),
            (Some("a"), Algorithm::RS256, false),
            (Some("c"), Algorithm::ES256, false),
            (Some("d"), Algorithm::HS256, false),
            (Some(""), Algorithm::ES256, false),
            (None, Algorithm::ES256, false),
        ] {
            assert_eq!(keys.find(kid, algorithm).is_some(), found, "{kid:?} {algorithm:?}");
        }
        let alone = set(&json!([ec("a")])).expect("keys");
        assert!(alone.find(None, Algorithm::ES256).is_some() && alone.find(None, Algorithm::HS256).is_none());
    }

    #[test]
    fn what_a_key_is_for_counts() {
        let with = |name: &str, value: &str| {
            let mut key = ec("a");
            key[name] = json!(value);
            set(&json!([key])).map(|keys| keys.find(Some("a"), Algorithm::ES256).is_some())
        };
        assert_eq!((with("use", "sig"), with("alg", "ES256")), (Ok(true), Ok(true)));
        for (name, value) in [("use", "enc"), ("alg", "RS256"), ("alg", "HS256"), ("crv", "P-521"), ("kty", "RSA")] {
            assert_eq!(with(name, value), Err(KeysError::None), "{name} {value}");
        }
    }

    #[test]
    fn what_is_no_set_or_says_too_much_is_refused() {
        for bad in ["", "[]", "{}", r#"{"keys": 1}"#, "null"] {
            assert_eq!(KeySet::parse(bad.as_bytes()).expect_err(bad), KeysError::Form);
        }
        assert_eq!(set(&json!([])).expect_err("none"), KeysError::None);
        assert_eq!(set(&json!([{"kty": "oct", "k": "AAAA"}])).expect_err("none"), KeysError::None);
        assert_eq!(set(&json!(vec![ec("a"); 101])).expect_err("many"), KeysError::TooMany);
        let mut private = ec("a");
        private["d"] = json!("AAAA");
        let private = json!({"keys": [private]}).to_string();
        assert_eq!(KeySet::parse_given(&private).expect_err("private"), KeysError::Private);
        assert!(KeySet::parse_given(&json!({"keys": [ec("a")]}).to_string()).is_ok());
    }
}
