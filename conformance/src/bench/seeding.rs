//! Content that workloads find there: pushed to a registry, or written as files that nginx serves.

use std::path::Path;

use anyhow::{Context as _, Result};
use futures_util::stream::{StreamExt as _, TryStreamExt as _};

use super::client::Connection;
use super::flows::{self, Flow, Image, MEGABYTE};
use super::payload::Payloads;
use super::workload::Seed;

/// An image and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Seeded {
    /// The repository.
    pub(crate) repo: String,
    /// The tag; none for a referrer.
    pub(crate) tag: Option<String>,
    /// The image; its blobs are what a pull has to give.
    pub(crate) image: Image,
}

/// Makes what a seed consists of.
pub(crate) fn images(seed: Seed, payloads: &Payloads) -> Vec<Seeded> {
    let tiny = |subject: Option<&Image>| Image::new(payloads, &[1024, 1024], subject);
    match seed {
        Seed::Tags => (0..TAGS).map(|n| seeded("bench/tags", Some(format!("v1.{n:03}")), tiny(None))).collect(),
        Seed::Catalog => {
            let repo = |n| format!("bench/catalog/{n:03}");
            (0..REPOSITORIES).map(|n| seeded(&repo(n), Some("latest".to_owned()), tiny(None))).collect()
        }
        Seed::Referrers => {
            let repo = format!("bench/referrers-{:016x}", payloads.stamp());
            let subject = seeded(&repo, Some("latest".to_owned()), tiny(None));
            let referrers: Vec<_> = (0..REFERRERS).map(|_| seeded(&repo, None, tiny(Some(&subject.image)))).collect();
            [subject].into_iter().chain(referrers).collect()
        }
        Seed::Images(bytes) => {
            let repo = format!("bench/images-{}mb", bytes / MEGABYTE);
            let count = (IMAGES_BYTES / bytes).clamp(2, 16);
            let image = || Image::new(payloads, &[bytes], None);
            (0..count).map(|n| seeded(&repo, Some(format!("v{n}")), image())).collect()
        }
        Seed::Cold => {
            let image = Image::new(payloads, &[10 * MEGABYTE], None);
            vec![seeded("bench/cold", Some(format!("v{:016x}", payloads.stamp())), image)]
        }
    }
}

fn seeded(repo: &str, tag: Option<String>, image: Image) -> Seeded {
    Seeded { repo: repo.to_owned(), tag, image }
}

/// Pushes them; referrers one after the other, since some registries lose one of two that come at once.
pub(crate) async fn push(authority: &str, images: &[Seeded]) -> Result<()> {
    let push_one = async |seeded: &Seeded| {
        let mut connection = Connection::with_buffer(authority, 64 << 10);
        let tag = seeded.tag.as_deref();
        let pushed = flows::push(&mut connection, &seeded.repo, tag, &seeded.image, Flow::Put).await;
        pushed.with_context(|| format!("{} could not be pushed", seeded.repo))
    };
    let is_referrer = |seeded: &Seeded| seeded.tag.is_none();
    let parallel = if images.iter().any(is_referrer) { 1 } else { PUSHES_PARALLEL };
    futures_util::stream::iter(images).map(push_one).buffered(parallel).try_collect().await
}

/// Writes them as files under the paths by which they are pulled.
pub(crate) fn write(root: &Path, images: &[Seeded]) -> Result<()> {
    for Seeded { repo, tag, image } in images {
        let (manifests, blobs) =
            (root.join("v2").join(repo).join("manifests"), root.join("v2").join(repo).join("blobs"));
        std::fs::create_dir_all(&manifests)?;
        std::fs::create_dir_all(&blobs)?;
        for name in tag.iter().chain([&image.digest]) {
            std::fs::write(manifests.join(name), &image.manifest)?;
        }
        for blob in &image.blobs {
            std::fs::write(blobs.join(blob.digest()), blob.pieces().concat())?;
        }
    }
    Ok(())
}

/// How many there are of each.
pub(crate) const TAGS: usize = 100;
/// Referrers of the one subject.
pub(crate) const REFERRERS: usize = 10;
/// Repositories for the catalog.
pub(crate) const REPOSITORIES: usize = 100;
/// So much of images of one size, as far as that is 2 to 16.
const IMAGES_BYTES: usize = 40 * MEGABYTE;
const PUSHES_PARALLEL: usize = 8;
