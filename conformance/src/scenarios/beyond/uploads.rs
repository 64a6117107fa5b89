//! Pushing blobs in the ways of real clients that the suite does not go.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use crate::content::{Algorithm, Blob};
use crate::raw::Connection;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::push::{self, Chunked, OCTETS, Way, blob_path};
use crate::wire::with_query;

const GROUP: &str = "uploads";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "headers of a new session", session_headers),
        scenario(GROUP, "without the final slash", without_slash),
        scenario(GROUP, "digest-algorithm=sha512", algorithm_hint),
        scenario(GROUP, "digest with an encoded colon", encoded_digest),
        scenario(GROUP, "chunks without Content-Range", chunks_without_range),
        scenario(GROUP, "8 MiB in every way", large),
        scenario(GROUP, "digest known already", known_digest),
        scenario(GROUP, "retried PUT", retried_put),
        scenario(GROUP, "mount of a malformed source", mount_malformed),
        scenario(GROUP, "mount with a type and no body", mount_with_type),
        scenario(GROUP, "Expect: 100-continue", expect_continue),
        scenario(GROUP, "Expect: 100-continue refused", expect_refused),
    ]
}

/// A relative Location is right behind every proxy; docker reads `Docker-Upload-UUID`.
async fn session_headers(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let answer = context.wire.post(&format!("/v2/{repo}/blobs/uploads/")).body("").expect(202).await?;
    let location = answer.location()?;
    ensure!(location.starts_with(&format!("/v2/{repo}/blobs/uploads/")), "Location is {location:?}");
    let id = answer.header("docker-upload-uuid")?;
    ensure!(location.contains(id), "Location {location:?} does not hold the id {id:?}");
    answer.expect_header("range", "0-0")?;
    answer.expect_header("content-length", "0")?;
    Ok(())
}

