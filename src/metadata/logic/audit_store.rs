//! The trait for what happened, method by method: which are reads, which are transactions, and what they run.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::audit::AuditStore;
use crate::metadata::logic::{Database, audit_chain, work};
use crate::metadata::model::audit::{AuditEvent, AuditFilter, AuditNote, AuditPage, AuditTail, Seal};

#[async_trait]
impl<D: Database> AuditStore for D {
    async fn audit_note(&self, notes: &[AuditNote], now: Timestamp) -> Result<()> {
        work!(self.write, [notes], |tx| audit_chain::note(tx, &notes, now))
    }

    async fn audit_seal(&self, node: &str, now: Timestamp, limit: u32) -> Result<u64> {
        if !work!(self.read, [node], |conn| audit_chain::is_due(conn, &node, now))? {
            return Ok(0);
        }
        work!(self.write, [node], |tx| audit_chain::seal(tx, &node, now, limit))
    }

    async fn audit_leave(&self, node: &str) -> Result<()> {
        work!(self.write, [node], |tx| audit_chain::leave(tx, &node))
    }

    async fn audit_head(&self) -> Result<Seal> {
        work!(self.read, [], |conn| audit_chain::head(conn))
    }

    async fn audit_chain(&self, after: i64, limit: u32) -> Result<Vec<AuditEvent>> {
        work!(self.read, [], |conn| audit_chain::chain(conn, after, limit))
    }

    async fn audit_unsealed(&self, after: i64, limit: u32) -> Result<Vec<AuditEvent>> {
        work!(self.read, [], |conn| audit_chain::unsealed(conn, after, limit))
    }

    async fn audit_tail(&self, limit: u32) -> Result<AuditTail> {
        work!(self.read, [], |conn| audit_chain::tail(conn, limit))
    }

    async fn audit_list(&self, filter: &AuditFilter, before: Option<i64>, limit: u32) -> Result<AuditPage> {
        let filter = filter.clone();
        work!(self.read, [filter], |conn| audit_chain::list(conn, &filter, before, limit))
    }
}
