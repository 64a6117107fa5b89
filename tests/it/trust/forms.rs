//! What is a signature by its form, and what only looks like one.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::{Signed, Signer, bundle_of, sig_tag};
use super::{enforce, image, ok, path, policy_of, refused, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{ImageBuilder, descriptor, sha256};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const SLSA: &str = "https://slsa.dev/provenance/v1";

on_both_places! {
    a_signature_under_a_tag_has_any_config
    a_bundle_is_known_by_its_config
    no_layer_is_given_away_as_a_config
}

/// The same with another config, of bytes that are there or come along.
fn with_config(mut signed: Signed, media_type: &str, config: &[u8]) -> Signed {
    let mut manifest: Value = serde_json::from_slice(&signed.manifest).expect("JSON");
    manifest["config"] = descriptor(media_type, config);
    signed.manifest = manifest.to_string().into_bytes();
    signed.blobs[0] = config.to_vec();
    signed
}

/// The same without a type beside that of its config.
fn without_type(mut signed: Signed) -> Signed {
    let mut manifest: Value = serde_json::from_slice(&signed.manifest).expect("JSON");
    manifest.as_object_mut().expect("an object").remove("artifactType");
    signed.manifest = manifest.to_string().into_bytes();
    signed
}

async fn is_exempt(app: &TestApp, by: &str) {
    let answer = ok(app.get(by)).await;
    assert!(shown(&answer, "x-signature-verdict").starts_with("exempt"), "{by}");
}

async fn a_signature_under_a_tag_has_any_config(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 1).await;
    enforce(&app, &[policy_of(&signer)]);
    let (by, tag) = (path("prod/app", "v1"), sig_tag(&manifest));
    for (media_type, config) in [
        (EMPTY, &b"{}"[..]),
        ("application/vnd.example.config.v1+json", b"{\"tool\": \"another\"}"),
        ("application/octet-stream", b"{}"),
    ] {
        let signed = with_config(signer.simple(&manifest), media_type, config);
        signed.push(&app, "prod/app", Some(&tag), None).await;
        ok(app.get(&by)).await;
        is_exempt(&app, &path("prod/app", &tag)).await;
        expect(app.delete(&path("prod/app", &tag)), StatusCode::ACCEPTED).await;
        refused(app.get(&by)).await;
    }
}

async fn a_bundle_is_known_by_its_config(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 2).await;
    enforce(&app, &[policy_of(&signer)]);
    let by = path("prod/app", "v1");
    for signed in [
        without_type(with_config(signer.bundle(&manifest), BUNDLE, b"{}")),
        with_config(signer.bundle(&manifest), "application/vnd.oci.image.config.v1+json", b"{}"),
    ] {
        let digest = signed.push(&app, "prod/app", None, None).await;
        ok(app.get(&by)).await;
        is_exempt(&app, &path("prod/app", &digest)).await;
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
        refused(app.get(&by)).await;
    }
    // Of another type, it is an ordinary referrer.
    let other = without_type(with_config(signer.bundle(&manifest), "application/vnd.example+json", b"{}"));
    let digest = other.push(&app, "prod/app", None, None).await;
    refused(app.get(&path("prod/app", &digest))).await;
    refused(app.get(&by)).await;
}

/// Row 14: whoever pushes says what is the config of a signature, and everybody reads what carries signatures.
async fn no_layer_is_given_away_as_a_config(app: TestApp) {
    let signer = Signer::new();
    let script = &b"#!/bin/sh\nexec a-secret\n"[..];
    let guarded = ImageBuilder::new().layer(script);
    app.push_image("prod/app", "guarded", &guarded).await;
    let manifest = image(&app, "prod/app", "v1", 3).await;
    enforce(&app, &[policy_of(&signer)]);
    let layer = format!("/v2/prod/app/blobs/{}", sha256(script));
    refused(app.get(&layer)).await;
    let tag = sig_tag(&manifest);
    let image_config = "application/vnd.oci.image.config.v1+json";
    for (signed, tag) in [
        (with_config(signer.simple(&manifest), image_config, script), Some(&*tag)),
        (with_config(signer.simple(&manifest), EMPTY, script), Some(&*tag)),
        (with_config(signer.bundle(&manifest), EMPTY, script), None),
        (without_type(with_config(signer.bundle(&manifest), BUNDLE, script)), None),
    ] {
        let digest = signed.push(&app, "prod/app", tag, None).await;
        refused(app.get(&path("prod/app", &digest))).await;
        refused(app.get(&layer)).await;
        refused(app.get(&path("prod/app", "v1"))).await;
    }
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&path("prod/app", "v1"))).await;
    refused(app.get(&layer)).await;
}

