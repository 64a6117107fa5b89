//! Retention: which manifests may go because a rule says so. Pure; the database is asked and told elsewhere. The reasons
//! are in `docs/decisions/0010-what-retention-may-take.md`.
//!
//! - A manifest goes when one rule that covers its repository says so and nothing keeps it. Adding a rule that keeps
//!   can only keep more, and the order of rules does not matter.
//! - Whatever the rules say, these stay: what an index lists, what refers to something that is there, what is younger
//!   than [`AGE_MIN`], and what has an immutable tag.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metadata::model::ManifestFacts;
use crate::oci::glob::{ImmutableTags, RepoGlobs, TagGlobs};
use crate::oci::name::RepoName;

/// Nothing younger than this goes: its index or its tag may be on the way.
pub const AGE_MIN: Duration = Duration::from_hours(24);

/// Pause between two passes over all repositories, when nothing else is configured.
const INTERVAL: Duration = Duration::from_hours(1);

/// One rule. Within it everything that is set must hold for a manifest to go.
#[derive(Clone, Debug, Default)]
pub struct RetentionRule {
    /// Which repositories it covers.
    pub repositories: RepoGlobs,
    /// Keeps this many tagged manifests, those that were tagged last; others may go. What stays anyway does not count.
    pub keep_last: Option<u32>,
    /// Keeps manifests with such a tag, whatever other rules say.
    pub keep_tags: TagGlobs,
    /// Manifests that have been without a tag for this long may go.
    pub untagged_after: Option<Duration>,
    /// Tagged manifests that nobody has pulled or pushed for this long may go; also untagged ones, unless
    /// `untagged_after` speaks for them.
    pub not_pulled_for: Option<Duration>,
}

/// All rules.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The rules in the order in which they were written; people count from one.
    pub rules: Vec<Arc<RetentionRule>>,
    /// `untagged_after` of repositories for which no rule says one. `None`: never.
    pub untagged: Option<Duration>,
    /// Pause between two passes over all repositories.
    pub interval: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { rules: Vec::new(), untagged: None, interval: INTERVAL }
    }
}

impl Retention {
    /// Whether anything can ever go.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.untagged.is_none()
    }

    /// Begins a look at the manifests of a repository. `None`: no rule takes anything there.
    pub fn review(&self, repo: &RepoName, immutable: &ImmutableTags, now: Timestamp) -> Option<Review> {
        let covering = self.rules.iter().enumerate().filter(|(_, rule)| rule.repositories.matches(repo));
        let rules: Vec<_> = covering.map(|(at, rule)| (at + 1, Arc::clone(rule))).collect();
        let spoken_for = rules.iter().any(|(_, rule)| rule.untagged_after.is_some());
        let untagged = self.untagged.filter(|_| !spoken_for);
        let takes = |rule: &RetentionRule| {
            rule.keep_last.is_some() || rule.untagged_after.is_some() || rule.not_pulled_for.is_some()
        };
        if untagged.is_none() && !rules.iter().any(|(_, rule)| takes(rule)) {
            return None;
        }
        let keep_last = rules.iter().filter_map(|(_, rule)| rule.keep_last).max().unwrap_or(0);
        Some(Review {
            repo: repo.clone(),
            immutable: immutable.clone(),
            now,
            rules,
            untagged,
            keep_last: keep_last as usize,
            newest: BTreeMap::new(),
        })
    }
}

/// Why a manifest goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Number of the rule, from one; `None` for the default of untagged manifests.
    pub rule: Option<usize>,
    /// What the rule found.
    pub ground: Ground,
}

impl Reason {
    /// The rule's number, or `default`, for logs and metrics.
    pub fn label(&self) -> String {
        label(self.rule)
    }
}

/// The number of a rule, or `default`.
pub fn label(rule: Option<usize>) -> String {
    rule.map_or_else(|| "default".to_owned(), |number| number.to_string())
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It has had no tag for this long.
    Untagged(Duration),
    /// It is not among the last tagged ones, or was not pulled for long enough, or both.
    Tagged {
        /// The number of tagged manifests that the rule keeps.
        keep_last: Option<u32>,
        /// For how long nobody pulled or pushed it.
        idle: Option<Duration>,
    },
    /// It has no tag, and nobody pulled or pushed it for this long.
    Idle(Duration),
}

/// A manifest that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The facts from which that follows; it does not when they have changed.
    pub facts: ManifestFacts,
    /// Why.
    pub reason: Reason,
}

