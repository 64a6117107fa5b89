//! Every way to push a blob, with what each answer has to carry (distribution-spec, "Pushing Blobs").

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;

use crate::content::Blob;
use crate::wire::{Answer, Wire, with_query};

/// The type of chunks and whole blobs.
pub(crate) const OCTETS: &str = "application/octet-stream";

/// A way to push a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// One POST with the digest and the bytes.
    PostOnly,
    /// POST, then PUT with the bytes.
    PostPut,
    /// POST, PATCH with `Content-Range` for each chunk, PUT.
    Chunked(Chunked),
    /// POST, one PATCH of unknown length, PUT.
    Stream,
}

/// How chunks are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunked {
    /// Number of chunks.
    pub(crate) chunks: usize,
    /// The last chunk goes with the PUT.
    pub(crate) put_last: bool,
    /// Before each chunk a wrong one is sent, and refused.
    pub(crate) out_of_order: bool,
}

impl Chunked {
    /// This many chunks in order, and an empty PUT.
    pub(crate) const fn plain(chunks: usize) -> Self {
        Self { chunks, put_last: false, out_of_order: false }
    }
}

/// The ways in the order in which data sets take them in turn.
pub(crate) const WAYS: [Way; 4] = [Way::PostOnly, Way::PostPut, Way::Chunked(Chunked::plain(3)), Way::Stream];

/// Pushes a blob and checks the 201.
pub(crate) async fn push(wire: &Wire, repo: &str, blob: &Blob, way: Way) -> Result<()> {
    let answer = send(wire, repo, blob, way).await?.expect(201)?;
    check_created(wire, repo, blob, &answer).await
}

/// Pushes a blob whose digest is wrong and demands 400, and that nothing is there afterwards.
pub(crate) async fn push_bad(wire: &Wire, repo: &str, blob: &Blob, way: Way) -> Result<()> {
    let answer = send(wire, repo, blob, way).await?;
    answer.check_error(400, "DIGEST_INVALID")?;
    wire.head(&blob_path(repo, &blob.digest)).expect(404).await?;
    Ok(())
}

/// Pushes a blob and gives the last answer, whatever it is.
pub(crate) async fn send(wire: &Wire, repo: &str, blob: &Blob, way: Way) -> Result<Answer> {
    match way {
        Way::PostOnly => {
            let target = format!("/v2/{repo}/blobs/uploads/?digest={}", blob.digest);
            wire.post(&target).header("content-type", OCTETS).body(blob.bytes.clone()).send().await
        }
        Way::PostPut => {
            let location = begin(wire, repo).await?;
            put(wire, &location, blob, blob.bytes.clone()).await
        }
        Way::Stream => {
            let location = begin(wire, repo).await?;
            let pieces: Vec<_> = blob.bytes.chunks(200).map(|piece| Ok(blob.bytes.slice_ref(piece))).collect();
            let call = wire.patch(&location).header("content-type", OCTETS);
            let answer = call.stream(futures_util::stream::iter(pieces)).expect(202).await?;
            check_progress(&answer, blob.len())?;
            put(wire, &answer.location()?, blob, bytes::Bytes::new()).await
        }
        Way::Chunked(how) => send_chunks(wire, repo, blob, how).await,
    }
}

/// Opens a session and gives its location.
pub(crate) async fn begin(wire: &Wire, repo: &str) -> Result<String> {
    let answer = wire.post(&format!("/v2/{repo}/blobs/uploads/")).body("").expect(202).await?;
    answer.location()
}

/// Sends the closing PUT of a session.
pub(crate) async fn put(wire: &Wire, location: &str, blob: &Blob, rest: bytes::Bytes) -> Result<Answer> {
    let target = with_query(location, &format!("digest={}", blob.digest));
    wire.put(&target).header("content-type", OCTETS).body(rest).send().await
}

/// Sends one chunk with its place.
pub(crate) async fn chunk(
    wire: &Wire,
    method: Method,
    target: &str,
    blob: &Blob,
    place: std::ops::Range<usize>,
) -> Result<Answer> {
    let range = format!("{}-{}", place.start, place.end - 1);
    let call = wire.call(method, target).header("content-type", OCTETS).header("content-range", range);
    call.body(blob.bytes.slice(place)).send().await
}

