//! A node is stopped (SIGTERM) in the middle of an upload: a chunk that arrives in the time of grace is acknowledged, one
//! that does not is cut, and either way another node goes on where the session stands.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use tokio::time::Duration;

use crate::content::Blob;
use crate::raw::Connection;
use crate::runner::Context;
use crate::scenarios::push::{self, OCTETS};
use crate::server::Server;
use crate::wire::{Wire, with_query};

const REPO: &str = "handover/a";
/// An S3 part and a bit; the blob has three.
const CHUNK: usize = 6 << 20;
const CONFIG: &str = "[shutdown]\ngrace = \"2s\"\n";

pub(crate) async fn run(context: &Context) -> Result<()> {
    let mut leaving = context.start_server(CONFIG).await?;
    let stores = leaving.stores().clone();
    let mut staying = Server::start_on(context.binary()?, &context.environment, CONFIG, stores).await?;
    for arrives in [true, false] {
        let told = || if arrives { "a chunk in the time of grace" } else { "a chunk that is cut" };
        one_stop(context, &mut leaving, &staying, arrives).await.with_context(told)?;
        leaving.restart().await?;
    }
    staying.fsck().await?;
    leaving.stop().await?;
    staying.stop().await.map(drop)
}

async fn one_stop(context: &Context, leaving: &mut Server, staying: &Server, arrives: bool) -> Result<()> {
    let (there, here) = (Wire::new(&leaving.url())?, Wire::new(&staying.url())?);
    let blob = Blob::random(&context.random, 3 * CHUNK);
    let location = push::begin(&there, REPO).await?;
    push::chunk(&there, Method::PATCH, &location, &blob, 0..CHUNK).await?.expect(202)?;

    let authority = there.authority();
    let mut connection = Connection::open(authority).await?;
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {OCTETS}\r\nContent-Range: {CHUNK}-{}\r\n\
         Content-Length: {CHUNK}\r\n\r\n",
        2 * CHUNK - 1
    );
    connection.send(head).await?;
    connection.send(&blob.bytes[CHUNK..CHUNK + CHUNK / 2]).await?;
    // The answer to another request shows that the server is past accepting the chunk.
    there.get("/v2/").expect(200).await?;
    let finish = async {
        if !arrives {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection.send(&blob.bytes[CHUNK + CHUNK / 2..2 * CHUNK]).await?;
        connection.head().await.map(Some)
    };
    let (stopped, answer) = tokio::join!(leaving.stop(), finish);
    let status = stopped?;
    ensure!(status.success(), "after SIGTERM the process ended with {status}");
    let acknowledged = match answer? {
        Some(answer) => {
            ensure!(answer.status == 202, "the chunk was answered by {}", answer.text);
            2 * CHUNK
        }
        None => CHUNK,
    };

    let (location, last) = push::status(&here, &location).await?;
    let stands = usize::try_from(last)? + 1;
    ensure!((acknowledged..=2 * CHUNK).contains(&stands), "{acknowledged} bytes were acknowledged, it has {stands}");
    let target = with_query(&location, &format!("digest={}", blob.digest));
    push::chunk(&here, Method::PUT, &target, &blob, stands..blob.len()).await?.expect(201)?;
    push::read_back(&here, REPO, &blob).await
}