/// A look at all manifests of one repository, in any order, in bounded memory.
#[derive(Debug)]
pub struct Review {
    repo: RepoName,
    immutable: ImmutableTags,
    now: Timestamp,
    rules: Vec<(usize, Arc<RetentionRule>)>,
    untagged: Option<Duration>,
    keep_last: usize,
    /// The tagged manifests seen so far that were tagged last, `keep_last` at most.
    newest: BTreeMap<(Timestamp, i64), ManifestFacts>,
}

impl Review {
    /// The repository.
    pub fn repo(&self) -> &RepoName {
        &self.repo
    }

    /// Looks at one more manifest. What comes back may go; it may be one that was offered earlier.
    pub fn offer(&mut self, facts: ManifestFacts) -> Option<Victim> {
        if facts.held || self.is_kept(&facts) {
            return None;
        }
        let Some(tagged_at) = facts.tagged_at else { return self.judge_untagged(facts) };
        self.newest.insert((tagged_at, facts.id), facts);
        if self.newest.len() <= self.keep_last {
            return None;
        }
        let (_, oldest) = self.newest.pop_first()?;
        self.judge_tagged(oldest)
    }

    fn is_kept(&self, facts: &ManifestFacts) -> bool {
        facts.tags.iter().any(|tag| {
            self.immutable.covers(&self.repo, tag) || self.rules.iter().any(|(_, rule)| rule.keep_tags.matches(tag))
        })
    }

    fn judge_untagged(&self, facts: ManifestFacts) -> Option<Victim> {
        // Who pushes it again, to put it into an index, begins its time anew.
        let untagged = facts.untagged_since?.max(facts.pushed_at).until(self.now);
        if self.is_young(&facts) {
            return None;
        }
        let by_rule = self.rules.iter().find_map(|(number, rule)| {
            let ground = match (rule.untagged_after, rule.not_pulled_for) {
                (Some(after), _) => (untagged >= after).then_some(Ground::Untagged(untagged)),
                (None, Some(span)) => self.idle(&facts, span).map(Ground::Idle),
                (None, None) => None,
            };
            ground.map(|ground| Reason { rule: Some(*number), ground })
        });
        let by_default = || {
            let over = self.untagged.is_some_and(|after| untagged >= after);
            over.then_some(Reason { rule: None, ground: Ground::Untagged(untagged) })
        };
        by_rule.or_else(by_default).map(|reason| Victim { facts, reason })
    }

    /// Judges a manifest that is not among the last tagged ones.
    fn judge_tagged(&self, facts: ManifestFacts) -> Option<Victim> {
        if self.is_young(&facts) {
            return None;
        }
        let reason = self.rules.iter().find_map(|(number, rule)| {
            let idle = match rule.not_pulled_for {
                Some(span) => Some(self.idle(&facts, span)?),
                None => None,
            };
            let ground = Ground::Tagged { keep_last: rule.keep_last, idle };
            (rule.keep_last.is_some() || idle.is_some()).then_some(Reason { rule: Some(*number), ground })
        });
        reason.map(|reason| Victim { facts, reason })
    }

    fn is_young(&self, facts: &ManifestFacts) -> bool {
        facts.tagged_at.unwrap_or_default().max(facts.pushed_at).until(self.now) < AGE_MIN
    }

