//! Manifests: refused until they are signed, whoever asks and however.

use std::time::Duration;

use bonded::storage::layers::{Fault, Moment, Operation};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::signer::{Signer, bundle_of, sig_tag};
use super::{digest_path, enforce, image, ok, path, policy_of, refused, set, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, descriptor, sha256};

on_both_places! {
    an_unsigned_image_is_refused_until_it_is_signed
    a_signature_under_a_tag_counts_as_long_as_the_tag_is_there
    another_policy_is_effective_with_the_next_request
    what_is_no_signature_in_truth_is_judged_like_an_image
    junk_does_not_hide_what_counted
    what_carries_signatures_opens_nothing_else
    a_manifest_may_become_a_signature_when_it_comes_again
}

async fn an_unsigned_image_is_refused_until_it_is_signed(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 1).await;
    image(&app, "other/app", "v1", 1).await;
    enforce(&app, &[policy_of(&signer)]);

    for by in [path("prod/app", "v1"), digest_path("prod/app", &manifest)] {
        let detail = refused(app.get(&by)).await;
        assert_eq!((&detail["policy"], &detail["verdict"]), (&json!("prod"), &json!("unsigned")));
        assert_eq!(detail["digest"], sha256(&manifest));
        assert!(detail["help"].as_str().expect("help").ends_with(&format!("/prod/app@{}", sha256(&manifest))));
        let head = expect(app.head(&by), StatusCode::FORBIDDEN).await;
        assert!(shown(&head, "x-signature-verdict").starts_with("unsigned;policy=\"prod\";rev=\""));
        assert_eq!(shown(&head, "x-signature-reason"), "unsigned");
        assert!(shown(&head, "x-signature-checked").starts_with("2026-11-01T00:00:00"));
        assert_eq!(shown(&head, "docker-content-digest"), sha256(&manifest));
        assert_eq!(shown(&head, "cache-control"), "private, no-store");
        // Nor is it told whether somebody still has the right bytes.
        let known = app.get(&by).header("if-none-match", format!("\"{}\"", sha256(&manifest)));
        expect(known, StatusCode::FORBIDDEN).await;
    }
    let open = ok(app.get(&path("other/app", "v1"))).await;
    assert_eq!(shown(&open, "x-signature-verdict"), "");

    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    for by in [path("prod/app", "v1"), digest_path("prod/app", &manifest)] {
        let answer = ok(app.get(&by)).await;
        let verdict = shown(&answer, "x-signature-verdict");
        assert!(verdict.starts_with("pass;policy=\"prod\"") && verdict.contains("signer=\"key:sha256:"), "{verdict}");
        assert_eq!(
            (shown(&answer, "cache-control"), shown(&answer, "vary")),
            ("private, no-store".into(), "Authorization".into())
        );
        assert_eq!(answer.bytes().await.expect("a body"), manifest);
        assert!(shown(&ok(app.head(&by)).await, "x-signature-verdict").starts_with("pass;"));
        let known = app.get(&by).header("if-none-match", format!("\"{}\"", sha256(&manifest)));
        assert!(shown(&expect(known, StatusCode::NOT_MODIFIED).await, "x-signature-verdict").starts_with("pass;"));
    }
}

async fn a_signature_under_a_tag_counts_as_long_as_the_tag_is_there(app: TestApp) {
    let (signer, other) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 2).await;
    enforce(&app, &[policy_of(&signer)]);
    let (by, tag) = (path("prod/app", "v1"), sig_tag(&manifest));

    other.simple(&manifest).push(&app, "prod/app", Some(&tag), None).await;
    assert_eq!(refused(app.get(&by)).await["reasons"][0]["code"], "no_trusted_signer");
    signer.simple(&manifest).push(&app, "prod/app", Some(&tag), None).await;
    ok(app.get(&by)).await;
    // Anybody may read what signs.
    ok(app.get(&path("prod/app", &tag))).await;

    other.simple(&manifest).push(&app, "prod/app", Some(&tag), None).await;
    refused(app.get(&by)).await;
    signer.simple(&manifest).push(&app, "prod/app", Some(&tag), None).await;
    ok(app.get(&by)).await;
    expect(app.delete(&path("prod/app", &tag)), StatusCode::ACCEPTED).await;
    assert_eq!(refused(app.get(&by)).await["verdict"], "unsigned");
}

