//! Whether the store is there, and the right one: asked before it is believed that something in it is lost.
//!
//! A folder that is not mounted, or another bucket, has nothing of what is known. So another known object has to be there at
//! the moment when one is said to be missing, and has to give its bytes when one does not. What was found earlier counts for
//! nothing: the store may have gone since. Only which object was there is remembered, so that mostly one question is enough.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::metadata::model::{BlobId, BlobLocation, BlobRecord};
use crate::registry::{Registry, Result};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{Key, StorageError};

/// Blobs behind one that is missing, and as many of the first ones, of which at least one must be in the store.
const OTHERS: u32 = 100;

/// Of how many of them the bytes are tried when one does not give its own.
const OTHERS_READ: usize = 10;

/// Most bytes of another object that are tried.
const TRIED_BYTES: u64 = 64 << 10;

/// For how long a store that has nothing is not asked again, so that many pulls do not ask for everything each.
const STRANGE_FOR: Duration = Duration::from_secs(1);

/// What a process remembers of its store.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// An object that was there the last time.
    witness: Option<Key>,
    /// Until when nothing was there, and nobody looks again.
    strange_until: Timestamp,
}

/// What became of looking for other objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// At least one is there.
    There,
    /// None of them is.
    Away,
    /// No other object is known.
    Unknown,
}

impl Registry {
    /// Whether objects other than that of `lost` are in the store now.
    ///
    /// # Errors
    /// Those of the stores.
    pub(super) async fn others_there(&self, lost: &BlobRecord) -> Result<Others> {
        let mut memory = self.presence.0.lock().await;
        let now = self.clock.now();
        // A clock that was set back must not make it strange for long.
        if now < memory.strange_until && now.until(memory.strange_until) <= STRANGE_FOR {
            return Ok(Others::Away);
        }
        if let Some(key) = memory.witness.take().filter(|key| !is_at(lost, key))
            && self.is_there(&key).await?
        {
            memory.witness = Some(key);
            return Ok(Others::There);
        }
        let others = self.others(lost).await?;
        for key in &others {
            if self.is_there(key).await? {
                memory.witness = Some(key.clone());
                return Ok(Others::There);
            }
        }
        if others.is_empty() {
            return Ok(Others::Unknown);
        }
        memory.strange_until = now.after(STRANGE_FOR);
        Ok(Others::Away)
    }

    /// Whether objects other than that of `unread` give their bytes now.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn others_read(&self, unread: &BlobRecord) -> Result<Others> {
        let others = self.others(unread).await?;
        for key in others.iter().take(OTHERS_READ) {
            if self.gives_bytes(key).await.is_ok() {
                return Ok(Others::There);
            }
        }
        Ok(if others.is_empty() { Others::Unknown } else { Others::Away })
    }

    /// Keys of other objects: of the next ones, and of the first ones.
    async fn others(&self, than: &BlobRecord) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for after in [than.id, BlobId(i64::MIN)] {
            for blob in self.metadata.blob_scan(after, OTHERS).await? {
                match blob.location {
                    BlobLocation::Object(key) if blob.damaged_at.is_none() && !is_at(than, &key) => keys.push(key),
                    _ => {}
                }
            }
        }
        Ok(keys)
    }

    async fn is_there(&self, key: &Key) -> Result<bool> {
        match self.storage.stat(key).await {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn gives_bytes(&self, key: &Key) -> std::result::Result<(), StorageError> {
        let size = self.storage.stat(key).await?;
        let read = self.storage.read(key, Some(0..size.min(TRIED_BYTES))).await?;
        read.into_stream(READ_CHUNK_BYTES).try_for_each(|_| std::future::ready(Ok(()))).await
    }
}

fn is_at(blob: &BlobRecord, key: &Key) -> bool {
    matches!(&blob.location, BlobLocation::Object(at) if at == key)
}
