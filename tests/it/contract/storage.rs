//! The rules of `BlobStore`. A new driver adds a function that opens it and a line of `storage_contract!`.

use std::ops::Range;
use std::sync::Arc;

use bonded::storage::fs::{Durability, FsOptions, FsStore};
use bonded::storage::memory::MemoryStore;
use bonded::storage::s3::{S3Options, S3Store};
use bonded::storage::{AppendError, AppendHint, Appended, BlobStore, DriverState, Key, ObjectInfo, StorageError};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use tempfile::TempDir;

use crate::contract::source::ScriptedSource;
use crate::s3::Gateway;
use crate::s3::server::S3Server;

/// Runs every rule on a fresh store of one driver, opened by the function of that name.
macro_rules! storage_contract {
    ($driver:ident) => {
        storage_contract!($driver, [
            a_put_object_is_read_back,
            a_second_put_replaces_the_first,
            a_missing_object_is_not_found,
            a_range_past_the_end_is_corrupt,
            an_upload_in_several_appends_is_one_object,
            an_empty_upload_is_an_empty_object,
            a_tail_comes_before_the_source,
            completing_stores_the_tail,
            what_a_broken_writer_left_is_cut_off,
            an_upload_goes_on_from_its_last_checkpoint,
            a_fenced_writer_stops,
            completing_twice_is_as_the_driver_says,
            a_sole_writer_may_make_an_object_of_what_may_go_on,
            a_foreign_state_is_lost,
            an_aborted_upload_is_lost,
            aborting_frees_the_key,
            aborting_removes_what_was_completed,
            deleting_answers_in_order_and_forgives_the_missing,
            listing_finds_finished_and_unfinished,
            listing_a_folder_finds_what_lies_below_it,
            keys_may_have_any_shape,
        ]);
    };
    ($driver:ident, [$($rule:ident),+ $(,)?]) => {
        mod $driver {
            $(
                #[tokio::test]
                async fn $rule() {
                    let bed = super::$driver().await;
                    super::$rule(&bed).await;
                }
            )+
        }
    };
}

storage_contract!(memory);
storage_contract!(memory_parts);
storage_contract!(fs_strict);
storage_contract!(fs_relaxed);
storage_contract!(s3);
storage_contract!(s3_equal_parts);
storage_contract!(s3_prefixed);
storage_contract!(s3_real);
storage_contract!(s3_real_equal_parts);

async fn memory() -> Bed {
    Bed::new(MemoryStore::new())
}

async fn memory_parts() -> Bed {
    Bed::new(MemoryStore::with_parts(64 << 10))
}

async fn fs_strict() -> Bed {
    folder(Durability::Strict).await
}

async fn fs_relaxed() -> Bed {
    folder(Durability::Relaxed).await
}

async fn folder(durability: Durability) -> Bed {
    let folder = tempfile::tempdir().expect("a folder");
    let options = FsOptions { root: folder.path().join("data"), durability, boot_id: "this-run".to_owned() };
    let store = FsStore::open(options).await.expect("a store");
    Bed { _folder: Some(folder), ..Bed::new(store) }
}

async fn s3() -> Bed {
    Bed::over(S3Server::start().await, |options| options).await
}

async fn s3_equal_parts() -> Bed {
    Bed::over(S3Server::with_equal_parts().await, |options| S3Options { equal_parts: true, ..options }).await
}

async fn s3_prefixed() -> Bed {
    Bed::over(S3Server::start().await, |options| S3Options { prefix: "some/where".to_owned(), ..options }).await
}

async fn s3_real() -> Bed {
    real(|options| options).await
}

async fn s3_real_equal_parts() -> Bed {
    real(|options| S3Options { equal_parts: true, prefix: "equal".to_owned(), ..options }).await
}

async fn real(change: impl FnOnce(S3Options) -> S3Options) -> Bed {
    let gateway = Gateway::start();
    let store = S3Store::open(change(gateway.options())).await.expect("a store");
    Bed { large: 14 << 20, _gateway: Some(gateway), ..Bed::new(store) }
}

/// A store and what it stands on.
struct Bed {
    store: Arc<dyn BlobStore>,
    /// Bytes that are certainly too many for the driver to give back as tail.
    large: usize,
    _folder: Option<TempDir>,
    _server: Option<S3Server>,
    _gateway: Option<Gateway>,
}

