//! Collection, and the list of objects to remove.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{BlobId, BlobLocation, NewBlob, PurgeHold, StoreCounts};
use bytes::Bytes;

use super::fixtures::{
    DAY, Image, at, begin, blob_id, delete, digest, find, head, intended, key, new_blob, push_blob, repo, sweep, taken,
};
use crate::fixtures::NOBODY;

pub(super) async fn a_lease_holds_an_unnamed_blob(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    let looked_at = store.membership_collect(at(DAY - 1), 10).await.expect("a pass");
    assert_eq!((looked_at.rows, looked_at.seen), (0, 0));
    let ended = store.membership_collect(at(DAY), 10).await.expect("a pass");
    assert_eq!((ended.rows, ended.seen), (1, 1));
    assert_eq!(find(store, "r", "b").await, None);
    let doomed = store.blob_collect(at(DAY), at(DAY), 10).await.expect("a pass");
    assert_eq!((doomed.rows, doomed.bytes, doomed.seen), (1, 1, 1));
    assert_eq!(store.blob_scan(BlobId(0), 10).await.expect("rows"), []);
}

pub(super) async fn the_last_edge_frees_a_blob(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    assert!(sweep(store, 100 * DAY).await.is_empty());
    delete(store, "r", "m", 100 * DAY).await;
    assert_eq!(sweep(store, 100 * DAY).await, [key("b")]);
}

pub(super) async fn a_blob_shared_by_manifests_stays(store: &dyn MetadataStore) {
    Image::new("one").blob("b").push(store, "r", 0).await;
    Image::new("two").blob("b").push(store, "r", 0).await;
    delete(store, "r", "one", 10).await;
    assert!(sweep(store, 10 * DAY).await.is_empty());
    delete(store, "r", "two", 10 * DAY).await;
    assert_eq!(sweep(store, 10 * DAY).await, [key("b")]);
}

pub(super) async fn a_blob_in_another_repository_stays(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "one", 0).await;
    Image::new("m").blob("b").push(store, "two", 0).await;
    delete(store, "one", "m", 10).await;
    assert!(sweep(store, 10 * DAY).await.is_empty());
    assert_eq!(find(store, "one", "b").await, None);
    assert!(find(store, "two", "b").await.is_some());
}

pub(super) async fn an_inline_blob_just_goes(store: &dyn MetadataStore) {
    let inline = BlobLocation::Inline(Bytes::from_static(b"b"));
    store.blob_put(&repo("r"), &NewBlob { location: inline, ..new_blob("b", 0) }).await.expect("a blob");
    assert!(sweep(store, DAY).await.is_empty());
    assert_eq!(store.blob_scan(BlobId(0), 10).await.expect("rows"), []);
}

pub(super) async fn collecting_goes_in_batches(store: &dyn MetadataStore) {
    for n in 0..5 {
        push_blob(store, "r", &format!("b{n}"), 0).await;
    }
    let mut ended = Vec::new();
    for _ in 0..4 {
        ended.push(store.membership_collect(at(DAY), 2).await.expect("a pass").rows);
    }
    assert_eq!(ended, [2, 2, 1, 0]);
    let first = store.blob_collect(at(DAY), at(DAY), 4).await.expect("a pass");
    assert_eq!((first.rows, first.bytes, first.seen), (4, 8, 4));
    assert_eq!(store.blob_collect(at(DAY), at(DAY), 4).await.expect("a pass").rows, 1);
}

pub(super) async fn a_claim_is_not_handed_out_twice(store: &dyn MetadataStore) {
    for n in 0..3 {
        push_blob(store, "r", &format!("b{n}"), 0).await;
        store.blob_delete(&repo("r"), &digest(&format!("b{n}")), at(1), &NOBODY).await.expect("a delete");
    }
    store.blob_collect(at(1), at(1), 10).await.expect("a pass");
    let first = store.deletion_claim(at(1), 2).await.expect("a claim");
    let second = store.deletion_claim(at(1), 2).await.expect("a claim");
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(first.iter().all(|deletion| deletion.key != second[0].key && deletion.attempts == 0));
    assert_eq!(store.deletion_claim(at(1), 2).await.expect("a claim"), []);
    // A purger that died leaves the objects listed: another takes them over.
    let again = store.deletion_claim(at(3600), 10).await.expect("a claim");
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|deletion| deletion.attempts == 1));
    let keys: Vec<_> = again.into_iter().map(|deletion| deletion.key).collect();
    store.deletion_done(&keys).await.expect("the end");
    store.deletion_done(&keys).await.expect("the end, again");
    assert_eq!(store.deletion_claim(at(DAY), 10).await.expect("a claim"), []);
}

