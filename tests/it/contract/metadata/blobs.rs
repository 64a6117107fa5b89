//! Blobs, memberships, leases and damage.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{BlobDeleted, BlobId, BlobLocation, BlobMount, NewBlob};
use bytes::Bytes;

use super::fixtures::{
    DAY, Image, SHORT, at, at_key, begin, blob_id, damage, digest, find, head, intended, key, new_blob, push_blob,
    repo, sweep,
};
use crate::fixtures::NOBODY;

fn mount(to: &str, from: Option<&str>, text: &str, now: i64) -> BlobMount {
    BlobMount { to: repo(to), from: from.map(repo), digest: digest(text), now: at(now), lease_until: at(now + DAY) }
}

pub(super) async fn a_blob_is_found_in_its_repository_only(store: &dyn MetadataStore) {
    push_blob(store, "a", "b", 5).await;
    let blob = find(store, "a", "b").await.expect("the blob");
    assert_eq!((blob.digest, blob.size), (digest("b"), 1));
    assert_eq!(blob.location, BlobLocation::Object(key("b")));
    assert_eq!((blob.damaged_at, blob.created_at), (None, at(5)));
    assert_eq!(find(store, "a", "c").await, None);
    assert_eq!(find(store, "c", "b").await, None);
    assert_eq!(head(store, "c", "b", 5).await, None);
}

pub(super) async fn inline_bytes_come_back(store: &dyn MetadataStore) {
    for bytes in [Bytes::from_static(b"{}"), Bytes::new()] {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let blob = NewBlob { location: BlobLocation::Inline(bytes.clone()), ..new_blob(&text, 0) };
        store.blob_put(&repo("r"), &blob).await.expect("a blob");
        assert_eq!(find(store, "r", &text).await.expect("the blob").location, BlobLocation::Inline(bytes));
    }
}

pub(super) async fn a_head_leases_when_less_than_half_is_left(store: &dyn MetadataStore) {
    push_blob(store, "r", "early", 0).await;
    push_blob(store, "r", "late", 0).await;
    assert!(head(store, "r", "early", DAY / 4).await.is_some());
    assert!(head(store, "r", "late", DAY * 3 / 4).await.is_some());
    assert_eq!(sweep(store, DAY + 1).await, [key("early")]);
    assert!(find(store, "r", "late").await.is_some());
    assert_eq!(sweep(store, DAY * 7 / 4 + 1).await, [key("late")]);
}

pub(super) async fn a_head_on_a_named_blob_takes_the_short_lease(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    assert!(head(store, "r", "b", 100).await.is_some());
    super::fixtures::delete(store, "r", "m", 200).await;
    assert!(sweep(store, 100 + SHORT - 1).await.is_empty());
    assert_eq!(sweep(store, 100 + SHORT).await, [key("b")]);
}

pub(super) async fn a_head_never_shortens_a_lease(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    // Pushed again while a manifest names it: the long lease of the push stays when a HEAD wants the short one.
    push_blob(store, "r", "b", 10).await;
    assert!(head(store, "r", "b", 20).await.is_some());
    super::fixtures::delete(store, "r", "m", 30).await;
    assert!(sweep(store, DAY).await.is_empty());
    assert_eq!(sweep(store, DAY + 10).await, [key("b")]);
}

pub(super) async fn a_damaged_blob_is_not_leased_nor_mounted(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    let id = blob_id(store, "r", "b").await;
    store.blob_damage(&damage(id, &key("b"), 7)).await.expect("a mark");
    assert_eq!(head(store, "r", "b", 8).await, None);
    for from in [None, Some("r")] {
        assert_eq!(store.blob_mount(&mount("other", from, "b", 8)).await.expect("an answer"), None);
    }
    assert_eq!(find(store, "r", "b").await.expect("the row").damaged_at, Some(at(7)));
}

pub(super) async fn damage_is_marked_only_at_the_key_it_was_seen_at(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    let id = blob_id(store, "r", "b").await;
    assert!(!store.blob_damage(&damage(id, &key("an older object"), 7)).await.expect("nothing"));
    assert_eq!(find(store, "r", "b").await.expect("the row").damaged_at, None);
    assert!(store.blob_damage(&damage(id, &key("b"), 8)).await.expect("a mark"));
    assert!(!store.blob_damage(&damage(id, &key("b"), 9)).await.expect("the same mark"));
    assert_eq!(find(store, "r", "b").await.expect("the row").damaged_at, Some(at(8)));
}

