//! A byte changes on the disk while nobody looks: the server finds it by itself, serves the blob no more, and a push heals it.

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Duration, Instant, sleep};

use super::process::find_file;
use crate::content::Blob;
use crate::runner::Context;
use crate::scenarios::push::{self, Way, blob_path};
use crate::wire::Wire;

const REPO: &str = "scrub/a";
const SIZE: usize = 2_222_222;
/// What came after a pass began is left to the next one, which begins a minute after its end; and half a minute may go by
/// until the lease of the server that was stopped is over.
const FOUND_WITHIN: Duration = Duration::from_mins(5);

pub(crate) async fn run(context: &Context) -> Result<()> {
    let mut server = context.start_server("[scrub]\nevery = \"1s\"\n").await?;
    let wire = Wire::new(&server.url())?;
    let (blob, other) = (Blob::random(&context.random, SIZE), Blob::random(&context.random, 1 << 20));
    for blob in [&blob, &other] {
        push::push(&wire, REPO, blob, Way::PostPut).await?;
    }
    server.stop().await?;
    let file = find_file(&server.bytes_folder(), SIZE as u64)?.context("no file has the blob's size")?;
    let mut bytes = std::fs::read(&file)?;
    bytes[SIZE / 2] ^= 1;
    std::fs::write(&file, bytes)?;
    server.restart().await?;
    let path = blob_path(REPO, &blob.digest);
    let begin = Instant::now();
    while wire.get(&path).send().await?.status == 200 {
        ensure!(begin.elapsed() < FOUND_WITHIN, "the changed byte was not found: {}", server.log_tail());
        sleep(Duration::from_millis(250)).await;
    }
    wire.get(&path).expect_error(503, "BLOB_UNKNOWN").await?;
    wire.head(&path).expect(404).await?;
    is_counted(&wire, 1).await?;
    push::read_back(&wire, REPO, &other).await?;
    push::push(&wire, REPO, &blob, Way::PostPut).await?;
    push::read_back(&wire, REPO, &blob).await?;
    is_counted(&wire, 0).await?;
    server.stop().await?;
    server.fsck().await
}

async fn is_counted(wire: &Wire, damaged: u64) -> Result<()> {
    let metrics = wire.get("/metrics").expect(200).await?;
    let (text, line) = (String::from_utf8_lossy(&metrics.body), format!("bonded_blobs_damaged {damaged}\n"));
    ensure!(text.contains(&line), "the metrics do not say {line:?}");
    Ok(())
}