async fn another_policy_is_effective_with_the_next_request(app: TestApp) {
    let (signer, other) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 3).await;
    let referrer = signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let by = path("prod/app", "v1");
    ok(app.get(&by)).await;
    enforce(&app, &[policy_of(&signer)]);
    ok(app.get(&by)).await;
    enforce(&app, &[policy_of(&other)]);
    refused(app.get(&by)).await;
    // Another policy can only tighten.
    let second = set(set(policy_of(&other), "name", json!("other")), "match", json!({"repositories": ["prod/*"]}));
    enforce(&app, &[policy_of(&signer), second.clone()]);
    assert_eq!(refused(app.get(&by)).await["policy"], "other");
    enforce(&app, &[policy_of(&signer), set(second, "mode", json!("warn"))]);
    let warned = ok(app.get(&by)).await;
    assert!(shown(&warned, "warning").starts_with("299 - \"signature policy 'other' not satisfied"));
    enforce(&app, &[set(policy_of(&signer), "revoke", json!({"digests": [sha256(&manifest)]}))]);
    assert_eq!(refused(app.get(&by)).await["reasons"][0]["code"], "revoked");
    enforce(&app, &[policy_of(&signer)]);
    ok(app.get(&by)).await;
    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    refused(app.get(&by)).await;
    enforce(&app, &[]);
    ok(app.get(&by)).await;
}

/// Row 14 of the attacks: an image in the clothes of a signature.
async fn what_is_no_signature_in_truth_is_judged_like_an_image(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 4).await;
    enforce(&app, &[policy_of(&signer)]);
    let tag = sig_tag(&manifest);
    let disguised = ImageBuilder::new().layer(b"a tar");
    app.push_image("prod/app", &tag, &disguised).await;
    refused(app.get(&path("prod/app", &tag))).await;
    // The right types all over, and a layer that is no such JSON.
    let fake = bundle_of(&manifest, b"#!/bin/sh".to_vec()).push(&app, "prod/app", None, None).await;
    refused(app.get(&path("prod/app", &fake))).await;
    let (layer, config) = (sha256(b"#!/bin/sh"), sha256(b"a tar"));
    for blob in [layer, config] {
        refused(app.get(&format!("/v2/prod/app/blobs/{blob}"))).await;
    }
    let true_one = signer.bundle(&manifest);
    let referrer = true_one.push(&app, "prod/app", None, None).await;
    let exempt = ok(app.get(&path("prod/app", &referrer))).await;
    assert!(shown(&exempt, "x-signature-verdict").starts_with("exempt"));
    ok(app.get(&format!("/v2/prod/app/blobs/{}", sha256(&true_one.blobs[1])))).await;
    // Lists are no content.
    ok(app.get(&format!("/v2/prod/app/referrers/{}", sha256(&manifest)))).await;
    ok(app.get("/v2/prod/app/tags/list")).await;
}

/// Row 14 again: a signature that names something else beside.
async fn what_carries_signatures_opens_nothing_else(app: TestApp) {
    let signer = Signer::new();
    let large = vec![7; 20_000];
    let image = ImageBuilder::new().layer(&large);
    app.push_image("prod/app", "v1", &image).await;
    enforce(&app, &[policy_of(&signer)]);
    let (other, blob) = (b"another image".to_vec(), format!("/v2/prod/app/blobs/{}", sha256(&large)));
    let signed = signer.bundle(&other);
    for data in &signed.blobs {
        app.push_blob("prod/app", data).await;
    }
    let honest: Value = serde_json::from_slice(&signed.manifest).expect("JSON");
    let mut lying = honest.clone();
    lying["config"]["digest"] = Value::from(sha256(&large));
    let mut odd = honest;
    odd.as_object_mut().expect("an object").remove("mediaType");
    odd["blobs"] = json!([{"mediaType": "a/b", "digest": sha256(&large), "size": large.len()}]);
    for (manifest, content_type) in [(lying, IMAGE_MANIFEST), (odd, "application/vnd.example+json")] {
        let manifest = manifest.to_string().into_bytes();
        app.push_manifest("prod/app", &sha256(&manifest), content_type, &manifest).await;
        refused(app.get(&digest_path("prod/app", &manifest))).await;
        refused(app.get(&blob)).await;
    }
}

/// A referrer whose layer came later is a signature from when it is pushed again.
async fn a_manifest_may_become_a_signature_when_it_comes_again(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 12).await;
    enforce(&app, &[policy_of(&signer)]);
    let signed = signer.simple(&manifest);
    let by_digest = signed.push(&app, "prod/app", None, None).await;
    refused(app.get(&path("prod/app", &by_digest))).await;
    refused(app.get(&path("prod/app", "v1"))).await;
    app.push_manifest("prod/app", &sig_tag(&manifest), IMAGE_MANIFEST, &signed.manifest).await;
    ok(app.get(&path("prod/app", &by_digest))).await;
    ok(app.get(&path("prod/app", "v1"))).await;
}

