//! What every database must do behind `PublisherStore`.

use std::collections::BTreeMap;
use std::time::Duration;

use bonded::access::{ClaimRules, NamespacePath, PublisherName, Role};
use bonded::clock::Timestamp;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::model::accounts::{Actor, NamespaceAdded, NamespaceRecord, NewUser, UserAdded};
use bonded::metadata::model::publishers::{NewPublisher, PublisherAdded, PublisherId, PublisherRole, PublisherUse};
use bonded::metadata::publishers::PUBLISHERS_MAX;

use futures_util::future::join_all;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);
const ISSUER: &str = "https://ci.example.com";
const JWKS: &str = r#"{"keys": []}"#;

fn path(text: &str) -> NamespacePath {
    text.parse().expect("a path")
}

fn name(text: &str) -> PublisherName {
    text.parse().expect("a name")
}

fn by() -> Actor {
    Actor { name: Some("test".to_owned()), address: Some([127, 0, 0, 1].into()), request_id: Some("r".to_owned()) }
}

fn new(at: &str, called: &str) -> NewPublisher {
    let claims = BTreeMap::from([("repository".to_owned(), "acme/*".to_owned())]);
    NewPublisher {
        namespace: path(at),
        name: name(called),
        issuer: ISSUER.parse().expect("an issuer"),
        audience: "bonded".parse().expect("an audience"),
        claims: ClaimRules::parse(claims).expect("claims"),
        role: Role::Write,
        reuse: false,
        jwks: None,
        now: NOW,
    }
}

/// A rule that takes a token once.
pub(super) async fn add(store: &dyn AccountStore, at: &str, called: &str) {
    added(store, new(at, called)).await;
}

async fn added(store: &dyn AccountStore, new: NewPublisher) {
    assert_eq!(store.publisher_add(&new, &by()).await.expect("an answer"), PublisherAdded::Added);
}

async fn found(store: &dyn AccountStore, paths: &[&str]) {
    let owner = "ann".parse().expect("a name");
    let ann = NewUser { name: owner, email: None, password: None, admin: true, robot_of: None, now: NOW };
    assert!(matches!(store.user_add(&ann, &by()).await.expect("an answer"), UserAdded::Added(_)));
    for at in paths {
        let new = NamespaceRecord { path: path(at), public: false, created_at: NOW };
        let added = store.namespace_add(&new, &ann.name, &by()).await.expect("an answer");
        assert_eq!(added, NamespaceAdded::Added);
    }
}

async fn ids(store: &dyn AccountStore, at: &str) -> Vec<PublisherId> {
    let rules = store.publisher_list(&path(at)).await.expect("a list").expect("a namespace");
    rules.iter().map(|rule| rule.id).collect()
}

async fn uses(store: &dyn AccountStore, ids: &[PublisherId], jti: Option<u8>, ends_at: Timestamp) -> Vec<String> {
    let rules =
        ids.iter().map(|id| (*id, BTreeMap::from([("repository".to_owned(), "acme/app".to_owned())]))).collect();
    let issuer = ISSUER.parse().expect("an issuer");
    let used = PublisherUse { rules, jti: jti.map(|jti| [jti; 32]), issuer, by: by(), ends_at, now: NOW };
    let mut shown: Vec<String> =
        store.publisher_use(&used).await.expect("an answer").iter().map(PublisherRole::shown).collect();
    shown.sort();
    shown
}

async fn a_rule_is_made_once_and_read_as_it_was_written(store: &dyn AccountStore) {
    found(store, &["a"]).await;
    let version = store.access_state().await.expect("a state").version;
    let with_keys = NewPublisher { role: Role::Admin, reuse: true, jwks: Some(JWKS.to_owned()), ..new("a", "keys") };
    added(store, with_keys).await;
    add(store, "a", "ci").await;
    assert_eq!(store.publisher_add(&new("a", "ci"), &by()).await.expect("an answer"), PublisherAdded::NameTaken);
    assert_eq!(store.publisher_add(&new("b", "ci"), &by()).await.expect("an answer"), PublisherAdded::NamespaceUnknown);
    assert!(store.access_state().await.expect("a state").version > version);
    let rules = store.publisher_list(&path("a")).await.expect("a list").expect("a namespace");
    let [ci, keys] = &rules[..] else { panic!("{rules:?}") };
    assert_eq!((ci.name.as_str(), ci.role, ci.reuse, ci.has_jwks), ("ci", Role::Write, false, false));
    assert_eq!((keys.name.as_str(), keys.role, keys.reuse, keys.has_jwks), ("keys", Role::Admin, true, true));
    assert_eq!((ci.issuer.as_str(), ci.audience.as_str(), ci.created_at), (ISSUER, "bonded", NOW));
    assert_eq!((&ci.claims, &ci.namespace), (&new("a", "ci").claims, &path("a")));
    assert!(store.publisher_list(&path("b")).await.expect("a list").is_none());
    let kept = store.publisher_keys(&[ci.id, keys.id]).await.expect("keys");
    assert_eq!(kept, [(keys.id, JWKS.to_owned())]);
}

