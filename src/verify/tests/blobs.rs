//! Signatures of files.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA256, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    SignatureAlgorithm,
};
use serde_json::{Value, json};

use super::lab::{Lab, NOW, Person, Wish, attestation_of};
use crate::oci::digest::{Algorithm, Digest};
use crate::verify::blob::{Blob, BlobProof, check_blob};
use crate::verify::key::{HashChoice, Hashes, PublicKey};
use crate::verify::proof::{Claim, Failure, Need, Signer, Trust};
use crate::verify::roots::Root;
use crate::verify::text::to_base64;
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
    assert_eq!(code(check(Blob::Bytes(b"another file"))), ReasonCode::SubjectMismatch);
    assert_eq!(code(check(Blob::Digest(&other))), ReasonCode::SubjectMismatch);
    let lied = bundle.replace("messageDigest", "MessageDigest");
    assert_eq!(code(check_blob(lied.as_bytes(), Blob::Bytes(FILE), &trust)), ReasonCode::Malformed);
}

/// A bundle that says another hash of what was signed, or none.
fn saying(mut bundle: Value, digest: Value) -> Value {
    bundle["messageSignature"]["messageDigest"] = digest;
    bundle
}

fn message_digest(name: &str, algorithm: &'static digest::Algorithm, bytes: &[u8]) -> Value {
    json!({ "algorithm": name, "digest": to_base64(digest::digest(algorithm, bytes).as_ref()) })
}

#[test]
fn a_bundle_is_for_the_file_that_it_says() {
    let (lab, digest) = (Lab::new(), Digest::of(Algorithm::Sha256, FILE));
    let bob = Person::with_key(&PKCS_ECDSA_P256_SHA256);
    let hashes = Hashes::of(FILE);
    let with =
        |said: Value, blob| by_key(&bob.public_key(), None, &saying(lab.file_bundle(&bob, FILE, None), said), blob);
    for (name, algorithm) in [("SHA2_256", &SHA256), ("SHA2_384", &SHA384), ("SHA2_512", &SHA512)] {
        for blob in [Blob::Bytes(FILE), Blob::Hashed(&hashes)] {
            assert!(with(message_digest(name, algorithm, FILE), blob).is_ok(), "{name}");
            let other = message_digest(name, algorithm, b"another file");
            assert_eq!(code(with(other, blob)), ReasonCode::SubjectMismatch, "{name}");
        }
    }
    assert!(with(Value::Null, Blob::Bytes(FILE)).is_ok());
    let (right, other) =
        (message_digest("SHA2_256", &SHA256, FILE), message_digest("SHA2_256", &SHA256, b"another file"));
    assert!(with(right, Blob::Digest(&digest)).is_ok());
    assert_eq!(code(with(other, Blob::Digest(&digest))), ReasonCode::SubjectMismatch);
    let long = message_digest("SHA2_512", &SHA512, FILE);
    assert_eq!(code(with(long, Blob::Digest(&digest))), ReasonCode::UnsupportedAlgorithm);
    for (said, expected) in [
        (json!({ "algorithm": "MD5", "digest": "" }), ReasonCode::UnsupportedAlgorithm),
        (message_digest("SHA3_256", &SHA256, FILE), ReasonCode::UnsupportedAlgorithm),
        (message_digest("SHA2_512", &SHA256, FILE), ReasonCode::Malformed),
        (json!({ "algorithm": "SHA2_256", "digest": "" }), ReasonCode::Malformed),
    ] {
        assert_eq!(code(with(said.clone(), Blob::Bytes(FILE))), expected, "{said}");
    }
}

