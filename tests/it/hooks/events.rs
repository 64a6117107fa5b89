//! What happens in a repository, and what its namespace's webhooks are told of it.

use std::time::Duration;

use bonded::access::NamespacePath;
use bonded::hooks::WebhookWish;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::webhooks::{HookEvent, HookEvents};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use super::receiver::{Received, Receiver};
use crate::access::{Town, with};
use crate::app::expect;
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, sha256};
use crate::stores::Place;

async fn add(town: &Town, namespace: &str, url: String, events: HookEvents) -> String {
    let namespace: NamespacePath = namespace.parse().expect("a path");
    let wish = WebhookWish { url, events, secret: None };
    town.app.hooks.add(&namespace, wish, &Actor::command_line()).await.expect("a webhook").id
}

/// Pushes an image of one layer, and gives the status of the last request and the manifest's digest.
pub(super) async fn push(town: &Town, token: &str, repo: &str, tag: &str, layer: &[u8]) -> (StatusCode, String) {
    let image = ImageBuilder::new().layer(layer);
    for blob in image.blobs() {
        let post = town.app.post(&format!("/v2/{repo}/blobs/uploads/?digest={}", sha256(&blob))).body(blob);
        expect(with(post, Some(token)), StatusCode::CREATED).await;
    }
    let put = town.app.put(&format!("/v2/{repo}/manifests/{tag}")).header("content-type", IMAGE_MANIFEST);
    let answer = with(put.body(image.manifest()), Some(token)).send().await.expect("an answer");
    (answer.status(), sha256(&image.manifest()))
}

async fn deliver(town: &Town, receiver: &Receiver) -> Vec<Received> {
    town.app.hooks.deliver_due().await.expect("a run");
    receiver.take()
}

fn told(received: &[Received]) -> Vec<(String, Value, Value)> {
    let one = |request: &Received| {
        let mut event = request.event();
        event["data"]["requestId"].take();
        (request.kind(), event["subject"].take(), event["data"].take())
    };
    received.iter().map(one).collect()
}

fn event(kind: &str, subject: &str, data: &Value) -> (String, Value, Value) {
    let mut whole = json!({"repository": "closed/app", "requestId": null});
    for (key, value) in data.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    (format!("dev.bonded.{kind}.v1"), json!(subject), whole)
}

#[tokio::test]
async fn pushes_moves_and_deletes_are_told_in_their_order() {
    let (town, receiver) = (Town::build().await, Receiver::start().await);
    add(&town, "closed", receiver.url(), HookEvents::ALL).await;
    let token = town.token("manager", &[]).await;
    let (status, first) = push(&town, &token, "closed/app", "v2", b"one").await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, second) = push(&town, &token, "closed/app", "v2", b"two").await;
    push(&town, &token, "closed/app", "v2", b"two").await;
    push(&town, &token, "open/app", "v2", b"two").await;
    let (by_tag, by_digest) = ("/v2/closed/app/manifests/v2".to_owned(), format!("/v2/closed/app/manifests/{second}"));
    for path in [&by_tag, &by_digest] {
        expect(with(town.app.delete(path), Some(&token)), StatusCode::ACCEPTED).await;
    }
    let size = |layer: &[u8]| ImageBuilder::new().layer(layer).manifest().len();
    let pushed = |digest: &str, layer: &[u8]| {
        let data = json!({
            "actor": "manager", "digest": digest, "tags": ["v2"], "mediaType": IMAGE_MANIFEST, "size": size(layer),
        });
        event("manifest.push", &format!("closed/app@{digest}"), &data)
    };
    let moved = json!({"actor": "manager", "tag": "v2", "old": first, "new": second});
    let untagged = json!({"actor": "manager", "tag": "v2", "digest": second});
    let deleted = json!({"actor": "manager", "digest": second, "tags": []});
    let expected = [
        pushed(&first, b"one"),
        pushed(&second, b"two"),
        event("tag.move", "closed/app:v2", &moved),
        event("tag.delete", "closed/app:v2", &untagged),
        event("manifest.delete", &format!("closed/app@{second}"), &deleted),
    ];
    let received = deliver(&town, &receiver).await;
    assert_eq!(told(&received), expected);
    assert!(received.iter().all(|request| request.event()["source"] == "https://bonded.test"));
}

