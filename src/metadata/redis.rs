//! Buckets that nodes share in Redis. Nothing else is kept there, and nothing there is worth a copy.

use std::fmt;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Client, Pipeline, RedisError, RedisResult};
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::metadata::limits::SharedBuckets;
use crate::metadata::model::limits::{BucketFill, BucketLevel};
use crate::metadata::{MetadataError, Result};

/// Moves the moment at which a bucket has run out by what comes in, and keeps it no longer than that. Its numbers are
/// microseconds, which a double holds exactly until the year 2255.
const FILL: &str = "\
local empty_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + tonumber(ARGV[2])
local text = string.format('%.0f', empty_at)
redis.call('SET', KEYS[1], text, 'PX', string.format('%.0f', math.ceil((empty_at - ARGV[1]) / 1000) + 1))
return text";

/// What the keys begin with.
const PREFIX: &str = "bonded:rate:";

/// Longest time that anything lasts in a bucket there: a hundred years, in microseconds.
const LASTS_MAX: i64 = 100 * 366 * 86_400 * 1_000_000;

/// A Redis server, or another one that speaks its protocol. It is connected to when it is needed.
pub struct RedisBuckets {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisBuckets {
    /// For the server at `url`, which need not answer yet.
    ///
    /// # Errors
    /// [`MetadataError::Driver`] when that is no address of a Redis server.
    pub fn new(url: &str) -> Result<Self> {
        let client = Client::open(url).map_err(|error| MetadataError::Driver(Box::new(error)))?;
        Ok(Self { client, connection: Mutex::default() })
    }

    /// An answer comes within half a second, a connection within one, or there is none.
    async fn ask(&self, pipeline: &Pipeline) -> RedisResult<Vec<i64>> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection().await?,
        };
        // After a failure the next one begins with a new connection.
        let answer = pipeline.query_async(&mut connection).await?;
        *held = Some(connection);
        Ok(answer)
    }
}

impl fmt::Debug for RedisBuckets {
    /// Without the address, which may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuckets").finish_non_exhaustive()
    }
}

#[async_trait]
impl SharedBuckets for RedisBuckets {
    async fn rate_fill(&self, fills: &[BucketFill], now: Timestamp) -> Result<Vec<BucketLevel>> {
        if fills.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(fills.len());
        for fill in fills {
            let lasts = i64::try_from(fill.lasts.as_micros()).map_or(LASTS_MAX, |lasts| lasts.min(LASTS_MAX));
            let key = format!("{PREFIX}{}", fill.key);
            pipeline.cmd("EVAL").arg(FILL).arg(1).arg(key).arg(now.as_micros()).arg(lasts);
        }
        let levels = self.ask(&pipeline).await.map_err(|error| unavailable(&error))?;
        let level = |(fill, empty_at): (&BucketFill, i64)| BucketLevel {
            key: fill.key.clone(),
            empty_at: Timestamp::from_micros(empty_at),
        };
        Ok(fills.iter().zip(levels).map(level).collect())
    }
}

fn unavailable(error: &RedisError) -> MetadataError {
    MetadataError::Unavailable(format!("Redis: {error}"))
}