/// Row 12: who floods a digest with signatures does not take away what counted, before or after.
async fn junk_does_not_hide_what_counted(app: TestApp) {
    let (signer, junk) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 5).await;
    enforce(&app, &[policy_of(&signer)]);
    for _ in 0..70 {
        junk.bundle(&manifest).push(&app, "prod/app", None, None).await;
    }
    let by = path("prod/app", "v1");
    let detail = refused(app.get(&by)).await;
    assert!(detail["reasons"].to_string().contains("limit_exceeded"), "{detail}");
    // Smaller ones come first, so that this one is behind all of the junk.
    let honest = [signer.bundle(&manifest).blobs[1].clone(), vec![b' '; 500]].concat();
    let honest = bundle_of(&manifest, honest).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
    // Judged anew it is looked at first, since it counted.
    junk.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&by)).await;
    expect(app.delete(&path("prod/app", &honest)), StatusCode::ACCEPTED).await;
    refused(app.get(&by)).await;
}

#[tokio::test]
async fn a_signature_pushed_to_one_node_is_effective_on_the_other() {
    let nodes = TestApp::builder().start_shared(2).await;
    let signer = Signer::new();
    let manifest = image(&nodes[0], "prod/app", "v1", 6).await;
    for node in &nodes {
        enforce(node, &[policy_of(&signer)]);
    }
    let by = path("prod/app", "v1");
    for round in 0..3 {
        for node in &nodes {
            refused(node.get(&by)).await;
        }
        let (here, there) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
        let referrer = signer.bundle(&manifest).push(here, "prod/app", None, None).await;
        ok(there.get(&by)).await;
        ok(here.get(&by)).await;
        expect(here.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
        refused(there.get(&by)).await;
    }
}

#[tokio::test]
async fn a_signature_that_came_before_its_image_counts() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    let image = ImageBuilder::new().layer(&[7; 5000]);
    signer.bundle(&image.manifest()).push(&app, "prod/app", None, None).await;
    app.push_image("prod/app", "v1", &image).await;
    ok(app.get(&path("prod/app", "v1"))).await;
}

/// Row 1: a signature is for what is signed, not for what it refers to. Row 3: an attestation is no signature.
#[tokio::test]
async fn a_signature_of_something_else_does_not_count() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let (one, two) = (image(&app, "prod/app", "v1", 8).await, image(&app, "prod/app", "v2", 9).await);
    enforce(&app, &[policy_of(&signer)]);
    signer
        .statement(&two, "https://sigstore.dev/cosign/sign/v1", &sha256(&one))
        .push(&app, "prod/app", None, None)
        .await;
    assert_eq!(refused(app.get(&path("prod/app", "v2"))).await["reasons"][0]["code"], "subject_mismatch");
    signer.statement(&one, "https://spdx.dev/Document", &sha256(&one)).push(&app, "prod/app", None, None).await;
    refused(app.get(&path("prod/app", "v1"))).await;
    signer.simple(&one).push(&app, "prod/app", Some(&sig_tag(&two)), None).await;
    refused(app.get(&path("prod/app", "v2"))).await;
    signer.bundle(&one).push(&app, "prod/app", None, None).await;
    ok(app.get(&path("prod/app", "v1"))).await;
}

