//! Chaos: several nodes on one Postgres and one S3 server take pushes, pulls, tag moves, deletes, mounts and referrers at
//! once, while everything beneath them fails: nodes are killed, Postgres restarts and loses its connections, S3 answers
//! with errors, late, half or not at all. Collection runs on all nodes with short leases.
//!
//! Rules: an answer is the truth or an error that may be tried again; what one node acknowledged, every node says from
//! then on; at the end everything acknowledged is there with the right bytes, `fsck --rehash` finds nothing, and when all
//! is deleted the bucket is empty.

mod nodes;
mod rivals;
mod stats;
mod upload;
mod weather;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use conformance::servers::{FaultProxy, TcpProxy};
use futures_util::future::join_all;
use tokio::time::{Duration, Instant, sleep};

use crate::cli::{ChaosArgs, Environment};
use crate::content::{Blob, Random};
use crate::deployment::{Backends, SharedStores, Stores};
use crate::runner::Context;
use crate::server::Server;
use nodes::Nodes;
use stats::Stats;
use weather::Weather;
use worker::Worker;

/// How long blobs are kept that were pushed, or asked for, and that no manifest names.
const BLOB_LEASE: Duration = Duration::from_secs(6);
/// How long an upload lives without progress.
const UPLOAD_TTL: Duration = Duration::from_secs(8);
/// Longest request, and how long the bytes of a dead upload are kept for late writers.
const REQUEST_MAX: Duration = Duration::from_secs(8);
/// How long nodes may take to give all space back once everything is deleted.
const EMPTY_MAX: Duration = Duration::from_mins(2);
/// Blobs that many images share.
const POOL: usize = 12;
/// Workers that fight over the same few images.
const RIVALS: usize = 2;
/// How long the scenario goes on; `conformance chaos` is for longer.
const SCENARIO_SECONDS: u64 = 20;

/// The scenario: a short run.
pub(crate) async fn run_short(context: &Context) -> Result<()> {
    let seed = context.random.next();
    let args = ChaosArgs {
        server: Some(context.binary()?.clone()),
        minutes: Duration::from_secs(SCENARIO_SECONDS).as_secs_f64() / 60.0,
        nodes: 3,
        workers: 6,
        folder: false,
        seed: Some(seed),
    };
    let figures = chaos(&args, seed, &context.environment).await?;
    context.note(figures.join("; "));
    Ok(())
}

/// The command: as long as the arguments say.
pub(crate) async fn run(args: &ChaosArgs, environment: &Environment) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(Random::any_seed);
    println!("chaos for {} minutes, {} workers, seed {seed}", args.minutes, args.workers);
    let figures = chaos(args, seed, environment).await?;
    for line in figures {
        println!("{line}");
    }
    println!("ok");
    Ok(true)
}

/// Runs and gives the figures.
async fn chaos(args: &ChaosArgs, seed: u64, environment: &Environment) -> Result<Vec<String>> {
    let random = Random::new(seed);
    let binary = args.server.clone().map_or_else(Server::default_binary, Ok)?;
    let mut bench = Bench::start(args, &binary, environment, random.next()).await?;
    let result = bench.run(args, &random).await;
    if let Err(error) = result {
        let logs = bench.keep_logs()?;
        return Err(error.context(format!("seed {seed}, logs in {}", logs.display())));
    }
    bench.stop().await?;
    result
}

/// Everything that runs.
struct Bench {
    servers: Vec<Server>,
    beneath: Option<Beneath>,
}

/// What the nodes share, each behind a proxy that can fail.
struct Beneath {
    stores: SharedStores,
    postgres: TcpProxy,
    s3: FaultProxy,
}

impl Bench {
    async fn start(args: &ChaosArgs, binary: &Path, environment: &Environment, seed: u64) -> Result<Self> {
        let beneath = if args.folder { None } else { Some(Beneath::start(seed)?) };
        let stores = match &beneath {
            None => Stores::Folder,
            Some(it) => Stores::Shared(it.stores.through(&it.postgres.authority(), &it.s3.authority())),
        };
        let nodes = if args.folder { 1 } else { args.nodes };
        let mut servers = Vec::new();
        for _ in 0..nodes {
            servers.push(Server::start_on(binary, environment, &config(args.folder), stores.clone()).await?);
        }
        Ok(Self { servers, beneath })
    }

