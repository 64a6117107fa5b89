//! Signatures that cosign made, judged by policies with the checks that are really made.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::verify::artifact::Artifact;

/// After all of them were made.
const LATER: Timestamp = Timestamp::from_micros(1_795_400_000_000_000);

fn data(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signing").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn pem_of(name: &str) -> String {
    String::from_utf8(data(&format!("keys/{name}.pub"))).expect("PEM")
}

/// The image of a sample, and its one signature.
fn sample(name: &str) -> (Digest, Candidate) {
    let text = String::from_utf8(data(&format!("{name}/subject.digest"))).expect("a digest");
    let subject: Digest = text.trim().parse().expect("a digest");
    let legacy = name.contains("legacy");
    let tag = legacy.then(|| format!("sha256-{}.sig", subject.hex()).parse::<Tag>().expect("a tag"));
    let manifest = data(&format!("{name}/{}", if legacy { "sig.manifest.json" } else { "referrer-0.manifest.json" }));
    let artifact = Artifact::parse(tag.as_ref(), &manifest).expect("a manifest with signatures");
    let layer = &artifact.layers[0];
    let bytes = Bytes::from(data(&format!("{name}/blobs/{}", layer.digest.hex())));
    let (format, material) = if legacy {
        (Format::Legacy, Material::SimpleSigning { payload: bytes, annotations: layer.annotations.clone() })
    } else {
        (Format::Bundle, Material::Bundle(bytes))
    };
    (subject, Candidate { artifact: Digest::of(Algorithm::Sha256, &manifest), layer: 0, format, material })
}

/// What a policy says of the image of the first sample with the signatures of all.
fn judge(value: &Value, names: &[&str]) -> Verdict {
    let policies = policies(std::slice::from_ref(value));
    let policy = policies.iter().next().expect("a policy");
    let clock = ManualClock::new(LATER);
    let (subject, _) = sample(names[0]);
    let repository = repository();
    let mut judgement = Judgement::new([policy], &repository, &subject, &clock, Budget::default());
    for name in names {
        judgement.offer(&sample(name).1);
    }
    judgement.finish().remove(0)
}

fn by_sample_key(name: &str) -> Value {
    policy("prod", &[json!({ "name": "release", "key": { "pem": pem_of(name) } })])
}

fn alice() -> Value {
    policy("prod", &[keyless("ci", "https://issuer.lab.example", "alice@lab.example")])
}

#[test]
fn signatures_of_a_key_pass_its_policy() {
    let p256 = by_sample_key("key-p256");
    for name in [
        "key-new-notlog",
        "key-new-tsa-only",
        "key-new-tlog-tsa",
        "key-legacy-notlog",
        "key-legacy-tlog",
        "v2-key-legacy",
    ] {
        let verdict = judge(&p256, &[name]);
        assert_eq!(verdict.outcome, Outcome::Pass, "{name}: {verdict:?}");
        assert!(verdict.evidence[0].signer.starts_with("key:sha256:"));
    }
    assert_eq!(judge(&by_sample_key("k-p384"), &["p384-new"]).outcome, Outcome::Pass);
    assert_eq!(judge(&by_sample_key("k-rsa"), &["rsa-new"]).outcome, Outcome::Pass);
    assert_eq!(judge(&by_sample_key("key-p256-second"), &["key-new-notlog"]).why(), "no_trusted_signer");
    assert_eq!(judge(&p256, &["key-new-notlog", "key-new-tsa-only"]).outcome, Outcome::Pass);
    assert_ne!(judge(&p256, &["p384-new", "key-new-notlog"]).outcome, Outcome::Pass, "of another image");
}

#[test]
fn what_has_to_come_with_a_signature_is_asked_for() {
    let logged = with(
        with(by_sample_key("key-p256"), "/authorities/0/tlog", json!("require")),
        "/authorities/0/trustRoot",
        json!("lab"),
    );
    assert_eq!(judge(&logged, &["key-new-tlog-tsa"]).outcome, Outcome::Pass);
    assert_eq!(judge(&logged, &["key-new-notlog"]).why(), "tlog_missing");
    let until = with(logged, "/authorities/0/notAfter", json!("2026-01-01T00:00:00Z"));
    assert_eq!(judge(&until, &["key-new-tlog-tsa"]).why(), "cert_expired");
}

