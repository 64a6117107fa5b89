//! Real signatures, made by cosign 3.1.3 and 2.6.5, and the verdict that each must get.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;

use crate::oci::digest::{Algorithm, Digest};
use crate::oci::name::Tag;
use crate::verify::artifact::{Artifact, ArtifactKind, check_layer};
use crate::verify::key::{HashChoice, PublicKey};
use crate::verify::proof::{Candidate, Claim, Failure, Format, Material, Need, Proof, Signer, Trust, check};
use crate::verify::roots::Root;
use crate::verify::verdict::ReasonCode;

/// The samples that `tests/data/signing/INDEX.tsv` names and that are there.
pub(super) const NAMES: [&str; 13] = [
    "key-new-notlog",
    "key-new-tsa-only",
    "key-new-tlog-tsa",
    "keyless-new",
    "keyless-workload",
    "keyless-attest-slsa1",
    "key-legacy-notlog",
    "key-legacy-tlog",
    "keyless-legacy",
    "p384-new",
    "rsa-new",
    "ed25519ph-legacy",
    "v2-key-legacy",
];

pub(super) fn data(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/signing").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn key(name: &str) -> PublicKey {
    let pem = String::from_utf8(data(&format!("keys/{name}.pub"))).expect("PEM");
    PublicKey::from_pem(&pem).expect("a public key")
}

pub(super) fn root() -> Root {
    Root::from_json(&data("trusted_root.lab.json")).expect("a trusted root")
}

/// The root as JSON, to be changed.
pub(super) fn root_json() -> Value {
    serde_json::from_slice(&data("trusted_root.lab.json")).expect("JSON")
}

/// What a sample is about.
pub(super) fn subject(name: &str) -> Digest {
    let text = String::from_utf8(data(&format!("{name}/subject.digest"))).expect("a digest");
    text.trim().parse().expect("a digest")
}

/// The one signature of a sample, found as the registry finds it: by the form of its manifest.
pub(super) fn candidate(name: &str) -> Candidate {
    let is_legacy = name.contains("legacy");
    let manifest =
        data(&format!("{name}/{}", if is_legacy { "sig.manifest.json" } else { "referrer-0.manifest.json" }));
    let subject = subject(name);
    let tag: Option<Tag> = is_legacy.then(|| format!("sha256-{}.sig", subject.hex()).parse().expect("a tag"));
    let artifact = Artifact::parse(tag.as_ref(), &manifest).expect("a signature artifact");
    assert_eq!(artifact.subject, subject, "{name}");
    let [layer] = artifact.layers.as_slice() else { panic!("{name} has {} layers", artifact.layers.len()) };
    let bytes = Bytes::from(data(&format!("{name}/blobs/{}", layer.digest.hex())));
    assert_eq!(layer.size, bytes.len() as u64);
    check_layer(artifact.kind, &bytes).expect("a layer of its kind");
    let (format, material) = match artifact.kind {
        ArtifactKind::Bundle => (Format::Bundle, Material::Bundle(bytes)),
        ArtifactKind::Signatures => {
            (Format::Legacy, Material::SimpleSigning { payload: bytes, annotations: layer.annotations.clone() })
        }
        ArtifactKind::Attestations | ArtifactKind::Fallback => panic!("{name} is no signature"),
    };
    Candidate { artifact: Digest::of(Algorithm::Sha256, &manifest), layer: 0, format, material }
}

/// Whom a sample is by, as a policy would say it with as much as the sample can bear.
pub(super) struct Authority {
    key: Option<PublicKey>,
    tlog: Need,
    timestamp: Need,
    root: Root,
}

impl Authority {
    pub(super) fn key(name: &str, tlog: Need, timestamp: Need) -> Self {
        Self { key: Some(key(name)), tlog, timestamp, root: root() }
    }

    pub(super) fn keyless() -> Self {
        Self { key: None, tlog: Need::Require, timestamp: Need::Ignore, root: root() }
    }

