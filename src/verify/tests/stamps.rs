//! Timestamps and log entries under roots that the laboratory can write as it likes: which of them count, and when.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rcgen::PKCS_ECDSA_P256_SHA256;
use serde_json::{Value, json};

use super::lab::{
    Lab, NOW, Person, Wish, by_logged_key, der, dsse_body, found, in_bundle, keyless, pae, payload_of, pem,
    rekor2_body, signature_of, some_digest,
};
use super::samples::code;
use super::tsa::TimestampAuthority;
use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::verify::evidence::or_of_the_log;
use crate::verify::failure::Failure;
use crate::verify::key::{HashChoice, PublicKey};
use crate::verify::legacy::{CERTIFICATE, SIGNATURE, TIMESTAMP};
use crate::verify::proof::{Material, Need, Proof, Signer, Trust, check};
use crate::verify::roots::Root;
use crate::verify::text::to_base64;
use crate::verify::verdict::ReasonCode;

fn alone() -> Person {
    Person::with_key(&PKCS_ECDSA_P256_SHA256)
}

fn root_of(json: &Value) -> Root {
    Root::from_json(json.to_string().as_bytes()).expect("a trusted root")
}

fn root_with(lab: &Lab, tsa: &TimestampAuthority) -> Root {
    let mut root = lab.root_json();
    root["timestampAuthorities"] = json!([tsa.json()]);
    root_of(&root)
}

fn value_of(bundle: &Value) -> Vec<u8> {
    let sig = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().expect("base64");
    STANDARD.decode(sig).expect("base64")
}

fn stamp_in(bundle: &mut Value, token: &[u8]) {
    let timestamps = json!({ "rfc3161Timestamps": [{ "signedTimestamp": to_base64(token) }] });
    bundle["verificationMaterial"]["timestampVerificationData"] = timestamps;
}

/// What the key says that wants a timestamp and no log entry.
fn by_stamped_key(key: &PublicKey, root: &Root, material: Material, subject: &Digest) -> Result<Proof, Failure> {
    let (tlog, timestamp) = (Need::Ignore, Need::Require);
    check(&found(material), &Trust::Key { key, hash: HashChoice::Auto, tlog, timestamp, root: Some(root) }, subject)
}

#[test]
fn a_timestamp_says_when_a_key_signed() {
    let (lab, tsa, bob, subject) = (Lab::new(), TimestampAuthority::new(), alone(), some_digest("an image"));
    let root = root_with(&lab, &tsa);
    let mut bundle = lab.bundle(&bob, &signature_of(&subject), None);
    let value = value_of(&bundle);
    let by = |bundle: &Value| by_stamped_key(&bob.public_key(), &root, in_bundle(bundle), &subject);
    stamp_in(&mut bundle, &tsa.stamp(&value, NOW));
    let proof = by(&bundle).expect("a stamped signature");
    assert!(proof.timestamp && !proof.tlog);
    assert_eq!(proof.signed_at.map(Timestamp::as_micros), Some(NOW * 1_000_000));
    stamp_in(&mut bundle, &tsa.stamp(b"something else", NOW));
    assert_eq!(code(by(&bundle)), ReasonCode::NoTimestamp);
    stamp_in(&mut bundle, &TimestampAuthority::new().stamp(&value, NOW));
    assert_eq!(code(by(&bundle)), ReasonCode::NoTimestamp);
}

