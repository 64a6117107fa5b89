//! Objects in an S3 bucket, or in anything that speaks the same protocol.
//!
//! - A blob goes straight to its final key: under 5 MiB as one `PutObject` when it is completed, else as a multipart upload
//!   that is begun with its first part. Nothing is copied, renamed or written to a local disk, and nothing is listed but
//!   for `fsck` and for uploads whose writer vanished before it recorded them.
//! - `plan` says how large parts are, `append` makes them of a body, `budget` and `buffer` bound the memory they take,
//!   `state` is what any node needs to go on.
//! - `download` reads, `remove` makes things go, `calls` talks to the SDK, `error` translates its errors.

mod append;
mod budget;
mod buffer;
mod calls;
mod client;
mod download;
mod error;
mod list;
mod options;
mod plan;
mod remove;
mod state;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::storage::s3::append::{Append, send_part};
use crate::storage::s3::budget::Budget;
use crate::storage::s3::calls::Inner;
use crate::storage::s3::error::{Failed, lost};
use crate::storage::s3::options::EQUAL_BYTES_MAX;
use crate::storage::s3::plan::PART_BYTES_MIN;
use crate::storage::s3::state::State;
use crate::storage::{
    AppendError, AppendHint, AppendSource, Appended, BlobRead, BlobStore, DriverState, Key, ObjectInfo, StorageError,
};

pub use options::{Encryption, S3Credentials, S3Options};

/// Longest life of a presigned URL (AWS, "Signature Version 4": seven days).
const PRESIGN_MAX: Duration = Duration::from_hours(7 * 24);

/// A store in a bucket.
#[derive(Debug)]
pub struct S3Store {
    inner: Arc<Inner>,
}

impl S3Store {
    /// Opens the store and asks whether the bucket answers.
    ///
    /// # Errors
    /// [`StorageError::Denied`] when the credentials are wrong, [`StorageError::Unavailable`] when nobody answers,
    /// [`StorageError::Other`] when there is no such bucket or the options make no sense.
    pub async fn open(options: S3Options) -> Result<Self, StorageError> {
        options.check()?;
        let client = client::connect(&options).await;
        let slot_bytes = if options.equal_parts { options.part_bytes.max(EQUAL_BYTES_MAX) } else { PART_BYTES_MIN };
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let budget = Budget::new(bytes(options.upload_buffer_bytes_max), bytes(slot_bytes));
        let inner = Arc::new(Inner { client, options, budget });
        inner.check_bucket().await?;
        Ok(Self { inner })
    }
}

impl Inner {
    /// A client whose requests need no header that a browser or a registry client would not send.
    fn plain_client(&self) -> Client {
        let config = self.client.config().to_builder();
        Client::from_conf(config.response_checksum_validation(ResponseChecksumValidation::WhenRequired).build())
    }

    /// Whether the bucket is there and knows us.
    async fn check_bucket(&self) -> Result<(), StorageError> {
        let bucket = &self.options.bucket;
        let Err(error) = self.client.head_bucket().bucket(bucket).send().await else { return Ok(()) };
        let error = Failed::new("HeadBucket", bucket, &error);
        match error.status {
            Some(301) => Err(StorageError::Other(format!("the S3 bucket `{bucket}` is in another region").into())),
            // The answer to a HEAD does not say why.
            Some(400 | 401 | 403 | 404) => self.check_identity().await,
            _ => Err(error.about_store()),
        }
    }

    async fn check_identity(&self) -> Result<(), StorageError> {
        let bucket = &self.options.bucket;
        let Err(error) = self.client.list_objects_v2().bucket(bucket).max_keys(1).send().await else { return Ok(()) };
        let error = Failed::new("ListObjectsV2", bucket, &error);
        if error.is("NoSuchBucket") {
            return Err(StorageError::Other(format!("there is no S3 bucket `{bucket}`").into()));
        }
        if error.is("AccessDenied") {
            // Somebody who may do nothing but read and write objects can run a registry, though not `fsck`.
            tracing::warn!(
                bucket,
                "the S3 user may not list the bucket, so a missing object looks like a forbidden one"
            );
            return Ok(());
        }
        Err(error.about_store())
    }

