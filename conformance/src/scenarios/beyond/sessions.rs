//! Upload sessions that are interrupted, raced for, or not one's own.

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use reqwest::Method;

use crate::content::Blob;
use crate::raw::Connection;
use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::push::{self, OCTETS, Way, blob_path};
use crate::wire::with_query;

const GROUP: &str = "sessions";
const RESUMES_MAX: usize = 10;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario(GROUP, "resumed after a broken PATCH", resumed),
        scenario(GROUP, "newest writer wins", newest_writer),
        scenario(GROUP, "broken PUT counts for nothing", broken_put),
        scenario(GROUP, "of another repository is unknown", of_another_repository),
        scenario(GROUP, "reached by any earlier Location", earlier_location),
        scenario(GROUP, "unharmed by a PUT at the wrong place", misplaced_put),
        scenario(GROUP, "closed by a wrong digest", closed_by_wrong_digest),
        scenario(GROUP, "bad digest on the PUT of the last chunk", bad_digest_on_last_chunk),
        scenario(GROUP, "cancelled twice", cancelled_twice),
        scenario(GROUP, "blob invisible in another repository", blob_invisible),
    ]
}

/// Sends a request whose body is longer than what comes, waits until something arrived, and hangs up.
async fn break_off(context: &Context, method: &str, target: &str, body: &[u8], promised: usize) -> Result<()> {
    let authority = context.wire.authority();
    let mut connection = Connection::open(authority).await?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {OCTETS}\r\n\
         Content-Length: {promised}\r\n\r\n"
    );
    connection.send(head).await?;
    connection.send(body).await
}

/// The path of a `Location` that may be a whole URL.
fn path_of<'a>(context: &Context, location: &'a str) -> &'a str {
    location.strip_prefix(context.wire.base()).unwrap_or(location)
}

async fn resumed(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 4 << 20);
    let location = push::begin(&context.wire, &repo).await?;
    break_off(context, "PATCH", path_of(context, &location), &blob.bytes[..3 << 20], blob.len()).await?;
    // The server may still be reading what came before the break when it is asked, so a client asks again after a 416.
    for _ in 0..RESUMES_MAX {
        let (location, last) = push::status(&context.wire, &location).await?;
        // "0-0" is also what a session without bytes says.
        let received = if last <= 0 { 0 } else { usize::try_from(last)? + 1 };
        ensure!(received <= 3 << 20, "the session has {received} bytes, more than were sent");
        let answer = push::chunk(&context.wire, Method::PATCH, &location, &blob, received..blob.len()).await?;
        if answer.status == 416 {
            continue;
        }
        let location = answer.expect(202)?.location()?;
        push::put(&context.wire, &location, &blob, Bytes::new()).await?.expect(201)?;
        return push::read_back(&context.wire, &repo, &blob).await;
    }
    bail!("{RESUMES_MAX} times the session was not where it said")
}

/// A client that lost its connection without the server noticing must not wait for a time limit.
async fn newest_writer(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 300_000);
    let location = push::begin(&context.wire, &repo).await?;
    let authority = context.wire.authority();
    let mut old = Connection::open(authority).await?;
    let target = path_of(context, &location);
    let head = format!(
        "PATCH {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {OCTETS}\r\nContent-Length: 300000\r\nContent-Range: 0-299999\r\n\r\n"
    );
    old.send(head).await?;
    old.send(&blob.bytes[..1000]).await?;
    let (location, last) = push::status(&context.wire, &location).await?;
    let received = if last <= 0 { 0 } else { usize::try_from(last)? + 1 };
    let answer = push::chunk(&context.wire, Method::PATCH, &location, &blob, received..blob.len()).await?;
    // Whether the first request or this one took the session last is the server's to say; one of them wins.
    let old_wins = answer.status == 416;
    if !old_wins {
        answer.expect(202)?;
    }
    let sent = old.send(&blob.bytes[1000..]).await;
    // A writer that lost may be answered or cut off; both are fine.
    match old.head().await {
        Ok(head) if sent.is_ok() || old_wins => {
            let wanted = if old_wins { 202 } else { 416 };
            ensure!(head.status == wanted, "the first writer is answered by {}, not {wanted}", head.text);
        }
        _ => ensure!(!old_wins, "neither writer won"),
    }
    push::put(&context.wire, &location, &blob, Bytes::new()).await?.expect(201)?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn broken_put(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 200_000);
    let location = push::begin(&context.wire, &repo).await?;
    let answer = push::chunk(&context.wire, Method::PATCH, &location, &blob, 0..1000).await?.expect(202)?;
    let location = answer.location()?;
    let target = with_query(&location, &format!("digest={}", blob.digest));
    break_off(context, "PUT", path_of(context, &target), &blob.bytes[1000..100_000], blob.len() - 1000).await?;
    // Another node may come to read what was sent before the break only when it is asked for the rest.
    for _ in 0..RESUMES_MAX {
        let (location, last) = push::status(&context.wire, &location).await?;
        ensure!(last == 999, "after a PUT that broke off the session stands at {last}, not at 999");
        let answer = push::put(&context.wire, &location, &blob, blob.bytes.slice(1000..)).await?;
        if answer.status == 416 {
            continue;
        }
        answer.expect(201)?;
        return push::read_back(&context.wire, &repo, &blob).await;
    }
    bail!("{RESUMES_MAX} times another writer had the session")
}

