//! What a policy is about, when it is asked, and how strictly it is meant.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::reading::Reading;
use super::shape::Node;
use crate::access::Role;
use crate::oci::glob::{RepoGlobs, TagGlobs};
use crate::oci::json::excerpt;
use crate::oci::name::{RepoName, Tag};

/// Where a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// Signatures are judged as they come.
    Push,
    /// Manifests and blobs are read.
    Pull,
    /// A tag is made or moved.
    Tag,
}

impl Gate {
    /// Every gate.
    pub const ALL: [Self; 3] = [Self::Push, Self::Pull, Self::Tag];

    /// Its name in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Tag => "tag",
        }
    }
}

/// How strictly a policy is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Not at all.
    Off,
    /// What does not satisfy it is given, with a warning.
    Warn,
    /// What does not satisfy it is refused.
    Enforce,
}

impl Mode {
    /// Its name in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

/// How the manifests of a passing index are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Children {
    /// They pass with it.
    Inherit,
    /// Each needs its own signature.
    Each,
}

/// Whether blobs are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blobs {
    /// They are read through a manifest that passes.
    Gate,
    /// They are not.
    Open,
}

/// Who may read what does not pass yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody.
    Nobody,
    /// Whoever may push to the repository.
    Pushers,
    /// Members with one of these roles, and whoever comes from one of these networks.
    Listed {
        /// The roles.
        roles: BTreeSet<Role>,
        /// The networks.
        networks: Vec<IpNet>,
    },
}

/// What a policy is about.
#[derive(Clone, Debug)]
pub struct Scope {
    repositories: RepoGlobs,
    exclude: RepoGlobs,
    tags: TagGlobs,
    artifact_types: BTreeSet<String>,
    /// The globs as they were written, for whoever reads them.
    pub(super) written: Written,
}

/// Globs as they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) repositories: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) tags: Vec<String>,
}

impl Scope {
    pub(super) fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let repositories = globs(node, "repositories", is_repository_glob, cx);
        let exclude = globs(node, "exclude", is_repository_glob, cx);
        let tags = if node.field("tags").is_some() {
            globs(node, "tags", is_tag_glob, cx)
        } else {
            Some(vec!["*".to_owned()])
        };
        let types = node.items_of("excludeArtifactTypes");
        let written = Written { repositories: repositories?, exclude: exclude?, tags: tags? };
        Some(Self {
            repositories: cx.findings.take(&node.place, RepoGlobs::parse(&written.repositories))?,
            exclude: cx.findings.take(&node.place, RepoGlobs::parse(&written.exclude))?,
            tags: cx.findings.take(&node.place, TagGlobs::parse(&written.tags))?,
            artifact_types: types.iter().filter_map(|kind| kind.text().map(str::to_owned)).collect(),
            written,
        })
    }

    /// Whether it is about a repository.
    pub fn covers(&self, repository: &RepoName) -> bool {
        self.repositories.matches(repository) && !self.exclude.matches(repository)
    }

    /// Whether a repository is among those that it is expressly not about.
    pub(super) fn excludes(&self, repository: &RepoName) -> bool {
        self.exclude.matches(repository)
    }

    /// Whether it guards what a tag points at.
    pub fn covers_tag(&self, tag: &Tag) -> bool {
        self.tags.matches(tag)
    }

    /// Whether there is any type of referrers that may be read without a signature of its own.
    pub fn excludes_artifact_types(&self) -> bool {
        !self.artifact_types.is_empty()
    }

    /// Whether referrers of this type may be read without a signature of their own.
    ///
    /// Whoever pushes says which type a manifest is of. So this may be asked only for manifests with a subject whose
    /// configuration is not that of an image.
    pub fn excludes_artifact_type(&self, kind: &str) -> bool {
        self.artifact_types.contains(kind)
    }
}

impl Readers {
    pub(super) fn read(node: Option<&Node<'_>>, cx: &mut Reading<'_>) -> Self {
        let Some(node) = node else { return Self::Pushers };
        match node.text() {
            Some("nobody") => return Self::Nobody,
            Some(_) => return Self::Pushers,
            None => {}
        }
        let (mut roles, mut networks) = (BTreeSet::new(), Vec::new());
        for item in node.items() {
            let Some(text) = item.text() else { continue };
            let role = text.parse::<Role>().ok().filter(|role| *role != Role::Read);
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse().ok().map(std::net::IpAddr::into));
            match (role, network) {
                (Some(role), _) => drop(roles.insert(role)),
                (None, Some(network)) => networks.push(network),
                (None, None) => {
                    let message = format!(
                        "`{}` is neither one of the roles `write`, `admin` and `owner` nor a network such as `10.0.0.0/8`",
                        excerpt(text)
                    );
                    cx.findings.error(&item.place, message);
                }
            }
        }
        Self::Listed { roles, networks }
    }
}

/// The globs of a member, if all of them can match something.
fn globs(node: &Node<'_>, name: &str, fits: fn(char) -> bool, cx: &mut Reading<'_>) -> Option<Vec<String>> {
    let items = node.items_of(name);
    let mut texts = Vec::new();
    for item in &items {
        let text = item.text().unwrap_or_default();
        if let Some(message) = fault(text, fits) {
            cx.findings.error(&item.place, message);
        } else if !text.is_empty() {
            texts.push(text.to_owned());
        }
    }
    (texts.len() == items.len()).then_some(texts)
}

fn fault(text: &str, fits: fn(char) -> bool) -> Option<String> {
    let shown = excerpt(text);
    if let Some(c) = text.chars().find(|c| !fits(*c) && *c != '*') {
        return Some(format!(
            "`{shown}` matches nothing: no name has a `{}`; there are `*` and `**`",
            c.escape_debug()
        ));
    }
    let segments = || text.split('/');
    if segments().any(|segment| segment.contains("**") && segment != "**") {
        return Some(format!("`{shown}`: `**` stands alone between slashes; inside a segment write `*`"));
    }
    if !text.is_empty() && segments().any(str::is_empty) {
        return Some(format!(
            "`{shown}` matches nothing: a name neither begins nor ends with a slash, nor has two together"
        ));
    }
    None
}

fn is_repository_glob(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '/')
}

fn is_tag_glob(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}
