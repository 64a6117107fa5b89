//! Documents as operators write them, and signatures that say of themselves who made them.

mod evaluation;
mod loading;
mod properties;
mod samples;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::oci::digest::{Algorithm, Digest};
use crate::verify::key::PublicKey;
use crate::verify::proof::{Candidate, Claim, Failure, Format, Material, Proof, Signer, Trust};

/// Four keys on P-256, whose secret halves nobody has kept.
const KEYS: [&str; 4] = [
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEY/887F9SrsBsXUhNv7m5U1rLw02dKn4aeZqgNmCuqTJwPI8OhKFRl0ll0eiIZ3IKf4QrzHyH35DOTGDBB8PVqg==",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErQL9XeqdcQm63vDacH7rtgdrgsfd+GjDnJVfZbkMrXPM3CGcGRTQ5jlAee/XEJBXP24RPbogEwLjhL+gyWJNhw==",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEihtX/b7f8qp6qzMS97YMAjhmEZolvZ/LQMzZSrfSefDBv2Nq/QUrO001jr4NndNUwcVfsUkElgC0Y//7F15KAQ==",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzVhA4r1xNB5vQ25f3gkMumotNsvj3h+rv/A/Dx13CckUFdPKlD8DWRd5DOjdISmS5QTlthpu3CONquIft9jhYg==",
];

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";
const SIGN: &str = document::COSIGN_SIGN;
const SLSA: &str = "https://slsa.dev/provenance/v1";

/// 2026-11-21T07:36:20Z
const NOW: Timestamp = Timestamp::from_micros(1_795_246_580_000_000);

fn pem(key: usize) -> String {
    let (first, second) = KEYS[key].split_at(64);
    format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
}

fn fingerprint(key: usize) -> String {
    PublicKey::from_pem(&pem(key)).expect("a key").fingerprint()
}

/// The files of every document here.
fn files(name: &str) -> Result<Vec<u8>, String> {
    match name {
        "root.json" => Ok(include_bytes!("../../../tests/data/signing/trusted_root.lab.json").to_vec()),
        "keys/release.pub" => Ok(pem(0).into_bytes()),
        "broken.json" => Ok(b"{}x".to_vec()),
        _ => Err("there is no such file".to_owned()),
    }
}

fn load(text: &str) -> Result<Loaded, Faults> {
    Policies::load(text.as_bytes(), &files)
}

/// A key as an authority.
fn key(name: &str, key: usize) -> Value {
    json!({ "name": name, "key": { "pem": pem(key) } })
}

/// An identity as an authority.
fn keyless(name: &str, issuer: &str, subject: &str) -> Value {
    json!({ "name": name, "keyless": {
        "trustRoot": "lab", "identities": [{ "issuer": issuer, "subject": subject }],
    }})
}

/// A policy over everything that asks for one signature.
fn policy(name: &str, authorities: &[Value]) -> Value {
    json!({
        "name": name, "match": { "repositories": ["**"] }, "mode": "enforce", "authorities": authorities, "signature": {},
    })
}

fn document(policies: &[Value]) -> Value {
    let uses_root = policies.iter().any(|policy| policy.to_string().contains("\"trustRoot\""));
    let roots = if uses_root { json!({ "lab": { "file": "root.json" } }) } else { json!({}) };
    json!({ "apiVersion": "trust/v1", "trustRoots": roots, "policies": policies })
}

/// The policies of a document that is sound.
#[track_caller]
fn policies(values: &[Value]) -> Policies {
    match load(&document(values).to_string()) {
        Ok(loaded) => loaded.policies,
        Err(faults) => panic!("{faults}"),
    }
}

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

fn image() -> Digest {
    digest("image")
}

fn repository() -> RepoName {
    "prod/app".parse().expect("a name")
}

/// A signature that says of itself what it proves.
#[derive(Clone, Debug)]
struct Signed {
    by: Value,
    subject: Digest,
    kind: Option<&'static str>,
    predicate: Value,
    at: Option<Timestamp>,
    format: Format,
    reference: Option<&'static str>,
    annotations: Value,
    artifact: String,
}

fn by_key(key: usize) -> Signed {
    Signed {
        by: json!(fingerprint(key)),
        subject: image(),
        kind: Some(SIGN),
        predicate: Value::Null,
        at: None,
        format: Format::Bundle,
        reference: None,
        annotations: json!({}),
        artifact: format!("signature by {key}"),
    }
}

fn by_identity(issuer: &str, subject: &str) -> Signed {
    let by = json!({ "issuer": issuer, "subject": subject, "claims": { "runnerEnvironment": "github-hosted" } });
    Signed { by, at: Some(NOW), artifact: format!("signature by {subject}"), ..by_key(0) }
}

impl Signed {
    fn attesting(self, kind: &'static str, predicate: Value) -> Self {
        Self { kind: Some(kind), predicate, artifact: format!("{} of {kind}", self.artifact), ..self }
    }

