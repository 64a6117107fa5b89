//! Damage in rows, and the passes that look for it.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::scrub::{BlobDamage, ManifestBytes, ManifestDamage, ScrubPass, ScrubStage, ScrubTake};
use bonded::metadata::model::{BlobLocation, NewBlob};
use bonded::oci::reference::Reference;
use bytes::Bytes;

use super::fixtures::{Image, at, blob_id, damage, digest, find, key, new_blob, push_blob, repo};
use crate::fixtures::NOBODY;

async fn manifest(store: &dyn MetadataStore) -> ManifestBytes {
    store.manifest_scan(i64::MIN, 2).await.expect("manifests").pop().expect("a manifest")
}

fn wrong(manifest: &ManifestBytes, payload: &Bytes, now: i64) -> ManifestDamage {
    let reason = "has other bytes".to_owned();
    ManifestDamage { id: manifest.id, payload: payload.clone(), reason, now: at(now), by: NOBODY.clone() }
}

pub(super) async fn wrong_bytes_in_a_row_are_marked_only_while_they_are_there(store: &dyn MetadataStore) {
    let bytes = Bytes::from_static(b"small");
    let blob = NewBlob { location: BlobLocation::Inline(bytes.clone()), ..new_blob("small", 0) };
    store.blob_put(&repo("r"), &blob).await.expect("a blob");
    let id = blob_id(store, "r", "small").await;
    let found = |bytes: &Bytes, now| BlobDamage {
        location: BlobLocation::Inline(bytes.clone()),
        ..damage(id, &key("unused"), now)
    };
    let other = found(&Bytes::from_static(b"other"), 1);
    assert!(!store.blob_damage(&other).await.expect("nothing"), "they are not there");
    let there = found(&bytes, 2);
    assert!(store.blob_damage(&there).await.expect("a mark"));
    assert!(!store.blob_damage(&there).await.expect("known"));
    assert_eq!(find(store, "r", "small").await.expect("the row").damaged_at, Some(at(2)));
    // The next push of it heals it, into an object if it pleases.
    store.blob_put(&repo("r"), &new_blob("small", 3)).await.expect("a blob");
    let healed = find(store, "r", "small").await.expect("the row");
    assert_eq!((healed.damaged_at, healed.location), (None, BlobLocation::Object(key("small"))));
    assert!(!store.blob_damage(&there).await.expect("nothing"), "what was found is not there any more");
}

pub(super) async fn a_mark_is_taken_only_where_the_bytes_were_right(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    let id = blob_id(store, "r", "b").await;
    let unmark = async |object: &str| store.blob_unmark(id, &key(object), at(2), &NOBODY).await.expect("an answer");
    assert!(!unmark("b").await, "there is no mark");
    store.blob_damage(&damage(id, &key("b"), 1)).await.expect("a mark");
    assert!(!unmark("an older object").await);
    assert!(unmark("b").await);
    assert_eq!(find(store, "r", "b").await.expect("the row").damaged_at, None);
}

pub(super) async fn wrong_bytes_of_a_manifest_are_marked_and_healed_by_the_next_push(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    Image::new("m").blob("b").push(store, "r", 1).await;
    let stored = manifest(store).await;
    assert_eq!((&stored.digest, stored.payload.as_ref(), stored.damaged_at), (&digest("m"), &b"m"[..], None));
    assert!(!store.manifest_damage(&wrong(&stored, &Bytes::from_static(b"x"), 2)).await.expect("nothing"));
    assert!(store.manifest_damage(&wrong(&stored, &stored.payload, 3)).await.expect("a mark"));
    assert!(!store.manifest_damage(&wrong(&stored, &stored.payload, 4)).await.expect("known"));
    let reference = Reference::Digest(digest("m"));
    let found = store.manifest_find(&repo("r"), &reference).await.expect("a look").expect("the manifest");
    assert_eq!(found.damaged_at, Some(at(3)));
    Image::new("m").blob("b").push(store, "r", 5).await;
    assert_eq!(manifest(store).await.damaged_at, None);
    assert!(store.manifest_scan(stored.id, 2).await.expect("manifests").is_empty());
}

pub(super) async fn damaged_ones_are_counted(store: &dyn MetadataStore) {
    for text in ["a", "b", "c"] {
        push_blob(store, "r", text, 0).await;
    }
    Image::new("m").blob("a").push(store, "r", 1).await;
    for text in ["a", "b"] {
        store.blob_damage(&damage(blob_id(store, "r", text).await, &key(text), 2)).await.expect("a mark");
    }
    let stored = manifest(store).await;
    store.manifest_damage(&wrong(&stored, &stored.payload, 3)).await.expect("a mark");
    let counts = store.counts().await.expect("numbers");
    assert_eq!((counts.damaged_blobs, counts.damaged_manifests), (2, 1));
}

fn take(node: &str, now: i64, due: i64) -> ScrubTake {
    ScrubTake { node: node.to_owned(), now: at(now), until: at(now + 30), due: at(due) }
}

pub(super) async fn a_pass_goes_on_where_it_was(store: &dyn MetadataStore) {
    let begun = store.scrub_take(&take("one", 100, 0)).await.expect("an answer").expect("a first pass");
    assert_eq!(begun, ScrubPass::begun(at(100)));
    let (stage, after) = (ScrubStage::Manifests, 17);
    let far = ScrubPass { stage, after, objects: 5, bytes: 1 << 40, damaged: 1, ..begun };
    assert!(store.scrub_keep("one", &far, at(150)).await.expect("kept"));
    // The same node comes back before its time is over, another one when it is.
    assert_eq!(store.scrub_take(&take("one", 110, 0)).await.expect("an answer"), Some(far.clone()));
    assert_eq!(store.scrub_take(&take("two", 140, 0)).await.expect("an answer"), Some(far));
}

pub(super) async fn one_node_at_a_time_reads(store: &dyn MetadataStore) {
    let pass = store.scrub_take(&take("one", 100, 0)).await.expect("an answer").expect("a pass");
    assert_eq!(store.scrub_take(&take("two", 129, 0)).await.expect("an answer"), None);
    assert!(store.scrub_keep("one", &pass, at(140)).await.expect("kept"));
    assert_eq!(store.scrub_take(&take("two", 139, 0)).await.expect("an answer"), None);
    assert!(store.scrub_take(&take("two", 140, 0)).await.expect("an answer").is_some());
    let late = ScrubPass { after: 3, ..pass.clone() };
    assert!(!store.scrub_keep("one", &late, at(999)).await.expect("an answer"), "it has been taken");
    assert_eq!(store.scrub_take(&take("two", 141, 0)).await.expect("an answer"), Some(pass));
}

pub(super) async fn a_new_pass_begins_when_it_is_due(store: &dyn MetadataStore) {
    let pass = store.scrub_take(&take("one", 100, 0)).await.expect("an answer").expect("a pass");
    let ended = ScrubPass { finished_at: Some(at(120)), objects: 9, ..pass };
    assert!(store.scrub_keep("one", &ended, at(120)).await.expect("kept"));
    for node in ["one", "two"] {
        assert_eq!(store.scrub_take(&take(node, 199, 99)).await.expect("an answer"), None, "{node}: too early");
    }
    assert_eq!(store.scrub_take(&take("two", 200, 100)).await.expect("an answer"), Some(ScrubPass::begun(at(200))));
}
