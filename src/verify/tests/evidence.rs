//! Attacks on what comes along with a signature: its certificate, its log entries, its timestamps, and those who are
//! trusted to make them. One test an attempt; everything but the one thing that is wrong holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::PKCS_ECDSA_P256_SHA256;
use serde_json::{Value, json};

use super::lab::{
    Authority, Lab, NOW, Person, Wish, attestation_of, by_logged_key, dsse_body, in_bundle, keyless, pae, payload_of,
    pem, rekor2_body, signature_of, some_digest,
};
use super::samples::{candidate, code, judge, root_json, subject};
use crate::verify::key::HashChoice;
use crate::verify::proof::{Candidate, Material, Need, Trust, check};
use crate::verify::roots::Root;
use crate::verify::verdict::ReasonCode;

const DAY: i64 = 86_400;

fn alone() -> Person {
    Person::with_key(&PKCS_ECDSA_P256_SHA256)
}

fn bundle_of(candidate: &Candidate) -> Value {
    let Material::Bundle(text) = &candidate.material else { panic!("a bundle") };
    serde_json::from_slice(text).expect("JSON")
}

fn with_bundle(candidate: &Candidate, bundle: &Value) -> Candidate {
    Candidate { material: in_bundle(bundle), ..candidate.clone() }
}

/// Row 7: a certificate counts for its minutes, and only a log or a timestamp says which minute it was.
#[test]
fn a_certificate_counts_only_while_it_is_valid() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let alice = lab.person(&Wish::default());
    let at = |time| lab.keyless(in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(time))), &subject);
    for time in [NOW - 300, NOW, NOW + 300] {
        assert!(at(time).is_ok(), "{time}");
    }
    for time in [NOW - 301, NOW + 301, NOW - 400 * DAY, NOW + DAY] {
        assert_eq!(code(at(time)), ReasonCode::CertExpired, "{time}");
    }
    let sig = |time| lab.keyless(lab.sig(&alice, &payload_of(&subject), time), &subject);
    assert_eq!(code(sig(Some(NOW + 301))), ReasonCode::CertExpired);
    assert_eq!(code(sig(None)), ReasonCode::TlogMissing);
}

/// Row 7: the machine's clock is no witness, even for a certificate that is valid right now.
#[test]
fn without_a_witness_of_its_time_a_certificate_proves_nothing() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let alice = lab.person(&Wish { until: NOW + 40_000 * DAY, ..Wish::default() });
    let root = lab.root();
    let trust = Trust::Keyless { root: &root, sct: Need::Require, tlog: Need::Ignore };
    for material in
        [in_bundle(&lab.bundle(&alice, &signature_of(&subject), None)), lab.sig(&alice, &payload_of(&subject), None)]
    {
        assert_eq!(code(check(&super::lab::found(material), &trust, &subject)), ReasonCode::NoTimestamp);
    }
}

/// Row 7: a time that has not come yet, under a certificate that would allow it.
#[test]
fn times_from_the_future_are_refused() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let alice = lab.person(&Wish { until: NOW + 40_000 * DAY, ..Wish::default() });
    let root = lab.root();
    let bundle = lab.bundle(&alice, &signature_of(&subject), Some(NOW + 39_000 * DAY));
    for tlog in [Need::Require, Need::Ignore] {
        let trust = Trust::Keyless { root: &root, sct: Need::Require, tlog };
        assert_eq!(code(check(&super::lab::found(in_bundle(&bundle)), &trust, &subject)), ReasonCode::TlogInvalid);
    }
}

