//! Blobs: read through a manifest that passes.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::{Signer, sig_tag};
use super::{digest_path, enforce, image, ok, path, policy_of, refused, set, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, descriptor, sha256};

on_both_places! {
    a_blob_is_read_through_a_manifest_that_passes
    a_mount_is_a_read_of_the_source
    a_refusal_ends_with_whatever_lets_the_blob_be_read
    a_signature_opens_no_config_of_an_image
    what_is_left_out_opens_no_layer_of_an_image
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

fn blob(data: &[u8]) -> String {
    format!("/v2/prod/app/blobs/{}", sha256(data))
}

async fn push(app: &TestApp, reference: Option<&str>, document: &Value) -> String {
    let manifest = document.to_string().into_bytes();
    let digest = sha256(&manifest);
    app.push_manifest("prod/app", reference.unwrap_or(&digest), IMAGE_MANIFEST, &manifest).await;
    digest_path("prod/app", &manifest)
}

/// Row 17: whoever pushes a signature chooses its config, which may be a blob of what is refused.
async fn a_signature_opens_no_config_of_an_image(app: TestApp) {
    let (signer, other) = (Signer::new(), Signer::new());
    let (layer, secret) = (vec![5; 9_000], br#"{"config":{"Env":["SECRET=1"]}}"#.as_slice());
    let image = ImageBuilder::new().layer(&layer).layer(secret);
    app.push_image("prod/app", "v1", &image).await;
    enforce(&app, &[policy_of(&signer)]);
    let (tagged, referrer) = (other.simple(&image.manifest()), other.bundle(&image.manifest()));
    for data in [&tagged.blobs[..], &referrer.blobs].concat() {
        app.push_blob("prod/app", &data).await;
    }
    for (data, signed, tag, config_type) in [
        (&layer[..], &tagged, Some(sig_tag(&image.manifest())), "application/vnd.oci.image.config.v1+json"),
        (secret, &referrer, None, "application/vnd.oci.empty.v1+json"),
    ] {
        refused(app.get(&blob(data))).await;
        let mut document: Value = serde_json::from_slice(&signed.manifest).expect("JSON");
        document["config"] = descriptor(config_type, data);
        push(&app, tag.as_deref(), &document).await;
        for _ in 0..2 {
            refused(app.get(&blob(data))).await;
        }
        expect(
            app.post(&format!("/v2/open/app/blobs/uploads/?mount={}&from=prod/app", sha256(data))),
            StatusCode::ACCEPTED,
        )
        .await;
    }

    // Whoever may pull and no more reads all of a true signature, and of one that does not count.
    for signed in [&referrer, &signer.simple(&image.manifest())] {
        let tag = (signed.manifest != referrer.manifest).then(|| sig_tag(&image.manifest()));
        signed.push(&app, "prod/app", tag.as_deref(), None).await;
        ok(app.get(&digest_path("prod/app", &signed.manifest))).await;
        for data in &signed.blobs {
            ok(app.get(&blob(data))).await;
        }
    }
    // It was signed by that.
    for data in [&layer[..], secret] {
        ok(app.get(&blob(data))).await;
    }
    // What only a signature names is no secret before an image names it, and is one from then on.
    let config = &tagged.blobs[0];
    ok(app.get(&blob(config))).await;
    app.push_image("prod/app", "v2", &ImageBuilder::new().layer(config)).await;
    refused(app.get(&blob(config))).await;
}

/// Rows 14 and 17: whoever pushes chooses the type by which a policy asks nothing of it.
async fn what_is_left_out_opens_no_layer_of_an_image(app: TestApp) {
    const SBOM: &str = "application/spdx+json";
    const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    let signer = Signer::new();
    let secret = br#"{"config":{"Env":["SECRET=1"]}}"#;
    let image = ImageBuilder::new().layer(b"of an image").layer(secret);
    app.push_image("prod/app", "v1", &image).await;
    let kinds = json!({"repositories": ["prod/**"], "excludeArtifactTypes": [SBOM]});
    let policy = set(policy_of(&signer), "match", kinds);
    // One that asks about everything, and only warns.
    let warning = set(set(policy_of(&signer), "name", json!("warning")), "mode", json!("warn"));
    app.push_blob("prod/app", b"{}").await;
    app.push_blob("prod/app", b"an SBOM").await;
    let sbom = |layer: &[u8]| {
        json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": SBOM, "config": descriptor(EMPTY, b"{}"),
            "layers": [descriptor(SBOM, layer)], "subject": descriptor(IMAGE_MANIFEST, &image.manifest()),
        })
    };
    let (honest, open) = (push(&app, None, &sbom(b"an SBOM")).await, push(&app, None, &sbom(b"of an image")).await);
    for policies in [vec![policy.clone()], vec![policy.clone(), warning]] {
        enforce(&app, &policies);
        for manifest in [&honest, &open] {
            ok(app.get(manifest)).await;
        }
        for data in [&b"of an image"[..], secret] {
            refused(app.get(&blob(data))).await;
        }
    }
    enforce(&app, &[policy]);
    ok(app.get(&blob(b"an SBOM"))).await;
    app.push_image("prod/app", "v2", &ImageBuilder::new().layer(b"an SBOM")).await;
    refused(app.get(&blob(b"an SBOM"))).await;
    signer.bundle(&image.manifest()).push(&app, "prod/app", None, None).await;
    for data in [&b"of an image"[..], secret] {
        ok(app.get(&blob(data))).await;
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
