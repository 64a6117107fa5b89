//! `bonded backup`: backups made beside a running server, checked, and restored.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::BinaryBytes;

use super::store::failure;
use super::{DataArgs, Failure, VERSION, print, progress, runtime};
use crate::app::AppBuilder;
use crate::registry::FsckOptions;
use crate::telemetry;
use crate::transfer::backup::{self, CreateOptions, RestoreOptions};

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub(super) enum BackupVerb {
    /// Makes a backup of all facts, as of one moment, beside a running server if there is one.
    ///
    /// A backup that is in the folder already is replaced when the new one is whole, not before.
    Create(CreateArgs),
    /// Checks sums, rows and references of a backup, and the bytes of its blobs. Prints one line for each finding.
    Verify {
        /// Folder of the backup.
        dir: PathBuf,
    },
    /// Restores a backup into an empty database, then checks the store and marks what is missing as damaged.
    ///
    /// Blobs come back from the backup if it has them; otherwise those of the store are taken.
    Restore(RestoreArgs),
}

/// What to back up, and where to.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Folder of the backup; made when it is missing.
    dir: PathBuf,
    /// Also save the bytes of every blob.
    #[arg(long)]
    blobs: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// What to restore, and where to.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Folder of the backup.
    dir: PathBuf,
    /// Replace what the database knows.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &BackupVerb) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        match verb {
            BackupVerb::Create(args) => Box::pin(create(args)).await,
            BackupVerb::Verify { dir } => {
                let report = backup::verify(dir, &progress::watch()).await.map_err(|error| failure(&error))?;
                if report.findings == 0 {
                    let (rows, blobs, bytes) = (report.rows, report.blobs.blobs, BinaryBytes(report.blobs.bytes));
                    print(format_args!("sound: {rows} rows, {blobs} blobs, {bytes}\n"));
                }
                Ok(ended(report.findings == 0))
            }
            BackupVerb::Restore(args) => Box::pin(restore(args)).await,
        }
    })
}

async fn create(args: &CreateArgs) -> Result<ExitCode, Failure> {
    let app = AppBuilder::new(args.data.load()?.config).open_beside().await.map_err(Failure::usage)?;
    let options = CreateOptions { blobs: args.blobs, made_by: format!("bonded {}", *VERSION) };
    let made = backup::create(app.stores(), &args.dir, options, &progress::watch()).await;
    let report = made.map_err(|error| failure(&error))?;
    print(format_args!(
        "{}: {} rows, {} blobs, {}\n",
        args.dir.display(),
        report.rows,
        report.blobs.blobs,
        BinaryBytes(report.blobs.bytes)
    ));
    Ok(ended(report.lacking == 0))
}

async fn restore(args: &RestoreArgs) -> Result<ExitCode, Failure> {
    let app = AppBuilder::new(args.data.load()?.config).open_alone().await.map_err(Failure::usage)?;
    let (options, watch) = (RestoreOptions { force: args.force }, progress::watch());
    let restored = backup::restore(app.stores(), &args.dir, options, &watch).await;
    let report = restored.map_err(|error| failure(&error))?;
    let mut line = |finding: String| print(format_args!("{finding}\n"));
    let checked = app.registry().fsck(FsckOptions::default(), &mut line).await;
    let findings = checked.map_err(|error| Failure::failed(telemetry::chain(&error)))?;
    print(format_args!(
        "restored {} rows; {} blobs brought back, {}, {} were there\n",
        report.rows,
        report.moved.blobs,
        BinaryBytes(report.moved.bytes),
        report.kept
    ));
    if findings > 0 {
        print("what is missing is marked: pulls of it fail until somebody pushes it again\n");
    }
    app.close().await;
    Ok(ended(findings == 0 && report.lacking == 0))
}

fn ended(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
