//! What holds for all documents and all signatures.

use proptest::prelude::*;

use super::*;

/// One of a few ways to sign, by number.
fn some_signature(number: usize) -> Signed {
    let old = NOW.before(std::time::Duration::from_hours(24 * 100));
    match number % 10 {
        0..=2 => by_key(number),
        3 => by_identity(ISSUER, "x"),
        4 => by_identity(ISSUER, "y"),
        5 => by_key(0).attesting(SLSA, json!({"a": 1})),
        6 => by_identity(ISSUER, "x").attesting(SLSA, json!({"a": 2})),
        7 => Signed { subject: digest("other"), ..by_key(1) },
        8 => Signed { format: Format::Legacy, kind: None, reference: Some("host/prod/app"), ..by_key(1) },
        _ => Signed { at: Some(old), ..by_identity(ISSUER, "y") },
    }
}

fn candidates(numbers: &[usize]) -> Vec<Candidate> {
    let candidate = |(at, number): (usize, &usize)| {
        // Numbers past the ways to sign are junk.
        if *number >= 10 {
            junk(*number)
        } else {
            Signed { artifact: at.to_string(), ..some_signature(*number) }.candidate()
        }
    };
    numbers.iter().enumerate().map(candidate).collect()
}

prop_compose! {
    /// A policy over some authorities.
    fn some_policy()(
        mask in 1_usize..32, threshold in 1_usize..3, attested in prop::option::of(0_usize..3), legacy in any::<bool>(),
        revoked in prop::option::weighted(0.2, 0_usize..3), signs in prop::bool::weighted(0.9),
    ) -> Value {
        let all = [key("a", 0), key("b", 1), key("c", 2), keyless("x", ISSUER, "x"), keyless("y", ISSUER, "y")];
        let authorities: Vec<_> =
            all.into_iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, value)| value).collect();
        let threshold = threshold.min(authorities.len());
        let mut policy = policy("p", &authorities);
        policy["signature"] = json!({ "threshold": threshold });
        if !legacy {
            policy["signature"]["formats"] = json!(["bundle"]);
        }
        if let Some(wanted) = attested {
            let condition = json!({"pointer": "/a", "equals": wanted});
            policy["attestations"] = json!([{"predicateType": SLSA, "conditions": [condition]}]);
            if !signs {
                policy["signature"] = Value::Null;
            }
        }
        if let Some(revoked) = revoked {
            policy["revoke"] = json!({"keys": [fingerprint(revoked)]});
        }
        policy
    }
}

fn numbers() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..13, 0..8)
}

fn outcomes(values: &[Value], numbers: &[usize]) -> Vec<Outcome> {
    let named = values.iter().enumerate().map(|(at, value)| with(value.clone(), "/name", json!(format!("p{at}"))));
    let policies = policies(&named.collect::<Vec<_>>());
    let verdicts = judge_in_order(&policies, &candidates(numbers), Budget::default());
    verdicts.iter().map(|verdict| verdict.outcome).collect()
}

/// Whether all policies pass.
fn passes(values: &[Value], numbers: &[usize]) -> bool {
    outcomes(values, numbers).iter().all(|outcome| *outcome == Outcome::Pass)
}

