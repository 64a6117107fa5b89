//! The calls to the store, each with its time and its errors in one place.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;

use crate::storage::Key;
use crate::storage::s3::budget::Budget;
use crate::storage::s3::client::timeouts;
use crate::storage::s3::error::Failed;
use crate::storage::s3::options::{Encryption, S3Options};
use crate::storage::s3::state::Part;

/// Completing an upload may take as long as sending so many bytes for each part.
const COMPLETE_BYTES_A_PART: usize = 16 << 10;

/// What every call needs.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) client: Client,
    pub(super) options: S3Options,
    pub(super) budget: Budget,
}

impl Inner {
    /// The key as the bucket knows it.
    pub(super) fn path(&self, key: &Key) -> String {
        let prefix = &self.options.prefix;
        if prefix.is_empty() { key.to_string() } else { format!("{prefix}/{key}") }
    }

    /// The key of what the bucket knows under `path`; `None` when it is not ours.
    pub(super) fn key(&self, path: &str) -> Option<Key> {
        let prefix = &self.options.prefix;
        let rest = if prefix.is_empty() { path } else { path.strip_prefix(prefix.as_str())?.strip_prefix('/')? };
        Key::parse(rest)
    }

    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.options.encryption {
            None => (None, None),
            Some(Encryption::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key_id }) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }

    /// Settings of one call with a body of so many bytes.
    fn for_body(&self, bytes: usize) -> aws_sdk_s3::config::Builder {
        Config::builder().timeout_config(timeouts(&self.options, bytes))
    }

    pub(super) async fn put_object(&self, key: &Key, bytes: Bytes) -> Result<(), Failed> {
        let (encryption, key_id) = self.encryption();
        let len = bytes.len();
        let call = self
            .client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.path(key))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .body(ByteStream::new(SdkBody::from(bytes)))
            .customize()
            .config_override(self.for_body(len));
        let call = if self.options.unsigned_payload { call.disable_payload_signing() } else { call };
        call.send().await.map(drop).map_err(|error| Failed::new("PutObject", key, &error))
    }

    /// Begins a multipart upload, with one attempt; gives its id.
    pub(super) async fn create_upload(&self, key: &Key) -> Result<String, Failed> {
        let (encryption, key_id) = self.encryption();
        let created = self
            .client
            .create_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.path(key))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            // A store that was not told before refuses parts with checksums.
            .set_checksum_algorithm(self.options.checksums.then_some(ChecksumAlgorithm::Crc32))
            .customize()
            .config_override(Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map_err(|error| Failed::new("CreateMultipartUpload", key, &error))?;
        Ok(created.upload_id.unwrap_or_default())
    }

    /// Stores a part. A retry sends the same bytes under the same number.
    pub(super) async fn upload_part(&self, key: &Key, upload: &str, number: u16, bytes: Bytes) -> Result<Part, Failed> {
        let len = bytes.len();
        let call = self
            .client
            .upload_part()
            .bucket(&self.options.bucket)
            .key(self.path(key))
            .upload_id(upload)
            .part_number(i32::from(number))
            .set_checksum_algorithm(self.options.checksums.then_some(ChecksumAlgorithm::Crc32))
            .body(ByteStream::new(SdkBody::from(bytes)))
            .customize()
            .config_override(self.for_body(len));
        let call = if self.options.unsigned_payload { call.disable_payload_signing() } else { call };
        let stored = call.send().await.map_err(|error| Failed::new("UploadPart", key, &error))?;
        Ok(Part { number, etag: stored.e_tag.unwrap_or_default(), checksum: stored.checksum_crc32 })
    }

    /// Makes an object of the parts.
    pub(super) async fn complete_upload(&self, key: &Key, upload: &str, parts: &[Part]) -> Result<(), Failed> {
        let part = |part: &Part| {
            CompletedPart::builder()
                .part_number(i32::from(part.number))
                .e_tag(&part.etag)
                .set_checksum_crc32(part.checksum.clone())
                .build()
        };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(part).collect())).build();
        let (count, mut attempts) = (parts.parts().len(), self.options.attempts_max.max(1));
        loop {
            attempts -= 1;
            let answer = self
                .client
                .complete_multipart_upload()
                .bucket(&self.options.bucket)
                .key(self.path(key))
                .upload_id(upload)
                .multipart_upload(parts.clone())
                .customize()
                // A store may have to put the parts together.
                .config_override(self.for_body(count * COMPLETE_BYTES_A_PART))
                .send()
                .await;
            match answer.map_err(|error| Failed::new("CompleteMultipartUpload", key, &error)) {
                // The store says 200 before it knows, and the error comes in the body; the SDK reads it but does not retry.
                Err(error) if error.status == Some(200) && error.passes() && attempts > 0 => {}
                other => return other.map(drop),
            }
        }
    }

    /// Ends a multipart upload. `false`: there is none.
    pub(super) async fn abort_upload(&self, key: &Key, upload: &str) -> Result<bool, Failed> {
        let answer = self
            .client
            .abort_multipart_upload()
            .bucket(&self.options.bucket)
            .key(self.path(key))
            .upload_id(upload)
            .send()
            .await;
        match answer.map_err(|error| Failed::new("AbortMultipartUpload", key, &error)) {
            Ok(_) => Ok(true),
            Err(error) if error.is("NoSuchUpload") => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn delete_object(&self, key: &Key) -> Result<(), Failed> {
        let answer = self.client.delete_object().bucket(&self.options.bucket).key(self.path(key)).send().await;
        match answer.map_err(|error| Failed::new("DeleteObject", key, &error)) {
            Err(error) if !error.is("NoSuchKey") => Err(error),
            _ => Ok(()),
        }
    }

    /// Size of an object.
    pub(super) async fn head_object(&self, key: &Key) -> Result<u64, Failed> {
        let answer = self.client.head_object().bucket(&self.options.bucket).key(self.path(key)).send().await;
        let head = answer.map_err(|error| Failed::new("HeadObject", key, &error))?;
        Ok(head.content_length.and_then(|len| u64::try_from(len).ok()).unwrap_or(0))
    }
}