/// Row 12 and 13: a parser that sorts takes the square of the length of a SET.
#[test]
fn a_token_with_a_long_set_is_refused_unread() {
    let (lab, tsa, bob, subject) = (Lab::new(), TimestampAuthority::new(), alone(), some_digest("an image"));
    let root = root_with(&lab, &tsa);
    let mut bundle = lab.bundle(&bob, &signature_of(&subject), None);
    let value = value_of(&bundle);
    let by = |bundle: &Value| by_stamped_key(&bob.public_key(), &root, in_bundle(bundle), &subject);
    let certificate = lab.person(&Wish::default()).certificate.expect("a certificate");
    stamp_in(&mut bundle, &tsa.stamp_with(&value, NOW, &certificate));
    assert!(by(&bundle).is_ok());
    for stuffing in [der(0x30, &[]).repeat(33), der(0x30, &der(0x31, &[5, 0].repeat(4000)))] {
        stamp_in(&mut bundle, &tsa.stamp_with(&value, NOW, &stuffing));
        assert_eq!(code(by(&bundle)), ReasonCode::LimitExceeded);
        assert_eq!(
            code(by_logged_key(&bob.public_key(), &root, in_bundle(&bundle), &subject)),
            ReasonCode::LimitExceeded
        );
    }
    stamp_in(&mut bundle, b"no DER");
    assert_eq!(code(by(&bundle)), ReasonCode::Malformed);
}

/// Row 12 and 13: an entry that nobody asks to be in a log is parsed all the same, and holds whatever its maker likes.
#[test]
fn a_log_entry_with_a_long_certificate_is_refused_unread() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let (root, statement) = (lab.root(), signature_of(&subject));
    let mut bundle = lab.bundle(&bob, &statement, Some(NOW));
    let value = value_of(&bundle);
    let mut with = |certificate: &[u8]| {
        let body = dsse_body(&statement.to_string(), &value, &pem("CERTIFICATE", certificate));
        bundle["verificationMaterial"]["tlogEntries"] = json!([lab.entry(&body, NOW)]);
        code(by_logged_key(&bob.public_key(), &root, in_bundle(&bundle), &subject))
    };
    assert_eq!(with(&lab.person(&Wish::default()).certificate.expect("a certificate")), ReasonCode::TlogInvalid);
    assert_eq!(with(&der(0x30, &der(0x31, &[5, 0].repeat(33)))), ReasonCode::LimitExceeded);
    assert_eq!(with(&der(0x30, &[5, 0].repeat(20_000))), ReasonCode::LimitExceeded);
}

/// A `.sig` whose log entry nobody asks for, and whose timestamp somebody does.
#[test]
fn a_timestamp_of_a_sig_needs_no_log_entry() {
    let (lab, tsa, bob, subject) = (Lab::new(), TimestampAuthority::new(), alone(), some_digest("an image"));
    let root = root_with(&lab, &tsa);
    for time in [Some(NOW), None] {
        let Material::SimpleSigning { payload, mut annotations } = lab.sig(&bob, &payload_of(&subject), time) else {
            panic!("a layer of a .sig");
        };
        let value = STANDARD.decode(&annotations[SIGNATURE]).expect("base64");
        let answer = |token: &[u8]| json!({ "SignedRFC3161Timestamp": to_base64(token) }).to_string();
        annotations.insert(TIMESTAMP.to_owned(), answer(&tsa.stamp(&value, NOW + 5)));
        let material = Material::SimpleSigning { payload: payload.clone(), annotations: annotations.clone() };
        let proof = by_stamped_key(&bob.public_key(), &root, material, &subject).expect("a stamped signature");
        assert!(proof.timestamp && !proof.tlog);
        assert_eq!(proof.signed_at.map(Timestamp::as_micros), Some((NOW + 5) * 1_000_000));
        annotations.insert(TIMESTAMP.to_owned(), answer(&tsa.stamp(b"something else", NOW)));
        let material = Material::SimpleSigning { payload, annotations };
        assert_eq!(code(by_stamped_key(&bob.public_key(), &root, material, &subject)), ReasonCode::NoTimestamp);
    }
}

