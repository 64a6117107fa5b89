//! One session on many nodes: it goes on anywhere, one writer wins, and nothing of the others is left.

use std::time::Duration;

use bonded::oci::digest::Algorithm;
use bonded::registry::{ChunkRange, RegistryError};
use bonded::storage::s3::S3Options;
use bytes::Bytes;

use super::server::S3Server;
use super::{Cluster, Feed, bytes, chunked, digest, repo, whole};

async fn two_nodes(server: &S3Server) -> Cluster {
    Cluster::start([server.options(), server.options()]).await
}

#[tokio::test]
async fn a_session_goes_on_on_any_node() {
    for server in [S3Server::start().await, S3Server::with_equal_parts().await] {
        let equal_parts = server.wants_equal_parts();
        let options = S3Options { equal_parts, ..server.options() };
        let cluster = Cluster::start([options.clone(), options]).await;
        let data = bytes(40_000_000, 1);
        let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        let mut at = 0;
        // Tails of every kind: none yet, below a part, above one, and exactly one.
        for (node, len) in [3_000, 2_000_000, 700_000, 9_000_000, 1, 14_000_000, 5 << 20].into_iter().enumerate() {
            let registry = &cluster.nodes[node % 2];
            let body = chunked(&data.slice(at..at + len));
            let status = registry.append_upload(&repo(), &id, None, body).await.expect("appended");
            at += len;
            assert_eq!(status.received, at as u64);
            let other = &cluster.nodes[(node + 1) % 2];
            assert_eq!(other.upload_status(&repo(), &id).await.expect("known").received, at as u64);
        }
        let rest = chunked(&data.slice(at..));
        cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), rest).await.expect("closed");
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
        cluster.assert_sound().await;
        assert_eq!(server.unfinished(), []);
    }
}

