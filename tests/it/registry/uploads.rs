//! Sessions: what counts, what does not, and who wins.

use std::sync::Arc;
use std::time::Duration;

use bonded::oci::digest::{Algorithm, Digest};
use bonded::registry::{ChunkRange, RegistryError};
use bonded::storage::layers::Faulty;
use bonded::storage::memory::MemoryStore;
use bytes::Bytes;

use super::{Fixture, broken, bytes, digest, repo, stalled, whole};

#[tokio::test]
async fn a_small_blob_stays_in_its_row_and_a_larger_one_becomes_an_object() {
    let app = Fixture::new().await;
    let repo = repo("a/b");
    for len in [0, 1, 4096] {
        let small = bytes(1, len);
        let pushed = app.push(&repo, &small).await;
        assert_eq!(app.read(&repo, &pushed).await, small);
    }
    assert_eq!(app.objects().await, []);
    let large = bytes(2, 4097);
    let pushed = app.push(&repo, &large).await;
    assert_eq!(app.read(&repo, &pushed).await, large);
    let objects = app.objects().await;
    assert_eq!(objects.len(), 1);
    assert!(objects[0].key.as_str().starts_with(&format!("blobs/sha256/{}/{}.", &pushed.hex()[..2], pushed.hex())));
}

#[tokio::test]
async fn chunks_of_any_size_become_one_blob() {
    // The store cuts parts, so every boundary of small chunks leaves a tail behind.
    for store in [MemoryStore::new(), MemoryStore::with_parts(1 << 20)] {
        let app = Fixture::over(Arc::new(store)).await;
        let repo = repo("a");
        for (total, chunk) in [(10_000, 1_000), (3_000_000, 65_536), (3_000_000, 1_500_000), (1 << 20, 1 << 20)] {
            let data = bytes(3, total);
            let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
            let mut received = 0;
            for piece in data.chunks(chunk) {
                let range = ChunkRange { start: received, end: received + piece.len() as u64 - 1 };
                let body = whole(&data.slice_ref(piece));
                let status = app.registry.append_upload(&repo, &id, Some(range), body).await.expect("appended");
                received += piece.len() as u64;
                assert_eq!(status.received, received);
                assert_eq!(app.registry.upload_status(&repo, &id).await.expect("open").received, received);
            }
            app.registry.finish_upload(&repo, &id, None, &digest(&data), whole(&Bytes::new())).await.expect("closed");
            assert_eq!(app.read(&repo, &digest(&data)).await, data, "{total} in {chunk}");
        }
    }
}

#[tokio::test]
async fn a_patch_that_breaks_off_goes_on_where_the_session_says() {
    for store in [MemoryStore::new(), MemoryStore::with_parts(100_000)] {
        let app = Fixture::over(Arc::new(store)).await;
        let repo = repo("a");
        let data = bytes(4, 500_000);
        let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
        let failed = app.registry.append_upload(&repo, &id, None, broken(&data.slice(..300_000))).await;
        assert!(matches!(failed, Err(RegistryError::BodyBroken)), "{failed:?}");
        let received = app.registry.upload_status(&repo, &id).await.expect("open").received;
        assert_eq!(received, 300_000);
        let rest = data.slice(usize::try_from(received).expect("small")..);
        app.registry.finish_upload(&repo, &id, None, &digest(&data), whole(&rest)).await.expect("closed");
        assert_eq!(app.read(&repo, &digest(&data)).await, data);
    }
}

#[tokio::test]
async fn a_put_that_breaks_off_counts_for_nothing() {
    for store in [MemoryStore::new(), MemoryStore::with_parts(100_000)] {
        let app = Fixture::over(Arc::new(store)).await;
        let repo = repo("a");
        let data = bytes(5, 500_000);
        let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
        let head = data.slice(..200_000);
        app.registry.append_upload(&repo, &id, None, whole(&head)).await.expect("appended");
        let body = broken(&data.slice(200_000..400_000));
        let failed = app.registry.finish_upload(&repo, &id, None, &digest(&data), body).await;
        assert!(matches!(failed, Err(RegistryError::BodyBroken)), "{failed:?}");
        assert_eq!(app.registry.upload_status(&repo, &id).await.expect("open").received, 200_000);
        let rest = whole(&data.slice(200_000..));
        app.registry.finish_upload(&repo, &id, None, &digest(&data), rest).await.expect("closed");
        assert_eq!(app.read(&repo, &digest(&data)).await, data);
    }
}

