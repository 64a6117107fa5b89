//! The server is killed (SIGKILL) at random moments of a push loop, over and over: what it acknowledged is there after
//! the restart, an interrupted upload goes on where the server says, and a check of the store finds nothing.

use anyhow::{Context as _, Result, bail};
use futures_util::future::join_all;
use tokio::time::{Duration, sleep};

use super::pusher::{Ledger, LongUpload, push_images};
use crate::runner::Context;
use crate::server::Server;
use crate::wire::Wire;

/// Clients that push at the same time.
const PUSHERS: usize = 3;
/// Longest life of the server in milliseconds.
const LIFE_MS_MAX: u64 = 700;

pub(crate) async fn run(context: &Context) -> Result<()> {
    let mut server = context.start_server("").await?;
    let ledger = Ledger::default();
    for round in 1..=context.rounds {
        let life = Duration::from_millis(20 + context.random.below(LIFE_MS_MAX));
        let told = || format!("round {round}, killed after {} ms", life.as_millis());
        ledger.begin_round(round);
        one_round(context, &mut server, &ledger, life).await.with_context(told)?;
        ledger.check(&Wire::new(&server.url())?, round).await.with_context(told)?;
    }
    let wire = Wire::new(&server.url())?;
    ledger.check(&wire, 0).await.context("at the end")?;
    server.fsck().await.context("beside the running server")?;
    server.stop().await?;
    server.fsck().await?;
    let (images, deleted) = ledger.counts();
    context.note(format!("{} kills, {images} images kept, {deleted} deleted", context.rounds));
    Ok(())
}

async fn one_round(context: &Context, server: &mut Server, ledger: &Ledger, life: Duration) -> Result<()> {
    let wire = Wire::new(&server.url())?;
    let upload = LongUpload::new(context, "kill/long");
    let repos: Vec<String> = (0..PUSHERS).map(|at| format!("kill/pusher-{at}")).collect();
    let pushers = join_all(repos.iter().map(|repo| push_images(context, &wire, repo, ledger)));
    tokio::select! {
        failed = pushers => bail!("all pushers failed while the server lived: {failed:?}"),
        failed = upload.send(&wire) => bail!("the upload failed while the server lived: {failed:?}"),
        () = sleep(life) => server.kill().await?,
    }
    server.restart().await?;
    let wire = Wire::new(&server.url())?;
    upload.resume(&wire).await.context("the interrupted upload")?;
    Ok(())
}