impl Bed {
    fn new(store: impl BlobStore + 'static) -> Self {
        Self { store: Arc::new(store), large: 100_000, _folder: None, _server: None, _gateway: None }
    }

    async fn over(server: S3Server, change: impl FnOnce(S3Options) -> S3Options) -> Self {
        let store = S3Store::open(change(server.options())).await.expect("a store");
        Self { large: 14 << 20, _server: Some(server), ..Self::new(store) }
    }
}

async fn a_put_object_is_read_back(bed: &Bed) {
    let store = bed.store.as_ref();
    let (key, data) = (key("01"), data(300_000, 1));
    store.put(&key, data.clone()).await.expect("put");
    assert_eq!(store.stat(&key).await.expect("stat"), 300_000);
    assert_eq!(store.read(&key, None).await.expect("read").size, 300_000);
    assert_eq!(read(store, &key, None).await.expect("read"), data);
    for range in [0..1, 0..0, 5..70_000, 299_999..300_000, 300_000..300_000, 0..300_000] {
        let at = usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
        let read = read(store, &key, Some(range.clone())).await.expect("read");
        assert_eq!(read, data.slice(at), "{range:?}");
    }
}

async fn a_second_put_replaces_the_first(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    for text in ["a long first text", "short", ""] {
        store.put(&key, text.into()).await.expect("put");
        assert_eq!(read(store, &key, None).await.expect("read"), text);
    }
}

async fn a_missing_object_is_not_found(bed: &Bed) {
    let store = bed.store.as_ref();
    for key in [key("01"), parsed("elsewhere/entirely"), parsed("blobs/_")] {
        let stat = store.stat(&key).await;
        assert!(matches!(&stat, Err(StorageError::NotFound { key: k }) if *k == key.to_string()), "{stat:?}");
        for range in [None, Some(0..1)] {
            let read = store.read(&key, range).await;
            assert!(matches!(read, Err(StorageError::NotFound { .. })), "{read:?}");
        }
    }
}

async fn a_range_past_the_end_is_corrupt(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    store.put(&key, "four".into()).await.expect("put");
    let read = store.read(&key, Some(2..5)).await;
    assert!(matches!(read, Err(StorageError::Corrupt { .. })), "{read:?}");
}

async fn an_upload_in_several_appends_is_one_object(bed: &Bed) {
    let store = bed.store.as_ref();
    let (key, data) = (key("01"), data(700_001, 2));
    let mut at = begin(store, &key).await;
    for (part, piece) in [(0..20_001, 10), (20_001..200_000, 1_000), (200_000..200_000, 1), (200_000..700_001, 300_000)]
    {
        let pieces = cut(&data.slice(part.clone()), piece);
        at = append(store, &key, &at, pieces).await.expect("append");
        assert_eq!(end(&at), part.end as u64, "every byte is stored or comes back");
    }
    complete(store, &key, at).await.expect("complete");
    assert_eq!(store.stat(&key).await.expect("stat"), 700_001);
    assert_eq!(read(store, &key, None).await.expect("read"), data);
}

async fn an_empty_upload_is_an_empty_object(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    let at = begin(store, &key).await;
    let at = append(store, &key, &at, []).await.expect("append");
    complete(store, &key, at).await.expect("complete");
    assert_eq!(store.stat(&key).await.expect("stat"), 0);
    assert_eq!(read(store, &key, None).await.expect("read"), "");
}

async fn a_tail_comes_before_the_source(bed: &Bed) {
    let store = bed.store.as_ref();
    let (key, data) = (key("01"), data(400_000, 3));
    let at = Appended { tail: data.slice(..150_000), ..begin(store, &key).await };
    let at = append(store, &key, &at, cut(&data.slice(150_000..), 7_000)).await.expect("append");
    assert_eq!(end(&at), 400_000);
    complete(store, &key, at).await.expect("complete");
    assert_eq!(read(store, &key, None).await.expect("read"), data);
}

async fn completing_stores_the_tail(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    let at = Appended { tail: "all of it".into(), ..begin(store, &key).await };
    complete(store, &key, at).await.expect("complete");
    assert_eq!(read(store, &key, None).await.expect("read"), "all of it");
}

