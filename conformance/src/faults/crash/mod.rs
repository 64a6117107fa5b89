//! The server kills itself (SIGKILL) at each point of its own table, before and after each call of its stores: what it
//! had acknowledged is there after the restart, the client finishes what was cut off, a check of the store finds nothing,
//! and once all is deleted no object is left over.

mod script;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, sleep};

use self::script::{Data, STEPS, Script, Step};
use crate::runner::Context;
use crate::server::Server;
use crate::wire::Wire;

/// Servers that live and die at the same time.
const LANES: usize = 4;
/// How long a session lives; also the time after which what a crash left has to be gone.
const EXPIRY: Duration = Duration::from_secs(5);
/// The longest time of a request, more than a delete waits for its bytes. Nodes that share stores leave the object of a
/// dead session alone for so long.
const REQUEST_MAX: Duration = Duration::from_secs(35);
/// The same where the object of a dead session has to go soon.
const CANCELLED_MAX: Duration = Duration::from_secs(2);
/// A pause in a body after which a driver reports how far it is, and one after which it lets go of what it holds.
const REPORTED: Duration = Duration::from_secs(2);
const STALLED: Duration = Duration::from_secs(12);
/// Longest wait for a server that has to die, which a job may do that runs every few seconds.
const DEATH_MAX: Duration = Duration::from_secs(8);
/// Longest wait for the last object to go, once its time has come: what a dead server had claimed for removal is handed
/// out again after a minute.
const LEFTOVERS_MAX: Duration = Duration::from_mins(2);
/// A point of the server's table.
struct Point {
    name: String,
}

