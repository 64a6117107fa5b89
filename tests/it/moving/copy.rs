//! `store copy`: the target is the source, whatever happened on the way.

use std::sync::Arc;

use bonded::registry::{Purge, RegistryError};
use bonded::storage::Key;
use bonded::storage::layers::{Fault, Faulty, Moment, Operation};
use bonded::storage::memory::MemoryStore;
use bonded::transfer::{CopyOptions, CopyReport, TransferError, copy};

use futures_util::StreamExt as _;

use super::{Seen, Side, digest, name};
use crate::fixtures::{ImageBuilder, NOBODY, bytes};
use crate::stores::Place;

async fn run(from: &Side, to: &Side) -> Result<CopyReport, TransferError> {
    copy(&from.stores, &to.stores, CopyOptions::default(), &Seen::new().watch()).await
}

#[track_caller]
fn refusal(copied: Result<CopyReport, TransferError>) -> String {
    match copied {
        Err(TransferError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_is_at_the_target() {
    let (from, to) = (Side::new().await, Side::new().await);
    from.fill().await;
    let report = run(&from, &to).await.expect("copied");
    assert_eq!((report.moved.blobs, report.damaged, report.late, report.sessions), (3, 0, 0, 1));
    assert_eq!(to.facts().await, from.facts().await);
    assert_eq!(to.keys().await, from.keys().await);
    assert_eq!(to.findings().await, Vec::<String>::new());
    assert_eq!(to.pull("team/app", &digest(&bytes(250_000, 1))).await.expect("a blob"), bytes(250_000, 1));
    let pushed = to.push_image("team/app", "v3", &ImageBuilder::new().layer(b"new ids follow the old ones")).await;
    assert_eq!(to.manifest("team/app", "v3").await, Some(pushed));
}

/// From one machine's SQLite and folder to a real Postgres and a real S3 server, and back.
#[tokio::test]
async fn a_registry_grows_and_shrinks() {
    let local = || Place::Local(tempfile::tempdir().expect("a folder"));
    let (small, large, back) = (Side::at(local()).await, Side::at(Place::shared()).await, Side::at(local()).await);
    small.fill().await;
    small.push_image("big", "v1", &ImageBuilder::new().layer(&bytes(12 << 20, 5))).await;
    let grown = run(&small, &large).await.expect("copied");
    assert_eq!((grown.moved.blobs, grown.damaged, grown.late), (4, 0, 0));
    assert_eq!(large.facts().await, small.facts().await);
    assert_eq!(large.keys().await, small.keys().await);
    assert_eq!(large.findings().await, Vec::<String>::new());
    assert!(large.stores.metadata.copy_serve(large.stores.clock.now()).await.expect("an answer"));
    let pushed = large.push_image("team/app", "grown", &ImageBuilder::new().layer(&bytes(6 << 20, 6))).await;
    large.registry.delete_repository(&name("other"), Purge::Later, &NOBODY).await.expect("deleted");
    large.sweep().await;

    let shrunk = run(&large, &back).await.expect("copied");
    assert_eq!((shrunk.moved.blobs, shrunk.damaged, shrunk.late), (5, 0, 0));
    assert_eq!(back.facts().await, large.facts().await);
    assert_eq!(back.findings().await, Vec::<String>::new());
    assert_eq!(back.manifest("team/app", "grown").await, Some(pushed));
    assert_eq!(back.pull("big", &digest(&bytes(12 << 20, 5))).await.expect("a blob"), bytes(12 << 20, 5));
}

#[tokio::test]
async fn an_interrupted_run_to_a_bucket_leaves_nothing_unfinished() {
    let place = Place::shared();
    let opened = place.open().await;
    let store = Arc::new(Faulty::new(opened.storage));
    let (from, to) = (Side::new().await, Side::on(opened.metadata, store.clone(), Box::new(place)));
    for n in 0..3 {
        from.push_image("app", &format!("v{n}"), &ImageBuilder::new().layer(&bytes(24 << 20, n))).await;
    }
    store.fail(Operation::Complete, 2, Moment::Before, Fault::Unavailable);
    run(&from, &to).await.expect_err("the store is away");
    let unfinished = to.stores.storage.list().filter(|object| {
        let unfinished = object.as_ref().is_ok_and(|object| object.size.is_none());
        async move { unfinished }
    });
    assert_eq!(unfinished.count().await, 1, "as a process that was killed would leave it");
    let report = run(&from, &to).await.expect("copied");
    assert_eq!((report.kept, report.moved.blobs), (2, 1));
    assert_eq!(to.keys().await, from.keys().await);
    assert_eq!(to.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_second_run_moves_what_is_new_and_drops_what_is_gone() {
    let (from, to) = (Side::new().await, Side::new().await);
    from.fill().await;
    run(&from, &to).await.expect("copied");
    from.registry.delete_repository(&name("other"), Purge::Later, &NOBODY).await.expect("deleted");
    for tag in ["all", "v1"] {
        let manifest = from.manifest("team/app", tag).await.expect("a manifest");
        let reference = digest(&manifest).to_string().parse().expect("a reference");
        from.registry.delete_manifest(&name("team/app"), &reference, Purge::Later, &NOBODY).await.expect("deleted");
    }
    from.sweep().await;
    from.push_image("team/app", "v4", &ImageBuilder::new().layer(&bytes(70_000, 9))).await;
    let report = run(&from, &to).await.expect("copied");
    assert_eq!((report.moved.blobs, report.kept), (1, 1));
    assert_eq!(to.facts().await, from.facts().await);
    to.sweep().await;
    assert_eq!(to.keys().await, from.keys().await, "what is gone at the source goes at the target");
    assert_eq!(to.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_interrupted_run_goes_on_and_moves_nothing_twice() {
    for (operation, moment) in [
        (Operation::Begin, Moment::After),
        (Operation::Append, Moment::Before),
        (Operation::Complete, Moment::Before),
        (Operation::Complete, Moment::After),
    ] {
        let store = Arc::new(Faulty::new(Arc::new(MemoryStore::with_parts(100_000))));
        let (from, to) = (Side::new().await, Side::over(store.clone()).await);
        for n in 0..20 {
            from.push_image("app", &format!("v{n}"), &ImageBuilder::new().layer(&bytes(10_000, n))).await;
        }
        // A store that is away for a moment is asked once more to begin.
        let last = if operation == Operation::Begin { 22 } else { 15 };
        (15..=last).for_each(|nth| store.fail(operation, nth, moment, Fault::Unavailable));
        let broken = run(&from, &to).await;
        let at = format!("{operation:?} {moment:?}");
        assert!(matches!(broken, Err(TransferError::Storage(_))), "{at}: {broken:?}");
        assert!(!to.stores.metadata.copy_serve(to.stores.clock.now()).await.expect("an answer"), "{at}: not whole");
        let mut again = run(&from, &to).await;
        while again.is_err() {
            again = run(&from, &to).await;
        }
        let report = again.expect("copied");
        assert!(report.kept > 0, "{at}: {report:?}");
        assert_eq!(report.kept + report.moved.blobs, 20, "{at}");
        assert_eq!(to.facts().await, from.facts().await, "{at}");
        assert_eq!(to.keys().await, from.keys().await, "{at}");
        assert_eq!(to.findings().await, Vec::<String>::new(), "{at}");
        assert!(to.stores.metadata.copy_serve(to.stores.clock.now()).await.expect("an answer"), "{at}: whole");
    }
}

#[tokio::test]
async fn wrong_and_missing_bytes_are_said_and_marked_and_healed() {
    let (from, to) = (Side::new().await, Side::new().await);
    from.fill().await;
    let wrong = digest(&bytes(250_000, 1));
    let missing = digest(&bytes(120_000, 2));
    from.stores.storage.put(&key_of(&from, &wrong).await, bytes(250_000, 7).into()).await.expect("other bytes");
    from.stores.storage.delete_many(&[key_of(&from, &missing).await]).await;
    let seen = Seen::new();
    let report = copy(&from.stores, &to.stores, CopyOptions::default(), &seen.watch()).await.expect("copied");
    assert_eq!((report.damaged, report.late), (2, 0));
    let said = seen.findings().join("\n");
    assert!(said.contains(&format!("blob {wrong} is damaged: has the bytes of sha256:")), "{said}");
    assert!(said.contains(&format!("blob {missing} is damaged: no object")), "{said}");
    for blob in [&wrong, &missing] {
        let pulled = to.pull("team/app", blob).await;
        assert!(matches!(pulled, Err(RegistryError::BlobDamaged(_))), "{pulled:?}");
    }
    // Healed at the source, it is whole at the target after the next run.
    let head = from.registry.stat_blob(&name("team/app"), &missing, true).await;
    assert!(head.is_ok(), "the source has not noticed");
    assert!(from.pull("team/app", &missing).await.is_err());
    from.push("team/app", &bytes(120_000, 2)).await;
    let report = run(&from, &to).await.expect("copied");
    assert_eq!((report.moved.blobs, report.damaged), (1, 1));
    assert_eq!(to.pull("team/app", &missing).await.expect("whole"), bytes(120_000, 2));
}

async fn key_of(side: &Side, digest: &bonded::oci::digest::Digest) -> Key {
    use bonded::metadata::model::{BlobId, BlobLocation};
    let blobs = side.stores.metadata.blob_scan(BlobId(0), 100).await.expect("blobs");
    let blob = blobs.into_iter().find(|blob| blob.digest == *digest).expect("the blob");
    match blob.location {
        BlobLocation::Object(key) => key,
        BlobLocation::Inline(_) => panic!("it has no object"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_during_the_run_is_fetched_by_the_next() {
    let (from, to) = (Arc::new(Side::new().await), Side::new().await);
    from.fill().await;
    let late = bytes(40_000, 11);
    let (pusher, data) = (Arc::clone(&from), late.clone());
    let seen = Seen::at_stage(move |what| {
        if what == "copying facts" {
            let push = pusher.push("team/app", &data);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(push));
        }
    });
    let report = copy(&from.stores, &to.stores, CopyOptions::default(), &seen.watch()).await.expect("copied");
    assert_eq!((report.damaged, report.late), (0, 1));
    assert!(matches!(to.pull("team/app", &digest(&late)).await, Err(RegistryError::BlobDamaged(_))));
    let report = run(&from, &to).await.expect("copied");
    assert_eq!((report.moved.blobs, report.late), (1, 0));
    assert_eq!(to.pull("team/app", &digest(&late)).await.expect("there"), late);
    assert_eq!(to.facts().await, from.facts().await);
}

#[tokio::test]
async fn adopted_objects_become_the_targets_own() {
    let (from, to) = (Side::new().await, Side::new().await);
    let (data, key) = (bytes(10_000, 1), Key::parse("docker/registry/v2/blobs/x/data").expect("a key"));
    from.stores.storage.put(&key, data.clone().into()).await.expect("put");
    let adopt = bonded::metadata::model::BlobAdopt {
        blobs: vec![(digest(&data), Some((key.clone(), 10_000)))],
        read_only: true,
        now: from.stores.clock.now(),
        lease_until: from.stores.clock.now(),
    };
    from.stores.metadata.blob_adopt(&name("a"), &adopt).await.expect("adopted");
    run(&from, &to).await.expect("copied");
    assert_eq!(to.pull("a", &digest(&data)).await.expect("there"), data);
    to.sweep().await;
    from.sweep().await;
    assert!(to.stores.storage.stat(&key).await.is_err(), "garbage goes where it is ours");
    assert!(from.stores.storage.stat(&key).await.is_ok(), "and stays where it is not");
}

#[tokio::test]
async fn a_target_that_has_something_to_lose_is_refused() {
    let (from, to, third) = (Side::new().await, Side::new().await, Side::new().await);
    from.fill().await;
    assert!(refusal(run(&from, &from).await).contains("the same database"));
    third.push("a", b"mine").await;
    assert!(refusal(run(&from, &third).await).contains("not empty"));
    let with_objects = Side::new().await;
    let stray = Key::opaque("00000000000000000000000000000000");
    with_objects.stores.storage.put(&stray, "stray".into()).await.expect("put");
    assert!(refusal(run(&from, &with_objects).await).contains("store is not empty"));
    run(&from, &to).await.expect("copied");
    assert!(refusal(run(&third, &to).await).contains("a copy of another registry"));
    assert!(to.stores.metadata.copy_serve(to.stores.clock.now()).await.expect("an answer"));
    assert!(refusal(run(&from, &to).await).contains("has been served"));
    run(&to, &Side::new().await).await.expect("what was copied and served can be copied on");
}

#[tokio::test]
async fn two_databases_over_one_store_share_the_bytes() {
    let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
    let (from, to) = (Side::over(store.clone()).await, Side::over(store.clone()).await);
    from.fill().await;
    let (before, calls) = (from.keys().await, store.calls(Operation::Begin));
    let options = CopyOptions { same_storage: true };
    for _ in 0..2 {
        let report = copy(&from.stores, &to.stores, options, &Seen::new().watch()).await.expect("copied");
        assert_eq!((report.moved.blobs, report.damaged, report.late), (0, 0, 0));
        from.registry.delete_repository(&name("other"), Purge::Later, &NOBODY).await.ok();
    }
    assert_eq!(to.facts().await, from.facts().await);
    to.sweep().await;
    assert_eq!((to.keys().await, store.calls(Operation::Begin)), (before, calls), "nothing was moved or removed");
    assert_eq!(to.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn rows_with_wrong_bytes_are_said() {
    let (from, to) = (Side::new().await, Side::new().await);
    from.fill().await;
    let mut batches: Vec<_> = from.stores.metadata.dump().map(|batch| batch.expect("rows")).collect().await;
    for batch in batches.iter_mut().filter(|batch| batch.table.name == "manifests") {
        let payload = batch.position("payload").expect("a column");
        batch.rows[0][payload] = bonded::metadata::dump::Cell::Bytes("other bytes".into());
    }
    let load =
        bonded::metadata::dump::LoadOptions { now: from.stores.clock.now(), doom_unknown: false, ends_copy: false };
    from.stores.metadata.load(futures_util::stream::iter(batches).map(Ok).boxed(), load).await.expect("loaded");
    let seen = Seen::new();
    let report = copy(&from.stores, &to.stores, CopyOptions::default(), &seen.watch()).await.expect("copied");
    assert_eq!(report.damaged, 1);
    assert!(seen.findings()[0].starts_with("I1: manifests 1: has the bytes of sha256:"), "{:?}", seen.findings());
}
