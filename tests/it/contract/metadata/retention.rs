//! What retention is told about manifests, and their end by rule; garbage, and what repositories take.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{
    Garbage, GarbageCursor, GarbageKind, ManifestFacts, ManifestRetire, ManifestsRetired, TotalUsage,
};

use super::fixtures::{DAY, Image, at, begin, blob_id, delete, digest, has, key, push_blob, repo, sweep, tag, tagged};
use crate::fixtures::NOBODY;

/// Facts about all manifests of `r`, read in pages of two, by the name of the manifest.
async fn facts(store: &dyn MetadataStore, name: &str) -> ManifestFacts {
    let mut after = None;
    loop {
        let page = store.manifest_facts(&repo("r"), after.as_ref(), 2).await.expect("a page");
        if let Some(found) = page.iter().find(|facts| facts.digest == digest(name)) {
            return found.clone();
        }
        after = page.last().map(|facts| facts.digest.clone());
        assert!(after.is_some(), "there is no manifest {name}");
    }
}

async fn retire(store: &dyn MetadataStore, manifests: &[ManifestFacts], now: i64) -> usize {
    let retire =
        ManifestRetire { repo: &repo("r"), manifests, referrers_until: at(now + DAY), now: at(now), by: &NOBODY };
    match store.manifest_retire(&retire).await.expect("an answer") {
        ManifestsRetired::Retired(gone) => gone.len(),
        ManifestsRetired::Busy => panic!("nobody else writes"),
    }
}

pub(super) async fn facts_tell_tags_and_times(store: &dyn MetadataStore) {
    Image::new("m").tag("b").tag("a").push(store, "r", 5).await;
    Image::new("m").tag("c").push(store, "r", 9).await;
    Image::new("other").push(store, "r", 7).await;
    let m = facts(store, "m").await;
    assert_eq!(m.tags, [tag("a"), tag("b"), tag("c")]);
    assert_eq!((m.tagged_at, m.untagged_since, m.pulled_at), (Some(at(9)), None, None));
    assert!(!m.held);
    let other = facts(store, "other").await;
    assert_eq!((other.tags, other.tagged_at, other.untagged_since), (Vec::new(), None, Some(at(7))));
    assert_eq!(other.pushed_at, at(7));
    assert_eq!(store.manifest_facts(&repo("none"), None, 2).await.expect("a page"), []);
}

pub(super) async fn facts_tell_what_is_held(store: &dyn MetadataStore) {
    Image::new("child").push(store, "r", 0).await;
    Image::new("index").child("child").tag("i").push(store, "r", 0).await;
    Image::new("referrer").subject("index").push(store, "r", 0).await;
    Image::new("early").subject("not there").push(store, "r", 0).await;
    Image::new("signature").tag(&format!("sha256-{}.sig", digest("index").hex())).push(store, "r", 0).await;
    Image::new("elsewhere").tag(&format!("sha256-{}.sig", digest("not there").hex())).push(store, "r", 0).await;
    Image::new("itself").tag(&format!("sha256-{}", digest("itself").hex())).push(store, "r", 0).await;
    for name in ["child", "referrer", "signature"] {
        assert!(facts(store, name).await.held, "{name}");
    }
    for name in ["index", "early", "elsewhere", "itself"] {
        assert!(!facts(store, name).await.held, "{name}");
    }
}

pub(super) async fn a_pull_is_written_down_once_an_hour(store: &dyn MetadataStore) {
    Image::new("child").push(store, "r", 0).await;
    Image::new("index").child("child").push(store, "r", 0).await;
    let id = facts(store, "child").await.id;
    let pulled = async |now: i64| {
        store.manifest_pulled(&[(id, at(now)), (i64::MAX, at(now))], at(now - 3600)).await.expect("written down");
        facts(store, "child").await.pulled_at
    };
    assert_eq!(pulled(10).await, Some(at(10)));
    assert_eq!(pulled(3609).await, Some(at(10)));
    assert_eq!(pulled(3610).await, Some(at(3610)));
    assert_eq!(facts(store, "index").await.pulled_at, Some(at(3610)), "whoever pulls a child uses the index");
    let found = store.manifest_find(&repo("r"), &bonded::oci::reference::Reference::Digest(digest("child"))).await;
    assert_eq!(found.expect("a look").expect("there").pulled_at, Some(at(3610)));
}