/// Otherwise whoever may push anywhere could write everywhere.
async fn of_another_repository(context: &Context) -> Result<()> {
    let (repo, other) = (context.repo("sessions"), context.repo("other"));
    let blob = Blob::random(&context.random, 100);
    let location = push::begin(&context.wire, &repo).await?;
    let foreign = path_of(context, &location).replacen(&repo, &other, 1);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        context.wire.call(method, &foreign).body("").expect_error(404, "BLOB_UPLOAD_UNKNOWN").await?;
    }
    let answer = push::put(&context.wire, &foreign, &blob, blob.bytes.clone()).await?;
    answer.check_error(404, "BLOB_UPLOAD_UNKNOWN")?;
    push::put(&context.wire, &location, &blob, blob.bytes.clone()).await?.expect(201)?;
    Ok(())
}

async fn earlier_location(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 3000);
    let first = push::begin(&context.wire, &repo).await?;
    let answer = push::chunk(&context.wire, Method::PATCH, &first, &blob, 0..1000).await?.expect(202)?;
    let second = answer.location()?;
    push::chunk(&context.wire, Method::PATCH, &second, &blob, 1000..2000).await?.expect(202)?;
    for location in [&first, &second] {
        let (_, last) = push::status(&context.wire, location).await?;
        ensure!(last == 1999, "at {location} the session stands at {last}, not at 1999");
    }
    push::put(&context.wire, &first, &blob, blob.bytes.slice(2000..)).await?.expect(201)?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn misplaced_put(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 3000);
    let location = push::begin(&context.wire, &repo).await?;
    let answer = push::chunk(&context.wire, Method::PATCH, &location, &blob, 0..1000).await?.expect(202)?;
    let target = with_query(&answer.location()?, &format!("digest={}", blob.digest));
    let refused = push::chunk(&context.wire, Method::PUT, &target, &blob, 2000..3000).await?;
    refused.check_error(416, "BLOB_UPLOAD_INVALID")?;
    push::chunk(&context.wire, Method::PUT, &target, &blob, 1000..3000).await?.expect(201)?;
    push::read_back(&context.wire, &repo, &blob).await
}

async fn closed_by_wrong_digest(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 500).spoiled();
    let location = push::begin(&context.wire, &repo).await?;
    let answer = push::put(&context.wire, &location, &blob, blob.bytes.clone()).await?;
    answer.check_error(400, "DIGEST_INVALID")?;
    context.wire.get(&location).expect_error(404, "BLOB_UPLOAD_UNKNOWN").await?;
    context.wire.head(&blob_path(&repo, &blob.digest)).expect(404).await?;
    Ok(())
}

/// The case that the official suite means to test and does not.
async fn bad_digest_on_last_chunk(context: &Context) -> Result<()> {
    let repo = context.repo("sessions");
    let blob = Blob::random(&context.random, 2000).spoiled();
    let location = push::begin(&context.wire, &repo).await?;
    let answer = push::chunk(&context.wire, Method::PATCH, &location, &blob, 0..1000).await?.expect(202)?;
    let target = with_query(&answer.location()?, &format!("digest={}", blob.digest));
    let answer = push::chunk(&context.wire, Method::PUT, &target, &blob, 1000..blob.len()).await?;
    answer.check_error(400, "DIGEST_INVALID")?;
    context.wire.head(&blob_path(&repo, &blob.digest)).expect(404).await?;
    Ok(())
}

async fn cancelled_twice(context: &Context) -> Result<()> {
    let location = push::begin(&context.wire, &context.repo("sessions")).await?;
    let blob = Blob::random(&context.random, 10);
    push::chunk(&context.wire, Method::PATCH, &location, &blob, 0..10).await?.expect(202)?;
    context.wire.delete(&location).expect(204).await?;
    context.wire.delete(&location).expect_error(404, "BLOB_UPLOAD_UNKNOWN").await?;
    let answer = push::put(&context.wire, &location, &blob, Bytes::new()).await?;
    answer.check_error(404, "BLOB_UPLOAD_UNKNOWN")?;
    Ok(())
}

async fn blob_invisible(context: &Context) -> Result<()> {
    let (repo, other) = (context.repo("sessions"), context.repo("other"));
    let blob = Blob::random(&context.random, 100);
    push::push(&context.wire, &repo, &blob, Way::PostOnly).await?;
    let path = blob_path(&other, &blob.digest);
    context.wire.get(&path).expect_error(404, "BLOB_UNKNOWN").await?;
    context.wire.head(&path).expect(404).await?;
    context.wire.delete(&path).expect_error(404, "BLOB_UNKNOWN").await?;
    push::read_back(&context.wire, &repo, &blob).await
}
