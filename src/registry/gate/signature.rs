//! Which manifests carry signatures: found out as they come in, by their form and by that of everything they hold.

use crate::metadata::model::{BlobRole, NewManifest};
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::registry::{Registry, Result};
use crate::verify::artifact::{Artifact, ArtifactKind, check_layer};
use crate::verify::limits::CONFIG_BYTES_MAX;
use crate::verify::policy::{Budget, Gate as Place};

/// A manifest that carries signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Carried {
    /// What they say they are about; `None` for a list of referrers.
    pub(in crate::registry) subject: Option<Digest>,
    /// Bytes of them and of the manifest.
    pub(in crate::registry) bytes: u64,
}

impl Registry {
    /// Whether a manifest that comes in carries signatures and nothing else. `None`: it does not, or not everything it
    /// names is there.
    ///
    /// # Errors
    /// Those of the stores.
    pub(in crate::registry) async fn carried(
        &self,
        repo: &RepoName,
        tags: &[Tag],
        manifest: &NewManifest,
    ) -> Result<Option<Carried>> {
        let payload = manifest.payload.as_ref();
        let mut read = tags.iter().map(Some).chain([None]).filter_map(|tag| Artifact::parse(tag, payload));
        let Some(artifact) = read.next() else { return Ok(None) };
        let is_list = artifact.kind == ArtifactKind::Fallback;
        if !self.names_nothing_else(repo, manifest, &artifact).await? {
            return Ok(None);
        }
        let mut bytes = payload.len() as u64;
        let bytes_max = Budget::default().bytes_max;
        for layer in &artifact.layers {
            bytes = bytes.saturating_add(if is_list { 0 } else { layer.size });
            if bytes > bytes_max {
                // More than is ever looked at.
                return Ok(None);
            }
            let sound = if is_list {
                let child = self.metadata.manifest_find(repo, &Reference::Digest(layer.digest.clone())).await?;
                child.is_some_and(|child| child.is_signature)
            } else {
                let read = self.read_layer(repo, layer).await?;
                read.is_some_and(|bytes| check_layer(artifact.kind, &bytes).is_ok())
            };
            if !sound {
                return Ok(None);
            }
        }
        Ok(Some(Carried { subject: (!is_list).then_some(artifact.subject), bytes }))
    }

    /// Whether a manifest names its signatures and a small config, and no other blob: what carries signatures is given to
    /// everybody, and so is everything that it names.
    async fn names_nothing_else(&self, repo: &RepoName, manifest: &NewManifest, artifact: &Artifact) -> Result<bool> {
        let is_list = artifact.kind == ArtifactKind::Fallback;
        if !is_list && !manifest.children.is_empty() {
            return Ok(false);
        }
        for blob in &manifest.blobs {
            let small = if blob.role == BlobRole::Config {
                // What the manifest says of its size is a claim.
                let found = self.metadata.blob_find(repo, &blob.digest).await?;
                found.is_some_and(|found| found.damaged_at.is_none() && found.size <= CONFIG_BYTES_MAX as u64)
            } else {
                !is_list && artifact.layers.iter().any(|layer| layer.digest == blob.digest)
            };
            if !small {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Judges signatures that have just come in, so that what counts is known before anybody can hide it among others.
    ///
    /// That fails for nobody: they are judged when their subject is asked for.
    pub(in crate::registry) async fn note_signatures(&self, repo: &RepoName, artifact: &Digest, subject: &Digest) {
        let policies = self.gate.policies.current();
        if policies.applying(repo, Place::Push, None).is_empty() {
            return;
        }
        let judged = async {
            let Some(standing) = self.metadata.trust_standing(repo).await? else { return Ok(()) };
            self.assess(repo, standing, subject, &policies, Some(artifact)).await.map(drop)
        };
        let judged: Result<()> = judged.await;
        if let Err(error) = judged {
            tracing::warn!(error = &error as &dyn std::error::Error, "signatures could not be judged as they came");
        }
    }
}
