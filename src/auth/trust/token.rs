//! A token of somebody else (JWT, RFC 7519): taken apart, verified, and judged by our clock.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::exchange::Refusal;
use super::keys::KeySet;
use crate::access::{Audience, Issuer};
use crate::clock::Timestamp;

/// Longest token that is looked at in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Most audiences of one token.
const AUDIENCES_MAX: usize = 16;

/// By how much the clocks of an issuer and of ours may differ.
pub(super) const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Longest life of a token that is taken.
const LIFE_MAX: Duration = Duration::from_hours(24);

/// A token, before anybody has verified it.
#[derive(Debug)]
pub(super) struct ForeignToken<'a> {
    message: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
    pub(super) issuer: Issuer,
    pub(super) audiences: Vec<Audience>,
    pub(super) claims: Map<String, Value>,
}

/// The part of a header that counts. Where it says that keys are (`jku`, `jwk`, `x5u`, `x5c`), nobody looks.
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    /// What a reader has to understand (RFC 7515, section 4.1.11), of which we understand nothing.
    crit: Option<Value>,
}

impl<'a> ForeignToken<'a> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refusal::Malformed)?;
        let Header { alg: algorithm, kid, crit } = decoded(header)?;
        let shared = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
        if shared || crit.is_some() {
            return Err(Refusal::Algorithm);
        }
        let claims: Map<String, Value> = decoded(payload)?;
        let issuer = claims.get("iss").and_then(Value::as_str).and_then(|issuer| issuer.parse().ok());
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => one.parse().into_iter().collect(),
            Some(Value::Array(many)) if many.len() <= AUDIENCES_MAX => {
                many.iter().filter_map(|one| one.as_str()?.parse().ok()).collect()
            }
            _ => Vec::new(),
        };
        let issuer = issuer.filter(|_| !audiences.is_empty()).ok_or(Refusal::Unknown)?;
        Ok(Self { message, signature, algorithm, kid, issuer, audiences, claims })
    }

    /// Whether there is a key that may have signed it.
    pub(super) fn may_be_of(&self, keys: &KeySet) -> bool {
        keys.find(self.kid.as_deref(), self.algorithm).is_some()
    }

    /// Whether one of these keys signed it.
    pub(super) fn is_of(&self, keys: &KeySet) -> bool {
        let key = keys.find(self.kid.as_deref(), self.algorithm);
        key.is_some_and(|key| {
            jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key, self.algorithm).unwrap_or(false)
        })
    }

    /// Until when it holds, with the time that clocks may differ.
    pub(super) fn judge_time(&self, now: Timestamp) -> Result<Timestamp, Refusal> {
        let (latest, expires) = (now.after(CLOCK_SKEW), self.moment("exp")?.ok_or(Refusal::Time)?);
        if expires.after(CLOCK_SKEW) <= now {
            return Err(Refusal::Expired);
        }
        let issued = self.moment("iat")?;
        if issued.is_some_and(|at| at > latest) || self.moment("nbf")?.is_some_and(|from| from > latest) {
            return Err(Refusal::Early);
        }
        // Without `iat`, what is left of its life counts.
        let (begin, most) = issued.map_or((now, LIFE_MAX + CLOCK_SKEW), |issued| (issued, LIFE_MAX));
        if begin.until(expires) > most {
            return Err(Refusal::LongLived);
        }
        Ok(expires.after(CLOCK_SKEW))
    }

    /// When it was signed at the latest, by our clock. What says no time may have been signed just now.
    pub(super) fn signed_by(&self, now: Timestamp) -> Timestamp {
        let issued = self.moment("iat").ok().flatten();
        issued.map_or(now, |issued| issued.after(CLOCK_SKEW).min(now))
    }

    /// What tells this token from every other of its issuer.
    pub(super) fn jti(&self) -> Option<[u8; 32]> {
        let jti = self.claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty())?;
        Some(Sha256::digest(jti).into())
    }

    /// A moment in seconds (RFC 7519, section 2, `NumericDate`); fractions are left out.
    fn moment(&self, claim: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        let text = value.as_number().map(ToString::to_string).unwrap_or_default();
        let whole = text.split('.').next().and_then(|whole| whole.parse::<i64>().ok());
        let seconds = whole.filter(|seconds| (0..=SECONDS_MAX).contains(seconds)).ok_or(Refusal::Time)?;
        Ok(Some(Timestamp::from_micros(seconds * 1_000_000)))
    }
}

