//! `bonded fsck`: invariants I1 to I4, checked beside a running server.

use std::process::ExitCode;

use clap::Args;

use super::{DataArgs, Failure, print, runtime};
use crate::app::AppBuilder;
use crate::registry::FsckOptions;
use crate::telemetry;

/// What to check, and where.
#[derive(Debug, Args)]
pub(super) struct FsckArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Also read every blob and compare its digest.
    #[arg(long)]
    rehash: bool,
    /// First put objects that the database does not know back on the map, by reading them.
    #[arg(long)]
    rebuild: bool,
}

/// Checks and prints the findings.
pub(super) fn run(args: &FsckArgs) -> Result<ExitCode, Failure> {
    let config = args.data.load()?.config;
    let options = FsckOptions { rehash: args.rehash, rebuild: args.rebuild };
    runtime()?.block_on(async {
        let app = AppBuilder::new(config).open_beside().await.map_err(Failure::usage)?;
        let mut report = |finding: String| print(format_args!("{finding}\n"));
        let findings = app.registry().fsck(options, &mut report).await;
        match findings.map_err(|error| Failure::usage(telemetry::chain(&error)))? {
            0 => Ok(ExitCode::SUCCESS),
            _ => Ok(ExitCode::FAILURE),
        }
    })
}
