//! What a push costs in calls to the store.

use bonded::oci::digest::{Algorithm, Digest};
use bonded::registry::{ChunkRange, Registry, RegistryError};
use bonded::storage::s3::{Encryption, S3Options};
use bytes::Bytes;

use super::server::S3Server;
use super::{Cluster, Gateway, bytes, chunked, digest, repo, whole};

const CREATE: &str = "CreateMultipartUpload";
const PART: &str = "UploadPart";
const COMPLETE: &str = "CompleteMultipartUpload";
const PUT: &str = "PutObject";

/// HEAD, POST, PATCH of unknown length, empty PUT, HEAD.
async fn push_as_docker(registry: &Registry, data: &Bytes) {
    let (repo, digest) = (repo(), digest(data));
    registry.stat_blob(&repo, &digest, true).await.expect_err("not there yet");
    let id = registry.start_upload(&repo, Algorithm::Sha256).await.expect("begun").id;
    registry.append_upload(&repo, &id, None, chunked(data)).await.expect("appended");
    registry.finish_upload(&repo, &id, None, &digest, whole(&Bytes::new())).await.expect("closed");
    registry.stat_blob(&repo, &digest, true).await.expect("there");
}

#[tokio::test]
async fn a_layer_costs_as_few_calls_as_its_size_allows() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([server.options()]).await;
    let cases: [(usize, &[&str]); 8] = [
        (4 << 10, &[]),
        (100_000, &[PUT]),
        ((5 << 20) - 1, &[PUT]),
        (5 << 20, &[CREATE, PART, COMPLETE]),
        ((13 << 20) - 1, &[CREATE, PART, COMPLETE]),
        (20_000_000, &[CREATE, PART, PART, COMPLETE]),
        (20 << 20, &[CREATE, PART, PART, COMPLETE]),
        ((21 << 20) - 1, &[CREATE, PART, PART, COMPLETE]),
    ];
    for (seed, (len, expected)) in (1..).zip(cases) {
        let data = bytes(len, seed);
        server.calls();
        push_as_docker(cluster.node(), &data).await;
        assert_eq!(server.calls(), expected, "{len} bytes");
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
    }
    assert_eq!(server.unfinished(), []);
    cluster.assert_sound().await;
}

#[tokio::test]
async fn equal_parts_cost_one_call_more_at_most() {
    let server = S3Server::with_equal_parts().await;
    let cluster = Cluster::start([S3Options { equal_parts: true, ..server.options() }]).await;
    for (seed, len) in (1..).zip([20_000_000, 20 << 20, 24 << 20]) {
        let data = bytes(len, seed);
        server.calls();
        push_as_docker(cluster.node(), &data).await;
        let calls = server.calls();
        assert!(calls.len() <= 5 && calls.iter().all(|call| [CREATE, PART, COMPLETE].contains(call)), "{calls:?}");
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
    }
    let data = bytes(60 << 20, 9);
    cluster.node().push_blob(&repo(), &digest(&data), whole(&data)).await.expect("pushed");
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
}

#[tokio::test]
async fn a_body_of_known_length_goes_in_one_call_when_it_is_small() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([server.options()]).await;
    for (seed, len, expected) in
        [(1, 100_000, vec![PUT]), (2, 12 << 20, vec![PUT]), (3, 20 << 20, vec![CREATE, PART, PART, COMPLETE])]
    {
        let data = bytes(len, seed);
        server.calls();
        cluster.node().push_blob(&repo(), &digest(&data), whole(&data)).await.expect("pushed");
        assert_eq!(server.calls(), expected, "{len} bytes");
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
    }
}

#[tokio::test]
async fn small_chunks_are_kept_until_they_make_a_part() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([server.options()]).await;
    let data = bytes(11_000_000, 1);
    let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    server.calls();
    for (number, piece) in (0..).zip(data.chunks(64 << 10)) {
        let start = number * (64 << 10);
        let range = ChunkRange { start, end: start + piece.len() as u64 - 1 };
        let body = whole(&data.slice_ref(piece));
        let status = cluster.node().append_upload(&repo(), &id, Some(range), body).await.expect("appended");
        assert_eq!(status.received, range.end + 1);
    }
    cluster.node().finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await.expect("closed");
    assert_eq!(server.calls(), [CREATE, PART, PART, PART, COMPLETE]);
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
}

