//! `bonded du`: what each repository takes.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::{Format, count, human};
use super::{DataArgs, Failure, failed, print, with_registry};
use crate::metadata::model::{RepositoryUsage, TotalUsage};
use crate::oci::glob::RepoGlob;
use crate::registry::Registry;

/// Which repositories, and how to print them.
#[derive(Debug, Args)]
pub(super) struct DuArgs {
    /// Only repositories that match this glob, such as `team/**`.
    #[arg(value_name = "REPO-GLOB")]
    glob: Option<String>,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    data: DataArgs,
}

/// Measures and prints.
pub(super) fn run(args: &DuArgs) -> Result<ExitCode, Failure> {
    let glob = args.glob.as_deref().map(RepoGlob::parse).transpose().map_err(Failure::usage)?;
    let config = args.data.load()?.config;
    with_registry(config, async |registry| measure(registry, glob.as_ref(), args.output).await)
}

async fn measure(registry: &Registry, glob: Option<&RepoGlob>, format: Format) -> Result<(), Failure> {
    if format == Format::Text {
        print(format_args!("{:>12}{:>12}{:>12}  REPOSITORY\n", "TOTAL", "SHARED", "OWN"));
    }
    let mut repositories = 0;
    let mut report = |usage: RepositoryUsage| {
        repositories += 1;
        format.line(|| text(&usage), || object(&usage));
    };
    let total = registry.measure_usage(glob, &mut report).await.map_err(|error| failed(&error))?;
    let TotalUsage { blobs, bytes } = total;
    let of = if repositories == 1 { "1 repository".to_owned() } else { format!("{repositories} repositories") };
    format.line(
        || format!("{:>12}{:>24}  {of}, {}, each counted once", human(bytes), "", count(blobs, "blob")),
        || json!({"total": {"repositories": repositories, "blobs": blobs, "bytes": bytes}}),
    );
    Ok(())
}

/// Bytes that would come back if the repository went.
fn own(usage: &RepositoryUsage) -> u64 {
    usage.bytes.saturating_sub(usage.shared_bytes)
}

fn text(usage: &RepositoryUsage) -> String {
    let (total, shared, own) = (human(usage.bytes), human(usage.shared_bytes), human(own(usage)));
    format!("{total:>12}{shared:>12}{own:>12}  {}", usage.repo)
}

fn object(usage: &RepositoryUsage) -> serde_json::Value {
    json!({
        "repository": usage.repo.as_str(),
        "manifests": usage.manifests,
        "blobs": usage.blobs,
        "bytes": usage.bytes,
        "shared_bytes": usage.shared_bytes,
        "own_bytes": own(usage),
    })
}
