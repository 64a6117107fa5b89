//! A real S3 server that fails: the client gets a retryable error or success, never a lie, and nothing is left behind.

use std::time::Duration;

use bonded::faults::Moment;
use bonded::metadata::layers::Fault as MetadataFault;
use bonded::metadata::model::UploadId;
use bonded::oci::digest::Algorithm;
use bonded::registry::{ChunkRange, RegistryError, UploadStatus};
use bonded::storage::s3::{S3Credentials, S3Options, S3Store};
use bonded::storage::{BlobStore, Key, StorageError};
use bytes::Bytes;
use conformance::servers::{Fault, Operation, Rule};
use futures_util::{StreamExt, TryStreamExt};

use tokio::task::JoinSet;

use super::{Cluster, Gateway, bytes, chunked, digest, repo, whole};

/// The calls of docker's flow, by the one that fails.
const CALLS: [Operation; 3] =
    [Operation::CreateMultipartUpload, Operation::UploadPart, Operation::CompleteMultipartUpload];

/// POST, PATCH, PUT.
async fn push(cluster: &Cluster, data: &Bytes) -> Result<(), RegistryError> {
    let registry = cluster.node();
    let id = registry.start_upload(&repo(), Algorithm::Sha256).await?.id;
    registry.append_upload(&repo(), &id, None, chunked(data)).await?;
    registry.finish_upload(&repo(), &id, None, &digest(data), whole(&Bytes::new())).await
}

/// A PATCH of the first node, one call of which is held up on its way to the store.
async fn held_up(
    gateway: &Gateway,
    cluster: &Cluster,
    operation: Operation,
    id: &UploadId,
    data: &Bytes,
) -> JoinSet<Result<UploadStatus, RegistryError>> {
    let late = gateway.proxy.add(Rule::new(Fault::Delay(Duration::from_secs(2))).on(operation).nth(1));
    let mut tasks = JoinSet::new();
    let (registry, id, body) = (cluster.node().clone(), id.clone(), chunked(data));
    tasks.spawn(async move { registry.append_upload(&repo(), &id, None, body).await });
    gateway.proxy.wait_for_hits(late, 1).await;
    tasks
}

async fn start(change: impl FnOnce(S3Options) -> S3Options) -> (Gateway, Cluster) {
    let gateway = Gateway::start();
    let cluster = Cluster::start([change(gateway.options())]).await;
    (gateway, cluster)
}

#[tokio::test]
async fn docker_costs_four_calls_on_a_real_server_too() {
    let (gateway, cluster) = start(|options| options).await;
    for (len, calls) in [(100_000, 1), (20_000_000, 4), (20 << 20, 4)] {
        let data = bytes(len, 1);
        gateway.proxy.forget();
        push(&cluster, &data).await.expect("pushed");
        assert_eq!(gateway.proxy.total(), calls, "{:?}", gateway.proxy.counts());
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
    }
    cluster.assert_sound().await;
    assert_eq!(gateway.uploads(), 0);
}