#[tokio::test]
async fn a_first_put_that_breaks_off_can_be_repeated() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let data = bytes(6, 500_000);
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    let body = broken(&data.slice(..400_000));
    assert!(app.registry.finish_upload(&repo, &id, None, &digest(&data), body).await.is_err());
    app.registry.finish_upload(&repo, &id, None, &digest(&data), whole(&data)).await.expect("closed");
    assert_eq!(app.read(&repo, &digest(&data)).await, data);
}

#[tokio::test]
async fn a_wrong_offset_leaves_the_session_as_it_was() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let data = bytes(7, 100_000);
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    app.registry.append_upload(&repo, &id, None, whole(&data.slice(..60_000))).await.expect("appended");
    for start in [0, 59_999, 60_001] {
        let range = Some(ChunkRange { start, end: start + 99 });
        let refused = app.registry.append_upload(&repo, &id, range, whole(&bytes(0, 100))).await;
        assert!(matches!(refused, Err(RegistryError::UploadRange { received: 60_000 })), "{refused:?}");
        let refused = app.registry.finish_upload(&repo, &id, range, &digest(&data), whole(&bytes(0, 100))).await;
        assert!(matches!(refused, Err(RegistryError::UploadRange { received: 60_000 })), "{refused:?}");
    }
    app.registry.finish_upload(&repo, &id, None, &digest(&data), whole(&data.slice(60_000..))).await.expect("closed");
}

#[tokio::test]
async fn a_wrong_digest_ends_the_session_and_gives_its_bytes_back() {
    for len in [100, 100_000] {
        let app = Fixture::new().await;
        let repo = repo("a");
        let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
        let wrong = digest(b"something else");
        let refused = app.registry.finish_upload(&repo, &id, None, &wrong, whole(&bytes(8, len))).await;
        assert!(matches!(refused, Err(RegistryError::DigestMismatch { .. })), "{refused:?}");
        assert!(matches!(app.registry.upload_status(&repo, &id).await, Err(RegistryError::UploadUnknown)));
        app.sweep().await;
        assert_eq!(app.objects().await, []);
        assert!(matches!(app.registry.open_blob(&repo, &wrong).await, Err(RegistryError::BlobUnknown(_))));
    }
}

#[tokio::test]
async fn a_put_repeated_after_a_lost_answer_succeeds_again() {
    let app = Fixture::new().await;
    let repo = repo("a");
    for data in [bytes(9, 10), bytes(9, 10_000)] {
        let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
        for _ in 0..2 {
            app.registry.finish_upload(&repo, &id, None, &digest(&data), whole(&data)).await.expect("closed");
        }
        let other = app.registry.finish_upload(&repo, &id, None, &digest(b"x"), whole(&data)).await;
        assert!(matches!(other, Err(RegistryError::UploadUnknown)), "{other:?}");
        let more = app.registry.append_upload(&repo, &id, None, whole(&data)).await;
        assert!(matches!(more, Err(RegistryError::UploadUnknown)), "{more:?}");
    }
}

#[tokio::test]
async fn the_newest_writer_wins() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let data = bytes(10, 400_000);
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    let (registry, old_repo, old_id, head) = (app.registry.clone(), repo.clone(), id.clone(), data.slice(..200_000));
    let old = async move { registry.append_upload(&old_repo, &old_id, None, stalled(&head)).await };
    let new = async {
        // The old writer runs first and then waits for bytes that never come.
        tokio::task::yield_now().await;
        let whole = whole(&data);
        app.registry.finish_upload(&repo, &id, Some(ChunkRange { start: 0, end: 399_999 }), &digest(&data), whole).await
    };
    let (old, new) = tokio::join!(old, new);
    new.expect("the newer writer closes the session");
    assert!(matches!(old, Err(RegistryError::UploadRange { .. } | RegistryError::UploadUnknown)), "{old:?}");
    assert_eq!(app.read(&repo, &digest(&data)).await, data);
}

