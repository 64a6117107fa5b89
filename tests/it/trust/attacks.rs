//! What an attacker pushes, and that nobody gets the image for it; `docs/reference/attacks.md` has the rows. Everything but
//! the one thing that is wrong holds, and at the end of each the honest signature opens the image.

use bonded::faults::Moment;
use bonded::metadata::layers::Fault;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::samples::{alice, bundle, by_key, enforce_under, image_of, keyless, push_image, referrer, registry, root};
use super::signer::{Signed, Signer, bundle_of, sig_tag};
use super::{digest_path, enforce, image, ok, path, policy_of, refused, set, shown};
use crate::app::{TestApp, expect};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};

const ISSUER: &str = "https://issuer.lab.example";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The code of what stands in the way first, or the verdict.
async fn why(app: &TestApp, by: &str) -> String {
    let detail = refused(app.get(by)).await;
    let code = detail["reasons"].as_array().expect("reasons").iter().find(|reason| reason.get("artifact").is_some());
    code.map_or(&detail["verdict"], |reason| &reason["code"]).as_str().expect("a word").to_owned()
}

/// An image under a policy that trusts one signer.
async fn guarded(signer: &Signer, seed: u8) -> (TestApp, Vec<u8>, String) {
    let app = TestApp::start().await;
    let manifest = image(&app, "prod/app", "v1", seed).await;
    enforce(&app, &[policy_of(signer)]);
    (app, manifest, path("prod/app", "v1"))
}

fn payload_of(manifest: &[u8]) -> String {
    let image = json!({"docker-manifest-digest": sha256(manifest)});
    let kind = "cosign container image signature";
    let critical = json!({"identity": {"docker-reference": "example.com/a"}, "image": image, "type": kind});
    json!({"critical": critical, "optional": null}).to_string()
}

fn statement_of(manifest: &[u8]) -> String {
    let hex = sha256(manifest).replace("sha256:", "");
    let (kind, subject) = ("https://in-toto.io/Statement/v1", json!([{"digest": {"sha256": hex}}]));
    json!({"_type": kind, "subject": subject, "predicateType": SIGN, "predicate": {}}).to_string()
}

/// Pushes signatures over these bytes, one by one, and insists that each leaves the image refused.
async fn all_refused(app: &TestApp, manifest: &[u8], signed: Vec<Signed>) {
    for signed in signed {
        let tag = sig_tag(manifest);
        let is_tagged = !signed.manifest.windows(9).any(|name| name == b"\"subject\"");
        let digest = signed.push(app, "prod/app", is_tagged.then_some(&tag), None).await;
        refused(app.get(&digest_path("prod/app", manifest))).await;
        let by = path("prod/app", if is_tagged { &tag } else { &digest });
        expect(app.delete(&by), StatusCode::ACCEPTED).await;
    }
}

/// Row 4: other tools sign the same form and mean something else.
#[tokio::test]
async fn what_means_something_else_is_no_signature() {
    let signer = Signer::new();
    let (app, manifest, by) = guarded(&signer, 60).await;
    let (payload, statement) = (payload_of(&manifest), statement_of(&manifest));
    for kind in ["atomic container signature", "Cosign container image signature", ""] {
        let other = payload.replace("cosign container image signature", kind);
        signer.simple_of(&[&other]).push(&app, "prod/app", Some(&sig_tag(&manifest)), None).await;
        assert_eq!(why(&app, &by).await, "malformed", "{kind}");
    }
    let other = statement.replace("Statement/v1", "Statement/v2");
    let odd = bundle_of(&manifest, signer.envelope(&other).to_string().into_bytes());
    all_refused(&app, &manifest, vec![odd]).await;
    signer.simple_of(&[&payload]).push(&app, "prod/app", Some(&sig_tag(&manifest)), None).await;
    ok(app.get(&by)).await;
}

