//! Trusted roots: the authorities and logs that vouch for signers, times and entries, from a file (Sigstore `TrustedRoot`
//! JSON, as `cosign trusted-root create` writes it).

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::der;
use super::failure::{Failure, at_most};
use super::json;
use super::limits::{CERTIFICATE_BYTES_MAX, CHAIN_MAX, KEY_BYTES_MAX, ROOT_BYTES_MAX, ROOT_ENTRIES_MAX};
use super::sigstore::{BundleVerifier, Library, PUBLIC_GOOD};
use super::text::base64;

/// Members that `cosign trusted-root create` leaves out where it is not told what to write, and that the library wants to see:
/// addresses, which nothing here calls, and the one hash that logs have.
const OPTIONAL: [(&str, &str, &str); 5] = [
    ("tlogs", "baseUrl", ""),
    ("tlogs", "hashAlgorithm", "SHA2_256"),
    ("ctlogs", "baseUrl", ""),
    ("ctlogs", "hashAlgorithm", "SHA2_256"),
    ("certificateAuthorities", "uri", ""),
];

/// The kinds of authorities and logs in a trusted root.
const KINDS: [&str; 4] = ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"];

/// Why a text is not a trusted root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the trusted root cannot be used: {0}")]
pub struct RootError(String);

impl From<Failure> for RootError {
    fn from(failure: Failure) -> Self {
        Self(failure.message)
    }
}

/// A trusted root, read and ready to verify with.
pub struct Root {
    revision: String,
    verifier: Library,
}

impl Root {
    /// Reads a trusted root. Members that this version does not know are left alone: the format grows.
    ///
    /// # Errors
    /// What is wrong with it: its JSON, a size, a key, a certificate, a window of time that ends before it starts, or a log
    /// that stands in it twice.
    pub fn from_json(text: &[u8]) -> Result<Self, RootError> {
        at_most(text.len(), ROOT_BYTES_MAX, "bytes")?;
        let mut document = json::strict(text, "the document")?;
        for kind in KINDS {
            let entries = match document.get(kind) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(entries)) => entries,
                Some(_) => return Err(RootError(format!("{kind} is not an array"))),
            };
            at_most(entries.len(), ROOT_ENTRIES_MAX, kind)?;
            entries.iter().try_for_each(|entry| check_sizes(entry, kind))?;
        }
        let revision = format!("sha256:{}", hex::encode(Sha256::digest(text)));
        fill_in(&mut document);
        Ok(Self { revision, verifier: Library::new(&document.to_string()).map_err(RootError)? })
    }

    /// That of Sigstore's public-good instance, as it was when this version was made. Policies do not know it: who is believed
    /// there stands in files.
    ///
    /// # Errors
    /// Those of [`from_json`](Self::from_json).
    pub fn public_good() -> Result<Self, RootError> {
        Self::from_json(PUBLIC_GOOD.as_bytes())
    }

    /// `sha256:` and the hash of its bytes in hexadecimal.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What it has and what never counts, because it cannot be verified here.
    pub fn warnings(&self) -> &[String] {
        self.verifier.warnings()
    }

    /// What verifies under it.
    pub(super) fn verifier(&self) -> &impl BundleVerifier {
        &self.verifier
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.revision)
    }
}

fn fill_in(document: &mut Value) {
    for (kind, member, value) in OPTIONAL {
        let entries = document.get_mut(kind).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            let member = entry.entry(member).or_insert(Value::Null);
            if member.is_null() {
                *member = json!(value);
            }
        }
    }
}

fn check_sizes(entry: &Value, kind: &str) -> Result<(), Failure> {
    if let Some(key) = entry.pointer("/publicKey/rawBytes").and_then(Value::as_str) {
        base64(key, KEY_BYTES_MAX, &format!("a key of {kind}"))?;
    }
    let chain = entry.pointer("/certChain/certificates").and_then(Value::as_array);
    let chain = chain.map(Vec::as_slice).unwrap_or_default();
    at_most(chain.len(), CHAIN_MAX, &format!("certificates of a chain of {kind}"))?;
    for certificate in chain {
        if let Some(der) = certificate.get("rawBytes").and_then(Value::as_str) {
            let what = format!("a certificate of {kind}");
            der::check(&base64(der, CERTIFICATE_BYTES_MAX, &what)?, &what)?;
        }
    }
    Ok(())
}
