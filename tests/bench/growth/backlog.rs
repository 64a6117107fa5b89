//! What a busy registry has beside its facts: closed sessions that are still remembered, and objects that have to go. As
//! many of each as there are manifests.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bonded::metadata::MetadataStore;
use bonded::metadata::model::{BlobLocation, NewBlob, NewUpload, UploadId, UploadPut};
use bonded::oci::digest::{Algorithm, Digest, Hasher};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::facts::{LATER, NOW, Shape, large};

/// Calls at once: SQLite makes those that wait one transaction, Postgres has as many connections.
const AT_ONCE: usize = 128;

/// Sessions, committed and kept; and objects, by the collection of the blobs that are due.
pub(crate) async fn make(store: &dyn MetadataStore, shape: Shape) -> Result<()> {
    let sessions = stream::iter(0..shape.manifests).map(|_| closed_session(store));
    sessions.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    while store.blob_collect(NOW, LATER, 5000).await?.seen > 0 {}
    Ok(())
}

async fn closed_session(store: &dyn MetadataStore) -> Result<()> {
    let id = next_upload();
    let put = UploadPut { principal: None, begin: Some(new_upload()), blob: inline_blob(b"empty"), keep_until: LATER };
    let committed = store.upload_put(&large(), &id, &put).await?;
    anyhow::ensure!(committed, "a session that nobody took away");
    Ok(())
}

/// An identifier that no other session has, and that comes in no order.
pub(crate) fn next_upload() -> UploadId {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let digest = Digest::of(Algorithm::Sha256, &number.to_le_bytes());
    let (bytes, _) = digest.as_bytes().split_first_chunk::<16>().expect("32 bytes");
    UploadId::from_bytes(*bytes)
}

pub(crate) fn new_upload() -> NewUpload {
    NewUpload { principal: None, tail: Bytes::new(), hash_state: Hasher::new(Algorithm::Sha256).save() }
}

/// A blob whose bytes are in its row.
pub(crate) fn inline_blob(bytes: &'static [u8]) -> NewBlob {
    NewBlob {
        digest: Digest::of(Algorithm::Sha256, bytes),
        size: bytes.len() as u64,
        location: BlobLocation::Inline(Bytes::from_static(bytes)),
        now: NOW,
        lease_until: LATER,
        replaced_until: NOW,
    }
}