    /// The strictest authority that a sample passes.
    pub(super) fn of(name: &str) -> Self {
        let need = |is_needed: bool| if is_needed { Need::Require } else { Need::Ignore };
        match name {
            _ if name.starts_with("keyless") => Self::keyless(),
            "p384-new" => Self::key("k-p384", Need::Ignore, Need::Ignore),
            "rsa-new" => Self::key("k-rsa", Need::Ignore, Need::Ignore),
            "ed25519ph-legacy" => Self::key("k-ed", Need::Ignore, Need::Ignore),
            _ => Self::key("key-p256", need(name.contains("-tlog")), need(name.contains("tsa"))),
        }
    }

    pub(super) fn trust(&self) -> Trust<'_> {
        let Self { key, tlog, timestamp, root } = self;
        match key {
            Some(key) => {
                Trust::Key { key, hash: HashChoice::Auto, tlog: *tlog, timestamp: *timestamp, root: Some(root) }
            }
            None => Trust::Keyless { root, sct: Need::Require, tlog: *tlog },
        }
    }
}

/// Checks a candidate as its sample's authority would.
pub(super) fn judge(name: &str, candidate: &Candidate) -> Result<Proof, Failure> {
    check(candidate, &Authority::of(name).trust(), &subject(name))
}

pub(super) fn code(result: Result<Proof, Failure>) -> ReasonCode {
    result.expect_err("a failure").code
}

fn proof(name: &str) -> Proof {
    judge(name, &candidate(name)).unwrap_or_else(|failure| panic!("{name}: {failure:?}"))
}

#[test]
fn every_line_of_the_index_is_tested() {
    let index = String::from_utf8(data("INDEX.tsv")).expect("text");
    let lines = index.lines().skip(1).map(|line| line.split('\t').next().unwrap_or_default());
    let listed: Vec<&str> = lines.map(|case| case.split(" / ").next().unwrap_or_default()).collect();
    assert_eq!(listed, NAMES);
}

#[test]
fn signatures_by_a_key_pass_with_that_key() {
    for name in NAMES.into_iter().filter(|name| !name.starts_with("keyless") && !name.starts_with("ed25519")) {
        let proof = proof(name);
        let Signer::Key { fingerprint } = &proof.signer else { panic!("{name}: {:?}", proof.signer) };
        assert!(fingerprint.starts_with("sha256:") && fingerprint.len() == 71, "{fingerprint}");
        let Claim::Signature { docker_reference, predicate_type, .. } = &proof.claim else { panic!("{name}") };
        assert_eq!(docker_reference.is_some(), name.contains("legacy"), "{name}");
        assert_eq!(
            predicate_type.as_deref(),
            (!name.contains("legacy")).then_some(crate::verify::statement::COSIGN_SIGN)
        );
        assert_eq!(proof.tlog, name.contains("-tlog"), "{name}");
        assert_eq!(proof.timestamp, name.contains("tsa"), "{name}");
        assert_eq!(proof.signed_at.is_some(), proof.tlog || proof.timestamp, "{name}");
        assert!(!proof.sct);
    }
}

#[test]
fn another_key_is_not_trusted() {
    let other = Authority::key("key-p256-second", Need::Ignore, Need::Ignore);
    let by = |name: &str| code(check(&candidate(name), &other.trust(), &subject(name)));
    assert_eq!(by("key-new-notlog"), ReasonCode::NoTrustedSigner);
    assert_eq!(by("key-legacy-notlog"), ReasonCode::BadSignature);
    assert_eq!(by("keyless-new"), ReasonCode::NoTrustedSigner);
    assert_eq!(by("keyless-legacy"), ReasonCode::BadSignature);
    assert_eq!(by("rsa-new"), ReasonCode::NoTrustedSigner);
}

#[test]
fn a_key_is_no_certificate() {
    for name in ["key-new-notlog", "key-new-tlog-tsa", "key-legacy-tlog"] {
        let failure = code(check(&candidate(name), &Authority::keyless().trust(), &subject(name)));
        assert_eq!(failure, ReasonCode::NoTrustedSigner, "{name}");
    }
}

