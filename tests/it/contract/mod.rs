//! What every driver of a trait must do, as functions over the trait, run on each driver.

mod accounts;
mod limits;
mod metadata;
mod source;
mod storage;
mod storage_fs;
mod webhooks;
