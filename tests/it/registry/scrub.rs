//! Reading everything again: how fast, by whom, and what counts as damage.

use std::sync::Arc;
use std::time::Duration;

use bonded::metadata::model::StoreCounts;
use bonded::oci::digest::Digest;
use bonded::registry::{Purge, Registry, RegistryError, ScrubOptions, ScrubStats};
use bonded::storage::layers::{Fault, Faulty, Moment, Operation};
use bonded::storage::memory::MemoryStore;
use bonded::storage::{BlobStore, Key};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::{Fixture, bytes, repo};
use crate::fixtures::NOBODY;

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_hours(30 * 24);

async fn fixture(store: Arc<dyn BlobStore>, rate: u64) -> Fixture {
    let scrub = ScrubOptions { rate, every: MONTH };
    Fixture::with(store, |options| options.scrub = scrub).await
}

/// A store with two objects, of which the one that a pass reads first gives no byte any more.
async fn one_is_unreadable(fault: Fault) -> (Arc<Faulty>, Fixture, Digest, Key) {
    let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
    let app = fixture(store.clone(), 1 << 20).await;
    let digest = app.push(&repo("a"), &bytes(20, 100_000)).await;
    let key = app.objects().await.remove(0).key;
    store.fail_object(&key, Some(fault));
    app.push(&repo("a"), &bytes(21, 50_000)).await;
    (store, app, digest, key)
}

/// What a second allows.
async fn second(app: &Fixture, registry: &Registry) -> Result<ScrubStats, RegistryError> {
    app.advance(SECOND);
    registry.scrub().await?;
    Ok(registry.scrub_stats())
}

/// A whole pass, for which some seconds are ample.
async fn pass(app: &Fixture) -> ScrubStats {
    app.advance(MONTH);
    for _ in 0..3 {
        second(app, &app.registry).await.expect("read");
    }
    app.registry.scrub_stats()
}

async fn counts(app: &Fixture) -> StoreCounts {
    app.registry.store_counts().await.expect("numbers")
}

fn read(objects: u64, bytes: u64) -> ScrubStats {
    ScrubStats { objects, bytes, ..ScrubStats::default() }
}

#[tokio::test]
async fn a_large_object_is_read_at_the_rate_that_was_set() {
    let app = fixture(Arc::new(MemoryStore::new()), 100_000).await;
    app.push(&repo("a"), &bytes(1, 350_000)).await;
    for (objects, bytes) in [(0, 0), (0, 100_000), (0, 200_000), (0, 300_000), (1, 350_000), (1, 350_000)] {
        assert_eq!(second(&app, &app.registry).await.expect("read"), read(objects, bytes));
    }
    // Hours without reading are not made up for at once.
    app.advance(MONTH);
    app.registry.scrub().await.expect("begun");
    app.advance(Duration::from_hours(5));
    app.registry.scrub().await.expect("read");
    assert_eq!(app.registry.scrub_stats(), read(1, 550_000));
}

#[tokio::test]
async fn everything_is_read_once_in_a_while_and_what_is_new_is_not() {
    let app = fixture(Arc::new(MemoryStore::new()), 1 << 20).await;
    let image = app.push_image(&repo("a"), "v1", &bytes(2, 50_000)).await;
    assert_eq!(pass(&app).await.objects, 3, "config, layer and manifest {image}");
    let before = app.registry.scrub_stats();
    for _ in 0..20 {
        app.advance(MONTH / 21);
        assert_eq!(second(&app, &app.registry).await.expect("idle"), before, "not before it is due");
    }
    app.advance(MONTH / 20);
    app.registry.scrub().await.expect("begun");
    app.push(&repo("a"), &bytes(3, 50_000)).await;
    second(&app, &app.registry).await.expect("read");
    assert_eq!(app.registry.scrub_stats().objects, 6, "what came since was hashed on its way in");
}

