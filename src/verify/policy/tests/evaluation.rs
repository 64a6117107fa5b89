//! What satisfies a policy, and what does not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::Clock as _;
use crate::verify::verdict::Reason;

const DAY: Duration = Duration::from_hours(24);
const MINUTE: Duration = Duration::from_mins(1);

fn release() -> Value {
    policy("prod", &[key("release", 0)])
}

fn ci() -> Value {
    ci_of(WORKFLOW)
}

fn ci_of(subject: &str) -> Value {
    policy("prod", &[keyless("ci", ISSUER, subject)])
}

/// A policy that also wants provenance by its first authority.
fn provenance(policy: Value, rule: Value) -> Value {
    let mut rule = rule;
    rule["predicateType"] = json!(SLSA);
    with(policy, "/attestations", json!([rule]))
}

/// What one policy says of the image when it looks at candidates in its own order.
fn judge_found(value: &Value, known: &[Digest], candidates: Vec<Candidate>, budget: Budget) -> Verdict {
    let policies = policies(std::slice::from_ref(value));
    let (repository, image, clock) = (repository(), image(), ManualClock::new(NOW));
    let judgement = Judgement::new(policies.iter(), &repository, &image, &clock, budget).opening(&fake_open);
    let found = |candidate| Found(CandidateRef::of(&candidate), candidate);
    evaluate(judgement, known, candidates.into_iter().map(found).collect(), |found| Ok(found.1.clone())).remove(0)
}

/// A candidate that is at hand.
struct Found(CandidateRef, Candidate);

impl AsRef<CandidateRef> for Found {
    fn as_ref(&self) -> &CandidateRef {
        &self.0
    }
}

fn torn_reason() -> Reason {
    Reason { authority: None, artifact: None, code: ReasonCode::Malformed, message: "torn".to_owned() }
}

#[test]
fn a_signature_by_an_authority_passes() {
    let verdict = judge(&release(), &[by_key(0)]);
    assert_eq!(verdict.outcome, Outcome::Pass);
    assert_eq!((verdict.policy.as_str(), verdict.reasons.len()), ("prod", 0));
    let [evidence] = verdict.evidence.as_slice() else { panic!("{verdict:?}") };
    assert_eq!(evidence.artifact, digest("signature by 0"));
    assert_eq!(evidence.signer, format!("key:{}", fingerprint(0)));
    assert_eq!(evidence.authority, "release");
    assert_eq!(judge(&ci(), &[by_identity(ISSUER, WORKFLOW)]).evidence[0].signer, format!("{ISSUER} {WORKFLOW}"));
}

#[test]
fn what_is_missing_is_told_from_what_is_wrong() {
    assert_eq!(outcome(&release(), &[]), "unsigned");
    assert_eq!(outcome(&release(), &[by_key(1)]), "no_trusted_signer");
    assert_eq!(outcome(&ci(), &[by_identity("https://other.example", WORKFLOW)]), "issuer_mismatch");
    assert_eq!(outcome(&ci(), &[by_identity(ISSUER, "https://github.com/evil/app")]), "identity_mismatch");
    assert_eq!(outcome(&release(), &[Signed { subject: digest("other"), ..by_key(0) }]), "subject_mismatch");
    let verdict = judge(&release(), &[by_key(1), by_key(2)]);
    assert_eq!(verdict.reasons.len(), 3);
    assert_eq!(verdict.reasons[0].message, "no signature counts that is by release");
    assert_eq!(verdict.reasons[1].authority.as_deref(), Some("release"));
}

#[test]
fn something_said_about_an_image_is_no_signature_of_it() {
    let sbom = || by_key(0).attesting("https://spdx.dev/Document", json!({}));
    assert_eq!(outcome(&release(), &[sbom()]), "unsigned");
    let meant = with(release(), "/signature/predicateTypes", json!([SIGN, "https://spdx.dev/Document"]));
    assert_eq!(outcome(&meant, &[sbom()]), "pass");
    let only = with(release(), "/signature/predicateTypes", json!(["https://spdx.dev/Document"]));
    assert_eq!(outcome(&only, &[by_key(0)]), "unsigned");
    assert_eq!(outcome(&only, &[Signed { format: Format::Legacy, kind: None, ..by_key(0) }]), "pass", "it has no type");
}

