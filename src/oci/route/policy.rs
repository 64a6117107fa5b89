//! Routes below `/v2/_trust/policy`: the document, those before it, and what another one would change.

use http::Method;

use super::{Query, Route, RouteError};
use crate::oci::digest::Digest;
use crate::oci::glob::RepoGlob;
use crate::oci::name::{REPO_NAME_BYTES_MAX, RepoName};
use crate::oci::page::PageRequest;

/// What to do with the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// GET: the document that holds, or the one with a number.
    Get {
        /// `number`.
        number: Option<i64>,
    },
    /// PUT: another one takes its place.
    Put,
    /// `GET .../revisions`: the documents that there were.
    Revisions {
        /// Which part of the list.
        page: PageRequest,
    },
    /// `POST .../dryrun`: what another document would change.
    DryRun(DryRun),
}

/// Of what to find out what another document would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Only repositories whose names match this pattern.
    pub repositories: Option<String>,
    /// Tells also of manifests for which nothing changes.
    pub all: bool,
    /// Most manifests to look at; `None`: as many as is usual.
    pub n: Option<u32>,
    /// Where to go on.
    pub after: Option<DryRunPlace>,
}

/// How far a dry run got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRunPlace {
    /// The repository.
    pub repo: RepoName,
    /// The last manifest in it; `None`: all of it.
    pub digest: Option<Digest>,
}

impl PolicyAction {
    /// A short name for metrics labels and logs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } | Self::Put => "policy",
            Self::Revisions { .. } => "policy_revisions",
            Self::DryRun(_) => "policy_dryrun",
        }
    }

    /// Reads what follows `/v2/_trust/policy/`.
    pub(super) fn parse(method: &Method, what: &str, query: &Query<'_>) -> Result<Route, RouteError> {
        let action = match what {
            "document" => match *method {
                Method::GET | Method::HEAD => Self::Get { number: number(query)? },
                Method::PUT => Self::Put,
                _ => return Err(RouteError::MethodNotAllowed { allow: "GET, HEAD, PUT" }),
            },
            "revisions" => match *method {
                Method::GET | Method::HEAD => Self::Revisions { page: query.page()? },
                _ => return Err(RouteError::MethodNotAllowed { allow: "GET, HEAD" }),
            },
            "dryrun" if *method == Method::POST => Self::DryRun(DryRun::parse(query)?),
            "dryrun" => return Err(RouteError::MethodNotAllowed { allow: "POST" }),
            _ => return Err(RouteError::NotFound),
        };
        Ok(Route::Policy(action))
    }
}

fn number(query: &Query<'_>) -> Result<Option<i64>, RouteError> {
    let Some(text) = query.first("number") else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or(RouteError::Query("number must be that of a policy document, 1 or more"))
}

impl DryRun {
    fn parse(query: &Query<'_>) -> Result<Self, RouteError> {
        let PageRequest { n, last } = query.page()?;
        let repositories = query.first("repository").filter(|text| !text.is_empty()).map(str::to_owned);
        let is_pattern = |text: &String| text.len() <= REPO_NAME_BYTES_MAX && RepoGlob::parse(text).is_ok();
        if repositories.as_ref().is_some_and(|text| !is_pattern(text)) {
            return Err(RouteError::Query("repository must be a name, or a pattern such as team/*"));
        }
        let all = match query.first("all") {
            None | Some("" | "false") => false,
            Some("true") => true,
            Some(_) => return Err(RouteError::Query("all must be true or false")),
        };
        let after = last.map(|last| DryRunPlace::parse(&last)).transpose()?;
        Ok(Self { repositories, all, n, after })
    }

    /// Path and query.
    pub fn target(&self) -> String {
        let all = self.all.then_some(("all", "true"));
        let filter: Vec<(&str, &str)> =
            self.repositories.as_deref().map(|text| ("repository", text)).into_iter().chain(all).collect();
        let page = PageRequest { n: self.n, last: self.after.as_ref().map(DryRunPlace::to_string) };
        page.render("/v2/_trust/policy/dryrun", &filter)
    }
}

impl DryRunPlace {
    /// Reads `repository` or `repository@digest`.
    fn parse(text: &str) -> Result<Self, RouteError> {
        let (repo, digest) = text.split_once('@').map_or((text, None), |(repo, digest)| (repo, Some(digest)));
        let repo = repo.parse().map_err(|_| RouteError::Query("last must be as an answer told it"))?;
        Ok(Self { repo, digest: digest.map(str::parse).transpose()? })
    }
}

impl std::fmt::Display for DryRunPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.repo),
            None => write!(f, "{}", self.repo),
        }
    }
}

/// Path and query of a page of policy documents.
pub fn target_revisions(page: &PageRequest) -> String {
    page.render("/v2/_trust/policy/revisions", &[])
}
