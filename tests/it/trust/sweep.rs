//! What ceases to pass: found out though nobody pulls it, and told once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bonded::clock::Clock as _;
use bonded::hooks::WebhookWish;
use bonded::http::Metrics;
use bonded::jobs::{Job as _, SweepVerdicts};
use bonded::metadata::model::StoreCounts;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::audit::AuditFilter;
use bonded::metadata::model::webhooks::{HookEvent, HookEvents};
use bonded::registry::{CollectorStats, ScrubStats};
use bonded::storage::layers::{Fault, Moment, Operation};
use bonded::verify::policy::Policies;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::signer::{Signed, Signer, bundle_of};
use super::{chain_of_indexes, digest_path, enforce, image, index_of, ok, path, policy_of, refused, set, with};
use crate::access::Town;
use crate::app::{TestApp, expect, on_both_places};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, sha256};
use crate::hooks::receiver::{Received, Receiver};

on_both_places! {
    what_ceases_to_pass_is_told_once_though_nobody_pulls_it
    a_deleted_signature_is_found_within_the_hour
    what_a_pull_finds_out_is_not_told_again
    nothing_is_told_where_nothing_has_ceased
    want_of_room_is_no_failure
    doubt_about_an_index_is_doubt_about_what_it_lists
    what_is_asked_of_tags_alone_is_not_asked_of_pulls
}

const HOUR: Duration = Duration::from_hours(1);

/// Lets the job run for some seconds.
async fn sweep(app: &TestApp) {
    let job = SweepVerdicts::new(Arc::clone(&app.registry));
    for _ in 0..4 {
        app.clock.advance(Duration::from_secs(1));
        assert!(!job.run().await.expect("a walk"), "the rate is kept by pauses");
    }
}

/// The events of a kind, the oldest first: subject and what it says.
async fn events(app: &TestApp, kind: &str) -> Vec<(String, Value)> {
    let filter = AuditFilter { kind: Some(kind.to_owned()), ..AuditFilter::default() };
    let page = app.auth.audit().list(&filter, None, 100).await.expect("a list");
    assert!(page.events.iter().all(|event| event.actor.is_none() && event.address.is_none()));
    page.events.into_iter().rev().map(|event| (event.subject.clone(), event.detail())).collect()
}

async fn failures(app: &TestApp) -> Vec<String> {
    events(app, "trust.failed").await.into_iter().map(|(subject, _)| subject).collect()
}

fn named(manifest: &[u8]) -> String {
    format!("prod/app@{}", sha256(manifest))
}

fn without(signer: &Signer, manifest: &[u8]) -> Value {
    set(policy_of(signer), "revoke", json!({"digests": [sha256(manifest)]}))
}

/// An image that is signed and passes.
async fn passing(app: &TestApp, signer: &Signer, tag: &str, seed: u8) -> (Vec<u8>, String) {
    let manifest = image(app, "prod/app", &format!("candidate-{tag}"), seed).await;
    let referrer = signer.bundle(&manifest).push(app, "prod/app", None, None).await;
    ok(app.get(&digest_path("prod/app", &manifest))).await;
    (manifest, referrer)
}

async fn what_ceases_to_pass_is_told_once_though_nobody_pulls_it(app: TestApp) {
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    let (one, _) = passing(&app, &signer, "one", 1).await;
    passing(&app, &signer, "two", 2).await;
    sweep(&app).await;
    assert_eq!(app.registry.verdict_sweep_stats().judged, 2, "a first walk");
    assert_eq!(failures(&app).await, [""; 0]);

    // Other policies have it begin at once, and nothing is done twice.
    enforce(&app, &[without(&signer, &one)]);
    for _ in 0..2 {
        sweep(&app).await;
    }
    refused(app.get(&digest_path("prod/app", &one))).await;
    let told = events(&app, "trust.failed").await;
    let revision = app.registry.gate().policies().current().revision().to_owned();
    let detail = json!({"policy": "prod", "revision": revision, "verdict": "fail", "reason": "revoked"});
    assert_eq!(told, [(named(&one), detail)]);
    let stats = app.registry.verdict_sweep_stats();
    assert_eq!((stats.failed, stats.judged), (1, 4));

    // It passes again, and fails again.
    enforce(&app, &[policy_of(&signer)]);
    sweep(&app).await;
    let again = events(&app, "trust.passed").await;
    let revision = app.registry.gate().policies().current().revision().to_owned();
    assert_eq!(again, [(named(&one), json!({"revision": revision}))]);
    enforce(&app, &[without(&signer, &one)]);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [named(&one), named(&one)]);
    // What nobody asks any more is neither.
    enforce(&app, &[]);
    app.clock.advance(HOUR);
    sweep(&app).await;
    assert_eq!(events(&app, "trust.passed").await.len(), 1);
}