pub(super) async fn a_failed_removal_comes_again(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("a delete");
    store.blob_collect(at(1), at(1), 10).await.expect("a pass");
    assert_eq!(store.deletion_claim(at(1), 10).await.expect("a claim").len(), 1);
    store.deletion_retry(&key("b"), at(500)).await.expect("a later time");
    assert_eq!(store.deletion_claim(at(499), 10).await.expect("a claim"), []);
    assert_eq!(store.deletion_claim(at(500), 10).await.expect("a claim").len(), 1);
    store.deletion_retry(&key("gone"), at(500)).await.expect("another purger was first");
}

pub(super) async fn a_purge_is_pending_until_the_object_is_gone(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    let ids = [blob_id(store, "r", "b").await];
    let keys = store.blob_keys(&ids).await.expect("keys");
    let pending = async || store.purge_pending(&ids, &keys, at(10)).await.expect("an answer");
    assert!(!pending().await, "a manifest names it");
    delete(store, "r", "m", 10).await;
    assert!(pending().await, "its membership is to end");
    store.membership_collect(at(10), 10).await.expect("a pass");
    assert!(pending().await, "its row is to go");
    store.blob_collect(at(10), at(10), 10).await.expect("a pass");
    assert!(pending().await, "its object is to go");
    store.deletion_claim(at(10), 10).await.expect("a claim");
    assert!(pending().await, "its object is going");
    store.deletion_done(&keys).await.expect("the end");
    assert!(!pending().await);
}

pub(super) async fn a_purge_is_not_pending_while_something_holds_the_blob(store: &dyn MetadataStore) {
    Image::new("m").blob("leased").blob("elsewhere").blob("named").push(store, "r", 0).await;
    Image::new("n").blob("named").push(store, "r", 0).await;
    push_blob(store, "other", "elsewhere", 0).await;
    assert!(head(store, "r", "leased", 5).await.is_some());
    let mut ids = Vec::new();
    for text in ["leased", "elsewhere", "named"] {
        ids.push(blob_id(store, "r", text).await);
    }
    let keys = store.blob_keys(&ids).await.expect("keys");
    delete(store, "r", "m", 10).await;
    assert!(!store.purge_pending(&ids, &keys, at(10)).await.expect("an answer"));
    sweep(store, 10).await;
    assert!(!store.purge_pending(&ids, &keys, at(10)).await.expect("an answer"));
    assert!(!store.purge_pending(&[], &[], at(10)).await.expect("an answer"));
}

pub(super) async fn counts_add_up(store: &dyn MetadataStore) {
    store.ping().await.expect("an answer");
    assert_eq!(store.counts().await.expect("numbers"), StoreCounts::default());
    begin(store, "r", 1, 0).await;
    intended(store, "r", 2, "b", 0).await;
    let (hold, _) = taken(store, "r", 2, 0).await;
    assert!(store.upload_commit(&hold, &new_blob("b", 0), at(DAY)).await.expect("an answer"));
    push_blob(store, "r", "four", 0).await;
    store.blob_delete(&repo("r"), &digest("four"), at(1), &NOBODY).await.expect("a delete");
    store.blob_collect(at(1), at(1), 10).await.expect("a pass");
    let counts = store.counts().await.expect("numbers");
    assert_eq!(counts, StoreCounts { deletions: 1, deletion_bytes: 4, uploads: 1, ..StoreCounts::default() });
    assert_eq!(store.upload_count().await.expect("a number"), 1, "the other one is closed");
}

pub(super) async fn a_hold_keeps_objects_until_it_ends(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("a delete");
    store.purge_hold("backup", at(50)).await.expect("a hold");
    store.purge_hold("backup", at(100)).await.expect("a longer hold");
    store.purge_hold("another", at(80)).await.expect("a hold");
    let hold = |name: &str, until| PurgeHold { name: name.to_owned(), until: at(until) };
    assert_eq!(store.purge_holds(at(2)).await.expect("holds"), [hold("another", 80), hold("backup", 100)]);
    assert_eq!(store.blob_collect(at(2), at(2), 10).await.expect("a pass").rows, 1, "rows age");
    assert_eq!(store.deletion_claim(at(99), 10).await.expect("a claim"), [], "objects stay");
    assert_eq!(store.deletion_claim(at(100), 10).await.expect("a claim").len(), 1, "a hold ends by itself");
    store.deletion_retry(&key("b"), at(3)).await.expect("again");
    assert_eq!(store.deletion_claim(at(90), 10).await.expect("a claim"), []);
    store.purge_release("backup").await.expect("the end");
    store.purge_release("backup").await.expect("the end, again");
    assert_eq!(store.deletion_claim(at(90), 10).await.expect("a claim").len(), 1);
    assert_eq!(store.purge_holds(at(90)).await.expect("holds"), []);
}

pub(super) async fn a_doomed_object_waits_as_long_as_it_was_told(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("a delete");
    store.blob_collect(at(2), at(60), 10).await.expect("a pass");
    assert_eq!(store.deletion_claim(at(59), 10).await.expect("a claim"), []);
    assert_eq!(store.deletion_claim(at(60), 10).await.expect("a claim").len(), 1);
}
