//! Referrers: pages, subjects that come late, and the tags that stood in for the list before there was one.

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::content::Algorithm;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::{push_image, push_set};
use crate::scenarios::data_sets::{EXAMPLE, INDEX, MANIFEST, example, manifest_path, push_manifest, referrers_at};
use crate::scenarios::generate::{Common, Image, Manifest, Set};

const GROUP: &str = "referrers";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "in pages by n", in_pages),
        scenario(GROUP, "in pages by size", in_pages_by_size),
        scenario(GROUP, "subject comes later", subject_later),
        scenario(GROUP, "index without artifactType", index_without_type),
        scenario(GROUP, "content of the fallback tag", fallback_tag),
        scenario(GROUP, "gone with their manifest", gone),
    ]
}

async fn in_pages(context: &Context) -> Result<()> {
    let repo = context.repo("referrers");
    let set = artifacts(context, 5, 10);
    push_set(context, &repo, &set).await?;
    for filter in ["", "&artifactType=application/vnd.example.conformance.v1"] {
        let pages = walk(context, &format!("/v2/{repo}/referrers/{}?n=2{filter}", set.referrers[0].0)).await?;
        ensure!(pages.iter().map(Vec::len).eq([2, 2, 1]), "pages {:?}", pages.iter().map(Vec::len).collect::<Vec<_>>());
        check_all(&set, &pages.concat())?;
    }
    Ok(())
}

/// Clients read 4 MiB of an index, so a list of large annotations has to be cut although nobody asked for pages.
async fn in_pages_by_size(context: &Context) -> Result<()> {
    let repo = context.repo("referrers");
    let set = artifacts(context, 6, 1 << 20);
    push_set(context, &repo, &set).await?;
    let pages = walk(context, &format!("/v2/{repo}/referrers/{}", set.referrers[0].0)).await?;
    ensure!(pages.len() > 1, "6 MiB of referrers in one answer");
    check_all(&set, &pages.concat())
}

async fn subject_later(context: &Context) -> Result<()> {
    let repo = context.repo("referrers");
    let mut set = Set::default();
    let subject = set.image(&context.random, &Image::default());
    set.image(&context.random, &example(EXAMPLE, Some(subject)));
    set.manifests.reverse();
    push_set(context, &repo, &set).await?;
    let path = format!("/v2/{repo}/referrers/{}", set.referrers[0].0);
    check_all(&set, &referrers_at(&context.wire, &path).await?)
}

async fn index_without_type(context: &Context) -> Result<()> {
    let repo = context.repo("referrers");
    let subject = push_image(context, &repo, "subject").await?;
    let mut set = Set::default();
    let common = Common { subject: Some(descriptor(&subject)), ..Common::default() };
    set.index(&context.random, &common, &[]);
    push_set(context, &repo, &set).await?;
    let path = format!("/v2/{repo}/referrers/{}", subject.digest);
    check_all(&set, &referrers_at(&context.wire, &path).await?)
}

/// An index under the tag `sha256-<hex>` lists referrers that have no `subject` of their own.
async fn fallback_tag(context: &Context) -> Result<()> {
    let repo = context.repo("referrers");
    let subject = push_image(context, &repo, "subject").await?;
    let signature = push_image(context, &repo, "signature").await?;
    let mut listed = descriptor(&signature);
    listed["artifactType"] = EXAMPLE.into();
    listed["annotations"] = json!({"org.example.by": "a client without the API"});
    let bytes = Bytes::from(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}).to_string());
    let digest = Algorithm::Sha256.digest(&bytes);
    let fallback = Manifest { digest, bytes, media_type: INDEX, subject: None };
    let tag = subject.digest.replace(':', "-");
    push_manifest(&context.wire, &repo, &tag, &fallback, &[]).await?;
    let path = format!("/v2/{repo}/referrers/{}", subject.digest);
    for query in ["", "?artifactType=application/vnd.example.conformance.v1"] {
        let entries = referrers_at(&context.wire, &format!("{path}{query}")).await?;
        ensure!(entries == [listed.clone()], "with {query:?} the referrers are {entries:?}, expected {listed}");
    }
    let entries = referrers_at(&context.wire, &format!("{path}?artifactType=application/x")).await?;
    ensure!(entries.is_empty(), "filtered by another type the referrers are {entries:?}");
    context.wire.delete(&manifest_path(&repo, &tag)).expect(202).await?;
    let entries = referrers_at(&context.wire, &path).await?;
    ensure!(entries.is_empty(), "without the tag the referrers are {entries:?}");
    Ok(())
}

async fn gone(context: &Context) -> Result<()> {
    let repo = context.repo("referrers");
    let set = artifacts(context, 2, 10);
    push_set(context, &repo, &set).await?;
    let path = format!("/v2/{repo}/referrers/{}", set.referrers[0].0);
    for (deleted, manifest) in set.manifests.iter().enumerate() {
        let entries = referrers_at(&context.wire, &path).await?;
        ensure!(entries.len() == 2 - deleted, "after {deleted} deletes the referrers are {entries:?}");
        context.wire.delete(&manifest_path(&repo, &manifest.digest)).expect(202).await?;
    }
    ensure!(referrers_at(&context.wire, &path).await?.is_empty(), "referrers that are deleted are listed");
    Ok(())
}

/// Artifacts with one subject that is not pushed, each with an annotation of this many bytes.
fn artifacts(context: &Context, count: usize, annotation: usize) -> Set {
    let digest = Algorithm::Sha256.digest(context.random.word().as_bytes());
    let subject = json!({"mediaType": MANIFEST, "digest": digest, "size": 123});
    let mut set = Set::default();
    for _ in 0..count {
        let mut image = example(EXAMPLE, Some(subject.clone()));
        image.common.annotations = Map::from_iter([("org.example.long".to_owned(), "x".repeat(annotation).into())]);
        set.image(&context.random, &image);
    }
    set
}

fn check_all(set: &Set, entries: &[Value]) -> Result<()> {
    let digests = |entries: &[Value]| {
        let mut digests: Vec<String> = entries.iter().map(|entry| entry["digest"].to_string()).collect();
        digests.sort();
        digests
    };
    let wanted: Vec<Value> = set.referrers.iter().map(|(_, entry)| entry.clone()).collect();
    ensure!(digests(entries) == digests(&wanted), "listed {:?}, expected {:?}", digests(entries), digests(&wanted));
    let differing: Vec<_> = wanted.iter().filter(|entry| !entries.contains(entry)).map(ToString::to_string).collect();
    ensure!(differing.is_empty(), "not listed as expected: {differing:?}");
    Ok(())
}

async fn walk(context: &Context, target: &str) -> Result<Vec<Vec<Value>>> {
    let mut pages = Vec::new();
    let mut next = Some(target.to_owned());
    while let Some(target) = next {
        ensure!(pages.len() < 20, "the list does not end");
        next = context.wire.get(&target).expect(200).await?.next_page()?;
        pages.push(referrers_at(&context.wire, &target).await?);
    }
    Ok(pages)
}

fn descriptor(manifest: &Manifest) -> Value {
    json!({"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.bytes.len()})
}