/// Row 7 and 10: an integrated time counts when the log has signed it. With its promise gone it is anybody's word, though
/// proof and timestamp still hold.
#[test]
fn an_integrated_time_without_its_promise_is_refused() {
    for name in ["key-new-tlog-tsa", "keyless-new", "keyless-workload", "keyless-attest-slsa1"] {
        let candidate = candidate(name);
        let mut bundle = bundle_of(&candidate);
        entry(&mut bundle).as_object_mut().expect("an entry").remove("inclusionPromise");
        assert_eq!(code(judge(name, &with_bundle(&candidate, &bundle))), ReasonCode::TlogInvalid, "{name}");
    }
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Row 10: what a policy requires cannot be taken away.
#[test]
fn what_is_taken_away_is_missed() {
    for name in ["key-new-tlog-tsa", "keyless-new"] {
        let candidate = candidate(name);
        let without = |change: &dyn Fn(&mut Value)| {
            let mut bundle = bundle_of(&candidate);
            change(&mut bundle);
            code(judge(name, &with_bundle(&candidate, &bundle)))
        };
        let proof =
            |bundle: &mut Value| drop(entry(bundle).as_object_mut().map(|entry| entry.remove("inclusionProof")));
        assert_eq!(without(&proof), ReasonCode::TlogMissing, "{name}");
        let checkpoint = |bundle: &mut Value| {
            drop(entry(bundle)["inclusionProof"].as_object_mut().map(|proof| proof.remove("checkpoint")));
        };
        assert_eq!(without(&checkpoint), ReasonCode::Malformed, "{name}");
        let log = |bundle: &mut Value| bundle["verificationMaterial"]["tlogEntries"] = json!([]);
        assert_eq!(without(&log), ReasonCode::TlogMissing, "{name}");
    }
    let candidate = candidate("key-new-tsa-only");
    let mut bundle = bundle_of(&candidate);
    bundle["verificationMaterial"]["timestampVerificationData"] = json!({ "rfc3161Timestamps": [] });
    assert_eq!(code(judge("key-new-tsa-only", &with_bundle(&candidate, &bundle))), ReasonCode::NoTimestamp);
}

/// Row 10: a certificate that was never logged, from the right authority.
#[test]
fn a_certificate_has_to_be_logged() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let alice = lab.person(&Wish { sct: false, ..Wish::default() });
    let material = in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW)));
    assert_eq!(code(lab.keyless(material.clone(), &subject)), ReasonCode::SctInvalid);
    let root = lab.root();
    let trust = Trust::Keyless { root: &root, sct: Need::Ignore, tlog: Need::Require };
    assert!(!check(&super::lab::found(material), &trust, &subject).expect("no such proof was wanted").sct);
}

/// Row 9: the log entry of another signature, by the same signer, of the same image.
#[test]
fn a_log_entry_belongs_to_its_signature() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, bob, root) = (lab.person(&Wish::default()), alone(), lab.root());
    let statement = signature_of(&subject);
    for person in [&alice, &bob] {
        let (mut mine, mut other) =
            (lab.bundle(person, &statement, Some(NOW)), lab.bundle(person, &attestation_of(&subject), Some(NOW)));
        *entry(&mut mine) = entry(&mut other).take();
        let result = match person.certificate {
            Some(_) => lab.keyless(in_bundle(&mine), &subject),
            None => by_logged_key(&person.public_key(), &root, in_bundle(&mine), &subject),
        };
        assert_eq!(code(result), ReasonCode::TlogInvalid);
    }
}

/// Row 9 (CVE-2026-22703): an entry of the right payload by somebody else's key.
#[test]
fn a_log_entry_is_by_the_signer() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, bob, mallory, root) = (lab.person(&Wish::default()), alone(), alone(), lab.root());
    let statement = signature_of(&subject);
    for person in [&alice, &bob] {
        let mut bundle = lab.bundle(person, &statement, Some(NOW));
        let sig = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().expect("base64").to_owned();
        let sig = STANDARD.decode(sig).expect("base64");
        let strange = pem("PUBLIC KEY", mallory.public_key().spki());
        *entry(&mut bundle) = lab.entry(&dsse_body(&statement.to_string(), &sig, &strange), NOW);
        let result = match person.certificate {
            Some(_) => lab.keyless(in_bundle(&bundle), &subject),
            None => by_logged_key(&person.public_key(), &root, in_bundle(&bundle), &subject),
        };
        assert_eq!(code(result), ReasonCode::TlogInvalid);
    }
}

/// Row 9: entries, promises and timestamps of the other samples, all of which are genuine.
#[test]
fn evidence_of_another_sample_is_refused() {
    let names = ["key-new-tlog-tsa", "keyless-new", "keyless-workload", "keyless-attest-slsa1"];
    for mine in names {
        for other in names.into_iter().filter(|other| *other != mine) {
            let (candidate, theirs) = (candidate(mine), bundle_of(&candidate(other)));
            for (pointer, expected) in [
                ("/verificationMaterial/tlogEntries", ReasonCode::TlogInvalid),
                ("/verificationMaterial/tlogEntries/0/inclusionPromise", ReasonCode::TlogInvalid),
                ("/verificationMaterial/tlogEntries/0/inclusionProof", ReasonCode::TlogInvalid),
                ("/verificationMaterial/tlogEntries/0/canonicalizedBody", ReasonCode::TlogInvalid),
                ("/verificationMaterial/timestampVerificationData", ReasonCode::NoTimestamp),
                ("/dsseEnvelope/signatures", ReasonCode::BadSignature),
                ("/dsseEnvelope/payload", ReasonCode::BadSignature),
            ] {
                let mut bundle = bundle_of(&candidate);
                bundle.pointer_mut(pointer).expect("a place").clone_from(theirs.pointer(pointer).expect("a place"));
                let found = code(judge(mine, &with_bundle(&candidate, &bundle)));
                let is_expected =
                    found == expected || found == ReasonCode::CertExpired && pointer.ends_with("tlogEntries");
                assert!(is_expected, "{mine} with {pointer} of {other}: {found}");
            }
        }
    }
}