pub(super) async fn a_push_of_the_same_bytes_is_noticed_once_an_hour(store: &dyn MetadataStore) {
    Image::new("m").push(store, "r", 0).await;
    Image::new("m").push(store, "r", 3599).await;
    assert_eq!(facts(store, "m").await.pushed_at, at(0));
    Image::new("m").push(store, "r", 3600).await;
    assert_eq!(facts(store, "m").await.pushed_at, at(3600));
}

pub(super) async fn a_retired_manifest_goes_as_by_a_delete(store: &dyn MetadataStore) {
    Image::new("m").blob("b").tag("v1").tag("v2").push(store, "r", 0).await;
    Image::new("stays").blob("b").blob("c").push(store, "r", 0).await;
    Image::new("alone").blob("a").push(store, "r", 0).await;
    Image::new("referrer").subject("m").push(store, "r", 0).await;
    let found = [facts(store, "m").await, facts(store, "alone").await];
    let ids: Vec<i64> = found.iter().map(|facts| facts.id).collect();
    assert_eq!(store.manifest_bytes_alone(&repo("r"), &ids).await.expect("a sum"), 1);
    assert_eq!(retire(store, &found, 10).await, 2);
    assert_eq!(tagged(store, "r", "v1").await, None);
    assert!(!has(store, "r", "m").await && has(store, "r", "stays").await);
    assert_eq!(sweep(store, 10 + DAY - 1).await, [key("a")]);
    assert!(has(store, "r", "referrer").await);
    sweep(store, 10 + DAY).await;
    assert!(!has(store, "r", "referrer").await);
    assert_eq!(retire(store, &found, 20).await, 0, "once is enough");
}

pub(super) async fn a_manifest_whose_facts_have_changed_stays(store: &dyn MetadataStore) {
    let change = async |name: &str| match name {
        "tagged" => Image::new(name).tag("new").push(store, "r", 10).await,
        "retagged" => Image::new("another").tag("old").push(store, "r", 10).await,
        "pushed" => Image::new(name).tag("p").push(store, "r", 7200).await,
        "pulled" => {
            let id = facts(store, name).await.id;
            store.manifest_pulled(&[(id, at(10))], at(0)).await.expect("written down");
        }
        "listed" => Image::new("index").child(name).push(store, "r", 10).await,
        "referring" => Image::new("subject").push(store, "r", 10).await,
        other => panic!("{other}"),
    };
    for name in ["tagged", "retagged", "pushed", "pulled", "listed", "referring"] {
        let image = Image::new(name);
        let image = if name == "retagged" { image.tag("old") } else { image };
        let image = if name == "pushed" { image.tag("p") } else { image };
        let image = if name == "referring" { image.subject("subject") } else { image };
        image.push(store, "r", 0).await;
        let before = facts(store, name).await;
        change(name).await;
        assert_eq!(retire(store, std::slice::from_ref(&before), 20).await, 0, "{name}");
        assert!(has(store, "r", name).await, "{name}");
        let now = facts(store, name).await;
        assert_ne!(now, before, "{name}");
    }
}

pub(super) async fn what_an_index_listed_is_untagged_from_its_end_on(store: &dyn MetadataStore) {
    Image::new("child").push(store, "r", 0).await;
    Image::new("tagged child").tag("t").push(store, "r", 0).await;
    Image::new("index").child("child").child("tagged child").push(store, "r", 0).await;
    delete(store, "r", "index", 50).await;
    assert_eq!(facts(store, "child").await.untagged_since, Some(at(50)));
    assert_eq!(facts(store, "tagged child").await.untagged_since, None);
}

