//! `bonded config`: what is configured, whether it can be used, and what could be.

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigArgs, DataArgs, Failure, print};
use crate::config::schema;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Reads file and environment and says whether a server can use them.
    Check(ConfigArgs),
    /// Prints the effective configuration as TOML, with the place each value comes from.
    Show(DataArgs),
    /// Prints the JSON Schema of the configuration file.
    Schema,
}

/// Does it.
pub(super) fn run(verb: &ConfigVerb) -> Result<ExitCode, Failure> {
    match verb {
        ConfigVerb::Check(args) => {
            args.load()?;
            print("ok\n");
        }
        ConfigVerb::Show(args) => print(args.load()?.to_toml()),
        ConfigVerb::Schema => print(format_args!("{:#}\n", schema())),
    }
    Ok(ExitCode::SUCCESS)
}
