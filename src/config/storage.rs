//! `[storage.s3]`: which bucket, how to reach it, and what it can do.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::units::{Size, Span, positive};
use super::{Fault, positive_span, some_path};
use crate::storage::s3::{Encryption, S3Credentials, S3Options};

/// `[storage]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// A bucket for the bytes, instead of the folder `data`.
    pub s3: S3Settings,
}

/// `[storage.s3]`.
#[expect(clippy::struct_excessive_bools, reason = "each is a key that an operator sets by itself")]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    /// The bucket; with it, bytes are stored there and not in `data`.
    pub bucket: Option<String>,
    /// Its region; without it, what the environment or the profile of the AWS tools says, then `us-east-1`.
    pub region: Option<String>,
    /// Address of a store that is not Amazon's, such as `https://s3.example.com:9000`.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; most stores that are not Amazon's want that.
    pub path_style: bool,
    /// What every key begins with, such as `registry`; a slash follows by itself.
    pub prefix: String,
    /// File with the access key id; read again when it changes. Without the two files, credentials come from where the
    /// AWS tools look: environment, profile, web identity, container, instance.
    pub access_key_file: Option<PathBuf>,
    /// File with the secret access key; read again when it changes.
    pub secret_key_file: Option<PathBuf>,
    /// Server-side encryption to ask for: `AES256` or `aws:kms`; without it, what the bucket does by itself.
    pub sse: Option<Sse>,
    /// Key for `sse = "aws:kms"`; without it, the account's own.
    pub sse_kms_key_id: Option<String>,
    /// Longest time until a connection is made.
    pub connect_timeout: Span,
    /// Longest time of one attempt of a small request; a body may take a second longer for each 128 KiB.
    pub request_timeout: Span,
    /// Longest time without a byte of an object that is being read.
    pub stall_timeout: Span,
    /// How often a request is tried in all before the store counts as not available.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub attempts_max: u32,
    /// Whether the store wants all parts of an upload but the last to have one size, as Cloudflare R2 does.
    pub equal_parts: bool,
    /// Size of the first parts of an upload, from 5 MiB to 64 MiB; later ones grow with the blob.
    pub part_bytes: Size,
    /// Most parts of one upload that are on their way at once; 16 at most.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1, max = 16))]
    pub parts_parallel_max: u16,
    /// Whether to add checksums to every request, which some stores refuse.
    pub checksums: bool,
    /// Whether bodies go without a hash in their signature, which saves hashing them twice; only over HTTPS.
    pub unsigned_payload: bool,
    /// `off`: every byte of a GET goes through this server. `presigned`: plain blob GETs are sent to the store.
    pub redirect: Redirect,
    /// How long a presigned address is good; garbage stays that much longer.
    pub redirect_ttl: Span,
}

/// Server-side encryption, as S3 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sse {
    /// With a key of the store.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of the key management service.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// Where a blob GET is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Redirect {
    /// Here.
    Off,
    /// By the store.
    Presigned,
}

impl Default for S3Settings {
    fn default() -> Self {
        let options = S3Options::new("");
        Self {
            bucket: None,
            region: None,
            endpoint: None,
            path_style: options.path_style,
            prefix: String::new(),
            access_key_file: None,
            secret_key_file: None,
            sse: None,
            sse_kms_key_id: None,
            connect_timeout: Span(options.connect_timeout),
            request_timeout: Span(options.request_timeout),
            stall_timeout: Span(options.stall_timeout),
            attempts_max: options.attempts_max,
            equal_parts: options.equal_parts,
            part_bytes: Size(options.part_bytes),
            parts_parallel_max: options.parts_parallel_max,
            checksums: options.checksums,
            unsigned_payload: options.unsigned_payload,
            redirect: Redirect::Off,
            redirect_ttl: Span(Duration::from_mins(20)),
        }
    }
}

/// Smallest and largest `storage.s3.part_bytes`: what S3 takes as a part, and what a few uploads can hold in memory.
const PART_BOUNDS: (Size, Size) = (Size(5 << 20), Size(64 << 20));
/// Largest `storage.s3.parts_parallel_max`.
const PARTS_PARALLEL_CEILING: u16 = 16;
/// Longest life of a presigned address (Amazon S3, "Sharing objects with presigned URLs").
const REDIRECT_TTL_MAX: Duration = Duration::from_hours(7 * 24);
/// How many parts `limits.upload_buffer_bytes_max` must hold: two uploads, each with a part and what follows it.
const UPLOAD_BUFFER_PARTS: u64 = 4;