#[tokio::test]
async fn a_webhook_is_told_only_what_it_wants_to_know() {
    let (town, receiver) = (Town::build().await, Receiver::start().await);
    add(&town, "closed", receiver.url(), HookEvents::of([HookEvent::Tag])).await;
    let token = town.token("manager", &[]).await;
    push(&town, &token, "closed/app", "v1", b"one").await;
    let kinds: Vec<String> = deliver(&town, &receiver).await.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["dev.bonded.tag.move.v1"], "`v1` was there");
}

/// What a push is told of, and the push itself, are one transaction.
#[tokio::test]
async fn a_push_that_is_rolled_back_sends_nothing() {
    let (town, receiver) = (Town::build().await, Receiver::start().await);
    let Place::Local(folder) = &*town.app.place else { return };
    add(&town, "closed", receiver.url(), HookEvents::ALL).await;
    let token = town.token("manager", &[]).await;
    let database = SqliteConnectOptions::new().filename(folder.path().join("bonded.db"));
    let mut conn = database.connect().await.expect("a connection");
    conn.execute(
        "CREATE TRIGGER no_moves AFTER INSERT ON outbox WHEN NEW.kind = 'tag.move' \
         BEGIN SELECT RAISE(ABORT, 'not today'); END",
    )
    .await
    .expect("a trigger");
    let (status, digest) = push(&town, &token, "closed/app", "v1", b"one").await;
    assert!(status.is_server_error(), "{status}");
    assert!(deliver(&town, &receiver).await.is_empty(), "not even of the manifest");
    let path = format!("/v2/closed/app/manifests/{digest}");
    expect(with(town.app.get(&path), Some(&token)), StatusCode::NOT_FOUND).await;
    conn.execute("DROP TRIGGER no_moves").await.expect("no trigger");
    let (status, _) = push(&town, &token, "closed/app", "v1", b"one").await;
    assert_eq!((status, deliver(&town, &receiver).await.len()), (StatusCode::CREATED, 2));
}

/// The writer may not administer, a stranger sees nothing, and whoever asks again and again is one event.
#[tokio::test]
async fn refusals_are_told_when_their_minute_is_over() {
    let (town, receiver) = (Town::build().await, Receiver::start().await);
    add(&town, "closed", receiver.url(), HookEvents::of([HookEvent::Denial])).await;
    let (stranger, reader) = (town.token("stranger", &[]).await, town.token("reader", &[]).await);
    for _ in 0..3 {
        expect(with(town.app.get("/v2/closed/app/tags/list"), Some(&stranger)), StatusCode::NOT_FOUND).await;
    }
    expect(with(town.app.get("/v2/closed/other/tags/list"), Some(&stranger)), StatusCode::NOT_FOUND).await;
    expect(with(town.app.post("/v2/closed/app/blobs/uploads/"), Some(&reader)), StatusCode::FORBIDDEN).await;
    // Who says nothing is asked who he is; that is no refusal.
    expect(with(town.app.get("/v2/closed/app/tags/list"), None), StatusCode::UNAUTHORIZED).await;
    expect(with(town.app.post("/v2/closed/app/blobs/uploads/"), None), StatusCode::UNAUTHORIZED).await;
    assert!(deliver(&town, &receiver).await.is_empty(), "the minute is not over");
    town.app.clock.advance(Duration::from_mins(1));
    let received = deliver(&town, &receiver).await;
    let mut told: Vec<Value> = received.iter().map(|request| request.event()["data"].clone()).collect();
    told.sort_by_key(|data| data["actor"].to_string());
    assert!(received.iter().all(|request| request.kind() == "dev.bonded.denial.v1"), "{told:?}");
    let minute = told[0]["minute"].clone();
    let expected = [
        json!({
            "namespace": "closed", "actor": "reader", "action": "push", "count": 1, "minute": minute,
            "repositories": ["closed/app"],
        }),
        json!({
            "namespace": "closed", "actor": "stranger", "action": "pull", "count": 4, "minute": minute,
            "repositories": ["closed/app", "closed/other"],
        }),
    ];
    assert_eq!(told, expected);
    assert!(deliver(&town, &receiver).await.is_empty());
}