async fn a_deleted_signature_is_found_within_the_hour(app: TestApp) {
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    let (one, referrer) = passing(&app, &signer, "one", 1).await;
    let (two, _) = passing(&app, &signer, "two", 2).await;
    sweep(&app).await;
    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    app.clock.advance(HOUR / 2);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [""; 0]);
    app.clock.advance(HOUR / 2);
    sweep(&app).await;
    let told = events(&app, "trust.failed").await;
    assert_eq!((told.len(), &told[0].0, &told[0].1["reason"]), (1, &named(&one), &json!("unsigned")));
    // What is gone is no news.
    expect(app.delete(&digest_path("prod/app", &two)), StatusCode::ACCEPTED).await;
    enforce(&app, &[without(&signer, &two)]);
    sweep(&app).await;
    assert_eq!(failures(&app).await.len(), 1);
}

async fn what_a_pull_finds_out_is_not_told_again(app: TestApp) {
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    let (one, _) = passing(&app, &signer, "one", 1).await;
    enforce(&app, &[without(&signer, &one)]);
    for _ in 0..2 {
        refused(app.get(&digest_path("prod/app", &one))).await;
        assert_eq!(failures(&app).await, [named(&one)]);
        sweep(&app).await;
    }
    let stats = app.registry.verdict_sweep_stats();
    let (collected, scrubbed) = (CollectorStats::default(), ScrubStats::default());
    let text = Metrics::default().render(StoreCounts::default(), &collected, &scrubbed, &stats);
    for line in ["bonded_verdicts_failed_total 1", "bonded_verdicts_swept_total 1"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

async fn nothing_is_told_where_nothing_has_ceased(app: TestApp) {
    let (signer, other) = (Signer::new(), Signer::new());
    let manifest = image(&app, "prod/app", "v1", 1).await;
    let warning = set(policy_of(&signer), "mode", json!("warn"));
    for policies in [&[][..], std::slice::from_ref(&warning)] {
        enforce(&app, policies);
        ok(app.get(&path("prod/app", "v1"))).await;
        app.clock.advance(HOUR);
        sweep(&app).await;
    }
    assert_eq!(app.registry.verdict_sweep_stats().judged, 0, "no policy enforces");
    // It never passed: a policy that only warns was not satisfied.
    enforce(&app, &[policy_of(&signer)]);
    refused(app.get(&path("prod/app", "v1"))).await;
    signer.bundle(&manifest).push(&app, "prod/app", None, None).await;
    ok(app.get(&path("prod/app", "v1"))).await;
    for _ in 0..3 {
        app.clock.advance(HOUR);
        sweep(&app).await;
    }
    assert_eq!(app.registry.verdict_sweep_stats().judged, 3);
    // A policy is relaxed, and one about something else comes.
    let elsewhere = set(set(policy_of(&other), "name", json!("other")), "match", json!({"repositories": ["other/**"]}));
    for policies in [&[warning, elsewhere.clone()][..], &[policy_of(&signer), elsewhere], &[policy_of(&signer)]] {
        enforce(&app, policies);
        sweep(&app).await;
    }
    assert_eq!((failures(&app).await, events(&app, "trust.passed").await), (Vec::new(), Vec::new()));
}

async fn want_of_room_is_no_failure(app: TestApp) {
    let (signer, junk) = (Signer::new(), Signer::new());
    enforce(&app, &[policy_of(&signer)]);
    let (one, referrer) = passing(&app, &signer, "one", 5).await;
    for _ in 0..70 {
        junk.bundle(&one).push(&app, "prod/app", None, None).await;
    }
    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    let detail = refused(app.get(&digest_path("prod/app", &one))).await;
    assert!(detail["reasons"].to_string().contains("limit_exceeded"), "{detail}");
    app.clock.advance(HOUR);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [""; 0]);
    // What is certain is told all the same.
    enforce(&app, &[without(&signer, &one)]);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [named(&one)]);
}

