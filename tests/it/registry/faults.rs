//! A store that fails at the worst moments: the client gets a retryable error or success, never a lie.

use std::sync::Arc;
use std::time::Duration;

use bonded::oci::digest::Algorithm;
use bonded::registry::{FsckOptions, Purge, RegistryError};
use bonded::storage::layers::{Fault, Faulty, Moment, Operation};
use bonded::storage::memory::MemoryStore;
use bytes::Bytes;

use super::{Fixture, bytes, digest, repo, whole};
use crate::fixtures::NOBODY;

async fn fixture(inner: MemoryStore) -> (Fixture, Arc<Faulty>) {
    let store = Arc::new(Faulty::new(Arc::new(inner)));
    (Fixture::over(store.clone()).await, store)
}

/// No fact without bytes, and no bytes that nobody knows.
async fn assert_sound(app: &Fixture) {
    let mut lines = Vec::new();
    let options = FsckOptions { rehash: true, rebuild: false };
    app.registry.fsck(options, &mut |line| lines.push(line)).await.expect("checked");
    assert_eq!(lines, Vec::<String>::new());
}

#[tokio::test]
async fn a_push_that_fails_anywhere_in_the_store_can_be_repeated() {
    for operation in [Operation::Begin, Operation::Append, Operation::Complete] {
        for moment in [Moment::Before, Moment::After] {
            for parts in [None, Some(100_000)] {
                let inner = parts.map_or_else(MemoryStore::new, MemoryStore::with_parts);
                let (app, store) = fixture(inner).await;
                let (repo, data) = (repo("a"), bytes(1, 250_000));
                let at = format!("{operation:?} {moment:?} {parts:?}");
                store.fail(operation, 1, moment, Fault::Unavailable);
                let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
                let failed = app.registry.finish_upload(&repo, &id, None, &digest(&data), whole(&data)).await;
                assert!(matches!(failed, Err(RegistryError::Busy { .. })), "{at}: {failed:?}");
                let gone = app.registry.open_blob(&repo, &digest(&data)).await;
                assert!(matches!(gone, Err(RegistryError::BlobUnknown(_))), "{at}: {gone:?}");
                assert_sound(&app).await;
                app.push(&repo, &data).await;
                assert_eq!(app.read(&repo, &digest(&data)).await, data, "{at}");
                app.advance(Duration::from_hours(48));
                app.registry.stat_blob(&repo, &digest(&data), true).await.expect("still leased until a sweep");
                app.sweep().await;
                assert_eq!(app.objects().await.len(), 1, "{at}: what the failed session left is gone");
                assert_sound(&app).await;
            }
        }
    }
}

#[tokio::test]
async fn a_put_whose_completion_was_lost_goes_on_when_repeated() {
    for moment in [Moment::Before, Moment::After] {
        let (app, store) = fixture(MemoryStore::with_parts(100_000)).await;
        let (repo, data) = (repo("a"), bytes(2, 250_000));
        let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
        app.registry.append_upload(&repo, &id, None, whole(&data)).await.expect("appended");
        store.fail(Operation::Complete, 1, moment, Fault::Unavailable);
        let none = || whole(&Bytes::new());
        let lost = app.registry.finish_upload(&repo, &id, None, &digest(&data), none()).await;
        assert!(matches!(lost, Err(RegistryError::Busy { .. })), "{lost:?}");
        let more = app.registry.append_upload(&repo, &id, None, whole(&data)).await;
        assert!(matches!(more, Err(RegistryError::UploadRange { received: 250_000 })), "{more:?}");
        app.registry.finish_upload(&repo, &id, None, &digest(&data), none()).await.expect("closed");
        assert_eq!(app.read(&repo, &digest(&data)).await, data);
        assert_sound(&app).await;
    }
}

#[tokio::test]
async fn a_put_with_bytes_of_its_own_is_done_again_when_repeated() {
    // The bytes that the session keeps are as many as those that the failed request did not get rid of.
    let (app, store) = fixture(MemoryStore::with_parts(100_000)).await;
    let (repo, data) = (repo("a"), bytes(5, 160_000));
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    app.registry.append_upload(&repo, &id, None, whole(&data.slice(..60_000))).await.expect("appended");
    store.fail(Operation::Complete, 1, Moment::Before, Fault::Unavailable);
    let rest = || whole(&data.slice(60_000..));
    let lost = app.registry.finish_upload(&repo, &id, None, &digest(&data), rest()).await;
    assert!(matches!(lost, Err(RegistryError::Busy { .. })), "{lost:?}");
    app.registry.finish_upload(&repo, &id, None, &digest(&data), rest()).await.expect("repeated");
    assert_eq!(app.read(&repo, &digest(&data)).await, data);
    assert_sound(&app).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_removed_is_tried_again() {
    let (app, store) = fixture(MemoryStore::new()).await;
    let repo = repo("a");
    let pushed = app.push(&repo, &bytes(3, 50_000)).await;
    store.fail(Operation::DeleteMany, 1, Moment::Before, Fault::Unavailable);
    app.registry.delete_blob(&repo, &pushed, Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    assert_eq!(app.objects().await.len(), 1);
    assert_sound(&app).await;
    app.advance(Duration::from_mins(2));
    app.sweep().await;
    assert_eq!(app.objects().await, []);
    assert_eq!(app.registry.store_counts().await.expect("counted").deletions, 0);
}

#[tokio::test]
async fn a_full_store_is_told_as_one() {
    let (app, store) = fixture(MemoryStore::new()).await;
    store.fail(Operation::Append, 1, Moment::Before, Fault::Full);
    let data = bytes(4, 50_000);
    let refused = app.registry.push_blob(&repo("a"), &digest(&data), whole(&data)).await;
    assert!(matches!(refused, Err(RegistryError::StoreFull)), "{refused:?}");
}
