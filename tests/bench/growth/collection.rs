//! The steps of a sweep: with nothing to do, and with a hundred things to do, in a registry in which as many others wait.

use std::time::Duration;

use anyhow::{Result, ensure};
use bonded::metadata::MetadataStore;
use bonded::oci::name::RepoName;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::curve::Curve;
use crate::facts::NOW;
use crate::requests::Image;

/// Rows of one step, as a sweep has them.
const BATCH: u32 = 200;

const THINGS: u32 = 100;
const ROUNDS: u32 = 11;

/// Every step, some rounds of it.
pub(crate) async fn passes(store: &dyn MetadataStore, curve: &mut Curve) -> Result<()> {
    // What the pushes before have left.
    let now = NOW.after(Duration::from_secs(1));
    while store.membership_collect(now, BATCH).await?.seen > 0 {}
    while store.blob_collect(now, now, BATCH).await?.seen > 0 {}
    for deletion in store.deletion_claim(now, 5000).await? {
        store.deletion_done(&[deletion.key]).await?;
    }
    for round in 0..ROUNDS {
        nothing(store, curve).await?;
        let repo: RepoName = "growth/gone".parse()?;
        let things = stream::iter(0..THINGS).map(|thing| garbage(store, &repo, format!("{round} {thing}")));
        things.buffer_unordered(16).try_collect::<Vec<()>>().await?;
        things_to_do(store, curve).await?;
    }
    Ok(())
}

async fn nothing(store: &dyn MetadataStore, curve: &mut Curve) -> Result<()> {
    let now = NOW.after(Duration::from_secs(1));
    let seen = curve.time("collection, nothing: sessions", store.upload_expire(now, now, BATCH)).await?;
    ensure!(seen == 0, "no session past its time");
    let collected = curve.time("collection, nothing: referrers", store.manifest_collect(now, BATCH)).await?;
    ensure!(collected.seen == 0, "no referrer without subject");
    let collected = curve.time("collection, nothing: memberships", store.membership_collect(now, BATCH)).await?;
    ensure!(collected.seen == 0, "no membership without manifest");
    let collected = curve.time("collection, nothing: blobs", store.blob_collect(now, now, BATCH)).await?;
    ensure!(collected.seen == 0, "no blob without repository");
    let claimed = curve.time("collection, nothing: objects", store.deletion_claim(now, BATCH)).await?;
    ensure!(claimed.is_empty(), "no object to remove");
    Ok(())
}

/// A subject with one blob and one referrer, and then without the subject.
async fn garbage(store: &dyn MetadataStore, repo: &RepoName, name: String) -> Result<()> {
    let subject = Image::of(&name, 1, None);
    subject.push(store, repo, &[]).await?;
    Image::of(&format!("{name} referrer"), 0, Some(&subject)).push(store, repo, &[]).await?;
    subject.delete(store, repo).await
}

async fn things_to_do(store: &dyn MetadataStore, curve: &mut Curve) -> Result<()> {
    let now = NOW.after(Duration::from_secs(1));
    let things = u64::from(THINGS);
    let collected = curve.time("collection, 100: referrers", store.manifest_collect(now, BATCH)).await?;
    ensure!(collected.rows == things, "{} referrers collected", collected.rows);
    let collected = curve.time("collection, 100: memberships", store.membership_collect(now, BATCH)).await?;
    ensure!(collected.rows == things, "{} memberships collected", collected.rows);
    let collected = curve.time("collection, 100: blobs", store.blob_collect(now, now, BATCH)).await?;
    ensure!(collected.rows == things, "{} blobs collected", collected.rows);
    let claimed = curve.time("collection, 100: objects", store.deletion_claim(now, BATCH)).await?;
    ensure!(claimed.len() as u64 == things, "{} objects claimed", claimed.len());
    let keys: Vec<_> = claimed.into_iter().map(|deletion| deletion.key).collect();
    curve.time("collection, 100: objects gone", store.deletion_done(&keys)).await?;
    Ok(())
}
