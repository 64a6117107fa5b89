//! podman, with storage of its own: push, list, pull, copy, manifest list.

use anyhow::{Result, ensure};

use super::{Tool, delete_by_wire, digest_of};
use crate::content::tar;
use crate::runner::Context;

/// The program with storage of its own.
pub(super) fn prepare(context: &Context) -> Result<Tool> {
    let podman = Tool::find(context, "podman")?;
    let (root, run) = (podman.path("root"), podman.path("run"));
    let podman = podman.with(&["--root", &root, "--runroot", &run, "--storage-driver", "vfs"]);
    Ok(podman.with(&["--cgroup-manager", "cgroupfs", "--events-backend", "none"]))
}

pub(crate) async fn run(context: &Context) -> Result<()> {
    let podman = prepare(context)?;
    let host = context.wire.authority();
    let (repo, copy) = (context.repo("podman"), context.repo("podman-copy"));
    let (name, copied) = (format!("{host}/{repo}:v1"), format!("{host}/{copy}:v1"));
    std::fs::write(podman.path("image.tar"), tar("hello.txt", context.random.word().as_bytes()))?;
    podman.run(&["import", "image.tar", &name]).await?;
    podman.run(&["push", "--tls-verify=false", &name]).await?;
    podman.run(&["push", "--tls-verify=false", &name, &format!("docker://{host}/{repo}:v2")]).await?;
    podman.run(&["push", "--tls-verify=false", "--format", "v2s2", &name, &format!("{host}/{repo}:docker")]).await?;
    let listed = podman.run(&["search", "--tls-verify=false", "--list-tags", &format!("{host}/{repo}")]).await?;
    let listed: Vec<_> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    ensure!(listed == ["TAG", "docker", "v1", "v2"], "podman search printed {listed:?}");
    podman.run(&["tag", &name, &copied]).await?;
    podman.run(&["push", "--tls-verify=false", &copied]).await?;
    let id = podman.run(&["image", "inspect", "--format", "{{.Id}}", &name]).await?;
    let digest = digest_of(context, &repo, "v1").await?;
    for reference in [&name, &format!("{host}/{repo}@{digest}"), &copied, &format!("{host}/{repo}:docker")] {
        podman.run(&["rmi", "--all", "--force"]).await?;
        podman.run(&["pull", "--tls-verify=false", reference]).await?;
        let pulled = podman.run(&["image", "inspect", "--format", "{{.Id}}", reference]).await?;
        ensure!(pulled == id || reference.ends_with(":docker"), "{reference}: pushed {id}, pulled {pulled}");
    }
    push_list(context, &podman, &copied, &copy).await?;
    delete_by_wire(context, &repo, "v1").await?;
    delete_by_wire(context, &repo, &digest).await?;
    podman.run(&["rmi", "--all", "--force"]).await?;
    podman.run_refused(&["pull", "--tls-verify=false", &name]).await
}

/// A manifest list over an image of the registry, with everything it names.
async fn push_list(context: &Context, podman: &Tool, image: &str, repo: &str) -> Result<()> {
    let target = format!("docker://{}/{repo}:list", context.wire.authority());
    podman.run(&["manifest", "create", "list"]).await?;
    podman.run(&["manifest", "add", "--tls-verify=false", "list", &format!("docker://{image}")]).await?;
    podman.run(&["manifest", "push", "--tls-verify=false", "--all", "list", &target]).await?;
    let digest = digest_of(context, repo, "list").await?;
    delete_by_wire(context, repo, &digest).await
}
