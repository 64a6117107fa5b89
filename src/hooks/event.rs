//! An event as it is sent: `CloudEvents` 1.0 in the structured mode of its HTTP binding, and a signature as Standard Webhooks
//! describes it (<https://www.standardwebhooks.com>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::clock::{Entropy, Timestamp};
use crate::metadata::model::webhooks::Delivery;

/// `Content-Type` of every delivery (`CloudEvents`, "HTTP Protocol Binding", section 3.2).
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The header with the identifier of the event, the same in every attempt.
pub(super) const ID: &str = "webhook-id";

/// The header with the moment at which it was signed, in seconds since 1970.
pub(super) const TIMESTAMP: &str = "webhook-timestamp";

/// The header with the signature.
pub(super) const SIGNATURE: &str = "webhook-signature";

/// How the text of a secret begins.
const SECRET_PREFIX: &str = "whsec_";

/// Fewest and most bytes of a secret, without its text's form.
pub(super) const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What signs the deliveries of a webhook.
#[derive(Debug)]
pub(super) struct SigningKey(SecretSlice<u8>);

impl SigningKey {
    /// From its text: `whsec_` and 24 to 64 bytes in base64.
    pub(super) fn parse(text: &SecretString) -> Option<Self> {
        let encoded = text.expose_secret().strip_prefix(SECRET_PREFIX)?;
        let key = SecretSlice::from(STANDARD.decode(encoded).ok()?);
        SECRET_BYTES.contains(&key.expose_secret().len()).then_some(Self(key))
    }

    /// A text that nobody guesses.
    pub(super) fn make(entropy: &dyn Entropy) -> SecretString {
        let bytes = [entropy.bytes16(), entropy.bytes16()].concat();
        SecretString::from(format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes)))
    }

    /// The signature of a body: HMAC-SHA-256 over `id.timestamp.body`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        for part in [id, ".", timestamp, ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The body of a delivery; the same in every attempt.
pub(super) fn body(delivery: &Delivery, source: &str) -> String {
    let data: Value = serde_json::from_str(&delivery.data).unwrap_or(Value::Null);
    let event = json!({
        "specversion": "1.0",
        "id": delivery.event_id,
        "source": source,
        "type": format!("dev.bonded.{}.v1", delivery.kind),
        "subject": delivery.subject,
        "time": delivery.created_at.to_rfc3339(),
        "datacontenttype": "application/json",
        "data": data,
    });
    event.to_string()
}

/// A moment in the form in which it is signed.
pub(super) fn seconds(now: Timestamp) -> String {
    now.as_micros().div_euclid(1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    fn key(text: &str) -> Option<SigningKey> {
        SigningKey::parse(&SecretString::from(text))
    }

    /// The secret and the message that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn a_signature_is_what_others_compute() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_one_form_and_many_bytes() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(key(&of(24)).is_some() && key(&of(64)).is_some());
        assert!(SigningKey::parse(&SigningKey::make(&SeededEntropy::new(1))).is_some());
        for bad in [of(23), of(65), of(32).replace("whsec_", ""), format!("{}!", of(32)), String::new()] {
            assert!(key(&bad).is_none(), "{bad}");
        }
    }
}
