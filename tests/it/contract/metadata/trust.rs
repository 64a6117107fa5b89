//! Where tags lead, and the policy documents that there were.

use std::collections::BTreeMap;

use bonded::metadata::MetadataStore;
use bonded::metadata::model::trust::{NamingManifest, PolicyPut, ReachedManifest};

use super::fixtures::{Image, at, digest, repo, tag};
use crate::fixtures::NOBODY;

/// All manifests of `r`, read in pages of two.
async fn reached(store: &dyn MetadataStore) -> Vec<ReachedManifest> {
    let standing = store.trust_standing(&repo("r")).await.expect("an answer").expect("a repository");
    let mut found: Vec<ReachedManifest> = Vec::new();
    loop {
        let after = found.last().map(|manifest| manifest.digest.clone());
        let page = store.manifest_reached(standing.repository, after.as_ref(), 2).await.expect("a page");
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

pub(super) async fn tags_lead_to_manifests_directly_and_through_indexes(store: &dyn MetadataStore) {
    for name in ["leaf", "listed twice", "child", "alone"] {
        Image::new(name).push(store, "r", 0).await;
        Image::new(name).tag("v1").push(store, "elsewhere", 0).await;
    }
    Image::new("inner").child("leaf").child("listed twice").push(store, "r", 0).await;
    Image::new("outer").child("inner").child("listed twice").tag("b").tag("a").push(store, "r", 0).await;
    Image::new("loose").child("child").push(store, "r", 0).await;
    let many = (0..20).fold(Image::new("many"), |image, number| image.tag(&format!("n{number:02}")));
    many.push(store, "r", 0).await;
    let found = reached(store).await;
    assert!(found.is_sorted_by(|one, next| one.digest.to_string() < next.digest.to_string()), "each once, in order");
    let found: BTreeMap<String, ReachedManifest> =
        found.into_iter().map(|manifest| (manifest.digest.to_string(), manifest)).collect();
    assert_eq!(found.len(), 8);
    for (name, is_reached, tags) in [
        ("leaf", true, &[][..]),
        ("listed twice", true, &[]),
        ("inner", true, &[]),
        ("outer", true, &["a", "b"]),
        ("child", false, &[]),
        ("loose", false, &[]),
        ("alone", false, &[]),
    ] {
        let tags = tags.iter().map(|name| tag(name)).collect();
        let wanted = ReachedManifest { digest: digest(name), is_signature: false, is_reached, tags };
        assert_eq!(found[&digest(name).to_string()], wanted, "{name}");
    }
    let many = &found[&digest("many").to_string()].tags;
    assert_eq!((many.len(), &many[0]), (ReachedManifest::TAGS_MAX, &tag("n00")));
}

pub(super) async fn documents_are_listed_newest_first(store: &dyn MetadataStore) {
    assert_eq!(store.policy_list(i64::MAX, 10).await.expect("a list"), []);
    assert_eq!(store.policy_with(1).await.expect("an answer"), None);
    for (number, document) in ["one", "", "drei \u{fc}"].into_iter().enumerate() {
        let (document, revision) = (document.to_owned(), format!("r{number}"));
        let now = at(i64::try_from(number).expect("a small number"));
        let put = PolicyPut { document, replaces: None, revision, now, by: NOBODY.clone() };
        store.policy_put(&put).await.expect("an answer").expect("stored");
    }
    let newest = store.policy_list(i64::MAX, 2).await.expect("a list");
    let told: Vec<_> = newest.iter().map(|entry| (entry.id, entry.revision.as_deref(), entry.bytes)).collect();
    assert_eq!(told, [(3, Some("r2"), 7), (2, Some("r1"), 0)], "bytes, not letters");
    let oldest = store.policy_list(2, 10).await.expect("a list");
    assert_eq!((oldest.len(), oldest[0].id, oldest[0].created_at), (1, 1, at(0)));
    let found = store.policy_with(2).await.expect("an answer").expect("a document");
    assert_eq!((found.document.as_str(), found.revision.as_deref(), found.created_at), ("", Some("r1"), at(1)));
    assert_eq!(store.policy_find().await.expect("an answer").expect("a document").id, 3);
}

pub(super) async fn signatures_name_a_blob_first_by_their_layers_and_last_by_their_config(store: &dyn MetadataStore) {
    Image::new("by config").blob("b").blob("other").signature(1).push(store, "r", 0).await;
    Image::new("old").blob("b").push(store, "r", 0).await;
    Image::new("by both").blob("b").blob("b").signature(1).push(store, "r", 0).await;
    Image::new("new").blob("config").blob("b").push(store, "r", 0).await;
    Image::new("none").blob("config").push(store, "r", 0).await;
    let standing = store.trust_standing(&repo("r")).await.expect("an answer").expect("a repository");
    let named = |name: &str, is_signature, is_layer| NamingManifest { digest: digest(name), is_signature, is_layer };
    let wanted = [
        named("by both", true, true),
        named("new", false, true),
        named("old", false, false),
        named("by config", true, false),
    ];
    let naming =
        async |limit| store.manifests_naming(standing.repository, &digest("b"), limit).await.expect("an answer");
    assert_eq!(naming(10).await, wanted);
    assert_eq!(naming(3).await, wanted[..3]);
}