/// Row 20: the checkpoint of a log that was closed, beside a promise of one that is open.
#[test]
fn a_checkpoint_is_by_a_log_whose_key_counts() {
    let (lab, closed, subject) = (Lab::new(), Lab::new(), some_digest("an image"));
    let (alice, bob) = (lab.person(&Wish::default()), alone());
    let under = |end: &str| {
        let (mut root, other) = (lab.root_json(), closed.root_json());
        root["tlogs"].as_array_mut().expect("logs").extend(other["tlogs"].as_array().cloned().expect("logs"));
        root["tlogs"][1]["publicKey"]["validFor"] = json!({ "start": "2020-01-01T00:00:00Z", "end": end });
        root_of(&root)
    };
    for person in [&alice, &bob] {
        let mut bundle = lab.bundle(person, &signature_of(&subject), Some(NOW));
        let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
        let body = STANDARD.decode(entry["canonicalizedBody"].as_str().expect("base64")).expect("base64");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        entry["inclusionProof"] = closed.entry(&body, NOW)["inclusionProof"].take();
        let by = |root: &Root| match person.certificate {
            Some(_) => keyless(root, in_bundle(&bundle), &subject),
            None => by_logged_key(&person.public_key(), root, in_bundle(&bundle), &subject),
        };
        assert!(by(&under("2025-06-16T00:00:00Z")).expect("a logged signature").tlog);
        assert_eq!(code(by(&under("2025-06-15T00:00:00Z"))), ReasonCode::TlogInvalid);
    }
}

/// Row 20: Rekor 2 signs no time, so a timestamp says whether its key counted, asked for or not. Without one its log has
/// begun, and that it is closed by now says nothing of the entry.
#[test]
fn an_entry_of_rekor_2_is_held_against_the_time_of_its_log() {
    let (lab, tsa, bob, subject) = (Lab::new(), TimestampAuthority::new(), alone(), some_digest("an image"));
    let (statement, key) = (signature_of(&subject), bob.public_key());
    let mut bundle = lab.bundle(&bob, &statement, None);
    let value = value_of(&bundle);
    let mut entry = lab.entry(&rekor2_body(&pae(statement.to_string().as_bytes()), &value, key.spki()), 0);
    entry.as_object_mut().expect("an entry").remove("inclusionPromise");
    bundle["verificationMaterial"]["tlogEntries"] = json!([entry]);
    let (mut stamped, mut foreign) = (bundle.clone(), bundle.clone());
    stamp_in(&mut stamped, &tsa.stamp(&value, NOW));
    stamp_in(&mut foreign, &TimestampAuthority::new().stamp(&value, NOW));
    let by = |bundle: &Value, timestamp: Need, window: Value| {
        let mut root = lab.root_json();
        root["timestampAuthorities"] = json!([tsa.json()]);
        root["tlogs"][0]["publicKey"]["validFor"] = window;
        let (tlog, root) = (Need::Require, root_of(&root));
        let trust = Trust::Key { key: &key, hash: HashChoice::Auto, tlog, timestamp, root: Some(&root) };
        let proof = check(&found(in_bundle(bundle)), &trust, &subject).map_err(|failure| failure.code)?;
        assert_eq!(proof.timestamp, timestamp == Need::Require, "what is not asked for proves nothing");
        Ok(())
    };
    let until = |end: &str| json!({ "start": "2020-01-01T00:00:00Z", "end": end });
    let from = |start: &str| json!({ "start": start });
    for (bundle, timestamp) in
        [(&stamped, Need::Require), (&stamped, Need::Ignore), (&bundle, Need::Ignore), (&foreign, Need::Ignore)]
    {
        assert_eq!(by(bundle, timestamp, from("2020-01-01T00:00:00Z")), Ok(()));
        assert_eq!(by(bundle, timestamp, Value::Null), Ok(()));
        assert_eq!(by(bundle, timestamp, until("2025-06-16T00:00:00Z")), Ok(()), "it was open when it was signed");
        assert_eq!(by(bundle, timestamp, from("2999-01-01T00:00:00Z")), Err(ReasonCode::TlogInvalid));
    }
    for timestamp in [Need::Require, Need::Ignore] {
        assert_eq!(by(&stamped, timestamp, until("2025-06-15T00:00:00Z")), Err(ReasonCode::TlogInvalid));
        assert_eq!(by(&stamped, timestamp, from("2025-06-16T00:00:00Z")), Err(ReasonCode::TlogInvalid));
    }
}