#[test]
fn a_threshold_counts_signers() {
    let two = with(policy("p", &[key("a", 0), key("b", 1), key("same", 0)]), "/signature/threshold", json!(2));
    let again = Signed { artifact: "another signature".to_owned(), ..by_key(0) };
    assert_eq!(outcome(&two, &[by_key(0), again.clone(), again]), "no_trusted_signer");
    let verdict = judge(&two, &[by_key(0), by_key(2)]);
    assert_eq!(verdict.reasons[0].message, "1 of 2 different signers found among a, b, same");
    let verdict = judge(&two, &[by_key(0), by_key(1)]);
    assert_eq!((verdict.outcome, verdict.evidence.len()), (Outcome::Pass, 2));
    let identities = policy("p", &[keyless("a", ISSUER, "x"), keyless("b", ISSUER, "y")]);
    let identities = with(identities, "/signature/threshold", json!(2));
    assert_eq!(outcome(&identities, &[by_identity(ISSUER, "x"), by_identity(ISSUER, "x")]), "no_trusted_signer");
    assert_eq!(outcome(&identities, &[by_identity(ISSUER, "x"), by_identity(ISSUER, "y")]), "pass");
    let anybody = json!([{"issuerRegExp": ".*", "subjectRegExp": ".*"}]);
    let anybody = with(ci(), "/authorities/0/keyless/identities", anybody);
    let anybody = with(anybody, "/signature/threshold", json!(2));
    let (alice, same) = (by_identity(ISSUER, "alice@example.com"), by_identity(ISSUER, "alice@EXAMPLE.com"));
    assert_eq!(outcome(&anybody, &[alice.clone(), same]), "no_trusted_signer", "one person");
    assert_eq!(outcome(&anybody, &[alice, by_identity("https://other.example", "alice@example.com")]), "pass");
}

#[test]
fn only_those_count_who_are_named() {
    let of = with(policy("p", &[key("a", 0), key("b", 1)]), "/signature/of", json!(["b"]));
    assert_eq!(outcome(&of, &[by_key(0)]), "no_trusted_signer");
    assert_eq!(outcome(&of, &[by_key(1)]), "pass");
}

#[test]
fn formats_count_as_the_policy_says() {
    let legacy = Signed { format: Format::Legacy, kind: None, ..by_key(0) };
    let only = |format: &str| with(release(), "/signature/formats", json!([format]));
    assert_eq!(outcome(&only("bundle"), std::slice::from_ref(&legacy)), "no_trusted_signer");
    assert_eq!(outcome(&only("legacy"), std::slice::from_ref(&legacy)), "pass");
    assert_eq!(outcome(&only("legacy"), &[by_key(0)]), "no_trusted_signer");
    assert_eq!(outcome(&release(), &[legacy]), "pass");
}

#[test]
fn signed_annotations_and_names_count() {
    let wanted = with(release(), "/signature/annotations", json!({"env": "prod"}));
    let annotated = |annotations: Value| Signed { annotations, ..by_key(0) };
    assert_eq!(outcome(&wanted, &[annotated(json!({"env": "prod", "more": 1}))]), "pass");
    for other in [json!({}), json!({"env": "test"}), json!({"env": ["prod"]}), json!({"Env": "prod"})] {
        assert_eq!(outcome(&wanted, &[annotated(other)]), "subject_mismatch");
    }
    let named = with(release(), "/signature/dockerReference", json!("repository"));
    let under = |reference| Signed { reference, kind: None, format: Format::Legacy, ..by_key(0) };
    assert_eq!(outcome(&named, &[under(Some("host:5000/prod/app"))]), "pass");
    assert_eq!(outcome(&named, &[under(Some("host:5000/test/app"))]), "subject_mismatch");
    assert_eq!(outcome(&named, &[by_key(0)]), "subject_mismatch", "a bundle has no name");
}

