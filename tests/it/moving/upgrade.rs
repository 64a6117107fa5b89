//! A database that an older version made is brought up to date, and everything in it is there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bonded::app::{App, AppBuilder};
use bonded::clock::{ManualClock, SeededEntropy, Timestamp};
use bonded::config::{Loaded, Sources};
use bonded::metadata::model::UploadId;
use bonded::oci::digest::Digest;
use bonded::oci::reference::Reference;
use bonded::registry::{FsckOptions, PageRequest, Registry, RegistryError};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::{digest, name};
use crate::registry::whole;

/// What the version of the last commit before the second migration left, as text.
const BEFORE: &str = include_str!("before_the_second_migration.sql");

/// A minute after it was stopped.
const NOW: Timestamp = Timestamp::from_micros(1_795_246_580_000_000);

/// The one blob that it kept as a file.
const OBJECT: &str = "blobs/sha256/c5/c59d3c0480cc2d71d8f646e735e92da65450311eec46e81a5db8c7e6e8a92054\
                      .5441f67af2a3bb31113e38a6a643e300";

async fn make(folder: &Path) {
    let options = SqliteConnectOptions::new().filename(folder.join("bonded.db")).create_if_missing(true);
    let mut conn = options.connect().await.expect("a database");
    sqlx::raw_sql(BEFORE).execute(&mut conn).await.expect("as it was");
    let object = folder.join(OBJECT);
    std::fs::create_dir_all(object.parent().expect("a folder")).expect("a folder");
    std::fs::write(object, large()).expect("an object");
}

fn large() -> Vec<u8> {
    vec![b'x'; 5000]
}

async fn open(folder: &Path) -> App {
    let text = folder.to_str().expect("a path of visible characters").to_owned();
    let environment = vec![("BONDED_LIMITS_DISK_FREE_BYTES_MIN".into(), "0".into())];
    let sources = Sources { environment, flags: vec![("--data", "data", text)], ..Sources::default() };
    let config = Loaded::read(&sources).expect("a valid configuration").config;
    let clock = Arc::new(ManualClock::new(NOW));
    AppBuilder::new(config).clock(clock).entropy(Arc::new(SeededEntropy::new(7))).open().await.expect("it opens")
}

async fn pull(registry: &Registry, repo: &str, digest: &Digest) -> Vec<u8> {
    let blob = registry.open_blob(&name(repo), digest).await.expect("a blob");
    let mut stream = registry.read_blob(&name(repo), &blob, None).await.expect("readable").into_stream(4096);
    let mut data = Vec::new();
    while let Some(piece) = stream.next().await {
        data.extend_from_slice(&piece.expect("read"));
    }
    data
}

#[tokio::test]
async fn the_database_of_the_last_version_is_brought_up_to_date_with_everything_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path()).await;
    let app = open(folder.path()).await;
    let registry = app.registry();

    let repositories = registry.list_repositories(&PageRequest::default()).await.expect("a list").entries;
    assert_eq!(repositories, [name("team/app")]);
    let tags = registry.list_tags(&name("team/app"), &PageRequest::default()).await.expect("a list").entries;
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["all", "sig", "v1", "v2"]);
    for tag in tags {
        let found = registry.find_manifest(&name("team/app"), &Reference::Tag(tag)).await.expect("a manifest");
        assert_eq!(digest(&found.payload), found.digest);
    }
    let subject = "sha256:6a2966d375acd73842d1649a9ccc6bc4e03fad4bd05bb5ebb32b21a39ca080bc".parse().expect("a digest");
    let referrers =
        registry.list_referrers(&name("team/app"), &subject, None, &PageRequest::default()).await.expect("a page");
    assert_eq!(referrers.descriptors.matches("\"digest\"").count(), 1, "{referrers:?}");
    assert_eq!(pull(registry, "team/app", &digest(&large())).await, large());
    assert_eq!(pull(registry, "team/app", &digest(b"a layer from before\n")).await, b"a layer from before\n");
    let gone = registry.open_blob(&name("gone"), &digest(&large())).await;
    assert!(matches!(gone, Err(RegistryError::BlobUnknown(_))), "{gone:?}");

    finish_the_session(registry).await;
    let mut lines = Vec::new();
    let options = FsckOptions { rehash: true, rebuild: false };
    registry.fsck(options, &mut |line| lines.push(line)).await.expect("checked");
    assert_eq!(lines, Vec::<String>::new());
    let instance = app.stores().metadata.instance().await.expect("an instance");
    assert_eq!((instance.id.len(), instance.copy_of, instance.empty), (32, None, false));
    assert!(app.stores().clock.now() < NOW.after(Duration::from_secs(1)));
}

/// A session that stood at four bytes goes on.
async fn finish_the_session(registry: &Registry) {
    let session = UploadId::parse("1680d0f1-d576-4801-b117-f7c7267e3630").expect("a session");
    let rest = Bytes::from_static(b" and the other half");
    let data = b"half and the other half";
    let status = registry.upload_status(&name("team/app"), &session).await.expect("it is still there");
    assert_eq!(status.received, 4);
    let finished = registry.finish_upload(&name("team/app"), &session, None, &digest(data), whole(&rest)).await;
    finished.expect("finished");
    assert_eq!(pull(registry, "team/app", &digest(data)).await, data);
}

#[tokio::test]
async fn opening_it_again_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path()).await;
    let first = open(folder.path()).await;
    let id = first.stores().metadata.instance().await.expect("an instance").id;
    first.close().await;
    let second = open(folder.path()).await;
    assert_eq!(second.stores().metadata.instance().await.expect("an instance").id, id);
}
