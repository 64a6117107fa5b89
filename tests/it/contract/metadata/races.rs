//! The races that this design closes, each as the order of calls in which it would show.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{BlobDeleted, BlobMount, ManifestDeleted, ManifestStored, UploadTaken};
use futures_util::future::join_all;

use super::fixtures::{
    DAY, Image, SHORT, at, at_key, begin, blob_id, delete, digest, ending, find, has, head, intended, key, new_blob,
    push_blob, repo, sweep, tagged, take, taken, upload_id,
};
use crate::fixtures::NOBODY;

pub(super) const STORED: ManifestStored = ManifestStored::Stored;

pub(super) fn missing(text: &str) -> ManifestStored {
    ManifestStored::Missing(vec![digest(text)])
}

/// Two deleters, each of the last but one reference: the blob must not leak.
pub(super) async fn double_last_delete(store: &dyn MetadataStore) {
    Image::new("one").blob("b").push(store, "r", 0).await;
    Image::new("two").blob("b").push(store, "r", 0).await;
    let (one, two) = tokio::join!(delete(store, "r", "one", 10), delete(store, "r", "two", 10));
    assert!(matches!((one, two), (ManifestDeleted::Deleted(_), ManifestDeleted::Deleted(_))));
    assert_eq!(sweep(store, 10).await, [key("b")]);
}

/// A manifest that names a blob after its membership was picked: it is stored with the blob, or refused.
pub(super) async fn late_reference(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    let image = Image::new("m").blob("b");
    let (_, stored) = tokio::join!(store.membership_collect(at(DAY), 10), image.put(store, "r", DAY));
    if stored == STORED {
        assert!(sweep(store, DAY).await.is_empty());
        assert!(find(store, "r", "b").await.is_some());
    } else {
        assert_eq!(stored, missing("b"));
        assert_eq!(sweep(store, DAY).await, [key("b")]);
    }
    assert_eq!(Image::new("n").blob("gone").put(store, "r", DAY).await, missing("gone"));
}

/// A HEAD that said yes holds the blob for long enough to push the manifest, whatever is deleted meanwhile.
pub(super) async fn ghost_head(store: &dyn MetadataStore) {
    Image::new("old").blob("b").push(store, "r", 0).await;
    assert!(head(store, "r", "b", 10).await.is_some());
    delete(store, "r", "old", 11).await;
    assert!(sweep(store, 12).await.is_empty());
    assert_eq!(Image::new("new").blob("b").put(store, "r", SHORT - 1).await, STORED);
    assert!(sweep(store, 10 * DAY).await.is_empty());
}

pub(super) async fn a_head_of_a_collected_blob_is_none(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.membership_collect(at(DAY), 10).await.expect("a pass");
    assert_eq!(head(store, "r", "b", DAY).await, None);
}

/// Mounted between the end of its last membership and its collection.
pub(super) async fn a_mount_revives_an_orphan(store: &dyn MetadataStore) {
    push_blob(store, "one", "b", 0).await;
    push_blob(store, "two", "b", DAY / 2).await;
    store.membership_collect(at(DAY), 10).await.expect("a pass");
    let mount = BlobMount { to: repo("to"), from: None, digest: digest("b"), now: at(DAY), lease_until: at(2 * DAY) };
    assert!(store.blob_mount(&mount).await.expect("an answer").is_some());
    store.blob_delete(&repo("two"), &digest("b"), at(DAY), &NOBODY).await.expect("a delete");
    assert!(sweep(store, DAY + 1).await.is_empty());
    assert!(find(store, "to", "b").await.is_some());
}

pub(super) async fn a_push_revives_an_orphan(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    let id = blob_id(store, "r", "b").await;
    assert_eq!(
        store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("gone"),
        BlobDeleted::Deleted(id)
    );
    store.blob_put(&repo("r"), &at_key("b", &key("again"), 2)).await.expect("a blob");
    assert_eq!(blob_id(store, "r", "b").await, id);
    assert_eq!(sweep(store, 3).await, [key("again")], "the first object stays, the second goes");
}

/// A late removal of the old object cannot hit the new one, because it has another key.
pub(super) async fn delete_then_push_again_before_the_purge(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("a delete");
    store.blob_collect(at(1), at(1), 10).await.expect("a pass");
    store.blob_put(&repo("r"), &at_key("b", &key("again"), 2)).await.expect("a blob");
    let doomed = store.deletion_claim(at(3), 10).await.expect("a claim");
    assert_eq!(doomed.iter().map(|deletion| &deletion.key).collect::<Vec<_>>(), [&key("b")]);
    assert_eq!(store.blob_keys(&[blob_id(store, "r", "b").await]).await.expect("keys"), [key("again")]);
}

/// An index that names a referrer which is to be collected keeps it.
pub(super) async fn index_naming_a_child_that_goes(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    Image::new("child").subject("s").blob("b").push(store, "r", 0).await;
    delete(store, "r", "s", 1).await;
    assert_eq!(Image::new("index").child("child").put(store, "r", 2).await, STORED);
    assert!(sweep(store, 10 * DAY).await.is_empty());
    assert!(has(store, "r", "child").await);
    // The other order: gone first, then named.
    Image::new("s").push(store, "r", 0).await;
    Image::new("late").subject("s").push(store, "r", 0).await;
    delete(store, "r", "s", 1).await;
    sweep(store, 10 * DAY).await;
    assert_eq!(Image::new("second").child("late").put(store, "r", 11 * DAY).await, missing("late"));
}

