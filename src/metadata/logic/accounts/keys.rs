//! Keys that sign tokens.

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, record, values};
use crate::metadata::model::accounts::SigningKeyRecord;
use crate::metadata::rows::expect_rows;
use crate::metadata::sql::accounts as sql;

record! {
    struct KeyRow {
        kid: String,
        sealed: Vec<u8>,
        created_at: i64,
        ends_at: i64,
    }
}

pub(in crate::metadata::logic) async fn list<C: Conn>(conn: &mut C, now: Timestamp) -> Result<Vec<SigningKeyRecord>> {
    let rows: Vec<KeyRow> = conn.all(&sql::KEYS, values![now]).await?;
    let key = |row: KeyRow| SigningKeyRecord {
        kid: row.kid,
        sealed: row.sealed,
        created_at: Timestamp::from_micros(row.created_at),
        ends_at: Timestamp::from_micros(row.ends_at),
    };
    Ok(rows.into_iter().map(key).collect())
}

pub(in crate::metadata::logic) async fn add<C: Conn>(tx: &mut C, key: &SigningKeyRecord) -> Result<()> {
    let SigningKeyRecord { kid, sealed, created_at, ends_at } = key;
    tx.run(&sql::KEYS_ENDED, values![*created_at]).await?;
    let values = &[kid.as_str().into(), sealed.as_slice().into(), (*created_at).into(), (*ends_at).into()];
    expect_rows(&sql::KEY_INSERT, 1, tx.run(&sql::KEY_INSERT, values).await?)
}
