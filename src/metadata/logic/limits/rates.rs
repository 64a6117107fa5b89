//! Buckets that nodes share.

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, Value};
use crate::metadata::model::limits::{BucketFill, BucketLevel};
use crate::metadata::sql::limits as sql;

pub(super) async fn fill<C: Conn>(tx: &mut C, fills: &[BucketFill], now: Timestamp) -> Result<Vec<BucketLevel>> {
    let micros = |fill: &BucketFill| i64::try_from(fill.lasts.as_micros()).unwrap_or(i64::MAX >> 2);
    let rows: Vec<(&str, i64)> = fills.iter().map(|fill| (fill.key.as_str(), micros(fill))).collect();
    let levels: Vec<(String, i64)> = tx.all(&sql::RATE_FILL, &[Value::rows(&rows), now.into()]).await?;
    let level = |(key, empty_at)| BucketLevel { key, empty_at: Timestamp::from_micros(empty_at) };
    Ok(levels.into_iter().map(level).collect())
}