#[tokio::test]
async fn a_verdict_is_told_with_its_reasons_to_who_may_pull() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 10).await;
    enforce(&app, &[policy_of(&signer)]);
    let at = |reference: &str| format!("/v2/prod/app/_trust/verify/verdict?ref={reference}");
    for reference in ["v1".to_owned(), sha256(&manifest)] {
        let told = crate::app::json(ok(app.get(&at(&reference))).await).await;
        assert_eq!((&told["verdict"], &told["refused"]), (&json!("unsigned"), &json!(true)));
    }
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let told = crate::app::json(ok(app.get(&at("v1"))).await).await;
    assert_eq!((&told["verdict"], &told["refused"]), (&json!("pass"), &json!(false)));
    assert_eq!(told["evidence"][0]["authority"], "release");
    expect(app.get(&at("v9")), StatusCode::NOT_FOUND).await;
    expect(app.get("/v2/prod/app/_trust/verify/verdict"), StatusCode::BAD_REQUEST).await;
    expect(app.request(Method::POST, &at("v1")), StatusCode::METHOD_NOT_ALLOWED).await;
    // Of what is not there it can be asked as well: the signature may be there before.
    let told = crate::app::json(ok(app.get(&at(&sha256(b"nothing")))).await).await;
    assert_eq!(told["verdict"], "unsigned");
    let nowhere = format!("/v2/prod/none/_trust/verify/verdict?ref={}", sha256(b"nothing"));
    expect(app.get(&nowhere), StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_no_refusal() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 11).await;
    let mut signed = signer.bundle(&manifest);
    // Larger than what is kept in a row.
    let padded = [signed.blobs[1].clone(), vec![b' '; 8000]].concat();
    signed = bundle_of(&manifest, padded);
    signed.push(&app, "prod/app", None, None).await;
    enforce(&app, &[policy_of(&signer)]);
    app.storage_faults.fail(Operation::Read, 1, Moment::Before, Fault::Unavailable);
    let answer = app.get(&path("prod/app", "v1")).send().await.expect("an answer");
    assert!(answer.status().is_server_error(), "{}", answer.status());
    ok(app.get(&path("prod/app", "v1"))).await;
    app.clock.advance(Duration::from_hours(1));
    let request = app.put(&path("prod/app", "v2")).header("content-type", IMAGE_MANIFEST).body(manifest);
    expect(request, StatusCode::CREATED).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_for_some_keeps_nobody_else_waiting() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    for seed in 20..25 {
        let manifest = image(&app, "prod/app", &format!("v{seed}"), seed).await;
        let bundle = signer.bundle(&manifest).blobs[1].clone();
        // Larger than what is kept in a row.
        let padded = bundle_of(&manifest, [bundle, vec![b' '; 8000]].concat());
        padded.push(&app, "prod/app", None, None).await;
    }
    enforce(&app, &[policy_of(&signer)]);
    let mut waiting = FuturesUnordered::new();
    for seed in 20..24 {
        app.storage_faults.fail(Operation::Read, 1, Moment::Before, Fault::Hang);
        waiting.push(app.get(&path("prod/app", &format!("v{seed}"))).send());
        tokio::select! {
            answer = waiting.next() => panic!("{answer:?}"),
            () = app.storage_faults.hung() => {}
        }
    }
    let fifth = tokio::time::timeout(Duration::from_secs(30), ok(app.get(&path("prod/app", "v24"))));
    tokio::select! {
        answer = waiting.next() => panic!("{answer:?}"),
        passed = fifth => {
            let verdict = shown(&passed.expect("it waits for nobody"), "x-signature-verdict");
            assert!(verdict.starts_with("pass;"), "{verdict}");
        }
    }
}

/// Row 14: what a policy leaves out is known by its type, which its maker chooses, so nothing that runs is left out.
#[tokio::test]
async fn what_runs_is_never_left_out_by_its_type() {
    const SBOM: &str = "application/spdx+json";
    let app = TestApp::start().await;
    let manifest = image(&app, "prod/app", "v1", 30).await;
    let kinds = json!({"repositories": ["prod/**"], "excludeArtifactTypes": [SBOM]});
    enforce(&app, &[set(policy_of(&Signer::new()), "match", kinds)]);
    let layer = b"some bytes".to_vec();
    let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2});
    let mut sbom = json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": SBOM, "config": config,
        "layers": [descriptor(SBOM, &layer)], "subject": descriptor(IMAGE_MANIFEST, &manifest),
    });
    app.push_blob("prod/app", b"{}").await;
    app.push_blob("prod/app", &layer).await;
    let push = async |manifest: &Value| {
        let bytes = manifest.to_string().into_bytes();
        app.push_manifest("prod/app", &sha256(&bytes), IMAGE_MANIFEST, &bytes).await;
        digest_path("prod/app", &bytes)
    };
    let blob = format!("/v2/prod/app/blobs/{}", sha256(&layer));
    // What is refused guards the blob, so it goes again.
    let refuses = async |manifest: &Value| {
        let by = push(manifest).await;
        refused(app.get(&by)).await;
        refused(app.get(&blob)).await;
        expect(app.delete(&by), StatusCode::ACCEPTED).await;
    };
    sbom["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    refuses(&sbom).await;
    sbom["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    sbom["artifactType"] = json!("application/vnd.example+json");
    refuses(&sbom).await;
    sbom["artifactType"] = json!(SBOM);
    // Neither its type nor its size makes a config an empty one.
    let image = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    sbom["config"]["digest"] = json!(app.push_blob("prod/app", image).await);
    refuses(&sbom).await;
    sbom["config"]["digest"] = json!(sha256(b"{}"));
    assert!(shown(&ok(app.get(&push(&sbom).await)).await, "x-signature-verdict").starts_with("exempt"));
    ok(app.get(&blob)).await;
}