async fn what_a_broken_writer_left_is_cut_off(bed: &Bed) {
    let store = bed.store.as_ref();
    let (first, broken, second) = (data(100_000, 4), data(500_000, 5), data(300_000, 6));
    for (id, second) in [("01", second), ("02", Bytes::new())] {
        let key = key(id);
        let at = begin(store, &key).await;
        let at = append(store, &key, &at, [first.clone()]).await.expect("append");
        append(store, &key, &at, cut(&broken, 90_000)).await.expect("append");
        // Without more bytes it is completing that has to cut.
        let at = if second.is_empty() { at } else { append(store, &key, &at, [second.clone()]).await.expect("append") };
        complete(store, &key, at).await.expect("complete");
        assert_eq!(read(store, &key, None).await.expect("read"), [first.clone(), second].concat());
    }
}

async fn an_upload_goes_on_from_its_last_checkpoint(bed: &Bed) {
    let store = bed.store.as_ref();
    let (key, piece, rest) = (key("01"), data(1 << 20, 7), data(1_000, 8));
    let at = begin(store, &key).await;
    let mut source = ScriptedSource::new(0, std::iter::repeat_n(piece.clone(), 70));
    store.append(&key, at.state, 0, Bytes::new(), AppendHint::default(), &mut source).await.expect("append");
    let (stored, state) = source.checkpoints.pop().expect("a checkpoint in 70 MiB");
    let at = Appended { state, stored, tail: Bytes::new() };
    let at = append(store, &key, &at, [rest.clone()]).await.expect("append");
    complete(store, &key, at).await.expect("complete");
    assert_eq!(store.stat(&key).await.expect("stat"), stored + 1_000);
    let before = read(store, &key, Some(stored - 10..stored)).await.expect("read");
    let stored_end = usize::try_from((stored - 1) % (1 << 20)).expect("small") + 1;
    assert_eq!(before, piece.slice(stored_end - 10..stored_end));
    assert_eq!(read(store, &key, Some(stored..stored + 1_000)).await.expect("read"), rest);
}

async fn a_fenced_writer_stops(bed: &Bed) {
    let store = bed.store.as_ref();
    let (key, piece) = (key("01"), data(1 << 20, 9));
    let first = begin(store, &key).await;
    let mut source = ScriptedSource::new(0, std::iter::repeat_n(piece, 80)).fenced();
    let hint = AppendHint { remaining: Some(80 << 20), closing: true, ..AppendHint::default() };
    let result = store.append(&key, first.state.clone(), 0, Bytes::new(), hint, &mut source).await;
    assert!(matches!(result, Err(AppendError::Fenced)), "{result:?}");
    assert!(source.left() > 0, "it reads no further");

    let at = append(store, &key, &first, [Bytes::from("the newer writer's")]).await.expect("append");
    complete(store, &key, at).await.expect("complete");
    assert_eq!(read(store, &key, None).await.expect("read"), "the newer writer's");
}

async fn completing_twice_is_as_the_driver_says(bed: &Bed) {
    let store = bed.store.as_ref();
    for (id, len) in [("01", 1_000), ("02", bed.large)] {
        let (key, data) = (key(id), data(len, 10));
        let at = begin(store, &key).await;
        let at = append(store, &key, &at, [data.clone()]).await.expect("append");
        let again = Appended { state: at.state.clone(), stored: at.stored, tail: at.tail.clone() };
        complete(store, &key, at).await.expect("complete");
        let second = complete(store, &key, again).await;
        // A driver that does not promise it may still succeed, but never with other bytes.
        let gone = matches!(second, Err(StorageError::NotFound { .. } | StorageError::UploadLost { .. }));
        assert!(second.is_ok() || (gone && !store.complete_is_repeatable()), "{second:?}");
        assert_eq!(read(store, &key, None).await.expect("read"), data);
    }
}

