//! Collection over stores that fail: whatever fails, the next sweeps finish the work, and nothing is lost that somebody
//! needs.

use std::sync::Arc;
use std::time::Duration;

use bonded::metadata::layers::Fault as MetadataFault;
use bonded::storage::BlobStore;
use bonded::storage::layers::{Fault as StorageFault, Moment, Operation};
use bonded::storage::memory::MemoryStore;
use futures_util::StreamExt as _;
use reqwest::StatusCode;

use crate::app::{TestApp, expect};
use crate::faults::wire::assert_sound;
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, bytes};

/// The calls of a sweep.
const METADATA: [&str; 8] = [
    "upload_expire",
    "manifest_collect",
    "membership_collect",
    "blob_collect",
    "deletion_claim",
    "deletion_done",
    "deletion_retry",
    "upload_count",
];
const STORAGE: [Operation; 2] = [Operation::Abort, Operation::DeleteMany];

#[tokio::test]
async fn a_sweep_that_fails_anywhere_is_finished_by_the_next() {
    let store = Arc::new(MemoryStore::with_parts(10_000));
    let app = TestApp::builder().storage(Arc::<MemoryStore>::clone(&store)).start().await;
    let kept = ImageBuilder::new().layer(&bytes(25_000, 1));
    app.push_image("kept", "v1", &kept).await;
    let mut seed = 1;
    for moment in Moment::ALL {
        for fault in [MetadataFault::Unavailable, MetadataFault::Driver] {
            for method in METADATA {
                seed += 1;
                make_garbage(&app, seed).await;
                if method == "deletion_retry" {
                    app.storage_faults.fail(Operation::DeleteMany, 1, Moment::Before, StorageFault::Unavailable);
                }
                app.metadata_faults.fail(method, 1, moment, fault);
                assert!(app.registry.sweep().await.is_err(), "{method} {moment:?}");
                assert_clean(&app, &store, &format!("{method} {moment:?} {fault:?}")).await;
            }
        }
        for fault in [StorageFault::Unavailable, StorageFault::Denied, StorageFault::Other] {
            for operation in STORAGE {
                seed += 1;
                make_garbage(&app, seed).await;
                app.storage_faults.fail(operation, 1, moment, fault);
                app.registry.sweep().await.expect("what cannot be removed waits");
                assert_clean(&app, &store, &format!("{operation:?} {moment:?} {fault:?}")).await;
            }
        }
    }
    let manifest = expect(app.get("/v2/kept/manifests/v1"), StatusCode::OK).await;
    assert_eq!(manifest.bytes().await.expect("a whole body"), kept.manifest());
}

/// A deleted image with its referrer, a blob that nobody named, and a session that nobody finished, all past their time.
async fn make_garbage(app: &TestApp, seed: u32) {
    let image = ImageBuilder::new().layer(&bytes(25_000, 1)).layer(&bytes(25_000, 1_000 + seed));
    let digest = app.push_image("garbage", "v1", &image).await;
    let signature = ImageBuilder::new().subject(IMAGE_MANIFEST, &image.manifest());
    app.push_image("garbage", "signature", &signature).await;
    expect(app.delete("/v2/garbage/manifests/signature"), StatusCode::ACCEPTED).await;
    app.push_blob("garbage", &bytes(25_000, 2_000 + seed)).await;
    let session = app.start_upload("garbage").await;
    expect(app.patch(&session).body(bytes(25_000, 3_000 + seed)), StatusCode::ACCEPTED).await;
    expect(app.delete(&format!("/v2/garbage/manifests/{digest}")), StatusCode::ACCEPTED).await;
    app.clock.advance(Duration::from_hours(25));
}

/// Later sweeps leave nothing but the image that was kept.
async fn assert_clean(app: &TestApp, store: &MemoryStore, after: &str) {
    assert_sound(app, after).await;
    for _ in 0..3 {
        app.clock.advance(Duration::from_mins(10));
        while app.registry.sweep().await.expect("swept") {}
    }
    let left: Vec<_> = store.list().collect().await;
    assert_eq!(left.len(), 1, "{after}: {left:?}");
    assert_eq!(app.registry.store_counts().await.expect("counted").deletions, 0, "{after}");
    assert_sound(app, after).await;
}