async fn doubt_about_an_index_is_doubt_about_what_it_lists(app: TestApp) {
    let (signer, junk) = (Signer::new(), Signer::new());
    let child = image(&app, "prod/app", "child", 6).await;
    let index = index_of(IMAGE_MANIFEST, &[&child]);
    app.push_manifest("prod/app", "index", IMAGE_INDEX, &index).await;
    enforce(&app, &[policy_of(&signer)]);
    let referrer = signer.bundle(&index).push(&app, "prod/app", None, None).await;
    ok(app.get(&digest_path("prod/app", &child))).await;
    for _ in 0..70 {
        junk.bundle(&index).push(&app, "prod/app", None, None).await;
    }
    expect(app.delete(&path("prod/app", &referrer)), StatusCode::ACCEPTED).await;
    let detail = refused(app.get(&digest_path("prod/app", &child))).await;
    assert!(detail["reasons"].to_string().contains("limit_exceeded"), "{detail}");
    app.clock.advance(HOUR);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [""; 0]);
}

async fn what_is_asked_of_tags_alone_is_not_asked_of_pulls(app: TestApp) {
    let (signer, releaser) = (Signer::new(), Signer::new());
    let tags = set(set(policy_of(&releaser), "name", json!("tags")), "on", json!(["tag"]));
    let tags = set(tags, "match", json!({"repositories": ["prod/**"], "tags": ["v*"]}));
    enforce(&app, &[policy_of(&signer), tags.clone()]);
    let (one, _) = passing(&app, &signer, "one", 7).await;
    enforce(&app, &[without(&signer, &one), tags]);
    sweep(&app).await;
    let told = events(&app, "trust.failed").await;
    assert_eq!((told.len(), &told[0].1["policy"]), (1, &json!("prod")), "{told:?}");
}

fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signing").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn an_attestation_grows_old() {
    let app = TestApp::builder().sparse(&["prod/**"]).start().await;
    // cosign made it some days after tests begin.
    app.clock.advance(HOUR * 24 * 30);
    let case = "keyless-attest-slsa1";
    let subject = sample(&format!("{case}/subject.manifest.json"));
    let referrer: Value = serde_json::from_slice(&sample(&format!("{case}/referrer-0.manifest.json"))).expect("JSON");
    let blobs = ["config", "layers/0"].map(|place| {
        let digest = referrer.pointer(&format!("/{place}/digest")).and_then(Value::as_str).expect("a digest");
        sample(&format!("{case}/blobs/{}", digest.trim_start_matches("sha256:")))
    });
    let signed = Signed { manifest: sample(&format!("{case}/referrer-0.manifest.json")), blobs: blobs.to_vec() };
    signed.push(&app, "prod/app", None, None).await;
    let document = json!({
        "apiVersion": "trust/v1", "trustRoots": {"lab": {"file": "trusted_root.lab.json"}}, "policies": [{
            "name": "fresh", "match": {"repositories": ["prod/**"]}, "mode": "enforce", "unverifiedReaders": "nobody",
            "authorities": [{"name": "ci", "keyless": {"trustRoot": "lab", "identities": [
                {"issuer": "https://issuer.lab.example", "subject": "alice@lab.example"},
            ]}}],
            "attestations": [{"predicateType": "https://slsa.dev/provenance/v1", "of": ["ci"], "maxAge": "30d"}],
        }],
    });
    let loaded = Policies::load(document.to_string().as_bytes(), &|name| Ok(sample(name)));
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults:?}"));
    app.registry.gate().policies().replace(loaded, app.registry.now());
    app.push_manifest("prod/app", &sha256(&subject), IMAGE_MANIFEST, &subject).await;
    let by = digest_path("prod/app", &subject);
    ok(app.get(&by)).await;
    app.clock.advance(HOUR);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [""; 0]);
    app.clock.advance(HOUR * 24 * 30);
    sweep(&app).await;
    let told = events(&app, "trust.failed").await;
    assert_eq!((told.len(), &told[0].0), (1, &named(&subject)));
    assert_eq!((&told[0].1["policy"], &told[0].1["reason"]), (&json!("fresh"), &json!("attestation_condition")));
    refused(app.get(&by)).await;
}

