//! Signatures of files.

use rcgen::PKCS_ECDSA_P256_SHA256;
use serde_json::Value;

use super::lab::{Lab, NOW, Person, Wish, attestation_of};
use crate::oci::digest::{Algorithm, Digest};
use crate::verify::blob::{Blob, BlobProof, check_blob};
use crate::verify::key::{HashChoice, PublicKey};
use crate::verify::proof::{Claim, Failure, Need, Signer, Trust};
use crate::verify::roots::Root;
use crate::verify::verdict::ReasonCode;

const FILE: &[u8] = b"a file";

fn by_key(key: &PublicKey, root: Option<&Root>, bundle: &Value, blob: Blob<'_>) -> Result<BlobProof, Failure> {
    let tlog = if root.is_some() { Need::Require } else { Need::Ignore };
    let trust = Trust::Key { key, hash: HashChoice::Auto, tlog, timestamp: Need::Ignore, root };
    check_blob(bundle.to_string().as_bytes(), blob, &trust)
}

fn code(result: Result<BlobProof, Failure>) -> ReasonCode {
    result.expect_err("a failure").code
}

#[test]
fn a_file_is_signed_by_whom_its_bundle_says() {
    let (lab, digest) = (Lab::new(), Digest::of(Algorithm::Sha256, FILE));
    let (alice, root) = (lab.person(&Wish::default()), lab.root());
    let trust = Trust::Keyless { root: &root, sct: Need::Require, tlog: Need::Require };
    let bundle = lab.file_bundle(&alice, FILE, Some(NOW)).to_string();
    let check = |blob| check_blob(bundle.as_bytes(), blob, &trust);
    for blob in [Blob::Bytes(FILE), Blob::Digest(&digest)] {
        let proof = check(blob).expect("a signature");
        assert!(matches!(proof.signer, Signer::Identity { subject, .. } if subject == "alice@example.com"));
        assert!(proof.claim.is_none() && proof.tlog && proof.sct && !proof.timestamp && proof.signed_at.is_some());
    }
    let other = Digest::of(Algorithm::Sha256, b"another file");
    assert_eq!(code(check(Blob::Bytes(b"another file"))), ReasonCode::BadSignature);
    assert_eq!(code(check(Blob::Digest(&other))), ReasonCode::SubjectMismatch);
    let lied = bundle.replace("messageDigest", "MessageDigest");
    assert_eq!(code(check_blob(lied.as_bytes(), Blob::Bytes(FILE), &trust)), ReasonCode::Malformed);
}

#[test]
fn a_key_alone_needs_the_bytes() {
    let (lab, digest) = (Lab::new(), Digest::of(Algorithm::Sha256, FILE));
    let (bob, mallory) = (Person::with_key(&PKCS_ECDSA_P256_SHA256), Person::with_key(&PKCS_ECDSA_P256_SHA256));
    let (key, root) = (bob.public_key(), lab.root());
    let (bare, logged) = (lab.file_bundle(&bob, FILE, None), lab.file_bundle(&bob, FILE, Some(NOW)));
    assert!(by_key(&key, None, &bare, Blob::Bytes(FILE)).is_ok());
    assert!(by_key(&key, Some(&root), &logged, Blob::Bytes(FILE)).is_ok());
    assert!(by_key(&key, Some(&root), &logged, Blob::Digest(&digest)).is_ok());
    assert_eq!(code(by_key(&key, None, &bare, Blob::Digest(&digest))), ReasonCode::UnsupportedAlgorithm);
    assert_eq!(code(by_key(&key, Some(&root), &bare, Blob::Digest(&digest))), ReasonCode::TlogMissing);
    let strange = mallory.public_key();
    assert_eq!(code(by_key(&strange, None, &bare, Blob::Bytes(FILE))), ReasonCode::BadSignature);
    assert_eq!(code(by_key(&strange, Some(&root), &logged, Blob::Bytes(FILE))), ReasonCode::BadSignature);
    assert_eq!(code(by_key(&strange, Some(&root), &logged, Blob::Digest(&digest))), ReasonCode::BadSignature);
}

#[test]
fn a_statement_can_be_about_a_file() {
    let (lab, digest) = (Lab::new(), Digest::of(Algorithm::Sha256, FILE));
    let bob = Person::with_key(&PKCS_ECDSA_P256_SHA256);
    let bundle = lab.bundle(&bob, &attestation_of(&digest), None);
    for blob in [Blob::Bytes(FILE), Blob::Digest(&digest)] {
        let proof = by_key(&bob.public_key(), None, &bundle, blob).expect("a statement");
        assert!(matches!(proof.claim, Some(Claim::Attestation { .. })));
    }
    let result = by_key(&bob.public_key(), None, &bundle, Blob::Bytes(b"another file"));
    assert_eq!(code(result), ReasonCode::SubjectMismatch);
}
