//! The route as a value: method, path and query of a request under `/v2`, parsed once.
//!
//! The path is split at its slashes first and each segment is decoded once, so an encoded slash can never become a
//! separator. It is read from the right, because a component of a repository name may itself be called `manifests`,
//! `blobs`, `tags`, `uploads` or `referrers`. Handler, authorization and metrics label come from this one enum.

mod policy;

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::oci::digest::{Algorithm, Digest, DigestError};
use crate::oci::error::Condition;
use crate::oci::name::{NameError, PolicyName, RepoName, Tag};
use crate::oci::page::{PageError, PageRequest};
use crate::oci::reference::{Reference, ReferenceError};

pub use policy::{DryRun, DryRunPlace, PolicyAction, target_revisions};

/// Most `tag` parameters of one manifest PUT (the specification asks for 10).
pub const TAG_PARAMS_MAX: usize = 100;

/// Longest upload identifier in bytes that is looked at.
const UPLOAD_ID_BYTES_MAX: usize = 128;

/// What a request asks for (distribution-spec, "Endpoints").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /v2/`: is this a registry?
    Base,
    /// `GET /v2/_catalog`.
    Catalog {
        /// Which part of the list.
        page: PageRequest,
    },
    /// `/v2/N/blobs/D`.
    Blob {
        /// Where.
        repo: RepoName,
        /// Which.
        digest: Digest,
        /// What to do with it.
        action: BlobAction,
    },
    /// `POST /v2/N/blobs/uploads/`.
    UploadStart {
        /// Where.
        repo: RepoName,
        /// The body is the whole blob and has this digest.
        digest: Option<Digest>,
        /// What to hash with (`digest-algorithm`).
        algorithm: Option<Algorithm>,
        /// The blob may already be in another repository.
        mount: Option<Mount>,
    },
    /// `/v2/N/blobs/uploads/I`.
    Upload {
        /// Where.
        repo: RepoName,
        /// The session, as the path says it.
        id: String,
        /// What to do with it.
        action: UploadAction,
    },
    /// `/v2/N/manifests/R`.
    Manifest {
        /// Where.
        repo: RepoName,
        /// Which.
        reference: Reference,
        /// What to do with it.
        action: ManifestAction,
    },
    /// `GET /v2/N/tags/list`.
    Tags {
        /// Where.
        repo: RepoName,
        /// Which part of the list.
        page: PageRequest,
    },
    /// `GET /v2/N/_trust/verify/verdict?ref=R`: whether it satisfies the signature policies (distribution-spec,
    /// "Extensions").
    Verdict {
        /// Where.
        repo: RepoName,
        /// Of what.
        reference: Reference,
        /// The one policy to judge by; `None`: all that are asked when something is pulled.
        policy: Option<PolicyName>,
    },
    /// `/v2/_trust/policy/...`: the signature policies of the registry.
    Policy(PolicyAction),
    /// `GET /v2/N/referrers/D`.
    Referrers {
        /// Where.
        repo: RepoName,
        /// The subject.
        digest: Digest,
        /// Only those of this type.
        artifact_type: Option<String>,
        /// Which part of the list.
        page: PageRequest,
    },
}

/// A blob that may be taken over from another repository instead of being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Which.
    pub digest: Digest,
    /// From where; `None`: from wherever the caller may read it.
    pub from: Option<RepoName>,
}

/// What to do with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobAction {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// DELETE.
    Delete {
        /// `?purge=wait`: answer when the bytes are gone.
        purge_wait: bool,
    },
}

/// What to do with an upload session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadAction {
    /// GET or HEAD: how far is it?
    Status,
    /// PATCH: more bytes.
    Append,
    /// PUT: the last bytes, and the digest of all of them.
    Finish {
        /// What the client says the bytes are.
        digest: Digest,
    },
    /// DELETE.
    Cancel,
}

/// What to do with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestAction {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// PUT.
    Put {
        /// `tag` parameters, each once, in the order they came; only with a digest in the path.
        tags: Vec<Tag>,
    },
    /// DELETE.
    Delete {
        /// `?purge=wait`: answer when the bytes are gone.
        purge_wait: bool,
    },
}