/// Everybody finds it out at the same time: two walks and two pulls.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_nodes_one_tells() {
    let nodes = TestApp::builder().start_shared(2).await;
    let signer = Signer::new();
    let mut images = Vec::new();
    for node in &nodes {
        enforce(node, &[policy_of(&signer)]);
    }
    for seed in 1..5 {
        images.push(passing(&nodes[0], &signer, &seed.to_string(), seed).await.0);
    }
    let other = Signer::new();
    for node in &nodes {
        enforce(node, &[policy_of(&other)]);
    }
    let (one, two) = (&nodes[0], &nodes[1]);
    let pulls = async |node: &TestApp| {
        for manifest in &images {
            refused(node.get(&digest_path("prod/app", manifest))).await;
        }
    };
    tokio::join!(sweep(one), sweep(two), pulls(one), pulls(two));
    let (mut told, mut expected) = (failures(one).await, images.iter().map(|one| named(one)).collect::<Vec<_>>());
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let failed: u64 = nodes.iter().map(|node| node.registry.verdict_sweep_stats().failed).sum();
    assert_eq!(failed, 4);
}

#[tokio::test]
async fn the_webhooks_of_the_namespace_are_told() {
    let (town, receiver) = (Town::build().await, Receiver::start().await);
    let (app, by) = (&town.app, Actor::command_line());
    let namespace = "closed".parse().expect("a path");
    let wish = WebhookWish { url: receiver.url(), events: HookEvents::of([HookEvent::Trust]), secret: None };
    app.hooks.add(&namespace, wish, &by).await.expect("a webhook");
    let signer = Signer::new();
    let closed = |policy: Value| set(policy, "match", json!({"repositories": ["closed/**"]}));
    enforce(app, &[closed(policy_of(&signer))]);
    let manifest = ImageBuilder::new().layer(b"layer").manifest();
    let (writer, reader) = (town.token("writer", &["**:pull,push"]).await, town.token("reader", &["**:pull"]).await);
    signer.bundle(&manifest).push(app, "closed/app", None, Some(&writer)).await;
    ok(with(app.get(&path("closed/app", "v1")), Some(&reader))).await;
    for policy in [without(&signer, &manifest), policy_of(&signer)] {
        enforce(app, &[closed(policy)]);
        sweep(app).await;
        sweep(app).await;
    }
    app.hooks.deliver_due().await.expect("a run");
    app.hooks.deliver_due().await.expect("a run");
    let received = receiver.take();
    let kinds: Vec<String> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["dev.bonded.trust.failed.v1", "dev.bonded.trust.passed.v1"]);
    let (event, digest) = (received[0].event(), sha256(&manifest));
    assert_eq!(event["subject"], format!("closed/app@{digest}"));
    let mut data = event["data"].clone();
    assert!(data["revision"].take().as_str().is_some_and(|revision| !revision.is_empty()));
    let expected = json!({
        "repository": "closed/app", "digest": digest, "actor": null, "requestId": null,
        "policy": "prod", "revision": null, "verdict": "fail", "reason": "revoked",
    });
    assert_eq!(data, expected);
}

/// What could not be read is neither a failure nor in the way of what comes after it.
#[tokio::test]
async fn a_store_that_fails_is_no_failure_of_what_it_holds() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    for seed in 1..3 {
        let manifest = image(&app, "prod/app", "v1", seed).await;
        let bytes = signer.bundle(&manifest).blobs[1].clone();
        // Larger than what is kept in a row.
        let signed = bundle_of(&manifest, [bytes, vec![b' '; 8000]].concat());
        signed.push(&app, "prod/app", None, None).await;
        ok(app.get(&path("prod/app", "v1"))).await;
    }
    let second = set(set(policy_of(&signer), "name", json!("b")), "match", json!({"repositories": ["b/**"]}));
    enforce(&app, &[policy_of(&signer), second]);
    app.storage_faults.fail(Operation::Read, 1, Moment::Before, Fault::Unavailable);
    app.clock.advance(Duration::from_secs(1));
    app.registry.sweep_verdicts().await.expect_err("the store does not answer");
    assert_eq!(app.registry.verdict_sweep_stats().judged, 0);
    sweep(&app).await;
    assert_eq!(app.registry.verdict_sweep_stats().judged, 1, "the other one");
    assert_eq!(failures(&app).await, [""; 0]);
}

