//! Globs over repository names and tags, as the configuration writes them.
//!
//! `*` stands for (part of) one segment, `**` for any number of segments; a pattern is anchored at both ends.

use globset::{GlobBuilder, GlobMatcher};

use crate::oci::name::{RepoName, Tag};

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a glob: {fault}")]
pub struct GlobError {
    pattern: String,
    fault: String,
}

/// A pattern over repository names, such as `team/*` or `**`.
#[derive(Clone, Debug)]
pub struct RepoGlob(GlobMatcher);

impl RepoGlob {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        matcher(pattern).map(Self)
    }

    /// Whether the whole name matches.
    pub fn matches(&self, repo: &RepoName) -> bool {
        self.0.is_match(repo.as_str())
    }
}

/// The repositories in which a manifest may name blobs that are not there (`sparse`).
#[derive(Clone, Debug, Default)]
pub struct RepoGlobs(Vec<RepoGlob>);

impl RepoGlobs {
    /// Reads all patterns; the first bad one is the error.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, GlobError> {
        patterns.iter().map(|pattern| RepoGlob::parse(pattern.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether any pattern matches.
    pub fn matches(&self, repo: &RepoName) -> bool {
        self.0.iter().any(|glob| glob.matches(repo))
    }
}

/// Tags that cannot move once they are set (`immutable_tags`): `repo-glob[:tag-glob]`, the tag part `*` when absent.
#[derive(Clone, Debug, Default)]
pub struct ImmutableTags(Vec<(RepoGlob, GlobMatcher)>);

impl ImmutableTags {
    /// Reads all rules; the first bad one is the error.
    pub fn parse<S: AsRef<str>>(rules: &[S]) -> Result<Self, GlobError> {
        let parse_rule = |rule: &S| {
            let (repo, tag) = rule.as_ref().split_once(':').unwrap_or((rule.as_ref(), "*"));
            Ok((RepoGlob::parse(repo)?, matcher(tag)?))
        };
        rules.iter().map(parse_rule).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `tag` of `repo` is covered by a rule.
    pub fn covers(&self, repo: &RepoName, tag: &Tag) -> bool {
        self.0.iter().any(|(repos, tags)| repos.matches(repo) && tags.is_match(tag.as_str()))
    }
}

/// Patterns over tags, such as `v*`.
#[derive(Clone, Debug, Default)]
pub struct TagGlobs(Vec<GlobMatcher>);

impl TagGlobs {
    /// Reads all patterns; the first bad one is the error.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, GlobError> {
        patterns.iter().map(|pattern| matcher(pattern.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether any pattern matches.
    pub fn matches(&self, tag: &Tag) -> bool {
        self.0.iter().any(|glob| glob.is_match(tag.as_str()))
    }
}

/// A pattern over any text in segments, such as `refs/heads/*`.
#[derive(Clone, Debug)]
pub struct TextGlob(GlobMatcher);

impl TextGlob {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        matcher(pattern).map(Self)
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, GlobError> {
    let error = |fault: String| GlobError { pattern: pattern.to_owned(), fault };
    if pattern.is_empty() {
        return Err(error("it is empty".to_owned()));
    }
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|e| error(e.kind().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(name: &str) -> RepoName {
        name.parse().expect("a repository name")
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        let cases = [
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b/c", true),
            ("team/*", "team/app", true),
            ("team/*", "team/app/web", false),
            ("team/**", "team/app/web", true),
            ("**/cache", "a/b/cache", true),
            ("**/cache", "cache", true),
            ("team/v*", "team/v1", true),
            ("eam", "team", false),
        ];
        for (glob, name, expected) in cases {
            assert_eq!(RepoGlob::parse(glob).expect(glob).matches(&repo(name)), expected, "{glob} {name}");
        }
    }

    #[test]
    fn immutable_rules_have_an_optional_tag_part() {
        let rules = ImmutableTags::parse(&["prod/**", "team/*:v*"]).expect("rules");
        let tag = |text: &str| text.parse::<Tag>().expect("a tag");
        assert!(rules.covers(&repo("prod/a/b"), &tag("latest")));
        assert!(rules.covers(&repo("team/app"), &tag("v1.0")));
        assert!(!rules.covers(&repo("team/app"), &tag("latest")));
        assert!(!rules.covers(&repo("other"), &tag("v1.0")));
    }

    #[test]
    fn tags_match_as_a_whole() {
        let globs = TagGlobs::parse(&["v*", "latest"]).expect("globs");
        let matches = |text: &str| globs.matches(&text.parse::<Tag>().expect("a tag"));
        assert!(matches("v1.0") && matches("latest"));
        assert!(!matches("latest-2") && !matches("dev"));
        assert!(!TagGlobs::default().matches(&"x".parse().expect("a tag")));
    }

    #[test]
    fn bad_patterns_are_named() {
        for bad in ["", "a[", "a/{b"] {
            assert!(RepoGlobs::parse(&[bad]).is_err(), "{bad}");
        }
        assert!(ImmutableTags::parse(&["a:"]).is_err());
    }
}