/// Row 11: one entry or one token, shown twice.
#[test]
fn nothing_counts_twice() {
    for name in ["key-new-tlog-tsa", "keyless-new"] {
        let candidate = candidate(name);
        let mut bundle = bundle_of(&candidate);
        let twice = |list: &mut Value| {
            let list = list.as_array_mut().expect("a list");
            list.push(list[0].clone());
        };
        let mut timestamps = bundle.clone();
        twice(&mut bundle["verificationMaterial"]["tlogEntries"]);
        assert_eq!(code(judge(name, &with_bundle(&candidate, &bundle))), ReasonCode::TlogInvalid, "{name}");
        twice(&mut timestamps["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]);
        assert_eq!(code(judge(name, &with_bundle(&candidate, &timestamps))), ReasonCode::Malformed, "{name}");
    }
}

/// Row 20: authorities and logs that are not trusted, or not at that time.
#[test]
fn trust_has_its_time() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let alice = lab.person(&Wish::default());
    let material = in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW)));
    let under = |pointer: &str, window: Value| {
        let mut root = lab.root_json();
        *root.pointer_mut(pointer).expect("a window") = window;
        let root = Root::from_json(root.to_string().as_bytes()).expect("a trusted root");
        keyless(&root, material.clone(), &subject).map_err(|failure| failure.code)
    };
    let good = json!({ "start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z" });
    let (early, late) = (
        json!({ "start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z" }),
        json!({ "start": "2026-01-01T00:00:00Z" }),
    );
    for (pointer, expected) in [
        ("/certificateAuthorities/0/validFor", ReasonCode::CertUntrusted),
        ("/tlogs/0/publicKey/validFor", ReasonCode::TlogInvalid),
        ("/ctlogs/0/publicKey/validFor", ReasonCode::SctInvalid),
    ] {
        assert!(under(pointer, good.clone()).is_ok(), "{pointer}");
        assert_eq!(under(pointer, early.clone()).map(drop), Err(expected), "{pointer}");
        assert_eq!(under(pointer, late.clone()).map(drop), Err(expected), "{pointer}");
    }
    let stranger = Lab::new().root();
    assert_eq!(code(keyless(&stranger, material, &subject)), ReasonCode::TlogInvalid);
}

/// Row 20: a timestamp counts in the time of its authority.
#[test]
fn a_timestamp_authority_has_its_time() {
    let window = |start: &str| {
        let mut root = root_json();
        root["timestampAuthorities"][0]["validFor"] = json!({ "start": start });
        Root::from_json(root.to_string().as_bytes()).expect("a trusted root")
    };
    let (key, subject) = (super::samples::key("key-p256"), subject("key-new-tsa-only"));
    let by = |root: &Root| {
        let (tlog, timestamp) = (Need::Ignore, Need::Require);
        let trust = Trust::Key { key: &key, hash: HashChoice::Auto, tlog, timestamp, root: Some(root) };
        check(&candidate("key-new-tsa-only"), &trust, &subject)
    };
    assert!(by(&window("2020-01-01T00:00:00Z")).expect("a timestamp").timestamp);
    assert_eq!(code(by(&window("2026-12-01T00:00:00Z"))), ReasonCode::NoTimestamp);
    let mut none = root_json();
    none["timestampAuthorities"] = json!([]);
    assert_eq!(
        code(by(&Root::from_json(none.to_string().as_bytes()).expect("a trusted root"))),
        ReasonCode::NoTimestamp
    );
}

/// Row 20: two authorities of one name. The right one is found, whichever comes first, and its window is its own.
#[test]
fn two_authorities_can_have_one_name() {
    let (lab, subject, twin) = (Lab::new(), some_digest("an image"), Authority::new("lab"));
    let alice = lab.person(&Wish::default());
    let material = in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW)));
    let (mine, other) = (Lab::authority_json(&lab.authority, "2020-01-01T00:00:00Z"), "2020-01-01T00:00:00Z");
    let other = Lab::authority_json(&twin, other);
    let under = |authorities: Value| {
        let mut root = lab.root_json();
        root["certificateAuthorities"] = authorities;
        keyless(&Root::from_json(root.to_string().as_bytes()).expect("a trusted root"), material.clone(), &subject)
    };
    assert!(under(json!([mine, other])).is_ok() && under(json!([other, mine])).is_ok());
    assert_eq!(code(under(json!([other]))), ReasonCode::CertUntrusted);
    let closed = Lab::authority_json(&lab.authority, "2026-01-01T00:00:00Z");
    assert_eq!(code(under(json!([closed, other]))), ReasonCode::CertUntrusted);
    let mallory = lab.person_of(&twin, &Wish::default());
    let forged = in_bundle(&lab.bundle(&mallory, &signature_of(&subject), Some(NOW)));
    assert_eq!(code(lab.keyless(forged, &subject)), ReasonCode::CertUntrusted);
}