/// Of a verdict that could not be written down the next walk tells.
#[tokio::test]
async fn what_could_not_be_told_is_told_later() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    let (one, _) = passing(&app, &signer, "one", 1).await;
    enforce(&app, &[without(&signer, &one)]);
    let fault = bonded::metadata::layers::Fault::Unavailable;
    app.metadata_faults.fail("verdict_put", 1, bonded::faults::Moment::Before, fault);
    refused(app.get(&digest_path("prod/app", &one))).await;
    assert_eq!(failures(&app).await, [""; 0]);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [named(&one)]);
}

/// A walk that a store interrupts goes on where it was, and does not wait for the next one.
#[tokio::test]
async fn an_interrupted_walk_goes_on() {
    for method in ["verdict_sweep_take", "verdict_scan", "manifest_find", "verdict_sweep_keep"] {
        let app = TestApp::start().await;
        let signer = Signer::new();
        enforce(&app, &[policy_of(&signer)]);
        let (one, _) = passing(&app, &signer, "one", 1).await;
        let (two, _) = passing(&app, &signer, "two", 2).await;
        enforce(&app, &[set(policy_of(&signer), "revoke", json!({"digests": [sha256(&one), sha256(&two)]}))]);
        let fault = bonded::metadata::layers::Fault::Unavailable;
        app.metadata_faults.fail(method, 1, bonded::faults::Moment::Before, fault);
        app.clock.advance(Duration::from_secs(1));
        app.registry.sweep_verdicts().await.expect_err("the store does not answer");
        app.clock.advance(Duration::from_secs(10));
        sweep(&app).await;
        // Of what was in hand when the error came the next walk tells.
        let told = failures(&app).await.len();
        assert_eq!(told, if method == "manifest_find" { 1 } else { 2 }, "{method}");
        app.clock.advance(HOUR);
        sweep(&app).await;
        assert_eq!(failures(&app).await.len(), 2, "{method}");
    }
}

/// An index that is looked at from far below is judged by fewer of those above it.
#[tokio::test]
async fn what_is_seen_from_far_below_ends_no_pass() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    let chain = chain_of_indexes(&app, image(&app, "prod/app", "child", 1).await).await;
    enforce(&app, &[policy_of(&signer)]);
    signer.bundle(&chain[5]).push(&app, "prod/app", None, None).await;
    ok(app.get(&digest_path("prod/app", &chain[1]))).await;
    // Signatures of something else: everything is judged anew.
    passing(&app, &signer, "other", 2).await;
    refused(app.get(&digest_path("prod/app", &chain[0]))).await;
    assert_eq!(failures(&app).await, [""; 0]);
    ok(app.get(&digest_path("prod/app", &chain[1]))).await;
    app.clock.advance(HOUR);
    sweep(&app).await;
    assert_eq!(failures(&app).await, [""; 0]);
}

#[tokio::test]
async fn no_more_is_judged_in_a_second_than_is_allowed() {
    let app = TestApp::builder().options(|options| options.verdict_sweep.rate = 2).start().await;
    let signer = Signer::new();
    enforce(&app, &[policy_of(&signer)]);
    for seed in 1..9 {
        passing(&app, &signer, &seed.to_string(), seed).await;
    }
    let judged = async |seconds: u64| {
        app.clock.advance(Duration::from_secs(seconds));
        app.registry.sweep_verdicts().await.expect("a walk");
        app.registry.verdict_sweep_stats().judged
    };
    assert_eq!([judged(0).await, judged(0).await, judged(1).await, judged(1).await], [2, 2, 4, 6]);
    // However long it has not been at it, it makes up for two seconds.
    assert_eq!(judged(30).await, 8);
    let until = app.clock.now();
    assert_eq!(judged(1).await, 8);
    // The walk is at its end; the next one is due an hour after it began.
    app.clock.advance(HOUR);
    assert!(app.clock.now() > until && judged(1).await > 8);
}
