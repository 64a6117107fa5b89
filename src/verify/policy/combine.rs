//! What several policies say together: the one verdict to answer with.

use super::scope::Mode;
use crate::verify::verdict::{Evidence, Outcome, Verdict};

/// What all policies that apply say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combined {
    /// The verdict to answer with. Its evidence is what counted for any of them, and it holds as long as all of them do.
    pub verdict: Verdict,
    /// Whether a gate stays shut: a policy that enforces is not satisfied.
    pub refuses: bool,
    /// What the policies say that only warn and are not satisfied.
    pub warnings: Vec<Verdict>,
}

/// Combines what policies say, each with its mode and in the order in which they are to be named.
///
/// The first that enforces and is not satisfied is the answer. Else one that passed is, those that enforce before those that
/// warn; else the first that warns. Without any it is [`Outcome::Off`].
pub fn combine(judged: impl IntoIterator<Item = (Mode, Verdict)>) -> Combined {
    let judged: Vec<_> = judged.into_iter().filter(|(mode, _)| *mode != Mode::Off).collect();
    let of = |wanted: Mode, refuses: bool| {
        let fits = move |(mode, verdict): &&(Mode, Verdict)| *mode == wanted && verdict.outcome.refuses() == refuses;
        judged.iter().filter(fits).map(|(_, verdict)| verdict)
    };
    let warnings: Vec<_> = of(Mode::Warn, true).cloned().collect();
    let refusal = of(Mode::Enforce, true).next();
    let pass = of(Mode::Enforce, false).chain(of(Mode::Warn, false)).next();
    let Some(first) = refusal.or(pass).or(warnings.first()) else {
        return Combined { verdict: Verdict::without_policy(Outcome::Off), refuses: false, warnings };
    };
    // That of the answer's own policy first: the header names whoever made it.
    let mut evidence: Vec<Evidence> = Vec::new();
    let all = first.evidence.iter().chain(judged.iter().flat_map(|(_, verdict)| &verdict.evidence));
    for one in all {
        if !evidence.contains(one) {
            evidence.push(one.clone());
        }
    }
    let holds_until = judged.iter().filter_map(|(_, verdict)| verdict.holds_until).min();
    Combined { verdict: Verdict { evidence, holds_until, ..first.clone() }, refuses: refusal.is_some(), warnings }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::oci::digest::{Algorithm, Digest};

    fn verdict(policy: &str, outcome: Outcome, signers: &[&str], until: Option<i64>) -> Verdict {
        let evidence = |signer: &&str| Evidence {
            artifact: Digest::of(Algorithm::Sha256, signer.as_bytes()),
            signer: (*signer).to_owned(),
            authority: "a".to_owned(),
            signed_at: None,
        };
        Verdict {
            policy: policy.to_owned(),
            evidence: signers.iter().map(evidence).collect(),
            holds_until: until.map(Timestamp::from_micros),
            ..Verdict::without_policy(outcome)
        }
    }

    fn signers(combined: &Combined) -> Vec<&str> {
        combined.verdict.evidence.iter().map(|evidence| evidence.signer.as_str()).collect()
    }

    #[test]
    fn without_a_policy_nothing_is_judged() {
        let off = combine([]);
        assert_eq!((off.verdict.outcome, off.refuses, off.warnings.len()), (Outcome::Off, false, 0));
        assert_eq!(combine([(Mode::Off, verdict("off", Outcome::Fail, &[], None))]), off);
    }

    #[test]
    fn the_first_refusal_of_a_policy_that_enforces_is_the_answer() {
        let combined = combine([
            (Mode::Warn, verdict("w", Outcome::Fail, &[], None)),
            (Mode::Enforce, verdict("a", Outcome::Pass, &["x"], Some(9))),
            (Mode::Enforce, verdict("b", Outcome::Unsigned, &[], None)),
            (Mode::Enforce, verdict("c", Outcome::Error, &["y"], Some(5))),
        ]);
        assert_eq!((combined.verdict.policy.as_str(), combined.verdict.outcome), ("b", Outcome::Unsigned));
        assert!(combined.refuses);
        assert_eq!(signers(&combined), ["x", "y"], "what counted is tried first the next time");
        assert_eq!(combined.verdict.holds_until, Some(Timestamp::from_micros(5)));
        assert_eq!(combined.warnings.len(), 1);
    }

    #[test]
    fn a_pass_stands_on_the_evidence_of_all() {
        let combined = combine([
            (Mode::Warn, verdict("w", Outcome::Pass, &["x", "z"], None)),
            (Mode::Enforce, verdict("a", Outcome::Pass, &["x"], Some(9))),
            (Mode::Enforce, verdict("b", Outcome::Pass, &["y"], Some(7))),
        ]);
        assert_eq!((combined.verdict.policy.as_str(), combined.verdict.outcome), ("a", Outcome::Pass));
        assert_eq!((combined.refuses, signers(&combined)), (false, vec!["x", "z", "y"]));
        assert_eq!(combined.verdict.holds_until, Some(Timestamp::from_micros(7)));
    }

    #[test]
    fn a_policy_that_warns_refuses_nothing() {
        let warned = || (Mode::Warn, verdict("w", Outcome::Fail, &["x"], Some(3)));
        let alone = combine([warned()]);
        assert_eq!((alone.verdict.policy.as_str(), alone.verdict.outcome), ("w", Outcome::Fail));
        assert_eq!((alone.refuses, alone.warnings.len()), (false, 1));
        let beside = combine([warned(), (Mode::Enforce, verdict("a", Outcome::Pass, &["y"], None))]);
        assert_eq!((beside.verdict.outcome, beside.refuses), (Outcome::Pass, false));
        assert_eq!(signers(&beside), ["y", "x"], "whoever satisfied the answer's policy comes first");
        assert_eq!(beside.verdict.holds_until, Some(Timestamp::from_micros(3)), "the warning may be gone then");
    }

    proptest! {
        #[test]
        fn another_policy_never_opens_a_gate(
            judged in prop::collection::vec((0_usize..3, 0_usize..4), 0..6), more in (0_usize..3, 0_usize..4),
        ) {
            let modes = [Mode::Off, Mode::Warn, Mode::Enforce];
            let outcomes = [Outcome::Pass, Outcome::Unsigned, Outcome::Fail, Outcome::Error];
            let one = |(mode, outcome): (usize, usize)| (modes[mode], verdict("p", outcomes[outcome], &[], None));
            let few = combine(judged.iter().copied().map(one));
            let all = combine(judged.into_iter().chain([more]).map(one));
            prop_assert!(!few.refuses || all.refuses);
            prop_assert!(!all.refuses || all.verdict.outcome.refuses());
        }
    }
}
