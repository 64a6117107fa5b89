//! Rules that delete, and everything that they must leave alone.

use std::sync::Arc;
use std::time::Duration;

use bonded::metadata::model::Precondition;
use bonded::oci::digest::Digest;
use bonded::oci::glob::{ImmutableTags, RepoGlobs, TagGlobs};
use bonded::oci::name::RepoName;
use bonded::oci::reference::Reference;
use bonded::registry::retention::{Retention, RetentionRule};
use bonded::registry::{Candidate, PageRequest, Purge, PutManifest, RegistryOptions};
use bonded::storage::memory::MemoryStore;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Database, Fixture, bytes, repo};
use crate::fixtures::NOBODY;

const DAY: Duration = Duration::from_hours(24);

fn everywhere() -> RetentionRule {
    RetentionRule { repositories: RepoGlobs::parse(&["**"]).expect("globs"), ..RetentionRule::default() }
}

async fn fixture(rules: Vec<RetentionRule>, change: impl FnOnce(&mut RegistryOptions)) -> Fixture {
    fixture_on(Database::sqlite(), rules, change).await
}

async fn fixture_on(
    database: Database,
    rules: Vec<RetentionRule>,
    change: impl FnOnce(&mut RegistryOptions),
) -> Fixture {
    let retention = Retention { rules: rules.into_iter().map(Arc::new).collect(), ..Retention::default() };
    Fixture::on(database, Arc::new(MemoryStore::new()), |options| {
        options.retention = retention;
        change(options);
    })
    .await
}

/// Stores a manifest without blobs under a tag, or under its digest only.
async fn put(app: &Fixture, repo: &RepoName, tag: Option<&str>, document: Value) -> Digest {
    let payload = Bytes::from(document.to_string());
    let by_digest = || Reference::Digest(super::digest(&payload));
    let reference = tag.map_or_else(by_digest, |tag| Reference::Tag(tag.parse().expect("a tag")));
    let put = PutManifest {
        reference,
        tags: Vec::new(),
        content_type: None,
        payload: payload.clone(),
        precondition: Precondition::None,
    };
    app.registry.put_manifest(repo, put, &NOBODY).await.expect("stored").digest
}

/// An index of manifests, which are all taken to have the same length.
fn index(children: &[&Digest], size: usize) -> Value {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let child = |digest: &&Digest| json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": children.iter().map(child).collect::<Vec<_>>(),
    })
}

/// A manifest that says no more than its name, about a subject if there is one.
fn note(name: &str, subject: Option<&Digest>) -> Value {
    let mut index = index(&[], 0);
    index["annotations"] = json!({ "name": name });
    if let Some(subject) = subject {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        index["subject"] = json!({"mediaType": media_type, "digest": subject.to_string(), "size": 1});
    }
    index
}

async fn has(app: &Fixture, repo: &RepoName, digest: &Digest) -> bool {
    app.registry.find_manifest(repo, &Reference::Digest(digest.clone())).await.is_ok()
}

