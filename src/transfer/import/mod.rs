//! `store import`: takes over what another registry left in this store, where it is.
//!
//! Objects keep their keys; what is written is facts alone. A manifest is taken when its bytes have its digest, it can be
//! parsed and everything it names is there; whatever is not taken is said. Running it again changes nothing that is there
//! already: a tag that points elsewhere by now stays.

mod layout;
mod repository;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::StreamExt as _;

use super::{Amount, BATCH, Result, Stores, TransferError, Watch};
use crate::oci::name::RepoName;
use crate::registry::Registry;
use crate::storage::Key;
use layout::{Layout, Link};
use repository::Importer;

pub use layout::ROOT;

/// How to take over.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The folder of the store that holds `blobs` and `repositories`.
    pub root: Key,
    /// Whether objects stay when their blobs go.
    pub read_only: bool,
    /// Whether to read every blob and compare its digest.
    pub rehash: bool,
}

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Repositories.
    pub repositories: u64,
    /// Manifests.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Blobs that got a row by this run.
    pub blobs: Amount,
    /// What was left out; each was given to the watcher.
    pub skipped: u64,
    /// Objects of uploads that were under way in the other registry.
    pub uploads: u64,
    /// Objects below `blobs` that are no blob of any repository: bytes of manifests, and what was never collected.
    pub unnamed: Amount,
}

/// Takes over everything below a root.
///
/// # Errors
/// [`TransferError::Refused`] when there is no registry below the root.
pub async fn import(
    stores: &Stores,
    registry: &Arc<Registry>,
    options: ImportOptions,
    watch: &Arc<dyn Watch>,
) -> Result<ImportReport> {
    let layout = Layout::new(&options.root);
    let mut report = ImportReport::default();
    watch.stage("looking for repositories", Amount::default());
    let names = repositories(stores, &layout, &options.root, &mut report).await?;
    watch.stage("taking over", Amount { blobs: names.len() as u64, bytes: 0 });
    let mut importer = Importer {
        stores: stores.clone(),
        registry: Arc::clone(registry),
        layout,
        options,
        watch: Arc::clone(watch),
        report,
    };
    for name in names {
        match name.parse::<RepoName>() {
            Ok(repo) => importer.take_over(&repo).await?,
            Err(error) => importer.skip(format!("repository {name}: {error}")),
        }
        watch.moved(Amount::blob());
    }
    importer.count_unnamed().await?;
    Ok(importer.report)
}

/// Names of all repositories.
async fn repositories(
    stores: &Stores,
    layout: &Layout,
    root: &Key,
    report: &mut ImportReport,
) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let Some(folder) = layout.repositories() else { return Ok(names) };
    let mut listing = stores.storage.list_under(&folder);
    while let Some(object) = listing.next().await.transpose()? {
        let Some((name, link)) = layout.parse(&object.key) else { continue };
        if link == Link::Upload {
            report.uploads += 1;
        }
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
    }
    if names.is_empty() {
        return Err(TransferError::Refused(format!("there are no repositories below `{root}` in this store")));
    }
    Ok(names)
}

impl Importer {
    /// Counts objects that no blob names.
    async fn count_unnamed(&mut self) -> Result<()> {
        let Some(folder) = self.layout.blobs() else { return Ok(()) };
        let stores = self.stores.clone();
        let mut listing = stores.storage.list_under(&folder).chunks(BATCH as usize);
        while let Some(chunk) = listing.next().await {
            let objects = chunk.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
            let keys: Vec<Key> = objects.iter().map(|object| object.key.clone()).collect();
            let known = stores.metadata.key_known(&keys).await?;
            for (object, _) in objects.iter().zip(known).filter(|(_, known)| !known) {
                self.report.unnamed.add(Amount { blobs: 1, bytes: object.size.unwrap_or_default() });
            }
        }
        Ok(())
    }
}
