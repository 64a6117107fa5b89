//! Blobs: read through a manifest that passes.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::signer::Signer;
use super::{enforce, image, ok, path, policy_of, refused, set, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{ImageBuilder, sha256};

on_both_places! {
    a_blob_is_read_through_a_manifest_that_passes
    a_mount_is_a_read_of_the_source
    a_refusal_ends_with_whatever_lets_the_blob_be_read
}

async fn a_blob_is_read_through_a_manifest_that_passes(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 1).await;
    let layer = format!("/v2/prod/app/blobs/{}", sha256(&[1; 5000]));
    let loose = format!("/v2/prod/app/blobs/{}", app.push_blob("prod/app", b"of no manifest").await);
    ok(app.get(&layer)).await;
    enforce(&app, &[policy_of(&signer)]);
    for blob in [&layer, &loose] {
        assert_eq!(refused(app.get(blob)).await["policy"], "prod");
        refused(app.get(blob).header("range", "bytes=0-9")).await;
    }
    // A manifest can be signed; a blob cannot.
    assert!(refused(app.get(&layer)).await["help"].as_str().is_some_and(|help| help.contains("cosign sign")));
    assert!(refused(app.get(&loose)).await["help"].is_null());
    let referrer = signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    for _ in 0..2 {
        let answer = ok(app.get(&layer)).await;
        assert!(shown(&answer, "x-signature-verdict").starts_with("pass;"));
        assert_eq!(answer.bytes().await.expect("a body").len(), 5000);
    }
    expect(app.get(&layer).header("range", "bytes=0-9"), StatusCode::PARTIAL_CONTENT).await;
    refused(app.get(&loose)).await;

    // Another image with the same layer does not take away what one image gives.
    app.push_image("prod/app", "v2", &ImageBuilder::new().layer(&[1; 5000]).layer(b"more")).await;
    ok(app.get(&layer)).await;
    refused(app.get(&format!("/v2/prod/app/blobs/{}", sha256(b"more")))).await;

    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    refused(app.get(&layer)).await;
    enforce(&app, &[set(policy_of(&signer), "blobs", json!("open"))]);
    ok(app.get(&layer)).await;
    refused(app.get(&path("prod/app", "v1"))).await;
    enforce(&app, &[set(policy_of(&signer), "mode", json!("warn"))]);
    assert!(shown(&ok(app.get(&layer)).await, "warning").starts_with("299 - "));
}

/// Row 17: what is refused in one repository must not be had by way of another one.
async fn a_mount_is_a_read_of_the_source(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 2).await;
    enforce(&app, &[policy_of(&signer)]);
    let blob = sha256(&[2; 5000]);
    let from = format!("/v2/open/app/blobs/uploads/?mount={blob}&from=prod/app");
    for mount in [from.clone(), format!("/v2/open/app/blobs/uploads/?mount={blob}")] {
        expect(app.post(&mount), StatusCode::ACCEPTED).await;
        expect(app.get(&format!("/v2/open/app/blobs/{blob}")), StatusCode::NOT_FOUND).await;
    }
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    expect(app.post(&from), StatusCode::CREATED).await;
    ok(app.get(&format!("/v2/open/app/blobs/{blob}"))).await;
}

/// A refusal is kept, and not a moment longer than it is true.
async fn a_refusal_ends_with_whatever_lets_the_blob_be_read(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 3).await;
    enforce(&app, &[policy_of(&signer)]);
    let blob = |seed: u8| format!("/v2/prod/app/blobs/{}", sha256(&[seed; 5000]));
    for _ in 0..2 {
        refused(app.get(&blob(3))).await;
    }
    // A signature of what names it.
    let referrer = signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&blob(3))).await;
    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    for _ in 0..2 {
        refused(app.get(&blob(3))).await;
    }
    // Another image that names it, whose signature was there before: with it the signatures do not change.
    let second = ImageBuilder::new().layer(&[3; 5000]).layer(b"more");
    signer.bundle(&second.manifest()).push(&app, "prod/app", None, None).await;
    refused(app.get(&blob(3))).await;
    app.push_image("prod/app", "v2", &second).await;
    ok(app.get(&blob(3))).await;
    // A blob that nothing names, and then something does.
    let third = ImageBuilder::new().layer(&[4; 5000]);
    signer.bundle(&third.manifest()).push(&app, "prod/app", None, None).await;
    app.push_blob("prod/app", &[4; 5000]).await;
    refused(app.get(&blob(4))).await;
    app.push_image("prod/app", "v3", &third).await;
    ok(app.get(&blob(4))).await;
}

/// What is refused is the blob; which manifest it was judged by is told beside it.
#[tokio::test]
async fn a_refused_blob_is_told_by_its_own_digest() {
    let app = TestApp::start().await;
    let manifest = sha256(&image(&app, "prod/app", "v1", 5).await);
    let loose = app.push_blob("prod/app", b"of no manifest").await;
    enforce(&app, &[policy_of(&Signer::new())]);
    for (blob, judged) in [(sha256(&[5; 5000]), &manifest), (loose.clone(), &loose)] {
        let target = format!("/v2/prod/app/blobs/{blob}");
        for answer in [app.get(&target), app.get(&target).header("range", "bytes=0-9")] {
            let answer = expect(answer, StatusCode::FORBIDDEN).await;
            assert_eq!(shown(&answer, "docker-content-digest"), blob);
            assert_eq!(crate::app::json(answer).await["errors"][0]["detail"]["digest"], **judged);
        }
    }
}

#[tokio::test]
async fn a_refused_blob_is_looked_through_once() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    for seed in 0..3_u8 {
        app.push_image("prod/app", "v1", &ImageBuilder::new().layer(b"common").layer(&[seed])).await;
    }
    let kinds = json!({"repositories": ["prod/**"], "excludeArtifactTypes": ["application/spdx+json"]});
    enforce(&app, &[set(policy_of(&signer), "match", kinds)]);
    let blob = format!("/v2/prod/app/blobs/{}", sha256(b"common"));
    refused(app.get(&blob)).await;
    let looks = || app.metadata_faults.calls().get("manifest_find").copied().unwrap_or(0);
    let before = looks();
    assert!(before >= 3, "each of them has a type");
    refused(app.get(&blob)).await;
    assert_eq!(looks(), before);
}

/// Row 17: an address that is given away ends soon, whatever is usual.
#[tokio::test]
async fn an_address_in_the_store_ends_soon_where_a_policy_guards() {
    let builder = TestApp::builder().options(|options| options.redirect_ttl = Duration::from_hours(1));
    let app = builder.start_shared(1).await.pop().expect("a node");
    let signer = Signer::new();
    let image = ImageBuilder::new().layer(&crate::fixtures::bytes(100_000, 9));
    app.push_image("prod/app", "v1", &image).await;
    let blob = format!("/v2/prod/app/blobs/{}", sha256(&image.blobs()[1]));
    let expires = async || {
        let answer = expect(app.get(&blob), StatusCode::TEMPORARY_REDIRECT).await;
        let address = shown(&answer, "location");
        let after = address.split("X-Amz-Expires=").nth(1).expect("an end").to_owned();
        after.split('&').next().and_then(|seconds| seconds.parse::<u64>().ok()).expect("seconds")
    };
    assert_eq!(expires().await, 3600);
    enforce(&app, &[policy_of(&signer)]);
    refused(app.get(&blob)).await;
    signer.bundle(&image.manifest()).push(&app, "prod/app", None, None).await;
    assert!(expires().await <= 60);
}
