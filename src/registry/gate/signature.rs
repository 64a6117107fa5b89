//! Which manifests carry signatures: found out as they come in, by their form and by that of everything they hold.

use crate::metadata::model::{BlobRecord, BlobRole, NewManifest};
use crate::oci::digest::Digest;
use crate::oci::media_type::{DOCKER_MANIFEST, OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST};
use crate::oci::name::{RepoName, Tag};
use crate::registry::{Registry, RegistryError, Result};
use crate::verify::artifact::{Artifact, ArtifactKind, Form, LayerRef, check_config, check_layer, is_signature_tag};
use crate::verify::discovery::signature_tags;
use crate::verify::limits::CONFIG_BYTES_MAX;
use crate::verify::policy::{Budget, Gate as Place};

/// Most bytes of JSON that are parsed at once: they take less time than it takes to have somebody else do it.
pub(super) const SHORT_BYTES_MAX: usize = 64 << 10;

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
        let Some(artifact) = self.formed(tags, manifest).await? else { return Ok(None) };
        if !self.names_nothing_else(repo, manifest, &artifact).await? {
            return Ok(None);
        }
        let mut bytes = manifest.payload.len() as u64;
        if artifact.kind == ArtifactKind::Fallback {
            let all = self.lists_signatures(repo, &artifact).await?;
            return Ok(all.then_some(Carried { subject: None, bytes }));
        }
        let bytes_max = Budget::default().bytes_max;
        for layer in &artifact.layers {
            bytes = bytes.saturating_add(layer.size);
            // More than is ever looked at, or no signature.
            if bytes > bytes_max || !self.is_signature_layer(repo, artifact.kind, layer).await? {
                return Ok(None);
            }
        }
        Ok(Some(Carried { subject: Some(artifact.subject), bytes }))
    }

    /// What a manifest is by its form and by its tags. Most have neither a subject nor a tag of cosign's, and are not looked
    /// into.
    async fn formed(&self, tags: &[Tag], manifest: &NewManifest) -> Result<Option<Artifact>> {
        let named: Vec<Option<&Tag>> = tags.iter().filter(|tag| is_signature_tag(tag)).map(Some).collect();
        if named.is_empty() && manifest.subject.is_none() {
            return Ok(None);
        }
        let payload = manifest.payload.as_ref();
        let read = || {
            let form = Form::parse(payload).filter(Form::has_nothing_else)?;
            let artifact = named.into_iter().chain([None]).find_map(|tag| form.under(tag))?;
            is_pushed_as(&manifest.media_type, artifact.kind).then_some(artifact)
        };
        if payload.len() <= SHORT_BYTES_MAX { Ok(read()) } else { self.check(read).await }
    }

    /// Whether a layer is there and is what its type says.
    async fn is_signature_layer(&self, repo: &RepoName, kind: ArtifactKind, layer: &LayerRef) -> Result<bool> {
        let _reader = self.gate.readers.acquire().await.map_err(|error| RegistryError::Internal(Box::new(error)))?;
        let Some(bytes) = self.read_layer(repo, layer).await? else { return Ok(false) };
        let read = || check_layer(kind, &bytes).is_ok();
        if bytes.len() <= SHORT_BYTES_MAX { Ok(read()) } else { self.check(read).await }
    }

    /// Whether everything in a list of referrers is here and carries signatures of what the list is about.
    async fn lists_signatures(&self, repo: &RepoName, list: &Artifact) -> Result<bool> {
        if list.layers.is_empty() {
            return Ok(true);
        }
        let Some(standing) = self.metadata.trust_standing(repo).await? else { return Ok(false) };
        let children: Vec<Digest> = list.layers.iter().map(|child| child.digest.clone()).collect();
        let tags = signature_tags(&list.subject);
        let known = self.metadata.signature_known(standing.repository, &list.subject, &tags, &children).await?;
        Ok(known.len() == children.len())
    }

    /// Whether a manifest names its signatures and a small config, and no other blob: what carries signatures is given to
    /// everybody, and so is everything that it names.
    async fn names_nothing_else(&self, repo: &RepoName, manifest: &NewManifest, artifact: &Artifact) -> Result<bool> {
        let is_list = artifact.kind == ArtifactKind::Fallback;
        if !is_list && !manifest.children.is_empty() {
            return Ok(false);
        }
        for blob in &manifest.blobs {
            let fits = if blob.role == BlobRole::Config {
                self.is_signature_config(repo, &blob.digest).await?
            } else {
                !is_list && artifact.layers.iter().any(|layer| layer.digest == blob.digest)
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a config is there and is small and JSON. What the manifest says of its size and its type is a claim.
    async fn is_signature_config(&self, repo: &RepoName, digest: &Digest) -> Result<bool> {
        let found = self.metadata.blob_find(repo, digest).await?;
        let fits = |found: &BlobRecord| found.damaged_at.is_none() && found.size <= CONFIG_BYTES_MAX as u64;
        let Some(record) = found.filter(fits) else { return Ok(false) };
        let bytes = self.read_whole(repo, record).await?;
        Ok(check_config(&bytes).is_ok())
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

/// Whether it comes under the content type of its form. What it names was read by that type.
fn is_pushed_as(media_type: &str, kind: ArtifactKind) -> bool {
    match kind {
        ArtifactKind::Fallback => media_type == OCI_IMAGE_INDEX,
        _ => media_type == OCI_IMAGE_MANIFEST || media_type == DOCKER_MANIFEST,
    }
}