pub(super) async fn usage_counts_a_blob_once(store: &dyn MetadataStore) {
    Image::new("m").blob("shared").blob("own one").push(store, "one", 0).await;
    Image::new("n").blob("shared").push(store, "one", 0).await;
    Image::new("m").blob("shared").push(store, "two", 0).await;
    begin(store, "three", 1, 0).await;
    let ids = store.repository_ids(None, 2).await.expect("names");
    assert_eq!(ids.iter().map(|(repo, _)| repo.as_str()).collect::<Vec<_>>(), ["one", "three"]);
    let rest = store.repository_ids(Some("three"), 2).await.expect("names");
    assert_eq!(rest.len(), 1);
    let ids: Vec<i64> = ids.into_iter().chain(rest).map(|(_, id)| id).collect();
    let usage = store.repository_usage(&ids).await.expect("usage");
    let numbers: Vec<_> = usage
        .iter()
        .map(|usage| (usage.repo.as_str(), usage.manifests, usage.blobs, usage.bytes, usage.shared_bytes))
        .collect();
    assert_eq!(numbers, [("one", 2, 2, 13, 6), ("three", 0, 0, 0, 0), ("two", 1, 1, 6, 6)]);
    let all = TotalUsage { blobs: 2, bytes: 13 };
    assert_eq!(store.total_usage(None).await.expect("usage"), all);
    assert_eq!(store.total_usage(Some(&ids)).await.expect("usage"), all);
    assert_eq!(store.total_usage(Some(&ids[2..])).await.expect("usage"), TotalUsage { blobs: 1, bytes: 6 });
    assert_eq!(store.total_usage(Some(&[])).await.expect("usage"), TotalUsage::default());
}

/// All garbage of a kind, read in pages of one.
async fn garbage(store: &dyn MetadataStore, kind: GarbageKind, now: i64) -> Vec<Garbage> {
    let (mut after, mut all) = (GarbageCursor::default(), Vec::new());
    loop {
        let page = store.garbage_list(kind, at(now), &after, 1).await.expect("a page");
        let Some(last) = page.last() else { return all };
        after = last.cursor.clone();
        all.extend(page);
    }
}

pub(super) async fn garbage_is_listed_as_it_would_be_collected(store: &dyn MetadataStore) {
    Image::new("m").blob("named").tag("t").push(store, "r", 0).await;
    Image::new("subject").push(store, "r", 0).await;
    Image::new("referrer").subject("subject").push(store, "r", 0).await;
    delete(store, "r", "subject", 0).await;
    for text in ["first", "second"] {
        push_blob(store, "r", text, 0).await;
    }
    push_blob(store, "other", "second", 0).await;
    begin(store, "r", 1, 0).await;
    begin(store, "r", 2, 5).await;
    let names = async |kind, now| {
        let found = garbage(store, kind, now).await;
        found.into_iter().map(|garbage| (garbage.name, garbage.bytes)).collect::<Vec<_>>()
    };
    for kind in [GarbageKind::Session, GarbageKind::Referrer, GarbageKind::Membership, GarbageKind::Blob] {
        assert_eq!(garbage(store, kind, DAY - 1).await, [], "{kind:?}");
    }
    assert_eq!(garbage(store, GarbageKind::Session, DAY).await.len(), 1);
    assert_eq!(garbage(store, GarbageKind::Session, DAY + 5).await.len(), 2);
    assert_eq!(names(GarbageKind::Referrer, DAY).await, [(digest("referrer").to_string(), 8)]);
    let ending = names(GarbageKind::Membership, DAY).await;
    let (first, second) = (digest("first").to_string(), digest("second").to_string());
    assert_eq!(ending, [(first.clone(), 5), (second.clone(), 0), (second.clone(), 0)]);
    let id = blob_id(store, "r", "first").await;
    store.membership_collect(at(DAY), 10).await.expect("a pass");
    assert_eq!(names(GarbageKind::Blob, DAY).await, [(first, 5), (second, 6)]);
    assert_eq!(garbage(store, GarbageKind::Blob, DAY).await[0].cursor.ids.0, id.0);
    store.blob_collect(at(DAY), at(DAY), 10).await.expect("a pass");
    let mut keys = [(key("first").to_string(), 5), (key("second").to_string(), 6)];
    keys.sort();
    assert_eq!(names(GarbageKind::Object, 0).await, keys);
}
