//! How clients push and pull: the requests of docker and oras, in their order.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

use super::client::{Answer, Connection, request};
use super::payload::{Blob, Payloads, digest_of};

/// How a client sends blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// As oras: HEAD, POST, and a PUT with all bytes; HEAD before the manifest.
    Put,
    /// As docker: HEAD, POST, one PATCH of unknown length (32 KiB chunks), PUT, HEAD.
    Patch,
    /// HEAD, POST, a PATCH with `Content-Range` for every 10^6 bytes, PUT.
    Chunks,
}

/// A manifest with its blobs.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The config first.
    pub(crate) blobs: Vec<Blob>,
    /// The manifest's bytes.
    pub(crate) manifest: Vec<u8>,
    /// The manifest's digest.
    pub(crate) digest: String,
}

impl Image {
    /// An image that no registry has, with layers of these lengths; it refers to the subject if there is one.
    pub(crate) fn new(payloads: &Payloads, layers: &[usize], subject: Option<&Self>) -> Self {
        let stamp = payloads.stamp();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","author":"{stamp:016x}","config":{{"Env":["PATH=/usr/bin:/bin"],"Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let mut blobs = vec![Blob::of(config)];
        blobs.extend(layers.iter().map(|bytes| payloads.blob(*bytes)));
        let manifest = manifest(&blobs, subject).into_bytes();
        let digest = digest_of(&manifest);
        Self { blobs, manifest, digest }
    }

    /// Bytes of content in it.
    pub(crate) fn bytes(&self) -> u64 {
        (self.blobs.iter().map(Blob::len).sum::<usize>() + self.manifest.len()) as u64
    }
}

