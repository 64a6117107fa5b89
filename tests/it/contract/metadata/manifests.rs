//! Manifests: what they need, what they hold, and who may delete them.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::trust::{PolicyPut, Stood};
use bonded::metadata::model::{BlobDeleted, ManifestDeleted, ManifestStored, Precondition};
use bonded::oci::glob::ImmutableTags;
use bonded::oci::reference::Reference;

use super::fixtures::{
    DAY, Image, SHORT, at, blob_id, damage, delete, delete_with, digest, find, has, head, key, push_blob, repo, sweep,
    tagged,
};
use super::races::STORED;
use crate::fixtures::NOBODY;

fn missing(names: &[&str]) -> ManifestStored {
    ManifestStored::Missing(names.iter().copied().map(digest).collect())
}

async fn delete_blob(store: &dyn MetadataStore, name: &str, text: &str) -> BlobDeleted {
    store.blob_delete(&repo(name), &digest(text), at(50), &NOBODY).await.expect("an answer")
}

pub(super) async fn a_manifest_is_found_by_tag_and_digest(store: &dyn MetadataStore) {
    Image::new("m").blob("config").blob("layer").tag("v1").tag("v2").push(store, "r", 3).await;
    let by_digest = Reference::Digest(digest("m"));
    let found = store.manifest_find(&repo("r"), &by_digest).await.expect("a look").expect("the manifest");
    assert_eq!((found.digest, found.payload.as_ref(), found.created_at), (digest("m"), b"m".as_slice(), at(3)));
    assert_eq!(found.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(tagged(store, "r", "v1").await.as_deref(), Some("m"));
    assert_eq!(tagged(store, "r", "v2").await.as_deref(), Some("m"));
    assert_eq!(tagged(store, "r", "v3").await, None);
    assert_eq!(tagged(store, "other", "v1").await, None);
    assert!(store.manifest_find(&repo("other"), &by_digest).await.expect("a look").is_none());
}

pub(super) async fn missing_content_is_listed_in_order_and_once(store: &dyn MetadataStore) {
    push_blob(store, "r", "there", 0).await;
    let image = Image::new("m").blob("z").blob("there").blob("a").blob("z").child("c").child("a");
    assert_eq!(image.put(store, "r", 1).await, missing(&["z", "a", "c"]));
    assert!(!has(store, "r", "m").await);
}

pub(super) async fn a_blob_known_only_elsewhere_is_missing(store: &dyn MetadataStore) {
    push_blob(store, "other", "b", 0).await;
    push_blob(store, "r", "c", 0).await;
    assert_eq!(Image::new("m").blob("b").blob("c").put(store, "r", 1).await, missing(&["b"]));
    Image::new("child").push(store, "other", 0).await;
    assert_eq!(Image::new("index").child("child").put(store, "r", 1).await, missing(&["child"]));
}

pub(super) async fn a_damaged_blob_is_missing(store: &dyn MetadataStore) {
    push_blob(store, "r", "b", 0).await;
    store.blob_damage(&damage(blob_id(store, "r", "b").await, &key("b"), 1)).await.expect("a mark");
    assert_eq!(Image::new("m").blob("b").put(store, "r", 2).await, missing(&["b"]));
}

pub(super) async fn what_is_not_required_may_be_missing(store: &dyn MetadataStore) {
    push_blob(store, "r", "config", 0).await;
    assert_eq!(Image::new("m").blob("config").foreign("elsewhere").put(store, "r", 1).await, STORED);
    // When it comes after all, the manifest holds it.
    push_blob(store, "r", "elsewhere", 2).await;
    assert_eq!(delete_blob(store, "r", "elsewhere").await, BlobDeleted::Referenced(digest("m")));
}

pub(super) async fn a_refused_manifest_makes_no_repository(store: &dyn MetadataStore) {
    assert_eq!(Image::new("m").blob("b").put(store, "r", 0).await, missing(&["b"]));
    assert_eq!(store.repository_delete(&repo("r"), at(1), at(1), &NOBODY).await.expect("an answer"), None);
    assert_eq!(Image::new("m").put(store, "r", 0).await, STORED);
}

pub(super) async fn sparse_edges_are_filled_by_later_pushes(store: &dyn MetadataStore) {
    let image = Image::new("m").blob("pushed").blob("mounted").sparse();
    assert_eq!(image.put(store, "r", 0).await, STORED);
    push_blob(store, "r", "pushed", 1).await;
    push_blob(store, "other", "mounted", 1).await;
    let mount = bonded::metadata::model::BlobMount {
        to: repo("r"),
        from: Some(repo("other")),
        digest: digest("mounted"),
        now: at(1),
        lease_until: at(DAY),
    };
    store.blob_mount(&mount).await.expect("a mount").expect("a blob");
    for text in ["pushed", "mounted"] {
        assert_eq!(delete_blob(store, "r", text).await, BlobDeleted::Referenced(digest("m")), "{text}");
    }
    assert!(sweep(store, 2 * DAY).await.is_empty());
}

pub(super) async fn a_child_may_be_a_blob(store: &dyn MetadataStore) {
    push_blob(store, "r", "child", 0).await;
    assert_eq!(Image::new("index").child("child").put(store, "r", 1).await, STORED);
    assert_eq!(delete_blob(store, "r", "child").await, BlobDeleted::Referenced(digest("index")));
    assert!(sweep(store, 2 * DAY).await.is_empty());
    let named = vec![blob_id(store, "r", "child").await];
    assert_eq!(delete(store, "r", "index", 3 * DAY).await, ManifestDeleted::Deleted(named));
    assert_eq!(sweep(store, 3 * DAY).await, [key("child")]);
}

pub(super) async fn an_index_waits_for_its_children(store: &dyn MetadataStore) {
    assert_eq!(Image::new("index").child("m").child("blob").sparse().put(store, "r", 0).await, STORED);
    assert_eq!(Image::new("m").put(store, "r", 1).await, STORED);
    push_blob(store, "r", "blob", 1).await;
    assert_eq!(delete(store, "r", "m", 2).await, ManifestDeleted::Referenced(digest("index")));
    assert_eq!(delete_blob(store, "r", "blob").await, BlobDeleted::Referenced(digest("index")));
    // The manifest is no blob: content with its digest that comes as a blob is not held by the index.
    push_blob(store, "r", "m", 3).await;
    assert!(matches!(delete_blob(store, "r", "m").await, BlobDeleted::Deleted(_)));
    let named = vec![blob_id(store, "r", "blob").await];
    assert_eq!(delete(store, "r", "index", 60).await, ManifestDeleted::Deleted(named));
    assert_eq!(delete(store, "r", "m", 61).await, ManifestDeleted::Deleted(Vec::new()));
}

pub(super) async fn the_same_manifest_again_is_fine(store: &dyn MetadataStore) {
    let image = Image::new("m").blob("b").tag("v1");
    image.push(store, "r", 0).await;
    let before = store.manifest_find(&repo("r"), &Reference::Digest(digest("m"))).await.expect("a look");
    assert_eq!(image.put(store, "r", 5).await, STORED);
    let after = store.manifest_find(&repo("r"), &Reference::Digest(digest("m"))).await.expect("a look");
    assert_eq!(before, after);
}

pub(super) async fn the_same_manifest_under_another_type_changes_the_type(store: &dyn MetadataStore) {
    Image::new("m").push(store, "r", 0).await;
    assert_eq!(Image::new("m").media_type("application/other").put(store, "r", 1).await, STORED);
    let found = store.manifest_find(&repo("r"), &Reference::Digest(digest("m"))).await.expect("a look");
    assert_eq!(found.expect("the manifest").media_type, "application/other");
}

pub(super) async fn what_a_manifest_names_follows_its_type(store: &dyn MetadataStore) {
    let first = || Image::new("m").blob("config").blob("a");
    let second = || Image::new("m").media_type("application/other").blob("config").blob("b").child("c");
    first().tag("v1").push(store, "r", 0).await;
    let generation = async || store.trust_standing(&repo("r")).await.expect("a look").expect("there").generation;
    assert_eq!(second().put(store, "r", 1).await, missing(&["b", "c"]));
    assert_eq!(delete_blob(store, "r", "a").await, BlobDeleted::Referenced(digest("m")), "nothing has changed");
    Image::new("c").push(store, "r", 1).await;
    let before = generation().await;
    second().push(store, "r", 2).await;
    assert!(generation().await > before, "what opens a blob is another one now");
    assert_eq!(delete_blob(store, "r", "b").await, BlobDeleted::Referenced(digest("m")));
    assert_eq!(delete(store, "r", "c", 3).await, ManifestDeleted::Referenced(digest("m")));
    // What it no longer names is let go like what was never named.
    assert_eq!(sweep(store, DAY).await, [key("a")]);
    assert_eq!(tagged(store, "r", "v1").await.as_deref(), Some("m"));
    assert_eq!(first().put(store, "r", DAY).await, missing(&["a"]));
    first().push(store, "r", DAY + 1).await;
    assert_eq!(sweep(store, DAY + 1).await, [key("b")]);
    assert!(matches!(delete(store, "r", "c", DAY + 2).await, ManifestDeleted::Deleted(_)));
    assert_eq!(delete_blob(store, "r", "a").await, BlobDeleted::Referenced(digest("m")));
    assert_eq!(store.reference_check().await.expect("a check"), []);
}

pub(super) async fn a_manifest_carries_signatures_by_how_it_came_last(store: &dyn MetadataStore) {
    let is_signature = async || {
        let found = store.manifest_find(&repo("r"), &Reference::Digest(digest("m"))).await.expect("a look");
        found.expect("the manifest").is_signature
    };
    let image = || Image::new("m").blob("config");
    image().push(store, "r", 0).await;
    assert!(!is_signature().await);
    // Perhaps by a tag, without which it may come again.
    image().signature(1).push(store, "r", 1).await;
    image().push(store, "r", 2).await;
    assert!(is_signature().await);
    image().media_type("application/other").push(store, "r", 3).await;
    assert!(!is_signature().await);
    image().signature(1).push(store, "r", 4).await;
    assert!(is_signature().await);
}

pub(super) async fn preconditions_look_at_the_reference(store: &dyn MetadataStore) {
    let put =
        async |name: &str, condition: Precondition| Image::new(name).tag("v").when(condition).put(store, "r", 1).await;
    assert_eq!(put("a", Precondition::Exists).await, ManifestStored::PreconditionFailed);
    assert_eq!(put("a", Precondition::AnyOf(vec![digest("a")])).await, ManifestStored::PreconditionFailed);
    assert_eq!(put("a", Precondition::Absent).await, STORED);
    assert_eq!(put("b", Precondition::Absent).await, ManifestStored::PreconditionFailed);
    assert_eq!(put("b", Precondition::AnyOf(vec![digest("x")])).await, ManifestStored::PreconditionFailed);
    assert_eq!(put("b", Precondition::NoneOf(vec![digest("a")])).await, ManifestStored::PreconditionFailed);
    assert_eq!(tagged(store, "r", "v").await.as_deref(), Some("a"));
    assert!(!has(store, "r", "b").await);
    assert_eq!(put("b", Precondition::AnyOf(vec![digest("x"), digest("a")])).await, STORED);
    assert_eq!(tagged(store, "r", "v").await.as_deref(), Some("b"));
    // By digest, the manifest itself is what must be there or not.
    let by_digest = Image::new("c").when(Precondition::Absent);
    assert_eq!(by_digest.put(store, "r", 2).await, STORED);
    assert_eq!(by_digest.put(store, "r", 2).await, ManifestStored::PreconditionFailed);
}

pub(super) async fn naming_a_blob_ends_its_lease(store: &dyn MetadataStore) {
    Image::new("m").blob("b").push(store, "r", 0).await;
    delete(store, "r", "m", 10).await;
    assert_eq!(sweep(store, 10).await, [key("b")]);
    assert_eq!(find(store, "r", "b").await, None);
}

pub(super) async fn a_listed_manifest_cannot_be_deleted(store: &dyn MetadataStore) {
    Image::new("m").tag("v1").push(store, "r", 0).await;
    Image::new("index").child("m").push(store, "r", 0).await;
    assert_eq!(delete(store, "r", "m", 1).await, ManifestDeleted::Referenced(digest("index")));
    assert_eq!(tagged(store, "r", "v1").await.as_deref(), Some("m"));
    assert!(matches!(delete(store, "r", "index", 2).await, ManifestDeleted::Deleted(_)));
    assert!(matches!(delete(store, "r", "m", 3).await, ManifestDeleted::Deleted(_)));
}

pub(super) async fn deleting_tells_which_blobs_it_named(store: &dyn MetadataStore) {
    Image::new("m").blob("a").blob("b").blob("a").tag("v").push(store, "r", 0).await;
    let mut named = vec![blob_id(store, "r", "a").await, blob_id(store, "r", "b").await];
    named.sort();
    assert_eq!(delete(store, "r", "m", 1).await, ManifestDeleted::Deleted(named));
    assert_eq!(tagged(store, "r", "v").await, None);
    assert!(!has(store, "r", "m").await);
}

pub(super) async fn deleting_an_unknown_manifest_says_so(store: &dyn MetadataStore) {
    assert_eq!(delete(store, "r", "m", 0).await, ManifestDeleted::Unknown);
    Image::new("other").push(store, "r", 0).await;
    assert_eq!(delete(store, "r", "m", 0).await, ManifestDeleted::Unknown);
}

pub(super) async fn deleting_ends_old_leases_only_when_asked(store: &dyn MetadataStore) {
    let none = ImmutableTags::default();
    for (name, asked, kept) in [("kept", None, true), ("ended", Some(200), false)] {
        Image::new("m").blob(name).push(store, name, 0).await;
        assert!(head(store, name, name, 100).await.is_some());
        delete_with(store, name, "m", 210, asked, &none).await;
        assert_eq!(sweep(store, 211).await.is_empty(), kept, "{name}");
    }
    // An upload before the request began gives way, one after it does not.
    for (name, pushed, kept) in [("early", 100, false), ("late", 205, true)] {
        Image::new("m").blob(name).push(store, name, 0).await;
        push_blob(store, name, name, pushed).await;
        assert!(head(store, name, name, 206).await.is_some());
        delete_with(store, name, "m", 210, Some(200), &none).await;
        assert_eq!(sweep(store, 211 + SHORT).await.iter().all(|gone| *gone != key(name)), kept, "{name}");
    }
}

pub(super) async fn a_tag_is_set_where_it_was_judged(store: &dyn MetadataStore) {
    let image = || Image::new("m").tag("v1");
    assert_eq!(image().guarded(Stood::Nowhere, None).put(store, "r", 1).await, STORED);
    assert_eq!(image().guarded(Stood::Nowhere, None).put(store, "r", 2).await, ManifestStored::TrustMoved);
    let standing = store.trust_standing(&repo("r")).await.expect("a look").expect("the repository");
    assert_eq!(image().guarded(Stood::At(standing), None).put(store, "r", 3).await, STORED);
    assert_eq!(image().guarded(Stood::At(standing), None).put(store, "other", 3).await, ManifestStored::TrustMoved);
    // An index may lend its verdict to what it lists.
    assert_eq!(Image::new("index").child("m").put(store, "r", 4).await, STORED);
    assert_eq!(image().guarded(Stood::At(standing), None).put(store, "r", 5).await, ManifestStored::TrustMoved);
    assert_eq!(image().guarded(Stood::Anywhere, None).put(store, "r", 6).await, STORED);
}

pub(super) async fn a_tag_is_set_under_the_policies_by_which_it_was_judged(store: &dyn MetadataStore) {
    let image = || Image::new("m").tag("v1");
    let before = store.policy_number().await.expect("a number");
    assert_eq!(image().guarded(Stood::Anywhere, Some(before)).put(store, "r", 1).await, STORED);
    let (document, revision) = (String::new(), "1".to_owned());
    let put = PolicyPut { document, replaces: None, revision, now: at(2), by: NOBODY.clone() };
    let number = store.policy_put(&put).await.expect("stored").expect("the newest");
    for name in ["r", "new"] {
        let late = image().guarded(Stood::Anywhere, Some(before)).put(store, name, 3).await;
        assert_eq!(late, ManifestStored::TrustMoved);
    }
    assert!(!has(store, "new", "m").await, "nothing was stored");
    assert_eq!(image().guarded(Stood::Anywhere, Some(number)).put(store, "r", 4).await, STORED);
    assert_eq!(image().guarded(Stood::Nowhere, Some(number)).put(store, "new", 4).await, STORED);
}
