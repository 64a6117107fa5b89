//! What the claims of a token must be so that a rule takes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::oci::glob::TextGlob;

/// Most claims that one rule looks at.
const CLAIMS_MAX: usize = 32;

/// Longest name and longest pattern in bytes.
const NAME_BYTES_MAX: usize = 128;
const PATTERN_BYTES_MAX: usize = 512;

/// Claims that are looked at in another way, or are different in every token.
const NOT_HERE: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// The claims of a rule: each has to be there, with a value that matches its pattern as a whole.
///
/// `*` stands for (part of) one segment between slashes, `**` for any number of whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRules(BTreeMap<String, String>);

/// Why claims are none of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRulesError {
    /// Too many.
    #[error("a rule looks at {CLAIMS_MAX} claims at most")]
    TooMany,
    /// A name.
    #[error(
        "`{0}` cannot be a claim of a rule: it needs 1 to {NAME_BYTES_MAX} visible characters, and iss, aud, exp, nbf, iat \
         and jti are looked at in other ways"
    )]
    Name(String),
    /// A pattern.
    #[error("claim `{name}`: {fault}")]
    Pattern {
        /// Of which claim.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Anybody with a token of the issuer would match.
    #[error(
        "a rule must look at a claim that tells its own jobs from those of others, such as `repository`, with more than \
         wildcards in the pattern"
    )]
    Open,
}

impl ClaimRules {
    /// Reads patterns by the names of claims.
    ///
    /// # Errors
    /// The first that is wrong, or that they would match everybody.
    pub fn parse(patterns: BTreeMap<String, String>) -> Result<Self, ClaimRulesError> {
        if patterns.len() > CLAIMS_MAX {
            return Err(ClaimRulesError::TooMany);
        }
        for (name, pattern) in &patterns {
            let visible = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
            if !visible || NOT_HERE.contains(&name.as_str()) {
                return Err(ClaimRulesError::Name(name.chars().take(40).collect()));
            }
            let fault = |fault: String| ClaimRulesError::Pattern { name: name.clone(), fault };
            if pattern.len() > PATTERN_BYTES_MAX || pattern.chars().any(char::is_control) {
                return Err(fault(format!("a pattern has {PATTERN_BYTES_MAX} printable bytes at most")));
            }
            TextGlob::parse(pattern).map_err(|error| fault(error.to_string()))?;
        }
        // `?`, and the classes and choices of globs, may stand for anything too.
        let tells = |pattern: &String| is_plain(pattern) || pattern.chars().any(char::is_alphanumeric);
        if patterns.values().any(tells) { Ok(Self(patterns)) } else { Err(ClaimRulesError::Open) }
    }