#[test]
fn a_signature_is_checked_by_the_hash_that_was_signed() {
    let (lab, digest) = (Lab::new(), Digest::of(Algorithm::Sha256, FILE));
    let other = Digest::of(Algorithm::Sha256, b"another file");
    let with = |algorithm: &'static SignatureAlgorithm, digest: &Digest| {
        let person = Person::with_key(algorithm);
        let bundle = saying(lab.file_bundle(&person, FILE, None), Value::Null);
        by_key(&person.public_key(), None, &bundle, Blob::Digest(digest))
    };
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P521_SHA256] {
        assert!(with(algorithm, &digest).is_ok(), "{algorithm:?}");
    }
    assert_eq!(code(with(&PKCS_ECDSA_P256_SHA256, &other)), ReasonCode::BadSignature);
    assert!(with(&PKCS_ECDSA_P521_SHA512, &Digest::of(Algorithm::Sha512, FILE)).is_ok());
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ECDSA_P521_SHA512, &PKCS_ED25519] {
        assert_eq!(code(with(algorithm, &digest)), ReasonCode::UnsupportedAlgorithm, "{algorithm:?}");
    }
}

#[test]
fn a_key_alone_needs_no_bytes() {
    let (lab, digest) = (Lab::new(), Digest::of(Algorithm::Sha256, FILE));
    let (bob, mallory) = (Person::with_key(&PKCS_ECDSA_P256_SHA256), Person::with_key(&PKCS_ECDSA_P256_SHA256));
    let (key, root) = (bob.public_key(), lab.root());
    let (bare, logged) = (lab.file_bundle(&bob, FILE, None), lab.file_bundle(&bob, FILE, Some(NOW)));
    assert!(by_key(&key, None, &bare, Blob::Bytes(FILE)).is_ok());
    assert!(by_key(&key, Some(&root), &logged, Blob::Bytes(FILE)).is_ok());
    assert!(by_key(&key, Some(&root), &logged, Blob::Digest(&digest)).is_ok());
    assert!(by_key(&key, None, &bare, Blob::Digest(&digest)).is_ok());
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

#[test]
fn a_statement_names_a_file_by_any_hash_and_by_no_wrong_one() {
    let lab = Lab::new();
    let bob = Person::with_key(&PKCS_ECDSA_P256_SHA256);
    let (key, root) = (bob.public_key(), lab.root());
    let (hashes, digest) = (Hashes::of(FILE), Digest::of(Algorithm::Sha256, FILE));
    let hash = |algorithm, bytes: &[u8]| hex::encode(digest::digest(algorithm, bytes));
    let [short, middle, long] = [&SHA256, &SHA384, &SHA512].map(|algorithm| hash(algorithm, FILE));
    let wrong = hash(&SHA512, b"another file");
    let with = |names: &Value, root: Option<&Root>, blob: Blob<'_>| {
        let mut statement = attestation_of(&digest);
        statement["subject"] = json!([{ "name": "other", "digest": { "gitCommit": "00" } }, { "digest": names }]);
        by_key(&key, root, &lab.bundle(&bob, &statement, root.map(|_| NOW)), blob)
    };
    for names in [json!({ "sha512": long }), json!({ "sha384": middle }), json!({ "sha256": short, "sha512": long })] {
        for blob in [Blob::Bytes(FILE), Blob::Hashed(&hashes)] {
            assert!(with(&names, None, blob).is_ok(), "{names}");
            let logged = with(&names, Some(&root), blob);
            match names.get("sha384") {
                Some(_) => assert_eq!(code(logged), ReasonCode::UnsupportedAlgorithm),
                None => assert!(logged.is_ok_and(|proof| proof.tlog), "{names}"),
            }
        }
        let known = names.get("sha256").is_some();
        assert_eq!(with(&names, None, Blob::Digest(&digest)).is_ok(), known, "{names}");
    }
    for names in [json!({ "sha256": short, "sha512": wrong }), json!({ "sha384": middle, "sha512": wrong })] {
        for root in [None, Some(&root)] {
            assert_eq!(code(with(&names, root, Blob::Bytes(FILE))), ReasonCode::SubjectMismatch, "{names}");
        }
    }
    assert_eq!(code(with(&json!({}), None, Blob::Bytes(FILE))), ReasonCode::SubjectMismatch);
}