#[test]
fn claims_are_compared_exactly() {
    let hosted = with(ci(), "/authorities/0/keyless/claims", json!({"runnerEnvironment": "github-hosted"}));
    assert_eq!(outcome(&hosted, &[by_identity(ISSUER, WORKFLOW)]), "pass");
    let mut signed = by_identity(ISSUER, WORKFLOW);
    signed.by["claims"]["runnerEnvironment"] = json!("self-hosted");
    let verdict = judge(&hosted, &[signed]);
    assert_eq!(verdict.reasons[0].message, "the claim runnerEnvironment is `self-hosted`, not `github-hosted`");
    let missing = with(ci(), "/authorities/0/keyless/claims", json!({"buildTrigger": "push"}));
    assert_eq!(outcome(&missing, &[by_identity(ISSUER, WORKFLOW)]), "identity_mismatch");
}

#[test]
fn expressions_match_the_whole_identity_of_their_own_issuer() {
    let identities = json!([
        {"issuer": ISSUER, "subjectRegExp": "https://github\\.com/acme/[a-z]+"},
        {"issuer": "https://gitlab.example", "subject": "https://gitlab.example/acme/app"},
    ]);
    let policy = with(ci(), "/authorities/0/keyless/identities", identities);
    assert_eq!(outcome(&policy, &[by_identity(ISSUER, "https://github.com/acme/app")]), "pass");
    for subject in [
        "https://github.com/acme/app/evil",
        "https://github.com/acme/app\n",
        "https://evil/https://github.com/acme/app",
    ] {
        assert_eq!(outcome(&policy, &[by_identity(ISSUER, subject)]), "identity_mismatch", "{subject}");
    }
    assert_eq!(
        outcome(&policy, &[by_identity(ISSUER, "https://gitlab.example/acme/app")]),
        "identity_mismatch",
        "vouched for by the wrong one of two issuers"
    );
}

#[test]
fn an_authority_counts_in_its_time() {
    let until = |to: &str| with(ci(), "/authorities/0/notAfter", json!(to));
    let from = |from: &str| with(ci(), "/authorities/0/notBefore", json!(from));
    let signed = || by_identity(ISSUER, WORKFLOW);
    assert_eq!(outcome(&until("2026-12-01T00:00:00Z"), &[signed()]), "pass");
    assert_eq!(outcome(&until("2026-11-01T00:00:00Z"), &[signed()]), "cert_expired");
    assert_eq!(outcome(&from("2026-12-01T00:00:00Z"), &[signed()]), "cert_expired");
    assert_eq!(outcome(&until("2026-12-01T00:00:00Z"), &[Signed { at: None, ..signed() }]), "no_timestamp");
}

#[test]
fn a_time_in_the_future_proves_nothing() {
    let at = |time| Signed { at: Some(time), ..by_identity(ISSUER, WORKFLOW) };
    assert_eq!(outcome(&ci(), &[at(NOW.after(Duration::from_mins(9)))]), "pass");
    assert_eq!(outcome(&ci(), &[at(NOW.after(Duration::from_mins(11)))]), "no_timestamp");
}

#[test]
fn attestations_are_asked_for_besides() {
    let policy = provenance(ci(), json!({"conditions": [{"pointer": "/builder", "equals": "good"}], "maxAge": "90d"}));
    let signature = || by_identity(ISSUER, WORKFLOW);
    let attested = |builder: &str| signature().attesting(SLSA, json!({"builder": builder}));
    assert_eq!(outcome(&policy, &[]), "unsigned");
    assert_eq!(outcome(&policy, &[signature()]), "attestation_missing");
    assert_eq!(outcome(&policy, &[attested("good")]), "unsigned");
    assert_eq!(outcome(&policy, &[signature(), attested("bad")]), "attestation_condition");
    assert_eq!(
        outcome(&policy, &[signature(), signature().attesting("other", json!({"builder": "good"}))]),
        "attestation_missing"
    );
    let verdict = judge(&policy, &[signature(), attested("bad"), attested("good")]);
    assert_eq!((verdict.outcome, verdict.evidence.len()), (Outcome::Pass, 2));
    assert_eq!(verdict.holds_until, Some(NOW.after(DAY * 90)));
    let old = Signed { at: Some(NOW.before(DAY * 91)), ..attested("good") };
    let verdict = judge(&policy, &[signature(), old]);
    assert!(verdict.reasons[0].message.contains("too long ago"), "{verdict:?}");
    assert_eq!(verdict.why(), "attestation_condition");
    let by_other = by_identity(ISSUER, "someone").attesting(SLSA, json!({"builder": "good"}));
    assert_eq!(outcome(&policy, &[signature(), by_other]), "attestation_missing");
}