/// The last byte that a session says it has, by GET on its location.
pub(crate) async fn status(wire: &Wire, location: &str) -> Result<(String, i64)> {
    let answer = wire.get(location).expect(204).await?;
    let range = answer.header("range")?;
    let last = range.strip_prefix("0-").and_then(|last| last.parse().ok());
    let last = last.with_context(|| format!("{}: Range is {range:?}", answer.describe()))?;
    Ok((answer.location()?, last))
}

/// The path of a blob.
pub(crate) fn blob_path(repo: &str, digest: &str) -> String {
    format!("/v2/{repo}/blobs/{digest}")
}

async fn send_chunks(wire: &Wire, repo: &str, blob: &Blob, how: Chunked) -> Result<Answer> {
    let mut location = begin(wire, repo).await?;
    let size = blob.len().div_ceil(how.chunks);
    let mut at = 0;
    while at < blob.len() {
        if how.out_of_order {
            location = send_misplaced(wire, &location, blob, at, size, how.put_last).await?;
        }
        let end = (at + size).min(blob.len());
        if how.put_last && end == blob.len() {
            let target = with_query(&location, &format!("digest={}", blob.digest));
            return chunk(wire, Method::PUT, &target, blob, at..end).await;
        }
        let answer = chunk(wire, Method::PATCH, &location, blob, at..end).await?.expect(202)?;
        check_progress(&answer, end)?;
        location = answer.location()?;
        at = end;
    }
    put(wire, &location, blob, bytes::Bytes::new()).await
}

/// Sends the chunk after the next one, or the first one again at the end, and demands that the session is unharmed.
async fn send_misplaced(
    wire: &Wire,
    location: &str,
    blob: &Blob,
    at: usize,
    size: usize,
    put_last: bool,
) -> Result<String> {
    let start = if at + size < blob.len() { at + size } else { 0 };
    let end = (start + size).min(blob.len());
    let closing = put_last && end == blob.len();
    let (method, target) = if closing {
        (Method::PUT, with_query(location, &format!("digest={}", blob.digest)))
    } else {
        (Method::PATCH, location.to_owned())
    };
    chunk(wire, method, &target, blob, start..end).await?.expect(416)?;
    let (location, last) = status(wire, &target).await?;
    let reached = i64::try_from(at)? - 1;
    ensure!(at == 0 || last == reached, "after a refused chunk the session stands at {last}, not at {reached}");
    Ok(location)
}

/// The `Range` of a 202 names the whole blob so far, in the form that every client can read.
fn check_progress(answer: &Answer, received: usize) -> Result<()> {
    answer.expect_header("range", &format!("0-{}", received - 1))?;
    Ok(())
}

async fn check_created(wire: &Wire, repo: &str, blob: &Blob, answer: &Answer) -> Result<()> {
    answer.expect_header("docker-content-digest", &blob.digest)?;
    let location = answer.location()?;
    let expected = blob_path(repo, &blob.digest);
    ensure!(location.ends_with(&expected), "{}: Location is {location:?}", answer.describe());
    let got = wire.get(&location).expect(200).await?;
    got.expect_body(&blob.bytes)?;
    Ok(())
}

/// Reads a blob by HEAD and GET and checks both.
pub(crate) async fn read_back(wire: &Wire, repo: &str, blob: &Blob) -> Result<()> {
    let path = blob_path(repo, &blob.digest);
    let head = wire.head(&path).expect(200).await?;
    head.expect_header("content-length", &blob.len().to_string())?;
    head.expect_header("docker-content-digest", &blob.digest)?;
    let got = wire.get(&path).expect(200).await?;
    got.expect_header("docker-content-digest", &blob.digest)?;
    got.expect_body(&blob.bytes)?;
    Ok(())
}

/// Deletes a blob and checks that it is gone at once.
pub(crate) async fn delete(wire: &Wire, repo: &str, digest: &str) -> Result<()> {
    let path = blob_path(repo, digest);
    wire.delete(&path).send().await?.expect_any(&[202, 404])?;
    wire.head(&path).expect(404).await?;
    Ok(())
}