async fn rules_are_found_by_issuer_audience_and_namespace(store: &dyn AccountStore) {
    found(store, &["a", "b"]).await;
    add(store, "a", "one").await;
    add(store, "b", "two").await;
    added(store, NewPublisher { issuer: "other".parse().expect("an issuer"), ..new("a", "three") }).await;
    added(store, NewPublisher { audience: "other".parse().expect("an audience"), ..new("a", "four") }).await;
    let matching = async |issuer: &str, audiences: &[&str], at: Option<&str>| {
        let audiences: Vec<_> = audiences.iter().map(|text| text.parse().expect("an audience")).collect();
        let (issuer, at) = (issuer.parse().expect("an issuer"), at.map(path));
        let rules = store.publisher_match(&issuer, &audiences, at.as_ref(), None, 10).await.expect("rules");
        let mut names: Vec<String> = rules.iter().map(|rule| rule.name.to_string()).collect();
        names.sort();
        names.join(" ")
    };
    for (issuer, audiences, at, expected) in [
        (ISSUER, &["bonded"][..], None, "one two"),
        (ISSUER, &["bonded", "other"], None, "four one two"),
        (ISSUER, &["bonded"], Some("b"), "two"),
        (ISSUER, &["bonded"], Some("c"), ""),
        (ISSUER, &["Bonded"], None, ""),
        (ISSUER, &[], None, ""),
        ("other", &["bonded"], None, "three"),
        ("https://ci.example.com/", &["bonded"], None, ""),
    ] {
        assert_eq!(matching(issuer, audiences, at).await, expected, "{issuer} {audiences:?} {at:?}");
    }
}

async fn a_token_is_taken_once_by_each_rule(store: &dyn AccountStore) {
    found(store, &["a"]).await;
    add(store, "a", "one").await;
    added(store, NewPublisher { reuse: true, ..new("a", "two") }).await;
    let ids = ids(store, "a").await;
    let (later, end) = (NOW.after(Duration::from_secs(1)), NOW.after(Duration::from_secs(2)));
    assert_eq!(uses(store, &ids, Some(1), end).await, ["publisher:a/one", "publisher:a/two"]);
    assert_eq!(uses(store, &ids, Some(1), end).await, ["publisher:a/two"]);
    assert_eq!(uses(store, &ids, Some(2), later).await, ["publisher:a/one", "publisher:a/two"]);
    assert_eq!(uses(store, &ids, None, end).await, ["publisher:a/two"]);
    assert_eq!(store.publisher_sweep(NOW).await.expect("swept"), 0);
    assert_eq!(store.publisher_sweep(later).await.expect("swept"), 1);
    assert_eq!(uses(store, &ids, Some(1), end).await, ["publisher:a/two"], "it is kept until it has ended");
    assert_eq!(store.publisher_sweep(end).await.expect("swept"), 1);
    let gone = PublisherId(ids[1].0 + 1_000);
    assert_eq!(uses(store, &[gone], Some(9), end).await, [""; 0]);
}

async fn of_many_at_once_one_has_the_token(store: &dyn AccountStore) {
    found(store, &["a", "b"]).await;
    add(store, "a", "one").await;
    add(store, "b", "two").await;
    let (one, two) = (ids(store, "a").await[0], ids(store, "b").await[0]);
    let end = NOW.after(Duration::from_secs(2));
    for jti in 0..5 {
        let orders = [[one, two], [two, one]];
        let all = join_all((0..8).map(|n| async move { uses(store, &orders[n % 2], Some(jti), end).await })).await;
        let mut granted: Vec<String> = all.into_iter().flatten().collect();
        granted.sort();
        assert_eq!(granted, ["publisher:a/one", "publisher:b/two"]);
    }
}

async fn a_rule_ends_alone_or_with_its_namespace(store: &dyn AccountStore) {
    found(store, &["a", "b"]).await;
    for at in ["a", "b"] {
        add(store, at, "one").await;
        add(store, at, "two").await;
    }
    let all = [ids(store, "a").await, ids(store, "b").await].concat();
    assert_eq!(store.publisher_find(&all).await.expect("roles").len(), 4);
    let version = store.access_state().await.expect("a state").version;
    assert!(store.publisher_delete(&path("a"), &name("one"), NOW, &by()).await.expect("an answer"));
    assert!(store.access_state().await.expect("a state").version > version);
    assert!(!store.publisher_delete(&path("a"), &name("one"), NOW, &by()).await.expect("an answer"));
    assert!(!store.publisher_delete(&path("c"), &name("one"), NOW, &by()).await.expect("an answer"));
    assert!(store.namespace_delete(&path("b"), NOW, &by()).await.expect("an answer"));
    let left = store.publisher_find(&all).await.expect("roles");
    assert_eq!(left.iter().map(PublisherRole::shown).collect::<Vec<_>>(), ["publisher:a/two"]);
    assert_eq!(uses(store, &all, Some(1), NOW).await, ["publisher:a/two"]);
    add(store, "a", "one").await;
    assert!(!all.contains(&ids(store, "a").await[0]), "no number is given again");
}

async fn a_namespace_has_so_many_rules_at_most(store: &dyn AccountStore) {
    found(store, &["a"]).await;
    for n in 0..PUBLISHERS_MAX {
        add(store, "a", &n.to_string()).await;
    }
    assert_eq!(store.publisher_add(&new("a", "more"), &by()).await.expect("an answer"), PublisherAdded::Full);
}

super::on_both! {
    a_rule_is_made_once_and_read_as_it_was_written
    rules_are_found_by_issuer_audience_and_namespace
    a_token_is_taken_once_by_each_rule
    of_many_at_once_one_has_the_token
    a_rule_ends_alone_or_with_its_namespace
    a_namespace_has_so_many_rules_at_most
}