/// Row 5: what one reader takes for a signature of this image and another one for that of another.
#[tokio::test]
async fn no_member_stands_twice_in_what_is_signed() {
    let signer = Signer::new();
    let (app, manifest, by) = guarded(&signer, 61).await;
    let (payload, statement) = (payload_of(&manifest), statement_of(&manifest));
    let (mine, other) = (sha256(&manifest), sha256(b"another image"));
    let image = format!(r#""docker-manifest-digest":"{mine}""#);
    let mut signed = Vec::new();
    for (before, behind) in [
        (format!(r#""docker-manifest-digest":"{other}","#), String::new()),
        (String::new(), format!(r#","docker-manifest-digest":"{other}""#)),
        (String::new(), format!(r#","Docker-Manifest-Digest":"{other}""#)),
        (format!(r#""Docker-Manifest-Digest":"{other}","#), String::new()),
    ] {
        let twice = payload.replace(&image, &format!("{before}{image}{behind}"));
        assert_ne!(twice, payload);
        signed.push(signer.simple_of(&[&twice]));
    }
    signed.push(signer.simple_of(&[&payload.replace("docker-manifest-digest", "Docker-Manifest-Digest")]));
    let hex = other.replace("sha256:", "");
    for (from, to) in [
        (r#"{"digest":{"#, format!(r#"{{"digest":{{"sha256":"{hex}","#)),
        (r#"{"digest":{"#, format!(r#"{{"digest":{{"SHA256":"{hex}","#)),
        (r#""predicate":{}"#, r#""predicate":{},"PredicateType":"https://spdx.dev/Document""#.to_owned()),
        (r#""subject":["#, r#""Subject":[],"subject":["#.to_owned()),
    ] {
        let twice = statement.replacen(from, &to, 1);
        assert_ne!(twice, statement);
        signed.push(bundle_of(&manifest, signer.envelope(&twice).to_string().into_bytes()));
    }
    all_refused(&app, &manifest, signed).await;
    bundle_of(&manifest, signer.envelope(&statement).to_string().into_bytes()).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 13: what stands around the JSON, and JSON that is deeper than anybody reads.
#[tokio::test]
async fn nothing_stands_around_a_signature() {
    let signer = Signer::new();
    let (app, manifest, by) = guarded(&signer, 62).await;
    let (payload, statement) = (payload_of(&manifest), statement_of(&manifest));
    let honest = signer.envelope(&statement).to_string();
    let mut signed = Vec::new();
    let deep = "[".repeat(100_000);
    for (before, behind) in [("\u{feff}", ""), ("", "{}"), ("", "\0"), ("[", "]"), (deep.as_str(), "")] {
        let around = |text: &str| format!("{before}{text}{behind}");
        signed.push(signer.simple_of(&[&around(&payload)]));
        signed.push(bundle_of(&manifest, signer.envelope(&around(&statement)).to_string().into_bytes()));
        signed.push(bundle_of(&manifest, around(&honest).into_bytes()));
    }
    all_refused(&app, &manifest, signed).await;
    bundle_of(&manifest, honest.into_bytes()).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 19: what a signature says of its own key chooses none.
#[tokio::test]
async fn a_signature_does_not_choose_its_key() {
    let (signer, mallory) = (Signer::new(), Signer::new());
    let (app, manifest, by) = guarded(&signer, 63).await;
    let mut hinted = mallory.envelope(&statement_of(&manifest));
    let der = signer.pem().lines().filter(|line| !line.starts_with("---")).collect::<String>();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, der).expect("DER");
    let hint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let hint = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hint);
    hinted["verificationMaterial"]["publicKey"]["hint"] = Value::from(hint);
    let signed = bundle_of(&manifest, hinted.to_string().into_bytes());
    let digest = signed.push(&app, "prod/app", None, None).await;
    assert_eq!(why(&app, &by).await, "bad_signature");
    expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
    let mut named = signer.envelope(&statement_of(&manifest));
    named["dsseEnvelope"]["signatures"][0]["keyid"] = Value::from("mallory");
    all_refused(&app, &manifest, vec![bundle_of(&manifest, named.to_string().into_bytes())]).await;
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 11: one who signs twice is one.
#[tokio::test]
async fn a_threshold_counts_those_who_sign() {
    let (one, two) = (Signer::new(), Signer::new());
    let (app, manifest, by) = guarded(&one, 64).await;
    let authority = |name: &str, signer: &Signer| json!({"name": name, "key": {"pem": signer.pem()}});
    let policy = set(policy_of(&one), "signature", json!({"threshold": 2, "of": ["a", "b", "c"]}));
    let all = json!([authority("a", &one), authority("b", &one), authority("c", &two)]);
    enforce(&app, &[set(policy, "authorities", all)]);
    for _ in 0..3 {
        one.bundle(&manifest).push(&app, "prod/app", None, None).await;
    }
    one.simple(&manifest).push(&app, "prod/app", Some(&sig_tag(&manifest)), None).await;
    refused(app.get(&by)).await;
    two.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 18: an attestation is of the type that was signed, whatever stands on the outside.
#[tokio::test]
async fn the_type_of_an_attestation_is_the_signed_one() {
    const SLSA: &str = "https://slsa.dev/provenance/v1";
    let signer = Signer::new();
    let (app, manifest, by) = guarded(&signer, 65).await;
    let wanted = json!([{"predicateType": SLSA, "of": ["release"]}]);
    enforce(&app, &[set(policy_of(&signer), "attestations", wanted)]);
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let mut lying = signer.statement(&manifest, "https://spdx.dev/Document", &sha256(&manifest));
    let mut outside: Value = serde_json::from_slice(&lying.manifest).expect("JSON");
    outside["annotations"] = json!({"dev.sigstore.bundle.predicateType": SLSA, "predicateType": SLSA});
    outside["layers"][0]["annotations"] = outside["annotations"].clone();
    lying.manifest = outside.to_string().into_bytes();
    lying.push(&app, "prod/app", None, None).await;
    assert_eq!(refused(app.get(&by)).await["reasons"][0]["code"], "attestation_missing");
    signer.statement(&manifest, SLSA, &sha256(&manifest)).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 12: more signatures in one manifest than anybody looks at are none.
#[tokio::test]
async fn a_manifest_with_too_many_signatures_carries_none() {
    let signer = Signer::new();
    let (app, manifest, by) = guarded(&signer, 66).await;
    let payload = payload_of(&manifest);
    let payloads: Vec<String> = (0..1000).map(|number| format!("{payload}{}", " ".repeat(number % 7))).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let tag = sig_tag(&manifest);
    let many = signer.simple_of(&payloads);
    for blob in &many.blobs[..8] {
        app.push_blob("prod/app", blob).await;
    }
    app.push_manifest("prod/app", &tag, IMAGE_MANIFEST, &many.manifest).await;
    refused(app.get(&by)).await;
    refused(app.get(&path("prod/app", &tag))).await;
    signer.simple_of(&payloads[..7]).push(&app, "prod/app", Some(&tag), None).await;
    ok(app.get(&by)).await;
}

/// Row 15: the bytes that are given are those that were judged, wherever the tag has gone meanwhile.
#[tokio::test]
async fn a_tag_that_moves_under_a_pull_moves_nothing_else() {
    let signer = Signer::new();
    let (app, manifest, by) = guarded(&signer, 67).await;
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let unsigned = ImageBuilder::new().layer(b"not signed");
    for blob in unsigned.blobs() {
        app.push_blob("prod/app", &blob).await;
    }
    // Judged anew, so that there is a moment between.
    enforce(&app, &[set(policy_of(&signer), "children", json!("each"))]);
    app.metadata_faults.fail("verdict_find", 1, Moment::Before, Fault::Pause);
    let pulled = async { app.get(&by).send().await.expect("an answer") };
    let moved = async {
        app.metadata_faults.hung().await;
        app.push_manifest("prod/app", "v1", IMAGE_MANIFEST, &unsigned.manifest()).await;
        app.metadata_faults.resume();
    };
    let (answer, ()) = tokio::join!(pulled, moved);
    assert_eq!((answer.status(), shown(&answer, "docker-content-digest")), (StatusCode::OK, sha256(&manifest)));
    assert_eq!(answer.bytes().await.expect("a body"), manifest);
    refused(app.get(&by)).await;
}

/// Rows 7 and 10: what a certificate needs beside itself, taken away or changed.
#[tokio::test]
async fn a_certificate_needs_its_log_and_its_time() {
    const NAME: &str = "keyless-new";
    let app = registry().await;
    let by = push_image(&app, NAME).await;
    let unlogged = {
        let mut policy = alice();
        policy["authorities"][0]["keyless"]["tlog"] = json!("ignore");
        policy
    };
    let without = |places: &[&str]| {
        let mut bundle = bundle(NAME);
        for place in places {
            let (parent, member) = place.rsplit_once('/').expect("a place");
            bundle.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(member);
        }
        bundle
    };
    let entry = |member: &str| format!("/verificationMaterial/tlogEntries/0/{member}");
    let (log, stamps) = ("/verificationMaterial/tlogEntries", "/verificationMaterial/timestampVerificationData");
    let mut backdated = without(&[stamps]);
    *backdated.pointer_mut(&entry("integratedTime")).expect("a time") = json!("1795225800");
    for (policy, changed, code) in [
        (alice(), without(&[log]), "tlog_missing"),
        (alice(), without(&[log, stamps]), "tlog_missing"),
        (alice(), without(&[&entry("inclusionProof")]), "tlog_missing"),
        (alice(), without(&[stamps, &entry("inclusionPromise")]), "tlog_invalid"),
        (alice(), backdated, "tlog_invalid"),
        (unlogged.clone(), without(&[log, stamps]), "no_timestamp"),
    ] {
        enforce_under(&app, &root(), &policy);
        let digest = referrer(NAME, &changed).push(&app, "prod/app", None, None).await;
        assert_eq!(why(&app, &by).await, code);
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
    }
    referrer(NAME, &bundle(NAME)).push(&app, "prod/app", None, None).await;
    for policy in [alice(), unlogged] {
        enforce_under(&app, &root(), &policy);
        ok(app.get(&by)).await;
    }
}

/// Row 7: a time that has not come yet by the registry's clock.
#[tokio::test]
async fn a_signature_from_the_future_does_not_count() {
    let app = TestApp::builder().sparse(&["prod/**"]).start().await;
    enforce_under(&app, &root(), &alice());
    let by = push_image(&app, "keyless-new").await;
    referrer("keyless-new", &bundle("keyless-new")).push(&app, "prod/app", None, None).await;
    assert_eq!(why(&app, &by).await, "no_timestamp");
    app.clock.advance(super::samples::LATER);
    ok(app.get(&by)).await;
}

/// Row 8: whoever is named is named whole.
#[tokio::test]
async fn whoever_is_like_the_signer_is_not_him() {
    let app = registry().await;
    let (person, workload) = ("keyless-new", "keyless-workload");
    for name in [person, workload] {
        push_image(&app, name).await;
        referrer(name, &bundle(name)).push(&app, "prod/app", None, None).await;
    }
    let ci = "https://ci.lab.example";
    let uri = format!("{ci}/acme/app/.ci/release.yml@refs/heads/main");
    let part = r"https://ci\.lab\.example/acme/app";
    for (name, issuer, subject, code) in [
        (person, ISSUER, ("subject", "alice@lab.example"), None),
        (person, ISSUER, ("subjectRegExp", r".*@lab\.example"), None),
        (person, "https://issuer.lab.example/", ("subject", "alice@lab.example"), Some("issuer_mismatch")),
        (person, "https://issuer.lab", ("subjectRegExp", ".*"), Some("issuer_mismatch")),
        (person, ISSUER, ("subject", "alice@lab.exampl"), Some("identity_mismatch")),
        (person, ISSUER, ("subjectRegExp", r"lice@lab\.example"), Some("identity_mismatch")),
        (person, ISSUER, ("subjectRegExp", r"alice@lab"), Some("identity_mismatch")),
        (workload, ci, ("subjectRegExp", part), Some("identity_mismatch")),
        (workload, ci, ("subjectRegExp", &format!("{part}|nobody")), Some("identity_mismatch")),
        (workload, ci, ("subject", &uri), None),
    ] {
        enforce_under(&app, &root(), &keyless(issuer, subject));
        let by = digest_path("prod/app", &image_of(name));
        match code {
            Some(code) => assert_eq!(why(&app, &by).await, code, "{issuer} {subject:?}"),
            None => drop(ok(app.get(&by)).await),
        }
    }
}

/// Row 9: entries and timestamps of other signatures, all of which are genuine.
#[tokio::test]
async fn evidence_of_another_signature_does_not_count() {
    const MINE: &str = "keyless-new";
    let app = registry().await;
    enforce_under(&app, &root(), &alice());
    let by = push_image(&app, MINE).await;
    for other in ["keyless-workload", "keyless-attest-slsa1", "key-new-tlog-tsa"] {
        for (place, code) in [
            ("/verificationMaterial/tlogEntries", "tlog_invalid"),
            ("/verificationMaterial/tlogEntries/0/inclusionPromise", "tlog_invalid"),
            ("/verificationMaterial/tlogEntries/0/inclusionProof", "tlog_invalid"),
            ("/verificationMaterial/timestampVerificationData", "no_timestamp"),
        ] {
            let mut changed = bundle(MINE);
            let theirs = bundle(other);
            changed.pointer_mut(place).expect("a place").clone_from(theirs.pointer(place).expect("a place"));
            let digest = referrer(MINE, &changed).push(&app, "prod/app", None, None).await;
            let found = why(&app, &by).await;
            // Its times are outside the certificate as well.
            assert!(found == code || found == "cert_expired", "{place} of {other}: {found}");
            expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
        }
    }
    referrer(MINE, &bundle(MINE)).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 10: what a policy requires beside a key.
#[tokio::test]
async fn what_is_required_beside_a_key_cannot_be_left_out() {
    let app = registry().await;
    let require = |member: &str| {
        let mut policy = by_key();
        policy["authorities"][0][member] = json!("require");
        policy
    };
    for (name, policy, code) in [
        ("key-new-notlog", by_key(), None),
        ("key-new-notlog", require("tlog"), Some("tlog_missing")),
        ("key-new-tsa-only", require("tlog"), Some("tlog_missing")),
        ("key-new-notlog", require("timestamp"), Some("no_timestamp")),
        ("key-new-tsa-only", require("timestamp"), None),
        ("key-new-tlog-tsa", require("tlog"), None),
    ] {
        enforce_under(&app, &root(), &policy);
        let by = push_image(&app, name).await;
        let digest = referrer(name, &bundle(name)).push(&app, "prod/app", None, None).await;
        match code {
            Some(code) => assert_eq!(why(&app, &by).await, code, "{name}"),
            None => drop(ok(app.get(&by)).await),
        }
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
    }
}

/// Row 11: one entry or one token, shown twice.
#[tokio::test]
async fn an_entry_does_not_count_twice() {
    const NAME: &str = "keyless-new";
    let app = registry().await;
    enforce_under(&app, &root(), &alice());
    let by = push_image(&app, NAME).await;
    let lists =
        ["/verificationMaterial/tlogEntries", "/verificationMaterial/timestampVerificationData/rfc3161Timestamps"];
    for place in lists {
        let mut twice = bundle(NAME);
        let list = twice.pointer_mut(place).and_then(Value::as_array_mut).expect("a list");
        list.push(list[0].clone());
        let digest = referrer(NAME, &twice).push(&app, "prod/app", None, None).await;
        refused(app.get(&by)).await;
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
    }
    referrer(NAME, &bundle(NAME)).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 20: an authority or a log that is not trusted at the time counts for nothing.
#[tokio::test]
async fn a_root_is_trusted_in_its_time() {
    const NAME: &str = "keyless-new";
    let app = registry().await;
    let by = push_image(&app, NAME).await;
    referrer(NAME, &bundle(NAME)).push(&app, "prod/app", None, None).await;
    let windows = [
        json!({"start": "2020-01-01T00:00:00Z", "end": "2026-11-20T00:00:00Z"}),
        json!({"start": "2026-11-22T00:00:00Z"}),
    ];
    for (place, code) in [
        ("/certificateAuthorities/0/validFor", "cert_untrusted"),
        ("/tlogs/0/publicKey/validFor", "tlog_invalid"),
        ("/ctlogs/0/publicKey/validFor", "sct_invalid"),
        ("/timestampAuthorities/0/validFor", "no_timestamp"),
    ] {
        for window in &windows {
            let mut root = root();
            root.pointer_mut(place).expect("a window").clone_from(window);
            enforce_under(&app, &root, &alice());
            assert_eq!(why(&app, &by).await, code, "{place} {window}");
        }
    }
    enforce_under(&app, &root(), &alice());
    ok(app.get(&by)).await;
}