    fn candidate(&self) -> Candidate {
        let text = json!({
            "by": self.by, "subject": self.subject.to_string(), "kind": self.kind, "predicate": self.predicate,
            "at": self.at.map(Timestamp::as_micros), "reference": self.reference, "annotations": self.annotations,
        });
        let bytes = Bytes::from(text.to_string());
        let annotations = BTreeMap::new();
        let material = match self.format {
            Format::Bundle => Material::Bundle(bytes),
            Format::Legacy => Material::SimpleSigning { payload: bytes, annotations },
        };
        Candidate { artifact: digest(&self.artifact), layer: 0, format: self.format, material }
    }
}

fn junk(number: usize) -> Candidate {
    let material = Material::Bundle(Bytes::from_static(b"junk"));
    Candidate { artifact: digest(&format!("junk {number}")), layer: 0, format: Format::Bundle, material }
}

/// Believes what a signature says of itself, as a real check believes mathematics.
fn fake_open<'c>(candidate: &'c Candidate, subject: &'c Digest) -> Result<Opened<'c>, Failure> {
    let (Material::Bundle(bytes)
    | Material::SimpleSigning { payload: bytes, .. }
    | Material::Envelope { envelope: bytes, .. }) = &candidate.material;
    let text: Value =
        serde_json::from_slice(bytes).map_err(|_| Failure::new(ReasonCode::Malformed, "this is no signature"))?;
    Ok(Box::new(move |trust: &Trust<'_>| fake_check(candidate, &text, trust, subject)))
}

fn fake_check(candidate: &Candidate, text: &Value, trust: &Trust<'_>, subject: &Digest) -> Result<Proof, Failure> {
    let failure = |code, message: &str| Failure::new(code, message);
    let signer = match (trust, text["by"].as_str()) {
        (Trust::Key { key, .. }, Some(by)) if key.fingerprint() == by => Signer::Key { fingerprint: by.to_owned() },
        (Trust::Key { .. }, _) => return Err(failure(ReasonCode::BadSignature, "not by this key")),
        (Trust::Keyless { .. }, Some(_)) => return Err(failure(ReasonCode::CertUntrusted, "no certificate")),
        (Trust::Keyless { .. }, None) => Signer::Identity {
            issuer: text["by"]["issuer"].as_str().expect("an issuer").to_owned(),
            subject: text["by"]["subject"].as_str().expect("a subject").to_owned(),
            claims: serde_json::from_value(text["by"]["claims"].clone()).expect("claims"),
        },
    };
    if text["subject"] != subject.to_string() {
        return Err(failure(ReasonCode::SubjectMismatch, "of another image"));
    }
    let kind = text["kind"].as_str().map(str::to_owned);
    let claim = match kind {
        Some(kind) if kind != SIGN => Claim::Attestation { predicate_type: kind, predicate: text["predicate"].clone() },
        kind => Claim::Signature {
            docker_reference: text["reference"].as_str().map(str::to_owned),
            annotations: serde_json::from_value(text["annotations"].clone()).expect("annotations"),
            predicate_type: kind.filter(|_| candidate.format == Format::Bundle),
        },
    };
    Ok(Proof {
        artifact: candidate.artifact.clone(),
        format: candidate.format,
        signer,
        key: text["by"].as_str().or(text["by"]["key"].as_str()).unwrap_or_default().to_owned(),
        claim,
        signed_at: text["at"].as_i64().map(Timestamp::from_micros),
        tlog: false,
        sct: false,
        timestamp: false,
    })
}

/// What the policies say of the image with these candidates, offered in this order.
fn judge_in_order(policies: &Policies, candidates: &[Candidate], budget: Budget) -> Vec<Verdict> {
    let (repository, image, clock) = (repository(), image(), ManualClock::new(NOW));
    let mut judgement = Judgement::new(policies.iter(), &repository, &image, &clock, budget).opening(&fake_open);
    for candidate in candidates {
        judgement.offer(candidate);
    }
    judgement.finish()
}

/// A way to read candidates, whatever their lifetimes.
fn opening<F>(open: F) -> F
where
    F: for<'c> Fn(&'c Candidate, &'c Digest) -> Result<Opened<'c>, Failure> + Sync,
{
    open
}

/// What one policy says of the image with these signatures.
fn judge(value: &Value, signed: &[Signed]) -> Verdict {
    let candidates: Vec<_> = signed.iter().map(Signed::candidate).collect();
    judge_in_order(&policies(std::slice::from_ref(value)), &candidates, Budget::default()).remove(0)
}

/// The name of the outcome, or the first reason of a failure.
fn outcome(value: &Value, signed: &[Signed]) -> &'static str {
    judge(value, signed).why()
}

/// The same value with a member set, by JSON pointer to a place that is there or whose parent is.
fn with(mut value: Value, pointer: &str, member: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    value.pointer_mut(parent).expect("a parent")[name] = member;
    value
}