#[tokio::test]
async fn a_session_may_be_closed_with_another_algorithm_than_it_hashed() {
    for store in [MemoryStore::new(), MemoryStore::with_parts(100_000)] {
        let app = Fixture::over(Arc::new(store)).await;
        let repo = repo("a");
        for len in [100, 250_000] {
            let data = bytes(11, len);
            let declared = Digest::of(Algorithm::Sha512, &data);
            let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
            app.registry.append_upload(&repo, &id, None, whole(&data)).await.expect("appended");
            app.registry.finish_upload(&repo, &id, None, &declared, whole(&Bytes::new())).await.expect("closed");
            assert_eq!(app.read(&repo, &declared).await, data);
            let other = app.registry.open_blob(&repo, &digest(&data)).await;
            assert!(matches!(other, Err(RegistryError::BlobUnknown(_))), "no aliasing");
        }
    }
}

#[tokio::test]
async fn a_session_expires_and_gives_its_bytes_back() {
    let app = Fixture::new().await;
    let repo = repo("a");
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    app.registry.append_upload(&repo, &id, None, whole(&bytes(12, 100_000))).await.expect("appended");
    app.advance(Duration::from_hours(23));
    app.sweep().await;
    assert_eq!(app.registry.upload_status(&repo, &id).await.expect("open").received, 100_000);
    app.advance(Duration::from_hours(2));
    app.sweep().await;
    assert!(matches!(app.registry.upload_status(&repo, &id).await, Err(RegistryError::UploadUnknown)));
    assert_eq!(app.objects().await, []);
}

#[tokio::test]
async fn a_session_belongs_to_its_repository() {
    let app = Fixture::new().await;
    let id = app.registry.start_upload(&repo("mine"), Algorithm::Sha256).await.expect("begun").id;
    let other = repo("yours");
    assert!(matches!(app.registry.upload_status(&other, &id).await, Err(RegistryError::UploadUnknown)));
    assert!(matches!(app.registry.cancel_upload(&other, &id).await, Err(RegistryError::UploadUnknown)));
    app.registry.cancel_upload(&repo("mine"), &id).await.expect("cancelled");
    assert!(matches!(app.registry.cancel_upload(&repo("mine"), &id).await, Err(RegistryError::UploadUnknown)));
}

#[tokio::test]
async fn sessions_that_ended_make_room_for_others() {
    let app = Fixture::with(Arc::new(MemoryStore::new()), |options| options.limits.sessions_max = 1).await;
    let repo = repo("a");
    let id = app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    app.registry.append_upload(&repo, &id, None, whole(&bytes(1, 10))).await.expect("there is something to remember");
    for _ in 0..2 {
        let refused = app.registry.start_upload(&repo, Algorithm::Sha256).await;
        assert!(matches!(refused, Err(RegistryError::TooManySessions { max: 1 })), "{refused:?}");
        app.sweep().await;
    }
    app.registry.cancel_upload(&repo, &id).await.expect("cancelled");
    app.sweep().await;
    app.registry.start_upload(&repo, Algorithm::Sha256).await.expect("there is room again");
}

/// The answer that there is plenty does for a second, any other one for nothing.
#[tokio::test]
async fn a_disk_that_fills_up_is_noticed() {
    const MIN: u64 = 1 << 30;
    let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
    let app = Fixture::with(Arc::<Faulty>::clone(&store), |options| options.limits.disk_free_bytes_min = MIN).await;
    let repo = repo("a");
    let push = async |n| {
        let data = bytes(n, 10);
        app.registry.push_blob(&repo, &digest(&data), whole(&data)).await
    };
    let full = |pushed| matches!(pushed, Err(RegistryError::DiskFull { free, min: MIN }) if free == MIN - 1);

    store.set_free_bytes(Some(MIN));
    push(1).await.expect("just enough");
    store.set_free_bytes(Some(MIN - 1));
    assert!(full(push(2).await), "no answer but plenty is believed");

    store.set_free_bytes(Some(1 << 50));
    push(3).await.expect("plenty");
    store.set_free_bytes(Some(MIN - 1));
    push(4).await.expect("there was plenty at this very moment");
    app.clock.advance(Duration::from_secs(1));
    assert!(full(push(5).await));
    app.read(&repo, &digest(&bytes(4, 10))).await;
}