/// Why a request is not a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing is served under this path.
    #[error("there is nothing under this path")]
    NotFound,
    /// The path is served, the method is not.
    #[error("the path allows only {allow}")]
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: &'static str,
    },
    /// The repository name is malformed.
    #[error(transparent)]
    Name(NameError),
    /// The tag to be set is malformed.
    #[error(transparent)]
    Tag(NameError),
    /// The name of a policy is malformed.
    #[error(transparent)]
    Policy(NameError),
    /// The tag to be read or deleted is malformed, so there cannot be one.
    #[error("there is no such tag: {0}")]
    TagUnknown(NameError),
    /// A digest, or the name of an algorithm, is malformed or unknown.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// An upload is to be closed, and nothing says what it should be.
    #[error("the digest parameter is missing")]
    DigestMissing,
    /// The identifier cannot be one of a session.
    #[error("upload session unknown")]
    UploadUnknown,
    /// There are too many `tag` parameters.
    #[error("there are more than {max} tag parameters")]
    TooManyTags {
        /// The limit.
        max: usize,
    },
    /// `n` is malformed.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Another parameter is malformed.
    #[error("{0}")]
    Query(&'static str),
}

impl RouteError {
    /// The row of the error table.
    pub fn condition(&self) -> Condition {
        match self {
            Self::NotFound => Condition::RouteUnknown,
            Self::MethodNotAllowed { .. } => Condition::MethodNotAllowed,
            Self::Name(_) => Condition::NameInvalid,
            Self::Tag(_) => Condition::TagInvalid,
            Self::TagUnknown(_) => Condition::ManifestUnknown,
            Self::Digest(_) | Self::DigestMissing => Condition::DigestInvalid,
            Self::UploadUnknown => Condition::UploadUnknown,
            Self::TooManyTags { .. } => Condition::TooManyTags,
            Self::Policy(_) | Self::Page(_) | Self::Query(_) => Condition::QueryInvalid,
        }
    }
}

impl Route {
    /// Reads a request line. `raw_path` and `query` are as they came, still encoded.
    pub fn parse(method: &Method, raw_path: &str, query: Option<&str>) -> Result<Self, RouteError> {
        let rest = raw_path.strip_prefix("/v2").ok_or(RouteError::NotFound)?;
        if matches!(rest, "" | "/") {
            return read_only(method).map(|()| Self::Base);
        }
        let rest = rest.strip_prefix('/').ok_or(RouteError::NotFound)?;
        let segments: Vec<Cow<'_, str>> = rest.split('/').map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let query = Query::parse(query.unwrap_or_default());
        match segments.as_slice() {
            ["_catalog"] => read_only(method).and_then(|()| Ok(Self::Catalog { page: query.page()? })),
            [repo @ .., "blobs", "uploads"] | [repo @ .., "blobs", "uploads", ""] => upload_start(method, repo, &query),
            [repo @ .., "blobs", "uploads", id] => upload(method, repo, id, &query),
            [repo @ .., "blobs", digest] => blob(method, repo, digest, &query),
            [repo @ .., "manifests", reference] => manifest(method, repo, reference, &query),
            [repo @ .., "tags", "list"] => {
                read_only(method)?;
                Ok(Self::Tags { repo: repo_name(repo)?, page: query.page()? })
            }
            ["_trust", "policy", what] => PolicyAction::parse(method, what, &query),
            [repo @ .., "_trust", "verify", "verdict"] if !repo.is_empty() => {
                read_only(method)?;
                let reference = query.first("ref").filter(|text| !text.is_empty());
                let reference =
                    reference.ok_or(RouteError::Query("the ref parameter is missing: a tag or a digest"))?;
                let reference = reference.parse::<Reference>().map_err(|error| match error {
                    ReferenceError::Digest(error) => RouteError::Digest(error),
                    ReferenceError::Tag(error) => RouteError::TagUnknown(error),
                })?;
                let policy = query.first("policy").map(str::parse).transpose().map_err(RouteError::Policy)?;
                Ok(Self::Verdict { repo: repo_name(repo)?, reference, policy })
            }
            [repo @ .., "referrers", digest] => {
                read_only(method)?;
                let artifact_type = query.first("artifactType").filter(|text| !text.is_empty()).map(str::to_owned);
                Ok(Self::Referrers {
                    repo: repo_name(repo)?,
                    digest: digest.parse()?,
                    artifact_type,
                    page: query.page()?,
                })
            }
            _ => Err(RouteError::NotFound),
        }
    }

