//! What every driver of a trait must do, as functions that run on each of them.

mod source;
mod storage;
mod storage_fs;
