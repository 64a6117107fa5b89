//! The memory of the server: idle, and at its peak under many large uploads at once.
//!
//! The bytes are made while they are sent, so that the client holds no upload in memory.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use crate::cli::{Environment, MemoryArgs};
use crate::content::Random;
use crate::deployment::{Backends, Setup, Stores};
use crate::runner::Context;
use crate::scenarios::push::{self, OCTETS, blob_path};
use crate::server::Server;
use crate::wire::{Wire, with_query};

/// Bytes that are made at a time.
const PIECE_BYTES: usize = 64 << 10;
/// How long the server may take to give memory back after the load.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Bounds of the small run, whose server is a debug build.
const SMALL: MemoryArgs =
    MemoryArgs { server: None, topology: false, uploads: 16, size_mb: 8, peak_mb: 120, idle_mb: 100 };

/// The scenario: a small run whose bounds a leak or a buffered body would break.
pub(crate) async fn run_small(context: &Context) -> Result<()> {
    let topology = !context.has_folder();
    // Parts on their way to S3 are in memory, up to `limits.upload_buffer_bytes_max`.
    let peak_mb = if topology { SMALL.peak_mb + SMALL.uploads as u64 * SMALL.size_mb } else { SMALL.peak_mb };
    let args = MemoryArgs { server: Some(context.binary()?.clone()), topology, peak_mb, ..SMALL };
    let (figures, passed) = figures(&args, &context.environment).await?;
    ensure!(passed, "above the bounds: {figures}");
    context.note(figures);
    Ok(())
}

/// Measures as the arguments say, prints the figures, and says whether they are within the bounds.
pub(crate) async fn measure(args: &MemoryArgs, environment: &Environment) -> Result<bool> {
    let (figures, passed) = figures(args, environment).await?;
    println!("{}: {figures}", if passed { "ok" } else { "FAILED" });
    Ok(passed)
}

async fn figures(args: &MemoryArgs, environment: &Environment) -> Result<(String, bool)> {
    let binary = args.server.clone().map_or_else(Server::default_binary, Ok)?;
    let stores = if args.topology { Setup::Topology(Backends::start()?, 1).stores()? } else { Stores::Folder };
    let mut server = Server::start_on(&binary, environment, "", stores).await?;
    Wire::new(&server.url())?.get("/v2/").expect(200).await?;
    sleep(Duration::from_secs(1)).await;
    let before = server.memory()?;
    let begin = Instant::now();
    upload_all(&server.url(), args).await?;
    let took = begin.elapsed();
    let peak_mb = megabytes(server.memory()?.peak_kb);
    let after_mb = settle(&server, args.idle_mb).await?;
    let before_mb = megabytes(before.now_kb);
    let figures = format!(
        "{} uploads of {} MB at once in {:.1} s: peak {peak_mb} MB (bound {}), idle {before_mb} MB before and \
         {after_mb} MB after (bound {})",
        args.uploads,
        args.size_mb,
        took.as_secs_f64(),
        args.peak_mb,
        args.idle_mb
    );
    server.stop().await?;
    Ok((figures, peak_mb <= args.peak_mb && before_mb.max(after_mb) <= args.idle_mb))
}

fn megabytes(kilobytes: u64) -> u64 {
    (kilobytes * 1024).div_ceil(1_000_000)
}

/// Waits until the memory is within the bound or does not get there; gives what it is then.
async fn settle(server: &Server, bound_mb: u64) -> Result<u64> {
    let begin = Instant::now();
    loop {
        let now = megabytes(server.memory()?.now_kb);
        if now <= bound_mb || begin.elapsed() > SETTLE_MAX {
            return Ok(now);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn upload_all(url: &str, args: &MemoryArgs) -> Result<()> {
    let mut uploads = JoinSet::new();
    for number in 0..args.uploads {
        let wire = Wire::new(url)?;
        let bytes = args.size_mb * 1_000_000;
        uploads.spawn(async move { upload(&wire, number, bytes).await.with_context(|| format!("upload {number}")) });
    }
    while let Some(uploaded) = uploads.join_next().await {
        uploaded??;
    }
    Ok(())
}

/// One upload in the way of docker: a PATCH of unknown length, then PUT with the digest.
async fn upload(wire: &Wire, number: usize, size: u64) -> Result<()> {
    let repo = format!("memory/{number}");
    let location = push::begin(wire, &repo).await?;
    let hasher = Arc::new(Mutex::new(Sha256::new()));
    let call = wire.patch(&location).header("content-type", OCTETS);
    let answer = call.stream(generate(number, size, Arc::clone(&hasher))).expect(202).await?;
    let digest = std::mem::take(&mut *hasher.lock().unwrap_or_else(PoisonError::into_inner)).finalize();
    let digest = format!("sha256:{}", hex::encode(digest));
    let target = with_query(&answer.location()?, &format!("digest={digest}"));
    wire.put(&target).body("").expect(201).await?;
    let head = wire.head(&blob_path(&repo, &digest)).expect(200).await?;
    head.expect_header("content-length", &size.to_string())?;
    Ok(())
}

/// `size` bytes that no other upload has, hashed as they are handed out.
fn generate(
    number: usize,
    size: u64,
    hasher: Arc<Mutex<Sha256>>,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let noise = Random::new(number as u64).bytes(PIECE_BYTES);
    futures_util::stream::unfold(0_u64, move |at| {
        let left = usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = noise[..left].to_vec();
        piece.iter_mut().zip(at.to_le_bytes()).for_each(|(byte, mark)| *byte ^= mark);
        hasher.lock().unwrap_or_else(PoisonError::into_inner).update(&piece);
        let next = (left > 0).then(|| (Ok(Bytes::from(piece)), at + left as u64));
        async move { next }
    })
}
