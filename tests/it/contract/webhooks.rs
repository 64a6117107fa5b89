//! What every database must do behind `WebhookStore`.

use std::time::Duration;

use bonded::access::{NamespacePath, UserName};
use bonded::clock::Timestamp;
use bonded::metadata::MetadataStore;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::model::accounts::{Actor, NamespaceAdded, NamespaceRecord, NewUser, UserAdded};
use bonded::metadata::model::webhooks::{
    Delivery, DeliveryClaim, DeliveryRecord, DeliveryState, Denial, HookEvent, HookEvents, KEPT_MAX, NewWebhook,
    Outcome, Settled, TestQueued, WAITING_MAX, WEBHOOKS_MAX, WebhookAdded,
};
use bonded::metadata::model::{BlobLocation, NewBlob};

use bonded::metadata::webhooks::WebhookStore;
use bonded::oci::digest::{Algorithm, Digest};
use bonded::oci::name::RepoName;
use bytes::Bytes;
use serde_json::{Value, json};

/// What a rule needs of a store.
trait Store: MetadataStore + AccountStore + WebhookStore {}

impl<S: MetadataStore + AccountStore + WebhookStore> Store for S {}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_000_000 + seconds) * 1_000_000)
}

fn path(text: &str) -> NamespacePath {
    text.parse().expect("a path")
}

fn repo(text: &str) -> RepoName {
    text.parse().expect("a name")
}

fn by() -> Actor {
    Actor { name: Some("ann".to_owned()), address: Some([192, 0, 2, 1].into()), request_id: Some("r1".to_owned()) }
}

/// Namespaces of one owner.
async fn found(store: &dyn AccountStore, paths: &[&str]) {
    let owner: UserName = "ann".parse().expect("a name");
    let new = NewUser { name: owner.clone(), email: None, password: None, admin: true, robot_of: None, now: at(0) };
    let added = store.user_add(&new, &by()).await.expect("an answer");
    assert!(matches!(added, UserAdded::Added(_)));
    for text in paths {
        let new = NamespaceRecord { path: path(text), public: false, created_at: at(0) };
        let added = store.namespace_add(&new, &owner, &by()).await.expect("an answer");
        assert_eq!(added, NamespaceAdded::Added);
    }
}

pub(super) async fn add(store: &dyn WebhookStore, namespace: &str, id: &str, events: HookEvents) -> WebhookAdded {
    let new = NewWebhook {
        id: id.to_owned(),
        namespace: path(namespace),
        url: format!("https://hooks.example/{id}"),
        origin: "https://hooks.example".to_owned(),
        secret_sealed: id.as_bytes().to_vec(),
        events,
        now: at(0),
    };
    store.webhook_add(&new, &by()).await.expect("an answer")
}

/// Makes a blob in a repository and deletes it, which is an event.
async fn delete_blob(store: &dyn MetadataStore, name: &str, now: i64) {
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let blob = NewBlob {
        digest: digest.clone(),
        size: 1,
        location: BlobLocation::Inline(Bytes::from_static(b"x")),
        now: at(now),
        lease_until: at(now),
        replaced_until: at(now),
    };
    store.blob_put(&repo(name), &blob).await.expect("a blob");
    store.blob_delete(&repo(name), &digest, at(now), &by()).await.expect("an end");
}

