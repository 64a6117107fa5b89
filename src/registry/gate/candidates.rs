//! The signatures that may be about a digest: found among what the repository has, read within limits, and checked.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::SemaphorePermit;

use crate::metadata::model::BlobRecord;
use crate::metadata::model::trust::SignatureRecord;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::{OpenBlob, Registry, RegistryError, Result};
use crate::verify::artifact::LayerRef;
use crate::verify::discovery::{Found, signature_tags};
use crate::verify::policy::{Budget, Judgement, Policy, order};
use crate::verify::verdict::{Reason, ReasonCode, Verdict};

/// How a layer is read.
const READ_PIECE: usize = 256 << 10;

impl Registry {
    /// What policies say of a digest by its own signatures; those of the manifests in `known` are looked at first.
    pub(super) async fn judge(
        &self,
        repo: &RepoName,
        repository: i64,
        digest: &Digest,
        policies: &[&Policy],
        known: &[Digest],
    ) -> Result<Vec<Verdict>> {
        let _reader = self.reader().await?;
        let tags = signature_tags(digest);
        let budget = Budget::default();
        let limit = u32::try_from(budget.candidates_max).unwrap_or(u32::MAX).saturating_add(1);
        let mut judgement = Judgement::new(policies.iter().copied(), repo, digest, &*self.clock, budget);
        let mut seen = Vec::new();
        if !known.is_empty() {
            seen = self.metadata.signature_known(repository, digest, &tags, known).await?;
            self.offer(&mut judgement, repo, digest, &seen, known, budget.bytes_max).await?;
        }
        if !judgement.is_decided() {
            let mut others = self.metadata.signature_list(repository, digest, &tags, limit).await?;
            others.retain(|other| !seen.contains(other));
            self.offer(&mut judgement, repo, digest, &others, &[], budget.bytes_max).await?;
        }
        Ok(judgement.finish())
    }

    /// A place among those who read what may be signatures, for as long as it is held.
    pub(super) async fn reader(&self) -> Result<SemaphorePermit<'_>> {
        self.gate.readers.acquire().await.map_err(|error| RegistryError::Internal(Box::new(error)))
    }

    async fn offer(
        &self,
        judgement: &mut Judgement<'_>,
        repo: &RepoName,
        subject: &Digest,
        artifacts: &[SignatureRecord],
        known: &[Digest],
        bytes_max: u64,
    ) -> Result<()> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for artifact in artifacts {
            let reference = Reference::Digest(artifact.digest.clone());
            let Some(record) = self.metadata.manifest_find(repo, &reference).await? else { continue };
            if record.damaged_at.is_some() {
                let message = "the manifest of the signature is damaged; push it again".to_owned();
                judgement.miss(&reason(&artifact.digest, ReasonCode::Malformed, message));
                continue;
            }
            bytes += record.payload.len() as u64;
            if bytes > bytes_max {
                let message = format!("the manifests of its signatures have more than {bytes_max} bytes");
                // It is about all of them: what was not looked at may count.
                judgement
                    .miss(&Reason { artifact: None, ..reason(&artifact.digest, ReasonCode::LimitExceeded, message) });
                break;
            }
            found.extend(Found::in_manifest(subject, &artifact.digest, &record.payload));
        }
        for found in order(known, found) {
            if judgement.is_decided() {
                break;
            }
            if !judgement.admits(found.as_ref()) {
                continue;
            }
            if let Some(bytes) = self.read_layer(repo, found.layer()).await? {
                let candidate = found.with(bytes);
                self.check(|| judgement.offer(&candidate)).await?;
            } else {
                let message = format!("layer {} is not there, or not as long as it should be", found.as_ref().layer);
                judgement.miss(&reason(&found.as_ref().artifact, ReasonCode::Malformed, message));
            }
        }
        Ok(())
    }

    /// The bytes of a layer of a signature artifact. `None`: they are not there, or not as many as the manifest says.
    ///
    /// # Errors
    /// Those of the stores: what cannot be read now is no reason to say that it is not signed.
    pub(super) async fn read_layer(&self, repo: &RepoName, layer: &LayerRef) -> Result<Option<Bytes>> {
        let found = self.metadata.blob_find(repo, &layer.digest).await?;
        let Some(record) = found.filter(|record| record.damaged_at.is_none() && record.size == layer.size) else {
            return Ok(None);
        };
        self.read_whole(repo, record).await.map(Some)
    }

    /// All bytes of a blob that is short enough.
    pub(super) async fn read_whole(&self, repo: &RepoName, record: BlobRecord) -> Result<Bytes> {
        let read = self.read_blob(repo, &OpenBlob { record }, None).await?;
        let mut stream = read.into_stream(READ_PIECE);
        let mut bytes = BytesMut::new();
        while let Some(piece) = stream.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// Checks a signature, when there is a processor for it. The place is held for that alone and not while anything is read:
    /// a store that answers slowly keeps nobody else from being judged.
    pub(super) async fn check<T>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let _place = self.gate.places.acquire().await.map_err(|error| RegistryError::Internal(Box::new(error)))?;
        Ok(busy(work))
    }
}

/// Runs what takes a processor for a while, a millisecond for a signature, apart from those who wait for the network.
fn busy<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn reason(artifact: &Digest, code: ReasonCode, message: String) -> Reason {
    Reason { authority: None, artifact: Some(artifact.clone()), code, message }
}