    /// A short name for metrics labels and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog { .. } => "catalog",
            Self::Blob { action, .. } => match action {
                BlobAction::Get => "blob_get",
                BlobAction::Head => "blob_head",
                BlobAction::Delete { .. } => "blob_delete",
            },
            Self::UploadStart { .. } => "upload_start",
            Self::Upload { action, .. } => match action {
                UploadAction::Status => "upload_status",
                UploadAction::Append => "upload_append",
                UploadAction::Finish { .. } => "upload_finish",
                UploadAction::Cancel => "upload_cancel",
            },
            Self::Manifest { action, .. } => match action {
                ManifestAction::Get => "manifest_get",
                ManifestAction::Head => "manifest_head",
                ManifestAction::Put { .. } => "manifest_put",
                ManifestAction::Delete { .. } => "manifest_delete",
            },
            Self::Tags { .. } => "tags",
            Self::Verdict { .. } => "verdict",
            Self::Policy(action) => action.name(),
            Self::Referrers { .. } => "referrers",
        }
    }

    /// The same question about a repository that cannot be there.
    #[must_use]
    pub fn leading_nowhere(mut self) -> Self {
        match &mut self {
            Self::Base | Self::Catalog { .. } | Self::Policy(_) => {}
            Self::Blob { repo, .. }
            | Self::UploadStart { repo, .. }
            | Self::Upload { repo, .. }
            | Self::Manifest { repo, .. }
            | Self::Tags { repo, .. }
            | Self::Verdict { repo, .. }
            | Self::Referrers { repo, .. } => *repo = RepoName::nowhere(),
        }
        self
    }

    /// The repository it is about.
    pub fn repo(&self) -> Option<&RepoName> {
        match self {
            Self::Base | Self::Catalog { .. } | Self::Policy(_) => None,
            Self::Blob { repo, .. }
            | Self::UploadStart { repo, .. }
            | Self::Upload { repo, .. }
            | Self::Manifest { repo, .. }
            | Self::Tags { repo, .. }
            | Self::Verdict { repo, .. }
            | Self::Referrers { repo, .. } => Some(repo),
        }
    }
}

/// `Location` of a blob. Names, digests and tags hold nothing that a path would have to encode.
pub fn location_blob(repo: &RepoName, digest: &Digest) -> String {
    format!("/v2/{repo}/blobs/{digest}")
}

/// `Location` of an upload session.
pub fn location_upload(repo: &RepoName, id: &str) -> String {
    format!("/v2/{repo}/blobs/uploads/{id}")
}

/// `Location` of a manifest.
pub fn location_manifest(repo: &RepoName, reference: &Reference) -> String {
    format!("/v2/{repo}/manifests/{reference}")
}

/// Path and query of a page of repositories.
pub fn target_catalog(page: &PageRequest) -> String {
    page.render("/v2/_catalog", &[])
}

/// Path and query of a page of tags.
pub fn target_tags(repo: &RepoName, page: &PageRequest) -> String {
    page.render(&format!("/v2/{repo}/tags/list"), &[])
}

/// Path and query of a page of referrers.
pub fn target_referrers(repo: &RepoName, digest: &Digest, artifact_type: Option<&str>, page: &PageRequest) -> String {
    let filter: Vec<(&str, &str)> = artifact_type.map(|text| ("artifactType", text)).into_iter().collect();
    page.render(&format!("/v2/{repo}/referrers/{digest}"), &filter)
}

fn upload_start(method: &Method, repo: &[&str], query: &Query<'_>) -> Result<Route, RouteError> {
    if method != Method::POST {
        return Err(RouteError::MethodNotAllowed { allow: "POST" });
    }
    Ok(Route::UploadStart {
        repo: repo_name(repo)?,
        digest: query.first("digest").map(str::parse).transpose()?,
        algorithm: query.first("digest-algorithm").map(str::parse).transpose()?,
        mount: mount(query),
    })
}