    /// Stores the last part and makes an object of all.
    async fn complete_parts(&self, key: &Key, upload: &str, mut state: State, tail: Bytes) -> Result<(), Failed> {
        if !tail.is_empty() {
            let end = state.stored + tail.len() as u64;
            let part = send_part(self, key, upload, state.next_number(), tail).await?;
            state.push(part, end);
        }
        self.complete_upload(key, upload, &state.parts).await
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
        download::read(&self.inner, key, range).await
    }

    async fn stat(&self, key: &Key) -> Result<u64, StorageError> {
        self.inner.head_object(key).await.map_err(|error| error.about(key))
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.inner.put_object(key, bytes).await.map_err(|error| error.about(key))
    }

    /// Asks nothing of the store.
    async fn begin(&self, _key: &Key) -> Result<DriverState, StorageError> {
        Ok(State::default().encode(false))
    }

    async fn append(
        &self,
        key: &Key,
        state: DriverState,
        stored: u64,
        tail: Bytes,
        hint: AppendHint,
        source: &mut dyn AppendSource,
    ) -> Result<Appended, AppendError> {
        let state = parse_state(key, &state, stored)?;
        if state.whole {
            return Err(lost(key, "it is an object already").into());
        }
        if state.equal.is_some_and(|size| size > self.inner.budget.largest() as u64) {
            return Err(lost(key, "its parts are larger than all buffers of this node").into());
        }
        Append::new(&self.inner, key, state, tail.len(), hint, source).run(tail, hint.closing).await
    }

    /// One `PutObject`, or the last part and `CompleteMultipartUpload`. An upload that is gone although we have its parts was
    /// completed before, if an object of the right size is there.
    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError> {
        let state = parse_state(key, &state, stored)?;
        let size = stored + tail.len() as u64;
        if state.whole {
            return if tail.is_empty() { Ok(()) } else { Err(lost(key, "it is an object already")) };
        }
        let Some(upload) = state.upload.clone().filter(|_| stored > 0) else { return self.put(key, tail).await };
        let error = match self.inner.complete_parts(key, &upload, state, tail).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is("NoSuchUpload") {
            return Err(error.about(key));
        }
        match self.stat(key).await {
            Ok(found) if found == size => Ok(()),
            Ok(_) | Err(StorageError::NotFound { .. }) => Err(error.about(key)),
            Err(other) => Err(other),
        }
    }

    fn is_whole(&self, state: &DriverState) -> bool {
        State::parse(state).is_some_and(|state| state.whole)
    }

    fn complete_is_repeatable(&self) -> bool {
        false
    }

    async fn abort(&self, key: &Key, state: Option<&DriverState>) -> Result<(), StorageError> {
        remove::abort(&self.inner, key, state.and_then(State::parse)).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>> {
        remove::delete_many(&self.inner, keys).await
    }

    async fn presign(&self, key: &Key, ttl: Duration) -> Result<Option<String>, StorageError> {
        let ttl =
            PresigningConfig::expires_in(ttl.min(PRESIGN_MAX)).map_err(|error| StorageError::Other(error.into()))?;
        let client = self.inner.plain_client();
        let call = client.get_object().bucket(&self.inner.options.bucket).key(self.inner.path(key));
        let signed = call.presigned(ttl).await;
        signed
            .map(|request| Some(request.uri().to_owned()))
            .map_err(|error| Failed::new("presigned GetObject", key, &error).about_store())
    }

    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        list::list(Arc::clone(&self.inner))
    }

    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        list::objects(Arc::clone(&self.inner), folder.to_string())
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }
}

/// The state of the upload of `key`, of which `stored` bytes are in the store.
fn parse_state(key: &Key, state: &DriverState, stored: u64) -> Result<State, StorageError> {
    let state = State::parse(state).ok_or_else(|| lost(key, "its state is not of this store"))?;
    if state.stored != stored || (state.upload.is_none() && !state.whole && stored > 0) {
        return Err(lost(key, "its state describes another byte"));
    }
    Ok(state)
}
