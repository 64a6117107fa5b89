//! Attestations as cosign 2 attaches them: envelopes in the layers of a manifest, under the tag `sha256-<hex>.att` or as a
//! referrer.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::{Signed, Signer};
use super::verify::{file, verify};
use super::{digest_path, enforce, image, ok, path, policy_of, refused, set, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_MANIFEST, descriptor, sha256};

const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const REFERRER: &str = "application/vnd.dev.cosign.artifact.att.v1+json";
const SLSA: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
/// Who builds what is released.
const BUILDER: &str = "https://ci.example.com/builder";

on_both_places! {
    an_attestation_counts_as_long_as_its_tag_is_there
    an_attestation_counts_as_long_as_its_referrer_is_there
}

/// What a builder says of an image (`cosign attest --type slsaprovenance1`).
fn statement(of: &[u8], predicate_type: &str, builder: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate_type,
        "subject": [{"name": "example.com/prod/app", "digest": {"sha256": sha256(of).replace("sha256:", "")}}],
        "predicate": {"buildDefinition": {}, "runDetails": {"builder": {"id": builder}}},
    })
}

/// What the policy asks for.
fn provenance(of: &[u8]) -> Value {
    statement(of, SLSA, BUILDER)
}

/// `cosign attest --key` as version 2 does, once for each statement: what stands under the tag.
fn attested(by: &Signer, statements: &[Value]) -> Signed {
    let (mut layers, mut blobs) = (Vec::new(), vec![br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec()]);
    for statement in statements {
        let mut envelope = by.envelope(&statement.to_string())["dsseEnvelope"].take();
        envelope["signatures"][0]["keyid"] = Value::from("");
        let envelope = envelope.to_string().into_bytes();
        let mut layer = descriptor(ENVELOPE, &envelope);
        layer["annotations"] = json!({
            "dev.cosignproject.cosign/signature": "", "predicateType": statement["predicateType"],
        });
        layers.push(layer);
        blobs.push(envelope);
    }
    let config = descriptor("application/vnd.oci.image.config.v1+json", &blobs[0]);
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config, "layers": layers});
    Signed { manifest: manifest.to_string().into_bytes(), blobs }
}

/// The same as a referrer: its type is that of its config, which it may say itself too.
fn referring(mut signed: Signed, subject: &[u8], names_type: bool) -> Signed {
    let mut manifest: Value = serde_json::from_slice(&signed.manifest).expect("JSON");
    manifest["config"]["mediaType"] = Value::from(REFERRER);
    manifest["subject"] = descriptor(IMAGE_MANIFEST, subject);
    if names_type {
        manifest["artifactType"] = Value::from(REFERRER);
    }
    signed.manifest = manifest.to_string().into_bytes();
    signed
}

/// The tag of cosign's version 2 for attestations of a manifest.
fn att_tag(subject: &[u8]) -> String {
    format!("{}.att", sha256(subject).replace(':', "-"))
}

/// One signature, and provenance that names the builder.
fn policy(signer: &Signer) -> Value {
    let conditions = json!([{"pointer": "/runDetails/builder/id", "equals": BUILDER}]);
    let wanted = json!([{"predicateType": SLSA, "of": ["release"], "conditions": conditions}]);
    set(policy_of(signer), "attestations", wanted)
}

/// A signed image under that policy, and where it is.
async fn signed_image(app: &TestApp, signer: &Signer, seed: u8) -> (Vec<u8>, String) {
    let manifest = image(app, "prod/app", "v1", seed).await;
    enforce(app, &[policy(signer)]);
    let by = path("prod/app", "v1");
    assert_eq!(refused(app.get(&by)).await["verdict"], "unsigned");
    signer.bundle(&manifest).push(app, "prod/app", None, None).await;
    (manifest, by)
}

/// The code of what stands in the way first.
async fn why(app: &TestApp, by: &str) -> String {
    refused(app.get(by)).await["reasons"][0]["code"].as_str().expect("a code").to_owned()
}

/// Attestations that do not count, and why not: by somebody else, of another type (though it says otherwise on the
/// outside), of another image, or of another builder.
fn insufficient(signer: &Signer, manifest: &[u8]) -> Vec<(Signed, &'static str)> {
    const MISSING: &str = "attestation_missing";
    let mut lying = attested(signer, &[statement(manifest, SPDX, BUILDER)]);
    lying.manifest = String::from_utf8(lying.manifest).expect("text").replace(SPDX, SLSA).into_bytes();
    vec![
        (attested(&Signer::new(), &[provenance(manifest)]), MISSING),
        (attested(signer, &[statement(manifest, SPDX, BUILDER)]), MISSING),
        (lying, MISSING),
        (attested(signer, &[provenance(b"another image")]), MISSING),
        (attested(signer, &[statement(manifest, SLSA, "https://example.com/by-hand")]), "attestation_condition"),
    ]
}

