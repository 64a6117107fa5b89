//! What every database must do with downloads.

use std::time::Duration;

use bonded::clock::Timestamp;
use bonded::metadata::MetadataStore;
use bonded::metadata::model::downloads::Download;
use bonded::oci::digest::{Algorithm, Digest};
use bonded::oci::name::RepoName;
use futures_util::future::join_all;

const NOON: Timestamp = Timestamp::from_micros(1_700_006_400_000_000);

fn repo(name: &str) -> RepoName {
    name.parse().expect("a name")
}

fn download(name: &str, actor: Option<&str>) -> Download {
    Download {
        hour: NOON,
        repo: repo(name),
        digest: Digest::of(Algorithm::Sha256, b"manifest"),
        actor: actor.map(str::to_owned),
        address: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
    }
}

async fn listed(store: &dyn MetadataStore, name: &str) -> Vec<(Download, u64)> {
    let listed = store.download_list(&repo(name), i64::MAX, 1_000).await.expect("a list");
    listed.into_iter().map(|record| (record.download, record.pulls)).collect()
}

async fn what_is_counted_again_is_added(store: &dyn MetadataStore) {
    let (ann, nobody) = (download("a/b", Some("ann")), Download { address: None, ..download("a/b", None) });
    let later = Download { hour: NOON.after(Duration::from_hours(1)), ..ann.clone() };
    store.download_add(&[(nobody.clone(), 1), (ann.clone(), 2)]).await.expect("counted");
    store.download_add(&[(ann.clone(), 3), (later.clone(), 1), (download("a/c", None), 9)]).await.expect("counted");
    assert_eq!(listed(store, "a/b").await, [(later, 1), (ann, 5), (nobody, 1)], "the newest row first");
    assert_eq!(listed(store, "a").await, []);
}

async fn a_list_goes_on_before_a_row(store: &dyn MetadataStore) {
    let all: Vec<(Download, u64)> = (0..7).map(|n| (download("a/b", Some(&format!("u{n}"))), n + 1)).collect();
    store.download_add(&all).await.expect("counted");
    let (mut before, mut read) = (i64::MAX, Vec::new());
    loop {
        let page = store.download_list(&repo("a/b"), before, 3).await.expect("a list");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        before = last.id;
        read.extend(page.into_iter().map(|record| (record.download, record.pulls)));
    }
    read.sort();
    assert_eq!(read, all);
}

async fn old_hours_are_forgotten_some_at_a_time(store: &dyn MetadataStore) {
    let hour = |n: u64| Download { hour: NOON.after(Duration::from_hours(n)), ..download("a/b", None) };
    let all: Vec<(Download, u64)> = (0..5).map(|n| (hour(n), 1)).collect();
    store.download_add(&all).await.expect("counted");
    let before = NOON.after(Duration::from_hours(3));
    for expected in [2, 1, 0] {
        assert_eq!(store.download_forget(before, 2).await.expect("forgotten"), expected);
    }
    assert_eq!(listed(store, "a/b").await, [(hour(4), 1), (hour(3), 1)]);
}

async fn nodes_that_count_the_same_at_once_lose_nothing(store: &dyn MetadataStore) {
    let all: Vec<(Download, u64)> = (0..20).map(|n| (download("a/b", Some(&format!("u{n:02}"))), 1)).collect();
    let adds = (0..8).map(|_| store.download_add(&all));
    assert!(join_all(adds).await.into_iter().all(|added| added.is_ok()));
    let counts: Vec<u64> = listed(store, "a/b").await.into_iter().map(|(_, pulls)| pulls).collect();
    assert_eq!(counts, [8; 20]);
}

super::on_both! {
    what_is_counted_again_is_added
    a_list_goes_on_before_a_row
    old_hours_are_forgotten_some_at_a_time
    nodes_that_count_the_same_at_once_lose_nothing
}
