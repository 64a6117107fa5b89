//! `bonded repo`: whole repositories, listed and removed beside a running server.

use std::process::ExitCode;

use clap::Subcommand;

use super::{DataArgs, Failure, failed, print, with_registry};
use crate::config::Size;
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
    /// Removes a repository with everything in it, and gives back the room that nothing else needs.
    Rm {
        /// The repository, such as `team/app`.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Does it.
pub(super) fn run(verb: &RepoVerb) -> Result<ExitCode, Failure> {
    match verb {
        RepoVerb::Ls { data } => with_registry(data.load()?.config, async |registry| list(registry).await),
        RepoVerb::Rm { name, data } => {
            let repo: RepoName =
                name.parse().map_err(|error| Failure::usage(format!("`{name}` is not a repository: {error}")))?;
            with_registry(data.load()?.config, async |registry| remove(registry, &repo).await)
        }
    }
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

async fn remove(registry: &Registry, repo: &RepoName) -> Result<(), Failure> {
    match registry.delete_repository(repo, Purge::Wait).await {
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
