//! The policy document in the database: changed by administrators, on every node.

use bonded::metadata::MetadataStore as _;
use bonded::metadata::model::Precondition;
use bonded::metadata::model::trust::PolicyPut;
use bonded::registry::gate::PolicyFollowed;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::signer::Signer;
use super::{image, ok, path, policy_of, refused, set, shown, with};
use crate::access::Town;
use crate::app::{TestApp, expect, json};

const DOCUMENT: &str = "/v2/_trust/policy/document";

fn document(policies: &[Value]) -> String {
    json!({"apiVersion": "trust/v1", "policies": policies}).to_string()
}

#[tokio::test]
async fn administrators_change_the_policies_and_nobody_else_does() {
    let town = Town::build().await;
    let app = &town.app;
    let signer = Signer::new();
    let mut policy = policy_of(&signer);
    policy["match"] = json!({"repositories": ["closed", "closed/**"]});
    let (root, reader) = (town.token("root", &[]).await, town.token("reader", &[]).await);
    let limited = town.token("root", &["closed/**:pull"]).await;
    let owner = town.token("owner", &[]).await;
    let put = |token: Option<&str>, body: &str| with(app.put(DOCUMENT), token).body(body.to_owned());
    let new = document(std::slice::from_ref(&policy));

    expect(put(None, &new), StatusCode::UNAUTHORIZED).await;
    for token in [&reader, &owner, &limited] {
        expect(put(Some(token), &new), StatusCode::FORBIDDEN).await;
        expect(with(app.get(DOCUMENT), Some(token)), StatusCode::FORBIDDEN).await;
    }
    let by = path("closed/app", "v1");
    ok(with(app.get(&by), Some(&reader))).await;

    let first = json(ok(put(Some(&root), &new)).await).await;
    assert_eq!((&first["number"], &first["warnings"]), (&json!(1), &json!([])), "{first}");
    refused(with(app.get(&by), Some(&reader))).await;
    let held = ok(with(app.get(DOCUMENT), Some(&root))).await;
    let etag = shown(&held, "etag");
    let held = json(held).await;
    assert_eq!((&held["document"], &held["source"]), (&json!(new), &json!("database")));
    assert_eq!(held["revision"], first["revision"]);

    // A bad one leaves the one before it, and every fault is named.
    policy["mode"] = json!("enforced");
    policy["typo"] = json!(1);
    let bad = expect(put(Some(&root), &document(&[policy])), StatusCode::BAD_REQUEST).await;
    let findings = json(bad).await["errors"][0]["detail"].as_array().expect("findings").len();
    assert!(findings >= 2, "{findings}");
    let named = json!({"apiVersion": "trust/v1", "trustRoots": {"a": {"file": "/etc/passwd"}}, "policies": []});
    expect(put(Some(&root), &named.to_string()), StatusCode::BAD_REQUEST).await;
    let large = expect(put(Some(&root), &"x".repeat(2 << 20)), StatusCode::PAYLOAD_TOO_LARGE).await;
    let message = json(large).await["errors"][0]["message"].as_str().expect("a text").to_owned();
    assert!(message.starts_with("the document is larger than 1048576 bytes"), "{message}");
    refused(with(app.get(&by), Some(&reader))).await;

    // Only in the place of the one that was read.
    let late = put(Some(&root), &document(&[])).header("if-match", "\"0000\"");
    expect(late, StatusCode::PRECONDITION_FAILED).await;
    // What was not written by mistake ends no policies.
    for nothing in ["", " \n", "# to be written\n"] {
        let empty = json(expect(put(Some(&root), nothing), StatusCode::BAD_REQUEST).await).await;
        let message = empty["errors"][0]["detail"][0]["message"].as_str().expect("a sentence").to_owned();
        assert!(message.contains("`policies: []`"), "{message}");
    }
    refused(with(app.get(&by), Some(&reader))).await;
    ok(put(Some(&root), &document(&[])).header("if-match", etag)).await;
    ok(with(app.get(&by), Some(&reader))).await;
    expect(with(app.request(Method::DELETE, DOCUMENT), Some(&root)), StatusCode::METHOD_NOT_ALLOWED).await;
    let events = json(ok(with(app.get("/api/v1/audit?kind=trust.policy"), Some(&root))).await).await;
    assert_eq!(events["events"].as_array().expect("events").len(), 2, "{events}");
}

