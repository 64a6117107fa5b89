//! `[retention]`: what goes by rule.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Span, SpanOrNever};
use super::{Fault, positive_span};
use crate::oci::glob::{RepoGlobs, TagGlobs};
use crate::registry::retention::{AGE_MIN, Retention, RetentionRule};

/// Most rules: each manifest is held against all of them.
const RULES_MAX: usize = 100;

/// Largest `keep_last`: so many manifests are kept in mind while a repository is looked through.
const KEEP_LAST_MAX: u32 = 10_000;

/// `[retention]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// How long a manifest without a tag is kept in a repository for which no rule says `untagged_after`; `never` keeps
    /// it for good.
    pub untagged: SpanOrNever,
    /// Pause between two passes over all repositories.
    pub interval: Span,
    /// Rules, each a `[[retention.rules]]` with `repositories` (globs) and any of `keep_last`, `keep_tags`,
    /// `untagged_after` and `not_pulled_for`. A manifest goes when a rule says so and no rule keeps it.
    pub rules: Vec<RuleSettings>,
}

/// `[[retention.rules]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// Repositories it covers (globs; `*` is one segment, `**` any number).
    pub repositories: Vec<String>,
    /// Keep this many tagged manifests, those tagged last; the others may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// Keep manifests with such a tag (globs), whatever other rules say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_tags: Vec<String>,
    /// Manifests without a tag for this long may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged_after: Option<Span>,
    /// Manifests that nobody pulled or pushed for this long may go; at least 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_pulled_for: Option<Span>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        let retention = Retention::default();
        Self { untagged: SpanOrNever(retention.untagged), interval: Span(retention.interval), rules: Vec::new() }
    }
}

impl RetentionSettings {
    /// Gives every rule its types.
    pub(super) fn validate(&self) -> Result<Retention, Fault> {
        if self.rules.len() > RULES_MAX {
            return Err(Fault::new("retention.rules", format!("there are more than {RULES_MAX}")));
        }
        let rule = |(at, rule): (usize, &RuleSettings)| {
            let fault = |what: String| Fault::new("retention.rules", format!("rule {}{what}", at + 1));
            rule.validate().map(Arc::new).map_err(fault)
        };
        Ok(Retention {
            rules: self.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?,
            untagged: self.untagged.0,
            interval: positive_span("retention.interval", self.interval)?,
        })
    }
}

impl RuleSettings {
    fn validate(&self) -> Result<RetentionRule, String> {
        let decides = self.keep_last.is_some() || self.untagged_after.is_some() || self.not_pulled_for.is_some();
        if !decides && self.keep_tags.is_empty() {
            let keys = "`keep_last`, `keep_tags`, `untagged_after` and `not_pulled_for`";
            return Err(format!(" says nothing; set one of {keys}"));
        }
        if self.repositories.is_empty() {
            return Err(" covers nothing; name `repositories`, such as [\"**\"]".to_owned());
        }
        if self.keep_last.is_some_and(|keep| !(1..=KEEP_LAST_MAX).contains(&keep)) {
            return Err(format!(": `keep_last` must be from 1 to {KEEP_LAST_MAX}"));
        }
        if self.not_pulled_for.is_some_and(|span| span.0 < AGE_MIN) {
            return Err(format!(": `not_pulled_for` must be at least {}", Span(AGE_MIN)));
        }
        Ok(RetentionRule {
            repositories: RepoGlobs::parse(&self.repositories).map_err(|error| format!(": {error}"))?,
            keep_last: self.keep_last,
            keep_tags: TagGlobs::parse(&self.keep_tags).map_err(|error| format!(": {error}"))?,
            untagged_after: self.untagged_after.map(|span| span.0),
            not_pulled_for: self.not_pulled_for.map(|span| span.0),
        })
    }
}
