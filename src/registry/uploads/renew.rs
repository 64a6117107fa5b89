//! Which object a session's bytes go to.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;

use super::Session;
use crate::metadata::model::{Rekey, UploadRecord};
use crate::oci::digest::Digest;
use crate::registry::{Registry, RegistryError, Result};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{DriverState, Key};

impl Registry {
    /// A key that nobody else chooses.
    pub(super) fn new_key(&self, declared: Option<&Digest>) -> Key {
        let id = self.object_id();
        declared.map_or_else(|| Key::opaque(&id), |digest| Key::declared(digest, &id))
    }

    /// A name for an object that nobody else chooses.
    fn object_id(&self) -> String {
        hex::encode(self.entropy.bytes16())
    }

    /// Gives a session that goes on a new object where the old one cannot be continued.
    ///
    /// Whoever chose a key and never came to a checkpoint may still be writing under it. And what is a whole object takes
    /// no more bytes: those it has are kept for the new one.
    pub(super) async fn renew_object(
        &self,
        session: &mut Session,
        declared: Option<&Digest>,
        ended: bool,
    ) -> Result<()> {
        let UploadRecord { received, driver_state, .. } = &session.record;
        let Some(old) = session.record.object_key.as_ref().filter(|_| !session.new_key) else { return Ok(()) };
        let tail = if self.storage.is_whole(driver_state) {
            if ended {
                return Ok(());
            }
            session.unless_fenced(self.read_all(old, *received)).await?
        } else if *driver_state == DriverState::default() {
            Bytes::new()
        } else {
            return Ok(());
        };
        let key = self.new_key(declared);
        let now = self.clock.now();
        // Whoever wrote to a file has let go of it, and it may be large.
        let dead_until = if self.storage.complete_is_repeatable() { now } else { self.dead_until(now) };
        let rekey = Rekey { key: key.clone(), tail: tail.clone(), dead_until };
        if !self.metadata.upload_rekey(&session.hold, &rekey).await? {
            return Err(RegistryError::UploadRange { received: *received });
        }
        if !tail.is_empty() {
            session.record.tail = tail;
        }
        (session.record.object_key, session.record.driver_state) = (Some(key), DriverState::default());
        session.new_key = true;
        self.collector.wake();
        Ok(())
    }

    /// The `size` bytes of an object that is small.
    async fn read_all(&self, key: &Key, size: u64) -> Result<Bytes> {
        let pieces = self.storage.read(key, Some(0..size)).await?.into_stream(READ_CHUNK_BYTES);
        let bytes: BytesMut = pieces.try_collect().await?;
        Ok(bytes.freeze())
    }
}
