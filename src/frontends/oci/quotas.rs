//! Quotas: whether there is room for what a client is about to send, asked before it is read.
//!
//! An upload that has received bytes goes on, whatever came in beside it, as long as it alone would fit.

use serde_json::json;

use super::Exchange;
use super::failure::Failure;
use crate::access::Action;
use crate::auth::{QuotaError, QuotaOf, Room, Wish};
use crate::metadata::model::UploadId;
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::error::Condition;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;

/// What is asked for where nobody says how much it will be.
const UNKNOWN_BYTES: u64 = 1;

impl From<QuotaError> for Failure {
    fn from(error: QuotaError) -> Self {
        let message = error.to_string();
        match error {
            QuotaError::Exceeded { namespace, unit, used, limit, asked } => {
                let detail = json!({
                    "namespace": namespace.as_str(),
                    "unit": unit,
                    "used": used,
                    "limit": limit,
                    "asked": asked,
                });
                Self::new(Condition::QuotaExceeded, message, detail)
            }
            QuotaError::Auth(error) => error.into(),
        }
    }
}

impl Exchange {
    async fn quota(&self, repo: &RepoName) -> Result<Option<QuotaOf>, Failure> {
        Ok(self.gate.auth.quota_of(&self.identity, repo).await?)
    }

    /// What was asked for; that there is no room is counted as a refusal.
    fn counted<T>(&self, repo: &RepoName, made: Result<T, QuotaError>) -> Result<T, Failure> {
        made.map_err(|error| {
            if matches!(error, QuotaError::Exceeded { .. }) {
                let (by, action) = (self.actor(), Action::Push.as_str());
                self.gate.auth.audit().refused(action, &by);
                self.gate.hooks.denied(repo, action, &by);
            }
            error.into()
        })
    }

    /// Room for a session that begins.
    pub(super) async fn room_to_begin(&self, repo: &RepoName) -> Result<(), Failure> {
        if let Some(of) = self.quota(repo).await? {
            let made = self.gate.auth.make_room(&of, Wish { repo, bytes: UNKNOWN_BYTES, session: None }).await;
            self.counted(repo, made)?;
        }
        Ok(())
    }

    /// Room for a blob that is about to come whole.
    pub(super) async fn room_for_blob(&self, repo: &RepoName, digest: &Digest) -> Result<Option<Room>, Failure> {
        match self.quota(repo).await? {
            Some(of) => self.room_for_body(&of, repo, None, Some(digest)).await,
            None => Ok(None),
        }
    }

    /// Room for a body that goes into a new session.
    async fn room_for_body(
        &self,
        of: &QuotaOf,
        repo: &RepoName,
        session: Option<&UploadId>,
        digest: Option<&Digest>,
    ) -> Result<Option<Room>, Failure> {
        let length = self.inbound.length();
        let wish = Wish { repo, bytes: length.unwrap_or(UNKNOWN_BYTES), session: session.filter(|_| length.is_some()) };
        match (self.gate.auth.make_room(of, wish).await, digest) {
            // What is there already takes no room.
            (Err(QuotaError::Exceeded { .. }), Some(digest)) if self.registry.open_blob(repo, digest).await.is_ok() => {
                Ok(None)
            }
            (made, _) => Ok(Some(self.counted(repo, made)?)),
        }
    }

    /// Room for a blob of another repository.
    pub(super) async fn room_to_mount(
        &self,
        repo: &RepoName,
        from: Option<&RepoName>,
        digest: &Digest,
    ) -> Result<Option<(Room, u64)>, Failure> {
        let (Some(of), Some(from)) = (self.quota(repo).await?, from) else { return Ok(None) };
        // What is not there is not mounted, and what is here already takes no room.
        let Ok(found) = self.registry.open_blob(from, digest).await else { return Ok(None) };
        if self.registry.open_blob(repo, digest).await.is_ok() {
            return Ok(None);
        }
        let bytes = found.record.size;
        let made = self.gate.auth.make_room(&of, Wish { repo, bytes, session: None }).await;
        Ok(Some((self.counted(repo, made)?, bytes)))
    }

    /// Room for the next piece of a session, which is its last one when it has a digest.
    pub(super) async fn room_for_piece(
        &self,
        repo: &RepoName,
        id: &UploadId,
        digest: Option<&Digest>,
    ) -> Result<Option<Room>, Failure> {
        let Some(of) = self.quota(repo).await? else { return Ok(None) };
        // Whoever has lost the session, or repeats what is done, hears so from the registry.
        let Ok(status) = self.registry.upload_status(self.holder(repo), id).await else { return Ok(None) };
        if status.received > 0 {
            let bytes = self.inbound.length().unwrap_or(UNKNOWN_BYTES);
            let total = status.received.saturating_add(bytes);
            let Some(limit) = of.quota.bytes.filter(|limit| total > *limit) else { return Ok(None) };
            let (namespace, unit) = (of.namespace, "bytes");
            let exceeded = QuotaError::Exceeded { namespace, unit, used: status.received, limit, asked: bytes };
            return self.counted(repo, Err(exceeded));
        }
        self.room_for_body(&of, repo, Some(id), digest).await
    }

    /// Room for a manifest.
    pub(super) async fn room_for_manifest(
        &self,
        repo: &RepoName,
        reference: &Reference,
        payload: &[u8],
    ) -> Result<Option<Room>, Failure> {
        let Some(of) = self.quota(repo).await? else { return Ok(None) };
        let made = self.gate.auth.make_room(&of, Wish { repo, bytes: payload.len() as u64, session: None }).await;
        if matches!(made, Err(QuotaError::Exceeded { .. })) {
            let reference = match reference {
                Reference::Digest(_) => reference.clone(),
                Reference::Tag(_) => Reference::Digest(Digest::of(Algorithm::Sha256, payload)),
            };
            // One more tag of a manifest takes no room.
            if self.registry.find_manifest(repo, &reference).await.is_ok() {
                return Ok(None);
            }
        }
        Ok(Some(self.counted(repo, made)?))
    }
}