/// The same document written in another order, with members that are null.
fn shuffled(value: &Value, seed: u64) -> String {
    match value {
        Value::Object(members) => {
            let mut texts: Vec<_> =
                members.iter().map(|(name, value)| format!("{} : {}", json!(name), shuffled(value, seed))).collect();
            let turn = usize::try_from(seed).unwrap_or(0) % texts.len().max(1);
            texts.rotate_left(turn);
            if seed.is_multiple_of(2) {
                texts.reverse();
            }
            format!("{{{}}}", texts.join(" ,\n "))
        }
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(|item| shuffled(item, seed)).collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Whether a glob matches, segment by segment: `**` is any number of segments, at the end one at least.
fn naive(pattern: &[&str], name: &[&str]) -> bool {
    fn star(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| star(rest, &text[skipped..])),
            Some((byte, rest)) => text.split_first().is_some_and(|(first, others)| first == byte && star(rest, others)),
        }
    }
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"**", [])) => !name.is_empty(),
        Some((&"**", rest)) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
        Some((segment, rest)) => name
            .split_first()
            .is_some_and(|(first, others)| star(segment.as_bytes(), first.as_bytes()) && naive(rest, others)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_revision_does_not_depend_on_how_it_is_written(policy in some_policy(), other in some_policy(), seed: u64) {
        let revision = |text: &str| load(text).expect("sound").policies.revision().to_owned();
        let first = document(std::slice::from_ref(&policy));
        prop_assert_eq!(revision(&first.to_string()), revision(&shuffled(&first, seed)));
        prop_assert_eq!(revision(&first.to_string()), revision(&format!("---\n{}", shuffled(&first, seed))), "as YAML");
        let second = document(std::slice::from_ref(&other));
        prop_assert_eq!(policy == other, revision(&first.to_string()) == revision(&second.to_string()));
    }

    #[test]
    fn another_policy_only_tightens(few in prop::collection::vec(some_policy(), 0..3), more in some_policy(), numbers in numbers()) {
        let mut all = few.clone();
        all.push(more);
        prop_assert!(!passes(&all, &numbers) || passes(&few, &numbers));
        prop_assert_eq!(&outcomes(&all, &numbers)[..few.len()], &outcomes(&few, &numbers)[..], "each is judged by itself");
    }

    #[test]
    fn the_order_of_candidates_does_not_matter(policy in some_policy(), (numbers, other) in numbers().prop_flat_map(|numbers| {
        (Just(numbers.clone()), Just(numbers).prop_shuffle())
    })) {
        let policies = policies(std::slice::from_ref(&policy));
        let verdict = |numbers: &[usize]| judge_in_order(&policies, &candidates(numbers), Budget::default()).remove(0);
        let (first, second) = (verdict(&numbers), verdict(&other));
        prop_assert_eq!(first.outcome, second.outcome);
        prop_assert_eq!(first.why(), second.why());
    }

    #[test]
    fn more_signatures_never_harm(policy in some_policy(), numbers in numbers(), more in numbers()) {
        let all: Vec<_> = numbers.iter().chain(&more).copied().collect();
        prop_assert!(!passes(std::slice::from_ref(&policy), &numbers) || passes(std::slice::from_ref(&policy), &all));
    }

    #[test]
    fn junk_never_turns_known_evidence_over(policy in some_policy(), numbers in numbers(), amount in 0_usize..300) {
        let policies = policies(std::slice::from_ref(&policy));
        let verdict = judge_in_order(&policies, &candidates(&numbers), Budget::default()).remove(0);
        if verdict.outcome == Outcome::Pass {
            let known: Vec<_> = verdict.evidence.iter().map(|evidence| evidence.artifact.clone()).collect();
            let all = (0..amount).map(junk).chain(candidates(&numbers));
            let (first, rest): (Vec<_>, Vec<_>) = all.partition(|candidate| known.contains(&candidate.artifact));
            let again: Vec<_> = first.into_iter().chain(rest).collect();
            prop_assert_eq!(judge_in_order(&policies, &again, Budget::default()).remove(0).outcome, Outcome::Pass);
        }
    }

    #[test]
    fn globs_match_as_the_naive_matcher_says(
        pattern in prop::collection::vec("[ab]{0,2}[*]?[ab]{1,2}|[*]|[*]{2}", 1..5), name in prop::collection::vec("[ab]{1,3}", 1..5),
    ) {
        // Two of them together say no more than one, but the end of a pattern needs a segment.
        prop_assume!(!pattern.windows(2).any(|pair| pair[0] == "**" && pair[1] == "**"));
        let text = pattern.join("/");
        let value = with(policy("p", &[key("a", 0)]), "/match/repositories", json!([text]));
        let covers = policies(&[value]).get("p").expect("a policy").scope.covers(&name.join("/").parse().expect("a name"));
        let segments: Vec<_> = pattern.iter().map(String::as_str).collect();
        prop_assert_eq!(covers, naive(&segments, &name.iter().map(String::as_str).collect::<Vec<_>>()), "{} {}", text, name.join("/"));
    }

    #[test]
    fn reading_a_document_never_panics(text in "[a-z:{}\\[\\]\" \n,*&|-]{0,300}", cut in 0_usize..4000, junk: u8) {
        let _ = load(&text);
        let mut whole = document(&[policy("p", &[key("a", 0), keyless("b", ISSUER, "x")])]).to_string().into_bytes();
        let at = cut % whole.len();
        whole[at] = junk;
        let _ = Policies::load(&whole, &files);
        whole.truncate(at);
        let _ = Policies::load(&whole, &files);
    }
}