/// A log entry of `.sig` that names another payload, and one whose promise is for another time.
#[test]
fn the_entry_of_a_sig_is_bound_to_it() {
    let (lab, subject, bob) = (Lab::new(), some_digest("an image"), alone());
    let root = lab.root();
    let layer = |payload: &str| match lab.sig(&bob, payload, Some(NOW)) {
        Material::SimpleSigning { payload, annotations } => (payload, annotations),
        other => panic!("{other:?}"),
    };
    let (payload, mut annotations) = layer(&payload_of(&subject));
    let (_, others) = layer(&payload_of(&some_digest("another image")));
    let bundle = crate::verify::legacy::BUNDLE;
    let good = annotations[bundle].clone();
    let with = |text: String| {
        let mut annotations = annotations.clone();
        annotations.insert(bundle.to_owned(), text);
        by_logged_key(
            &bob.public_key(),
            &root,
            Material::SimpleSigning { payload: payload.clone(), annotations },
            &subject,
        )
    };
    assert!(with(good.clone()).is_ok());
    assert_eq!(code(with(others[bundle].clone())), ReasonCode::TlogInvalid);
    let moved = good.replace(&format!("\"integratedTime\":{NOW}"), &format!("\"integratedTime\":{}", NOW - 1));
    assert_ne!(moved, good);
    assert_eq!(code(with(moved)), ReasonCode::TlogInvalid);
    annotations.remove(bundle);
    let bare = Material::SimpleSigning { payload, annotations };
    assert_eq!(code(by_logged_key(&bob.public_key(), &root, bare, &subject)), ReasonCode::TlogMissing);
}

/// The samples' own root has one log of each kind; an empty root believes nobody.
#[test]
fn an_empty_root_believes_nobody() {
    let empty = json!({ "mediaType": root_json()["mediaType"] });
    let root = Root::from_json(empty.to_string().as_bytes()).expect("a trusted root");
    for name in ["keyless-new", "keyless-legacy"] {
        let trust = Trust::Keyless { root: &root, sct: Need::Ignore, tlog: Need::Ignore };
        assert!(check(&candidate(name), &trust, &subject(name)).is_err(), "{name}");
    }
}

/// Rekor 2 signs no time: its entry proves that a signature is logged, and never when that was.
#[test]
fn an_entry_of_rekor_2_has_no_time() {
    let (lab, subject, bob) = (Lab::new(), some_digest("an image"), alone());
    let (statement, root, spki) = (signature_of(&subject), lab.root(), bob.public_key().spki().to_vec());
    let mut bundle = lab.bundle(&bob, &statement, Some(NOW));
    let sig =
        STANDARD.decode(bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().expect("base64")).expect("base64");
    let signed = pae(statement.to_string().as_bytes());
    let logged = |signed: &[u8], sig: &[u8], key: &[u8]| {
        let mut entry = lab.entry(&rekor2_body(signed, sig, key), 0);
        entry.as_object_mut().expect("an entry").remove("inclusionPromise");
        entry
    };
    *entry(&mut bundle) = logged(&signed, &sig, &spki);
    let proof = by_logged_key(&bob.public_key(), &root, in_bundle(&bundle), &subject).expect("a logged signature");
    assert!(proof.tlog && proof.signed_at.is_none());
    entry(&mut bundle)["integratedTime"] = json!(NOW.to_string());
    assert_eq!(code(by_logged_key(&bob.public_key(), &root, in_bundle(&bundle), &subject)), ReasonCode::TlogInvalid);
    for strange in [
        logged(b"something else", &sig, &spki),
        logged(&signed, b"something else", &spki),
        logged(&signed, &sig, alone().public_key().spki()),
    ] {
        *entry(&mut bundle) = strange;
        assert_eq!(
            code(by_logged_key(&bob.public_key(), &root, in_bundle(&bundle), &subject)),
            ReasonCode::TlogInvalid
        );
    }
}
