//! What an API token is limited to: actions by patterns of repositories.

use std::fmt;
use std::str::FromStr;

use crate::access::Actions;
use crate::oci::glob::RepoGlob;
use crate::oci::name::RepoName;

/// Most patterns of one token.
const SCOPES_MAX: usize = 100;

/// Longest text of one pattern with its actions in bytes.
const SCOPE_BYTES_MAX: usize = 512;

/// Why a text is no scope of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{scope}` is not a scope such as `team/**:pull,push`: {fault}")]
pub struct TokenScopeError {
    scope: String,
    fault: String,
}

/// The scopes of a token; a token without any may do what its owner may.
#[derive(Clone, Debug, Default)]
pub struct TokenScopes(Vec<TokenScope>);

#[derive(Clone, Debug)]
struct TokenScope {
    text: String,
    repos: RepoGlob,
    actions: Actions,
}

impl TokenScopes {
    /// Reads scopes of the form `GLOB:ACTION[,ACTION]`; `*` is every action.
    ///
    /// # Errors
    /// The first bad one, or that there are more than a hundred.
    pub fn parse<S: AsRef<str>>(scopes: &[S]) -> Result<Self, TokenScopeError> {
        if let Some(scope) = scopes.get(SCOPES_MAX) {
            return Err(error(scope.as_ref(), format!("a token has {SCOPES_MAX} scopes at most")));
        }
        scopes.iter().map(|scope| scope.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        self.0.is_empty()
    }

    /// What it leaves of all actions in a repository.
    pub fn actions(&self, repo: &RepoName) -> Actions {
        if self.is_unlimited() {
            return Actions::ALL;
        }
        let matching = self.0.iter().filter(|scope| scope.repos.matches(repo));
        matching.fold(Actions::NONE, |actions, scope| actions.union(scope.actions))
    }

    /// The scopes as texts.
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().map(|scope| scope.text.clone()).collect()
    }
}

impl FromStr for TokenScope {
    type Err = TokenScopeError;

    fn from_str(text: &str) -> Result<Self, TokenScopeError> {
        if text.len() > SCOPE_BYTES_MAX {
            return Err(error(&text.chars().take(40).collect::<String>(), "it is too long"));
        }
        let (glob, actions) = text.rsplit_once(':').ok_or_else(|| error(text, "the actions are missing"))?;
        Ok(Self {
            text: text.to_owned(),
            repos: RepoGlob::parse(glob).map_err(|fault| error(text, fault))?,
            actions: Actions::parse(actions).map_err(|fault| error(text, fault))?,
        })
    }
}

fn error(scope: &str, fault: impl fmt::Display) -> TokenScopeError {
    TokenScopeError { scope: scope.to_owned(), fault: fault.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Action;

    fn actions(scopes: &[&str], repo: &str) -> Actions {
        TokenScopes::parse(scopes).expect("scopes").actions(&repo.parse().expect("a name"))
    }

    #[test]
    fn what_several_scopes_allow_is_added_up() {
        let scopes = ["team/**:pull", "team/app:push", "*/tools:*"];
        assert_eq!(actions(&scopes, "team/app"), Actions::of([Action::Pull, Action::Push]));
        assert_eq!(actions(&scopes, "team/other/deep"), Actions::of([Action::Pull]));
        assert_eq!(actions(&scopes, "any/tools"), Actions::ALL);
        assert_eq!(actions(&scopes, "any/app"), Actions::NONE);
        assert_eq!(actions(&[], "any/app"), Actions::ALL);
    }

    #[test]
    fn bad_scopes_are_named() {
        for (bad, fault) in [
            ("team/**", "the actions are missing"),
            ("team:admin", "`admin` is not an action; there are pull, push, delete and * for all of them"),
            ("te[am:pull", "`te[am` is not a glob: "),
        ] {
            let error = TokenScopes::parse(&[bad]).expect_err(bad).to_string();
            assert!(error.starts_with(&format!("`{bad}` is not a scope")) && error.contains(fault), "{error}");
        }
        assert!(TokenScopes::parse(&vec!["a:pull"; 101]).is_err());
        assert!(TokenScopes::parse(&[format!("{}:pull", "a".repeat(600))]).is_err());
    }
}