#[test]
fn what_a_policy_requires_has_to_be_there() {
    let by = |name: &str, tlog, timestamp| {
        code(check(&candidate(name), &Authority::key("key-p256", tlog, timestamp).trust(), &subject(name)))
    };
    for name in ["key-new-notlog", "key-new-tsa-only", "key-legacy-notlog", "v2-key-legacy"] {
        assert_eq!(by(name, Need::Require, Need::Ignore), ReasonCode::TlogMissing, "{name}");
    }
    for name in ["key-new-notlog", "key-legacy-notlog", "key-legacy-tlog", "v2-key-legacy"] {
        assert_eq!(by(name, Need::Ignore, Need::Require), ReasonCode::NoTimestamp, "{name}");
    }
}

#[test]
fn a_log_and_a_timestamp_need_a_root_that_knows_them() {
    let (key, subject, candidate) = (key("key-p256"), subject("key-new-tlog-tsa"), candidate("key-new-tlog-tsa"));
    let by = |tlog, timestamp| {
        let trust = Trust::Key { key: &key, hash: HashChoice::Auto, tlog, timestamp, root: None };
        check(&candidate, &trust, &subject)
    };
    assert_eq!(code(by(Need::Require, Need::Ignore)), ReasonCode::TlogMissing);
    assert_eq!(code(by(Need::Ignore, Need::Require)), ReasonCode::NoTimestamp);
    let bare = by(Need::Ignore, Need::Ignore).expect("the signature alone");
    assert!(!bare.tlog && !bare.timestamp && bare.signed_at.is_none());
}

#[test]
fn keyless_signatures_name_who_signed() {
    for name in ["keyless-new", "keyless-legacy", "keyless-attest-slsa1"] {
        let proof = proof(name);
        let Signer::Identity { issuer, subject, claims } = &proof.signer else { panic!("{name}: {:?}", proof.signer) };
        assert_eq!((issuer.as_str(), subject.as_str()), ("https://issuer.lab.example", "alice@lab.example"));
        assert!(claims.is_empty());
        assert!(proof.tlog && proof.sct && proof.timestamp && proof.signed_at.is_some(), "{name}");
    }
}

#[test]
fn a_workload_carries_its_claims() {
    let Signer::Identity { issuer, subject, claims } = proof("keyless-workload").signer else { panic!("an identity") };
    assert_eq!(issuer, "https://ci.lab.example");
    assert_eq!(subject, "https://ci.lab.example/acme/app/.ci/release.yml@refs/heads/main");
    let names: Vec<&str> = claims.keys().map(String::as_str).collect();
    assert_eq!(names, ["buildTrigger", "sourceRepositoryRef", "sourceRepositoryURI"]);
    assert_eq!(claims["sourceRepositoryRef"], "refs/heads/main");
}

#[test]
fn an_attestation_is_not_a_signature() {
    let Claim::Attestation { predicate_type, predicate } = proof("keyless-attest-slsa1").claim else {
        panic!("provenance counts as a signature")
    };
    assert_eq!(predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!(predicate, serde_json::json!({}));
}

#[test]
fn prehashed_ed25519_is_not_taken() {
    assert_eq!(code(judge("ed25519ph-legacy", &candidate("ed25519ph-legacy"))), ReasonCode::UnsupportedAlgorithm);
}

#[test]
fn a_fallback_index_lists_its_referrers() {
    for name in NAMES.into_iter().filter(|name| !name.contains("legacy")) {
        let tag: Tag = format!("sha256-{}", subject(name).hex()).parse().expect("a tag");
        let index = data(&format!("{name}/referrers-fallback.index.json"));
        let artifact = Artifact::parse(Some(&tag), &index).expect("an index of signatures");
        assert_eq!((artifact.kind, &artifact.subject), (ArtifactKind::Fallback, &subject(name)));
        assert_eq!(artifact.layers[0].digest, candidate(name).artifact);
        assert!(Artifact::parse(None, &index).is_none(), "an index without the tag is an ordinary one");
    }
}
