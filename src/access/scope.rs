//! What a client asks the token service for, and what a token grants (distribution, "Token Scope Documentation").
//!
//! ```text
//! scope        = type [ "(" class ")" ] ":" name ":" action *( "," action )
//! ```
//!
//! A name may have a port (`host:5000/app`), so a scope is split at its first and its last colon. Scopes that nobody knows
//! are left out and are no error: clients ask for `*` and for types of their own (go-gitea/gitea#31861).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::access::{Action, Actions};
use crate::oci::name::RepoName;

/// Most repositories of one request and of one token. A push of an image that mounts from many repositories names each.
pub const REPOSITORIES_MAX: usize = 100;

/// Actions by repository, and whether the catalog may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    repositories: BTreeMap<RepoName, Actions>,
    catalog: bool,
}

/// One entry of `access` in a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The repository, or `catalog`.
    pub name: String,
    /// What may be done with it.
    pub actions: Vec<String>,
}

impl Scopes {
    /// The union of `scope` parameters, each of which may hold several with spaces between them.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scopes = Self::default();
        for scope in parameters.into_iter().flat_map(|parameter| parameter.split(' ')) {
            scopes.add(scope);
        }
        scopes
    }

    fn add(&mut self, scope: &str) {
        let Some((kind, rest)) = scope.split_once(':') else { return };
        let Some((name, actions)) = rest.rsplit_once(':') else { return };
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        match kind {
            "repository" => self.add_repository(name, actions.split(',')),
            "registry" if name == "catalog" => self.catalog = true,
            _ => {}
        }
    }

    fn add_repository<'a>(&mut self, name: &str, words: impl Iterator<Item = &'a str>) {
        let Ok(repo) = name.parse() else { return };
        let known = words.filter_map(|word| match word {
            "*" => Some(Actions::ALL),
            _ => word.parse::<Action>().ok().map(|action| Actions::of([action])),
        });
        self.allow(repo, known.fold(Actions::NONE, Actions::union));
    }

    /// Adds actions in a repository, as long as there is room for it.
    pub fn allow(&mut self, repo: RepoName, actions: Actions) {
        if let Some(known) = self.repositories.get_mut(&repo) {
            *known = known.union(actions);
        } else if self.repositories.len() < REPOSITORIES_MAX {
            self.repositories.insert(repo, actions);
        }
    }

    /// Adds the catalog.
    pub fn allow_catalog(&mut self) {
        self.catalog = true;
    }

    /// The actions in a repository.
    pub fn actions(&self, repo: &RepoName) -> Actions {
        self.repositories.get(repo).copied().unwrap_or_default()
    }

    /// Whether the catalog may be read.
    pub fn has_catalog(&self) -> bool {
        self.catalog
    }

    /// Each repository with its actions, in byte order.
    pub fn repositories(&self) -> impl Iterator<Item = (&RepoName, Actions)> {
        self.repositories.iter().map(|(repo, actions)| (repo, *actions))
    }

    /// As `access` of a token has it; repositories without an action are left out.
    pub fn to_access(&self) -> Vec<AccessEntry> {
        let entry = |kind: &str, name: &str, actions: Vec<String>| AccessEntry {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions,
        };
        let granted = self.repositories.iter().filter(|(_, actions)| !actions.is_empty());
        let mut access: Vec<AccessEntry> = granted
            .map(|(repo, actions)| {
                entry("repository", repo.as_str(), actions.iter().map(|action| action.to_string()).collect())
            })
            .collect();
        if self.catalog {
            access.push(entry("registry", "catalog", vec!["*".to_owned()]));
        }
        access
    }

    /// From `access` of a token; entries that nobody knows are left out.
    pub fn of_access(access: &[AccessEntry]) -> Self {
        let mut scopes = Self::default();
        for AccessEntry { kind, name, actions } in access {
            match kind.as_str() {
                "repository" => scopes.add_repository(name, actions.iter().map(String::as_str)),
                "registry" if name == "catalog" => scopes.catalog = true,
                _ => {}
            }
        }
        scopes
    }
}

/// As clients ask for it: scopes with spaces between them; repositories without an action are left out.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, AccessEntry { kind, name, actions }) in self.to_access().iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{kind}:{name}:{}", actions.join(","))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repo(name: &str) -> RepoName {
        name.parse().expect("a name")
    }

    fn shown(scopes: &Scopes) -> Vec<String> {
        scopes.repositories().map(|(repo, actions)| format!("{repo}:{actions}")).collect()
    }

    #[test]
    fn parameters_and_words_are_united() {
        let scopes = Scopes::parse([
            "repository:a/b:pull repository:c:push,pull",
            "repository:a/b:push",
            "repository(plugin):d:*",
            "registry:catalog:*",
        ]);
        assert_eq!(shown(&scopes), ["a/b:pull,push", "c:pull,push", "d:pull,push,delete"]);
        assert!(scopes.has_catalog());
    }

    #[test]
    fn what_nobody_knows_is_left_out() {
        let scopes = Scopes::parse([
            "*",
            "",
            "  ",
            "repository",
            "repository:a",
            "repository:A:pull",
            "repository:host:5000/a:pull",
            "artifact:a:pull",
            "registry:other:*",
        ]);
        assert_eq!(scopes, Scopes::default());
        assert_eq!(shown(&Scopes::parse(["repository:a:pull,metadata_read"])), ["a:pull"]);
    }

    #[test]
    fn a_repository_without_an_action_is_remembered_but_not_granted() {
        let scopes = Scopes::parse(["repository:a:admin"]);
        assert_eq!(shown(&scopes), ["a:"]);
        assert_eq!(scopes.to_access(), []);
    }

    #[test]
    fn their_number_is_bounded() {
        let many = (0..1000).map(|n| format!("repository:r{n}:pull")).collect::<Vec<_>>().join(" ");
        assert_eq!(Scopes::parse([many.as_str()]).repositories().count(), REPOSITORIES_MAX);
    }

    proptest! {
        #[test]
        fn no_text_is_an_error_and_access_leads_back(text in "[ -~]{0,60}", repos in prop::collection::vec("[a-z]{1,3}(/[a-z]{1,3})?", 0..5), bits in prop::collection::vec(0..8_u8, 5)) {
            Scopes::parse([text.as_str()]);
            let mut scopes = Scopes::default();
            for (name, bits) in repos.iter().zip(&bits) {
                for action in Action::ALL.into_iter().filter(|action| bits & (1 << *action as u8) != 0) {
                    scopes.allow(repo(name), Actions::of([action]));
                }
            }
            prop_assert_eq!(Scopes::of_access(&scopes.to_access()), scopes.clone());
            let asked: Vec<String> = scopes.repositories().map(|(repo, actions)| format!("repository:{repo}:{actions}")).collect();
            prop_assert_eq!(Scopes::parse(asked.iter().map(String::as_str)), scopes);
        }
    }
}
