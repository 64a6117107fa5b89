//! Lists in pages: tags and repositories.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::content::Blob;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::push_image;
use crate::scenarios::data_sets::{push_manifest, tags_of};
use crate::scenarios::push::{self, Way};
use crate::wire::Wire;

const GROUP: &str = "lists";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "tags in pages", tags_in_pages),
        scenario(GROUP, "tags: n of 0, n too large, last of no tag", odd_parameters),
        scenario(GROUP, "catalog in pages", catalog_in_pages),
    ]
}

/// Tags that sort differently by letter and by byte.
const TAGS: [&str; 11] = ["1", "10", "2", "A", "Z", "_x", "a", "a-b", "a.b", "latest", "v1.0"];

async fn tags_in_pages(context: &Context) -> Result<()> {
    let repo = context.repo("lists");
    let manifest = push_image(context, &repo, TAGS[0]).await?;
    push_manifest(&context.wire, &repo, &manifest.digest, &manifest, &TAGS[1..]).await?;
    for n in [1, 4, 11, 100] {
        let pages = walk(&context.wire, &format!("/v2/{repo}/tags/list?n={n}"), tags_of).await?;
        ensure!(pages.iter().all(|page| page.len() <= n), "pages of {n}: {pages:?}");
        let full = &pages[..pages.len() - 1];
        ensure!(full.iter().all(|page| page.len() == n), "pages of {n}: {pages:?}");
        ensure!(pages.concat() == TAGS, "pages of {n} hold {pages:?}, expected {TAGS:?}");
    }
    Ok(())
}

async fn odd_parameters(context: &Context) -> Result<()> {
    let repo = context.repo("lists");
    let manifest = push_image(context, &repo, TAGS[0]).await?;
    push_manifest(&context.wire, &repo, &manifest.digest, &manifest, &TAGS[1..]).await?;
    let cases: [(&str, &[&str]); 5] =
        [("n=0", &[]), ("n=10000000", &TAGS), ("last=b", &TAGS[9..]), ("n=2&last=a-", &TAGS[7..9]), ("last=v1.0", &[])];
    for (query, expected) in cases {
        let answer = context.wire.get(&format!("/v2/{repo}/tags/list?{query}")).expect(200).await?;
        let listed = tags_of(&answer.json()?)?;
        ensure!(listed == expected, "{}, expected {expected:?}", answer.describe());
        let goes_on = query == "n=2&last=a-";
        ensure!(answer.next_page()?.is_some() == goes_on, "{}: Link {:?}", answer.describe(), answer.next_page()?);
    }
    Ok(())
}

/// A repository that holds only blobs is not listed.
async fn catalog_in_pages(context: &Context) -> Result<()> {
    let base = context.repo("catalog");
    let mut wanted = Vec::new();
    for name in ["a", "b", "c", "d/e"] {
        let repo = format!("{base}/{name}");
        push_image(context, &repo, "latest").await?;
        wanted.push(repo);
    }
    push::push(&context.wire, &format!("{base}/bare"), &Blob::random(&context.random, 10), Way::PostOnly).await?;
    let target = format!("/v2/_catalog?n=2&last={base}");
    let pages = walk(&context.wire, &target, repositories_of).await?;
    ensure!(pages.iter().all(|page| page.len() <= 2), "pages of 2: {pages:?}");
    let listed = pages.concat();
    ensure!(listed.is_sorted(), "not sorted: {listed:?}");
    let ours: Vec<_> = listed.into_iter().filter(|repo| repo.starts_with(&base)).collect();
    ensure!(ours == wanted, "the catalog holds {ours:?}, expected {wanted:?}");
    Ok(())
}

fn repositories_of(list: &Value) -> Result<Vec<String>> {
    Ok(serde_json::from_value(list["repositories"].clone())?)
}

/// Follows `Link` to the end.
async fn walk(wire: &Wire, target: &str, read: fn(&Value) -> Result<Vec<String>>) -> Result<Vec<Vec<String>>> {
    let mut pages = Vec::new();
    let mut next = Some(target.to_owned());
    while let Some(target) = next {
        ensure!(pages.len() < PAGES_MAX, "the list does not end");
        let answer = wire.get(&target).expect(200).await?;
        pages.push(read(&answer.json()?)?);
        next = answer.next_page()?;
    }
    Ok(pages)
}

const PAGES_MAX: usize = 1000;