#[tokio::test]
async fn what_became_an_object_too_early_goes_on_as_another() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([server.options(), server.options()]).await;
    let data = bytes(300_000, 1);
    for by_put in [false, true] {
        let id = cluster.node().start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        server.calls();
        cluster.node().append_upload(&repo(), &id, None, chunked(&data.slice(..100_000))).await.expect("appended");
        assert_eq!(server.calls(), [PUT], "it is stored before anybody closes the session");
        let (node, rest) = (&cluster.nodes[1], data.slice(100_000..));
        let last = if by_put {
            chunked(&rest)
        } else {
            node.append_upload(&repo(), &id, None, chunked(&rest)).await.expect("appended");
            chunked(&Bytes::new())
        };
        node.finish_upload(&repo(), &id, None, &digest(&data), last).await.expect("closed");
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
        cluster.assert_sound().await;
    }
    cluster.settle().await;
    assert_eq!(cluster.objects().await.len(), 0, "neither the object nor what it began as is left");
}

#[tokio::test]
async fn a_whole_object_is_closed_with_the_digest_that_it_has_only() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([server.options()]).await;
    let (node, data) = (cluster.node(), bytes(100_000, 1));
    let other = Digest::of(Algorithm::Sha512, &data);
    for (declared, fits) in [(other, true), (digest(b"something else"), false)] {
        let id = node.start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
        node.append_upload(&repo(), &id, None, chunked(&data)).await.expect("appended");
        let closed = node.finish_upload(&repo(), &id, None, &declared, whole(&Bytes::new())).await;
        if fits {
            closed.expect("closed");
            assert_eq!(cluster.read(0, &declared).await, data);
        } else {
            assert!(matches!(closed, Err(RegistryError::DigestMismatch { .. })), "{closed:?}");
        }
    }
    cluster.assert_sound().await;
    cluster.settle().await;
    assert_eq!(cluster.objects().await, []);
}

#[tokio::test]
async fn an_empty_chunk_leaves_a_whole_object_alone() {
    let server = S3Server::start().await;
    let cluster = Cluster::start([server.options()]).await;
    let (node, data) = (cluster.node(), bytes(100_000, 1));
    let id = node.start_upload(&repo(), Algorithm::Sha256).await.expect("begun").id;
    node.append_upload(&repo(), &id, None, chunked(&data)).await.expect("appended");
    server.calls();
    let status = node.append_upload(&repo(), &id, None, chunked(&Bytes::new())).await.expect("appended");
    assert_eq!(status.received, 100_000);
    node.finish_upload(&repo(), &id, None, &digest(&data), whole(&Bytes::new())).await.expect("closed");
    assert_eq!(server.calls(), Vec::<String>::new());
    assert_eq!(cluster.read(0, &digest(&data)).await, data);
}

#[tokio::test]
async fn objects_are_encrypted_and_checked_as_configured() {
    let server = S3Server::start().await;
    let kms = Encryption::Kms { key_id: Some("a-key".to_owned()) };
    let options = [
        server.options(),
        S3Options { encryption: Some(Encryption::Aes256), ..server.options() },
        S3Options { encryption: Some(kms), ..server.options() },
        S3Options { checksums: true, ..server.options() },
    ];
    let cluster = Cluster::start(options).await;
    let algorithm = "x-amz-server-side-encryption";
    let expected: [&[String]; 4] = [
        &[],
        &[format!("{algorithm}: AES256")],
        &[format!("{algorithm}: aws:kms"), format!("{algorithm}-aws-kms-key-id: a-key")],
        &["checksum".to_owned()],
    ];
    for ((at, seed), expected) in (0..).zip(1..).zip(expected) {
        for (call, len) in [(PUT, 100_000), (CREATE, 6 << 20)] {
            let data = bytes(len, seed);
            server.demands();
            push_as_docker(&cluster.nodes[at], &data).await;
            let mut demands = server.demands();
            demands.retain(|(made, _)| *made == call);
            let found = |text: &String| demands.iter().any(|(_, demand)| demand.contains(text.as_str()));
            assert!(expected.iter().all(found), "{call}: {demands:?}");
            assert_eq!(expected.is_empty(), demands.is_empty(), "{call}: {demands:?}");
            assert_eq!(cluster.read(at, &digest(&data)).await, data);
        }
    }
    cluster.assert_sound().await;
}

#[tokio::test]
async fn a_real_store_takes_the_checksums() {
    let gateway = Gateway::start();
    let cluster = Cluster::start([S3Options { checksums: true, ..gateway.options() }]).await;
    for (seed, len) in (1..).zip([100_000, 6 << 20, 20 << 20]) {
        let data = bytes(len, seed);
        push_as_docker(cluster.node(), &data).await;
        assert_eq!(cluster.read(0, &digest(&data)).await, data);
    }
    cluster.assert_sound().await;
}
