//! The parts as the application puts them together, in process: its clock and its random numbers are the test's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bonded::app::{App, AppBuilder, AppError, FolderError};
use bonded::clock::{ManualClock, SeededEntropy, Timestamp};
use bonded::config::{Config, Loaded, Sources};
use bonded::oci::digest::{Algorithm, Digest};
use bonded::registry::{PushBody, RegistryError};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

fn config(data: &Path) -> Config {
    let text = data.to_str().expect("a path of visible characters").to_owned();
    let environment = vec![("BONDED_LIMITS_DISK_FREE_BYTES_MIN".into(), "0".into())];
    let sources = Sources { environment, flags: vec![("--data", "data", text)], ..Sources::default() };
    Loaded::read(&sources).expect("a valid configuration").config
}

async fn open(data: &Path, clock: &Arc<ManualClock>) -> Result<App, AppError> {
    let builder = AppBuilder::new(config(data)).clock(Arc::<ManualClock>::clone(clock));
    builder.entropy(Arc::new(SeededEntropy::new(7))).open().await
}

#[tokio::test]
async fn configured_leases_end_by_the_clock_that_was_given() {
    let data = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_793_491_200_000_000)));
    let app = open(data.path(), &clock).await.expect("it opens");
    let (repo, bytes) = ("team/app".parse().expect("a name"), Bytes::from_static(b"leased"));
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let length = Some(bytes.len() as u64);
    let body = PushBody { stream: stream::iter([Ok(bytes)]).boxed(), length, awaits_continue: false };
    app.registry().push_blob(&repo, &digest, body).await.expect("it is taken");

    clock.advance(Duration::from_hours(23));
    while app.registry().sweep().await.expect("a sweep") {}
    app.registry().stat_blob(&repo, &digest, false).await.expect("the lease holds");
    clock.advance(Duration::from_hours(2));
    while app.registry().sweep().await.expect("a sweep") {}
    let gone = app.registry().stat_blob(&repo, &digest, false).await;
    assert!(matches!(gone, Err(RegistryError::BlobUnknown(_))), "{gone:?}");
}

#[tokio::test]
async fn the_folder_is_held_until_the_application_is_dropped() {
    let data = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(Timestamp::default()));
    let app = open(data.path(), &clock).await.expect("it opens");
    let second = open(data.path(), &clock).await;
    assert!(matches!(second, Err(AppError::Folder(FolderError::InUse { .. }))), "{second:?}");
    AppBuilder::new(config(data.path())).open_beside().await.expect("verbs work beside it");
    drop(app);
    open(data.path(), &clock).await.expect("it opens again");
}

#[tokio::test]
async fn what_was_never_served_cannot_be_opened_beside() {
    let data = tempfile::tempdir().expect("a folder");
    let absent = AppBuilder::new(config(data.path())).open_beside().await;
    assert!(matches!(absent, Err(AppError::Database { .. })), "{absent:?}");
    assert_eq!(std::fs::read_dir(data.path()).expect("the folder").count(), 0, "nothing was made");
}
