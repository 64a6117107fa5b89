//! Several nodes on one database and one bucket: any of them takes any request, and what one acknowledged the others know.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::app::{TestApp, error_code, expect, header};
use crate::fixtures::{IMAGE_MANIFEST, ImageBuilder, bytes, sha256};

const MIB: usize = 1 << 20;

async fn nodes(count: u64) -> Vec<TestApp> {
    TestApp::builder().start_shared(count).await
}

#[tokio::test]
async fn any_node_takes_any_request_of_an_upload() {
    let nodes = nodes(3).await;
    // Small chunks are staged, large ones become parts; every request goes to the next node.
    for chunk in [60_000, 3 * MIB, 9 * MIB] {
        let data = bytes(2 * chunk + 1_000, 1);
        let digest = sha256(&data);
        let location = nodes[0].start_upload("a").await;
        for (n, piece) in data.chunks(chunk).enumerate() {
            let (from, node) = (n * chunk, &nodes[(n + 1) % 3]);
            let range = format!("{from}-{}", from + piece.len() - 1);
            let patch = node.patch(&location).header("content-range", range).body(piece.to_vec());
            let taken = expect(patch, StatusCode::ACCEPTED).await;
            let end = from + piece.len() - 1;
            assert_eq!(header(&taken, "range"), format!("0-{end}"));
            let status = expect(nodes[(n + 2) % 3].get(&location), StatusCode::NO_CONTENT).await;
            assert_eq!(header(&status, "range"), format!("0-{end}"));
        }
        expect(nodes[2].put(&format!("{location}?digest={digest}")), StatusCode::CREATED).await;
        for node in &nodes {
            let got = expect(node.get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
            assert!(got.bytes().await.expect("a whole body") == data, "{chunk}: other bytes");
            // The answer may have been lost; the PUT comes again, anywhere.
            expect(node.put(&format!("{location}?digest={digest}")), StatusCode::CREATED).await;
        }
    }
}

#[tokio::test]
async fn of_two_nodes_patching_one_session_one_wins() {
    let nodes = nodes(2).await;
    for round in 0..8 {
        let location = nodes[0].start_upload("a").await;
        let bodies = [bytes(7 * MIB, round), bytes(7 * MIB, round + 100)];
        let range = format!("0-{}", 7 * MIB - 1);
        let patches = nodes.iter().zip(&bodies).map(|(node, body)| {
            let patch = node.patch(&location).header("content-range", &range).body(body.clone());
            async { patch.send().await.expect("an answer").status() }
        });
        let statuses = join_all(patches).await;
        let won: Vec<usize> = (0..2).filter(|n| statuses[*n] == StatusCode::ACCEPTED).collect();
        let lost = |n: &usize| statuses[*n] == StatusCode::RANGE_NOT_SATISFIABLE;
        assert_eq!((won.len(), (0..2).filter(lost).count()), (1, 1), "{statuses:?}");
        let digest = sha256(&bodies[won[0]]);
        expect(nodes[1].put(&format!("{location}?digest={digest}")), StatusCode::CREATED).await;
        let got = expect(nodes[0].get(&format!("/v2/a/blobs/{digest}")), StatusCode::OK).await;
        assert!(got.bytes().await.expect("a whole body") == bodies[won[0]], "{round}: bytes of the loser");
    }
}

#[tokio::test]
async fn what_one_node_acknowledged_the_others_answer() {
    let nodes = nodes(2).await;
    let first = ImageBuilder::new().layer(&bytes(20_000, 1));
    let second = ImageBuilder::new().layer(&bytes(20_000, 2));
    let path = "/v2/a/manifests/latest";
    for round in 0..5 {
        for (from, to, image) in [(0, 1, &first), (1, 0, &second)] {
            let digest = nodes[from].push_image("a", "latest", image).await;
            let seen = expect(nodes[to].get(path), StatusCode::OK).await;
            assert_eq!(header(&seen, "docker-content-digest"), digest, "{round}");
        }
        expect(nodes[round % 2].delete(path), StatusCode::ACCEPTED).await;
        let gone = expect(nodes[(round + 1) % 2].get(path), StatusCode::NOT_FOUND).await;
        assert_eq!(error_code(gone).await, "MANIFEST_UNKNOWN");
    }
}

#[tokio::test]
async fn a_delete_on_one_node_frees_bytes_that_all_know_of() {
    let nodes = nodes(2).await;
    let layer = bytes(6 * MIB, 3);
    let image = ImageBuilder::new().layer(&layer);
    let digest = nodes[0].push_image("a", "v1", &image).await;
    nodes[0].clock.advance(Duration::from_hours(25));
    expect(nodes[1].delete(&format!("/v2/a/manifests/{digest}?purge=wait")), StatusCode::ACCEPTED).await;
    let path = format!("/v2/a/blobs/{}", sha256(&layer));
    for node in &nodes {
        expect(node.head(&path), StatusCode::NOT_FOUND).await;
    }
    // Pushed again, it is a new object under the same name.
    nodes[0].push_image("a", "v2", &image).await;
    expect(nodes[1].get(&path), StatusCode::OK).await;
}

#[tokio::test]
async fn an_immutable_tag_is_set_once_by_whichever_node() {
    let immutable = bonded::oci::glob::ImmutableTags::parse(&["a:v*"]).expect("globs");
    let builder = TestApp::builder().options(|options| options.immutable_tags = immutable);
    let nodes = builder.start_shared(2).await;
    for round in 0..8_u32 {
        let images = [round, round + 50].map(|seed| ImageBuilder::new().layer(&bytes(5_000, seed)));
        for (node, image) in nodes.iter().zip(&images) {
            node.push_image("a", &sha256(&image.manifest()), image).await;
        }
        let tag = format!("/v2/a/manifests/v{round}");
        let puts = nodes.iter().zip(&images).map(|(node, image)| {
            let put = node.put(&tag).header("content-type", IMAGE_MANIFEST).body(image.manifest());
            async { put.send().await.expect("an answer").status() }
        });
        let statuses = join_all(puts).await;
        let won = (0..2).filter(|n| statuses[*n] == StatusCode::CREATED).collect::<Vec<_>>();
        assert_eq!(won.len(), 1, "{statuses:?}");
        let seen = expect(nodes[0].get(&tag), StatusCode::OK).await;
        assert_eq!(header(&seen, "docker-content-digest"), sha256(&images[won[0]].manifest()));
    }
}

#[tokio::test]
async fn a_plain_get_may_be_sent_to_the_store() {
    let builder = TestApp::builder().options(|options| options.redirect_ttl = Duration::from_mins(5));
    let node = builder.start_shared(1).await.pop().expect("a node");
    let data = bytes(300_000, 4);
    let (large, small) = (node.push_blob("a", &data).await, node.push_blob("a", b"inline").await);
    let path = format!("/v2/a/blobs/{large}");
    let sent = expect(node.get(&path), StatusCode::TEMPORARY_REDIRECT).await;
    assert_eq!(header(&sent, "docker-content-digest"), large);
    assert_eq!(header(&sent, "cache-control"), "no-store");
    let elsewhere = reqwest::get(header(&sent, "location")).await.expect("the store answers");
    assert_eq!(elsewhere.bytes().await.expect("a whole body"), data);
    expect(node.get(&path).header("range", "bytes=5-9"), StatusCode::TEMPORARY_REDIRECT).await;
    // Several ranges, a HEAD and a blob that is no object are answered here.
    expect(node.get(&path).header("range", "bytes=0-0,9-9"), StatusCode::PARTIAL_CONTENT).await;
    expect(node.head(&path), StatusCode::OK).await;
    expect(node.get(&format!("/v2/a/blobs/{small}")), StatusCode::OK).await;
    expect(node.get(&format!("/v2/b/blobs/{large}")), StatusCode::NOT_FOUND).await;
}