    /// For how long nobody pulled or pushed it, when that is at least `span`.
    fn idle(&self, facts: &ManifestFacts, span: Duration) -> Option<Duration> {
        let moments = [Some(facts.pushed_at), facts.pulled_at, facts.tagged_at, facts.untagged_since];
        let idle = moments.into_iter().flatten().max()?.until(self.now);
        (idle >= span).then_some(idle)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::digest::{Algorithm, Digest};

    const DAY: Duration = Duration::from_hours(24);

    fn at(days: u32) -> Timestamp {
        Timestamp::default().after(DAY * (days + 1000))
    }

    fn globs(patterns: &[&str]) -> RepoGlobs {
        RepoGlobs::parse(patterns).expect("globs")
    }

    fn everywhere() -> RetentionRule {
        RetentionRule { repositories: globs(&["**"]), ..RetentionRule::default() }
    }

    fn keep_tags(patterns: &[&str]) -> TagGlobs {
        TagGlobs::parse(patterns).expect("globs")
    }

    fn rules(rules: Vec<RetentionRule>) -> Retention {
        Retention { rules: rules.into_iter().map(Arc::new).collect(), ..Retention::default() }
    }

    /// A manifest pushed and tagged on a day.
    fn tagged(id: i64, day: u32, tags: &[&str]) -> ManifestFacts {
        ManifestFacts {
            id,
            digest: Digest::of(Algorithm::Sha256, &id.to_be_bytes()),
            pushed_at: at(day),
            pulled_at: None,
            untagged_since: None,
            tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
            tagged_at: Some(at(day)),
            held: false,
        }
    }

    /// A manifest pushed without a tag on a day.
    fn untagged(id: i64, day: u32) -> ManifestFacts {
        ManifestFacts { untagged_since: Some(at(day)), tagged_at: None, ..tagged(id, day, &[]) }
    }

    fn victims(retention: &Retention, today: u32, manifests: &[ManifestFacts]) -> Vec<Victim> {
        let repo = "ci/app".parse().expect("a name");
        let immutable = ImmutableTags::parse(&["ci/*:release-*"]).expect("rules");
        let Some(mut review) = retention.review(&repo, &immutable, at(today)) else { return Vec::new() };
        let mut victims: Vec<_> = manifests.iter().filter_map(|facts| review.offer(facts.clone())).collect();
        victims.sort_by_key(|victim| victim.facts.id);
        victims
    }

    fn gone(retention: &Retention, today: u32, manifests: &[ManifestFacts]) -> Vec<i64> {
        victims(retention, today, manifests).iter().map(|victim| victim.facts.id).collect()
    }

    #[test]
    fn without_rules_nothing_goes() {
        assert!(Retention::default().is_idle());
        assert_eq!(gone(&Retention::default(), 900, &[tagged(1, 0, &["a"]), untagged(2, 0)]), [0_i64; 0]);
        let elsewhere = RetentionRule { repositories: globs(&["other/**"]), keep_last: Some(1), ..everywhere() };
        assert_eq!(gone(&rules(vec![elsewhere]), 900, &[tagged(1, 0, &["a"]), tagged(2, 1, &["b"])]), [0_i64; 0]);
    }

    #[test]
    fn the_last_tagged_ones_stay() {
        let retention = rules(vec![RetentionRule { keep_last: Some(2), ..everywhere() }]);
        let manifests = [tagged(1, 3, &["c"]), tagged(2, 1, &["a"]), tagged(3, 4, &["d"]), tagged(4, 2, &["b"])];
        let found = victims(&retention, 100, &manifests);
        assert_eq!(found.iter().map(|victim| victim.facts.id).collect::<Vec<_>>(), [2, 4]);
        let ground = Ground::Tagged { keep_last: Some(2), idle: None };
        assert_eq!(found[0].reason, Reason { rule: Some(1), ground });
        assert_eq!(gone(&retention, 100, &[untagged(1, 0)]), [0_i64; 0], "untagged ones are another matter");
    }

    #[test]
    fn what_stays_anyway_does_not_count_among_the_last() {
        let rule = RetentionRule { keep_last: Some(1), keep_tags: keep_tags(&["v*"]), ..everywhere() };
        let held = ManifestFacts { held: true, ..tagged(4, 8, &["sha256-abc.sig"]) };
        let manifests = [
            tagged(1, 1, &["a"]),
            tagged(2, 9, &["v1", "x"]),
            tagged(3, 9, &["release-1"]),
            held,
            tagged(5, 0, &["b"]),
        ];
        assert_eq!(gone(&rules(vec![rule]), 100, &manifests), [5]);
    }

    #[test]
    fn the_conditions_of_one_rule_must_all_hold() {
        let rule = RetentionRule { keep_last: Some(1), not_pulled_for: Some(DAY * 30), ..everywhere() };
        let pulled = ManifestFacts { pulled_at: Some(at(95)), ..tagged(2, 1, &["b"]) };
        let manifests = [tagged(1, 0, &["a"]), pulled, tagged(3, 2, &["c"]), tagged(4, 80, &["d"])];
        let found = victims(&rules(vec![rule]), 100, &manifests);
        assert_eq!(found.iter().map(|victim| victim.facts.id).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(found[0].reason.ground, Ground::Tagged { keep_last: Some(1), idle: Some(DAY * 100) });
    }

    #[test]
    fn one_rule_suffices_and_the_keeps_of_all_rules_hold() {
        let idle = RetentionRule { not_pulled_for: Some(DAY * 30), ..everywhere() };
        let keeps = RetentionRule { keep_last: Some(2), keep_tags: keep_tags(&["latest"]), ..everywhere() };
        let retention = rules(vec![RetentionRule { keep_last: Some(1), ..everywhere() }, idle, keeps]);
        let manifests = [tagged(1, 0, &["latest"]), tagged(2, 1, &["a"]), tagged(3, 2, &["b"]), tagged(4, 90, &["c"])];
        assert_eq!(gone(&retention, 100, &manifests), [2]);
        let mut reversed = retention.clone();
        reversed.rules.reverse();
        assert_eq!(gone(&reversed, 100, &manifests), [2], "the order of rules does not matter");
    }

    #[test]
    fn untagged_ones_go_after_their_time() {
        let retention = rules(vec![RetentionRule { untagged_after: Some(DAY * 7), ..everywhere() }]);
        let pushed_again = ManifestFacts { pushed_at: at(95), ..untagged(5, 0) };
        let manifests = [untagged(1, 92), untagged(2, 93), untagged(3, 94), tagged(4, 0, &["a"]), pushed_again];
        let found = victims(&retention, 100, &manifests);
        assert_eq!(found.iter().map(|victim| victim.facts.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found[1].reason.ground, Ground::Untagged(DAY * 7));
    }

    #[test]
    fn a_rule_about_untagged_ones_replaces_the_default() {
        let default = Retention { untagged: Some(DAY), ..Retention::default() };
        assert_eq!(victims(&default, 100, &[untagged(1, 98)])[0].reason.rule, None);
        let slower = RetentionRule { untagged_after: Some(DAY * 7), ..everywhere() };
        let retention = Retention { untagged: Some(DAY), ..rules(vec![slower]) };
        assert_eq!(gone(&retention, 100, &[untagged(1, 98), untagged(2, 90)]), [2]);
        let silent = RetentionRule { keep_last: Some(3), ..everywhere() };
        assert_eq!(gone(&Retention { untagged: Some(DAY), ..rules(vec![silent]) }, 100, &[untagged(1, 98)]), [1]);
    }

    #[test]
    fn what_nobody_pulls_goes_tagged_or_not() {
        let retention = rules(vec![RetentionRule { not_pulled_for: Some(DAY * 10), ..everywhere() }]);
        let pulled = ManifestFacts { pulled_at: Some(at(91)), ..tagged(2, 0, &["b"]) };
        let pulled_by_digest = ManifestFacts { pulled_at: Some(at(99)), ..untagged(4, 0) };
        let pushed_again = ManifestFacts { pushed_at: at(95), ..tagged(5, 0, &["e"]) };
        let just_untagged = ManifestFacts { untagged_since: Some(at(95)), ..untagged(6, 0) };
        let manifests = [tagged(1, 0, &["a"]), pulled, untagged(3, 0), pulled_by_digest, pushed_again, just_untagged];
        let found = victims(&retention, 100, &manifests);
        assert_eq!(found.iter().map(|victim| victim.facts.id).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(found[1].reason.ground, Ground::Idle(DAY * 100));
    }

    #[test]
    fn nothing_young_held_or_immutable_goes() {
        let strict = RetentionRule { untagged_after: Some(Duration::ZERO), keep_last: Some(1), ..everywhere() };
        let retention = Retention { untagged: Some(Duration::ZERO), ..rules(vec![strict]) };
        let child = ManifestFacts { held: true, ..untagged(1, 0) };
        let manifests = [child, untagged(2, 100), tagged(3, 0, &["release-1"]), untagged(4, 99)];
        assert_eq!(gone(&retention, 100, &manifests), [4]);
        let busy = [tagged(1, 100, &["a"]), tagged(2, 100, &["b"]), tagged(3, 1, &["c"])];
        assert_eq!(gone(&retention, 100, &busy), [3], "two pushes of today stay, though one is kept");
    }

    proptest! {
        #[test]
        fn as_many_stay_as_the_rule_keeps(days in prop::collection::vec(0_u32..50, 0..40), keep in 1_u32..12) {
            let retention = rules(vec![RetentionRule { keep_last: Some(keep), ..everywhere() }]);
            let manifests: Vec<_> = (0_i64..).zip(&days).map(|(id, day)| tagged(id, *day, &["t"])).collect();
            let gone = gone(&retention, 100, &manifests);
            prop_assert_eq!(gone.len(), days.len().saturating_sub(keep as usize));
            let key = |facts: &ManifestFacts| (facts.tagged_at, facts.id);
            let newest_gone = manifests.iter().filter(|facts| gone.contains(&facts.id)).map(key).max();
            let oldest_kept = manifests.iter().filter(|facts| !gone.contains(&facts.id)).map(key).min();
            prop_assert!(newest_gone.is_none() || newest_gone < oldest_kept);
        }
    }
}
