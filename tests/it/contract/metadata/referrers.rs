//! Referrers: lists, and what the end of a subject means for them.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::ManifestDeleted;

use super::fixtures::{DAY, Image, delete, digest, has, key, repo, sweep, tag};

async fn list(
    store: &dyn MetadataStore,
    subject: &str,
    artifact_type: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Vec<String> {
    let found = store.referrer_list(&repo("r"), &digest(subject), artifact_type, after, limit).await.expect("a list");
    found.into_iter().map(|referrer| referrer.digest.to_string()).collect()
}

async fn names(store: &dyn MetadataStore, subject: &str) -> usize {
    list(store, subject, None, None, 100).await.len()
}

pub(super) async fn referrers_come_in_digest_order_and_pages(store: &dyn MetadataStore) {
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d"] {
        Image::new(name).subject("s").push(store, "r", 0).await;
        Image::new(name).subject("s").push(store, "other", 0).await;
        all.push(digest(name).to_string());
    }
    Image::new("e").subject("another").push(store, "r", 0).await;
    all.sort();
    assert_eq!(list(store, "s", None, None, 100).await, all);
    assert_eq!(list(store, "s", None, None, 3).await, all[..3]);
    assert_eq!(list(store, "s", None, Some(&all[2]), 3).await, all[3..]);
    let first = store.referrer_list(&repo("r"), &digest("another"), None, None, 1).await.expect("a list").remove(0);
    assert_eq!((first.descriptor.as_str(), first.artifact_type), (r#"{"name":"e"}"#, None));
}

pub(super) async fn referrers_are_filtered_by_type(store: &dyn MetadataStore) {
    Image::new("sbom").subject("s").artifact_type("application/sbom").push(store, "r", 0).await;
    Image::new("signature").subject("s").artifact_type("application/signature").push(store, "r", 0).await;
    Image::new("plain").subject("s").push(store, "r", 0).await;
    let sboms = list(store, "s", Some("application/sbom"), None, 10).await;
    assert_eq!(sboms, [digest("sbom").to_string()]);
    assert!(list(store, "s", Some("application/none"), None, 10).await.is_empty());
}

pub(super) async fn few_referrers_are_one_text(store: &dyn MetadataStore) {
    let (here, subject) = (repo("r"), digest("s"));
    let text = async |unless: &str, limit: u32| {
        store.referrers_text(&here, &subject, &tag(unless), limit).await.expect("a text")
    };
    assert_eq!(text("t", 1).await.as_deref(), Some(""), "no repository");
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        Image::new(name).subject("s").push(store, "r", 0).await;
        all.push((digest(name).to_string(), format!(r#"{{"name":"{name}"}}"#)));
    }
    Image::new("d").subject("another").tag("t").push(store, "r", 0).await;
    Image::new("e").subject("s").push(store, "other", 0).await;
    all.sort();
    let descriptors: Vec<String> = all.into_iter().map(|(_, descriptor)| descriptor).collect();
    assert_eq!(text("none", 3).await, Some(descriptors.join(",")));
    assert_eq!(text("none", 2).await, None, "there are more");
    assert_eq!(text("t", 3).await, None, "there is the tag");
}

pub(super) async fn a_referrer_may_come_before_its_subject(store: &dyn MetadataStore) {
    Image::new("signature").subject("s").push(store, "r", 0).await;
    assert_eq!(names(store, "s").await, 1);
    assert!(sweep(store, 100 * DAY).await.is_empty());
    assert!(has(store, "r", "signature").await, "its subject never came, so it never went");
}

pub(super) async fn referrers_of_a_deleted_subject_go_later(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    Image::new("signature").subject("s").blob("payload").push(store, "r", 0).await;
    assert!(matches!(delete(store, "r", "s", 10).await, ManifestDeleted::Deleted(_)));
    assert!(sweep(store, DAY + 9).await.is_empty());
    assert!(has(store, "r", "signature").await);
    assert_eq!(sweep(store, DAY + 10).await, [key("payload")]);
    assert!(!has(store, "r", "signature").await);
}

pub(super) async fn a_returning_subject_keeps_its_referrers(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    Image::new("signature").subject("s").push(store, "r", 0).await;
    delete(store, "r", "s", 10).await;
    Image::new("s").push(store, "r", 20).await;
    sweep(store, 10 * DAY).await;
    assert!(has(store, "r", "signature").await);
}

pub(super) async fn a_tagged_referrer_stays(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    Image::new("signature").subject("s").tag("kept").push(store, "r", 0).await;
    delete(store, "r", "s", 10).await;
    sweep(store, 10 * DAY).await;
    assert!(has(store, "r", "signature").await);
}

pub(super) async fn referrers_of_referrers_follow(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    Image::new("sbom").subject("s").push(store, "r", 0).await;
    Image::new("signature").subject("sbom").push(store, "r", 0).await;
    delete(store, "r", "s", 10).await;
    sweep(store, 2 * DAY).await;
    assert!(!has(store, "r", "sbom").await && !has(store, "r", "signature").await);
}

pub(super) async fn pushing_a_doomed_referrer_again_keeps_it(store: &dyn MetadataStore) {
    Image::new("s").push(store, "r", 0).await;
    Image::new("signature").subject("s").push(store, "r", 0).await;
    delete(store, "r", "s", 10).await;
    Image::new("signature").subject("s").push(store, "r", 20).await;
    sweep(store, 10 * DAY).await;
    assert!(has(store, "r", "signature").await);
}
