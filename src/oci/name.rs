//! Repository names and tags (distribution-spec, "Pulling manifests"), and names of signature policies.

use std::fmt;
use std::str::FromStr;

/// Longest repository name in bytes: host, slash and name stay within 255 for common hosts.
pub const REPO_NAME_BYTES_MAX: usize = 255;

/// Longest tag in bytes.
pub const TAG_BYTES_MAX: usize = 128;

/// Longest name of a signature policy in bytes.
pub const POLICY_NAME_BYTES_MAX: usize = 63;

/// Why a text is not a repository name, a tag or the name of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The repository name breaks the grammar or is too long.
    #[error(
        "a repository name is made of lower-case letters and digits, joined by one of . _ __ or dashes, in components separated by /, 255 bytes at most"
    )]
    Repository,
    /// The tag breaks the grammar or is too long.
    #[error("a tag is 1 to 128 of A-Z a-z 0-9 . _ - and does not start with . or -")]
    Tag,
    /// The name of a policy breaks the grammar or is too long.
    #[error("the name of a policy is 1 to 63 of a-z 0-9 . _ - and starts with a letter or a digit")]
    Policy,
}

/// A repository name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` components joined by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(String);

impl RepoName {
    /// The name as it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RepoName {
    /// A name that breaks the grammar, so that nothing can ever be under it: where somebody looks who may not look.
    pub(crate) fn nowhere() -> Self {
        Self("-".to_owned())
    }
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = !text.is_empty() && text.len() <= REPO_NAME_BYTES_MAX;
        if fits && text.split('/').all(|component| is_component(component.as_bytes())) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Repository)
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One path component: runs of letters and digits, with a single `.`, one or two `_`, or any number of `-` between them.
fn is_component(text: &[u8]) -> bool {
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return false };
    is_word(first)
        && is_word(last)
        && text
            .split(is_word)
            .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag as it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let goes_on_well = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if starts_well && goes_on_well && text.len() <= TAG_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Tag)
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a signature policy, or of an authority in one: `[a-z0-9][a-z0-9._-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyName(String);

impl PolicyName {
    /// The name as it stands in a document.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PolicyName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let goes_on_well = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if starts_well && goes_on_well && text.len() <= POLICY_NAME_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Policy)
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "library/ubuntu", "a.b", "a_b", "a__b", "a---b", "manifests/blobs/tags/uploads", "0/1"] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        for bad in
            ["", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", "a.", "_a", "a b", "ä", "a-_b"]
        {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
        assert!("a".repeat(255).parse::<RepoName>().is_ok());
        assert!("a".repeat(256).parse::<RepoName>().is_err());
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "_x", "1.0", "A-b_c.d", &"a".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a+b", "a/b", "a:b", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_policies_follow_the_grammar() {
        for good in ["prod", "0", "a.b_c-d", &"a".repeat(63)] {
            assert!(good.parse::<PolicyName>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "_a", "A", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<PolicyName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn generated_names_parse(name in "[a-z0-9]{1,5}((\\.|_|__|-{1,4})[a-z0-9]{1,5}){0,3}(/[a-z0-9]{1,5}((\\.|_|__|-{1,4})[a-z0-9]{1,5}){0,2}){0,3}") {
            prop_assert_eq!(name.parse::<RepoName>().map(|n| n.to_string()), Ok(name));
        }

        #[test]
        fn generated_tags_parse(tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}") {
            prop_assert_eq!(tag.parse::<Tag>().map(|t| t.to_string()), Ok(tag));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<RepoName>();
            let _ = text.parse::<Tag>();
        }
    }
}