/// That the library does not know an algorithm is not that an entry is forged.
#[test]
fn entries_of_other_algorithms_are_not_supported() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let (root, statement, key) = (lab.root(), signature_of(&subject), bob.public_key());
    let mut bundle = lab.bundle(&bob, &statement, None);
    let body = rekor2_body(&pae(statement.to_string().as_bytes()), &value_of(&bundle), key.spki());
    for (pointer, name) in [
        ("/spec/hashedRekordV002/signature/verifier/keyDetails", "PKIX_ECDSA_P384_SHA_384"),
        ("/spec/hashedRekordV002/data/algorithm", "SHA2_384"),
    ] {
        let mut body = body.clone();
        *body.pointer_mut(pointer).expect("a member") = json!(name);
        let mut entry = lab.entry(&body, 0);
        entry.as_object_mut().expect("an entry").remove("inclusionPromise");
        bundle["verificationMaterial"]["tlogEntries"] = json!([entry]);
        assert_eq!(code(by_logged_key(&key, &root, in_bundle(&bundle), &subject)), ReasonCode::UnsupportedAlgorithm);
    }
}

/// An entry that nobody knows takes nothing from one beside it, and gives nothing.
#[test]
fn entries_of_other_logs_are_left_out() {
    let (lab, other, tsa, subject) = (Lab::new(), Lab::new(), TimestampAuthority::new(), some_digest("an image"));
    let (alice, bob, root) = (lab.person(&Wish::default()), alone(), root_with(&lab, &tsa));
    for person in [&alice, &bob] {
        let mut bundle = lab.bundle(person, &signature_of(&subject), Some(NOW));
        let value = value_of(&bundle);
        stamp_in(&mut bundle, &tsa.stamp(&value, NOW + 5));
        let entry = bundle["verificationMaterial"]["tlogEntries"][0].clone();
        let body = STANDARD.decode(entry["canonicalizedBody"].as_str().expect("base64")).expect("base64");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let strange = other.entry(&body, NOW - 5);
        let key = person.public_key();
        let by = |entries: Value, tlog: Need, version: &str| {
            let mut bundle = bundle.clone();
            bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
            bundle["verificationMaterial"]["tlogEntries"] = entries;
            let trust = match person.certificate {
                Some(_) => Trust::Keyless { root: &root, sct: Need::Require, tlog },
                None => {
                    Trust::Key { key: &key, hash: HashChoice::Auto, tlog, timestamp: Need::Require, root: Some(&root) }
                }
            };
            let proof = check(&found(in_bundle(&bundle)), &trust, &subject).map_err(|failure| failure.code)?;
            Ok((proof.timestamp, proof.signed_at.map(|time| time.as_micros() / 1_000_000)))
        };
        for entries in [json!([entry, strange]), json!([strange, entry])] {
            assert_eq!(by(entries, Need::Require, "0.3"), Ok((true, Some(NOW))));
        }
        assert_eq!(by(json!([strange]), Need::Require, "0.3"), Err(ReasonCode::TlogInvalid));
        for version in ["0.1", "0.3"] {
            assert_eq!(by(json!([strange]), Need::Ignore, version), Ok((true, Some(NOW + 5))));
        }
    }
}