async fn a_sole_writer_may_make_an_object_of_what_may_go_on(bed: &Bed) {
    let store = bed.store.as_ref();
    let (key, data) = (key("01"), data(20_000, 11));
    let at = begin(store, &key).await;
    let hint = AppendHint { sole: true, ..AppendHint::default() };
    let mut source = ScriptedSource::new(0, cut(&data, 7_000));
    let at = store.append(&key, at.state, 0, Bytes::new(), hint, &mut source).await.expect("append");
    assert_eq!(end(&at), 20_000);
    let state = at.state.clone();
    if store.is_whole(&state) {
        assert_eq!(at.stored, 20_000, "nothing is left for the registry to keep");
        assert_eq!(store.stat(&key).await.expect("stat"), 20_000, "before it is completed");
        let more = append(store, &key, &at, ["more".into()]).await;
        assert!(matches!(more, Err(AppendError::Storage(StorageError::UploadLost { .. }))), "{more:?}");
        let more = store.complete(&key, state.clone(), 20_000, "more".into()).await;
        assert!(matches!(more, Err(StorageError::UploadLost { .. })), "{more:?}");
    }
    complete(store, &key, at).await.expect("complete");
    assert_eq!(read(store, &key, None).await.expect("read"), data);
    store.abort(&key, Some(&state)).await.expect("abort");
    assert!(matches!(store.stat(&key).await, Err(StorageError::NotFound { .. })));
}

async fn a_foreign_state_is_lost(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    begin(store, &key).await;
    for state in [DriverState::default(), DriverState(b"\0of another store".to_vec())] {
        let at = Appended { state, ..Appended::default() };
        let appended = append(store, &key, &at, [Bytes::from("more")]).await;
        assert!(matches!(appended, Err(AppendError::Storage(StorageError::UploadLost { .. }))), "{appended:?}");
        let completed = complete(store, &key, at).await;
        assert!(matches!(completed, Err(StorageError::UploadLost { .. })), "{completed:?}");
    }
}

async fn an_aborted_upload_is_lost(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    let at = begin(store, &key).await;
    let at = append(store, &key, &at, [data(bed.large, 11)]).await.expect("append");
    store.abort(&key, Some(&at.state)).await.expect("abort");
    // A few bytes more a driver may keep as tail without asking anybody.
    let appended = append(store, &key, &at, [data(bed.large, 13)]).await;
    assert!(matches!(appended, Err(AppendError::Storage(StorageError::UploadLost { .. }))), "{appended:?}");
    let completed = complete(store, &key, at).await;
    assert!(matches!(completed, Err(StorageError::UploadLost { .. })), "{completed:?}");
    assert_eq!(list(store).await, []);
}

async fn aborting_frees_the_key(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    store.abort(&key, None).await.expect("nothing to abort");
    for text in ["first", "second"] {
        let at = begin(store, &key).await;
        let at = append(store, &key, &at, [Bytes::from(text)]).await.expect("append");
        store.abort(&key, Some(&at.state)).await.expect("abort");
        store.abort(&key, Some(&at.state)).await.expect("abort again");
    }
    let at = Appended { tail: "third".into(), ..begin(store, &key).await };
    complete(store, &key, at).await.expect("complete");
    assert_eq!(read(store, &key, None).await.expect("read"), "third");
}

async fn aborting_removes_what_was_completed(bed: &Bed) {
    let store = bed.store.as_ref();
    let key = key("01");
    let at = Appended { tail: "completed, but never recorded".into(), ..begin(store, &key).await };
    let state = at.state.clone();
    complete(store, &key, at).await.expect("complete");
    store.abort(&key, Some(&state)).await.expect("abort");
    assert_eq!(list(store).await, []);
}

async fn deleting_answers_in_order_and_forgives_the_missing(bed: &Bed) {
    let store = bed.store.as_ref();
    let (here, there, gone) = (key("01"), key("a2"), key("03"));
    let kept = key("04");
    for key in [&here, &there, &kept] {
        store.put(key, "bytes".into()).await.expect("put");
    }
    let nowhere = parsed("no/such/folder");
    let answers = store.delete_many(&[here.clone(), gone, there.clone(), nowhere, here.clone()]).await;
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for key in [&here, &there] {
        assert!(matches!(store.stat(key).await, Err(StorageError::NotFound { .. })));
    }
    assert_eq!(store.stat(&kept).await.expect("stat"), 5);
    assert!(store.delete_many(&[]).await.is_empty());
}