/// A mount that cannot be understood is one that cannot be done: the client then gets a session, never an error, because
/// clients give up on a 400 and go on after a 202.
fn mount(query: &Query<'_>) -> Option<Mount> {
    let digest = query.first("mount")?.parse().ok()?;
    let from = match query.first("from") {
        None | Some("") => None,
        Some(from) => Some(from.parse().ok()?),
    };
    Some(Mount { digest, from })
}

fn upload(method: &Method, repo: &[&str], id: &str, query: &Query<'_>) -> Result<Route, RouteError> {
    // Only PUT looks at `digest`: clients ask for the status at the URL of a failed PUT, parameters included.
    let action = match *method {
        Method::GET | Method::HEAD => UploadAction::Status,
        Method::PATCH => UploadAction::Append,
        Method::PUT => {
            UploadAction::Finish { digest: query.first("digest").ok_or(RouteError::DigestMissing)?.parse()? }
        }
        Method::DELETE => UploadAction::Cancel,
        _ => return Err(RouteError::MethodNotAllowed { allow: "GET, HEAD, PATCH, PUT, DELETE" }),
    };
    let repo = repo_name(repo)?;
    let is_id = id.len() <= UPLOAD_ID_BYTES_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if is_id { Ok(Route::Upload { repo, id: id.to_owned(), action }) } else { Err(RouteError::UploadUnknown) }
}

fn blob(method: &Method, repo: &[&str], digest: &str, query: &Query<'_>) -> Result<Route, RouteError> {
    let action = match *method {
        Method::GET => BlobAction::Get,
        Method::HEAD => BlobAction::Head,
        Method::DELETE => BlobAction::Delete { purge_wait: query.purge_wait()? },
        _ => return Err(RouteError::MethodNotAllowed { allow: "GET, HEAD, DELETE" }),
    };
    Ok(Route::Blob { repo: repo_name(repo)?, digest: digest.parse()?, action })
}

fn manifest(method: &Method, repo: &[&str], reference: &str, query: &Query<'_>) -> Result<Route, RouteError> {
    if !matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE) {
        return Err(RouteError::MethodNotAllowed { allow: "GET, HEAD, PUT, DELETE" });
    }
    let repo = repo_name(repo)?;
    let reference = reference.parse::<Reference>().map_err(|error| match error {
        ReferenceError::Digest(error) => RouteError::Digest(error),
        ReferenceError::Tag(error) if *method == Method::PUT => RouteError::Tag(error),
        ReferenceError::Tag(error) => RouteError::TagUnknown(error),
    })?;
    let action = match *method {
        Method::GET => ManifestAction::Get,
        Method::HEAD => ManifestAction::Head,
        Method::PUT => ManifestAction::Put { tags: tag_params(&reference, query)? },
        _ => ManifestAction::Delete { purge_wait: query.purge_wait()? },
    };
    Ok(Route::Manifest { repo, reference, action })
}

fn tag_params(reference: &Reference, query: &Query<'_>) -> Result<Vec<Tag>, RouteError> {
    let mut tags = Vec::new();
    for (at, text) in query.all("tag").enumerate() {
        if matches!(reference, Reference::Tag(_)) {
            return Err(RouteError::Query("tag parameters need a digest in the path"));
        }
        if at == TAG_PARAMS_MAX {
            return Err(RouteError::TooManyTags { max: TAG_PARAMS_MAX });
        }
        let tag = text.parse().map_err(RouteError::Tag)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn read_only(method: &Method) -> Result<(), RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(RouteError::MethodNotAllowed { allow: "GET, HEAD" }),
    }
}

fn repo_name(segments: &[&str]) -> Result<RepoName, RouteError> {
    if segments.iter().any(|segment| segment.contains('/')) {
        return Err(RouteError::Name(NameError::Repository));
    }
    segments.join("/").parse().map_err(RouteError::Name)
}

/// Parameters of a query, decoded once. A `+` stays a `+`: it stands in media types, and no value here has a space.
struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn page(&self) -> Result<PageRequest, PageError> {
        PageRequest::parse(self.first("n"), self.first("last"))
    }

    fn purge_wait(&self) -> Result<bool, RouteError> {
        match self.first("purge") {
            None => Ok(false),
            Some("wait") => Ok(true),
            Some(_) => Err(RouteError::Query("purge must be wait")),
        }
    }
}

/// Bytes that are not UTF-8 become U+FFFD, which no name, tag or digest can hold.
fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests;
