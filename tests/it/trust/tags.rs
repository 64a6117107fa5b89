//! Tags: set on what passes.

use bonded::faults::Moment;
use bonded::hooks::WebhookWish;
use bonded::metadata::layers::Fault;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::webhooks::{HookEvent, HookEvents};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::{Signer, sig_tag};
use super::{digest_path, enforce, ok, path, policy_of, refused, set, shown, with};
use crate::access::Town;
use crate::app::{TestApp, expect, json, on_both_places};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};
use crate::hooks::receiver::Receiver;

on_both_places! {
    a_tag_is_set_on_what_passes_and_on_nothing_else
    a_refused_tag_says_which_way_leads_to_it
}

fn guarded(signer: &Signer) -> Value {
    let policy = set(policy_of(signer), "on", json!(["push", "tag"]));
    set(policy, "match", json!({"repositories": ["prod/**"], "tags": ["v*"]}))
}

async fn a_tag_is_set_on_what_passes_and_on_nothing_else(app: TestApp) {
    let signer = Signer::new();
    enforce(&app, &[guarded(&signer)]);
    let image = ImageBuilder::new().layer(&[1; 100]);
    let (manifest, digest) = (image.manifest(), sha256(&image.manifest()));
    for blob in image.blobs() {
        app.push_blob("prod/app", &blob).await;
    }
    let put = |to: &str| app.put(&path("prod/app", to)).header("content-type", IMAGE_MANIFEST).body(manifest.clone());
    assert_eq!(refused(put("v1")).await["verdict"], "unsigned");
    expect(app.get(&path("prod/app", "v1")), StatusCode::NOT_FOUND).await;
    expect(app.get(&digest_path("prod/app", &manifest)), StatusCode::NOT_FOUND).await;
    // By digest, and under tags of which no policy speaks, anything may come.
    expect(put(&digest), StatusCode::CREATED).await;
    expect(put("candidate-1"), StatusCode::CREATED).await;
    refused(put(&format!("{digest}?tag=other&tag=v2"))).await;
    expect(app.get(&path("prod/app", "other")), StatusCode::NOT_FOUND).await;

    let signed = signer.bundle(&manifest);
    let referrer = signed.push(&app, "prod/app", None, None).await;
    // What carries signatures does not take the place of an image.
    let place = |to: &str| app.put(&path("prod/app", to)).header("content-type", IMAGE_MANIFEST);
    refused(place("v1").body(signed.manifest.clone())).await;
    expect(put("v1"), StatusCode::CREATED).await;
    expect(put(&format!("{digest}?tag=v2")), StatusCode::CREATED).await;
    ok(app.get(&path("prod/app", "v1"))).await;
    // Signatures have tags as well.
    let any = set(guarded(&signer), "match", json!({"repositories": ["prod/**"], "tags": ["*"]}));
    enforce(&app, &[any]);
    signer.simple(&manifest).push(&app, "prod/app", Some(&sig_tag(&manifest)), None).await;
    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    expect(put("v3"), StatusCode::CREATED).await;
    expect(app.delete(&path("prod/app", &sig_tag(&manifest))), StatusCode::ACCEPTED).await;
    refused(put("v4")).await;
    // What has a tag keeps it; nothing says that it may be pulled for ever.
    ok(app.get(&path("prod/app", "v3"))).await;
}

/// Docker shows the message of a refusal and nothing else of it.
async fn a_refused_tag_says_which_way_leads_to_it(app: TestApp) {
    let signer = Signer::new();
    enforce(&app, &[guarded(&signer)]);
    let image = ImageBuilder::new().layer(&[3; 100]);
    let (manifest, digest) = (image.manifest(), sha256(&image.manifest()));
    for blob in image.blobs() {
        app.push_blob("prod/app", &blob).await;
    }
    let told = async |to: &str| {
        let put = app.put(&path("prod/app", to)).header("content-type", IMAGE_MANIFEST).body(manifest.clone());
        let answer = expect(put, StatusCode::FORBIDDEN).await;
        assert_eq!(shown(&answer, "docker-content-digest"), digest);
        let error = json(answer).await["errors"][0].clone();
        [&error["message"], &error["detail"]["help"]].map(|text| text.as_str().unwrap_or_default().to_owned())
    };
    let at = format!("{}/prod/app@{digest}", app.address);
    let sign = format!(
        "push it by digest, or under a tag that the policy does not match; then `cosign sign --key cosign.key {at}`"
    );
    let [message, help] = told("v1").await;
    assert!(
        message.starts_with("signature policy 'prod' not satisfied: unsigned; a plain push under this tag"),
        "{message}"
    );
    for way in ["push by digest", "sign that", "`crane tag`", "`oras tag`"] {
        assert!(message.contains(way), "{message}");
    }
    assert_eq!(help, format!("{sign}; then `crane tag {at} v1`"));
    assert_eq!(told(&format!("{digest}?tag=v2")).await[1], format!("{sign}; then `crane tag {at} v2`"));
    assert_eq!(told(&format!("{digest}?tag=v2&tag=v3")).await[1], format!("{sign}; then `crane tag {at} TAG`"));
    // That way leads there.
    let push = app.put(&path("prod/app", &digest)).header("content-type", IMAGE_MANIFEST).body(manifest.clone());
    expect(push, StatusCode::CREATED).await;
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let tag = app.put(&path("prod/app", "v1")).header("content-type", IMAGE_MANIFEST).body(manifest.clone());
    expect(tag, StatusCode::CREATED).await;
    // What is revoked is not to be signed again.
    enforce(&app, &[set(guarded(&signer), "revoke", json!({"digests": [digest]}))]);
    let [message, help] = told("v2").await;
    assert_eq!(message, "signature policy 'prod' not satisfied: revoked");
    assert!(help.starts_with("this image is revoked"), "{help}");
}

