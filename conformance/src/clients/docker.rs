//! docker: its own daemon without network, bridge or firewall rules, in a folder of its own.
//!
//! The classic image store pushes with one PATCH of unknown length and takes the layer's size from the answer.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use super::{Tool, delete_by_wire, digest_of, tail};
use crate::content::tar;
use crate::runner::Context;
use crate::server::terminate;

/// Longest time until the daemon answers.
const START_MAX: Duration = Duration::from_mins(1);

pub(crate) async fn run(context: &Context) -> Result<()> {
    with_daemon(context, async |docker| exercise(context, docker).await).await
}

/// Does some work with a daemon that runs only for it.
pub(super) async fn with_daemon(context: &Context, work: impl AsyncFnOnce(&Tool) -> Result<()>) -> Result<()> {
    let docker = Tool::find(context, "docker")?;
    let daemon = context.tool("dockerd")?;
    let socket = format!("unix://{}", docker.path("docker.sock"));
    let docker = docker.with(&["--host", &socket]);
    let mut daemon = start(&docker, Command::new(daemon), &socket)?;
    let result = match wait_until_ready(&docker, &mut daemon).await {
        Ok(()) => work(&docker).await,
        Err(error) => Err(error),
    };
    terminate(&mut daemon).await?;
    result
}

fn start(docker: &Tool, mut daemon: Command, socket: &str) -> Result<Child> {
    let log = std::fs::File::create(docker.path("dockerd.log"))?;
    daemon
        .args(["--host", socket, "--data-root", &docker.path("data"), "--exec-root", &docker.path("exec")])
        .args(["--pidfile", &docker.path("docker.pid"), "--storage-driver", "vfs"])
        .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    daemon.spawn().context("dockerd could not be started")
}

async fn wait_until_ready(docker: &Tool, daemon: &mut Child) -> Result<()> {
    let begin = Instant::now();
    while docker.run(&["info"]).await.is_err() {
        let log = || tail(&std::fs::read(docker.path("dockerd.log")).unwrap_or_default());
        if let Some(status) = daemon.try_wait()? {
            bail!("dockerd (which needs root) ended with {status}: {}", log());
        }
        ensure!(begin.elapsed() < START_MAX, "dockerd does not answer: {}", log());
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn exercise(context: &Context, docker: &Tool) -> Result<()> {
    let host = context.wire.authority();
    let (repo, copy) = (context.repo("docker"), context.repo("docker-copy"));
    let (name, copied) = (format!("{host}/{repo}:v1"), format!("{host}/{copy}:v1"));
    std::fs::write(docker.path("image.tar"), tar("hello.txt", context.random.word().as_bytes()))?;
    let id = docker.run(&["import", "image.tar", &name]).await?;
    docker.run(&["push", &name]).await?;
    docker.run(&["push", &name]).await?;
    let digest = digest_of(context, &repo, "v1").await?;
    // Pushed to a second repository, the layer is mounted from the first.
    docker.run(&["tag", &name, &copied]).await?;
    docker.run(&["push", &copied]).await?;
    ensure!(digest_of(context, &copy, "v1").await? == digest, "the copy has another digest");
    let by_digest = format!("{host}/{repo}@{digest}");
    for reference in [&name, &by_digest, &copied] {
        docker.run(&["image", "rm", "--force", &id]).await?;
        docker.run(&["pull", reference]).await?;
        let pulled = docker.run(&["image", "inspect", "--format", "{{.Id}}", reference]).await?;
        ensure!(pulled == id, "{reference} was pushed as {id} and pulled as {pulled}");
    }
    let manifest = docker.run(&["manifest", "inspect", "--insecure", &name]).await?;
    ensure!(manifest.contains("\"layers\""), "docker manifest inspect printed {manifest}");
    delete_by_wire(context, &repo, "v1").await?;
    delete_by_wire(context, &repo, &digest).await?;
    docker.run(&["image", "rm", "--force", &id]).await?;
    if docker.run(&["pull", &name]).await.is_ok() {
        bail!("{name} can be pulled after it was deleted");
    }
    docker.run(&["pull", &copied]).await.map(drop)
}