    async fn run(&mut self, args: &ChaosArgs, random: &Random) -> Result<Vec<String>> {
        let stats = Stats::default();
        let nodes = Nodes::new(&self.servers, random.next(), &stats)?;
        let pool: Vec<Blob> = (0..POOL).map(|at| Blob::random(random, POOL_SIZES[at % POOL_SIZES.len()])).collect();
        let end = Instant::now() + Duration::from_secs_f64(args.minutes * 60.0);
        let mut workers: Vec<Worker> =
            (0..usize::from(args.workers)).map(|at| Worker::new(at, &nodes, &pool, random.next())).collect();
        let mut weather = Weather::new(&mut self.servers, self.beneath.as_ref(), random.next(), &stats);
        let (pushed, rivals, calm, ()) = tokio::join!(
            join_all(workers.iter_mut().map(|worker| worker.work(end))),
            join_all((0..RIVALS).map(|_| rivals::fight(&nodes, &pool, end))),
            weather.rage(end),
            stats.tell(end),
        );
        calm.context("the weather")?;
        let lies: Vec<String> = [pushed, rivals].concat_errors();
        ensure!(lies.is_empty(), "{}\n{}", lies.join("\n"), stats.lines().join("\n"));
        self.check(&nodes, &mut workers).await.with_context(|| stats.lines().join("\n"))?;
        let mut figures = stats.lines();
        if let Some(beneath) = &self.beneath {
            let (calls, faults) = (beneath.s3.total(), beneath.s3.injected());
            figures.push(format!("S3: {calls} calls, {faults} of them with a fault; {:?}", beneath.s3.counts()));
            figures.push(format!("Postgres: {} connections", beneath.postgres.accepted()));
        }
        Ok(figures)
    }

