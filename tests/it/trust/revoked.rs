//! Trust that was taken back, and trust of another repository.

use serde_json::json;

use super::signer::Signer;
use super::{enforce, image, ok, path, policy_of, refused, set, shown};
use crate::app::{TestApp, on_both_places};
use crate::fixtures::sha256;

on_both_places! {
    a_revoked_key_is_no_longer_believed_with_the_next_request
    a_copy_is_judged_by_the_policy_of_where_it_is
}

/// Row 21: neither the registry nor anybody on the way keeps what the key opened.
async fn a_revoked_key_is_no_longer_believed_with_the_next_request(app: TestApp) {
    let signer = Signer::new();
    let manifest = image(&app, "prod/app", "v1", 40).await;
    enforce(&app, &[policy_of(&signer)]);
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let (by, blob) = (path("prod/app", "v1"), format!("/v2/prod/app/blobs/{}", sha256(&[40; 5000])));
    ok(app.get(&blob)).await;
    let passed = ok(app.get(&by)).await;
    assert_eq!(shown(&passed, "cache-control"), "private, no-store");
    let verdict = shown(&passed, "x-signature-verdict");
    let key = verdict.split("signer=\"key:").nth(1).and_then(|rest| rest.split('"').next()).expect("a signer");
    enforce(&app, &[set(policy_of(&signer), "revoke", json!({"keys": [key]}))]);
    // The blob first, since what is asked for first may find what was kept.
    assert_eq!(refused(app.get(&blob)).await["reasons"][0]["code"], "revoked");
    assert_eq!(refused(app.get(&by)).await["reasons"][0]["code"], "revoked");
    enforce(&app, &[policy_of(&signer)]);
    ok(app.get(&blob)).await;
    ok(app.get(&by)).await;
}

/// Row 2: an image and its signature in another repository; the signers of that one count there.
async fn a_copy_is_judged_by_the_policy_of_where_it_is(app: TestApp) {
    let (signer, other) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 41).await;
    image(&app, "other/app", "v1", 41).await;
    let elsewhere = set(set(policy_of(&other), "name", json!("other")), "match", json!({"repositories": ["other/**"]}));
    enforce(&app, &[policy_of(&signer), elsewhere]);
    for repo in ["prod/app", "other/app"] {
        signer.bundle(&manifest).push(&app, repo, None, None).await;
    }
    ok(app.get(&path("prod/app", "v1"))).await;
    refused(app.get(&path("other/app", "v1"))).await;
}
