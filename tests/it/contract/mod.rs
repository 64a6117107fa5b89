//! What every driver of a trait must do, as functions over the trait, run on each driver.

use std::path::Path;

use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};

/// Runs rules, functions over a store, on a new SQLite and on a new Postgres.
macro_rules! on_both {
    ($($rule:ident)+) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $rule() {
                let folder = tempfile::tempdir().expect("a folder");
                let store = $crate::contract::sqlite_in(folder.path()).await;
                super::$rule(&store).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $rule() {
                let database = $crate::postgres::Database::migrated();
                let store = database.open().await;
                super::$rule(&store).await;
            })+
        }
    };
}
use on_both;

mod accounts;
mod certificates;
mod credentials;
mod downloads;
mod limits;
mod metadata;
mod publishers;
mod source;
mod storage;
mod storage_fs;
mod webhooks;

/// A new store that may lose its last commits with the machine.
async fn sqlite_in(folder: &Path) -> SqliteStore {
    let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::new(folder.join("bonded.db")) };
    SqliteStore::open(&options).await.expect("a store")
}
