//! Names of people, machines, teams and namespaces.

use std::fmt;
use std::str::FromStr;

use crate::oci::name::RepoName;

/// Longest name of a user or a team in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Most segments of a namespace.
const NAMESPACE_SEGMENTS_MAX: usize = 3;

/// Longest mail address in bytes (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Of a user or a team.
    #[error("a name has letters and digits, with single . _ - between them, {NAME_BYTES_MAX} at most")]
    User,
    /// Of a namespace.
    #[error(
        "a namespace is one to three components separated by /, each of lower-case letters and digits with . _ - between \
         them"
    )]
    Namespace,
    /// A mail address.
    #[error("this is not a mail address")]
    Email,
}

macro_rules! shown {
    ($($name:ident)+) => {
        $(impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_ref()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        })+
    };
}

/// The name of a person or a machine: lower-case letters and digits with single `.`, `_`, `-` between them.
///
/// Capital letters are read as small ones, so that no two names differ by them alone. A robot's name is that of its
/// namespace, a `+`, and a name of its own (`team/app+ci`), which no person can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// The name of a team, of the same grammar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamName(String);

/// The path of a namespace: the first one to three components of the repositories that it owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacePath(RepoName);

/// A mail address in small letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

shown! { UserName TeamName Email }

impl UserName {
    /// The name of a robot of a namespace.
    ///
    /// # Errors
    /// [`NameError::User`] when its own part is no name.
    pub fn robot(namespace: &NamespacePath, own: &str) -> Result<Self, NameError> {
        Ok(Self(format!("{namespace}+{}", plain(own)?)))
    }

    /// Whether it is that of a robot.
    pub fn is_robot(&self) -> bool {
        self.0.contains('+')
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('+') {
            Some((namespace, own)) => Self::robot(&namespace.parse().map_err(|_| NameError::User)?, own),
            None => plain(text).map(Self),
        }
    }
}

impl FromStr for TeamName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        plain(text).map(Self)
    }
}

/// `[a-z0-9]+([._-][a-z0-9]+)*`, whatever the case of the letters.
pub(super) fn plain(text: &str) -> Result<String, NameError> {
    let name = text.to_ascii_lowercase();
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let good = name.len() <= NAME_BYTES_MAX && name.split(['.', '_', '-']).all(is_word);
    if good { Ok(name) } else { Err(NameError::User) }
}

impl NamespacePath {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The repository whose path is just this one, which belongs to it.
    pub fn as_repository(&self) -> &RepoName {
        &self.0
    }

    /// Every path that may own a repository, the longest first.
    pub fn owners_of(repo: &RepoName) -> impl Iterator<Item = &str> {
        let text = repo.as_str();
        let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]).take(NAMESPACE_SEGMENTS_MAX);
        let ends: Vec<usize> = ends.collect();
        ends.into_iter().rev().map(move |end| &text[..end])
    }
}

impl FromStr for NamespacePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let path: RepoName = text.parse().map_err(|_| NameError::Namespace)?;
        if text.split('/').count() > NAMESPACE_SEGMENTS_MAX {
            return Err(NameError::Namespace);
        }
        Ok(Self(path))
    }
}

impl fmt::Display for NamespacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Email {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let options = email_address::Options::default().without_display_text().without_domain_literal();
        let parsed = email_address::EmailAddress::parse_with_options(text, options.with_minimum_sub_domains(2));
        match parsed {
            Ok(_) if text.len() <= EMAIL_BYTES_MAX => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(NameError::Email),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_and_robots() {
        for (text, name) in [("ann", "ann"), ("Ann.B-c_9", "ann.b-c_9"), ("0", "0"), ("team/app+CI", "team/app+ci")] {
            assert_eq!(text.parse::<UserName>().expect(text).as_str(), name);
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in
            ["", "-a", "a-", "a..b", "a._b", "a b", "a/b", "ä", "a:b", "+a", "a+", "A/b+c", "a/b/c/d+e", "a+b+c", &long]
        {
            assert_eq!(bad.parse::<UserName>(), Err(NameError::User), "{bad}");
        }
        assert!("a+b".parse::<UserName>().expect("a robot").is_robot());
        assert_eq!("a+b".parse::<TeamName>(), Err(NameError::User));
    }

    #[test]
    fn namespaces_have_one_to_three_segments() {
        for good in ["a", "a/b", "a/b/c", "a.b/c--d"] {
            assert_eq!(good.parse::<NamespacePath>().expect(good).as_str(), good);
        }
        for bad in ["", "/", "a/", "a/b/c/d", "A", "a//b"] {
            assert_eq!(bad.parse::<NamespacePath>(), Err(NameError::Namespace), "{bad}");
        }
    }

    #[test]
    fn the_longest_path_comes_first_and_ends_at_a_segment() {
        let owners = |repo: &str| {
            let repo: RepoName = repo.parse().expect("a name");
            NamespacePath::owners_of(&repo).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(owners("a"), ["a"]);
        assert_eq!(owners("a/b"), ["a/b", "a"]);
        assert_eq!(owners("ab/c/d/e/f"), ["ab/c/d", "ab/c", "ab"]);
    }

    #[test]
    fn mail_addresses() {
        assert_eq!("Ann@Example.com".parse::<Email>().expect("an address").as_str(), "ann@example.com");
        for bad in ["", "ann", "@example.com", "ann@", "ann@example", "Ann <ann@example.com>", "a b@example.com"] {
            assert_eq!(bad.parse::<Email>(), Err(NameError::Email), "{bad}");
        }
    }
}
