//! Bytes that are pushed twice, under two content types: they are read in two ways, and must have the rights of one of them
//! and nothing that the other one named.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::Signer;
use super::{digest_path, enforce, ok, path, policy_of, refused, shown};
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, descriptor, sha256};

const ODD: &str = "application/vnd.example+json";

on_both_places! {
    bytes_under_two_types_open_what_neither_may
    what_is_named_follows_the_type
    a_signature_is_one_under_its_own_type_alone
}

/// A signature whose document says nothing of its own type; the blobs that it needs are stored.
async fn untyped(app: &TestApp, signer: &Signer, subject: &[u8]) -> Value {
    let signed = signer.bundle(subject);
    for blob in &signed.blobs {
        app.push_blob("prod/app", blob).await;
    }
    let mut document: Value = serde_json::from_slice(&signed.manifest).expect("JSON");
    document.as_object_mut().expect("an object").remove("mediaType");
    document
}

fn blob(data: &[u8]) -> String {
    format!("/v2/prod/app/blobs/{}", sha256(data))
}

/// Row 14: one type has the edges, the other one is that of a signature.
async fn bytes_under_two_types_open_what_neither_may(app: TestApp) {
    let signer = Signer::new();
    let (config, layer) = (br#"{"config":{"Env":["SECRET=1"]}}"#, vec![7; 20_000]);
    let image = ImageBuilder::new().layer(&layer).layer(config);
    app.push_image("prod/app", "v1", &image).await;
    enforce(&app, &[policy_of(&signer)]);
    refused(app.get(&blob(&layer))).await;
    let document = untyped(&app, &Signer::new(), &image.manifest()).await;
    for (at, types) in [&[ODD, IMAGE_MANIFEST][..], &[IMAGE_MANIFEST, ODD, IMAGE_MANIFEST]].into_iter().enumerate() {
        let mut document = document.clone();
        document["blobs"] = json!([descriptor("a/b", &layer), descriptor("a/b", config)]);
        document["annotations"] = json!({"at": at.to_string()});
        let manifest = document.to_string().into_bytes();
        for content_type in types {
            app.push_manifest("prod/app", &sha256(&manifest), content_type, &manifest).await;
            refused(app.get(&digest_path("prod/app", &manifest))).await;
            refused(app.get(&blob(&layer))).await;
            refused(app.get(&blob(config))).await;
        }
    }
    refused(app.get(&path("prod/app", "v1"))).await;
}

/// Without any policy: a blob stays as long as something names it, by the type that it has now.
async fn what_is_named_follows_the_type(app: TestApp) {
    let mut document = untyped(&app, &Signer::new(), b"an image").await;
    app.push_blob("prod/app", b"named by one").await;
    document["blobs"] = json!([descriptor("a/b", b"named by one")]);
    let manifest = document.to_string().into_bytes();
    let push = async |content_type: &str| {
        app.push_manifest("prod/app", &sha256(&manifest), content_type, &manifest).await;
    };
    push(IMAGE_MANIFEST).await;
    push(ODD).await;
    expect(app.delete(&blob(b"named by one")), StatusCode::METHOD_NOT_ALLOWED).await;
    push(IMAGE_MANIFEST).await;
    expect(app.delete(&blob(b"named by one")), StatusCode::ACCEPTED).await;
    let put = app.put(&digest_path("prod/app", &manifest)).header("content-type", ODD).body(manifest.clone());
    expect(put, StatusCode::NOT_FOUND).await;
    ok(app.get(&digest_path("prod/app", &manifest))).await;
}

/// What it was before does not stick to it.
async fn a_signature_is_one_under_its_own_type_alone(app: TestApp) {
    let signer = Signer::new();
    let image = ImageBuilder::new().layer(b"signed");
    app.push_image("prod/app", "v1", &image).await;
    enforce(&app, &[policy_of(&signer)]);
    let document = untyped(&app, &signer, &image.manifest()).await;
    let signature = document.to_string().into_bytes();
    for _ in 0..2 {
        app.push_manifest("prod/app", &sha256(&signature), IMAGE_MANIFEST, &signature).await;
        let exempt = ok(app.get(&digest_path("prod/app", &signature))).await;
        assert!(shown(&exempt, "x-signature-verdict").starts_with("exempt"));
        ok(app.get(&path("prod/app", "v1"))).await;
        ok(app.get(&blob(b"signed"))).await;
        app.push_manifest("prod/app", &sha256(&signature), ODD, &signature).await;
        refused(app.get(&digest_path("prod/app", &signature))).await;
        refused(app.get(&path("prod/app", "v1"))).await;
        refused(app.get(&blob(b"signed"))).await;
    }
}