pub(super) async fn two_takers_of_one_session(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    let takes = join_all((0..8).map(|_| taken(store, "r", 1, 1))).await;
    let newest = takes.iter().map(|(hold, _)| hold).max_by_key(|hold| hold.epoch).expect("eight of them");
    let mut holders = 0;
    for (hold, _) in &takes {
        let still = store.upload_renew(hold, at(DAY)).await.expect("an answer");
        assert_eq!(still, hold == newest);
        holders += u32::from(still);
    }
    assert_eq!(holders, 1);
}

pub(super) async fn a_cancelled_session_cannot_commit(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "b", 0).await;
    assert!(store.upload_cancel(&repo("r"), &upload_id(1), None, ending(1, 50)).await.expect("an answer"));
    assert!(!store.upload_commit(&hold, &new_blob("b", 1), at(DAY)).await.expect("an answer"));
    assert_eq!(find(store, "r", "b").await, None);
    assert_eq!(sweep(store, 50).await, [key("b")]);
}

pub(super) async fn a_commit_after_expiry_was_swept_is_refused(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "b", 0).await;
    store.upload_expire(at(DAY), at(DAY), 10).await.expect("a pass");
    assert!(!store.upload_commit(&hold, &new_blob("b", DAY), at(2 * DAY)).await.expect("an answer"));
    assert!(matches!(take(store, "r", 1, None, DAY).await, UploadTaken::Unknown));
    assert_eq!(sweep(store, DAY).await, [key("b")]);
}

/// Two sessions of one digest: one row, one object, the other object doomed.
pub(super) async fn two_pushers_of_one_digest(store: &dyn MetadataStore) {
    let one = intended(store, "one", 1, "first", 0).await;
    let two = intended(store, "two", 2, "second", 0).await;
    let (first, second) = (at_key("b", &key("first"), 1), at_key("b", &key("second"), 1));
    let (a, b) = tokio::join!(store.upload_commit(&one, &first, at(DAY)), store.upload_commit(&two, &second, at(DAY)));
    assert!(a.expect("an answer") && b.expect("an answer"));
    let id = blob_id(store, "one", "b").await;
    assert_eq!(blob_id(store, "two", "b").await, id);
    let kept = store.blob_keys(&[id]).await.expect("keys").remove(0);
    let doomed = sweep(store, 2).await;
    assert_eq!(doomed.len(), 1);
    assert!(doomed[0] != kept && [key("first"), key("second")].contains(&doomed[0]));
}

pub(super) async fn two_collectors(store: &dyn MetadataStore) {
    for n in 0..10 {
        push_blob(store, "r", &format!("b{n}"), 0).await;
    }
    let pass = || async {
        let ended = store.membership_collect(at(DAY), 3).await.expect("a pass").rows;
        (ended, store.blob_collect(at(DAY), at(DAY), 3).await.expect("a pass").rows)
    };
    let rounds = join_all((0..12).map(|_| pass())).await;
    assert_eq!(rounds.iter().map(|(ended, _)| ended).sum::<u64>(), 10);
    assert_eq!(rounds.iter().map(|(_, doomed)| doomed).sum::<u64>(), 10);
    let claims = join_all((0..4).map(|_| store.deletion_claim(at(DAY), 5))).await;
    assert_eq!(claims.into_iter().map(|claim| claim.expect("a claim").len()).sum::<usize>(), 10);
}

/// A tag set on a referrer that is past its time, just before the collector comes.
pub(super) async fn tag_move_against_collection(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    let signature = || Image::new("signature").subject("s");
    signature().push(store, "r", 0).await;
    delete(store, "r", "s", 1).await;
    let tagging = signature().tag("kept");
    let (stored, _) = tokio::join!(tagging.put(store, "r", 2 * DAY), store.manifest_collect(at(2 * DAY), 10));
    assert_eq!(stored, STORED);
    sweep(store, 3 * DAY).await;
    assert_eq!(tagged(store, "r", "kept").await.as_deref(), Some("signature"));
}

pub(super) async fn many_writers_at_once(store: &dyn MetadataStore) {
    let pushes = (0..40).map(|n| async move {
        let (blob, name) = (format!("layer {}", n % 7), format!("image {n}"));
        let image = Image::new(&name).blob(&blob).tag(&format!("t{n}")).tag("latest");
        image.push(store, "r", n).await;
    });
    join_all(pushes).await;
    assert_eq!(store.tag_list(&repo("r"), None, 100).await.expect("a list").expect("tags").len(), 41);
    let deletes = (0..40).map(|n| async move { delete(store, "r", &format!("image {n}"), 100).await });
    for deleted in join_all(deletes).await {
        assert!(matches!(deleted, ManifestDeleted::Deleted(_)));
    }
    assert_eq!(store.tag_list(&repo("r"), None, 100).await.expect("a list"), None);
    let purged = sweep(store, 2 * DAY).await;
    let mut expected: Vec<_> = (0..7).map(|n| key(&format!("layer {n}"))).collect();
    expected.sort();
    assert_eq!(purged, expected);
}