#[test]
fn signatures_of_an_identity_pass_its_policy() {
    for name in ["keyless-new", "keyless-legacy"] {
        let verdict = judge(&alice(), &[name]);
        assert_eq!(verdict.outcome, Outcome::Pass, "{name}: {verdict:?}");
        assert_eq!(verdict.evidence[0].signer, "https://issuer.lab.example alice@lab.example");
        assert!(verdict.evidence[0].signed_at.is_some());
    }
    let bob = policy("prod", &[keyless("ci", "https://issuer.lab.example", "bob@lab.example")]);
    assert_eq!(judge(&bob, &["keyless-new"]).why(), "identity_mismatch");
    let other = policy("prod", &[keyless("ci", "https://issuer.other.example", "alice@lab.example")]);
    assert_eq!(judge(&other, &["keyless-new"]).why(), "issuer_mismatch");
}

#[test]
fn a_workload_is_told_by_its_claims() {
    let subject = "https://ci.lab.example/acme/app/.ci/release.yml@refs/heads/main";
    let workload = policy("prod", &[keyless("ci", "https://ci.lab.example", subject)]);
    let claiming = |claims: Value| with(workload.clone(), "/authorities/0/keyless/claims", claims);
    let (_, candidate) = sample("keyless-workload");
    let verdict = judge(
        &claiming(json!({"buildTrigger": "push", "sourceRepositoryURI": "https://nowhere"})),
        &["keyless-workload"],
    );
    assert_eq!(verdict.why(), "identity_mismatch", "{verdict:?}");
    assert_eq!(verdict.reasons[0].artifact, Some(candidate.artifact));
    assert_eq!(judge(&claiming(json!({})), &["keyless-workload"]).outcome, Outcome::Pass);
}

#[test]
fn an_attestation_satisfies_what_asks_for_it_and_nothing_else() {
    assert_eq!(judge(&alice(), &["keyless-attest-slsa1"]).why(), "unsigned");
    let attested = |rule: Value| with(with(alice(), "/signature", Value::Null), "/attestations", json!([rule]));
    let verdict = judge(&attested(json!({"predicateType": SLSA, "maxAge": "30d"})), &["keyless-attest-slsa1"]);
    assert_eq!(verdict.outcome, Outcome::Pass, "{verdict:?}");
    let signed_at = verdict.evidence[0].signed_at.expect("a proved time");
    assert_eq!(verdict.holds_until, Some(signed_at.after(Duration::from_hours(30 * 24))));
    let old = judge(&attested(json!({"predicateType": SLSA, "maxAge": "1h"})), &["keyless-attest-slsa1"]);
    assert_eq!(old.why(), "attestation_condition");
    let empty = json!({"predicateType": SLSA, "conditions": [{"pointer": "/buildDefinition", "exists": true}]});
    assert_eq!(judge(&attested(empty), &["keyless-attest-slsa1"]).why(), "attestation_condition");
}

#[test]
fn what_is_no_signature_at_all_is_said_once_for_everybody() {
    let (subject, candidate) = sample("key-new-notlog");
    let broken = Candidate { material: Material::Bundle(Bytes::from_static(b"{}")), ..candidate };
    let value = policy("prod", &[json!({ "name": "a", "key": { "pem": pem_of("key-p256") } }), key("b", 0)]);
    let policies = policies(std::slice::from_ref(&value));
    let (repository, clock) = (repository(), ManualClock::new(LATER));
    let mut judgement = Judgement::new(policies.iter(), &repository, &subject, &clock, Budget::default());
    judgement.offer(&broken);
    let verdict = judgement.finish().remove(0);
    let malformed: Vec<_> = verdict.reasons.iter().filter(|reason| reason.code == ReasonCode::Malformed).collect();
    assert_eq!((malformed.len(), malformed[0].authority.as_ref()), (1, None), "{verdict:?}");
}
