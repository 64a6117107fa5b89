//! Repositories: when they are there, and what goes with them.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::UploadTaken;

use super::fixtures::{DAY, Image, at, begin, blob_id, find, has, intended, key, push_blob, repo, sweep, tagged, take};
use crate::fixtures::NOBODY;

async fn list(store: &dyn MetadataStore, after: Option<&str>, limit: u32) -> Vec<String> {
    let repos = store.repository_list(after, limit).await.expect("a list");
    repos.iter().map(ToString::to_string).collect()
}

pub(super) async fn only_repositories_with_manifests_are_listed(store: &dyn MetadataStore) {
    for name in ["b", "a/b", "a", "a-b", "a/b/c"] {
        Image::new("m").push(store, name, 0).await;
    }
    push_blob(store, "blob-only", "b", 0).await;
    begin(store, "session-only", 1, 0).await;
    let all = ["a", "a-b", "a/b", "a/b/c", "b"];
    assert_eq!(list(store, None, 100).await, all);
    assert_eq!(list(store, None, 2).await, all[..2]);
    assert_eq!(list(store, Some("a-b"), 2).await, all[2..4]);
    super::fixtures::delete(store, "b", "m", 1).await;
    assert_eq!(list(store, None, 100).await, all[..4]);
}

pub(super) async fn a_deleted_repository_takes_everything_along(store: &dyn MetadataStore) {
    Image::new("child").blob("own").blob("shared").tag("v1").push(store, "r", 0).await;
    Image::new("index").child("child").tag("v2").tag("v3").push(store, "r", 0).await;
    push_blob(store, "other", "shared", 0).await;
    intended(store, "r", 1, "session", 0).await;
    let mut blobs = vec![blob_id(store, "r", "own").await, blob_id(store, "r", "shared").await];
    blobs.sort();
    let mut gone =
        store.repository_delete(&repo("r"), at(1), at(100), &NOBODY).await.expect("an answer").expect("it was there");
    gone.blobs.sort();
    assert_eq!((gone.manifests, gone.tags, gone.blobs), (2, 3, blobs));
    assert!(!has(store, "r", "index").await);
    assert_eq!(tagged(store, "r", "v1").await, None);
    assert_eq!(find(store, "r", "own").await, None);
    assert!(matches!(take(store, "r", 1, None, 2).await, UploadTaken::Unknown));
    assert!(list(store, None, 10).await.is_empty());
    assert_eq!(store.tag_list(&repo("r"), None, 10).await.expect("a list"), None);
    assert_eq!(sweep(store, 1).await, [key("own")]);
    assert!(find(store, "other", "shared").await.is_some());
    assert_eq!(sweep(store, 100).await, [key("session")]);
}

pub(super) async fn a_deleted_repository_can_come_back(store: &dyn MetadataStore) {
    Image::new("m").blob("b").tag("v").push(store, "r", 0).await;
    store.repository_delete(&repo("r"), at(1), at(1), &NOBODY).await.expect("an answer").expect("it was there");
    assert_eq!(Image::new("m").blob("b").put(store, "r", 2).await, super::races::missing("b"));
    Image::new("m").blob("b").push(store, "r", 3).await;
    assert!(has(store, "r", "m").await);
    assert_eq!(tagged(store, "r", "v").await, None);
    assert!(sweep(store, 10 * DAY).await.is_empty());
}

pub(super) async fn deleting_an_unknown_repository_says_so(store: &dyn MetadataStore) {
    assert_eq!(store.repository_delete(&repo("r"), at(0), at(0), &NOBODY).await.expect("an answer"), None);
}
