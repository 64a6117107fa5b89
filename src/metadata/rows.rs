//! Rows as the databases give them, and the one way from a row to a value.
//!
//! A column that cannot be read as what it must be is [`MetadataError::Inconsistent`], which names table, column and row.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use sqlx::FromRow;

use crate::clock::Timestamp;
use crate::metadata::logic::{FromSqlite, SqliteRow, record};
use crate::metadata::model::trust::Standing;
use crate::metadata::model::{
    BlobId, BlobLocation, BlobRecord, Deletion, ManifestRecord, ReferrerRecord, UploadId, UploadRecord, UploadState,
};
use crate::metadata::sql::Statement;
use crate::metadata::{MetadataError, Result};
use crate::storage::{DriverState, Key};

record! {
    /// A row of `blobs`.
    pub(crate) struct BlobRow {
        pub(crate) id: i64,
        digest: String,
        size: i64,
        object_key: Option<String>,
        inline: Option<Vec<u8>>,
        damaged_at: Option<i64>,
        created_at: i64,
    }
}

impl TryFrom<BlobRow> for BlobRecord {
    type Error = MetadataError;

    fn try_from(row: BlobRow) -> Result<Self> {
        let location = match (row.object_key, row.inline) {
            (Some(key), None) => BlobLocation::Object(parse_key("blobs", row.id, &key)?),
            (None, Some(bytes)) => BlobLocation::Inline(Bytes::from(bytes)),
            _ => {
                return Err(inconsistent(
                    "blobs",
                    "object_key",
                    row.id,
                    "exactly one of key and inline bytes is needed",
                ));
            }
        };
        Ok(Self {
            id: BlobId(row.id),
            digest: parse("blobs", "digest", row.id, &row.digest)?,
            size: unsigned("blobs", "size", row.id, row.size)?,
            location,
            damaged_at: row.damaged_at.map(Timestamp::from_micros),
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

/// A blob with its lease in a repository.
#[derive(Debug, FromRow)]
pub(crate) struct LeasedBlobRow {
    #[sqlx(flatten)]
    pub(crate) blob: BlobRow,
    pub(crate) repo_id: i64,
    pub(crate) lease_until: Option<i64>,
    pub(crate) referenced: bool,
}

impl FromSqlite for LeasedBlobRow {
    fn from_sqlite(row: &mut SqliteRow) -> Result<Self> {
        Ok(Self {
            blob: BlobRow::from_sqlite(row)?,
            repo_id: row.take("repo_id")?,
            lease_until: row.take("lease_until")?,
            referenced: row.take("referenced")?,
        })
    }
}

record! {
    /// A row of `uploads`.
    pub(crate) struct UploadRow {
        id: String,
        object_key: Option<String>,
        driver_state: Vec<u8>,
        received: i64,
        hash_state: Vec<u8>,
        pub(crate) epoch: i64,
        principal: Option<String>,
        state: String,
        digest: Option<String>,
    }
}

impl TryFrom<UploadRow> for UploadRecord {
    type Error = MetadataError;

    fn try_from(row: UploadRow) -> Result<Self> {
        let id = UploadId::parse(&row.id).ok_or_else(|| inconsistent("uploads", "id", &row.id, "it is not a UUID"))?;
        Ok(Self {
            object_key: row.object_key.as_deref().map(|key| parse_key("uploads", &row.id, key)).transpose()?,
            driver_state: DriverState(row.driver_state),
            received: unsigned("uploads", "received", &row.id, row.received)?,
            hash_state: row.hash_state,
            epoch: row.epoch,
            principal: row.principal,
            state: upload_state(&row.id, &row.state, row.digest.as_deref())?,
            tail: Bytes::new(),
            id,
        })
    }
}

/// What stands in the place of the digest of a closed session that became no blob.
pub(crate) const ENDED: &str = "-";

/// The state of a session from its two columns.
pub(crate) fn upload_state(id: &str, state: &str, digest: Option<&str>) -> Result<UploadState> {
    if (state, digest) == ("committed", Some(ENDED)) {
        return Ok(UploadState::Ended);
    }
    let digest = digest.map(|text| parse("uploads", "digest", id, text)).transpose()?;
    match (state, digest) {
        ("open", None) => Ok(UploadState::Open),
        ("completing", Some(digest)) => Ok(UploadState::Completing(digest)),
        ("committed", Some(digest)) => Ok(UploadState::Committed(digest)),
        (other, _) => Err(inconsistent("uploads", "state", id, format!("`{other}` does not go with the digest"))),
    }
}

record! {
    /// A row of `manifests`.
    pub(crate) struct ManifestRow {
        id: i64,
        digest: String,
        media_type: String,
        payload: Vec<u8>,
        created_at: i64,
        pulled_at: Option<i64>,
        is_signature: bool,
        repo_id: i64,
        trust_generation: i64,
        damaged_at: Option<i64>,
    }
}

impl TryFrom<ManifestRow> for ManifestRecord {
    type Error = MetadataError;

    fn try_from(row: ManifestRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            digest: parse("manifests", "digest", row.id, &row.digest)?,
            media_type: row.media_type,
            payload: Bytes::from(row.payload),
            created_at: Timestamp::from_micros(row.created_at),
            pulled_at: row.pulled_at.map(Timestamp::from_micros),
            is_signature: row.is_signature,
            standing: Standing { repository: row.repo_id, generation: row.trust_generation },
            damaged_at: row.damaged_at.map(Timestamp::from_micros),
        })
    }
}

record! {
    /// A row of `manifests` as its subject sees it.
    pub(crate) struct ReferrerRow {
        digest: String,
        artifact_type: Option<String>,
        referrer: String,
    }
}

impl TryFrom<ReferrerRow> for ReferrerRecord {
    type Error = MetadataError;

    fn try_from(row: ReferrerRow) -> Result<Self> {
        Ok(Self {
            digest: parse("manifests", "digest", &row.digest, &row.digest)?,
            artifact_type: row.artifact_type,
            descriptor: row.referrer,
        })
    }
}

record! {
    /// A row of `object_deletions`.
    pub(crate) struct DeletionRow {
        object_key: String,
        driver_state: Option<Vec<u8>>,
        size: i64,
        attempts: i64,
    }
}

impl TryFrom<DeletionRow> for Deletion {
    type Error = MetadataError;

    fn try_from(row: DeletionRow) -> Result<Self> {
        let at = &row.object_key;
        Ok(Self {
            key: parse_key("object_deletions", at, at)?,
            size: unsigned("object_deletions", "size", at, row.size)?,
            attempts: u32::try_from(row.attempts)
                .map_err(|error| inconsistent("object_deletions", "attempts", at, error))?,
            driver_state: row.driver_state.map(DriverState),
        })
    }
}

/// Every row as a value; the first that cannot be read is the error.
pub(crate) fn records<R, T>(rows: Vec<R>) -> Result<Vec<T>>
where
    T: TryFrom<R, Error = MetadataError>,
{
    rows.into_iter().map(T::try_from).collect()
}

/// Text of a column as a parsed value.
pub(crate) fn parse<T>(table: &'static str, column: &'static str, row: impl Display, text: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| inconsistent(table, column, row, error))
}

/// An object key.
pub(crate) fn parse_key(table: &'static str, row: impl Display, text: &str) -> Result<Key> {
    Key::parse(text).ok_or_else(|| inconsistent(table, "object_key", row, "it is not an object key"))
}

/// A number that is never negative.
pub(crate) fn unsigned(table: &'static str, column: &'static str, row: impl Display, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|error| inconsistent(table, column, row, error))
}

/// A number as the databases hold it; the largest they can hold when it is larger.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A list of rows as one JSON parameter.
pub(crate) fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("lists of numbers and texts are JSON")
}

/// A list of what has a text, as a list of texts.
pub(crate) fn texts<T: Display>(list: impl IntoIterator<Item = T>) -> Vec<String> {
    list.into_iter().map(|item| item.to_string()).collect()
}

/// The text that a page starts after. No name has a NUL, which Postgres does not take: the order of names around it is
/// the same without what follows one.
pub(crate) fn text_after(after: Option<&str>) -> &str {
    after.and_then(|text| text.split('\0').next()).unwrap_or_default()
}

/// A value that cannot be what it is.
pub(crate) fn inconsistent(
    table: &'static str,
    column: &'static str,
    row: impl Display,
    reason: impl Display,
) -> MetadataError {
    MetadataError::Inconsistent { table, column, row: row.to_string(), reason: reason.to_string() }
}

/// Checks the number of rows that a write changed.
pub(crate) fn expect_rows(statement: &Statement, expected: u64, actual: u64) -> Result<()> {
    if actual == expected {
        return Ok(());
    }
    Err(MetadataError::RowsAffected { statement: statement.name, expected, actual })
}
