//! What an operator decides about a store in S3.
//!
//! Options are checked once, when the store is opened; nobody else has to ask whether they make sense.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::storage::StorageError;
use crate::storage::s3::plan::{LOOK_AHEAD_BYTES, PART_BYTES_MAX, PART_BYTES_MIN};

/// Most parts of one upload that may be on their way at once.
///
/// A later writer of the same session leaves so many part numbers free for each writer that may still be writing.
pub(super) const PARTS_PARALLEL_LIMIT: u16 = 16;

/// Largest size in bytes that equal parts get without being asked for more.
pub(super) const EQUAL_BYTES_MAX: u64 = 16 << 20;

/// Where and how a store keeps its objects.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that an operator sets by name")]
pub struct S3Options {
    /// The bucket; it must exist.
    pub bucket: String,
    /// The region; `None`: what the AWS chain says, else `us-east-1`.
    pub region: Option<String>,
    /// Base URL of a store that is not AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket is named in the path rather than in the host.
    pub path_style: bool,
    /// What stands before every key, without a slash at its end; empty: nothing.
    pub prefix: String,
    /// Who we are.
    pub credentials: S3Credentials,
    /// Whether the store is asked to encrypt objects; `None`: as the bucket says.
    pub encryption: Option<Encryption>,
    /// Longest time to get a connection.
    pub connect_timeout: Duration,
    /// Longest time for one attempt at a call without a large body; a body adds a second for each 128 KiB.
    pub request_timeout: Duration,
    /// Longest time without a byte of a body.
    pub stall_timeout: Duration,
    /// An upload that has recorded nothing for so long has the registry keep what it holds in memory.
    pub stage_after: Duration,
    /// How often a call is tried in all; at least one.
    pub attempts_max: u32,
    /// Whether all parts of an upload but the last must have one size (Cloudflare R2).
    pub equal_parts: bool,
    /// Size of the first parts in bytes, 5 MiB at least.
    pub part_bytes: u64,
    /// Most parts of one upload on their way at once, 16 at most.
    pub parts_parallel_max: u16,
    /// Most bytes of part buffers in this process.
    pub upload_buffer_bytes_max: u64,
    /// Whether the SDK adds and checks checksums beyond what the API demands; many stores refuse them.
    pub checksums: bool,
    /// Whether bodies go without a hash in their signature; only where TLS protects them.
    pub unsigned_payload: bool,
}

impl S3Options {
    /// A bucket with the defaults.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            path_style: false,
            prefix: String::new(),
            credentials: S3Credentials::Chain,
            encryption: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(20),
            stage_after: Duration::from_secs(10),
            attempts_max: 4,
            equal_parts: false,
            part_bytes: 8 << 20,
            parts_parallel_max: 4,
            upload_buffer_bytes_max: 160 << 20,
            checksums: false,
            unsigned_payload: false,
        }
    }

    /// Says what cannot work.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        let wrong = |what: String| Err(StorageError::Other(what.into()));
        if self.bucket.is_empty() {
            return wrong("the S3 bucket has no name".to_owned());
        }
        if self.prefix.starts_with('/') || self.prefix.ends_with('/') {
            return wrong(format!("the S3 prefix `{}` must neither begin nor end with a slash", self.prefix));
        }
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&self.part_bytes) {
            return wrong(format!("S3 parts of {} bytes are not between 5 MiB and 5 GiB", self.part_bytes));
        }
        if self.parts_parallel_max == 0 || self.parts_parallel_max > PARTS_PARALLEL_LIMIT {
            return wrong(format!(
                "{} parallel parts are not between 1 and {PARTS_PARALLEL_LIMIT}",
                self.parts_parallel_max
            ));
        }
        let part_bytes = if self.equal_parts { self.part_bytes.max(EQUAL_BYTES_MAX) } else { self.part_bytes };
        let least = 2 * (part_bytes + LOOK_AHEAD_BYTES);
        if self.upload_buffer_bytes_max < least {
            let bytes = self.upload_buffer_bytes_max;
            return wrong(format!("upload buffers of {bytes} bytes in all are too few for S3 parts: at least {least}"));
        }
        Ok(())
    }
}

/// Who we are to the store.
#[derive(Clone)]
pub enum S3Credentials {
    /// Environment, profile, web identity, container or instance, in the order of the AWS SDK.
    Chain,
    /// These.
    Static {
        /// Public part.
        access_key: String,
        /// Secret part.
        secret_key: String,
        /// Token of a temporary identity.
        session_token: Option<String>,
    },
    /// What stands in these files, read again when they change.
    Files {
        /// File with the public part.
        access_key_file: PathBuf,
        /// File with the secret part.
        secret_key_file: PathBuf,
    },
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => f.write_str("Chain"),
            Self::Static { access_key, .. } => {
                f.debug_struct("Static").field("access_key", access_key).finish_non_exhaustive()
            }
            Self::Files { access_key_file, secret_key_file } => f
                .debug_struct("Files")
                .field("access_key_file", access_key_file)
                .field("secret_key_file", secret_key_file)
                .finish(),
        }
    }
}

/// How the store encrypts objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of the store (SSE-S3).
    Aes256,
    /// With a key of the key service (SSE-KMS).
    Kms {
        /// Which key; `None`: the account's own.
        key_id: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = S3Credentials::Static {
            access_key: "public".to_owned(),
            secret_key: "hidden-1".to_owned(),
            session_token: Some("hidden-2".to_owned()),
        };
        let shown = format!("{:?}", S3Options { credentials, ..S3Options::new("b") });
        assert!(shown.contains("public") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn what_cannot_work_is_said_at_once() {
        let good = || S3Options::new("b");
        good().check().expect("the defaults work");
        for bad in [
            S3Options::new(""),
            S3Options { prefix: "a/".to_owned(), ..good() },
            S3Options { part_bytes: 5 << 19, ..good() },
            S3Options { part_bytes: 6 << 30, ..good() },
            S3Options { parts_parallel_max: 0, ..good() },
            S3Options { parts_parallel_max: 17, ..good() },
            S3Options { upload_buffer_bytes_max: 20 << 20, ..good() },
            S3Options { upload_buffer_bytes_max: 40 << 20, equal_parts: true, ..good() },
        ] {
            bad.check().expect_err("it cannot work");
        }
    }
}
