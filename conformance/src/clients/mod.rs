//! Real clients against the registry under test: each pushes an image and, where it can, an artifact, lists, pulls by tag
//! and by digest, copies and deletes.
//!
//! A client that is not installed is reported by name; it never counts as passed.

mod crane;
mod docker;
mod login;
mod oras;
mod podman;
mod regctl;
mod signing;
mod skopeo;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Duration, timeout};

use crate::runner::{Context, Scenario, scenario};
use crate::scenarios::data_sets::{EXAMPLE, example, manifest_path};
use crate::scenarios::generate::{Image, Manifest, Set};

const GROUP: &str = "clients";

/// The clients that the command line names; of `all`, those are left out that `.ci/run full` alone installs.
pub(crate) fn selected(names: &str) -> Result<Vec<Scenario>> {
    let mut all = vec![
        scenario(GROUP, "docker", docker::run),
        scenario(GROUP, "podman", podman::run),
        scenario(GROUP, "skopeo", skopeo::run),
        scenario(GROUP, "crane", crane::run),
        scenario(GROUP, "regctl", regctl::run),
        scenario(GROUP, "oras-go", oras::run),
    ];
    all.extend(login::all());
    all.extend(signing::all());
    match names {
        "all" => Ok(all),
        "none" => Ok(Vec::new()),
        names => {
            all.extend(signing::rare());
            let names: Vec<&str> = names.split(',').map(str::trim).collect();
            let unknown: Vec<_> = names.iter().filter(|name| all.iter().all(|it| it.name != **name)).collect();
            ensure!(unknown.is_empty(), "no such clients: {unknown:?}");
            Ok(all.into_iter().filter(|it| names.contains(&it.name.as_str())).collect())
        }
    }
}

/// Longest time for one command.
const COMMAND_MAX: Duration = Duration::from_mins(2);

/// A program with its fixed arguments and a home of its own.
struct Tool {
    program: PathBuf,
    folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Tool {
    /// Finds a program and gives it an empty home.
    fn find(context: &Context, program: &str) -> Result<Self> {
        let program = context.tool(program)?;
        let folder = tempfile::Builder::new().prefix("bonded-client-").tempdir()?;
        let home = folder.path().display().to_string();
        Ok(Self { program, folder, arguments: Vec::new(), environment: vec![("HOME", home)] })
    }

    /// Arguments that stand before those of every command.
    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|it| (*it).to_owned()));
        self
    }

    /// A path in the home, as text for a command line.
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command in the home and gives what it printed.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_in(&[], arguments).await
    }

    /// The same with more in its environment.
    async fn run_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments).current_dir(self.folder.path()).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value))).envs(environment.iter().copied());
        let shown = format!("{} {}", self.program.display(), arguments.join(" "));
        let output = timeout(COMMAND_MAX, command.output()).await;
        let output = output.with_context(|| format!("`{shown}` does not end"))?.with_context(|| shown.clone())?;
        if !output.status.success() {
            bail!("`{shown}` ended with {}: {}", output.status, tail(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs a command that has to fail.
    async fn run_refused(&self, arguments: &[&str]) -> Result<()> {
        match self.run(arguments).await {
            Ok(output) => bail!("`{}` succeeded: {output}", arguments.join(" ")),
            Err(_) => Ok(()),
        }
    }
}

fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

/// An image that every client accepts: its layers are archives and its config lists them rightly.
fn image(context: &Context) -> Set {
    let mut set = Set::default();
    set.image(&context.random, &Image::default());
    set
}

/// An artifact of one layer, with the empty config.
fn artifact(context: &Context) -> Set {
    let mut set = Set::default();
    set.image(&context.random, &example(EXAMPLE, None));
    set
}

/// Writes a set as an OCI image layout (image-spec image-layout.md) whose last manifest has this name.
fn write_layout(folder: &Path, set: &Set, name: &str) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let contents = set.blobs.iter().map(|it| (&it.digest, &it.bytes));
    for (digest, bytes) in contents.chain(set.manifests.iter().map(|it| (&it.digest, &it.bytes))) {
        std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes)?;
    }
    let last = last_manifest(set)?;
    let entry = json!({
        "mediaType": last.media_type, "digest": last.digest, "size": last.bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": name},
    });
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    std::fs::write(folder.join("index.json"), index.to_string())?;
    Ok(())
}

fn last_manifest(set: &Set) -> Result<&Manifest> {
    set.manifests.last().context("a set without manifests")
}

/// The digest behind a tag, asked over the wire.
async fn digest_of(context: &Context, repo: &str, tag: &str) -> Result<String> {
    let answer = context.wire.head(&manifest_path(repo, tag)).expect(200).await?;
    answer.header("docker-content-digest").map(str::to_owned)
}

/// Demands that nothing stands under a reference any more.
async fn expect_gone(context: &Context, repo: &str, reference: &str) -> Result<()> {
    context.wire.head(&manifest_path(repo, reference)).expect(404).await?;
    Ok(())
}

/// Deletes what a client pushed that cannot delete by itself.
async fn delete_by_wire(context: &Context, repo: &str, reference: &str) -> Result<()> {
    context.wire.delete(&manifest_path(repo, reference)).expect(202).await?;
    expect_gone(context, repo, reference).await
}

fn expect_lines(output: &str, wanted: &[&str]) -> Result<()> {
    let mut lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    ensure!(lines == wanted, "printed {lines:?}, expected {wanted:?}");
    Ok(())
}
