//! What is fuzzed: everything that reads bytes of strangers before anybody is believed. A target takes any bytes, and ends.

use std::sync::LazyLock;

use bonded::oci::digest::{Algorithm, Digest};
use bonded::verify::blob::{Blob, check_blob};
use bonded::verify::bundle::Bundle;
use bonded::verify::certificate::Leaf;
use bonded::verify::policy::Policies;
use bonded::verify::proof::{Need, Trust};
use bonded::verify::roots::Root;

static ROOT: LazyLock<Root> = LazyLock::new(|| {
    Root::from_json(include_bytes!("../data/signing/trusted_root.lab.json")).expect("the root of the samples")
});

/// A bundle: its form, and all that is looked at of it under a root that knows the samples' authorities.
pub(crate) fn bundle(bytes: &[u8]) {
    let is_bundle = Bundle::parse(bytes).is_ok();
    let digest = Digest::of(Algorithm::Sha256, bytes);
    for tlog in [Need::Require, Need::Ignore] {
        let trust = Trust::Keyless { root: &ROOT, sct: Need::Require, tlog };
        let proof = check_blob(bytes, Blob::Digest(&digest), &trust);
        assert!(proof.is_err(), "nothing names the digest of what names it");
        assert!(is_bundle || check_blob(bytes, Blob::Bytes(b"a file"), &trust).is_err());
    }
}

/// A policy, and the files that it names, all of which are the policy.
pub(crate) fn policy(bytes: &[u8]) {
    match Policies::load(bytes, &|_| Ok(bytes.to_vec())) {
        Ok(loaded) => assert!(!loaded.policies.revision().is_empty()),
        Err(faults) => assert!(!faults.0.is_empty(), "what is refused has a reason"),
    }
}

/// A certificate (DER).
pub(crate) fn certificate(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert!(!leaf.issuer.is_empty() && !leaf.subject.is_empty());
    }
}