async fn without_slash(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::random(&context.random, 512);
    let answer = context.wire.post(&format!("/v2/{repo}/blobs/uploads")).body("").expect(202).await?;
    push::put(&context.wire, &answer.location()?, &blob, blob.bytes.clone()).await?.expect(201)?;
    let blob = Blob::random(&context.random, 512);
    let target = format!("/v2/{repo}/blobs/uploads?digest={}", blob.digest);
    context.wire.post(&target).header("content-type", OCTETS).body(blob.bytes.clone()).expect(201).await?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn algorithm_hint(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::new(Algorithm::Sha512, context.random.bytes(5000));
    let target = format!("/v2/{repo}/blobs/uploads/?digest-algorithm=sha512");
    let location = context.wire.post(&target).body("").expect(202).await?.location()?;
    let answer =
        context.wire.patch(&location).header("content-type", OCTETS).body(blob.bytes.clone()).expect(202).await?;
    let answer = push::put(&context.wire, &answer.location()?, &blob, Bytes::new()).await?.expect(201)?;
    answer.expect_header("docker-content-digest", &blob.digest)?;
    push::read_back(&context.wire, &repo, &blob).await?;
    // The hint is not a promise: the digest of the PUT decides.
    let blob = Blob::random(&context.random, 5000);
    let location = context.wire.post(&target).body("").expect(202).await?.location()?;
    push::put(&context.wire, &location, &blob, blob.bytes.clone()).await?.expect(201)?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn encoded_digest(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::random(&context.random, 512);
    let location = push::begin(&context.wire, &repo).await?;
    let encoded = blob.digest.replace(':', "%3A");
    let target = with_query(&location, &format!("digest={encoded}"));
    context.wire.put(&target).body(blob.bytes.clone()).expect(201).await?;
    context.wire.get(&blob_path(&repo, &encoded)).expect(200).await?.expect_body(&blob.bytes)?;
    Ok(())
}

async fn chunks_without_range(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::random(&context.random, 3000);
    let mut location = push::begin(&context.wire, &repo).await?;
    for place in [0..1, 1..1500, 1500..3000] {
        let call = context.wire.patch(&location).header("content-type", OCTETS);
        let answer = call.body(blob.bytes.slice(place.clone())).expect(202).await?;
        answer.expect_header("range", &format!("0-{}", place.end - 1))?;
        location = answer.location()?;
    }
    push::put(&context.wire, &location, &blob, Bytes::new()).await?.expect(201)?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn large(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let chunked = Chunked { chunks: 3, put_last: true, out_of_order: false };
    for way in [Way::PostOnly, Way::PostPut, Way::Chunked(chunked)] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let blob = Blob::new(algorithm, context.random.bytes(8 << 20));
            push::push(&context.wire, &repo, &blob, way).await?;
            push::read_back(&context.wire, &repo, &blob).await?;
        }
    }
    Ok(())
}

/// A client that pushes what is there already gets the same answers.
async fn known_digest(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::random(&context.random, 100_000);
    for way in push::WAYS.into_iter().chain(push::WAYS) {
        push::push(&context.wire, &repo, &blob, way).await?;
    }
    push::read_back(&context.wire, &repo, &blob).await
}

/// A client that lost the answer sends the PUT again.
async fn retried_put(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::random(&context.random, 10_000);
    let location = push::begin(&context.wire, &repo).await?;
    for _ in 0..3 {
        let answer = push::put(&context.wire, &location, &blob, blob.bytes.clone()).await?.expect(201)?;
        answer.expect_header("docker-content-digest", &blob.digest)?;
        ensure!(answer.location()?.ends_with(&blob_path(&repo, &blob.digest)), "{}", answer.describe());
    }
    push::read_back(&context.wire, &repo, &blob).await
}

/// Clients go on after a 202 and give up on a 400.
async fn mount_malformed(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let digest = Algorithm::Sha256.digest(context.random.word().as_bytes());
    for query in [format!("mount={digest}&from=UPPER"), format!("mount={digest}&from="), "mount=sha256:1&from=a".into()]
    {
        let answer = context.wire.post(&format!("/v2/{repo}/blobs/uploads/?{query}")).body("").expect(202).await?;
        context.wire.delete(&answer.location()?).expect(204).await?;
    }
    Ok(())
}

/// One client sends a type, an `origin` and no body with its mount.
async fn mount_with_type(context: &Context) -> Result<()> {
    let (source, repo) = (context.repo("source"), context.repo("uploads"));
    let blob = Blob::random(&context.random, 512);
    push::push(&context.wire, &source, &blob, Way::PostPut).await?;
    let target = format!("/v2/{repo}/blobs/uploads/?from={source}&mount={}&origin=example.com", blob.digest);
    context.wire.post(&target).header("content-type", "application/json").body("").expect(201).await?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn expect_continue(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let blob = Blob::random(&context.random, 20_000);
    let location = push::begin(&context.wire, &repo).await?;
    let target = with_query(&location, &format!("digest={}", blob.digest));
    let mut connection = ask_first(context, &target, blob.len()).await?;
    let head = connection.head().await?;
    ensure!(head.status == 100, "the server does not say 100 Continue: {}", head.text);
    connection.send(&blob.bytes).await?;
    let head = connection.head().await?;
    ensure!(head.status == 201, "after the body: {}", head.text);
    ensure!(head.header("docker-content-digest") == Some(&blob.digest), "{}", head.text);
    push::read_back(&context.wire, &repo, &blob).await
}

/// A refusal comes without asking for the body.
async fn expect_refused(context: &Context) -> Result<()> {
    let repo = context.repo("uploads");
    let digest = Algorithm::Sha256.digest(b"nothing");
    let target = format!("/v2/{repo}/blobs/uploads/0123?digest={digest}");
    let mut connection = ask_first(context, &target, 1 << 30).await?;
    let head = connection.head().await?;
    ensure!(head.status == 404, "expected 404 without a body: {}", head.text);
    let length = head.header("content-length").context("no Content-Length")?.parse()?;
    let body = String::from_utf8(connection.body(length).await?)?;
    ensure!(body.contains("BLOB_UPLOAD_UNKNOWN"), "the body is {body}");
    Ok(())
}

/// Sends the head of a PUT that waits for `100 Continue` to a node, since a proxy would say that by itself.
async fn ask_first(context: &Context, target: &str, length: usize) -> Result<Connection> {
    let authority = context.node_authority();
    let mut connection = Connection::open(&authority).await?;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {OCTETS}\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    connection.send(head).await?;
    Ok(connection)
}