pub(super) async fn a_damaged_blob_is_healed_by_the_next_upload(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    let id = blob_id(store, "r", "b").await;
    store.blob_damage(&damage(id, &key("b"), 1)).await.expect("a mark");
    store.blob_put(&repo("r"), &at_key("b", &key("better"), 2)).await.expect("a blob");
    let healed = find(store, "r", "b").await.expect("the blob");
    assert_eq!((healed.id, healed.damaged_at), (id, None));
    assert_eq!(healed.location, BlobLocation::Object(key("better")));
    assert_eq!(sweep(store, 2).await, [key("b")]);
}

pub(super) async fn a_second_commit_of_a_digest_dooms_the_second_object(store: &dyn MetadataStore) {
    push_blob(store, "a", "b", 0).await;
    store.blob_put(&repo("c"), &at_key("b", &key("second"), 1)).await.expect("a blob");
    let (first, second) = (find(store, "a", "b").await, find(store, "c", "b").await);
    assert_eq!(first, second);
    assert_eq!(first.expect("the blob").location, BlobLocation::Object(key("b")));
    let doomed = store.deletion_claim(at(1), 10).await.expect("a claim");
    assert_eq!(doomed.len(), 1);
    assert_eq!((&doomed[0].key, &doomed[0].driver_state, doomed[0].size), (&key("second"), &None, 1));
}

pub(super) async fn a_mount_needs_the_source_to_have_it(store: &dyn MetadataStore) {
    push_blob(store, "a", "b", 0).await;
    push_blob(store, "c", "other", 0).await;
    assert_eq!(store.blob_mount(&mount("to", Some("c"), "b", 1)).await.expect("an answer"), None);
    assert_eq!(store.blob_mount(&mount("to", Some("nowhere"), "b", 1)).await.expect("an answer"), None);
    let mounted = store.blob_mount(&mount("to", Some("a"), "b", 1)).await.expect("an answer");
    assert_eq!(mounted, find(store, "a", "b").await);
    assert_eq!(find(store, "to", "b").await, mounted);
}

pub(super) async fn a_mount_from_anywhere_needs_a_member(store: &dyn MetadataStore) {
    push_blob(store, "a", "b", 0).await;
    assert!(store.blob_mount(&mount("to", None, "b", 1)).await.expect("an answer").is_some());
    for name in ["a", "to"] {
        store.blob_delete(&repo(name), &digest("b"), at(2), &NOBODY).await.expect("a delete");
    }
    assert_eq!(store.blob_mount(&mount("to", None, "b", 3)).await.expect("an answer"), None);
}

pub(super) async fn a_mount_makes_the_repository(store: &dyn MetadataStore) {
    push_blob(store, "a", "b", 0).await;
    store.blob_mount(&mount("new/one", Some("a"), "b", 1)).await.expect("an answer").expect("a blob");
    assert_eq!(Image::new("m").blob("b").put(store, "new/one", 2).await, super::races::STORED);
    // What was not mounted made no repository.
    assert_eq!(store.blob_mount(&mount("none", Some("a"), "c", 1)).await.expect("an answer"), None);
    assert_eq!(store.repository_delete(&repo("none"), at(3), at(3), &NOBODY).await.expect("an answer"), None);
}

pub(super) async fn a_blob_that_a_manifest_names_cannot_be_deleted(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    let refused = store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("an answer");
    assert_eq!(refused, BlobDeleted::Referenced(digest("m")));
    assert!(find(store, "r", "b").await.is_some());
}

pub(super) async fn a_deleted_blob_is_gone_for_its_repository_only(store: &dyn MetadataStore) {
    push_blob(store, "a", "b", 0).await;
    push_blob(store, "c", "b", 0).await;
    let id = blob_id(store, "a", "b").await;
    assert_eq!(
        store.blob_delete(&repo("a"), &digest("b"), at(1), &NOBODY).await.expect("an answer"),
        BlobDeleted::Deleted(id)
    );
    assert_eq!(
        store.blob_delete(&repo("a"), &digest("b"), at(1), &NOBODY).await.expect("an answer"),
        BlobDeleted::Unknown
    );
    assert_eq!(find(store, "a", "b").await, None);
    assert!(find(store, "c", "b").await.is_some());
    assert!(sweep(store, 2).await.is_empty());
}