pub(crate) async fn run(context: &Context) -> Result<()> {
    let binary = context.faults_binary()?;
    let mut points = points(binary, context.has_folder()).await?;
    // The collector stands at the end of the table: its points come first, so that the minute for which a dead server's
    // claims hold passes while the others have their turn. Whatever stalls comes before.
    points.reverse();
    points.sort_by_key(|point| point.call() != "storage.stage");
    // On S3 an upload has to have parts: several, where it is about them, and else one and a rest.
    let (large, huge) = if context.has_folder() { (2 << 20, 2 << 20) } else { (6 << 20, 14 << 20) };
    let (one, several) = (Data::new(&context.random, large), Data::new(&context.random, huge));
    let begun = Instant::now();
    let lanes = futures_util::stream::iter(&points).map(|point| async {
        let data = if point.is_about_parts() { &several } else { &one };
        let died = one_point(context, data, point).await;
        died.with_context(|| format!("at {}", point.name))
    });
    let ended: Vec<Result<Survivor>> = lanes.buffer_unordered(LANES).collect().await;
    let (crashes, mut failures) = (begun.elapsed(), Vec::new());
    let (mut resumed, mut anew) = (0, 0);
    let mut survivors = Vec::new();
    for survivor in ended {
        match survivor {
            Ok(survivor) => {
                (resumed, anew) = (resumed + survivor.resumed, anew + survivor.anew);
                survivors.push(survivor);
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    // All may wait at the same time; the work is done by a few at a time.
    let lanes = Semaphore::new(LANES);
    let cleaned = futures_util::stream::iter(survivors).map(|survivor| survivor.leaves_nothing(&lanes));
    let cleaned: Vec<Result<(String, Duration)>> = cleaned.buffer_unordered(points.len()).collect().await;
    let mut slowest = (String::new(), Duration::ZERO);
    for cleaned in cleaned {
        match cleaned {
            Ok(cleaned) if cleaned.1 > slowest.1 => slowest = cleaned,
            Ok(_) => {}
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!("{} of {} points: {}", failures.len(), points.len(), failures.join("; "));
    }
    let (count, seconds) = (points.len(), crashes.as_secs());
    context.note(format!("{count} points in {seconds} s, {resumed} sessions resumed, {anew} begun anew"));
    context.note(format!("the last object went {} s after the last delete ({})", slowest.1.as_secs(), slowest.0));
    Ok(())
}

/// The server's table, as far as its stores come to its points.
async fn points(binary: &Path, has_folder: bool) -> Result<Vec<Point>> {
    let output = Command::new(binary).arg("points").output().await?;
    ensure!(output.status.success(), "{} was built without the feature `faults`", binary.display());
    let mut points = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (name, rest) = line.split_once('\t').context("a name")?;
        let reach = rest.split('\t').next().unwrap_or_default();
        if reach == "every" || !has_folder {
            points.push(Point { name: name.to_owned() });
        }
    }
    let names: BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
    ensure!(names.len() == points.len() && names.len() >= 60, "the table has {} points", names.len());
    Ok(points)
}

impl Point {
    /// The call, without the moment.
    fn call(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(call, _)| call)
    }

    /// Whether an upload passes it as often as it has parts, or when it makes one object of them.
    fn is_about_parts(&self) -> bool {
        [
            "storage.begin",
            "storage.append",
            "storage.checkpoint",
            "storage.stage",
            "storage.complete",
            "storage.stat",
            "metadata.upload_checkpoint",
            "metadata.upload_renew",
            "metadata.upload_completing",
        ]
        .contains(&self.call())
    }

    /// Where the lives of the server end, one after the other.
    fn lives(&self) -> Vec<String> {
        // What every sweep does has nothing to do at the start of the server; what an upload does again and again is worth
        // more in the middle.
        let nth = match self.call() {
            "metadata.upload_expire"
            | "metadata.manifest_collect"
            | "metadata.membership_collect"
            | "metadata.blob_collect"
            | "metadata.deletion_claim"
            | "metadata.upload_count"
            | "storage.delete_many"
            | "storage.append"
            | "metadata.upload_checkpoint"
            | "metadata.upload_take" => 2,
            _ => 1,
        };
        let last = format!("{}:{nth}", self.name);
        match self.call() {
            // A PUT looks for the object only when the same one died before while it completed it; the first object is
            // that of a POST, which has no session that could be continued.
            "storage.stat" => vec!["storage.complete.after:2".to_owned(), last],
            // Nor does a session get another key before one writer under the first died without a checkpoint.
            "metadata.upload_rekey" => vec!["storage.append.before:2".to_owned(), last],
            _ => vec![last],
        }
    }

    /// The configuration of the server.
    fn config(&self) -> String {
        // What stalls makes no progress that would keep its session.
        let expire = if self.call() == "storage.stage" { STALLED * 2 } else { EXPIRY };
        // A client waits here for the object of a session that it cancelled to go.
        let request_max = if self.call() == "storage.abort" { CANCELLED_MAX } else { REQUEST_MAX };
        let (expire, request_max) = (expire.as_secs(), request_max.as_secs());
        format!("[uploads]\nexpire = \"{expire}s\"\n[limits]\nrequest_time_max = \"{request_max}s\"\n")
    }

    /// What the client does.
    fn steps(&self) -> Vec<Step> {
        let mut steps = STEPS.to_vec();
        match self.call() {
            "storage.checkpoint" => steps.insert(0, Step::SlowPatch(REPORTED)),
            "storage.stage" => steps.insert(0, Step::SlowPatch(STALLED)),
            "metadata.upload_renew" => steps.insert(0, Step::SlowPut(REPORTED)),
            "metadata.upload_expire" => {
                let delete = steps.iter().position(|step| *step == Step::DeleteImage).unwrap_or_default();
                steps.insert(delete, Step::Abandon);
            }
            _ => {}
        }
        steps
    }
}

/// A server that died, came back and was emptied, until the time of what its death left has passed.
struct Survivor {
    point: String,
    server: Server,
    emptied: Instant,
    resumed: usize,
    anew: usize,
}

async fn one_point(context: &Context, data: &Data, point: &Point) -> Result<Survivor> {
    let mut server = context.start_faulty_server(&point.config()).await?;
    let mut script = Script::new(data);
    script.prepare(&Wire::new(&server.url())?).await?;
    server.kill().await?;
    let steps = point.steps();
    let (mut at, mut again) = (0, false);
    for life in point.lives() {
        server.set_fault_point(Some(life.clone()));
        server.restart().await?;
        let done = work_until_death(&mut server, &mut script, &steps[at..], again).await;
        at += done.with_context(|| format!("in the life that ends at {life}"))?;
        again = true;
    }
    server.set_fault_point(None);
    server.restart().await?;
    let wire = Wire::new(&server.url())?;
    script.check(&wire).await.context("after the restart")?;
    for step in steps.get(at..).unwrap_or_default() {
        script.take(&wire, *step, again).await.context("after the restart")?;
        again = false;
    }
    script.check(&wire).await.context("at the end")?;
    server.fsck().await?;
    script.delete_everything(&wire).await?;
    server.stop().await?;
    let Script { resumed, anew, .. } = script;
    Ok(Survivor { point: point.name.clone(), server, emptied: Instant::now(), resumed, anew })
}

/// How many steps were done when the server died.
async fn work_until_death(server: &mut Server, script: &mut Script<'_>, steps: &[Step], again: bool) -> Result<usize> {
    let wire = Wire::new(&server.url())?;
    for (at, step) in steps.iter().enumerate() {
        if let Err(error) = script.take(&wire, *step, again && at == 0).await {
            let killed = server.was_killed_within(Duration::from_secs(1)).await?;
            return if killed { Ok(at) } else { Err(error.context("the server lives")) };
        }
    }
    ensure!(server.was_killed_within(DEATH_MAX).await?, "nothing that the client did came to the point");
    Ok(steps.len())
}

impl Survivor {
    /// Serves once more: what the death left has expired and goes. Says how long after the last delete.
    async fn leaves_nothing(self, lanes: &Semaphore) -> Result<(String, Duration)> {
        let Self { point, mut server, emptied, .. } = self;
        sleep((EXPIRY * 2).saturating_sub(emptied.elapsed())).await;
        let turn = lanes.acquire().await?;
        if !server.objects().await?.is_empty() {
            server.restart_elsewhere().await?;
        }
        drop(turn);
        let begun = Instant::now();
        loop {
            let left = server.objects().await?;
            if left.is_empty() {
                break;
            }
            ensure!(begun.elapsed() < LEFTOVERS_MAX, "after {point} these are left: {left:?}");
            sleep(Duration::from_millis(250)).await;
        }
        let took = emptied.elapsed();
        let _turn = lanes.acquire().await?;
        server.fsck().await.with_context(|| format!("after {point}"))?;
        server.stop().await?;
        Ok((point, took))
    }
}