#[tokio::test]
async fn of_two_writers_the_newer_one_wins() {
    let server = S3Server::start().await;
    let cluster = two_nodes(&server).await;
    let (data, other) = (bytes(30_000_000, 1), bytes(60_000_000, 2));
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    cluster.node().append_upload(&repo(), &id, None, chunked(&data.slice(..6_000_000))).await.expect("appended");

    // The older writer has sent parts and goes on sending others when the newer one comes to another node.
    let (feed, body) = Feed::new();
    feed.give(&other.slice(..16_000_000));
    let old = {
        let (registry, id) = (cluster.nodes[0].clone(), id.clone());
        async move { registry.append_upload(&repo(), &id, None, body).await }
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(old);
    while cluster.nodes[1].upload_status(&repo(), &id).await.expect("open").received == 6_000_000 {
        tokio::task::yield_now().await;
    }
    let received = cluster.nodes[1].upload_status(&repo(), &id).await.expect("open").received;
    assert_eq!(received, 6_000_000 + (8 << 20), "a part of the older writer is recorded");
    let at = usize::try_from(received).expect("small");
    let data: Bytes = [&data[..6_000_000], &other[..at - 6_000_000], &data[at..]].concat().into();

    let range = ChunkRange { start: received, end: data.len() as u64 - 1 };
    let rest = chunked(&data.slice(at..));
    cluster.nodes[1].append_upload(&repo(), &id, Some(range), rest).await.expect("the newer writer goes on");
    feed.give(&other.slice(16_000_000..));
    drop(feed);
    let fenced = tasks.join_next().await.expect("a task").expect("no panic");
    assert!(matches!(fenced, Err(RegistryError::UploadRange { received: 30_000_000 })), "{fenced:?}");

    let closed = cluster.nodes[0].finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
    closed.expect("closed");
    assert_eq!(cluster.read(1, &digest(&data)).await, data);
    cluster.assert_sound().await;
    assert_eq!(server.unfinished(), []);
}

#[tokio::test]
async fn a_writer_that_is_fenced_before_it_recorded_anything_leaves_no_upload() {
    let server = S3Server::start().await;
    let cluster = two_nodes(&server).await;
    let data = bytes(10_000_000, 1);
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    let (feed, body) = Feed::new();
    feed.give(&bytes(4_000_000, 2));
    let mut tasks = tokio::task::JoinSet::new();
    let (registry, of) = (cluster.nodes[0].clone(), id.clone());
    tasks.spawn(async move { registry.append_upload(&repo(), &of, None, body).await });
    while !feed.is_taken() {
        tokio::task::yield_now().await;
    }
    cluster.nodes[1].append_upload(&repo(), &id, None, chunked(&data)).await.expect("the newer writer");
    feed.give(&bytes(4_000_000, 3));
    drop(feed);
    let fenced = tasks.join_next().await.expect("a task").expect("no panic");
    assert!(matches!(fenced, Err(RegistryError::UploadRange { received: 10_000_000 })), "{fenced:?}");
    let closed = cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
    closed.expect("closed");
    assert_eq!(server.unfinished(), [], "the older writer aborted what it had begun");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    cluster.assert_sound().await;
}

#[tokio::test]
async fn uploads_of_a_vanished_writer_go() {
    let server = S3Server::start().await;
    let cluster = two_nodes(&server).await;
    let data = bytes(12_000_000, 1);
    for recorded in [0, 1_000_000] {
        let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        if recorded > 0 {
            // Of a chunk with a range nobody believes that it is the last, so it is kept in a row.
            let (head, range) = (chunked(&data.slice(..recorded)), ChunkRange { start: 0, end: recorded as u64 - 1 });
            cluster.node().append_upload(&repo(), &id, Some(range), head).await.expect("appended");
        }
        // The process dies: its future is dropped with a part on its way and no id recorded.
        let (feed, body) = Feed::new();
        feed.give(&data.slice(recorded..).slice(..9_000_000));
        {
            let repo = repo();
            let mut vanishing = std::pin::pin!(cluster.nodes[0].append_upload(&repo, &id, None, body));
            feed.give(&data.slice(recorded..).slice(9_000_000..));
            feed.give(&bytes(5_000_000, 2));
            while server.unfinished().is_empty() {
                tokio::select! {
                    biased;
                    result = &mut vanishing => panic!("the body goes on: {result:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        assert_eq!(server.unfinished().len(), 1);
        let status = cluster.nodes[1].upload_status(&repo(), &id).await.expect("open");
        assert_eq!(status.received, recorded as u64);
        let rest = chunked(&data.slice(recorded..));
        cluster.nodes[1].append_upload(&repo(), &id, None, rest).await.expect("appended");
        // With a checkpoint the session goes on under its key, where the new writer removes the old one's upload before it
        // begins its own. Without one it gets another key, and the old one waits until no late write can come.
        let left = usize::from(recorded == 0);
        assert_eq!(server.unfinished().len(), left + 1);
        let closed = cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await;
        closed.expect("closed");
        assert_eq!(server.unfinished().len(), left);
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
        cluster.assert_sound().await;
        cluster.settle().await;
        assert_eq!(server.unfinished(), []);
    }
}

#[tokio::test]
async fn a_writer_whose_bytes_were_recorded_makes_no_object_of_them() {
    let server = S3Server::start().await;
    let options = || S3Options { stage_after: Duration::from_millis(300), ..server.options() };
    let cluster = Cluster::start([options(), options()]).await;
    let data = bytes(1_000_000, 1);
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    let (feed, body) = Feed::new();
    feed.give(&data.slice(..500_000));
    let mut tasks = tokio::task::JoinSet::new();
    let (registry, of) = (cluster.nodes[0].clone(), id.clone());
    tasks.spawn(async move { registry.append_upload(&repo(), &of, None, body).await });
    while cluster.nodes[1].upload_status(&repo(), &id).await.expect("open").received == 0 {
        tokio::task::yield_now().await;
    }
    // What it gave so far is kept in rows, so the next writer goes on under the same key.
    let rest = chunked(&data.slice(500_000..));
    cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), rest).await.expect("closed");
    server.calls();
    feed.give(&bytes(100_000, 2));
    drop(feed);
    let fenced = tasks.join_next().await.expect("a task").expect("no panic");
    assert!(matches!(fenced, Err(RegistryError::UploadUnknown)), "{fenced:?}");
    assert_eq!(server.calls(), [""; 0], "the object is the other one's");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    cluster.assert_sound().await;
}

#[tokio::test]
async fn sessions_that_die_leave_nothing() {
    let server = S3Server::start().await;
    let cluster = two_nodes(&server).await;
    let data = bytes(10_000_000, 1);
    for len in [3_000, 1_000_000, 10_000_000] {
        let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        cluster.node().append_upload(&repo(), &id, None, chunked(&data.slice(..len))).await.expect("appended");
    }
    let wrong = digest(b"something else");
    let refused = cluster.node().push_blob(&repo(), &wrong, whole(&data)).await;
    assert!(matches!(refused, Err(RegistryError::DigestMismatch { .. })), "{refused:?}");
    assert_eq!(server.unfinished().len(), 1);
    cluster.settle().await;
    assert_eq!(server.unfinished(), []);
    assert_eq!(cluster.objects().await, []);
}

#[tokio::test]
async fn a_body_that_breaks_off_keeps_what_came() {
    let server = S3Server::start().await;
    let cluster = two_nodes(&server).await;
    let data = bytes(25_000_000, 1);
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    let (feed, body) = Feed::new();
    feed.give(&data.slice(..19_000_000));
    feed.break_off();
    let broken = cluster.node().append_upload(&repo(), &id, None, body).await;
    assert!(matches!(broken, Err(RegistryError::BodyBroken)), "{broken:?}");
    assert_eq!(cluster.nodes[1].upload_status(&repo(), &id).await.expect("open").received, 19_000_000);
    let rest = chunked(&data.slice(19_000_000..));
    cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), rest).await.expect("closed");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
}

#[tokio::test]
async fn a_slow_writer_records_what_it_has() {
    let server = S3Server::start().await;
    let options = S3Options { stage_after: Duration::from_millis(20), ..server.options() };
    let cluster = Cluster::start([options.clone(), options]).await;
    let data = bytes(22_000_000, 1);
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    let (feed, body) = Feed::new();
    let mut tasks = tokio::task::JoinSet::new();
    let (registry, of) = (cluster.nodes[0].clone(), id.clone());
    tasks.spawn(async move { registry.append_upload(&repo(), &of, None, body).await });
    let mut at = 0;
    for len in [1_000_000, 300_000, 2_000_000, 3_000_000, 1_700_000] {
        feed.give(&data.slice(at..at + len));
        at += len;
        while cluster.nodes[1].upload_status(&repo(), &id).await.expect("open").received < at as u64 {
            tokio::task::yield_now().await;
        }
    }
    drop(feed);
    tasks.join_next().await.expect("a task").expect("no panic").expect("appended");
    let rest = chunked(&data.slice(at..));
    cluster.nodes[1].finish_upload(&repo(), &id, None, &digest(&data), rest).await.expect("closed");
    assert_eq!(cluster.read(1, &digest(&data)).await, data);
    assert_eq!(server.unfinished(), []);
}