/// Whoever reads the record sees who wanted to release what nobody signed, and not that he pulled.
#[tokio::test]
async fn a_refused_tag_is_written_down_as_one() {
    let (town, receiver) = (Town::build().await, Receiver::start().await);
    let (app, by) = (&town.app, Actor::command_line());
    let wish = WebhookWish { url: receiver.url(), events: HookEvents::of([HookEvent::Denial]), secret: None };
    app.hooks.add(&"closed".parse().expect("a path"), wish, &by).await.expect("a webhook");
    let policy = set(guarded(&Signer::new()), "on", json!(["pull", "tag"]));
    enforce(app, &[set(policy, "match", json!({"repositories": ["closed/**"]}))]);
    let manifest = ImageBuilder::new().layer(b"layer").manifest();
    let (writer, reader) = (town.token("writer", &["**:pull,push"]).await, town.token("reader", &["**:pull"]).await);
    let put = app.put(&path("closed/app", "v2")).header("content-type", IMAGE_MANIFEST).body(manifest);
    refused(with(put, Some(&writer))).await;
    refused(with(app.get(&path("closed/app", "v1")), Some(&reader))).await;

    app.auth.audit().flush(true).await.expect("written");
    let root = town.token("root", &[]).await;
    let written = json(ok(with(app.get("/api/v1/audit?kind=refused"), Some(&root))).await).await;
    let events = written["events"].as_array().expect("events");
    let mut refusals: Vec<_> = events.iter().map(|event| [&event["actor"], &event["detail"]["action"]]).collect();
    refusals.sort_by_key(|refusal| refusal[0].to_string());
    assert_eq!(refusals, [[&json!("reader"), &json!("pull unverified")], [&json!("writer"), &json!("tag unverified")]]);
    app.hooks.tell_denials(true).await.expect("told");
    for _ in 0..2 {
        app.hooks.deliver_due().await.expect("a run");
    }
    let mut told: Vec<Value> = receiver.take().iter().map(|request| request.event()["data"].clone()).collect();
    told.sort_by_key(|data| data["actor"].to_string());
    let told: Vec<_> = told.iter().map(|data| [&data["actor"], &data["action"]]).collect();
    assert_eq!(told, refusals);
}

/// Whoever sets a tag is told at once what those who pull by it are told.
#[tokio::test]
async fn a_policy_that_warns_of_a_tag_says_so_when_it_is_set() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let warning = set(guarded(&signer), "mode", json!("warn"));
    enforce(&app, std::slice::from_ref(&warning));
    let image = ImageBuilder::new().layer(&[3; 100]);
    let manifest = image.manifest();
    for blob in image.blobs() {
        app.push_blob("prod/app", &blob).await;
    }
    let put = async |to: &str| {
        let put = app.put(&path("prod/app", to)).header("content-type", IMAGE_MANIFEST).body(manifest.clone());
        expect(put, StatusCode::CREATED).await
    };
    let told = |answer: &reqwest::Response| {
        ["warning", "x-signature-verdict", "x-signature-reason"].map(|name| shown(answer, name))
    };
    let [warned, verdict, reason] = told(&put("v1").await);
    assert!(warned.starts_with("299 - \"signature policy 'prod' not satisfied"), "{warned}");
    assert!(verdict.starts_with("unsigned;policy=\"prod\""), "{verdict}");
    assert_eq!(reason, "unsigned");
    // Of other tags no policy speaks.
    assert_eq!(told(&put("candidate-1").await), ["", "", ""]);
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let [warned, verdict, _] = told(&put("v1").await);
    assert!(warned.is_empty() && verdict.starts_with("pass;policy=\"prod\""), "{warned} {verdict}");
    // One that enforces beside it is satisfied, and the other one warns.
    let other = set(set(policy_of(&Signer::new()), "name", json!("other")), "on", json!(["tag"]));
    enforce(&app, &[guarded(&signer), set(other, "mode", json!("warn"))]);
    let [warned, verdict, _] = told(&put("v1").await);
    assert!(warned.contains("'other'") && verdict.starts_with("pass;policy=\"prod\""), "{warned} {verdict}");
}

/// Row 15: a signature that goes between the verdict and the tag takes the verdict with it.
#[tokio::test]
async fn a_tag_is_judged_again_when_signatures_change_meanwhile() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    enforce(&app, &[guarded(&signer)]);
    let image = ImageBuilder::new().layer(&[2; 100]);
    let manifest = image.manifest();
    app.push_image("prod/app", "candidate", &image).await;
    let referrer = signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    let repo = "prod/app".parse().expect("a name");
    app.metadata_faults.fail("manifest_put", 1, Moment::Before, Fault::Pause);
    let put = app.put(&path("prod/app", "v1")).header("content-type", IMAGE_MANIFEST).body(manifest.clone());
    let tagged = async { put.send().await.expect("an answer").status() };
    let removed = async {
        app.metadata_faults.hung().await;
        let by = Actor::command_line();
        let reference = referrer.parse().expect("a digest");
        let purge = bonded::registry::Purge::Later;
        app.registry.delete_manifest(&repo, &reference, purge, &by).await.expect("deleted");
        app.metadata_faults.resume();
    };
    let (status, ()) = tokio::join!(tagged, removed);
    assert_eq!(status, StatusCode::FORBIDDEN);
    expect(app.get(&path("prod/app", "v1")), StatusCode::NOT_FOUND).await;
}
