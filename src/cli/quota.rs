//! `bonded ns quota`: what a namespace may hold.

use std::process::ExitCode;

use clap::Args;

use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::NamespacePath;
use crate::auth::Auth;
use crate::config::Size;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::limits::Quota;

/// How no bound is written.
const NONE: &str = "none";

/// Which namespace, and what it shall hold.
#[derive(Debug, Args)]
pub(super) struct QuotaArgs {
    /// Its path.
    path: String,
    /// Most bytes, such as `10GiB`, or `none`.
    #[arg(long)]
    bytes: Option<String>,
    /// Most repositories with content, or `none`.
    #[arg(long)]
    repositories: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// What becomes of a bound.
#[derive(Clone, Copy)]
enum Change {
    /// It stays.
    Kept,
    /// It is another one; `None`: there is none.
    To(Option<u64>),
}

/// Sets what is named, and shows what then holds.
pub(super) fn run(args: &QuotaArgs) -> Result<ExitCode, Failure> {
    let path: NamespacePath = parsed("a namespace", &args.path)?;
    let bytes = Change::read(args.bytes.as_deref(), |text| parsed::<Size>("a size", text).map(|size| size.0))?;
    let repositories = Change::read(args.repositories.as_deref(), |text| parsed("a number of repositories", text))?;
    with_auth(args.data.load()?.config, async |auth| {
        if !matches!((bytes, repositories), (Change::Kept, Change::Kept)) {
            set(auth, &path, bytes, repositories).await?;
        }
        show(auth, &path).await
    })
}

impl Change {
    fn read(text: Option<&str>, number: impl Fn(&str) -> Result<u64, Failure>) -> Result<Self, Failure> {
        match text {
            None => Ok(Self::Kept),
            Some(NONE) => Ok(Self::To(None)),
            Some(text) => number(text).map(|number| Self::To(Some(number.min(i64::MAX as u64)))),
        }
    }

    fn of(self, held: Option<u64>) -> Option<u64> {
        match self {
            Self::Kept => held,
            Self::To(bound) => bound,
        }
    }
}

async fn set(auth: &Auth, path: &NamespacePath, bytes: Change, repositories: Change) -> Result<(), Failure> {
    let held = auth.accounts().quota_find(path).await.map_err(Failure::failed)?.ok_or_else(|| unknown(path))?;
    let quota = Quota { bytes: bytes.of(held.bytes), repositories: repositories.of(held.repositories) };
    let (now, by) = (auth.now(), Actor::command_line());
    let found = auth.accounts().quota_set(path, quota, now, &by).await.map_err(Failure::failed)?;
    if found { Ok(()) } else { Err(unknown(path)) }
}

async fn show(auth: &Auth, path: &NamespacePath) -> Result<(), Failure> {
    let found = auth.quota_and_usage(path).await.map_err(Failure::failed)?;
    let (quota, usage) = found.ok_or_else(|| unknown(path))?;
    let limit = |limit: Option<u64>| limit.map_or_else(|| NONE.to_owned(), |limit| limit.to_string());
    print(format_args!("bytes\t{} of {}\n", usage.bytes, limit(quota.bytes)));
    print(format_args!("repositories\t{} of {}\n", usage.repositories, limit(quota.repositories)));
    Ok(())
}

fn unknown(path: &NamespacePath) -> Failure {
    Failure::failed(format!("there is no namespace `{path}`; `bonded ns ls` lists them"))
}
