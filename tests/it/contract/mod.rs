//! What every driver of a trait must do, as functions over the trait, run on each driver.

mod accounts;
mod certificates;
mod limits;
mod metadata;
mod publishers;
mod source;
mod storage;
mod storage_fs;
mod webhooks;
