//! What only a store in a folder promises.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bonded::storage::fs::{Durability, FsOptions, FsStore, kernel_boot_id};
use bonded::storage::{AppendError, AppendHint, Appended, BlobStore, ReadSource, StorageError};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::contract::source::ScriptedSource;
use crate::contract::storage::{append, begin, complete, data, key, read};

async fn open(root: &Path, boot_id: &str) -> FsStore {
    let options = FsOptions { root: root.to_owned(), durability: Durability::Strict, boot_id: boot_id.to_owned() };
    FsStore::open(options).await.expect("a store")
}

fn only_file(root: &Path) -> PathBuf {
    root.join(key("01").as_str())
}

#[tokio::test]
async fn an_upload_outlives_the_server_but_not_the_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = key("01");
    let store = open(folder.path(), "one").await;
    let at = begin(&store, &key).await;
    let at = append(&store, &key, &at, [Bytes::from("first, ")]).await.expect("append");

    let restarted = open(folder.path(), "one").await;
    let at = append(&restarted, &key, &at, [Bytes::from("second")]).await.expect("append");

    let rebooted = open(folder.path(), "two").await;
    let appended = append(&rebooted, &key, &at, [Bytes::from(", third")]).await;
    assert!(matches!(appended, Err(AppendError::Storage(StorageError::UploadLost { .. }))), "{appended:?}");
    let again = Appended { state: at.state.clone(), ..at };
    let completed = complete(&rebooted, &key, again).await;
    assert!(matches!(completed, Err(StorageError::UploadLost { .. })), "{completed:?}");

    assert_eq!(read(&restarted, &key, None).await.expect("read"), "first, second");
}

#[tokio::test]
async fn a_file_that_lost_bytes_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = (open(folder.path(), "one").await, key("01"));
    let at = begin(&store, &key).await;
    let at = append(&store, &key, &at, [data(1_000, 1)]).await.expect("append");

    let opened = store.read(&key, None).await.expect("read");
    let file = std::fs::OpenOptions::new().write(true).open(only_file(folder.path())).expect("the file");
    file.set_len(999).expect("cut");

    let mut pieces = opened.into_stream(400);
    for expected in [400, 400] {
        assert_eq!(pieces.next().await.expect("a piece").expect("bytes").len(), expected);
    }
    let last = pieces.next().await;
    assert!(matches!(last, Some(Err(StorageError::Corrupt { .. }))), "{last:?}");
    assert!(pieces.next().await.is_none(), "nothing follows an error");
    let past = store.read(&key, Some(0..1_000)).await;
    assert!(matches!(past, Err(StorageError::Corrupt { .. })), "{past:?}");

    let appended = append(&store, &key, &at, [Bytes::from("more")]).await;
    assert!(matches!(appended, Err(AppendError::Storage(StorageError::UploadLost { .. }))), "{appended:?}");
    let completed = complete(&store, &key, at).await;
    assert!(matches!(completed, Err(StorageError::UploadLost { .. })), "{completed:?}");
}

#[tokio::test]
async fn an_object_is_read_to_its_end_though_it_is_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key, data) = (open(folder.path(), "one").await, key("01"), data(500_000, 2));
    store.put(&key, data.clone()).await.expect("put");
    let opened = store.read(&key, Some(10..400_000)).await.expect("read");
    assert!(matches!(&opened.source, ReadSource::File { range, .. } if *range == (10..400_000)), "{opened:?}");
    assert!(store.delete_many(std::slice::from_ref(&key)).await.iter().all(Result::is_ok));
    let mut all = Vec::new();
    let mut pieces = opened.into_stream(100_000);
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece.expect("bytes"));
    }
    assert_eq!(all, data[10..400_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_dropped_writes_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = (open(folder.path(), "one").await, key("01"));
    // Enough for one write to be under way when the source has nothing more to give.
    let (old, new) = (data(250_000, 3), data(100_000, 4));
    for _ in 0..50 {
        let at = begin(&store, &key).await;
        let hung = Arc::new(Notify::new());
        let mut source = ScriptedSource::new(0, [old.clone()]).hanging(hung.clone());
        tokio::select! {
            biased;
            () = hung.notified() => {}
            ended = store.append(&key, at.state.clone(), 0, Bytes::new(), AppendHint::default(), &mut source) => {
                panic!("the source goes on: {ended:?}")
            }
        }
        let at = append(&store, &key, &at, [new.clone()]).await.expect("append");
        complete(&store, &key, at).await.expect("complete");
        assert_eq!(read(&store, &key, None).await.expect("read"), new);
        store.abort(&key, None).await.expect("abort");
    }
}

#[tokio::test]
async fn a_taken_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, key) = (open(folder.path(), "one").await, key("01"));
    store.put(&key, "finished".into()).await.expect("put");
    store.begin(&key).await.expect_err("the key is taken");
    assert_eq!(read(&store, &key, None).await.expect("read"), "finished");
}

#[tokio::test]
async fn the_store_knows_its_room_and_makes_its_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), &kernel_boot_id().expect("a boot id")).await;
    assert!(store.free_bytes().await.expect("an answer").expect("a number") > 0);
    for shard in ["_/00", "sha256/ab", "sha512/ff"] {
        assert!(folder.path().join("blobs").join(shard).is_dir(), "{shard}");
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_a_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("file");
    std::fs::write(&root, "in the way").expect("write");
    let options = FsOptions { root: root.clone(), durability: Durability::Relaxed, boot_id: String::new() };
    let error = FsStore::open(options).await.expect_err("no folder").to_string();
    assert!(error.contains(root.to_str().expect("text")), "{error}");
}