    /// The patterns by the names of claims.
    pub fn patterns(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether one of these claims says whose the token has to be: its pattern has no wildcards, or none before the first
    /// slash.
    pub fn tells_owner(&self, names: &[&str]) -> bool {
        let fixed = |pattern: &String| {
            is_plain(pattern)
                || pattern
                    .split('/')
                    .next()
                    .is_some_and(|first| is_plain(first) && first.len() < pattern.len() && !first.is_empty())
        };
        names.iter().filter_map(|name| self.0.get(*name)).any(fixed)
    }

    /// Whether the claims of a token are as they have to be.
    pub fn matches(&self, claims: &Map<String, Value>) -> bool {
        let judge = |plain| {
            let mut patterns = self.0.iter().filter(move |(_, pattern)| is_plain(pattern) == plain);
            patterns.all(|(name, pattern)| shown(claims.get(name)).is_some_and(|value| fits(pattern, &value)))
        };
        // What costs little comes first: of many rules few are left for the patterns.
        judge(true) && judge(false)
    }

    /// The values of the claims that it looks at, for the record.
    pub fn values(&self, claims: &Map<String, Value>) -> BTreeMap<String, String> {
        let value =
            |name: &String| Some((name.clone(), shown(claims.get(name))?.chars().take(VALUE_CHARS_MAX).collect()));
        self.0.keys().filter_map(value).collect()
    }
}

/// Longest value that is written down in characters.
const VALUE_CHARS_MAX: usize = 256;

/// Whether only the text itself matches.
fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

fn fits(pattern: &str, value: &str) -> bool {
    if is_plain(pattern) {
        return pattern == value;
    }
    TextGlob::parse(pattern).is_ok_and(|glob| glob.matches(value))
}

/// A claim as a text; `None` for lists and objects, which no pattern is about.
fn shown(claim: Option<&Value>) -> Option<String> {
    match claim? {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rules(patterns: &[(&str, &str)]) -> Result<ClaimRules, ClaimRulesError> {
        let owned = |(name, pattern): &(&str, &str)| ((*name).to_owned(), (*pattern).to_owned());
        ClaimRules::parse(patterns.iter().map(owned).collect())
    }

    fn matches(patterns: &[(&str, &str)], claims: &Value) -> bool {
        rules(patterns).expect("rules").matches(claims.as_object().expect("claims"))
    }

    #[test]
    fn every_claim_has_to_be_there_and_to_match_as_a_whole() {
        let claims = json!({
            "repository": "acme/app", "ref": "refs/heads/main", "run": 7, "protected": true, "list": ["acme/app"],
            "nested": {"a": "acme"}, "nothing": null, "half": 1.5,
        });
        for (patterns, expected) in [
            (&[("repository", "acme/app")][..], true),
            (&[("repository", "acme/app"), ("ref", "refs/heads/*")], true),
            (&[("repository", "acme/*"), ("run", "7"), ("protected", "true")], true),
            (&[("repository", "acme/app"), ("ref", "refs/tags/*")], false),
            (&[("repository", "acme/app"), ("environment", "**")], false),
            (&[("repository", "acme")], false),
            (&[("repository", "app")], false),
            (&[("repository", "acme/app/")], false),
            (&[("repository", "Acme/app")], false),
            (&[("ref", "refs/*"), ("repository", "acme/app")], false),
            (&[("ref", "refs/**"), ("repository", "acme/app")], true),
            (&[("list", "acme/app")], false),
            (&[("nested", "acme")], false),
            (&[("nothing", "null")], false),
            (&[("half", "1.5")], false),
        ] {
            assert_eq!(matches(patterns, &claims), expected, "{patterns:?}");
        }
    }

    #[test]
    fn an_owner_is_told_by_what_stands_before_the_first_slash() {
        let tells = |name: &str, pattern: &str| {
            rules(&[(name, pattern), ("own", "x")]).expect("rules").tells_owner(&["sub", "repository"])
        };
        for good in ["acme/app", "acme/*", "acme/**", "repo:acme/app:ref:*", "acme"] {
            assert!(tells("repository", good) && tells("sub", good), "{good}");
            assert!(!tells("ref", good), "{good}");
        }
        for bad in ["*/app", "**", "a*/app", "acm?/app", "{acme,evil}/app", "[ab]cme/app", "acme*", "/*", "**/app"] {
            assert!(!tells("repository", bad), "{bad}");
        }
    }

    #[test]
    fn rules_that_nobody_can_mean_are_refused() {
        for open in [&[][..], &[("ref", "**")], &[("a", "*"), ("b", "*/*")], &[("a", "?*")]] {
            assert_eq!(rules(open), Err(ClaimRulesError::Open), "{open:?}");
        }
        for name in ["", "iss", "aud", "jti", "exp", "a b", "ä"] {
            assert_eq!(rules(&[(name, "x")]), Err(ClaimRulesError::Name(name.to_owned())));
        }
        for pattern in ["", "[", "a\nb", &"a".repeat(600)] {
            assert!(matches!(rules(&[("a", pattern)]), Err(ClaimRulesError::Pattern { .. })), "{pattern:?}");
        }
        let many = (0..40).map(|n| (n.to_string(), "x".to_owned())).collect();
        assert_eq!(ClaimRules::parse(many), Err(ClaimRulesError::TooMany));
    }

    /// A pattern and a value, segment by segment: `None` is `**`.
    fn model(pattern: &[Option<String>], value: &[String]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            // At the end it stands for one segment or more: `a/**` is what is in `a`.
            Some((None, [])) => !value.is_empty(),
            Some((None, rest)) => (0..=value.len()).any(|skipped| model(rest, &value[skipped..])),
            Some((Some(segment), rest)) => value
                .split_first()
                .is_some_and(|(first, others)| star(segment.as_bytes(), first.as_bytes()) && model(rest, others)),
        }
    }

    /// `*` within a segment.
    fn star(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| star(rest, &text[skipped..])),
            Some((byte, rest)) => text.split_first().is_some_and(|(first, others)| first == byte && star(rest, others)),
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_model_says(
            pattern in prop::collection::vec(prop::option::weighted(0.8, "[ab]?[ab*]?[ab]"), 1..5),
            value in prop::collection::vec("[ab]{1,3}", 1..6),
        ) {
            let doubled = pattern.windows(2).any(|pair| pair[0].is_none() && pair[1].is_none());
            prop_assume!(!doubled);
            let text: Vec<&str> = pattern.iter().map(|segment| segment.as_deref().unwrap_or("**")).collect();
            let (text, shown) = (text.join("/"), value.join("/"));
            // The other claim keeps a rule of wildcards alone from being refused.
            let patterns = [("c", text.as_str()), ("own", "x")];
            prop_assert_eq!(matches(&patterns, &json!({"c": &shown, "own": "x"})), model(&pattern, &value), "{} {}", text, shown);
            for other in [json!({"c": &shown, "own": "y"}), json!({"own": "x"}), json!({"c": [&shown], "own": "x"})] {
                prop_assert!(!matches(&patterns, &other), "{}", other);
            }
        }

        #[test]
        fn a_rule_with_more_claims_never_takes_more(
            few in prop::collection::btree_map("[abc]", "[ab]?[ab*?]{0,2}|[*]{2}", 0..3),
            more in prop::collection::btree_map("[abcd]", "[ab]?[ab*?]{0,2}|[*]{2}", 0..3),
            claims in prop::collection::btree_map("[abcd]", "[ab/]{0,3}", 0..5),
        ) {
            let mut both = more;
            both.extend(few.clone());
            let claims = json!(claims);
            let taken = |patterns| ClaimRules::parse(patterns).ok().map(|rules| rules.matches(claims.as_object().expect("claims")));
            if let (Some(by_few), Some(by_both)) = (taken(few), taken(both)) {
                prop_assert!(by_few || !by_both, "{}", claims);
            }
        }
    }
}