pub(super) async fn restoring_makes_a_row_or_swaps_the_key(store: &dyn MetadataStore) {
    store.blob_restore(&digest("new"), 3, &key("new"), at(0), at(DAY)).await.expect("a row");
    let row = store.blob_scan(BlobId(0), 10).await.expect("rows").remove(0);
    assert_eq!((row.digest, row.size, row.location), (digest("new"), 3, BlobLocation::Object(key("new"))));
    Image::new("m").blob("b").push(store, "r", 0).await;
    store.blob_damage(&damage(blob_id(store, "r", "b").await, &key("b"), 1)).await.expect("a mark");
    store.blob_restore(&digest("b"), 1, &key("found"), at(2), at(DAY)).await.expect("a swap");
    let swapped = find(store, "r", "b").await.expect("the blob");
    assert_eq!((swapped.location, swapped.damaged_at), (BlobLocation::Object(key("found")), None));
    assert_eq!(sweep(store, DAY - 1).await, [key("b")]);
    assert_eq!(sweep(store, DAY).await, [key("new")], "nobody wanted it until then");
}

pub(super) async fn restoring_takes_a_doomed_object_off_the_list(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.blob_delete(&repo("r"), &digest("b"), at(1), &NOBODY).await.expect("a delete");
    store.blob_collect(at(1), at(1), 10).await.expect("a pass");
    store.blob_restore(&digest("b"), 1, &key("b"), at(2), at(DAY)).await.expect("a row");
    assert!(sweep(store, 3).await.is_empty());
    // Marked as damaged and found sound at the same key: the object must not be removed.
    let row = store.blob_scan(BlobId(0), 10).await.expect("rows").remove(0);
    store.blob_damage(&damage(row.id, &key("b"), 4)).await.expect("a mark");
    store.blob_restore(&digest("b"), 1, &key("b"), at(5), at(DAY)).await.expect("a healed row");
    assert!(sweep(store, 6).await.is_empty());
    assert_eq!(store.blob_scan(BlobId(0), 10).await.expect("rows")[0].damaged_at, None);
}

pub(super) async fn restoring_an_inline_blob_dooms_the_object(store: &dyn MetadataStore) {
    let inline = BlobLocation::Inline(Bytes::from_static(b"b"));
    let blob = NewBlob { location: inline.clone(), ..new_blob("b", 0) };
    store.blob_put(&repo("r"), &blob).await.expect("a blob");
    store.blob_restore(&digest("b"), 1, &key("b"), at(1), at(DAY)).await.expect("an answer");
    assert_eq!(find(store, "r", "b").await.expect("the blob").location, inline);
    assert_eq!(sweep(store, 1).await, [key("b")]);
}

pub(super) async fn scanning_goes_by_id(store: &dyn MetadataStore) {
    for text in ["one", "two", "three"] {
        push_blob(store, "r", text, 0).await;
    }
    let first = store.blob_scan(BlobId(0), 2).await.expect("rows");
    let rest = store.blob_scan(first[1].id, 2).await.expect("rows");
    let digests: Vec<_> = first.iter().chain(&rest).map(|row| row.digest.clone()).collect();
    assert_eq!(digests, [digest("one"), digest("two"), digest("three")]);
    let ids: Vec<_> = rest.iter().map(|row| row.id).collect();
    assert_eq!(store.blob_keys(&ids).await.expect("keys"), [key("three")]);
}

pub(super) async fn keys_are_known_wherever_they_stand(store: &dyn MetadataStore) {
    push_blob(store, "r", "blob", 0).await;
    intended(store, "r", 1, "session", 0).await;
    begin(store, "r", 2, 0).await;
    store.blob_put(&repo("r"), &at_key("blob", &key("doomed"), 0)).await.expect("a second object");
    let keys = ["blob", "nobody's", "session", "doomed"].map(key);
    assert_eq!(store.key_known(&keys).await.expect("answers"), [true, false, true, true]);
    assert_eq!(store.key_known(&[]).await.expect("no answers"), [false; 0]);
}