async fn test(store: &dyn WebhookStore, namespace: &str, id: &str, now: i64) -> i64 {
    match store.webhook_test(&path(namespace), id, at(now), &by()).await.expect("an answer") {
        TestQueued::Queued(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

async fn claim(store: &dyn WebhookStore, now: i64) -> Vec<Delivery> {
    claim_after(store, now, 0, 100).await
}

async fn claim_after(store: &dyn WebhookStore, now: i64, after: i64, limit: u32) -> Vec<Delivery> {
    let claim = DeliveryClaim { now: at(now), until: at(now + 60), after, limit };
    store.delivery_claim(claim).await.expect("a claim")
}

async fn settle(store: &dyn WebhookStore, delivery: &Delivery, outcome: Outcome) -> bool {
    let (status, error) = match outcome {
        Outcome::Delivered(..) => (Some(200), None),
        Outcome::Again(_) | Outcome::Dead(..) => (Some(500), Some("it failed".to_owned())),
    };
    let settled = Settled { id: delivery.id, attempt: delivery.attempt, status, error, outcome };
    store.delivery_settle(&settled).await.expect("an answer")
}

async fn listed(store: &dyn WebhookStore, namespace: &str, dead: bool) -> Vec<DeliveryRecord> {
    let listed = store.delivery_list(&path(namespace), dead, None, 100).await.expect("a list");
    listed.expect("a namespace")
}

async fn a_webhook_is_made_listed_and_ended(store: &dyn Store) {
    found(store, &["a", "b"]).await;
    assert_eq!(add(store, "nowhere", "x", HookEvents::ALL).await, WebhookAdded::NamespaceUnknown);
    assert_eq!(add(store, "a", "one", HookEvents::of([HookEvent::Push])).await, WebhookAdded::Added);
    assert_eq!(add(store, "a", "two", HookEvents::ALL).await, WebhookAdded::Added);
    let list = async || store.webhook_list(&path("a")).await.expect("a list").expect("a namespace");
    let hooks = list().await;
    assert_eq!(hooks.iter().map(|hook| hook.id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((hooks[0].url.as_str(), hooks[0].events.names()), ("https://hooks.example/one", vec!["push"]));
    assert!(hooks[0].active && hooks[0].created_at == at(0));
    assert!(store.webhook_list(&path("nowhere")).await.expect("a list").is_none());
    assert!(!store.webhook_activate(&path("b"), "one", false, at(1), &by()).await.expect("an answer"), "not its");
    assert!(store.webhook_activate(&path("a"), "one", false, at(1), &by()).await.expect("an answer"));
    assert!(!list().await[0].active);
    assert!(!store.webhook_delete(&path("b"), "one", at(1), &by()).await.expect("an answer"));
    assert!(store.webhook_delete(&path("a"), "one", at(1), &by()).await.expect("an answer"));
    assert!(!store.webhook_delete(&path("a"), "one", at(1), &by()).await.expect("an answer"));
    for n in 1..WEBHOOKS_MAX {
        assert_eq!(add(store, "a", &format!("n{n}"), HookEvents::ALL).await, WebhookAdded::Added);
    }
    assert_eq!(add(store, "a", "more", HookEvents::ALL).await, WebhookAdded::TooMany);
    assert_eq!(add(store, "b", "more", HookEvents::ALL).await, WebhookAdded::Added);
}

async fn an_event_goes_to_the_webhooks_of_the_owning_namespace_that_want_it(store: &dyn Store) {
    found(store, &["a", "a/b"]).await;
    add(store, "a", "outer", HookEvents::ALL).await;
    add(store, "a/b", "inner", HookEvents::of([HookEvent::Delete])).await;
    add(store, "a/b", "pushes", HookEvents::of([HookEvent::Push, HookEvent::Tag, HookEvent::Denial])).await;
    add(store, "a/b", "rests", HookEvents::ALL).await;
    store.webhook_activate(&path("a/b"), "rests", false, at(1), &by()).await.expect("an answer");
    delete_blob(store, "a/b/app", 2).await;
    delete_blob(store, "ab/app", 3).await;
    delete_blob(store, "a/c", 4).await;
    let deleted = store.repository_delete(&repo("a/b/app"), at(5), at(5), &by()).await.expect("an answer");
    assert!(deleted.is_some());
    let told = async |namespace: &str| -> Vec<(String, String, String)> {
        let shown = |delivery: DeliveryRecord| (delivery.webhook, delivery.kind, delivery.subject);
        listed(store, namespace, false).await.into_iter().rev().map(shown).collect()
    };
    let text = |webhook: &str, kind: &str, subject: &str| (webhook.to_owned(), kind.to_owned(), subject.to_owned());
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let blob = |repo: &str| format!("{repo}@{digest}");
    assert_eq!(told("a").await, [text("outer", "blob.delete", &blob("a/c"))]);
    let inner = [text("inner", "blob.delete", &blob("a/b/app")), text("inner", "repository.delete", "a/b/app")];
    assert_eq!(told("a/b").await, inner);
    let first = claim_after(store, 6, 0, 100).await.into_iter().find(|delivery| delivery.webhook == "inner");
    let first = first.expect("a delivery");
    let data: Value = serde_json::from_str(&first.data).expect("JSON");
    let expected = json!({"repository": "a/b/app", "digest": digest.to_string(), "actor": "ann", "requestId": "r1"});
    assert_eq!(data, expected);
    assert_eq!((first.event_id.len(), first.created_at, first.attempt), (32, at(2), 1));
    assert_eq!((first.secret_sealed.as_slice(), first.url.as_str()), (&b"inner"[..], "https://hooks.example/inner"));
}

async fn a_delivery_is_taken_once_and_the_next_of_a_webhook_after_it(store: &dyn Store) {
    found(store, &["a"]).await;
    add(store, "a", "one", HookEvents::ALL).await;
    add(store, "a", "two", HookEvents::ALL).await;
    assert!(!store.delivery_due(at(1)).await.expect("an answer"));
    let (first, second) = (test(store, "a", "one", 1).await, test(store, "a", "one", 2).await);
    let other = test(store, "a", "two", 3).await;
    assert!(
        !store.delivery_due(at(0)).await.expect("an answer") && store.delivery_due(at(3)).await.expect("an answer")
    );
    let taken = claim_after(store, 3, 0, 1).await;
    assert_eq!(taken.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [first]);
    let next = claim_after(store, 3, taken[0].hook, 1).await;
    assert_eq!(next.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [other], "the next webhook's turn");
    assert!(claim(store, 3).await.is_empty(), "one at a time for each");
    assert!(settle(store, &taken[0], Outcome::Delivered(at(4), at(100))).await);
    assert!(!settle(store, &taken[0], Outcome::Delivered(at(4), at(100))).await, "it is settled");
    let taken = claim(store, 4).await;
    assert_eq!(taken.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [second]);
    // Whoever had it is gone: after a while somebody else takes it, and the late answer counts no more.
    let again = claim(store, 70).await;
    assert_eq!(
        again.iter().map(|delivery| (delivery.id, delivery.attempt)).collect::<Vec<_>>(),
        [(second, 2), (other, 2)]
    );
    assert!(!settle(store, &taken[0], Outcome::Dead(at(71), at(100))).await);
    assert!(settle(store, &again[0], Outcome::Delivered(at(71), at(100))).await);
    assert!(settle(store, &again[1], Outcome::Again(at(200))).await);
    assert!(claim(store, 199).await.is_empty() && !store.delivery_due(at(199)).await.expect("an answer"));
    assert_eq!(claim(store, 200).await[0].attempt, 3);
}

async fn a_failed_delivery_does_not_hold_up_the_next(store: &dyn Store) {
    found(store, &["a"]).await;
    add(store, "a", "one", HookEvents::ALL).await;
    let (first, second) = (test(store, "a", "one", 1).await, test(store, "a", "one", 1).await);
    let taken = claim(store, 1).await;
    assert_eq!(taken[0].id, first, "in the order of their numbers");
    assert!(settle(store, &taken[0], Outcome::Again(at(20))).await);
    assert_eq!(claim(store, 2).await[0].id, second);
}

async fn what_is_given_up_is_listed_and_can_be_sent_again(store: &dyn Store) {
    found(store, &["a", "b"]).await;
    add(store, "a", "one", HookEvents::ALL).await;
    let id = test(store, "a", "one", 1).await;
    let taken = claim(store, 1).await;
    let again = async |namespace: &str, now: i64| {
        store.delivery_again(&path(namespace), id, at(now), &by()).await.expect("an answer")
    };
    assert!(!again("a", 2).await, "it is being sent");
    assert!(settle(store, &taken[0], Outcome::Dead(at(2), at(100))).await);
    let dead = listed(store, "a", true).await;
    assert_eq!((dead.len(), dead[0].id, dead[0].state), (1, id, DeliveryState::Dead(at(2))));
    assert_eq!(
        (dead[0].last_status, dead[0].last_error.as_deref(), dead[0].attempts),
        (Some(500), Some("it failed"), 1)
    );
    assert!(!again("b", 3).await, "it is not its");
    assert!(again("a", 3).await);
    assert!(listed(store, "a", true).await.is_empty());
    let taken = claim(store, 3).await;
    assert_eq!((taken[0].id, taken[0].attempt), (id, 1));
    assert!(settle(store, &taken[0], Outcome::Delivered(at(4), at(100))).await);
    assert_eq!(listed(store, "a", false).await[0].state, DeliveryState::Delivered(at(4)));
    assert!(again("a", 5).await, "what was delivered may be sent once more");
    let second = test(store, "a", "one", 6).await;
    let page = store.delivery_list(&path("a"), false, Some(second), 1).await.expect("a list").expect("a namespace");
    assert_eq!(page.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [id]);
}

async fn what_ended_goes_after_a_while(store: &dyn Store) {
    const DAY: i64 = 86_400;
    found(store, &["a"]).await;
    for id in ["one", "two", "rests"] {
        add(store, "a", id, HookEvents::ALL).await;
        test(store, "a", id, 0).await;
    }
    store.webhook_activate(&path("a"), "rests", false, at(0), &by()).await.expect("an answer");
    let taken = claim(store, 0).await;
    assert_eq!(taken.len(), 2, "nothing is sent to a webhook that rests");
    assert!(settle(store, &taken[0], Outcome::Delivered(at(0), at(100))).await);
    let tidy = async |now: i64| {
        let dead_until = at(now).after(Duration::from_hours(24 * 30));
        store.delivery_tidy(at(now), dead_until, 100).await.expect("an answer")
    };
    assert_eq!(tidy(99).await, 0);
    assert_eq!(tidy(100).await, 1, "it was delivered");
    assert_eq!(tidy(DAY - 1).await, 0);
    assert_eq!(tidy(DAY).await, 2, "it was tried for a day");
    let dead = listed(store, "a", true).await;
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0].last_error.as_deref(), Some("it was not sent in time"));
    assert_eq!((tidy(31 * DAY - 1).await, tidy(31 * DAY).await), (0, 2));
    assert!(listed(store, "a", false).await.is_empty());
}

async fn deliveries_end_with_their_webhook_and_that_with_its_namespace(store: &dyn Store) {
    found(store, &["a", "b"]).await;
    for (namespace, id) in [("a", "one"), ("a", "two"), ("b", "three")] {
        add(store, namespace, id, HookEvents::ALL).await;
        test(store, namespace, id, 1).await;
    }
    let taken = claim(store, 1).await;
    store.webhook_delete(&path("a"), "one", at(2), &by()).await.expect("an answer");
    assert!(!settle(store, &taken[0], Outcome::Again(at(3))).await, "there is nothing left to settle");
    assert_eq!(listed(store, "a", false).await.len(), 1);
    store.namespace_delete(&path("b"), at(3), &by()).await.expect("an answer");
    assert_eq!(claim(store, 100).await.iter().map(|delivery| delivery.webhook.as_str()).collect::<Vec<_>>(), ["two"]);
    assert!(store.delivery_list(&path("b"), false, None, 10).await.expect("a list").is_none());
}

fn denial(name: &str, place: &str, count: u64) -> Denial {
    Denial { repo: repo(place), name: Some(name.to_owned()), action: "push", minute: at(0), count }
}

async fn refusals_of_a_minute_are_one_event_of_the_owning_namespace(store: &dyn Store) {
    found(store, &["a", "a/b", "c"]).await;
    add(store, "a", "outer", HookEvents::ALL).await;
    add(store, "a", "pushes", HookEvents::of([HookEvent::Push])).await;
    add(store, "a/b", "inner", HookEvents::of([HookEvent::Push])).await;
    let denials = [
        denial("bob", "a/x", 2),
        denial("bob", "a/y", 3),
        denial("bob", "a/b/x", 1),
        denial("cat", "a", 1),
        denial("bob", "c/x", 1),
        denial("bob", "elsewhere/x", 1),
    ];
    store.denials_tell(&denials, at(60)).await.expect("an answer");
    let taken = claim(store, 60).await;
    assert_eq!((taken.len(), taken[0].webhook.as_str(), taken[0].kind.as_str()), (1, "outer", "denial"));
    let data: Value = serde_json::from_str(&taken[0].data).expect("JSON");
    let expected = json!({
        "namespace": "a", "actor": "bob", "action": "push", "count": 5, "minute": at(0).to_rfc3339(),
        "repositories": ["a/x", "a/y"],
    });
    assert_eq!(data, expected);
    assert_eq!(listed(store, "a", false).await.len(), 2, "cat's is another one");
    assert!(listed(store, "a/b", false).await.is_empty() && listed(store, "c", false).await.is_empty());
}

async fn a_webhook_whose_receiver_is_away_does_not_fill_the_database(store: &dyn Store) {
    const DAY: i64 = 86_400;
    found(store, &["a"]).await;
    add(store, "a", "one", HookEvents::ALL).await;
    let many: Vec<Denial> = (0..WAITING_MAX).map(|number| denial(&format!("u{number}"), "a/x", 1)).collect();
    store.denials_tell(&many, at(0)).await.expect("an answer");
    add(store, "a", "two", HookEvents::ALL).await;
    let newest = async || {
        let page = store.delivery_list(&path("a"), false, None, 3).await.expect("a list").expect("a namespace");
        page.into_iter().map(|delivery| (delivery.webhook, delivery.kind)).collect::<Vec<_>>()
    };
    let text = |webhook: &str, kind: &str| (webhook.to_owned(), kind.to_owned());
    delete_blob(store, "a/x", 1).await;
    assert_eq!(newest().await, [text("two", "blob.delete"), text("one", "denial"), text("one", "denial")]);
    let full = store.webhook_test(&path("a"), "one", at(1), &by()).await.expect("an answer");
    assert_eq!(full, TestQueued::Full);
    // All of them are given up, and then the oldest goes for one more.
    let until = at(DAY).after(Duration::from_hours(24 * 30));
    let tidy = async || store.delivery_tidy(at(DAY), until, 2 * WAITING_MAX).await.expect("an answer");
    assert_eq!((tidy().await, tidy().await), (u64::from(WAITING_MAX), 0));
    assert_eq!(KEPT_MAX, WAITING_MAX);
    test(store, "a", "one", DAY).await;
    delete_blob(store, "a/x", DAY).await;
    assert_eq!((tidy().await, tidy().await), (2, 0));
    let kinds = [text("two", "blob.delete"), text("one", "blob.delete"), text("one", "webhook.test")];
    assert_eq!(newest().await, kinds);
}

super::on_both! {
    a_webhook_is_made_listed_and_ended
    an_event_goes_to_the_webhooks_of_the_owning_namespace_that_want_it
    a_delivery_is_taken_once_and_the_next_of_a_webhook_after_it
    a_failed_delivery_does_not_hold_up_the_next
    what_is_given_up_is_listed_and_can_be_sent_again
    what_ended_goes_after_a_while
    deliveries_end_with_their_webhook_and_that_with_its_namespace
    refusals_of_a_minute_are_one_event_of_the_owning_namespace
    a_webhook_whose_receiver_is_away_does_not_fill_the_database
}