#[test]
fn attestations_alone_may_be_asked_for() {
    let policy = with(provenance(release(), json!({})), "/signature", Value::Null);
    assert_eq!(outcome(&policy, &[by_key(0).attesting(SLSA, json!({}))]), "pass");
    assert_eq!(outcome(&policy, &[by_key(0)]), "attestation_missing");
    assert_eq!(outcome(&policy, &[]), "attestation_missing");
}

#[test]
fn what_is_revoked_does_not_count() {
    let revoke = |policy: Value, revoked: Value| with(policy, "/revoke", revoked);
    let image_revoked = revoke(release(), json!({"digests": [image().to_string()]}));
    let verdict = judge(&image_revoked, &[by_key(0)]);
    assert_eq!(verdict.why(), "revoked");
    let policies = policies(&[image_revoked]);
    let help = policies.get("prod").expect("a policy").help(&verdict, "h/prod/app@sha256:x");
    assert!(help.expect("help").contains("is revoked"));
    let artifact = digest("signature by 0").to_string();
    assert_eq!(outcome(&revoke(release(), json!({"digests": [artifact]})), &[by_key(0)]), "revoked");
    assert_eq!(outcome(&revoke(release(), json!({"keys": [fingerprint(0)]})), &[by_key(0)]), "revoked");
    assert_eq!(outcome(&revoke(release(), json!({"keys": [fingerprint(1)]})), &[by_key(0)]), "pass");
    let keys = || revoke(ci(), json!({"keys": [fingerprint(2)]}));
    let mut certified = by_identity(ISSUER, WORKFLOW);
    assert_eq!(outcome(&keys(), std::slice::from_ref(&certified)), "pass");
    certified.by["key"] = json!(fingerprint(2));
    assert_eq!(outcome(&keys(), &[certified]), "revoked", "the key of a certificate");
    let identity = |after: Value| {
        let identity = json!({"issuer": ISSUER, "subject": WORKFLOW, "signedAfter": after});
        revoke(ci(), json!({"identities": [identity]}))
    };
    let signed = || by_identity(ISSUER, WORKFLOW);
    assert_eq!(outcome(&identity(Value::Null), &[signed()]), "revoked");
    assert_eq!(outcome(&identity(json!(NOW.to_rfc3339())), &[signed()]), "revoked", "from that moment on");
    assert_eq!(outcome(&identity(json!(NOW.after(DAY).to_rfc3339())), &[signed()]), "pass");
    assert_eq!(outcome(&identity(json!(NOW.after(DAY).to_rfc3339())), &[Signed { at: None, ..signed() }]), "revoked");
}

#[test]
fn identities_are_revoked_however_they_are_written() {
    let revoke = |identity: Value| with(ci_of("alice@Example.com"), "/revoke", json!({"identities": [identity]}));
    let signed = || by_identity(ISSUER, "alice@Example.com");
    let why = |identity: Value| outcome(&revoke(identity), &[signed()]);
    assert_eq!(why(json!({"issuer": ISSUER, "subject": "alice@example.com"})), "revoked");
    assert_eq!(why(json!({"issuer": ISSUER, "subject": "alice@EXAMPLE.com"})), "revoked");
    assert_eq!(why(json!({"issuer": ISSUER, "subject": "Alice@example.com"})), "pass", "somebody else's name");
    assert_eq!(why(json!({"issuer": ISSUER, "subjectRegExp": ".*@example\\.com"})), "revoked");
    assert_eq!(why(json!({"issuer": ISSUER, "subjectRegExp": ".*@Example\\.com"})), "revoked");
    assert_eq!(why(json!({"issuer": ISSUER, "subjectRegExp": "alice"})), "pass", "the whole of it");
    assert_eq!(why(json!({"issuerRegExp": "https://.*", "subject": "alice@example.com"})), "revoked");
    assert_eq!(why(json!({"issuerRegExp": "https://other.*", "subjectRegExp": ".*"})), "pass");
    let later = json!({"issuer": ISSUER, "subjectRegExp": ".*", "signedAfter": NOW.after(DAY).to_rfc3339()});
    assert_eq!(why(later.clone()), "pass");
    let both = json!({"identities": [later, {"issuer": ISSUER, "subject": "alice@example.com"}]});
    assert_eq!(outcome(&with(ci_of("alice@Example.com"), "/revoke", both), &[signed()]), "revoked", "either suffices");
}