/// A `.sig` of a key beside which somebody put a certificate: a log may know it by either.
#[test]
fn a_key_signs_with_a_certificate_beside_it() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, mallory, root) = (lab.person(&Wish::default()), lab.person(&Wish::default()), lab.root());
    let (key, payload) = (alice.public_key(), payload_of(&subject));
    let annotations = |material: Material| match material {
        Material::SimpleSigning { annotations, .. } => annotations,
        _ => panic!("a layer of a .sig"),
    };
    let by = |annotations: &BTreeMap<String, String>, key: &PublicKey| {
        let payload = Bytes::from(payload.clone());
        let material = Material::SimpleSigning { payload, annotations: annotations.clone() };
        by_logged_key(key, &root, material, &subject)
    };
    let logged_as_certificate = annotations(lab.sig(&alice, &payload, Some(NOW)));
    assert!(by(&logged_as_certificate, &key).expect("a logged signature").tlog);
    assert_eq!(code(by(&logged_as_certificate, &mallory.public_key())), ReasonCode::BadSignature);
    let mut without = logged_as_certificate.clone();
    without.remove(CERTIFICATE);
    assert!(by(&without, &key).expect("a logged signature").tlog, "what stands in the log is of the key all the same");
    let bare = Person { key: alice.key, certificate: None };
    let mut logged_as_key = annotations(lab.sig(&bare, &payload, Some(NOW)));
    let certificate = logged_as_certificate[CERTIFICATE].clone();
    logged_as_key.insert(CERTIFICATE.to_owned(), certificate);
    assert!(by(&logged_as_key, &key).expect("a logged signature").tlog);
    let thief = Person { key: bare.key, certificate: mallory.certificate };
    assert_eq!(code(by(&annotations(lab.sig(&thief, &payload, Some(NOW))), &key)), ReasonCode::TlogInvalid);
}

/// Row 10: the version on the outside is the sender's word.
#[test]
fn no_version_of_a_bundle_does_without_the_proof_of_inclusion() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, bob, root) = (lab.person(&Wish::default()), alone(), lab.root());
    for person in [&alice, &bob] {
        let mut bundle = lab.bundle(person, &signature_of(&subject), Some(NOW));
        let by = |bundle: &Value| match person.certificate {
            Some(_) => lab.keyless(in_bundle(bundle), &subject),
            None => by_logged_key(&person.public_key(), &root, in_bundle(bundle), &subject),
        };
        bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
        assert!(by(&bundle).is_ok());
        bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"] = Value::Null;
        assert_eq!(code(by(&bundle)), ReasonCode::TlogMissing);
    }
}

/// Revocation by key reaches the keys of certificates as well.
#[test]
fn a_proof_names_the_key_that_signed() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, bob, root) = (lab.person(&Wish::default()), alone(), lab.root());
    let statement = signature_of(&subject);
    for material in
        [in_bundle(&lab.bundle(&alice, &statement, Some(NOW))), lab.sig(&alice, &payload_of(&subject), Some(NOW))]
    {
        let proof = lab.keyless(material, &subject).expect("a keyless signature");
        assert!(matches!(proof.signer, Signer::Identity { .. }));
        assert_eq!(proof.key, alice.public_key().fingerprint());
    }
    let material = in_bundle(&lab.bundle(&bob, &statement, Some(NOW)));
    let proof = by_logged_key(&bob.public_key(), &root, material, &subject).expect("a logged signature");
    assert_eq!(proof.signer, Signer::Key { fingerprint: proof.key });
}

/// What was signed can be 16 MiB, and is not read for signatures that fail without it.
#[test]
fn what_was_signed_is_read_for_a_mismatch_alone() {
    let unread = || panic!("it was read");
    let failure = Failure::new(ReasonCode::BadSignature, "no signature");
    assert_eq!(or_of_the_log(failure.clone(), unread), failure);
    let mismatch = Failure::new(ReasonCode::SubjectMismatch, "another image");
    assert_eq!(or_of_the_log(mismatch.clone(), || false), mismatch);
    assert_eq!(or_of_the_log(mismatch, || true).code, ReasonCode::TlogInvalid);
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let material = in_bundle(&lab.bundle(&bob, &signature_of(&some_digest("another image")), None));
    let strange = super::lab::by_key(&alone().public_key(), material, &subject);
    assert_eq!(code(strange), ReasonCode::BadSignature, "whether it is of this image counts after whose it is");
}
