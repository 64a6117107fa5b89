//! Space that comes back, and data that does not vanish.

use std::sync::Arc;
use std::time::Duration;

use bonded::oci::digest::Algorithm;
use bonded::oci::reference::Reference;
use bonded::registry::{Purge, RegistryError};
use bonded::storage::memory::MemoryStore;

use super::{Fixture, broken, bytes, digest, repo, whole};
use crate::fixtures::NOBODY;

#[tokio::test]
async fn a_deleted_images_bytes_go_and_shared_ones_stay() {
    let app = Fixture::new().await;
    let (one, two) = (repo("one"), repo("two"));
    let (shared, own) = (bytes(1, 50_000), bytes(2, 50_000));
    app.push_image(&one, "shared", &shared).await;
    let image = app.push_image(&one, "own", &own).await;
    app.push_image(&two, "shared", &shared).await;
    // The second push of the shared layer brought an object that its commit found to be superfluous.
    app.sweep().await;
    assert_eq!(app.objects().await.len(), 2);
    app.registry.delete_manifest(&one, &Reference::Digest(image), Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    assert_eq!(app.objects().await.len(), 1);
    assert!(matches!(app.registry.open_blob(&one, &digest(&own)).await, Err(RegistryError::BlobUnknown(_))));
    app.registry.delete_repository(&one, Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    assert_eq!(app.read(&two, &digest(&shared)).await, shared);
    app.registry.delete_repository(&two, Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn an_upload_nobody_names_is_kept_for_its_lease() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let data = bytes(3, 50_000);
    let pushed = app.push(&repo, &data).await;
    app.advance(Duration::from_hours(23));
    app.sweep().await;
    assert_eq!(app.read(&repo, &pushed).await, data);
    app.advance(Duration::from_hours(2));
    app.sweep().await;
    assert!(matches!(app.registry.open_blob(&repo, &pushed).await, Err(RegistryError::BlobUnknown(_))));
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn a_head_keeps_a_blob_that_its_caller_now_believes_in() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let layer = bytes(4, 50_000);
    let image = app.push_image(&repo, "v1", &layer).await;
    app.registry.stat_blob(&repo, &digest(&layer), true).await.expect("there");
    app.registry.delete_manifest(&repo, &Reference::Digest(image), Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    assert_eq!(app.read(&repo, &digest(&layer)).await, layer, "the HEAD's lease holds it");
    app.advance(Duration::from_mins(16));
    app.sweep().await;
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn purging_ends_leases_of_heads_and_waits_for_the_bytes() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let layer = bytes(5, 50_000);
    let image = app.push_image(&repo, "v1", &layer).await;
    app.registry.stat_blob(&repo, &digest(&layer), true).await.expect("there");
    app.advance(Duration::from_secs(1));
    app.registry.delete_manifest(&repo, &Reference::Digest(image), Purge::Wait, &NOBODY).await.expect("deleted");
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn a_blob_pushed_again_before_it_was_collected_stays() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let layer = bytes(6, 50_000);
    let image = app.push_image(&repo, "v1", &layer).await;
    app.registry.delete_manifest(&repo, &Reference::Digest(image), Purge::Later, &NOBODY).await.expect("deleted");
    app.push(&repo, &layer).await;
    app.sweep().await;
    assert_eq!(app.read(&repo, &digest(&layer)).await, layer);
    assert_eq!(app.objects().await.len(), 1, "one of the two objects went");
}

#[tokio::test]
async fn a_blob_pushed_again_after_it_was_doomed_is_not_hit_by_the_late_delete() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let data = bytes(7, 50_000);
    let pushed = app.push(&repo, &data).await;
    app.registry.delete_blob(&repo, &pushed, Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    app.push(&repo, &data).await;
    app.sweep().await;
    assert_eq!(app.read(&repo, &pushed).await, data);
}

#[tokio::test]
async fn a_mounted_blob_outlives_its_source() {
    let app = Fixture::new().await;
    let (from, to) = (repo("from"), repo("to"));
    let data = bytes(8, 50_000);
    let pushed = app.push(&from, &data).await;
    assert!(app.registry.mount_blob(&to, Some(&from), &pushed).await.expect("asked"));
    assert!(!app.registry.mount_blob(&to, Some(&repo("nowhere")), &pushed).await.expect("asked"));
    app.registry.delete_blob(&from, &pushed, Purge::Wait, &NOBODY).await.expect("deleted");
    assert_eq!(app.read(&to, &pushed).await, data);
    app.registry.delete_blob(&to, &pushed, Purge::Wait, &NOBODY).await.expect("deleted");
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn what_a_manifest_names_cannot_be_deleted_under_it() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let layer = bytes(9, 50_000);
    let image = app.push_image(&repo, "v1", &layer).await;
    let refused = app.registry.delete_blob(&repo, &digest(&layer), Purge::Later, &NOBODY).await;
    assert!(matches!(refused, Err(RegistryError::Referenced { by, .. }) if by == image));
}

#[tokio::test]
async fn a_redirect_given_out_before_a_collection_still_leads_somewhere() {
    let store = Arc::new(MemoryStore::new());
    let app = Fixture::with(store, |options| options.redirect_ttl = Duration::from_mins(20)).await;
    let repo = repo("a");
    let pushed = app.push(&repo, &bytes(10, 50_000)).await;
    app.registry.delete_blob(&repo, &pushed, Purge::Later, &NOBODY).await.expect("deleted");
    app.sweep().await;
    assert!(matches!(app.registry.open_blob(&repo, &pushed).await, Err(RegistryError::BlobUnknown(_))));
    app.advance(Duration::from_secs(1199));
    app.sweep().await;
    assert_eq!(app.objects().await.len(), 1);
    app.advance(Duration::from_secs(1));
    app.sweep().await;
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn what_a_dead_session_stored_goes_with_or_without_driver_state() {
    let app = Fixture::over(Arc::new(MemoryStore::with_parts(100_000))).await;
    let repo = repo("a");
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    let broken_off = app.registry.append_upload(&repo, &id, None, broken(&bytes(11, 250_000))).await;
    assert!(broken_off.is_err(), "{broken_off:?}");
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    app.registry.append_upload(&repo, &id, None, whole(&bytes(1, 10))).await.expect("a few bytes, in no object");
    app.advance(Duration::from_hours(25));
    app.sweep().await;
    assert_eq!(app.objects().await, []);
    let stats = app.registry.collector_stats();
    assert_eq!((stats.sessions, stats.objects), (2, 1));
}