#[test]
fn every_policy_has_to_be_satisfied() {
    let policies = policies(&[policy("a", &[key("a", 0)]), policy("b", &[key("b", 1)])]);
    let outcomes = |signed: &[Signed]| {
        let candidates: Vec<_> = signed.iter().map(Signed::candidate).collect();
        let verdicts = judge_in_order(&policies, &candidates, Budget::default());
        verdicts.iter().map(Verdict::why).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&[by_key(0)]), ["pass", "no_trusted_signer"]);
    assert_eq!(outcomes(&[by_key(0), by_key(1)]), ["pass", "pass"]);
}

#[test]
fn the_budget_ends_the_search_and_known_evidence_comes_first() {
    let flood = || (0..10_000).map(junk).chain([by_key(0).candidate()]).collect::<Vec<_>>();
    let lost = judge_found(&release(), &[], flood(), Budget::default());
    assert_eq!((lost.why(), lost.reasons.len()), ("limit_exceeded", 16));
    let known = [digest("signature by 0")];
    assert_eq!(judge_found(&release(), &known, flood(), Budget::default()).outcome, Outcome::Pass);
    let patient = Budget { candidates_max: usize::MAX, ..Budget::default() };
    assert_eq!(judge_found(&release(), &[], flood(), patient).outcome, Outcome::Pass);
    let bytes = Budget { bytes_max: 1000, ..patient };
    let lost = judge_found(&release(), &[], flood(), bytes);
    assert_eq!((lost.why(), lost.outcome), ("limit_exceeded", Outcome::Fail));
    assert_eq!(lost.holds_until, None, "there would be too many of them the next time too");
}

#[test]
fn what_is_too_large_is_passed_over() {
    let large = |number: usize, size: usize| {
        let material = Material::Bundle(Bytes::from(vec![b' '; size]));
        Candidate { material, ..junk(number) }
    };
    let budget = Budget { bytes_max: 10_000, ..Budget::default() };
    let all = vec![large(0, 10_001), large(1, 9_900), large(2, 9_901), by_key(0).candidate(), by_key(1).candidate()];
    let two = with(policy("p", &[key("a", 0), key("b", 1)]), "/signature/threshold", json!(2));
    assert_eq!(judge_found(&two, &[], all.clone(), budget).outcome, Outcome::Pass, "small ones are looked at first");
    // Also where somebody offers them in the worst order.
    let verdict = judge_in_order(&policies(&[two]), &all, budget).remove(0);
    assert_eq!(verdict.why(), "limit_exceeded");
    let in_order = [large(0, 10_001), by_key(0).candidate()];
    assert_eq!(judge_in_order(&policies(&[release()]), &in_order, budget)[0].outcome, Outcome::Pass);
    let alone = judge_in_order(&policies(&[release()]), &in_order[..1], budget).remove(0);
    assert_eq!((alone.outcome, alone.reasons.len()), (Outcome::Fail, 2));
    let noted = &alone.reasons[1];
    assert_eq!((noted.code, noted.artifact.as_ref()), (ReasonCode::LimitExceeded, Some(&in_order[0].artifact)));
}

