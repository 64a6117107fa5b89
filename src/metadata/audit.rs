//! The record of what happened: the trait that a database implements, beside that for what is stored.
//!
//! Most of it is written by the transactions of the other traits, each of which writes down what it does. Rows are never
//! changed but once, when they get a number and a hash, and never deleted.

use std::fmt;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::audit::{AuditEvent, AuditFilter, AuditNote, AuditPage, AuditTail, Seal};

/// A place for what happened.
#[async_trait]
pub trait AuditStore: fmt::Debug + Send + Sync {
    /// Writes down what is done by no other transaction.
    async fn audit_note(&self, notes: &[AuditNote], now: Timestamp) -> Result<()>;

    /// Numbers and chains events that have no number yet, `limit` at most, unless another node does; says how many.
    async fn audit_seal(&self, node: &str, now: Timestamp, limit: u32) -> Result<u64>;

    /// Lets other nodes seal at once, if this one is who does.
    async fn audit_leave(&self, node: &str) -> Result<()>;

    /// Where the chain ends, as the one who sealed last remembers it.
    async fn audit_head(&self) -> Result<Seal>;

    /// The chain after a sequence number, in order, `limit` at most.
    async fn audit_chain(&self, after: i64, limit: u32) -> Result<Vec<AuditEvent>>;

    /// Events that have no number yet and an id above `after`, in the order of their ids, `limit` at most.
    async fn audit_unsealed(&self, after: i64, limit: u32) -> Result<Vec<AuditEvent>>;

    /// How many these are; `limit` if they are more.
    async fn audit_tail(&self, limit: u32) -> Result<AuditTail>;

    /// Events that fit, the newest first, those with an id below `before`, `limit` at most. A page of which few events fit
    /// may end early, and says where to go on.
    async fn audit_list(&self, filter: &AuditFilter, before: Option<i64>, limit: u32) -> Result<AuditPage>;
}
