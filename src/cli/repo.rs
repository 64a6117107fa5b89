//! `bonded repo`: whole repositories, listed and removed beside a running server.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::team::done;
use super::{DataArgs, Failure, failed, parsed, print, with_auth, with_registry};
use crate::config::Size;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::downloads::Download;
use crate::oci::name::RepoName;
use crate::registry::{PageRequest, Purge, Registry, RegistryError};

/// What to do with repositories.
#[derive(Debug, Subcommand)]
pub(super) enum RepoVerb {
    /// Lists repositories, one a line.
    Ls {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Shows who downloaded what from a repository by the hour, those counted last first: hour, number, digest, account,
    /// address. `[downloads]` says what is written down.
    Downloads {
        /// The repository, such as `team/app`.
        name: String,
        /// Most lines.
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Removes a repository with everything in it, and gives back the room that nothing else needs.
    Rm {
        /// The repository, such as `team/app`.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lets anybody pull from a repository, whatever its namespace says.
    Publish(RepoArgs),
    /// Lets only members of its namespace pull from a repository, whatever the namespace says.
    Hide(RepoArgs),
    /// Makes a repository public or private as its namespace is.
    Inherit(RepoArgs),
}

/// Which repository.
#[derive(Debug, Args)]
pub(super) struct RepoArgs {
    /// The repository, such as `team/app`.
    name: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &RepoVerb) -> Result<ExitCode, Failure> {
    match verb {
        RepoVerb::Ls { data } => with_registry(data.load()?.config, async |registry| list(registry).await),
        RepoVerb::Publish(args) => set_public(args, Some(true), "is public"),
        RepoVerb::Hide(args) => set_public(args, Some(false), "is private"),
        RepoVerb::Inherit(args) => set_public(args, None, "is public or private as its namespace is"),
        RepoVerb::Downloads { name, limit, data } => {
            let repo: RepoName = parsed("a repository", name)?;
            with_registry(data.load()?.config, async |registry| show_downloads(registry, &repo, *limit).await)
        }
        RepoVerb::Rm { name, data } => {
            let repo: RepoName = parsed("a repository", name)?;
            with_registry(data.load()?.config, async |registry| remove(registry, &repo).await)
        }
    }
}

fn set_public(args: &RepoArgs, public: Option<bool>, what: &str) -> Result<ExitCode, Failure> {
    let repo: RepoName = parsed("a repository", &args.name)?;
    with_auth(args.data.load()?.config, async |auth| {
        let set = auth.accounts().repository_public(&repo, public, auth.now(), &Actor::command_line()).await;
        let known = set.map_err(Failure::failed)?;
        done(known, &format!("{repo} {what}"), format!("there is no repository `{repo}`"))
    })
}

async fn list(registry: &Registry) -> Result<(), Failure> {
    let mut page = PageRequest::default();
    loop {
        let repositories = registry.list_repositories(&page).await.map_err(|error| failed(&error))?;
        for repo in repositories.entries {
            print(format_args!("{repo}\n"));
        }
        match repositories.next {
            Some(last) => page.last = Some(last),
            None => return Ok(()),
        }
    }
}

/// Lines asked of the database at a time.
const PAGE: u32 = 1_000;

async fn show_downloads(registry: &Registry, repo: &RepoName, limit: u32) -> Result<(), Failure> {
    let (mut before, mut left) = (None, limit);
    while left > 0 {
        let wanted = left.min(PAGE);
        let page = registry.downloads(repo, before, wanted).await.map_err(|error| failed(&error))?;
        for record in &page {
            let Download { hour, digest, actor, address, .. } = &record.download;
            let (hour, actor) = (hour.to_rfc3339(), actor.as_deref().unwrap_or("-"));
            let address = address.map_or_else(|| "-".to_owned(), |address| address.to_string());
            print(format_args!("{hour}\t{}\t{digest}\t{actor}\t{address}\n", record.pulls));
        }
        let read = u32::try_from(page.len()).unwrap_or(u32::MAX);
        let Some(last) = page.last().filter(|_| read == wanted) else { break };
        (before, left) = (Some(last.id), left - read);
    }
    Ok(())
}

async fn remove(registry: &Registry, repo: &RepoName) -> Result<(), Failure> {
    match registry.delete_repository(repo, Purge::Wait, &Actor::command_line()).await {
        Err(RegistryError::RepositoryUnknown) => {
            return Err(Failure::failed(format!("there is no repository `{repo}`; `bonded repo ls` lists them")));
        }
        ended => ended.map_err(|error| failed(&error))?,
    }
    while registry.sweep().await.map_err(|error| failed(&error))? {}
    let given_back = registry.collector_stats();
    print(format_args!("removed {repo}: {} blobs, {} given back\n", given_back.blobs, Size(given_back.bytes)));
    Ok(())
}
