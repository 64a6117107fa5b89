//! Tags: order, moves, immutability.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{ManifestDeleted, ManifestStored, TagDeleted};
use bonded::oci::glob::ImmutableTags;

use super::fixtures::{Image, at, delete, delete_with, digest, has, push_blob, repo, tag, tagged};
use super::races::STORED;
use crate::fixtures::NOBODY;

async fn list(store: &dyn MetadataStore, name: &str, after: Option<&str>, limit: u32) -> Option<Vec<String>> {
    let tags = store.tag_list(&repo(name), after, limit).await.expect("a list");
    tags.map(|tags| tags.iter().map(ToString::to_string).collect())
}

async fn delete_tag(store: &dyn MetadataStore, name: &str, text: &str, rules: &[&str]) -> TagDeleted {
    let rules = ImmutableTags::parse(rules).expect("rules");
    store.tag_delete(&repo(name), &tag(text), &rules, at(9), &NOBODY).await.expect("an answer")
}

pub(super) async fn tags_come_in_byte_order_and_pages(store: &dyn MetadataStore) {
    let image = ["b", "a", "_", "Z", "1", "a.b", "a-b"].into_iter().fold(Image::new("m"), Image::tag);
    image.push(store, "r", 0).await;
    let all = ["1", "Z", "_", "a", "a-b", "a.b", "b"];
    assert_eq!(list(store, "r", None, 100).await.expect("tags"), all);
    assert_eq!(list(store, "r", None, 2).await.expect("tags"), all[..2]);
    assert_eq!(list(store, "r", Some("Z"), 2).await.expect("tags"), all[2..4]);
    assert_eq!(list(store, "r", Some("a+"), 2).await.expect("tags"), all[4..6], "after a tag that is not there");
    assert_eq!(list(store, "r", Some("b"), 2).await, Some(Vec::new()));
    assert_eq!(list(store, "r", None, 0).await, Some(Vec::new()));
}

pub(super) async fn tags_of_a_repository_without_manifests_are_unknown(store: &dyn MetadataStore) {
    assert_eq!(list(store, "r", None, 10).await, None);
    push_blob(store, "r", "b", 0).await;
    assert_eq!(list(store, "r", None, 10).await, None);
    Image::new("m").push(store, "r", 0).await;
    assert_eq!(list(store, "r", None, 10).await, Some(Vec::new()));
}

pub(super) async fn a_tag_moves(store: &dyn MetadataStore) {
    Image::new("old").tag("v").tag("w").push(store, "r", 0).await;
    Image::new("new").tag("v").push(store, "r", 1).await;
    assert_eq!(tagged(store, "r", "v").await.as_deref(), Some("new"));
    assert_eq!(tagged(store, "r", "w").await.as_deref(), Some("old"));
    assert!(matches!(delete(store, "r", "new", 2).await, ManifestDeleted::Deleted(_)));
    assert_eq!(tagged(store, "r", "v").await, None);
}

pub(super) async fn an_immutable_tag_stays(store: &dyn MetadataStore) {
    let first = Image::new("first").tag("v1").immutable("r:v*");
    first.push(store, "r", 0).await;
    let second = Image::new("second").tag("latest").tag("v1").immutable("r:v*");
    assert_eq!(second.put(store, "r", 1).await, ManifestStored::Immutable(tag("v1")));
    assert!(!has(store, "r", "second").await);
    assert_eq!(tagged(store, "r", "latest").await, None, "all tags or none");
    assert_eq!(first.put(store, "r", 2).await, STORED, "the same again");
    assert_eq!(delete_tag(store, "r", "v1", &["r:v*"]).await, TagDeleted::Immutable);
    assert_eq!(tagged(store, "r", "v1").await.as_deref(), Some("first"));
}

pub(super) async fn deleting_a_tag_leaves_the_manifest(store: &dyn MetadataStore) {
    Image::new("m").tag("v").push(store, "r", 0).await;
    assert_eq!(delete_tag(store, "r", "v", &[]).await, TagDeleted::Deleted);
    assert_eq!(delete_tag(store, "r", "v", &[]).await, TagDeleted::Unknown);
    assert_eq!(delete_tag(store, "r", "v", &["r"]).await, TagDeleted::Unknown);
    assert_eq!(delete_tag(store, "nowhere", "v", &[]).await, TagDeleted::Unknown);
    assert!(has(store, "r", "m").await);
    assert_eq!(list(store, "r", None, 10).await, Some(Vec::new()));
}

pub(super) async fn a_manifest_with_an_immutable_tag_cannot_be_deleted(store: &dyn MetadataStore) {
    Image::new("m").tag("a").tag("v1").push(store, "r", 0).await;
    let rules = ImmutableTags::parse(&["r:v*"]).expect("rules");
    assert_eq!(delete_with(store, "r", "m", 1, None, &rules).await, ManifestDeleted::Immutable(tag("v1")));
    assert_eq!(tagged(store, "r", "a").await.as_deref(), Some("m"));
}

/// Where a page starts is the client's text, and what no name can be is no error: not even the NUL that Postgres refuses.
pub(super) async fn a_page_may_start_after_any_text(store: &dyn MetadataStore) {
    let image = Image::new("m").artifact_type("a/b").tag("a").tag("b").tag("c");
    image.push(store, "r", 0).await;
    Image::new("s").artifact_type("a/b").subject("m").push(store, "r", 0).await;
    let cases = [("", 3), ("a", 2), ("a\0", 2), ("a\0zzz", 2), ("\0", 3), ("b\u{10ffff}", 1), ("é", 0)];
    for (after, left) in cases {
        let tags = store.tag_list(&repo("r"), Some(after), 10).await.expect("a list").expect("tags");
        assert_eq!(tags.len(), left, "{after:?}");
    }
    assert_eq!(store.repository_list(Some("q\0"), 10).await.expect("a list").len(), 1);
    let subject = digest("m");
    for (artifact_type, found) in [("a/b", 1), ("a/b\0", 0), ("\0", 0), ("é", 0)] {
        let referrers = store.referrer_list(&repo("r"), &subject, Some(artifact_type), Some("\0"), 10).await;
        assert_eq!(referrers.expect("a list").len(), found, "{artifact_type:?}");
    }
}

/// Each list is asked for twice, so that one that was remembered would be given.
pub(super) async fn lists_say_what_was_committed_last(store: &dyn MetadataStore) {
    let subject = digest("first");
    let here = repo("r");
    let both = async || {
        let referrers = store.referrers_text(&here, &subject, &tag("none"), 9).await.expect("a text");
        (list(store, "r", None, 9).await, referrers)
    };
    let check = async |tags: Option<&[&str]>, referrers: &str| {
        let tags = tags.map(|tags| tags.iter().map(ToString::to_string).collect());
        for _ in 0..2 {
            assert_eq!(both().await, (tags.clone(), Some(referrers.to_owned())));
        }
    };
    check(None, "").await;
    Image::new("first").tag("a").push(store, "r", 0).await;
    check(Some(&["a"]), "").await;
    Image::new("second").subject("first").tag("b").push(store, "r", 0).await;
    check(Some(&["a", "b"]), r#"{"name":"second"}"#).await;
    assert!(matches!(delete_tag(store, "r", "a", &[]).await, TagDeleted::Deleted));
    check(Some(&["b"]), r#"{"name":"second"}"#).await;
    delete(store, "r", "second", 0).await;
    check(Some(&[]), "").await;
}
