//! Who may read what does not pass yet: whoever is to sign it.

use reqwest::StatusCode;
use serde_json::json;

use super::signer::Signer;
use super::{enforce, ok, path, policy_of, refused, set, shown, with};
use crate::access::Town;
use crate::app::expect;
use crate::fixtures::{ImageBuilder, sha256};

#[tokio::test]
async fn who_may_push_may_read_what_he_is_to_sign() {
    let town = Town::build().await;
    let signer = Signer::new();
    let policy = set(policy_of(&signer), "match", json!({"repositories": ["closed/**", "open/**"]}));
    let policy = set(policy, "unverifiedReaders", json!("pushers"));
    enforce(&town.app, std::slice::from_ref(&policy));
    let manifest = ImageBuilder::new().layer(b"layer").manifest();
    let (writer, reader) = (town.token("writer", &["**:pull,push"]).await, town.token("reader", &["**:pull"]).await);
    // What cosign asks for when it signs is to pull.
    let pulling = town.token("writer", &["**:pull"]).await;
    let by = path("closed/app", "v1");
    let blob = format!("/v2/closed/app/blobs/{}", sha256(b"layer"));
    for token in [&writer, &pulling] {
        for target in [&by, &blob] {
            let answer = ok(with(town.app.get(target), Some(token))).await;
            assert!(shown(&answer, "x-signature-verdict").starts_with("bypass;policy=\"prod\""));
            assert_eq!(shown(&answer, "cache-control"), "private, no-store");
            let looked = ok(with(town.app.head(target), Some(token))).await;
            assert_eq!(shown(&looked, "cache-control"), "private, no-store", "{target}");
            assert_eq!(shown(&looked, "vary"), "Authorization", "{target}");
        }
    }
    let known = ok(with(town.app.head(&blob), Some(&writer))).await;
    let again = with(town.app.head(&blob), Some(&writer)).header("if-none-match", shown(&known, "etag"));
    assert_eq!(shown(&expect(again, StatusCode::NOT_MODIFIED).await, "cache-control"), "private, no-store");
    // Where blobs are open anybody may keep them.
    enforce(&town.app, &[set(policy.clone(), "blobs", json!("open"))]);
    let open = ok(with(town.app.head(&blob), Some(&writer))).await;
    assert_eq!((shown(&open, "vary"), shown(&open, "cache-control").contains("immutable")), (String::new(), true));
    // What is given all the same comes with what other policies warn of.
    let warning = set(set(policy.clone(), "name", json!("other")), "mode", json!("warn"));
    enforce(&town.app, &[policy.clone(), warning]);
    for target in [&by, &blob] {
        let answer = ok(with(town.app.get(target), Some(&writer))).await;
        assert!(shown(&answer, "x-signature-verdict").starts_with("bypass;policy=\"prod\""));
        assert!(shown(&answer, "warning").starts_with("299 - \"signature policy 'other' not satisfied"));
    }
    enforce(&town.app, std::slice::from_ref(&policy));
    for target in [&by, &blob] {
        refused(with(town.app.get(target), Some(&reader))).await;
        // Nobody is known by what he calls his program.
        refused(with(town.app.get(target), Some(&reader)).header("user-agent", "cosign/v3.1.3")).await;
        let head = expect(with(town.app.head(target), Some(&reader)), StatusCode::FORBIDDEN).await;
        assert_eq!(shown(&head, "docker-content-digest"), sha256(if *target == blob { b"layer" } else { &manifest }));
    }
    let anybody = town.exchange(None, &["repository:open/app:pull"]).await;
    refused(with(town.app.get(&path("open/app", "v1")), anybody["token"].as_str())).await;
    // A stranger is told nothing.
    let stranger = town.token("stranger", &["**:pull"]).await;
    expect(with(town.app.get(&by), Some(&stranger)), StatusCode::NOT_FOUND).await;

    enforce(&town.app, &[set(policy.clone(), "unverifiedReaders", json!("nobody"))]);
    refused(with(town.app.get(&by), Some(&writer))).await;
    // That a blob is there is told to those who would send it again.
    ok(with(town.app.head(&blob), Some(&writer))).await;

    let manager = town.token("manager", &["**:pull"]).await;
    enforce(&town.app, &[set(policy.clone(), "unverifiedReaders", json!(["admin"]))]);
    refused(with(town.app.get(&by), Some(&writer))).await;
    ok(with(town.app.get(&by), Some(&manager))).await;
    enforce(&town.app, &[set(policy.clone(), "unverifiedReaders", json!(["127.0.0.0/8"]))]);
    ok(with(town.app.get(&by), Some(&reader))).await;
    enforce(&town.app, &[set(policy.clone(), "unverifiedReaders", json!(["10.0.0.0/8"]))]);
    refused(with(town.app.get(&by), Some(&reader))).await;

    enforce(&town.app, &[policy]);
    signer.bundle(&manifest).push(&town.app, "closed/app", None, Some(&writer)).await;
    let answer = ok(with(town.app.get(&by), Some(&reader))).await;
    assert!(shown(&answer, "x-signature-verdict").starts_with("pass;"));
}

#[tokio::test]
async fn refusals_and_exceptions_are_written_down() {
    let town = Town::build().await;
    let signer = Signer::new();
    let policy = set(policy_of(&signer), "match", json!({"repositories": ["closed/**"]}));
    enforce(&town.app, &[set(policy, "unverifiedReaders", json!("pushers"))]);
    let (writer, reader) = (town.token("writer", &["**:pull,push"]).await, town.token("reader", &["**:pull"]).await);
    ok(with(town.app.get(&path("closed/app", "v1")), Some(&writer))).await;
    refused(with(town.app.get(&path("closed/app", "v1")), Some(&reader))).await;
    town.app.auth.audit().flush(true).await.expect("written");
    let root = town.token("root", &[]).await;
    let written = crate::app::json(ok(with(town.app.get("/api/v1/audit"), Some(&root))).await).await;
    let has = |kind: &str, actor: &str, action: &str| {
        let mut events = written["events"].as_array().expect("events").iter();
        events.any(|event| event["kind"] == kind && event["actor"] == actor && event["detail"]["action"] == action)
    };
    assert!(has("trust.bypass", "writer", "pull"), "{written}");
    assert!(has("refused", "reader", "pull unverified"), "{written}");
}

#[tokio::test]
async fn an_exception_of_one_policy_is_none_of_another() {
    let town = Town::build().await;
    let policy = set(policy_of(&Signer::new()), "match", json!({"repositories": ["closed/**"]}));
    let pushers = set(policy.clone(), "unverifiedReaders", json!("pushers"));
    let writer = town.token("writer", &["**:pull,push"]).await;
    let by = path("closed/app", "v1");
    enforce(&town.app, std::slice::from_ref(&pushers));
    ok(with(town.app.get(&by), Some(&writer))).await;
    for both in
        [[pushers.clone(), set(policy.clone(), "name", json!("other"))], [set(policy, "name", json!("other")), pushers]]
    {
        enforce(&town.app, &both);
        refused(with(town.app.get(&by), Some(&writer))).await;
    }
}