/// What stands where a signature does and is none is told, so that nobody looks for a signature that is missing.
#[tokio::test]
async fn what_only_looks_like_a_signature_is_told() {
    let signer = Signer::new();
    let app = TestApp::start().await;
    let manifest = image(&app, "prod/app", "v1", 5).await;
    enforce(&app, &[policy_of(&signer)]);
    let by = path("prod/app", "v1");
    assert_eq!(refused(app.get(&by)).await["verdict"], "unsigned");
    let honest: Value = serde_json::from_slice(&signer.bundle(&manifest).blobs[1]).expect("a bundle");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut bundle = honest.clone();
        change(&mut bundle);
        bundle_of(&manifest, bundle.to_string().into_bytes())
    };
    let twice = |bundle: &mut Value| {
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().expect("a list");
        signatures.push(signatures[0].clone());
    };
    let tag = sig_tag(&manifest);
    let script = &b"#!/bin/sh\n"[..];
    for (signed, tag, word) in [
        (changed(&|bundle| bundle["more"] = json!(1)), None, "unknown field"),
        (changed(&|bundle| bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("a")), None, "keyid"),
        (changed(&twice), None, "exactly one signature"),
        (signer.simple_of(&["{}"]), Some(&*tag), "missing field"),
        (with_config(signer.simple(&manifest), EMPTY, script), Some(&*tag), "carried none"),
        (without_type(with_config(changed(&twice), BUNDLE, b"{}")), None, "exactly one signature"),
    ] {
        let digest = signed.push(&app, "prod/app", tag, None).await;
        let detail = refused(app.get(&by)).await;
        let first = &detail["reasons"][0];
        assert_eq!((&detail["verdict"], &first["code"]), (&json!("fail"), &json!("malformed")), "{detail}");
        assert_eq!(first["artifact"], digest, "{detail}");
        assert!(first["message"].as_str().expect("a sentence").contains(word), "{word}: {detail}");
        refused(app.get(&path("prod/app", &digest))).await;
        expect(app.delete(&path("prod/app", &digest)), StatusCode::ACCEPTED).await;
        assert_eq!(refused(app.get(&by)).await["verdict"], "unsigned");
    }
    for number in 0..70 {
        changed(&|bundle| bundle["more"] = json!(number)).push(&app, "prod/app", None, None).await;
    }
    let detail = refused(app.get(&by)).await;
    let reasons = detail["reasons"].as_array().expect("reasons");
    assert_eq!(reasons.iter().filter(|reason| reason["code"] == "malformed").count(), 4, "{detail}");
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}

/// Row 12: a signature says who signed what, and is short; what is long is an attestation.
#[tokio::test]
async fn a_long_signature_is_none() {
    let signer = Signer::new();
    let app = TestApp::start().await;
    let manifest = image(&app, "prod/app", "v1", 4).await;
    enforce(&app, &[policy_of(&signer)]);
    let by = path("prod/app", "v1");
    let hex = sha256(&manifest).replace("sha256:", "");
    let long = |predicate_type: &str| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": hex}}],
            "predicateType": predicate_type, "predicate": {"padding": "x".repeat(15 << 18)},
        });
        let bundle = signer.envelope(&statement.to_string()).to_string().into_bytes();
        // In base64.
        assert!((5 << 20..6 << 20).contains(&bundle.len()), "{}", bundle.len());
        bundle_of(&manifest, bundle)
    };
    let digest = long(SIGN).push(&app, "prod/app", None, None).await;
    refused(app.get(&path("prod/app", &digest))).await;
    refused(app.get(&by)).await;
    let digest = long(SLSA).push(&app, "prod/app", None, None).await;
    is_exempt(&app, &path("prod/app", &digest)).await;
    refused(app.get(&by)).await;
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
}
