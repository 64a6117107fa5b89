//! DSSE envelopes (<https://github.com/secure-systems-lab/dsse>) with exactly one signature.

use serde::Deserialize;

use super::failure::{Failure, at_most};
use super::json;
use super::limits::{SIGNATURE_VALUE_BYTES_MAX, TEXT_BYTES_MAX};
use super::text::base64;

/// What the payload of an envelope has to be.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wire {
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

/// An envelope: a payload, and one signature over it and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The payload, which says nothing before the signature is checked.
    pub payload: Vec<u8>,
    /// The signature's value.
    pub signature: Vec<u8>,
}

impl Envelope {
    /// Reads an envelope, as a layer of a `.att` manifest holds it.
    ///
    /// # Errors
    /// `malformed`, `limit_exceeded`.
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        json::read::<Wire>(text, "the envelope")?.try_into()
    }

    /// What is signed (DSSE protocol, "Signature Definition": the pre-authentication encoding).
    pub fn signed_bytes(&self) -> Vec<u8> {
        let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), self.payload.len());
        [head.as_bytes(), &self.payload].concat()
    }
}

impl TryFrom<Wire> for Envelope {
    type Error = Failure;

    /// One signature: with two, a log entry or a timestamp could be for one and the check for the other. No `keyid`: keys
    /// come from the policy.
    fn try_from(wire: Wire) -> Result<Self, Failure> {
        if wire.payload_type != IN_TOTO {
            return Err(Failure::malformed(format!("the payload of the envelope is not {IN_TOTO}")));
        }
        let [signature] = wire.signatures.as_slice() else {
            let count = wire.signatures.len();
            return Err(Failure::malformed(format!("the envelope must have exactly one signature, and has {count}")));
        };
        at_most(signature.keyid.len(), TEXT_BYTES_MAX, "bytes of the keyid of the envelope")?;
        if !signature.keyid.is_empty() {
            return Err(Failure::malformed("the signature of the envelope has a keyid; keys come from the policy"));
        }
        Ok(Self {
            payload: base64(&wire.payload, usize::MAX, "the payload of the envelope")?,
            signature: base64(&signature.sig, SIGNATURE_VALUE_BYTES_MAX, "the signature of the envelope")?,
        })
    }
}
