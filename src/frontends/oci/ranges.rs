//! Blob bytes as bodies: all of them, one range, or many as `multipart/byteranges` (RFC 9110, section 14.6).
//!
//! Invariants: as many parts as asked for, in the order asked for, never coalesced (clients of zstd:chunked, stargz and
//! SOCI images count them); the length is known before the first byte; one object is open at a time.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::body::{SendError, SizedBody};
use crate::http::sendfile::{FileQueue, SENDFILE_BYTES_MIN};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::range::content_range;
use crate::registry::{OpenBlob, Registry, RegistryError};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{BlobRead, ReadSource};

/// The media type of every blob: the registry does not know what its bytes mean.
pub(super) const BLOB_MEDIA_TYPE: &str = "application/octet-stream";

/// A body of `length` bytes made of one read; `files`: what the kernel may send by itself is announced there.
pub(super) fn read_body(read: BlobRead, length: u64, files: Option<&FileQueue>) -> Body {
    let stream = match (read.source, files) {
        (ReadSource::File { file, range }, Some(files)) if length >= SENDFILE_BYTES_MIN => {
            files.stream(file, range).map_err(broken).boxed()
        }
        (source, _) => bytes_of(BlobRead { source, ..read }),
    };
    Body::new(SizedBody::new(stream, length))
}

/// A body in many parts.
pub(super) struct MultipartBody {
    /// `Content-Type`, with the boundary.
    pub(super) content_type: String,
    /// `Content-Length` in bytes.
    pub(super) length: u64,
    /// The parts.
    pub(super) body: Body,
}

/// Ranges (end exclusive, within the blob, at least one) of a blob as one body.
///
/// # Errors
/// What reading the first range says; a failure of a later one breaks the connection.
pub(super) async fn multipart_body(
    registry: Arc<Registry>,
    repo: &RepoName,
    blob: OpenBlob,
    ranges: &[Range<u64>],
) -> Result<MultipartBody, RegistryError> {
    let boundary = boundary_of(&blob.record.digest);
    let parts = lay_out(&boundary, ranges, blob.record.size);
    let closing = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let length = parts.iter().map(|part| part.head.len() as u64 + (part.range.end - part.range.start)).sum::<u64>()
        + closing.len() as u64;

    let first = match ranges.first() {
        Some(range) => Some(registry.read_blob(repo, &blob, Some(range.clone())).await?),
        None => None,
    };
    let stream =
        part_stream(registry, repo.clone(), blob, parts, first).chain(stream::once(async move { Ok(closing) }));
    Ok(MultipartBody {
        content_type: format!("multipart/byteranges; boundary={boundary}"),
        length,
        body: Body::new(SizedBody::new(stream.boxed(), length)),
    })
}

/// One part: what stands before the bytes, and which bytes.
struct Part {
    head: Bytes,
    range: Range<u64>,
}

fn part_stream(
    registry: Arc<Registry>,
    repo: RepoName,
    blob: OpenBlob,
    parts: Vec<Part>,
    first: Option<BlobRead>,
) -> BoxStream<'static, Result<Bytes, SendError>> {
    let source = Arc::new((registry, repo, blob));
    // The first read was made before the answer began; the iterator hands it to the first part.
    let reads = std::iter::once(first).chain(std::iter::repeat_with(|| None));
    stream::iter(parts.into_iter().zip(reads))
        .then(move |(part, read)| {
            let source = Arc::clone(&source);
            async move {
                let (registry, repo, blob) = &*source;
                let read = match read {
                    Some(read) => read,
                    None => registry.read_blob(repo, blob, Some(part.range)).await.map_err(broken)?,
                };
                Ok::<_, SendError>(stream::once(async move { Ok(part.head) }).chain(bytes_of(read)))
            }
        })
        .try_flatten()
        .boxed()
}

fn lay_out(boundary: &str, ranges: &[Range<u64>], size: u64) -> Vec<Part> {
    let head = |(index, range): (usize, &Range<u64>)| {
        let before = if index == 0 { "" } else { "\r\n" };
        let content_range = content_range(range, size);
        let head = format!(
            "{before}--{boundary}\r\nContent-Type: {BLOB_MEDIA_TYPE}\r\nContent-Range: {content_range}\r\n\r\n"
        );
        Part { head: Bytes::from(head), range: range.clone() }
    };
    ranges.iter().enumerate().map(head).collect()
}

/// A boundary that cannot stand in the content: content does not hold its own digest.
fn boundary_of(digest: &Digest) -> String {
    // 70 characters at most (RFC 2046, section 5.1.1); half of a SHA-512 is as hard to meet as a SHA-256.
    digest.hex().chars().take(64).collect()
}

fn bytes_of(read: BlobRead) -> BoxStream<'static, Result<Bytes, SendError>> {
    read.into_stream(READ_CHUNK_BYTES).map_err(broken).boxed()
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> SendError {
    SendError::Read(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::Algorithm;

    #[test]
    fn part_heads_are_those_of_the_rfc() {
        let parts = lay_out("b", &[5..7, 0..1], 10);
        let heads: Vec<&[u8]> = parts.iter().map(|part| part.head.as_ref()).collect();
        let head = |before: &str, range: &str| {
            format!("{before}--b\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/10\r\n\r\n")
        };
        assert_eq!(heads, [head("", "5-6").as_bytes(), head("\r\n", "0-0").as_bytes()]);
    }

    #[test]
    fn a_boundary_is_as_short_as_it_must_be() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            assert_eq!(boundary_of(&Digest::of(algorithm, b"x")).len(), 64);
        }
    }
}