#[tokio::test]
async fn a_call_that_fails_once_is_tried_again() {
    let data = bytes(10_000_000, 1);
    let faults = [
        Fault::Status(500),
        Fault::SlowDown,
        Fault::DropAnswer,
        Fault::CutRequest(100),
        Fault::ErrorInOk,
        Fault::ErrorInOkAfter,
    ];
    let (gateway, cluster) = start(|options| options).await;
    for operation in CALLS {
        for fault in &faults {
            let embedded = matches!(fault, Fault::ErrorInOk | Fault::ErrorInOkAfter);
            if embedded && operation != Operation::CompleteMultipartUpload {
                // Only calls that take long answer so.
                continue;
            }
            let rule = gateway.proxy.add(Rule::new(fault.clone()).on(operation).nth(1));
            push(&cluster, &data).await.unwrap_or_else(|error| panic!("{operation:?} {fault:?}: {error:?}"));
            assert_eq!(gateway.proxy.hits(rule), 1, "{operation:?} {fault:?}");
            gateway.proxy.clear();
            assert_eq!(cluster.read(0, &digest(&data)).await, data, "{operation:?} {fault:?}");
        }
    }
    cluster.settle().await;
    assert_eq!(cluster.objects().await, []);
    cluster.assert_sound().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_told_as_busy_and_what_was_begun_goes() {
    let data = bytes(10_000_000, 1);
    for operation in CALLS {
        let (gateway, cluster) = start(|options| options).await;
        gateway.proxy.add(Rule::new(Fault::SlowDown).on(operation));
        let failed = push(&cluster, &data).await;
        assert!(matches!(failed, Err(RegistryError::Busy { .. })), "{operation:?}: {failed:?}");
        assert_eq!(gateway.proxy.count(operation), 3, "as often as the options say");
        gateway.proxy.clear();
        push(&cluster, &data).await.expect("the store is back");
        cluster.assert_sound().await;
        cluster.settle().await;
        assert_eq!((gateway.objects(), gateway.uploads()), (Vec::new(), 0), "{operation:?}");
    }
}

#[tokio::test]
async fn a_repeated_put_completes_what_a_failing_store_did_not() {
    for fault in [Fault::SlowDown, Fault::DropAnswer] {
        for len in [100_000, 10_000_000] {
            let (gateway, cluster) = start(|options| options).await;
            let (registry, data) = (cluster.node(), bytes(len, 1));
            let id = registry.start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
            // Of a chunk with a range nobody believes that it is the last, so a small one is no object before the PUT.
            let range = ChunkRange { start: 0, end: data.len() as u64 - 1 };
            registry.append_upload(&repo(), &id, Some(range), chunked(&data)).await.expect("appended");
            gateway.proxy.add(Rule::new(fault.clone()).on(Operation::CompleteMultipartUpload));
            gateway.proxy.add(Rule::new(fault.clone()).on(Operation::PutObject));
            let none = || whole(&Bytes::new());
            let failed = registry.finish_upload(&repo(), &id, None, &digest(&data), none()).await;
            assert!(matches!(failed, Err(RegistryError::Busy { .. })), "{failed:?}");
            gateway.proxy.clear();
            registry.finish_upload(&repo(), &id, None, &digest(&data), none()).await.expect("repeated");
            assert_eq!(cluster.read(0, &digest(&data)).await, data);
            cluster.assert_sound().await;
            assert_eq!(gateway.uploads(), 0);
        }
    }
}

#[tokio::test]
async fn a_chunk_that_a_failing_store_did_not_take_is_sent_again() {
    for fault in [Fault::SlowDown, Fault::DropAnswer] {
        let (gateway, cluster) = start(|options| options).await;
        let (registry, data) = (cluster.node(), bytes(100_000, 1));
        let id = registry.start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        gateway.proxy.add(Rule::new(fault).on(Operation::PutObject));
        let failed = registry.append_upload(&repo(), &id, None, chunked(&data)).await;
        assert!(matches!(failed, Err(RegistryError::Busy { .. })), "{failed:?}");
        gateway.proxy.clear();
        assert_eq!(registry.upload_status(&repo(), &id).await.expect("open").received, 0);
        let data = bytes(90_000, 2);
        registry.append_upload(&repo(), &id, None, chunked(&data)).await.expect("appended");
        let closed = registry.finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
        closed.expect("closed");
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
        cluster.assert_sound().await;
        cluster.settle().await;
        assert_eq!(gateway.objects(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_upload_that_may_be_recorded_is_not_aborted() {
    let (_gateway, cluster) = start(|options| options).await;
    let (registry, data) = (cluster.node(), bytes(6_000_000, 1));
    let id = registry.start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    // The first part is recorded, and the answer that says so gets lost.
    cluster.metadata_faults.fail("upload_checkpoint", 1, Moment::After, MetadataFault::Unavailable);
    let lost = registry.append_upload(&repo(), &id, None, chunked(&data)).await;
    assert!(matches!(lost, Err(RegistryError::Busy { .. })), "{lost:?}");
    assert_eq!(registry.upload_status(&repo(), &id).await.expect("open").received, 6_000_000);
    let closed = registry.finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
    closed.expect("closed");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    cluster.assert_sound().await;
}

#[tokio::test]
async fn an_object_that_a_fenced_writer_sent_late_changes_nothing() {
    let gateway = Gateway::start();
    let cluster = Cluster::start([gateway.options(), gateway.options()]).await;
    let (data, other) = (bytes(300_000, 1), bytes(200_000, 2));
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;

    let mut tasks = held_up(&gateway, &cluster, Operation::PutObject, &id, &other).await;
    cluster.nodes[1].append_upload(&repo(), &id, None, chunked(&data)).await.expect("the newer writer");
    let closed = cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
    closed.expect("closed");

    let fenced = tasks.join_next().await.expect("a task").expect("no panic");
    assert!(matches!(fenced, Err(RegistryError::UploadUnknown)), "{fenced:?}");
    assert_eq!(gateway.objects().len(), 2, "it did arrive");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    cluster.assert_sound().await;
    cluster.settle().await;
    assert_eq!(gateway.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn a_part_that_a_fenced_writer_sent_late_changes_nothing() {
    let gateway = Gateway::start();
    let cluster = Cluster::start([gateway.options(), gateway.options()]).await;
    let (data, other) = (bytes(18_000_000, 1), bytes(18_000_000, 2));
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    cluster.node().append_upload(&repo(), &id, None, chunked(&data.slice(..6_000_000))).await.expect("appended");

    // The older writer goes on with other bytes.
    let mut tasks = held_up(&gateway, &cluster, Operation::UploadPart, &id, &other.slice(6_000_000..)).await;
    let rest = chunked(&data.slice(6_000_000..));
    cluster.nodes[1].append_upload(&repo(), &id, None, rest).await.expect("the newer writer goes on");

    let fenced = tasks.join_next().await.expect("a task").expect("no panic");
    assert!(matches!(fenced, Err(RegistryError::UploadRange { received: 18_000_000 })), "{fenced:?}");
    let closed = cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
    closed.expect("closed");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    assert_eq!(gateway.uploads(), 0);
}

#[tokio::test]
async fn a_slow_store_is_waited_for() {
    let (gateway, cluster) = start(|options| S3Options {
        request_timeout: Duration::from_millis(500),
        stage_after: Duration::from_millis(100),
        ..options
    })
    .await;
    let data = bytes(6_000_000, 1);
    gateway.proxy.add(Rule::new(Fault::Slow(4_000_000)));
    push(&cluster, &data).await.expect("pushed");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    assert_eq!(gateway.proxy.count(Operation::UploadPart), 1, "a part that is on its way is not sent again");
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_in_time() {
    let (gateway, cluster) =
        start(|options| S3Options { request_timeout: Duration::from_millis(300), attempts_max: 2, ..options }).await;
    let data = bytes(100_000, 1);
    for fault in [Fault::Hang, Fault::HangAnswer] {
        gateway.proxy.add(Rule::new(fault).on(Operation::PutObject));
        let failed = push(&cluster, &data).await;
        assert!(matches!(failed, Err(RegistryError::Busy { .. })), "{failed:?}");
        gateway.proxy.clear();
    }
    push(&cluster, &data).await.expect("the store is back");
    cluster.settle().await;
    assert_eq!((gateway.objects(), gateway.uploads()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_body_that_is_cut_or_stalls_is_taken_up_again() {
    let (gateway, cluster) = start(|options| S3Options { stall_timeout: Duration::from_millis(500), ..options }).await;
    let data = bytes(3_000_000, 1);
    push(&cluster, &data).await.expect("pushed");
    for cuts in [vec![0], vec![1_000_000], vec![500_000, 700_000]] {
        for cut in &cuts {
            // A call that one rule hits is not seen by the next, so each rule hits the next call.
            gateway.proxy.add(Rule::new(Fault::CutAnswer(*cut)).on(Operation::GetObject).nth(1));
        }
        gateway.proxy.forget();
        assert_eq!(cluster.read(0, &digest(&data)).await, data, "{cuts:?}");
        assert_eq!(gateway.proxy.count(Operation::GetObject), cuts.len() as u64 + 1);
        gateway.proxy.clear();
    }
}

#[tokio::test]
async fn a_body_that_is_always_cut_ends_with_an_error() {
    let (gateway, cluster) = start(|options| options).await;
    let data = bytes(3_000_000, 1);
    push(&cluster, &data).await.expect("pushed");
    gateway.proxy.add(Rule::new(Fault::CutAnswer(100_000)).on(Operation::GetObject));
    let blob = cluster.node().open_blob(&repo(), &digest(&data)).await.expect("there");
    // The connection may end before the head of the answer is through.
    let opened = match cluster.node().read_blob(&repo(), &blob, None).await {
        Err(RegistryError::Busy { .. }) => return,
        other => other.expect("opened"),
    };
    let mut stream = opened.into_stream(1 << 20);
    let mut read = 0;
    let end = loop {
        match stream.next().await {
            Some(Ok(piece)) => read += piece.len(),
            other => break other,
        }
    };
    assert!(matches!(end, Some(Err(StorageError::Unavailable(_)))), "{end:?} after {read}");
    assert!(stream.next().await.is_none() && read < data.len());
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_not_mixed() {
    let gateway = Gateway::start();
    let store = S3Store::open(gateway.options()).await.expect("a store");
    let key = Key::opaque("00");
    store.put(&key, bytes(1_000_000, 1)).await.expect("put");
    gateway.proxy.add(Rule::new(Fault::CutAnswer(400_000)).on(Operation::GetObject).nth(1));
    let mut stream = store.read(&key, None).await.expect("opened").into_stream(1 << 20);
    stream.next().await.expect("a piece").expect("bytes");
    store.put(&key, bytes(1_000_000, 2)).await.expect("put");
    let rest: Result<Vec<Bytes>, StorageError> = stream.try_collect().await;
    rest.expect_err("the rest is another object's");
}

#[tokio::test]
async fn aborting_and_deleting_are_tried_until_they_are_done() {
    let (gateway, cluster) = start(|options| options).await;
    let data = bytes(10_000_000, 1);
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    cluster.node().append_upload(&repo(), &id, None, chunked(&data)).await.expect("appended");
    push(&cluster, &bytes(100_000, 2)).await.expect("pushed");
    assert_eq!((gateway.objects().len(), gateway.uploads()), (1, 1));
    for operation in [Operation::AbortMultipartUpload, Operation::DeleteObjects] {
        gateway.proxy.add(Rule::new(Fault::Status(500)).on(operation));
    }
    cluster.settle().await;
    assert_eq!((gateway.objects().len(), gateway.uploads()), (1, 1));
    cluster.assert_sound().await;
    gateway.proxy.clear();
    cluster.settle().await;
    assert_eq!((gateway.objects(), gateway.uploads()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_store_without_a_call_for_many_deletes_one_by_one() {
    let gateway = Gateway::start();
    let store = S3Store::open(gateway.options()).await.expect("a store");
    let keys: Vec<Key> = (0..20).map(|number| Key::opaque(&format!("{number:032}"))).collect();
    for key in &keys {
        store.put(key, "x".into()).await.expect("put");
    }
    gateway.proxy.add(Rule::new(Fault::Status(501)).on(Operation::DeleteObjects));
    let answers = store.delete_many(&keys).await;
    assert!(answers.len() == 20 && answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(gateway.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bucket_or_a_key_that_is_wrong_is_said_at_once() {
    let gateway = Gateway::start();
    let missing = S3Store::open(S3Options { bucket: "no-such-bucket".to_owned(), ..gateway.options() }).await;
    let error = missing.expect_err("no bucket").to_string();
    assert!(error.contains("no S3 bucket `no-such-bucket`"), "{error}");
    let wrong = |access_key: &str, secret_key: &str| S3Credentials::Static {
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
        session_token: None,
    };
    let server_key = match gateway.options().credentials {
        S3Credentials::Static { access_key, .. } => access_key,
        other => panic!("{other:?}"),
    };
    for credentials in [wrong("nobody", "secret"), wrong(&server_key, "not the secret")] {
        let denied = S3Store::open(S3Options { credentials, ..gateway.options() }).await;
        assert!(matches!(denied, Err(StorageError::Denied(_))), "{denied:?}");
    }
    let nobody = S3Options { endpoint: Some("http://127.0.0.1:1".to_owned()), attempts_max: 1, ..gateway.options() };
    let away = S3Store::open(nobody).await;
    assert!(matches!(away, Err(StorageError::Unavailable(_))), "{away:?}");
}

#[tokio::test]
async fn a_presigned_url_gives_the_object_to_anyone() {
    let gateway = Gateway::start();
    let store = S3Store::open(gateway.options()).await.expect("a store");
    let key = Key::opaque("00");
    store.put(&key, "for anyone".into()).await.expect("put");
    let url = store.presign(&key, Duration::from_mins(1)).await.expect("signed").expect("a URL");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(url).send().await.expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "for anyone");
}