/// The end of the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn token(header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", encoded(header), encoded(claims))
    }

    fn judged(claims: &Value) -> Result<i64, Refusal> {
        let mut all = json!({"iss": "i", "aud": "a"});
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        let text = token(&json!({"alg": "RS256"}), &all);
        let now = Timestamp::from_micros(1_000_000_000_000);
        ForeignToken::parse(&text).expect("a token").judge_time(now).map(|until| until.as_micros() / 1_000_000)
    }

    #[test]
    fn a_token_holds_within_its_time_give_or_take_a_minute() {
        const NOW: i64 = 1_000_000;
        const DAY: i64 = 86_400;
        for (claims, expected) in [
            (json!({"exp": NOW + 300}), Ok(NOW + 360)),
            (json!({"exp": NOW - 59}), Ok(NOW + 1)),
            (json!({"exp": NOW - 60}), Err(Refusal::Expired)),
            (json!({"exp": 0}), Err(Refusal::Expired)),
            (json!({}), Err(Refusal::Time)),
            (json!({"exp": "soon"}), Err(Refusal::Time)),
            (json!({"exp": -1}), Err(Refusal::Time)),
            (json!({"exp": 1e300}), Err(Refusal::Time)),
            (json!({"exp": u64::MAX}), Err(Refusal::Time)),
            (json!({"exp": 1_000_300.7}), Ok(NOW + 360)),
            (json!({"exp": NOW + 300, "nbf": NOW + 60, "iat": NOW + 60}), Ok(NOW + 360)),
            (json!({"exp": NOW + 300, "nbf": NOW + 61}), Err(Refusal::Early)),
            (json!({"exp": NOW + 300, "iat": NOW + 61}), Err(Refusal::Early)),
            (json!({"exp": NOW + 300, "nbf": "x"}), Err(Refusal::Time)),
            (json!({"exp": NOW + DAY, "iat": NOW}), Ok(NOW + DAY + 60)),
            (json!({"exp": NOW + DAY + 1, "iat": NOW}), Err(Refusal::LongLived)),
            (json!({"exp": NOW + 2 * DAY}), Err(Refusal::LongLived)),
            (json!({"exp": NOW + 60, "iat": NOW - 2 * DAY}), Err(Refusal::LongLived)),
        ] {
            assert_eq!(judged(&claims), expected, "{claims}");
        }
    }

    #[test]
    fn only_algorithms_with_public_keys_are_read() {
        let claims = json!({"iss": "i", "aud": ["a", 1, "b\u{0}", "c"]});
        let parse = |header: &Value| ForeignToken::parse(&token(header, &claims)).map(|token| token.audiences.len());
        for good in ["RS256", "RS512", "PS384", "ES256", "ES384", "EdDSA"] {
            assert_eq!(parse(&json!({"alg": good, "jku": "http://127.0.0.1/"})), Ok(2), "{good}");
        }
        for bad in ["none", "None", "", "ES512", "ES256K", "rs256"] {
            assert_eq!(parse(&json!({"alg": bad})), Err(Refusal::Malformed), "{bad}");
        }
        for bad in
            [json!({"alg": "HS256"}), json!({"alg": "HS512"}), json!({"alg": "RS256", "crit": ["b64"], "b64": false})]
        {
            assert_eq!(parse(&bad), Err(Refusal::Algorithm), "{bad}");
        }
        for claims in [
            json!({"aud": "a"}),
            json!({"iss": "i"}),
            json!({"iss": "a\u{0}", "aud": "a"}),
            json!({"iss": "i", "aud": 1}),
        ] {
            let text = token(&json!({"alg": "RS256"}), &claims);
            assert_eq!(ForeignToken::parse(&text).map(|_| ()), Err(Refusal::Unknown), "{claims}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_refused(text in "[A-Za-z0-9._-]{0,60}|.{0,40}") {
            prop_assert!(ForeignToken::parse(&text).is_err());
        }
    }
}
