//! What the official suite does not test and real clients depend on.

mod bounds;
mod conditions;
mod deletes;
mod errors;
mod http;
mod lists;
mod manifests;
mod ranges;
mod referrers;
mod refusals;
mod sessions;
mod tags;
mod uploads;

use anyhow::Result;

use crate::runner::{Context, Scenario};
use crate::scenarios::data_sets::push_manifest;
use crate::scenarios::generate::{Image, Manifest, Set};
use crate::scenarios::push::{self, Way};

pub(crate) fn all() -> Vec<Scenario> {
    let groups = [
        errors::all,
        lists::all,
        referrers::all,
        tags::all,
        manifests::all,
        refusals::all,
        conditions::all,
        ranges::all,
        uploads::all,
        sessions::all,
        deletes::all,
        http::all,
        bounds::all,
    ];
    groups.into_iter().flat_map(|group| group()).collect()
}

/// Pushes the content of a set by digest, tags left out.
async fn push_set(context: &Context, repo: &str, set: &Set) -> Result<()> {
    for blob in &set.blobs {
        push::push(&context.wire, repo, blob, Way::PostOnly).await?;
    }
    for manifest in &set.manifests {
        push_manifest(&context.wire, repo, &manifest.digest, manifest, &[]).await?;
    }
    Ok(())
}

/// Pushes a small image under a tag.
async fn push_image(context: &Context, repo: &str, tag: &str) -> Result<Manifest> {
    let mut set = Set::default();
    set.image(&context.random, &Image { layers: 1, ..Image::default() });
    push_set(context, repo, &set).await?;
    let manifest = set.manifests.remove(0);
    push_manifest(&context.wire, repo, tag, &manifest, &[]).await?;
    Ok(manifest)
}