impl Settings {
    /// The bucket, if there is one.
    pub(super) fn s3(&self) -> Result<Option<S3Options>, Fault> {
        let s3 = &self.storage.s3;
        let Some(bucket) = &s3.bucket else { return self.without_bucket() };
        if bucket.is_empty() || bucket.contains('/') {
            return Err(Fault::new("storage.s3.bucket", format!("`{bucket}` is not the name of a bucket")));
        }
        let (min, max) = PART_BOUNDS;
        if s3.part_bytes < min || s3.part_bytes > max {
            return Err(Fault::new("storage.s3.part_bytes", format!("it must be from {min} to {max}")));
        }
        if s3.parts_parallel_max > PARTS_PARALLEL_CEILING {
            let what = format!("it must be at most {PARTS_PARALLEL_CEILING}");
            return Err(Fault::new("storage.s3.parts_parallel_max", what));
        }
        let buffer = self.limits.upload_buffer_bytes_max;
        let floor = Size(UPLOAD_BUFFER_PARTS * s3.part_bytes.0);
        if buffer < floor {
            return Err(Fault::new("limits.upload_buffer_bytes_max", format!("it must be at least {floor}")));
        }
        Ok(Some(S3Options {
            region: s3.region.clone(),
            endpoint: s3.endpoint.as_deref().map(endpoint).transpose()?,
            path_style: s3.path_style,
            prefix: prefix(&s3.prefix)?,
            credentials: s3.credentials()?,
            encryption: s3.encryption()?,
            connect_timeout: positive_span("storage.s3.connect_timeout", s3.connect_timeout)?,
            request_timeout: positive_span("storage.s3.request_timeout", s3.request_timeout)?,
            attempts_max: s3.attempts_max,
            equal_parts: s3.equal_parts,
            part_bytes: s3.part_bytes.0,
            parts_parallel_max: s3.parts_parallel_max,
            checksums: s3.checksums,
            unsigned_payload: s3.unsigned_payload,
            stall_timeout: positive_span("storage.s3.stall_timeout", s3.stall_timeout)?,
            upload_buffer_bytes_max: buffer.0,
            ..S3Options::new(bucket.clone())
        }))
    }

    /// A key beside a missing bucket is a forgotten bucket.
    fn without_bucket(&self) -> Result<Option<S3Options>, Fault> {
        let s3 = &self.storage.s3;
        let alone = [
            ("storage.s3.endpoint", s3.endpoint.is_some()),
            ("storage.s3.region", s3.region.is_some()),
            ("storage.s3.prefix", !s3.prefix.is_empty()),
            ("storage.s3.access_key_file", s3.access_key_file.is_some()),
            ("storage.s3.secret_key_file", s3.secret_key_file.is_some()),
            ("storage.s3.redirect", s3.redirect != Redirect::Off),
        ];
        match alone.into_iter().find(|(_, set)| *set) {
            Some((key, _)) => Err(Fault::new(key, "`storage.s3.bucket` is missing; name the bucket")),
            None => Ok(None),
        }
    }

    /// How long presigned addresses are good; zero when GETs are not sent to the store.
    pub(super) fn redirect_ttl(&self) -> Result<Duration, Fault> {
        let s3 = &self.storage.s3;
        if s3.bucket.is_none() || s3.redirect == Redirect::Off {
            return Ok(Duration::ZERO);
        }
        let ttl = positive_span("storage.s3.redirect_ttl", s3.redirect_ttl)?;
        if ttl > REDIRECT_TTL_MAX {
            return Err(Fault::new("storage.s3.redirect_ttl", "it must be at most 7 days"));
        }
        Ok(ttl)
    }
}

impl S3Settings {
    fn credentials(&self) -> Result<S3Credentials, Fault> {
        match (&self.access_key_file, &self.secret_key_file) {
            (None, None) => Ok(S3Credentials::Chain),
            (Some(access), Some(secret)) => Ok(S3Credentials::Files {
                access_key_file: some_path("storage.s3.access_key_file", access)?,
                secret_key_file: some_path("storage.s3.secret_key_file", secret)?,
            }),
            (Some(_), None) => Err(Fault::new("storage.s3.access_key_file", "`storage.s3.secret_key_file` is missing")),
            (None, Some(_)) => Err(Fault::new("storage.s3.secret_key_file", "`storage.s3.access_key_file` is missing")),
        }
    }

    fn encryption(&self) -> Result<Option<Encryption>, Fault> {
        match (self.sse, &self.sse_kms_key_id) {
            (Some(Sse::Kms), key_id) => Ok(Some(Encryption::Kms { key_id: key_id.clone() })),
            (_, Some(_)) => Err(Fault::new("storage.s3.sse_kms_key_id", "it needs `sse = \"aws:kms\"`")),
            (Some(Sse::Aes256), None) => Ok(Some(Encryption::Aes256)),
            (None, None) => Ok(None),
        }
    }
}

fn endpoint(text: &str) -> Result<String, Fault> {
    let fault = || {
        let what = format!("`{text}` is not the address of a store; write it like \"https://s3.example.com\"");
        Fault::new("storage.s3.endpoint", what)
    };
    let uri: http::Uri = text.parse().map_err(|_| fault())?;
    let plain = uri.query().is_none() && !text.contains('@') && uri.host().is_some_and(|host| !host.is_empty());
    match uri.scheme_str() {
        Some("http" | "https") if plain => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(fault()),
    }
}

/// A prefix without slashes at its ends.
fn prefix(text: &str) -> Result<String, Fault> {
    let inner = text.trim_matches('/');
    if inner.is_empty() || crate::storage::Key::parse(inner).is_some() {
        return Ok(inner.to_owned());
    }
    Err(Fault::new("storage.s3.prefix", format!("`{text}` has an empty, `.` or `..` segment")))
}