    /// What has to hold when it is over.
    async fn check(&mut self, nodes: &Nodes<'_>, workers: &mut [Worker<'_>]) -> Result<()> {
        self.end_late_requests().await?;
        let mut checked = 0;
        for worker in &mut *workers {
            checked += worker.check_everywhere().await.context("at the end")?;
        }
        nodes.stats.count("images checked on every node", checked);
        self.fsck("with everything in it").await?;
        if let Some(beneath) = &self.beneath {
            let objects = beneath.stores.backends().s3.objects(&beneath.stores.bucket)?;
            ensure!(!objects.is_empty(), "the bucket is empty, although there are images");
            nodes.stats.count("objects in the bucket", objects.len() as u64);
        }
        for worker in &mut *workers {
            worker.delete_all().await.context("deleting everything")?;
        }
        rivals::delete_all(nodes).await?;
        let begin = Instant::now();
        self.wait_until_empty().await?;
        nodes.stats.count("seconds until the bucket was empty", begin.elapsed().as_secs());
        nodes.stats.count("nodes that removed objects since their last start", self.collectors(nodes).await?);
        self.fsck("with nothing in it").await
    }

    /// Requests whose clients have left may still be under way; with their nodes they end.
    async fn end_late_requests(&mut self) -> Result<()> {
        for server in &mut self.servers {
            server.kill().await?;
        }
        if let Some(beneath) = &self.beneath {
            beneath.wait_until_idle().await?;
        }
        for server in &mut self.servers {
            server.restart().await?;
        }
        Ok(())
    }

    /// How many nodes have removed objects.
    async fn collectors(&self, nodes: &Nodes<'_>) -> Result<u64> {
        let mut collectors = 0;
        for wire in nodes.all() {
            let answer = wire.get("/metrics").expect(200).await?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let count = text.lines().find_map(|line| line.strip_prefix("bonded_gc_objects_removed_total "));
            let count: f64 = count.context("no metric for removed objects")?.trim().parse()?;
            collectors += u64::from(count > 0.0);
        }
        Ok(collectors)
    }

    async fn fsck(&self, when: &str) -> Result<()> {
        let server = self.servers.first().context("no node")?;
        server.fsck().await.context(when.to_owned())
    }

    async fn wait_until_empty(&self) -> Result<()> {
        let Some(beneath) = &self.beneath else { return Ok(()) };
        let (s3, bucket) = (&beneath.stores.backends().s3, &beneath.stores.bucket);
        let begin = Instant::now();
        loop {
            let (objects, uploads) = (s3.objects(bucket)?, s3.uploads(bucket)?);
            if objects.is_empty() && uploads == 0 {
                return Ok(());
            }
            if begin.elapsed() > EMPTY_MAX {
                let some: Vec<_> = objects.iter().take(5).collect();
                bail!("{} objects ({some:?}) and {uploads} uploads are left in the bucket", objects.len());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Copies what the servers printed to where it stays.
    fn keep_logs(&self) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix("bonded-chaos-").tempdir()?.keep();
        for (at, server) in self.servers.iter().enumerate() {
            std::fs::copy(server.log_file(), folder.join(format!("node-{at}.log")))?;
        }
        if let Some(beneath) = &self.beneath {
            beneath.keep(&folder)?;
        }
        Ok(folder)
    }

    async fn stop(&mut self) -> Result<()> {
        for server in &mut self.servers {
            server.stop().await?;
        }
        Ok(())
    }
}

impl Beneath {
    fn start(seed: u64) -> Result<Self> {
        let stores = SharedStores::create(&Backends::start()?)?;
        let postgres = TcpProxy::start(stores.backends().postgres.authority())?;
        let s3 = FaultProxy::start(&stores.backends().s3.authority(), seed)?;
        Ok(Self { stores, postgres, s3 })
    }

    /// Writes down what S3 was asked and what the database knows.
    fn keep(&self, folder: &Path) -> Result<()> {
        let calls: Vec<String> = self.s3.calls().iter().map(|call| format!("{call:?}\n")).collect();
        std::fs::write(folder.join("s3-calls.log"), calls.concat())?;
        let (postgres, database) = (&self.stores.backends().postgres, self.stores.database_name());
        for table in ["uploads", "object_deletions", "blobs", "repo_blobs", "manifests", "tags"] {
            let rows = postgres.sql(database, &format!("select to_jsonb(t) - 'body' from {table} t"))?;
            std::fs::write(folder.join(format!("{table}.jsonl")), rows)?;
        }
        Ok(())
    }

    /// Waits until no statement of a dead node runs any more.
    async fn wait_until_idle(&self) -> Result<()> {
        const BUSY: &str = "select count(*) from pg_stat_activity where datname = current_database() \
                            and pid <> pg_backend_pid() and state <> 'idle'";
        let backends = self.stores.backends();
        for _ in 0..100 {
            let backends = Arc::clone(&backends);
            let database = self.stores.database_name().to_owned();
            let busy = tokio::task::spawn_blocking(move || backends.postgres.sql(&database, BUSY)).await??;
            if busy == "0" {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("statements of dead nodes do not end");
    }
}

const POOL_SIZES: [usize; 4] = [900, 30_000, 700_000, 5_500_000];

/// The configuration of a node: short leases, so that there is always something to collect, and short patience.
fn config(folder: bool) -> String {
    let (lease, ttl, request) = (BLOB_LEASE.as_secs(), UPLOAD_TTL.as_secs(), REQUEST_MAX.as_secs());
    let text = format!(
        "[gc]\nblob_lease = \"{lease}s\"\nhead_lease = \"{lease}s\"\n[uploads]\nexpire = \"{ttl}s\"\n\
         [limits]\nrequest_time_max = \"{request}s\"\n"
    );
    if folder {
        return text;
    }
    format!(
        "storage.s3.connect_timeout = \"1s\"\nstorage.s3.request_timeout = \"2s\"\nstorage.s3.attempts_max = 3\n\
         {text}[shutdown]\ngrace = \"5s\"\n"
    )
}

/// Takes the errors out of several lists of results.
trait ConcatErrors {
    fn concat_errors(self) -> Vec<String>;
}

impl ConcatErrors for [Vec<Result<()>>; 2] {
    fn concat_errors(self) -> Vec<String> {
        self.into_iter().flatten().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
    }
}