#[tokio::test]
async fn a_document_takes_the_place_of_the_one_that_is_meant() {
    let town = Town::build().await;
    let root = town.token("root", &[]).await;
    let body = document(&[policy_of(&Signer::new())]);
    let put = async |name: &'static str, value: &str| {
        let request = with(town.app.put(DOCUMENT), Some(&root)).header(name, value).body(body.clone());
        request.send().await.expect("an answer").status().as_u16()
    };
    let held = async || shown(&ok(with(town.app.get(DOCUMENT), Some(&root))).await, "etag");
    let numbers = async || {
        let listed = json(ok(with(town.app.get("/v2/_trust/policy/revisions"), Some(&root))).await).await;
        listed["revisions"].as_array().expect("a list").len()
    };
    // Where there was never one.
    assert_eq!([put("if-match", "*").await, put("if-match", "\"x\"").await], [412, 412]);
    assert_eq!(put("if-none-match", "\"\"").await, 412);
    assert_eq!((held().await.as_str(), put("if-match", "\"\"").await), ("\"\"", 200));
    // A guard that is not understood is no guard.
    let tag = held().await;
    let bare = tag.trim_matches('"');
    for value in [bare, "", "\"x", "x\"", &format!("{bare}\""), "*, \"x\""] {
        for name in ["if-match", "if-none-match"] {
            assert_eq!(put(name, value).await, 400, "{name}: {value}");
        }
    }
    let both = with(town.app.put(DOCUMENT), Some(&root)).header("if-match", &tag).header("if-none-match", "*");
    expect(both.body(body.clone()), StatusCode::BAD_REQUEST).await;
    for (name, value, status) in [
        ("if-none-match", "*".to_owned(), 412),
        ("if-none-match", tag.clone(), 412),
        ("if-none-match", format!("\"x\", W/{tag}"), 412),
        ("if-match", format!("W/{tag}"), 412),
        ("if-match", "\"\"".to_owned(), 412),
        ("if-match", "\"x\", \"y\"".to_owned(), 412),
        ("if-none-match", "\"x\"".to_owned(), 200),
        ("if-match", "*".to_owned(), 200),
        ("if-match", format!("\"x\" , {tag}"), 200),
    ] {
        assert_eq!(put(name, &value).await, status, "{name}: {value}");
    }
    assert_eq!(numbers().await, 4, "what was refused was not kept");
}

/// A node hears of accounts a moment after the one where they were made, and perhaps of a document before that.
#[tokio::test]
async fn a_document_that_needs_accounts_holds_as_soon_as_there_are_some() {
    let app = TestApp::start().await;
    let signer = Signer::new();
    image(&app, "prod/app", "v1", 1).await;
    let put = PolicyPut {
        document: document(&[set(policy_of(&signer), "unverifiedReaders", json!("pushers"))]),
        replaces: None,
        revision: "1".to_owned(),
        now: app.registry.now(),
        by: crate::fixtures::NOBODY.clone(),
    };
    app.metadata_faults.policy_put(&put).await.expect("stored").expect("the newest");
    let follow = async |has_accounts| app.registry.follow_policy_document(has_accounts).await.expect("a look");
    assert_eq!([follow(false).await, follow(false).await], [PolicyFollowed::Faulty, PolicyFollowed::Unchanged]);
    assert_eq!(app.registry.gate().policies().current().iter().count(), 0);
    assert_eq!([follow(true).await, follow(true).await], [PolicyFollowed::Replaced, PolicyFollowed::Unchanged]);
    assert_eq!(app.registry.gate().policies().current().iter().count(), 1);
}

#[tokio::test]
async fn without_accounts_there_is_nobody_to_keep_a_policy_from() {
    let app = TestApp::start().await;
    expect(app.put(DOCUMENT).body(document(&[])), StatusCode::FORBIDDEN).await;
    ok(app.get(DOCUMENT)).await;
}

