//! Several ranges in one request: as many parts as asked for, in order, never joined.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

use crate::content::Blob;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::push::{self, Way, blob_path};
use crate::wire::Answer;

const GROUP: &str = "ranges";
const SIZE: usize = 64 << 10;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "two", async |c: &Context| several(c, &[0..10, 100..200]).await),
        scenario(GROUP, "three that overlap, out of order", async |c: &Context| {
            several(c, &[500..900, 0..600, 550..560]).await
        }),
        scenario(GROUP, "1024", many),
        scenario(GROUP, "1025 are too many", too_many),
        scenario(GROUP, "one of two is outside", one_outside),
        scenario(GROUP, "on HEAD", on_head),
        scenario(GROUP, "malformed or of another unit", ignored),
        scenario(GROUP, "of a blob of a few bytes", of_small_blob),
    ]
}

async fn pushed(context: &Context, size: usize) -> Result<(String, Blob)> {
    let repo = context.repo("ranges");
    let blob = Blob::random(&context.random, size);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    Ok((blob_path(&repo, &blob.digest), blob))
}

fn header(ranges: &[Range<usize>]) -> String {
    let ranges: Vec<String> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    format!("bytes={}", ranges.join(","))
}

async fn several(context: &Context, ranges: &[Range<usize>]) -> Result<()> {
    let (path, blob) = pushed(context, SIZE).await?;
    let answer = context.wire.get(&path).header("range", header(ranges)).expect(206).await?;
    answer.expect_header("content-length", &answer.body.len().to_string())?;
    let parts = parts(&answer)?;
    ensure!(parts.len() == ranges.len(), "{} parts for {} ranges", parts.len(), ranges.len());
    for ((place, bytes), range) in parts.iter().zip(ranges) {
        let expected = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
        ensure!(*place == expected, "a part has Content-Range {place:?}, expected {expected:?}");
        ensure!(*bytes == &blob.bytes[range.clone()], "the part {place} has other bytes");
    }
    Ok(())
}

async fn many(context: &Context) -> Result<()> {
    let ranges: Vec<_> = (0..1024).map(|at| at * 60..at * 60 + 7).collect();
    several(context, &ranges).await
}

async fn too_many(context: &Context) -> Result<()> {
    let (path, _) = pushed(context, SIZE).await?;
    let ranges: Vec<_> = (0..1025).map(|at| at * 60..at * 60 + 7).collect();
    context.wire.get(&path).header("range", header(&ranges)).expect_error(400, "UNSUPPORTED").await?;
    Ok(())
}

/// What lies outside is left out while something lies inside (RFC 9110 section 15.3.7).
async fn one_outside(context: &Context) -> Result<()> {
    let (path, blob) = pushed(context, 100).await?;
    let answer = context.wire.get(&path).header("range", "bytes=10-19,500-600").expect(206).await?;
    if answer.has("content-range") {
        answer.expect_header("content-range", "bytes 10-19/100")?.expect_body(&blob.bytes[10..20])?;
        return Ok(());
    }
    let parts = parts(&answer)?;
    ensure!(parts == [("bytes 10-19/100", &blob.bytes[10..20])], "{}", answer.describe());
    Ok(())
}

/// `Range` is defined for GET alone (RFC 9110 section 14.2).
async fn on_head(context: &Context) -> Result<()> {
    let (path, _) = pushed(context, 100).await?;
    let answer = context.wire.head(&path).header("range", "bytes=0-9").expect(200).await?;
    answer.expect_header("content-length", "100")?.expect_header("accept-ranges", "bytes")?;
    Ok(())
}

async fn ignored(context: &Context) -> Result<()> {
    let (path, blob) = pushed(context, 100).await?;
    for range in ["items=0-5", "bytes=a-b", "bytes 0-5"] {
        context.wire.get(&path).header("range", range).expect(200).await?.expect_body(&blob.bytes)?;
    }
    Ok(())
}

async fn of_small_blob(context: &Context) -> Result<()> {
    let (path, blob) = pushed(context, 3).await?;
    context.wire.get(&path).header("range", "bytes=1-1").expect(206).await?.expect_body(&blob.bytes[1..2])?;
    context.wire.get(&path).header("range", "bytes=-10").expect(206).await?.expect_body(&blob.bytes)?;
    context.wire.get(&path).header("range", "bytes=3-").expect(416).await?;
    Ok(())
}

/// The parts of a `multipart/byteranges` body (RFC 9110 section 14.6): `Content-Range` and bytes of each.
fn parts(answer: &Answer) -> Result<Vec<(&str, &[u8])>> {
    let kind = answer.header("content-type")?;
    let Some(boundary) = kind.strip_prefix("multipart/byteranges; boundary=") else {
        bail!("{}: Content-Type is {kind:?}", answer.describe());
    };
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let mut rest = answer.body.as_ref();
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        rest = rest.strip_prefix(delimiter.as_bytes()).context("a part does not begin with the boundary")?;
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let end = rest.windows(4).position(|it| it == b"\r\n\r\n").context("the head of a part does not end")?;
        let head = std::str::from_utf8(&rest[..end])?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let place = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-range"));
        let (_, place) = place.with_context(|| format!("a part without Content-Range: {head:?}"))?;
        rest = &rest[end + 4..];
        let length = part_length(place)?;
        ensure!(rest.len() >= length, "a part is shorter than {place:?}");
        parts.push((place, &rest[..length]));
        rest = &rest[length..];
    }
}

fn part_length(place: &str) -> Result<usize> {
    let bounds = place.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')?.0.split_once('-'));
    let (first, last) = bounds.with_context(|| format!("Content-Range {place:?}"))?;
    Ok(last.parse::<usize>()? + 1 - first.parse::<usize>()?)
}
