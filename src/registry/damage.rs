//! Damage: bytes that are not what their digest says, or are gone. What is marked is not served until it is pushed again.

use crate::metadata::model::accounts::Actor;
use crate::metadata::model::scrub::{BlobDamage, ManifestBytes, ManifestDamage};
use crate::metadata::model::{BlobLocation, BlobRecord};
use crate::oci::digest::Digest;
use crate::registry::{Registry, Result};

impl Registry {
    /// Marks a blob whose bytes are wrong or missing, so that pushers upload it again. `false`: it has others by now, or was
    /// marked before.
    pub(super) async fn damage_blob(&self, blob: &BlobRecord, reason: &str, by: &Actor) -> Result<bool> {
        let damage = BlobDamage {
            id: blob.id,
            location: blob.location.clone(),
            reason: reason.to_owned(),
            now: self.clock.now(),
            by: by.clone(),
        };
        let marked = self.metadata.blob_damage(&damage).await?;
        if marked {
            let key = match &blob.location {
                BlobLocation::Object(key) => Some(key.as_str()),
                BlobLocation::Inline(_) => None,
            };
            tracing::error!(blob.digest = %blob.digest, blob.key = key, reason, "a blob is damaged");
            self.scrubber.count_found();
        }
        Ok(marked)
    }

    /// Marks a manifest whose bytes are wrong. `false`: it has others by now, or was marked before.
    pub(super) async fn damage_manifest(&self, manifest: &ManifestBytes, reason: &str, by: &Actor) -> Result<bool> {
        let damage = ManifestDamage {
            id: manifest.id,
            payload: manifest.payload.clone(),
            reason: reason.to_owned(),
            now: self.clock.now(),
            by: by.clone(),
        };
        let marked = self.metadata.manifest_damage(&damage).await?;
        if marked {
            tracing::error!(manifest.digest = %manifest.digest, reason, "a manifest is damaged");
            self.scrubber.count_found();
        }
        Ok(marked)
    }
}

/// What is wrong with the bytes that a blob has in its row.
pub(super) fn inline_fault(blob: &BlobRecord, bytes: &[u8]) -> Option<String> {
    let (found, size) = (bytes.len() as u64, blob.size);
    (found != size)
        .then(|| format!("has {found} bytes in its row instead of {size}"))
        .or(row_fault(&blob.digest, bytes))
}

/// What is wrong with the bytes of a manifest.
pub(super) fn manifest_fault(manifest: &ManifestBytes) -> Option<String> {
    row_fault(&manifest.digest, &manifest.payload)
}

fn row_fault(digest: &Digest, bytes: &[u8]) -> Option<String> {
    let actual = Digest::of(digest.algorithm(), bytes);
    (actual != *digest).then(|| format!("has the bytes of {actual} in its row"))
}