async fn listing_finds_finished_and_unfinished(bed: &Bed) {
    let store = bed.store.as_ref();
    assert_eq!(list(store).await, []);
    let (finished, unfinished) = (key("01"), key("f2"));
    store.put(&finished, "bytes".into()).await.expect("put");
    let at = begin(store, &unfinished).await;
    append(store, &unfinished, &at, [data(bed.large, 12)]).await.expect("append");
    let found = list(store).await;
    assert_eq!(found.iter().map(|object| &object.key).collect::<Vec<_>>(), [&finished, &unfinished]);
    assert_eq!(found[0].size, Some(5));
    assert!(found[1].size.is_none_or(|size| size == bed.large as u64), "{found:?}");
}

async fn listing_a_folder_finds_what_lies_below_it(bed: &Bed) {
    let store = bed.store.as_ref();
    let old = ["docker/registry/v2/blobs/a/data", "docker/registry/v2/blobs/b/c/data", "docker/registry/v2/blobs2/d"];
    for key in old.iter().map(|text| parsed(text)).chain([key("01")]) {
        store.put(&key, "bytes".into()).await.expect("put");
    }
    let below = async |folder: &str| {
        let mut found: Vec<ObjectInfo> = store.list_under(&parsed(folder)).try_collect().await.expect("a list");
        found.sort_by(|one, other| one.key.cmp(&other.key));
        assert!(found.iter().all(|object| object.size == Some(5)), "{found:?}");
        found.into_iter().map(|object| object.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(below("docker").await, old);
    assert_eq!(below("docker/registry/v2/blobs").await, old[..2]);
    assert_eq!(below("docker/registry/v2/blob").await, [""; 0]);
    assert_eq!(below("nothing/here").await, [""; 0]);
    let ours: Vec<Key> = list(store).await.into_iter().map(|object| object.key).collect();
    assert_eq!(ours, [key("01")], "what was adopted is none of ours");
}

async fn keys_may_have_any_shape(bed: &Bed) {
    let store = bed.store.as_ref();
    let adopted = "docker/registry/v2/blobs/sha256/ab/abcdef/data";
    for text in [adopted, "top", "blobs/other/deep/er", "with space/ü.bin"] {
        let key = parsed(text);
        store.put(&key, "put".into()).await.expect("put");
        store.abort(&key, None).await.expect("abort");
        let at = Appended { tail: Bytes::from(text), ..begin(store, &key).await };
        complete(store, &key, at).await.expect("complete");
        assert_eq!(read(store, &key, None).await.expect("read"), text);
    }
}

pub(crate) fn key(id: &str) -> Key {
    Key::opaque(&format!("{id}00000000000000000000000000000000")[..32])
}

fn parsed(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

/// Bytes that follow from `seed` and do not repeat soon.
pub(crate) fn data(len: usize, seed: u32) -> Bytes {
    let mut word = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        // xorshift32 (Marsaglia 2003).
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        word.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

/// `data` in pieces of `len` bytes.
fn cut(data: &Bytes, len: usize) -> Vec<Bytes> {
    (0..data.len()).step_by(len).map(|at| data.slice(at..data.len().min(at + len))).collect()
}

pub(crate) async fn begin(store: &dyn BlobStore, key: &Key) -> Appended {
    Appended { state: store.begin(key).await.expect("begin"), ..Appended::default() }
}

pub(crate) async fn append(
    store: &dyn BlobStore,
    key: &Key,
    at: &Appended,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<Appended, AppendError> {
    let mut source = ScriptedSource::new(end(at), pieces);
    let hint = AppendHint { remaining: Some(source.left()), ..AppendHint::default() };
    store.append(key, at.state.clone(), at.stored, at.tail.clone(), hint, &mut source).await
}

pub(crate) async fn complete(store: &dyn BlobStore, key: &Key, at: Appended) -> Result<(), StorageError> {
    store.complete(key, at.state, at.stored, at.tail).await
}

pub(crate) async fn read(store: &dyn BlobStore, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, StorageError> {
    let mut pieces = store.read(key, range).await?.into_stream(70_000);
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.try_next().await? {
        assert!(!piece.is_empty(), "an empty piece would end an HTTP body early");
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

async fn list(store: &dyn BlobStore) -> Vec<ObjectInfo> {
    let mut found: Vec<ObjectInfo> = store.list().try_collect().await.expect("list");
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

fn end(at: &Appended) -> u64 {
    at.stored + at.tail.len() as u64
}