#[tokio::test]
async fn a_document_holds_on_every_node() {
    let nodes = TestApp::builder().start_shared(2).await;
    let signer = Signer::new();
    let manifest = image(&nodes[0], "prod/app", "v1", 1).await;
    let by = bonded::metadata::model::accounts::Actor::command_line();
    let new = document(&[policy_of(&signer)]);
    nodes[0].registry.put_policy_document(&new, &Precondition::None, true, &by).await.expect("stored");
    refused(nodes[0].get(&path("prod/app", "v1"))).await;
    nodes[1].registry.follow_policy_document(true).await.expect("a look");
    refused(nodes[1].get(&path("prod/app", "v1"))).await;
    signer.bundle(&manifest).push(&nodes[1], "prod/app", None, None).await;
    ok(nodes[0].get(&path("prod/app", "v1"))).await;
}

/// An image that waits for its tag on the second of two nodes.
struct Tagging {
    nodes: Vec<TestApp>,
    signer: Signer,
    manifest: Vec<u8>,
}

impl Tagging {
    async fn start() -> Self {
        let nodes = TestApp::builder().start_shared(2).await;
        let image = crate::fixtures::ImageBuilder::new().layer(b"x");
        for blob in image.blobs() {
            nodes[1].push_blob("prod/app", &blob).await;
        }
        Self { nodes, signer: Signer::new(), manifest: image.manifest() }
    }

    fn policy(&self) -> Value {
        set(policy_of(&self.signer), "on", json!(["tag"]))
    }

    /// The first node takes a document in, and the second one does not look.
    async fn store(&self, policies: &[Value]) {
        let by = bonded::metadata::model::accounts::Actor::command_line();
        let any = Precondition::None;
        self.nodes[0].registry.put_policy_document(&document(policies), &any, true, &by).await.expect("stored");
    }

    fn put(&self, tag: &str) -> RequestBuilder {
        let request = self.nodes[1].put(&path("prod/app", tag));
        request.header("content-type", crate::fixtures::IMAGE_MANIFEST).body(self.manifest.clone())
    }

    async fn sign(&self) {
        self.signer.bundle(&self.manifest).push(&self.nodes[1], "prod/app", None, None).await;
    }
}

#[tokio::test]
async fn a_tag_is_judged_by_the_newest_document() {
    let tagging = Tagging::start().await;
    tagging.store(&[tagging.policy()]).await;
    tagging.nodes[1].registry.follow_policy_document(true).await.expect("a look");
    tagging.sign().await;
    // The other node has not heard of the newest document yet, by which nobody is trusted.
    let revoke = json!({"digests": [crate::fixtures::sha256(&tagging.manifest)]});
    tagging.store(&[set(tagging.policy(), "revoke", revoke)]).await;
    refused(tagging.put("v1")).await;
}

#[tokio::test]
async fn a_node_that_knows_no_policy_sets_no_tag_past_one() {
    let tagging = Tagging::start().await;
    expect(tagging.put("before"), StatusCode::CREATED).await;
    tagging.store(&[tagging.policy()]).await;
    refused(tagging.put("v1")).await;
    tagging.sign().await;
    expect(tagging.put("v1"), StatusCode::CREATED).await;
}

/// Another release may know what this one cannot read. What was in force goes on to be, and nobody waits for ever.
#[tokio::test]
async fn a_document_that_cannot_be_used_stops_no_tags() {
    let tagging = Tagging::start().await;
    tagging.store(&[tagging.policy()]).await;
    refused(tagging.put("v1")).await;
    let put = PolicyPut {
        document: "apiVersion: trust/v9".to_owned(),
        replaces: None,
        revision: "9".to_owned(),
        now: tagging.nodes[0].registry.now(),
        by: crate::fixtures::NOBODY.clone(),
    };
    let stores = tagging.nodes[0].place.open().await;
    stores.metadata.policy_put(&put).await.expect("stored").expect("the newest");
    refused(tagging.put("v1")).await;
    tagging.sign().await;
    expect(tagging.put("v1"), StatusCode::CREATED).await;
    tagging.store(&[set(tagging.policy(), "mode", json!("off"))]).await;
    expect(tagging.put("v2"), StatusCode::CREATED).await;
}