fn manifest(blobs: &[Blob], subject: Option<&Image>) -> String {
    let descriptor = |media_type: &str, digest: &str, size: usize| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let mut text = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}""#);
    let mut layers = Vec::new();
    for (at, blob) in blobs.iter().enumerate() {
        if at > 0 {
            layers.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob.digest(), blob.len()));
            continue;
        }
        let config = descriptor("application/vnd.oci.image.config.v1+json", blob.digest(), blob.len());
        // Writing into a String cannot fail.
        let _ = write!(text, r#","config":{config}"#);
    }
    let _ = write!(text, r#","layers":[{}]"#, layers.join(","));
    if let Some(subject) = subject {
        let _ = write!(text, r#","subject":{}"#, descriptor(MANIFEST, &subject.digest, subject.manifest.len()));
    }
    text.push('}');
    text
}

/// Pushes an image under a tag, or by its digest if there is none.
pub(crate) async fn push(
    connection: &mut Connection,
    repo: &str,
    tag: Option<&str>,
    image: &Image,
    flow: Flow,
) -> Result<()> {
    for blob in &image.blobs {
        push_blob(connection, repo, blob, flow).await?;
    }
    if flow == Flow::Put {
        let path = format!("/v2/{repo}/manifests/{}", image.digest);
        let head = request("HEAD", connection.authority(), &path, &[("accept", MANIFEST)]);
        expect("HEAD of a new manifest", 404, &connection.exchange(true, &[&head]).await?)?;
    }
    let path = format!("/v2/{repo}/manifests/{}", tag.unwrap_or(&image.digest));
    let length = image.manifest.len().to_string();
    let head =
        request("PUT", connection.authority(), &path, &[("content-type", MANIFEST), ("content-length", &length)]);
    expect("PUT of a manifest", 201, &connection.exchange(false, &[&head, &image.manifest]).await?)
}

async fn push_blob(connection: &mut Connection, repo: &str, blob: &Blob, flow: Flow) -> Result<()> {
    let path = format!("/v2/{repo}/blobs/{}", blob.digest());
    let head = request("HEAD", connection.authority(), &path, &[]);
    expect("HEAD of a new blob", 404, &connection.exchange(true, &[&head]).await?)?;
    let path = format!("/v2/{repo}/blobs/uploads/");
    let post = request("POST", connection.authority(), &path, &[("content-length", "0")]);
    let answer = connection.exchange(false, &[&post]).await?;
    expect("POST of an upload", 202, &answer)?;
    let location = answer.location.context("an upload without a location")?;
    match flow {
        Flow::Put => return close(connection, location, blob, &blob.pieces()).await,
        Flow::Patch => {
            let location = patch_stream(connection, &location, blob).await?;
            close(connection, location, blob, &[]).await?;
            expect("HEAD of a pushed blob", 200, &connection.exchange(true, &[&head]).await?)
        }
        Flow::Chunks => {
            let location = patch_chunks(connection, location, blob).await?;
            close(connection, location, blob, &[]).await
        }
    }
}

/// PUT with the digest and what is left of the bytes.
async fn close(connection: &mut Connection, location: String, blob: &Blob, body: &[&[u8]]) -> Result<()> {
    let separator = if location.contains('?') { '&' } else { '?' };
    let path = format!("{location}{separator}digest={}", blob.digest());
    let length = body.iter().map(|piece| piece.len()).sum::<usize>().to_string();
    let head = request("PUT", connection.authority(), &path, &[("content-type", OCTETS), ("content-length", &length)]);
    let mut slices: Vec<&[u8]> = vec![&head];
    slices.extend_from_slice(body);
    expect("PUT of an upload", 201, &connection.exchange(false, &slices).await?)
}

/// PATCH with all bytes in chunks of the size that Go's HTTP client makes.
async fn patch_stream(connection: &mut Connection, location: &str, blob: &Blob) -> Result<String> {
    let headers = [("content-type", OCTETS), ("transfer-encoding", "chunked")];
    let head = request("PATCH", connection.authority(), location, &headers);
    let (full, last) = (format!("{CHUNK_BYTES:x}\r\n"), format!("{:x}\r\n", blob.len() % CHUNK_BYTES));
    let mut slices: Vec<&[u8]> = vec![&head];
    for begin in (0..blob.len()).step_by(CHUNK_BYTES) {
        let end = (begin + CHUNK_BYTES).min(blob.len());
        slices.push(if end - begin == CHUNK_BYTES { full.as_bytes() } else { last.as_bytes() });
        slices.extend(blob.range(begin, end));
        slices.push(b"\r\n");
    }
    slices.push(b"0\r\n\r\n");
    let answer = connection.exchange(false, &slices).await?;
    expect("PATCH of an upload", 202, &answer)?;
    answer.location.context("a PATCH without a location")
}

async fn patch_chunks(connection: &mut Connection, mut location: String, blob: &Blob) -> Result<String> {
    for begin in (0..blob.len()).step_by(MEGABYTE) {
        let end = (begin + MEGABYTE).min(blob.len());
        let (range, length) = (format!("{begin}-{}", end - 1), (end - begin).to_string());
        let headers = [("content-type", OCTETS), ("content-range", &range), ("content-length", &length)];
        let head = request("PATCH", connection.authority(), &location, &headers);
        let [first, second] = blob.range(begin, end);
        let answer = connection.exchange(false, &[&head, first, second]).await?;
        expect("PATCH of a chunk", 202, &answer)?;
        location = answer.location.context("a PATCH without a location")?;
    }
    Ok(location)
}

/// Demands a status.
pub(crate) fn expect(what: &str, status: u16, answer: &Answer) -> Result<()> {
    ensure!(answer.status == status, "{what} was answered with {} instead of {status}", answer.status);
    Ok(())
}

/// The media type of image manifests.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCTETS: &str = "application/octet-stream";
const CHUNK_BYTES: usize = 32 << 10;
/// 10^6 bytes.
pub(crate) const MEGABYTE: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_its_content() {
        let payloads = Payloads::new(2000);
        let subject = Image::new(&payloads, &[100], None);
        let image = Image::new(&payloads, &[1024, 2000], Some(&subject));
        let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
        assert_eq!(manifest["config"]["digest"], image.blobs[0].digest());
        assert_eq!(manifest["layers"][1]["size"], 2000);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(manifest["subject"]["digest"], subject.digest);
        serde_json::from_slice::<serde_json::Value>(&image.blobs[0].pieces().concat()).unwrap();
    }
}
