//! Checks that find what is wrong, say nothing when nothing is, and heal what can be healed.

use bonded::registry::{FsckOptions, RegistryError};
use bonded::storage::Key;
use bytes::Bytes;

use super::{Fixture, bytes, digest, repo};

async fn findings(app: &Fixture, options: FsckOptions) -> Vec<String> {
    let mut lines = Vec::new();
    let count = app.registry.fsck(options, &mut |line| lines.push(line)).await.expect("checked");
    assert_eq!(count, lines.len() as u64);
    lines
}

const REHASH: FsckOptions = FsckOptions { rehash: true, rebuild: false };

#[tokio::test]
async fn a_sound_registry_has_no_findings() {
    let app = Fixture::new().await;
    app.push_image(&repo("a"), "v1", &bytes(1, 50_000)).await;
    app.push(&repo("b"), &bytes(2, 10)).await;
    assert_eq!(findings(&app, REHASH).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_object_is_found_and_healed_by_a_push() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let data = bytes(3, 50_000);
    let pushed = app.push(&repo, &data).await;
    let key = app.objects().await.remove(0).key;
    app.store.delete_many(std::slice::from_ref(&key)).await;
    let blob = app.registry.open_blob(&repo, &pushed).await.expect("still believed in");
    let read = app.registry.read_blob(&repo, &blob, None).await;
    assert!(matches!(read, Err(RegistryError::BlobDamaged(_))), "{read:?}");
    assert!(matches!(app.registry.open_blob(&repo, &pushed).await, Err(RegistryError::BlobDamaged(_))));
    let head = app.registry.stat_blob(&repo, &pushed, true).await;
    assert!(matches!(head, Err(RegistryError::BlobUnknown(_))), "a pusher is told to push: {head:?}");
    let lines = findings(&app, FsckOptions::default()).await;
    assert!(lines.len() == 1 && lines[0].starts_with("I1: blob sha256:"), "{lines:?}");
    app.push(&repo, &data).await;
    assert_eq!(app.read(&repo, &pushed).await, data);
    assert_eq!(findings(&app, REHASH).await, Vec::<String>::new());
}

#[tokio::test]
async fn other_bytes_of_the_same_length_are_found_by_rehash_only() {
    let app = Fixture::new().await;
    app.push(&repo("a"), &bytes(4, 50_000)).await;
    let key = app.objects().await.remove(0).key;
    app.store.put(&key, bytes(5, 50_000)).await.expect("put");
    assert_eq!(findings(&app, FsckOptions::default()).await, Vec::<String>::new());
    let lines = findings(&app, REHASH).await;
    assert!(lines.len() == 1 && lines[0].contains("has the bytes of"), "{lines:?}");
}

#[tokio::test]
async fn a_blob_that_turns_out_to_be_whole_is_served_again() {
    let app = Fixture::new().await;
    let (repo, data) = (repo("a"), bytes(6, 50_000));
    let pushed = app.push(&repo, &data).await;
    let key = app.objects().await.remove(0).key;
    app.store.delete_many(std::slice::from_ref(&key)).await;
    let blob = app.registry.open_blob(&repo, &pushed).await.expect("still believed in");
    app.registry.read_blob(&repo, &blob, None).await.expect_err("the store has lost it");
    app.store.put(&key, data.clone()).await.expect("somebody brings it back");
    let lines = findings(&app, FsckOptions::default()).await;
    assert!(lines.len() == 1 && lines[0].ends_with("is marked as damaged"), "{lines:?}");
    assert_eq!(findings(&app, REHASH).await, Vec::<String>::new());
    assert_eq!(app.read(&repo, &pushed).await, data);
    assert_eq!(findings(&app, FsckOptions::default()).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_stray_object_is_found_and_put_on_the_map_by_rebuild() {
    let app = Fixture::new().await;
    let data = Bytes::from_static(b"nobody knows me");
    let key = Key::declared(&digest(&data), &"0".repeat(32));
    app.store.put(&key, data.clone()).await.expect("put");
    let lines = findings(&app, FsckOptions::default()).await;
    assert!(lines.len() == 1 && lines[0].starts_with("I2: object blobs/sha256/"), "{lines:?}");
    let rebuild = FsckOptions { rehash: true, rebuild: true };
    assert_eq!(findings(&app, rebuild).await, Vec::<String>::new());
    // It is a blob again, though no repository has it yet: a push of the same bytes finds it there.
    let repo = repo("a");
    app.push(&repo, &data).await;
    assert_eq!(app.read(&repo, &digest(&data)).await, data);
}