#[test]
fn a_refusal_keeps_what_counted() {
    let two = with(policy("p", &[key("a", 0), key("b", 1)]), "/signature/threshold", json!(2));
    let verdict = judge(&two, &[by_key(2), by_key(0)]);
    assert_eq!(verdict.outcome, Outcome::Fail);
    assert_eq!(
        verdict.evidence.iter().map(|evidence| &evidence.artifact).collect::<Vec<_>>(),
        [&digest("signature by 0")]
    );
    let flood = (0..100).map(junk).chain([by_key(0).candidate(), by_key(1).candidate()]).collect::<Vec<_>>();
    let known = [verdict.evidence[0].artifact.clone()];
    let again = judge_found(&two, &known, flood, Budget { candidates_max: 1, ..Budget::default() });
    assert_eq!(again.evidence, verdict.evidence, "so that it is tried first");
    let attested = provenance(release(), json!({}));
    let verdict = judge(&attested, &[by_key(0).attesting(SLSA, json!({}))]);
    assert_eq!((verdict.outcome, verdict.evidence.len()), (Outcome::Unsigned, 1));
}

#[test]
fn checks_end_when_their_time_is_spent() {
    let policies = policies(&[release()]);
    let (repository, image, clock) = (repository(), image(), ManualClock::new(NOW));
    let (watch, checks) = (ManualClock::new(NOW), AtomicUsize::new(0));
    let slow = opening(|candidate, subject| {
        checks.fetch_add(1, Ordering::Relaxed);
        watch.advance(Duration::from_millis(100));
        // Somebody sets the clock of the machine meanwhile.
        clock.advance(DAY);
        fake_open(candidate, subject)
    });
    let stopwatch = || NOW.until(watch.now());
    let mut judgement = Judgement::new(policies.iter(), &repository, &image, &clock, Budget::default())
        .opening(&slow)
        .timed_by(&stopwatch);
    for number in 0..10 {
        watch.advance(DAY);
        judgement.offer(&junk(number));
    }
    assert!(judgement.is_decided());
    let verdict = judgement.finish().remove(0);
    assert_eq!(verdict.why(), "limit_exceeded");
    assert_eq!(checks.load(Ordering::Relaxed), 3, "neither the time between them nor a clock that is set counts");
    assert_eq!(verdict.holds_until, Some(NOW.after(MINUTE)), "there may be more time then");
}

