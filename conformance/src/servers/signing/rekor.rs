//! A transparency log as Rekor 1 answers: entries, the promise over each, and the proof that it is in the tree.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::{base64, from_base64};

type Hash = [u8; 32];

/// The log. Its entries are forgotten, only their hashes are kept.
#[derive(Debug)]
pub(super) struct Log {
    signing: KeyPair,
    /// Its public half (DER).
    key: Vec<u8>,
    leaves: Mutex<Vec<Hash>>,
}

impl Log {
    pub(super) fn new() -> Result<Self> {
        let signing = KeyPair::generate()?;
        let key = signing.subject_public_key_info();
        Ok(Self { signing, key, leaves: Mutex::default() })
    }

    /// Its public key (DER).
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Writes down what a client proposes; gives the name of the entry and the answer.
    pub(super) fn add(&self, proposed: &Value) -> Result<(String, Value)> {
        // The members of an object are in order already (RFC 8785), and all of it is ASCII.
        let body = body(proposed)?.to_string();
        let leaf = hash(&[&[0], body.as_bytes()]);
        let leaves = {
            let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
            leaves.push(leaf);
            leaves.clone()
        };
        let (at, size, root) = (leaves.len() - 1, leaves.len(), tree(&leaves));
        let log = hash(&[&self.key]);
        let (body, time, log_id) =
            (base64(body.as_bytes()), OffsetDateTime::now_utc().unix_timestamp(), hex::encode(log));
        let promised = format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{log_id}","logIndex":{at}}}"#);
        let note = format!("{ORIGIN} - 1\n{size}\n{}\n", base64(&root));
        let signature = [&log[..4], &self.sign(note.as_bytes())?].concat();
        let hashes: Vec<String> = path(at, &leaves).iter().map(hex::encode).collect();
        let entry = json!({
            "body": body, "integratedTime": time, "logID": log_id, "logIndex": at,
            "verification": {
                "signedEntryTimestamp": base64(&self.sign(promised.as_bytes())?),
                "inclusionProof": {
                    "checkpoint": format!("{note}\n\u{2014} {ORIGIN} {}\n", base64(&signature)),
                    "hashes": hashes, "logIndex": at, "rootHash": hex::encode(root), "treeSize": size,
                },
            },
        });
        let name = hex::encode(leaf);
        Ok((name.clone(), json!({ name: entry })))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.signing.sign(message)?)
    }
}

/// What is written down of a proposal: of an envelope the hashes and the signatures, not what was signed.
fn body(proposed: &Value) -> Result<Value> {
    let spec = &proposed["spec"];
    let spec = match proposed["kind"].as_str() {
        Some("hashedrekord") => spec.clone(),
        Some("dsse") => {
            let content = &spec["proposedContent"];
            let text = content["envelope"].as_str().context("no envelope")?;
            let envelope: Value = serde_json::from_str(text)?;
            let payload = from_base64(envelope["payload"].as_str().context("no payload")?)?;
            let hashed = |bytes: &[u8]| json!({ "algorithm": "sha256", "value": hex::encode(hash(&[bytes])) });
            let signatures = envelope["signatures"].as_array().context("no signatures")?.iter().enumerate();
            let signature =
                |(at, it): (usize, &Value)| json!({ "signature": it["sig"], "verifier": content["verifiers"][at] });
            json!({
                "envelopeHash": hashed(text.as_bytes()), "payloadHash": hashed(&payload),
                "signatures": signatures.map(signature).collect::<Vec<_>>(),
            })
        }
        kind => bail!("entries of kind {kind:?} are not taken"),
    };
    Ok(json!({ "apiVersion": "0.0.1", "kind": proposed["kind"], "spec": spec }))
}

fn hash(parts: &[&[u8]]) -> Hash {
    Sha256::digest(parts.concat()).into()
}

/// RFC 6962, section 2.1: the hash over at least one leaf.
fn tree(leaves: &[Hash]) -> Hash {
    if let [leaf] = leaves {
        return *leaf;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    hash(&[&[1], &tree(left), &tree(right)])
}

/// RFC 6962, section 2.1.1: what leads from a leaf to the hash over all.
fn path(at: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, last) =
        if at < left.len() { (path(at, left), tree(right)) } else { (path(at - left.len(), right), tree(left)) };
    path.push(last);
    path
}

/// The largest power of two below a number above one.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

const ORIGIN: &str = "rekor.lab";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9162, section 2.1.3.2: how a client checks a proof.
    fn root_of(leaf: Hash, mut at: usize, size: usize, path: &[Hash]) -> Hash {
        let (mut last, mut root) = (size - 1, leaf);
        for node in path {
            if !at.is_multiple_of(2) || at == last {
                root = hash(&[&[1], node, &root]);
                while at.is_multiple_of(2) {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                root = hash(&[&[1], &root, node]);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        root
    }

    #[test]
    fn every_leaf_is_proved_to_be_in_the_tree() {
        let leaves: Vec<Hash> = (0..33_u8).map(|at| [at; 32]).collect();
        for size in 1..=leaves.len() {
            for at in 0..size {
                let leaves = &leaves[..size];
                assert_eq!(root_of(leaves[at], at, size, &path(at, leaves)), tree(leaves), "{at} of {size}");
            }
        }
    }
}
