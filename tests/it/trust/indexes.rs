//! Indexes: what they list passes with them, where the policy lets it.

use reqwest::StatusCode;
use serde_json::json;

use super::signer::Signer;
use super::{chain_of_indexes, digest_path, enforce, image, index_of, ok, path, policy_of, refused, set};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, descriptor, sha256};

on_both_places! {
    what_a_signed_index_lists_passes_with_it
    a_signed_child_does_not_vouch_for_its_index
    an_index_of_very_many_vouches_for_none
}

async fn what_a_signed_index_lists_passes_with_it(app: TestApp) {
    let signer = Signer::new();
    let (one, two) = (image(&app, "prod/app", "one", 1).await, image(&app, "prod/app", "two", 2).await);
    let inner = index_of(IMAGE_MANIFEST, &[&one, &two]);
    app.push_manifest("prod/app", "inner", IMAGE_INDEX, &inner).await;
    let outer = index_of(IMAGE_INDEX, &[&inner]);
    app.push_manifest("prod/app", "outer", IMAGE_INDEX, &outer).await;
    enforce(&app, &[policy_of(&signer)]);
    let all = [&one, &two, &inner, &outer];
    for manifest in all {
        refused(app.get(&digest_path("prod/app", manifest))).await;
    }
    signer.bundle(&outer).push(&app, "prod/app", None, None).await;
    for manifest in all {
        ok(app.get(&digest_path("prod/app", manifest))).await;
    }
    ok(app.get(&format!("/v2/prod/app/blobs/{}", sha256(&[1; 5000])))).await;

    // Revoked itself, it is not saved by others.
    let revoked = set(policy_of(&signer), "revoke", json!({"digests": [sha256(&one)]}));
    enforce(&app, &[revoked]);
    refused(app.get(&digest_path("prod/app", &one))).await;
    ok(app.get(&digest_path("prod/app", &two))).await;

    enforce(&app, &[set(policy_of(&signer), "children", json!("each"))]);
    ok(app.get(&digest_path("prod/app", &outer))).await;
    refused(app.get(&digest_path("prod/app", &one))).await;
    signer.bundle(&one).push(&app, "prod/app", None, None).await;
    ok(app.get(&digest_path("prod/app", &one))).await;

    enforce(&app, &[policy_of(&signer)]);
    ok(app.get(&digest_path("prod/app", &two))).await;
    expect(app.delete(&digest_path("prod/app", &outer)), StatusCode::ACCEPTED).await;
    refused(app.get(&digest_path("prod/app", &two))).await;
}

/// Row 6.
async fn a_signed_child_does_not_vouch_for_its_index(app: TestApp) {
    let signer = Signer::new();
    let (one, two) = (image(&app, "prod/app", "one", 3).await, image(&app, "prod/app", "two", 4).await);
    let index = index_of(IMAGE_MANIFEST, &[&one, &two]);
    app.push_manifest("prod/app", "all", IMAGE_INDEX, &index).await;
    enforce(&app, &[policy_of(&signer)]);
    signer.bundle(&one).push(&app, "prod/app", None, None).await;
    ok(app.get(&digest_path("prod/app", &one))).await;
    refused(app.get(&path("prod/app", "all"))).await;
    refused(app.get(&digest_path("prod/app", &two))).await;
}

/// Row 6: whoever lists an image in indexes without number costs no more than is looked at, and the refusal says so.
#[tokio::test]
async fn more_indexes_than_are_looked_at_vouch_for_nothing() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let (one, other) = (image(&app, "prod/app", "one", 5).await, image(&app, "prod/app", "other", 6).await);
    for at in 0..513 {
        let listed = descriptor(IMAGE_MANIFEST, &one);
        let annotations = json!({"at": at.to_string()});
        let index = json!({
            "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [listed], "annotations": annotations,
        });
        app.push_manifest("prod/app", "many", IMAGE_INDEX, index.to_string().as_bytes()).await;
    }
    enforce(&app, &[policy_of(&signer)]);
    let detail = refused(app.get(&digest_path("prod/app", &one))).await;
    let reasons = detail["reasons"].as_array().expect("reasons");
    assert!(reasons.iter().any(|reason| reason["code"] == "limit_exceeded"), "{detail}");
    // By itself it passes whatever lists it.
    signer.bundle(&one).push(&app, "prod/app", None, None).await;
    ok(app.get(&digest_path("prod/app", &one))).await;
    let detail = refused(app.get(&digest_path("prod/app", &other))).await;
    assert!(!detail.to_string().contains("limit_exceeded"), "{detail}");
}

async fn an_index_of_very_many_vouches_for_none(app: TestApp) {
    let signer = Signer::new();
    let (one, two) = (image(&app, "prod/app", "one", 5).await, image(&app, "prod/app", "two", 6).await);
    let of = |count: usize| {
        let mut children = vec![&one[..]; count - 1];
        children.push(&two);
        index_of(IMAGE_MANIFEST, &children)
    };
    let (within, beyond, far) = (of(512), of(513), of(514));
    let above = index_of(IMAGE_INDEX, &[&far]);
    for (tag, index) in [("within", &within), ("beyond", &beyond), ("far", &far), ("above", &above)] {
        app.push_manifest("prod/app", tag, IMAGE_INDEX, index).await;
    }
    enforce(&app, &[policy_of(&signer)]);
    let refused_for_length = async |index: &[u8]| {
        for child in [&one, &two] {
            let detail = refused(app.get(&digest_path("prod/app", child))).await;
            let reasons = detail["reasons"].as_array().expect("reasons");
            let told = reasons.iter().find(|reason| reason["code"] == "limit_exceeded").expect("a reason");
            assert_eq!(told["artifact"], sha256(index), "{told}");
            assert!(told["message"].as_str().expect("a sentence").contains("more than 512 manifests"), "{told}");
        }
    };
    // By its own signature, and by that of an index above it.
    for (signed, index) in [(&beyond, &beyond), (&above, &far)] {
        let signature = signer.bundle(signed).push(&app, "prod/app", None, None).await;
        ok(app.get(&digest_path("prod/app", index))).await;
        refused_for_length(index).await;
        expect(app.delete(&path("prod/app", &signature)), StatusCode::ACCEPTED).await;
    }
    signer.bundle(&beyond).push(&app, "prod/app", None, None).await;
    signer.bundle(&within).push(&app, "prod/app", None, None).await;
    for manifest in [&beyond, &within, &one, &two] {
        ok(app.get(&digest_path("prod/app", manifest))).await;
    }
}

/// A signature is looked for so many levels above, and no further by way of what was pulled before.
#[tokio::test]
async fn a_pass_comes_down_as_far_in_any_order() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let chain = chain_of_indexes(&app, image(&app, "prod/app", "leaf", 7).await).await;
    enforce(&app, &[policy_of(&signer)]);
    signer.bundle(&chain[5]).push(&app, "prod/app", None, None).await;
    for _ in 0..2 {
        refused(app.get(&digest_path("prod/app", &chain[0]))).await;
        ok(app.get(&digest_path("prod/app", &chain[1]))).await;
    }
}
