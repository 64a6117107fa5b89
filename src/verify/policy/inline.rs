//! A document that names files, as one that lies in no folder.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::Faults;
use super::reading::Files;
use super::{Loaded, Policies, text};

/// A document that can be used, and the same as one that names no file.
#[derive(Clone, Debug)]
pub struct Inlined {
    /// What it says.
    pub loaded: Loaded,
    /// Its text with the files in it: keys as `pem`, trusted roots as `json`. As it was where it names none.
    pub document: String,
}

impl Policies {
    /// Reads a document and the files that it names, and writes these into it.
    ///
    /// # Errors
    /// Everything that is wrong with it, and everything that is odd.
    pub fn load_inlined(bytes: &[u8], files: Files<'_>) -> Result<Inlined, Faults> {
        let seen = RefCell::new(BTreeMap::new());
        let named = |name: &str| {
            let bytes = files(name)?;
            seen.borrow_mut().insert(name.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
            Ok(bytes)
        };
        let loaded = Self::load(bytes, &named)?;
        let (seen, document) = (seen.into_inner(), String::from_utf8_lossy(bytes).into_owned());
        let tree = text::read(bytes).ok().filter(|_| !seen.is_empty());
        let document = tree.map_or(document, |tree| inline(tree.value, &seen).to_string());
        Ok(Inlined { loaded, document })
    }
}

fn inline(mut document: Value, files: &BTreeMap<String, String>) -> Value {
    let roots = document.get_mut("trustRoots").and_then(Value::as_object_mut);
    for root in roots.into_iter().flatten().map(|(_, root)| root) {
        replace(root, "json", files);
    }
    let policies = document.get_mut("policies").and_then(Value::as_array_mut);
    for policy in policies.into_iter().flatten() {
        let authorities = policy.get_mut("authorities").and_then(Value::as_array_mut);
        for key in authorities.into_iter().flatten().filter_map(|authority| authority.get_mut("key")) {
            replace(key, "pem", files);
        }
    }
    document
}

/// Puts what a file holds in the place of its name.
fn replace(node: &mut Value, member: &str, files: &BTreeMap<String, String>) {
    let Some(members) = node.as_object_mut() else { return };
    let held = members.get("file").and_then(Value::as_str).and_then(|name| files.get(name));
    if let Some(held) = held {
        let held = Value::from(held.as_str());
        members.remove("file");
        members.insert(member.to_owned(), held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../../tests/data/signing/keys/key-p256.pub");
    const ROOT: &str = include_str!("../../../tests/data/signing/trusted_root.lab.json");

    fn file(name: &str) -> Result<Vec<u8>, String> {
        match name {
            "keys/a.pub" => Ok(KEY.as_bytes().to_vec()),
            "root.json" => Ok(ROOT.as_bytes().to_vec()),
            _ => Err("it is not there".to_owned()),
        }
    }

    fn nothing(_: &str) -> Result<Vec<u8>, String> {
        Err("there are no files".to_owned())
    }

    #[test]
    fn files_are_written_into_the_document() {
        let document = "apiVersion: trust/v1\ntrustRoots: {lab: {file: root.json}}\npolicies:\n- name: prod\n  \
            match: {repositories: [\"prod/*\", prod]}\n  mode: enforce\n  authorities:\n  \
            - {name: key, key: {file: keys/a.pub, hash: sha256}}\n  - name: ci\n    keyless: {trustRoot: lab, identities: \
            [{issuer: \"https://a.example\", subject: b}]}\n  signature: {}\n";
        let inlined = Policies::load_inlined(document.as_bytes(), &file).expect("it can be used");
        let again = Policies::load_inlined(inlined.document.as_bytes(), &nothing).expect("it needs no files");
        assert_eq!(again.document, inlined.document);
        let asks = |loaded: &Loaded| {
            let policy = loaded.policies.get("prod").expect("the policy");
            policy.authorities.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asks(&again.loaded), asks(&inlined.loaded));
        assert_ne!(again.loaded.policies.revision(), inlined.loaded.policies.revision());
    }

    #[test]
    fn a_document_that_names_no_file_stays_as_it_is() {
        let document = "# mine\napiVersion: trust/v1\npolicies: []\n";
        let inlined = Policies::load_inlined(document.as_bytes(), &nothing).expect("it can be used");
        assert_eq!(inlined.document, document);
        let faults = Policies::load_inlined(b"policies: 5", &nothing).expect_err("no list");
        assert!(!faults.0.is_empty());
    }
}
