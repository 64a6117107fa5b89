//! What stands where signatures do and is none, named to whoever misses a signature.
//!
//! It is no candidate: it takes none of their places and nothing of their budget, is read by nobody who may not read an
//! image, and changes no refusal into a pass. A few are looked at, and only where nothing else can be said.

use super::signature::SHORT_BYTES_MAX;
use crate::metadata::model::ManifestRecord;
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::registry::{Registry, Result};
use crate::verify::artifact::{BUNDLE_TYPE, COSIGN_ATTESTATION, COSIGN_SIGNATURE, Form, check_layer};
use crate::verify::discovery::signature_tags;
use crate::verify::proof::Failure;
use crate::verify::verdict::{Outcome, REASONS_MAX, Reason, ReasonCode, Verdict};

/// Most of them that are named.
const NAMED_MAX: usize = 4;
/// Most referrers of a type that are looked at for them.
const REFERRERS_MAX: u32 = 8;
/// Most layers of one that are read, each of which is short.
const LAYERS_MAX: usize = 8;

impl Registry {
    /// Tells those policies that found no signature at all what looks like one: they fail for that.
    pub(super) async fn name_lookalikes(
        &self,
        repo: &RepoName,
        digest: &Digest,
        verdicts: &mut [Verdict],
    ) -> Result<()> {
        let is_unsigned = |verdict: &Verdict| verdict.outcome == Outcome::Unsigned;
        if !verdicts.iter().any(is_unsigned) {
            return Ok(());
        }
        let _reader = self.reader().await?;
        let mut reasons = Vec::new();
        for (record, tag) in self.lookalikes(repo, digest).await? {
            let Failure { code, message, .. } = self.fault_of(repo, &record, tag.as_ref()).await;
            reasons.push(Reason { authority: None, artifact: Some(record.digest), code, message });
        }
        if !reasons.is_empty() {
            for verdict in verdicts.iter_mut().filter(|verdict| is_unsigned(verdict)) {
                verdict.outcome = Outcome::Fail;
                verdict.reasons.splice(0..0, reasons.iter().cloned());
                verdict.reasons.truncate(REASONS_MAX);
            }
        }
        Ok(())
    }

    /// Manifests under the tags of signatures of a digest, and referrers of their types, that carry none.
    async fn lookalikes(&self, repo: &RepoName, digest: &Digest) -> Result<Vec<(ManifestRecord, Option<Tag>)>> {
        let mut found = Vec::new();
        for tag in signature_tags(digest) {
            let record = self.metadata.manifest_find(repo, &Reference::Tag(tag.clone())).await?;
            found.extend(record.filter(|record| !record.is_signature).map(|record| (record, Some(tag))));
        }
        for kind in [BUNDLE_TYPE, COSIGN_SIGNATURE, COSIGN_ATTESTATION] {
            for referrer in self.metadata.referrer_list(repo, digest, Some(kind), None, REFERRERS_MAX).await? {
                if found.len() >= NAMED_MAX {
                    return Ok(found);
                }
                let record = self.metadata.manifest_find(repo, &Reference::Digest(referrer.digest)).await?;
                found.extend(record.filter(|record| !record.is_signature).map(|record| (record, None)));
            }
        }
        Ok(found)
    }

    /// Why one carries no signatures, as far as that is found out by little. What cannot be read now has no better reason.
    async fn fault_of(&self, repo: &RepoName, record: &ManifestRecord, tag: Option<&Tag>) -> Failure {
        let malformed = |message: &str| Failure::new(ReasonCode::Malformed, message);
        let read = || Form::parse(&record.payload)?.under(tag);
        let artifact = if record.payload.len() <= SHORT_BYTES_MAX { read() } else { None };
        let Some(artifact) = artifact else {
            return malformed(
                "it stands where signatures do, and its manifest has not the form of one that carries any",
            );
        };
        let short = artifact.layers.iter().filter(|layer| layer.size <= SHORT_BYTES_MAX as u64);
        for layer in short.take(LAYERS_MAX) {
            if let Ok(Some(bytes)) = self.read_layer(repo, layer).await
                && let Err(failure) = check_layer(artifact.kind, &bytes)
            {
                return failure;
            }
        }
        malformed("it stands where signatures do, and carried none when it was pushed")
    }
}
