//! `bonded store`: everything moved to other stores, or those of another registry taken over.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::BinaryBytes;

use super::{DataArgs, Failure, print, progress, runtime};
use crate::app::AppBuilder;
use crate::config::{Config, Loaded, Sources};
use crate::storage::Key;
use crate::telemetry;
use crate::transfer::import::{self, ImportOptions, ImportReport};
use crate::transfer::{CopyOptions, CopyReport, TransferError, copy};

/// What to do with the stores.
#[derive(Debug, Subcommand)]
pub(super) enum StoreVerb {
    /// Copies everything into an empty database and an empty store, such as Postgres and a bucket, or back.
    ///
    /// The source may be served meanwhile. Run it again after an interruption, or to fetch what came since; the last run,
    /// with the source stopped, is exact. Ends with 1 when something is damaged or came during the run, which it says.
    Copy(CopyArgs),
    /// Takes over the storage of a distribution or Harbor registry, which must be stopped, without moving its bytes.
    ///
    /// The folder or bucket of this registry must be that of the other one. Prints one line for each thing that it leaves
    /// out, and ends with 1 then. Running it again goes on where it was.
    Import(ImportArgs),
}

/// From where and to where.
#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The source: a configuration file, or a data folder. `BONDED_*` variables do not count.
    #[arg(long, value_name = "FILE|DIR")]
    from: String,
    /// The target: a configuration file, or a data folder, which is made when it is missing.
    #[arg(long, value_name = "FILE|DIR")]
    to: String,
}

/// What to take over, and how.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Folder of the store that holds `blobs` and `repositories` of the other registry.
    #[arg(default_value = import::ROOT)]
    root: String,
    /// Never remove an object of the other registry, even when it is garbage.
    #[arg(long)]
    read_only: bool,
    /// Read every blob and compare its digest; otherwise only sizes are looked at. Manifests are always read.
    #[arg(long)]
    rehash: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &StoreVerb) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        match verb {
            StoreVerb::Copy(args) => Box::pin(copy_all(args)).await,
            StoreVerb::Import(args) => Box::pin(import_all(args)).await,
        }
    })
}

/// The sentence and the exit code of a transfer that failed.
pub(super) fn failure(error: &TransferError) -> Failure {
    match error {
        TransferError::Refused(why) => Failure::usage(why),
        other => Failure::failed(telemetry::chain(other)),
    }
}

async fn copy_all(args: &CopyArgs) -> Result<ExitCode, Failure> {
    let (from, to) = (place(&args.from)?, place(&args.to)?);
    let options = CopyOptions { same_storage: from.shares_bytes_with(&to) };
    let from = AppBuilder::new(from).open_beside().await.map_err(Failure::usage)?;
    let to = AppBuilder::new(to).open_alone().await.map_err(Failure::usage)?;
    let copied = copy(from.stores(), to.stores(), options, &progress::watch()).await;
    let report = copied.map_err(|error| failure(&error))?;
    to.close().await;
    say_copied(&report);
    Ok(if report.damaged + report.late == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say_copied(report: &CopyReport) {
    let CopyReport { moved, kept, damaged, late, sessions } = report;
    print(format_args!("copied {} blobs, {}; {kept} were there already\n", moved.blobs, BinaryBytes(moved.bytes)));
    if *damaged > 0 {
        print(format_args!("{damaged} are damaged at the source; they are marked, and a push of them heals them\n"));
    }
    if *late > 0 {
        print(format_args!("{late} blobs came meanwhile; run this again, at last with the source stopped\n"));
    }
    if *sessions > 0 {
        print(format_args!("{sessions} upload sessions are open at the source and were not copied\n"));
    }
}

/// The configuration that a configuration file or a data folder stands for.
fn place(text: &str) -> Result<Config, Failure> {
    let path = Path::new(text);
    let is_file = path.is_file() || path.extension().is_some_and(|extension| extension == "toml");
    let sources = if is_file {
        Sources { file: Some(path.to_owned()), ..Sources::default() }
    } else {
        Sources { flags: vec![("--from or --to", "data", text.to_owned())], ..Sources::default() }
    };
    Loaded::read(&sources).map(|loaded| loaded.config).map_err(Failure::usage)
}

async fn import_all(args: &ImportArgs) -> Result<ExitCode, Failure> {
    let root = Key::parse(args.root.trim_matches('/'))
        .ok_or_else(|| Failure::usage(format!("`{}` is not a folder of the store", args.root)))?;
    let app = AppBuilder::new(args.data.load()?.config).open_alone().await.map_err(Failure::usage)?;
    let options = ImportOptions { root, read_only: args.read_only, rehash: args.rehash };
    let imported = import::import(app.stores(), app.registry(), options, &progress::watch()).await;
    let report = imported.map_err(|error| failure(&error))?;
    app.close().await;
    say_imported(&report);
    Ok(if report.skipped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say_imported(report: &ImportReport) {
    let ImportReport { repositories, manifests, tags, blobs, skipped, uploads, unnamed } = report;
    print(format_args!(
        "took over {repositories} repositories, {manifests} manifests, {tags} tags, {} blobs, {}\n",
        blobs.blobs,
        BinaryBytes(blobs.bytes)
    ));
    print(format_args!("left out {skipped}, each said above\n"));
    if *uploads > 0 {
        print(format_args!("{uploads} files of unfinished uploads stay where they are\n"));
    }
    if unnamed.blobs > 0 {
        print(format_args!(
            "{} objects, {}, are no blob of any repository (bytes of manifests, and old garbage); they stay where they are\n",
            unnamed.blobs,
            BinaryBytes(unnamed.bytes)
        ));
    }
}