/// Tags of a repository; none when it has no manifest any more.
async fn tags(app: &Fixture, repo: &RepoName) -> Vec<String> {
    let page = app.registry.list_tags(repo, &PageRequest::default()).await;
    page.map(|page| page.entries.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[tokio::test]
async fn the_last_images_stay_and_the_bytes_of_the_others_go() {
    let app = fixture(vec![RetentionRule { keep_last: Some(2), ..everywhere() }], |_| {}).await;
    let repo = repo("ci/app");
    for n in 0..5_u8 {
        app.push_image(&repo, &format!("build-{n}"), &bytes(n, 50_000)).await;
        app.advance(Duration::from_hours(1));
    }
    app.registry.retain_now().await.expect("a pass");
    assert_eq!(tags(&app, &repo).await.len(), 5, "nothing younger than a day goes");
    app.advance(DAY);
    app.registry.retain_now().await.expect("a pass");
    app.sweep().await;
    assert_eq!(tags(&app, &repo).await, ["build-3", "build-4"]);
    assert_eq!(app.objects().await.len(), 2);
    assert_eq!(app.registry.collector_stats().retired.into_iter().collect::<Vec<_>>(), [(Some(1), 3)]);
}

#[tokio::test]
async fn untagged_ones_go_but_not_what_an_index_lists_until_the_index_goes() {
    let app = fixture(Vec::new(), |options| options.retention.untagged = Some(DAY * 7)).await;
    let repo = repo("a");
    let (child, alone) = (note("child", None), note("alone", None));
    let size = child.to_string().len();
    let (child, alone) = (put(&app, &repo, None, child).await, put(&app, &repo, None, alone).await);
    let parent = put(&app, &repo, Some("v1"), index(&[&child], size)).await;
    app.advance(DAY * 8);
    app.registry.retain_now().await.expect("a pass");
    assert!(!has(&app, &repo, &alone).await);
    assert!(has(&app, &repo, &child).await && has(&app, &repo, &parent).await);
    app.registry.delete_manifest(&repo, &"v1".parse().expect("a tag"), Purge::Later, &NOBODY).await.expect("deleted");
    app.advance(DAY * 7);
    app.registry.retain_now().await.expect("a pass");
    assert!(!has(&app, &repo, &parent).await);
    assert!(has(&app, &repo, &child).await, "its own time begins now");
    app.advance(DAY * 7);
    app.registry.retain_now().await.expect("a pass");
    assert!(!has(&app, &repo, &child).await);
}

#[tokio::test]
async fn referrers_stay_with_their_subject_and_follow_it() {
    let strict = RetentionRule { keep_last: Some(1), untagged_after: Some(DAY), ..everywhere() };
    let app = fixture(vec![strict], |_| {}).await;
    let repo = repo("a");
    let subject = put(&app, &repo, Some("old"), note("old", None)).await;
    let referrer = put(&app, &repo, None, note("referrer", Some(&subject))).await;
    let signature = format!("sha256-{}.sig", subject.hex());
    let signature = put(&app, &repo, Some(&signature), note("signature", None)).await;
    app.advance(DAY * 2);
    app.registry.retain_now().await.expect("a pass");
    assert!(has(&app, &repo, &subject).await, "a signature by tag does not count as an image");
    assert!(has(&app, &repo, &referrer).await && has(&app, &repo, &signature).await);
    put(&app, &repo, Some("new"), note("new", None)).await;
    app.registry.retain_now().await.expect("a pass");
    assert!(!has(&app, &repo, &subject).await);
    app.sweep().await;
    assert!(has(&app, &repo, &referrer).await, "the subject may come back within a day");
    app.advance(DAY);
    app.sweep().await;
    app.registry.retain_now().await.expect("a pass");
    assert!(!has(&app, &repo, &referrer).await && !has(&app, &repo, &signature).await);
}

#[tokio::test]
async fn immutable_and_kept_tags_stay() {
    let keep_tags = TagGlobs::parse(&["latest"]).expect("globs");
    let rule = RetentionRule { keep_last: Some(1), not_pulled_for: Some(DAY), keep_tags, ..everywhere() };
    let immutable = |options: &mut RegistryOptions| {
        options.immutable_tags = ImmutableTags::parse(&["**:v*"]).expect("rules");
    };
    let app = fixture(vec![rule], immutable).await;
    let repo = repo("a");
    for tag in ["latest", "v1", "a", "b"] {
        put(&app, &repo, Some(tag), note(tag, None)).await;
        app.advance(Duration::from_mins(1));
    }
    app.advance(DAY * 100);
    app.registry.retain_now().await.expect("a pass");
    assert_eq!(tags(&app, &repo).await, ["b", "latest", "v1"]);
}

#[tokio::test]
async fn what_is_pulled_stays() {
    let app = fixture(vec![RetentionRule { not_pulled_for: Some(DAY * 10), ..everywhere() }], |_| {}).await;
    let repo = repo("a");
    let child = note("child", None);
    let size = child.to_string().len();
    let child = put(&app, &repo, None, child).await;
    put(&app, &repo, Some("by-child"), index(&[&child], size)).await;
    for tag in ["pulled", "idle"] {
        put(&app, &repo, Some(tag), note(tag, None)).await;
    }
    let pushed_again = note("again", None);
    put(&app, &repo, Some("again"), pushed_again.clone()).await;
    app.advance(DAY * 9);
    app.registry.find_manifest(&repo, &"pulled".parse().expect("a tag")).await.expect("there");
    assert!(has(&app, &repo, &child).await);
    app.registry.flush_pulls().await.expect("written down");
    put(&app, &repo, Some("again"), pushed_again).await;
    app.advance(DAY * 2);
    app.registry.retain_now().await.expect("a pass");
    assert_eq!(tags(&app, &repo).await, ["again", "by-child", "pulled"]);
    app.advance(DAY * 10);
    app.registry.retain_now().await.expect("a pass");
    assert!(tags(&app, &repo).await.is_empty());
}

#[tokio::test]
async fn a_pass_runs_once_an_interval_and_in_slices() {
    let app = fixture(vec![RetentionRule { keep_last: Some(1), ..everywhere() }], |_| {}).await;
    for n in 0..30 {
        for tag in ["a", "b"] {
            put(&app, &repo(&format!("r{n}")), Some(tag), note(&format!("{n} {tag}"), None)).await;
            app.advance(Duration::from_secs(1));
        }
    }
    assert!(app.registry.retain().await.expect("a slice"), "there is more to do");
    while app.registry.retain().await.expect("a slice") {}
    app.advance(DAY);
    while app.registry.retain().await.expect("a slice") {}
    assert_eq!(app.registry.collector_stats().retired.get(&Some(1)), Some(&30));
    put(&app, &repo("r0"), Some("c"), note("c", None)).await;
    app.advance(Duration::from_mins(59));
    assert!(!app.registry.retain().await.expect("nothing is due"));
    assert_eq!(tags(&app, &repo("r0")).await, ["b", "c"]);
    app.advance(Duration::from_mins(1));
    while app.registry.retain().await.expect("a slice") {}
    assert_eq!(tags(&app, &repo("r0")).await, ["c"]);
}

#[tokio::test]
async fn retention_against_retag() {
    against_retag(Database::sqlite()).await;
}

#[tokio::test]
async fn retention_against_retag_on_postgres() {
    against_retag(Database::postgres()).await;
}

async fn against_retag(database: Database) {
    let app = fixture_on(database, vec![RetentionRule { keep_last: Some(1), ..everywhere() }], |_| {}).await;
    let repo = repo("a");
    let documents: Vec<Value> = (0..8).map(|n| note(&format!("{n}"), None)).collect();
    for round in 0..10 {
        for (n, document) in documents.iter().enumerate() {
            put(&app, &repo, Some(&format!("t{n}")), document.clone()).await;
            app.advance(Duration::from_secs(1));
        }
        app.advance(DAY * 2);
        // Every old image gets another tag while a pass is deciding about it.
        let retag = async {
            for (n, document) in documents.iter().enumerate() {
                put(&app, &repo, Some(&format!("again-{round}-{n}")), document.clone()).await;
                tokio::task::yield_now().await;
            }
        };
        let (retained, ()) = tokio::join!(app.registry.retain_now(), retag);
        retained.expect("a pass");
        for n in 0..documents.len() {
            let tag = format!("again-{round}-{n}").parse().expect("a tag");
            app.registry.find_manifest(&repo, &tag).await.expect("an acknowledged tag is there");
        }
    }
}

#[tokio::test]
async fn several_nodes_collect_at_once() {
    at_once(Database::sqlite()).await;
}

#[tokio::test]
async fn several_nodes_collect_at_once_on_postgres() {
    at_once(Database::postgres()).await;
}

async fn at_once(database: Database) {
    let rule = RetentionRule { keep_last: Some(2), ..everywhere() };
    let app = fixture_on(database, vec![rule], |_| {}).await;
    let shared = bytes(99, 60_000);
    for n in 0..12_u8 {
        for name in ["x", "y"] {
            app.push_image(&repo(name), &format!("{n}"), &bytes(n, 50_000)).await;
            app.push_image(&repo(name), &format!("shared-{n}"), &shared).await;
        }
        app.advance(Duration::from_mins(1));
    }
    app.advance(DAY * 2);
    let nodes = [app.another().await, app.another().await, app.another().await];
    let collect = async |registry: &bonded::registry::Registry| {
        for _ in 0..3 {
            registry.retain_now().await.expect("a pass");
            while registry.sweep().await.expect("a sweep") {}
        }
        registry.collector_stats()
    };
    let (one, two, three) = tokio::join!(collect(&nodes[0]), collect(&nodes[1]), collect(&nodes[2]));
    let stats = [one, two, three];
    let retired: u64 = stats.iter().filter_map(|stats| stats.retired.get(&Some(1))).sum();
    assert_eq!(retired, 2 * 22, "each manifest is taken once");
    assert_eq!(stats.iter().map(|stats| stats.blobs).sum::<u64>(), 11, "each blob is collected once");
    for name in ["x", "y"] {
        assert_eq!(app.read(&repo(name), &super::digest(&shared)).await, shared);
        assert_eq!(app.read(&repo(name), &super::digest(&bytes(11, 50_000))).await, bytes(11, 50_000));
    }
    app.advance(Duration::from_hours(1));
    app.sweep().await;
    assert_eq!(app.objects().await.len(), 2, "nothing is left behind");
}

#[tokio::test]
async fn a_preview_says_what_would_go_and_changes_nothing() {
    let app = fixture(vec![RetentionRule { keep_last: Some(1), ..everywhere() }], |_| {}).await;
    let repo = repo("a");
    app.push_image(&repo, "old", &bytes(1, 50_000)).await;
    app.advance(Duration::from_secs(1));
    app.push_image(&repo, "new", &bytes(2, 40_000)).await;
    app.push(&repo, &bytes(3, 30_000)).await;
    app.advance(DAY * 2);
    let preview = async || {
        let mut found = Vec::new();
        app.registry.preview_collection(&mut |candidate| found.push(candidate)).await.expect("a preview");
        found
    };
    let found = preview().await;
    let memberships: Vec<u64> = found
        .iter()
        .filter_map(|candidate| match candidate {
            Candidate::Garbage(garbage) => Some(garbage.bytes),
            _ => None,
        })
        .collect();
    assert_eq!(memberships, [30_000]);
    assert!(found.iter().any(|candidate| matches!(candidate,
        Candidate::Manifest { victim, .. } if victim.facts.tags == ["old".parse().expect("a tag")])));
    assert!(found.iter().any(|candidate| matches!(candidate, Candidate::Blobs { bytes: 50_000, .. })));
    assert_eq!(preview().await, found, "nothing has changed");
    app.registry.retain_now().await.expect("a pass");
    app.sweep().await;
    assert_eq!(preview().await, []);
    assert_eq!(app.objects().await.len(), 1);
}

#[tokio::test]
async fn usage_is_shared_and_own() {
    let app = Fixture::new().await;
    let shared = bytes(1, 50_000);
    app.push_image(&repo("team/one"), "a", &shared).await;
    app.push_image(&repo("team/one"), "b", &bytes(2, 10_000)).await;
    app.push_image(&repo("team/two"), "a", &shared).await;
    let measure = async |glob: Option<&str>| {
        let glob = glob.map(|glob| bonded::oci::glob::RepoGlob::parse(glob).expect("a glob"));
        let mut usage = Vec::new();
        let total = app.registry.measure_usage(glob.as_ref(), &mut |repo| usage.push(repo)).await.expect("measured");
        let usage = usage.into_iter().map(|usage| (usage.repo.to_string(), usage.bytes, usage.shared_bytes));
        (usage.collect::<Vec<_>>(), total.blobs, total.bytes)
    };
    let one = ("team/one".to_owned(), 60_002, 50_002);
    let two = ("team/two".to_owned(), 50_002, 50_002);
    assert_eq!(measure(None).await, (vec![one, two.clone()], 3, 60_002));
    assert_eq!(measure(Some("*/two")).await, (vec![two], 2, 50_002));
    assert_eq!(measure(Some("none")).await, (Vec::new(), 0, 0));
}
