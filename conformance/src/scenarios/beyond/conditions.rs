//! Conditional requests (RFC 9110 section 13): the entity tag of content is its digest in quotes.

use anyhow::{Result, ensure};

use crate::content::Blob;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::beyond::push_image;
use crate::scenarios::data_sets::{manifest_path, read_manifest};
use crate::scenarios::push::{self, Way, blob_path};

const GROUP: &str = "conditions";

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "If-None-Match on a manifest", manifest_not_modified),
        scenario(GROUP, "If-None-Match on a blob", blob_not_modified),
        scenario(GROUP, "If-Match on a manifest PUT", put_if_match),
        scenario(GROUP, "If-None-Match: * on a manifest PUT", put_if_none_match),
        scenario(GROUP, "If-Range", if_range),
    ]
}

fn quoted(digest: &str) -> String {
    format!("\"{digest}\"")
}

async fn manifest_not_modified(context: &Context) -> Result<()> {
    let repo = context.repo("conditions");
    let manifest = push_image(context, &repo, "latest").await?;
    not_modified(context, &manifest_path(&repo, "latest"), &manifest.digest).await?;
    not_modified(context, &manifest_path(&repo, &manifest.digest), &manifest.digest).await
}

async fn blob_not_modified(context: &Context) -> Result<()> {
    let repo = context.repo("conditions");
    let blob = Blob::random(&context.random, 100);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    not_modified(context, &blob_path(&repo, &blob.digest), &blob.digest).await
}

async fn not_modified(context: &Context, path: &str, digest: &str) -> Result<()> {
    let tag = quoted(digest);
    context.wire.get(path).expect(200).await?.expect_header("etag", &tag)?;
    context.wire.head(path).expect(200).await?.expect_header("etag", &tag)?;
    for value in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let answer = context.wire.get(path).header("if-none-match", &value).expect(304).await?;
        answer.expect_header("etag", &tag)?;
        ensure!(answer.body.is_empty(), "{} has a body", answer.describe());
        context.wire.head(path).header("if-none-match", &value).expect(304).await?;
    }
    context.wire.get(path).header("if-none-match", "\"other\"").expect(200).await?;
    Ok(())
}

async fn put_if_match(context: &Context) -> Result<()> {
    let repo = context.repo("conditions");
    let old = push_image(context, &repo, "latest").await?;
    let new = push_image(context, &repo, "new").await?;
    let put = |condition: &str| {
        let call = context.wire.put(&manifest_path(&repo, "latest")).header("content-type", new.media_type);
        call.header("if-match", condition).body(new.bytes.clone())
    };
    put(&quoted(&new.digest)).expect_error(412, "DENIED").await?;
    read_manifest(&context.wire, &repo, "latest", &old).await?;
    put(&quoted(&old.digest)).expect(201).await?;
    read_manifest(&context.wire, &repo, "latest", &new).await?;
    put("*").expect(201).await?;
    let absent = context.wire.put(&manifest_path(&repo, "absent")).header("content-type", new.media_type);
    absent.header("if-match", "*").body(new.bytes.clone()).expect_error(412, "DENIED").await?;
    Ok(())
}

async fn put_if_none_match(context: &Context) -> Result<()> {
    let repo = context.repo("conditions");
    let old = push_image(context, &repo, "latest").await?;
    let new = push_image(context, &repo, "new").await?;
    let put = |tag: &str| {
        let call = context.wire.put(&manifest_path(&repo, tag)).header("content-type", new.media_type);
        call.header("if-none-match", "*").body(new.bytes.clone())
    };
    put("latest").expect_error(412, "DENIED").await?;
    read_manifest(&context.wire, &repo, "latest", &old).await?;
    put("absent").expect(201).await?;
    put("absent").expect_error(412, "DENIED").await?;
    Ok(())
}

async fn if_range(context: &Context) -> Result<()> {
    let repo = context.repo("conditions");
    let blob = Blob::random(&context.random, 1000);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    let get = |condition: &str| {
        let call = context.wire.get(&blob_path(&repo, &blob.digest)).header("range", "bytes=10-19");
        call.header("if-range", condition)
    };
    get(&quoted(&blob.digest)).expect(206).await?.expect_body(&blob.bytes[10..20])?;
    get("\"other\"").expect(200).await?.expect_body(&blob.bytes)?;
    // A weak tag says too little about bytes (RFC 9110 section 13.1.5).
    get(&format!("W/{}", quoted(&blob.digest))).expect(200).await?.expect_body(&blob.bytes)?;
    Ok(())
}