async fn an_attestation_counts_as_long_as_its_tag_is_there(app: TestApp) {
    let signer = Signer::new();
    let (manifest, by) = signed_image(&app, &signer, 80).await;
    let tag = att_tag(&manifest);
    assert_eq!(why(&app, &by).await, "attestation_missing");
    for (number, (signed, code)) in insufficient(&signer, &manifest).into_iter().enumerate() {
        signed.push(&app, "prod/app", Some(&tag), None).await;
        assert_eq!(why(&app, &by).await, code, "{number}");
    }
    let good = attested(&signer, &[provenance(&manifest)]);
    let digest = good.push(&app, "prod/app", Some(&tag), None).await;
    let verdict = shown(&ok(app.get(&by)).await, "x-signature-verdict");
    assert!(verdict.starts_with("pass;policy=\"prod\""), "{verdict}");
    // Anybody may read what attests.
    let exempt = ok(app.get(&path("prod/app", &tag))).await;
    assert!(shown(&exempt, "x-signature-verdict").starts_with("exempt"));
    ok(app.get(&format!("/v2/prod/app/blobs/{}", sha256(&good.blobs[1])))).await;

    expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
    assert_eq!(why(&app, &by).await, "attestation_missing");
    good.push(&app, "prod/app", Some(&tag), None).await;
    ok(app.get(&by)).await;
    expect(app.delete(&path("prod/app", &tag)), StatusCode::ACCEPTED).await;
    assert_eq!(why(&app, &by).await, "attestation_missing");
}

async fn an_attestation_counts_as_long_as_its_referrer_is_there(app: TestApp) {
    let signer = Signer::new();
    let (manifest, by) = signed_image(&app, &signer, 81).await;
    for (number, (signed, code)) in insufficient(&signer, &manifest).into_iter().enumerate() {
        let digest = referring(signed, &manifest, number % 2 == 0).push(&app, "prod/app", None, None).await;
        assert_eq!(why(&app, &by).await, code, "{number}");
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
    }
    for names_type in [true, false] {
        let good = referring(attested(&signer, &[provenance(&manifest)]), &manifest, names_type);
        let digest = good.push(&app, "prod/app", None, None).await;
        ok(app.get(&by)).await;
        let exempt = ok(app.get(&path("prod/app", &digest))).await;
        assert!(shown(&exempt, "x-signature-verdict").starts_with("exempt"), "{names_type}");
        let list = format!("/v2/prod/app/referrers/{}?artifactType={REFERRER}", sha256(&manifest));
        let listed = ok(app.get(&list)).await;
        let listed: Value = serde_json::from_slice(&listed.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(listed["manifests"][0]["digest"], digest, "{names_type}");
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
        assert_eq!(why(&app, &by).await, "attestation_missing", "{names_type}");
    }
}

/// Whoever attests again adds a layer, and one that counts is enough.
#[tokio::test]
async fn one_layer_of_an_attestation_tag_is_enough() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let (manifest, by) = signed_image(&app, &signer, 82).await;
    let by_hand = statement(&manifest, SLSA, "https://example.com/by-hand");
    let statements = [statement(&manifest, SPDX, BUILDER), by_hand, provenance(&manifest)];
    for (most, passes) in [(2, false), (3, true), (1, false)] {
        let tag = att_tag(&manifest);
        attested(&signer, &statements[..most]).push(&app, "prod/app", Some(&tag), None).await;
        let status = if passes { StatusCode::OK } else { StatusCode::FORBIDDEN };
        expect(app.get(&by), status).await;
        expect(app.head(&digest_path("prod/app", &manifest)), status).await;
    }
}

/// An attestation is no signature: neither under the tag of one, nor under its own.
#[tokio::test]
async fn an_attestation_in_the_old_form_signs_nothing() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 83).await;
    enforce(&app, &[policy_of(&signer)]);
    let signed = attested(&signer, &[provenance(&manifest)]);
    signed.push(&app, "prod/app", Some(&att_tag(&manifest)), None).await;
    assert_eq!(refused(app.get(&path("prod/app", "v1"))).await["verdict"], "unsigned");
    signed.push(&app, "prod/app", Some(&super::signer::sig_tag(&manifest)), None).await;
    assert_eq!(refused(app.get(&path("prod/app", "v1"))).await["verdict"], "unsigned");
}

/// `bonded verify` looks under the tag, and among the referrers, as the registry does.
#[tokio::test]
async fn attestations_in_the_old_form_are_judged_here() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let folder = tempfile::tempdir().expect("a folder");
    let document = json!({"apiVersion": "trust/v1", "policies": [policy(&signer)]}).to_string();
    let document = file(&folder, "policy.json", &document);
    let (manifest, _) = signed_image(&app, &signer, 84).await;
    let tag = att_tag(&manifest);
    let ways: [&[&str]; 2] = [&["--server"], &["--policy", &document]];
    let codes = async |expected: i32| {
        for with in ways {
            let (code, printed) = verify(&app, "prod/app:v1", with).await;
            assert_eq!(code, expected, "{with:?}: {printed}");
        }
    };
    codes(14).await;
    for (signed, _) in insufficient(&signer, &manifest) {
        signed.push(&app, "prod/app", Some(&tag), None).await;
        codes(14).await;
    }
    attested(&signer, &[provenance(&manifest)]).push(&app, "prod/app", Some(&tag), None).await;
    codes(0).await;
    expect(app.delete(&path("prod/app", &tag)), StatusCode::ACCEPTED).await;
    codes(14).await;
    let referrer = referring(attested(&signer, &[provenance(&manifest)]), &manifest, false);
    referrer.push(&app, "prod/app", None, None).await;
    codes(0).await;
}
