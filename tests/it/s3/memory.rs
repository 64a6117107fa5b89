//! Many uploads share one budget of memory, and all of them come to their end.

use std::time::Duration;

use bonded::oci::digest::Algorithm;
use bonded::storage::s3::S3Options;
use tokio::task::JoinSet;

use super::server::S3Server;
use super::{Cluster, Feed, bytes, chunked, digest, repo, whole};

const BUDGET: u64 = 40 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_want_more_memory_than_there_is_all_finish() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([S3Options { upload_buffer_bytes_max: BUDGET, ..server.options() }]).await;
    let data = bytes(15_000_000, 1);
    let digest = digest(&data);
    let mut pushes = JoinSet::new();
    for number in 0..32 {
        let (registry, data, digest) = (cluster.node().clone(), data.clone(), digest.clone());
        pushes.spawn(async move {
            if number % 2 == 0 {
                return registry.push_blob(&repo(), &digest, whole(&data)).await;
            }
            let id = registry.start_upload(&repo(), Algorithm::Sha256).await?.id;
            registry.append_upload(&repo(), &id, None, chunked(&data)).await?;
            registry.finish_upload(&repo(), &id, None, &digest, whole(&bytes(0, 0))).await
        });
    }
    while let Some(push) = pushes.join_next().await {
        push.expect("no panic").expect("pushed");
    }
    assert_eq!(cluster.read(0, &digest).await, data);
    assert_eq!(server.unfinished(), []);
    cluster.assert_sound().await;
}

#[tokio::test]
async fn idle_uploads_give_their_memory_to_others_and_go_on_later() {
    let server = S3Server::start().await;
    let options =
        S3Options { upload_buffer_bytes_max: BUDGET, stage_after: Duration::from_millis(50), ..server.options() };
    let cluster = Cluster::start([options]).await;
    let data = bytes(9_000_000, 1);
    // More uploads than the budget has room for stop short of a part, each with a client that has fallen silent.
    let mut pushes = JoinSet::new();
    let mut feeds = Vec::new();
    for _ in 0..16 {
        let (feed, body) = Feed::new();
        feed.give(&data.slice(..4_500_000));
        let registry = cluster.node().clone();
        let id = registry.start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        let of = id.clone();
        pushes.spawn(async move { registry.append_upload(&repo(), &of, None, body).await });
        feeds.push((feed, id));
    }
    for (feed, id) in &feeds {
        while !feed.is_taken() || cluster.node().upload_status(&repo(), id).await.expect("open").received < 4_500_000 {
            tokio::task::yield_now().await;
        }
    }
    // All of it is kept, so another upload finds room.
    let other = bytes(30_000_000, 2);
    cluster.node().push_blob(&repo(), &digest(&other), whole(&other)).await.expect("pushed");
    for (feed, _) in &feeds {
        feed.give(&data.slice(4_500_000..));
    }
    let ids: Vec<_> = feeds.into_iter().map(|(_, id)| id).collect();
    while let Some(push) = pushes.join_next().await {
        push.expect("no panic").expect("appended");
    }
    for id in ids {
        let closed = cluster.node().finish_upload(&repo(), &id, None, &digest(&data), whole(&bytes(0, 0))).await;
        closed.expect("closed");
    }
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
    cluster.assert_sound().await;
}