#[test]
fn a_refusal_that_may_end_by_itself_holds_for_a_minute() {
    let ahead = |by: Duration| Signed { at: Some(NOW.after(by)), ..by_identity(ISSUER, WORKFLOW) };
    let verdict = judge(&ci(), &[ahead(Duration::from_mins(11))]);
    assert_eq!((verdict.why(), verdict.holds_until), ("no_timestamp", Some(NOW.after(MINUTE))));
    assert_eq!(judge(&ci(), &[ahead(Duration::from_mins(11)), ahead(MINUTE)]).holds_until, None, "it passed");
    assert_eq!(judge(&ci(), &[by_identity(ISSUER, "nobody")]).holds_until, None);
    assert_eq!(judge(&ci(), &[]).holds_until, None);

    // Logs are compared with the machine's clock where nobody can say by how much it is wrong.
    let policies = policies(&[ci()]);
    let (repository, image, clock) = (repository(), image(), ManualClock::new(NOW));
    let behind =
        opening(|_, _| Ok(Box::new(|_: &Trust<'_>| Err(Failure::new(ReasonCode::TlogInvalid, "in the future")))));
    let judgement = || Judgement::new(policies.iter(), &repository, &image, &clock, Budget::default());
    let mut of_logs = judgement().opening(&behind);
    of_logs.offer(&junk(0));
    assert_eq!(of_logs.finish()[0].holds_until, Some(NOW.after(MINUTE)));
    let mut torn = judgement();
    torn.miss(&torn_reason());
    assert_eq!(torn.finish()[0].holds_until, Some(NOW.after(MINUTE)));
}

#[test]
fn one_check_does_for_all_who_trust_alike_and_one_reading_for_all() {
    static CHECKS: AtomicUsize = AtomicUsize::new(0);
    let policies = policies(&[
        policy("a", &[keyless("x", ISSUER, "x"), keyless("y", ISSUER, "y"), key("k", 0)]),
        policy("b", &[keyless("z", ISSUER, WORKFLOW), key("k", 0)]),
    ]);
    let (repository, image, clock) = (repository(), image(), ManualClock::new(NOW));
    let reads = AtomicUsize::new(0);
    let counting = opening(|candidate, subject| {
        reads.fetch_add(1, Ordering::Relaxed);
        let mut check = fake_open(candidate, subject)?;
        Ok(Box::new(move |trust: &Trust<'_>| {
            CHECKS.fetch_add(1, Ordering::Relaxed);
            check(trust)
        }))
    });
    let mut judgement =
        Judgement::new(policies.iter(), &repository, &image, &clock, Budget::default()).opening(&counting);
    judgement.offer(&by_identity(ISSUER, "nobody").candidate());
    assert_eq!((reads.load(Ordering::Relaxed), CHECKS.load(Ordering::Relaxed)), (1, 2));
    judgement.miss(&torn_reason());
    assert_eq!(judgement.finish()[0].why(), "identity_mismatch");
}

#[test]
fn candidates_are_read_one_after_the_other_and_no_more_than_it_takes() {
    let policies = policies(&[release()]);
    let (repository, image, clock) = (repository(), image(), ManualClock::new(NOW));
    let judgement =
        || Judgement::new(policies.iter(), &repository, &image, &clock, Budget::default()).opening(&fake_open);
    let candidates = [junk(0), by_key(1).candidate(), by_key(0).candidate(), junk(1)];
    let read_of = |known: &[Digest]| {
        let mut read = Vec::new();
        let verdicts = evaluate(judgement(), known, candidates.iter().map(CandidateRef::of).collect(), |found| {
            read.push(found.artifact.clone());
            let candidate = candidates.iter().find(|candidate| candidate.artifact == found.artifact);
            Ok(candidate.expect("one of them").clone())
        });
        assert_eq!(verdicts[0].outcome, Outcome::Pass);
        read
    };
    assert_eq!(read_of(&[digest("signature by 0")]), [digest("signature by 0")]);
    let read = read_of(&[]);
    assert_eq!(read.last(), Some(&digest("signature by 0")), "nothing is read behind what suffices");
    assert_eq!(read[..2].iter().collect::<BTreeSet<_>>(), [&junk(0).artifact, &junk(1).artifact].into());
    let missing = evaluate(judgement(), &[], vec![CandidateRef::of(&junk(0))], |_| Err(torn_reason()));
    assert_eq!(missing[0].reasons[1], torn_reason());
}

#[test]
fn a_judgement_may_be_held_while_bytes_are_awaited() {
    fn is_send<T: Send>(_: &T) {}
    let (policies, repository, image, clock) = (policies(&[release()]), repository(), image(), ManualClock::new(NOW));
    is_send(&Judgement::new(policies.iter(), &repository, &image, &clock, Budget::default()));
}

#[test]
fn what_to_do_is_said() {
    let help = |value: &Value, signed: &[Signed]| {
        let policies = policies(std::slice::from_ref(value));
        let policy = policies.get("prod").expect("a policy");
        policy.help(&judge(value, signed), "registry.example/prod/app@sha256:ab").unwrap_or_default()
    };
    assert_eq!(help(&release(), &[]), "cosign sign --key cosign.key registry.example/prod/app@sha256:ab");
    assert_eq!(help(&ci(), &[]), "cosign sign registry.example/prod/app@sha256:ab");
    assert!(
        help(&provenance(ci(), json!({})), &[by_identity(ISSUER, WORKFLOW)])
            .starts_with("cosign attest --type https://slsa")
    );
    assert_eq!(help(&release(), &[by_key(0)]), "");
    // Of several attestations that which is not there.
    let two = json!([{"predicateType": SLSA}, {"predicateType": "https://spdx.dev/Document"}]);
    let two = with(release(), "/attestations", two);
    let attested = by_key(0).attesting(SLSA, json!({}));
    assert!(help(&two, &[by_key(0), attested]).contains("--type https://spdx.dev/Document"));
    assert!(help(&two, &[by_key(0)]).contains(&format!("--type {SLSA}")));
    let policies = policies(&[provenance(release(), json!({"maxAge": null}))]);
    let asks = policies.get("prod").expect("a policy").asks();
    assert_eq!(asks, ["a signature by 1 of release", &format!("an attestation {SLSA} by release")]);
}