#[tokio::test]
async fn a_rate_of_zero_reads_nothing() {
    let app = fixture(Arc::new(MemoryStore::new()), 0).await;
    app.push(&repo("a"), &bytes(4, 50_000)).await;
    assert_eq!(pass(&app).await, ScrubStats::default());
}

#[tokio::test]
async fn a_restart_goes_on_where_the_pass_was() {
    let app = fixture(Arc::new(MemoryStore::new()), 5_000).await;
    for seed in 0..30 {
        app.push(&repo("a"), &bytes(seed, 5_000)).await;
    }
    for _ in 0..21 {
        second(&app, &app.registry).await.expect("read");
    }
    assert_eq!(app.registry.scrub_stats().objects, 20);
    let restarted = app.another().await;
    for _ in 0..40 {
        second(&app, &restarted).await.expect("read");
    }
    let again = restarted.scrub_stats().objects;
    assert!((10..=26).contains(&again), "{again} of 30 were read after the restart");
}

#[tokio::test]
async fn one_node_reads_for_all_and_another_goes_on_when_it_is_gone() {
    let app = fixture(Arc::new(MemoryStore::new()), 5_000).await;
    for seed in 0..40 {
        app.push(&repo("a"), &bytes(seed, 5_000)).await;
    }
    let other = app.another_node("other").await;
    for _ in 0..21 {
        second(&app, &app.registry).await.expect("read");
        assert_eq!(other.scrub().await.map(|()| other.scrub_stats()).expect("idle"), ScrubStats::default());
    }
    // From here on the first one is silent.
    for _ in 0..120 {
        second(&app, &other).await.expect("read");
    }
    let (first, second) = (app.registry.scrub_stats().objects, other.scrub_stats().objects);
    assert!(first == 20 && (20..=36).contains(&second), "{first} and {second} of 40");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_damage() {
    for fault in [Fault::Unavailable, Fault::Other, Fault::Denied, Fault::Cut] {
        let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
        let app = fixture(store.clone(), 40_000).await;
        app.push(&repo("a"), &bytes(5, 100_000)).await;
        for _ in 0..2 {
            second(&app, &app.registry).await.expect("read");
        }
        store.fail(Operation::Read, 1, Moment::Before, fault);
        let failed = second(&app, &app.registry).await;
        assert!(failed.is_err(), "{fault:?}: {failed:?}");
        for _ in 0..3 {
            second(&app, &app.registry).await.expect("it goes on");
        }
        assert_eq!(app.registry.scrub_stats(), read(1, 100_000), "{fault:?}: no byte was read twice");
        assert_eq!(counts(&app).await.damaged_blobs, 0, "{fault:?}");
    }
}

/// A bad sector, and an object that this server may not read.
#[tokio::test]
async fn an_object_that_cannot_be_read_does_not_hold_a_pass_up() {
    for (fault, damaged, unread) in [(Fault::Unreadable, 1, 0), (Fault::Denied, 0, 1), (Fault::Other, 0, 1)] {
        let (store, app, digest, key) = one_is_unreadable(fault).await;
        app.advance(MONTH);
        app.registry.scrub().await.expect("begun");
        for attempt in 1..8 {
            let failed = second(&app, &app.registry).await;
            assert!(failed.is_err(), "{fault:?}: try {attempt}");
            assert_eq!(counts(&app).await.damaged_blobs, 0, "{fault:?}: try {attempt}");
        }
        for _ in 0..2 {
            second(&app, &app.registry).await.expect("it goes on");
        }
        let objects = 1 + damaged;
        let expected = ScrubStats { objects, bytes: 50_000, found: damaged, unread };
        assert_eq!(app.registry.scrub_stats(), expected, "{fault:?}");
        assert_eq!(counts(&app).await.damaged_blobs, damaged, "{fault:?}");
        let pull = app.registry.open_blob(&repo("a"), &digest).await;
        assert_eq!(matches!(pull, Err(RegistryError::BlobDamaged(_))), damaged == 1, "{fault:?}: {pull:?}");
        // The next pass tries it again.
        store.fail_object(&key, None);
        let objects = objects + 1 + unread;
        assert_eq!(pass(&app).await.objects, objects, "{fault:?}");
    }
}

#[tokio::test]
async fn tries_count_for_a_node_that_lost_its_turn_meanwhile() {
    let (_store, app, ..) = one_is_unreadable(Fault::Unreadable).await;
    let other = app.another_node("other").await;
    app.advance(MONTH);
    let mut failures = 0;
    for _ in 0..8 {
        for registry in [&app.registry, &other] {
            // Longer than a lease: who comes next takes the pass, and the other one has lost his turn when he comes again.
            app.advance(Duration::from_mins(2));
            for _ in 0..3 {
                failures += u32::from(second(&app, registry).await.is_err());
            }
        }
    }
    assert!((8..16).contains(&failures), "{failures}");
    assert_eq!(counts(&app).await.damaged_blobs, 1);
}

#[tokio::test]
async fn a_store_that_gives_no_byte_at_all_is_waited_for() {
    for fault in [Fault::Unreadable, Fault::Other, Fault::Unavailable] {
        let (store, app, ..) = one_is_unreadable(fault).await;
        let fail_all = async |fault| {
            for object in app.objects().await {
                store.fail_object(&object.key, fault);
            }
        };
        fail_all(Some(fault)).await;
        app.advance(MONTH);
        app.registry.scrub().await.expect("begun");
        for attempt in 1..20 {
            let failed = second(&app, &app.registry).await;
            assert!(failed.is_err(), "{fault:?}: try {attempt}");
        }
        fail_all(None).await;
        second(&app, &app.registry).await.expect("it is back");
        let whole = ScrubStats { objects: 2, bytes: 150_000, ..ScrubStats::default() };
        assert_eq!(app.registry.scrub_stats(), whole, "{fault:?}");
        assert_eq!(counts(&app).await.damaged_blobs, 0, "{fault:?}");
    }
}

/// A folder that is not mounted, or another bucket: whatever is asked for is missing.
#[tokio::test]
async fn a_pull_from_a_store_that_has_nothing_marks_nothing() {
    let app = fixture(Arc::new(MemoryStore::new()), 1 << 20).await;
    let repo = repo("a");
    let data: Vec<_> = (0..3).map(|seed| bytes(30 + seed, 50_000)).collect();
    let mut digests = Vec::new();
    for data in &data {
        digests.push(app.push(&repo, data).await);
    }
    let pull = async |at: usize| {
        let blob = app.registry.open_blob(&repo, &digests[at]).await?;
        app.registry.read_blob(&repo, &blob, None).await
    };
    let keys: Vec<_> = app.objects().await.into_iter().map(|object| object.key).collect();
    let mut kept = Vec::new();
    for key in &keys {
        let read = app.store.read(key, None).await.expect("there");
        let pieces: Vec<Bytes> = read.into_stream(1 << 20).try_collect().await.expect("read");
        kept.push(Bytes::from(pieces.concat()));
    }
    app.store.delete_many(&keys).await;
    for at in [0, 1, 2, 0] {
        let refused = pull(at).await.expect_err("nothing is there");
        assert!(matches!(refused, RegistryError::Busy { .. }), "{refused:?}");
    }
    assert_eq!(counts(&app).await.damaged_blobs, 0);
    // It comes back, without one of them.
    for (key, bytes) in keys.iter().zip(kept).skip(1) {
        app.store.put(key, bytes).await.expect("put");
    }
    app.advance(SECOND);
    let (mut lost, mut there) = (0, 0);
    for at in 0..3 {
        match pull(at).await {
            Ok(_) => there += 1,
            Err(RegistryError::BlobDamaged(_)) => lost += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((lost, there, counts(&app).await.damaged_blobs), (1, 2, 1));
    // That another one was there a moment ago says nothing when all of them are gone.
    app.store.delete_many(&keys).await;
    for at in 0..3 {
        pull(at).await.expect_err("nothing is there");
    }
    assert_eq!(counts(&app).await.damaged_blobs, 1);
}

#[tokio::test]
async fn bytes_that_were_wrong_once_are_no_damage() {
    for fault in [Fault::NotFound, Fault::Corrupt, Fault::Short] {
        let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
        let app = fixture(store.clone(), 1 << 20).await;
        app.push(&repo("a"), &bytes(6, 100_000)).await;
        store.fail(Operation::Read, 1, Moment::Before, fault);
        assert_eq!(pass(&app).await.found, 0, "{fault:?}");
        assert_eq!(app.registry.scrub_stats().objects, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_missing_object_is_damage_unless_everything_is_missing() {
    let app = fixture(Arc::new(MemoryStore::new()), 1 << 20).await;
    let repo = repo("a");
    let (lost, kept) = (bytes(7, 50_000), bytes(8, 50_000));
    let digest = app.push(&repo, &lost).await;
    let first = app.objects().await.remove(0).key;
    app.push(&repo, &kept).await;
    let all: Vec<_> = app.objects().await.into_iter().map(|object| object.key).collect();
    let key = all.iter().find(|key| **key != first).expect("another object");
    for key in &all {
        app.store.delete_many(std::slice::from_ref(key)).await;
    }
    app.advance(SECOND);
    app.registry.scrub().await.expect("begun");
    let refused = second(&app, &app.registry).await.expect_err("such a store is not believed");
    let cause = std::error::Error::source(&refused).expect("a cause").to_string();
    assert!(cause.contains("is it the right one"), "{cause}");
    assert_eq!(counts(&app).await.damaged_blobs, 0);
    // As soon as one object shows that it is the right store, the other one is lost.
    app.store.put(key, kept).await.expect("put");
    for _ in 0..2 {
        second(&app, &app.registry).await.expect("read");
    }
    assert_eq!(counts(&app).await.damaged_blobs, 1);
    let pull = app.registry.open_blob(&repo, &digest).await;
    assert!(matches!(pull, Err(RegistryError::BlobDamaged(_))), "{pull:?}");
    app.push(&repo, &lost).await;
    assert_eq!(app.read(&repo, &digest).await, lost);
    assert_eq!(counts(&app).await.damaged_blobs, 0);
}

#[tokio::test]
async fn what_is_collected_or_healed_while_it_is_read_is_no_damage() {
    let app = fixture(Arc::new(MemoryStore::new()), 40_000).await;
    let repo = repo("a");
    let (first, data) = (app.push(&repo, &bytes(9, 100_000)).await, bytes(10, 100_000));
    let second_one = app.push(&repo, &data).await;
    for _ in 0..2 {
        second(&app, &app.registry).await.expect("read");
    }
    app.registry.delete_blob(&repo, &first, Purge::Wait, &NOBODY).await.expect("deleted");
    assert_eq!(app.objects().await.len(), 1, "the first one's object is gone");
    for _ in 0..2 {
        second(&app, &app.registry).await.expect("read");
    }
    // The second one is half read when a pull finds it gone and somebody pushes it again.
    let key = app.objects().await.remove(0).key;
    app.store.delete_many(&[key]).await;
    let blob = app.registry.open_blob(&repo, &second_one).await.expect("still believed in");
    app.registry.read_blob(&repo, &blob, None).await.expect_err("it is gone");
    app.push(&repo, &data).await;
    for _ in 0..4 {
        second(&app, &app.registry).await.expect("read");
    }
    assert_eq!(app.registry.scrub_stats().found, 1, "the pull's");
    assert_eq!(counts(&app).await.damaged_blobs, 0);
    assert_eq!(app.read(&repo, &second_one).await, data);
}
