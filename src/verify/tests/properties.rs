//! Random damage: it never panics, and what still passes proves what it proved before.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::samples::{NAMES, candidate, data, judge};
use crate::oci::name::Tag;
use crate::verify::artifact::{Artifact, ArtifactKind, check_layer};
use crate::verify::bundle::Bundle;
use crate::verify::certificate::Leaf;
use crate::verify::dsse::Envelope;
use crate::verify::key::PublicKey;
use crate::verify::legacy;
use crate::verify::proof::{Candidate, Material};
use crate::verify::roots::Root;
use crate::verify::statement;
use crate::verify::text::certificate;

/// One change of a text of bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>();
    prop_oneof![
        4 => (at.clone(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => at.clone().prop_map(Damage::Cut),
        2 => (at.clone(), 1..40_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        2 => (at.clone(), proptest::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at, 1..200_usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
    ]
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            return bytes;
        }
        let len = bytes.len();
        match damage {
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Set(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Cut(at) => bytes.truncate(at.index(len)),
            Damage::Remove(at, count) => {
                let at = at.index(len);
                bytes.drain(at..len.min(at + count));
            }
            Damage::Insert(at, more) => {
                let at = at.index(len);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Repeat(at, count) => {
                let at = at.index(len);
                let again = bytes[at..len.min(at + count)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    proptest::collection::vec(damage(), 1..4)
}

/// Damage done to one part of a candidate.
fn damaged_candidate(candidate: &Candidate, part: Index, damages: &[Damage]) -> Candidate {
    let material = match &candidate.material {
        Material::Bundle(text) => Material::Bundle(damaged(text, damages).into()),
        Material::SimpleSigning { payload, annotations } => {
            let (payload, annotations) = damaged_layer(payload, annotations, part, damages);
            Material::SimpleSigning { payload, annotations }
        }
        Material::Envelope { envelope, annotations } => {
            let (envelope, annotations) = damaged_layer(envelope, annotations, part, damages);
            Material::Envelope { envelope, annotations }
        }
    };
    Candidate { material, ..candidate.clone() }
}

fn damaged_layer(
    bytes: &Bytes,
    annotations: &BTreeMap<String, String>,
    part: Index,
    damages: &[Damage],
) -> (Bytes, BTreeMap<String, String>) {
    let mut annotations = annotations.clone();
    let part = part.index(annotations.len() + 1);
    if let Some(value) = annotations.values_mut().nth(part) {
        *value = String::from_utf8_lossy(&damaged(value.as_bytes(), damages)).into_owned();
        return (bytes.clone(), annotations);
    }
    (damaged(bytes, damages).into(), annotations)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn damaged_signatures_prove_nothing_new(name in select(&NAMES[..]), part: Index, damages in damages()) {
        let whole = candidate(name);
        let before = judge(name, &whole);
        match judge(name, &damaged_candidate(&whole, part, &damages)) {
            Ok(proof) => prop_assert_eq!(Ok(proof), before),
            Err(failure) => prop_assert!(!failure.message.is_empty() && failure.message.chars().count() <= 400),
        }
    }

    #[test]
    fn signatures_that_are_cut_off_prove_nothing(name in select(&NAMES[..]), part: Index, at: Index) {
        let whole = candidate(name);
        let cut = damaged_candidate(&whole, part, &[Damage::Cut(at)]);
        if let Ok(proof) = judge(name, &cut) {
            // An annotation that is not read, or one of which nothing is left.
            prop_assert!(name.contains("legacy"));
            prop_assert_eq!(proof.claim, judge(name, &whole).expect("a sample").claim);
        }
    }

    #[test]
    fn damaged_certificates_never_panic(damages in damages()) {
        let annotations = match candidate("keyless-legacy").material {
            Material::SimpleSigning { annotations, .. } => annotations,
            other => panic!("{other:?}"),
        };
        let der = certificate(&annotations[legacy::CERTIFICATE]).expect("a certificate");
        let _ = Leaf::parse(&damaged(&der, &damages));
    }

    #[test]
    fn damaged_roots_never_panic(damages in damages()) {
        let _ = Root::from_json(&damaged(&data("trusted_root.lab.json"), &damages));
    }

    #[test]
    fn damaged_keys_never_panic(name in select(&["key-p256", "k-p384", "k-p521", "k-rsa", "k-ed"][..]), damages in damages()) {
        let pem = data(&format!("keys/{name}.pub"));
        let _ = PublicKey::from_pem(&String::from_utf8_lossy(&damaged(&pem, &damages)));
        let key = super::samples::key(name);
        let _ = PublicKey::from_spki(&damaged(key.spki(), &damages));
    }

    #[test]
    fn damaged_manifests_are_artifacts_of_the_same_or_none(damages in damages()) {
        let manifest = data("key-legacy-tlog/sig.manifest.json");
        let subject = super::samples::subject("key-legacy-tlog");
        let tag: Tag = format!("sha256-{}.sig", subject.hex()).parse().expect("a tag");
        if let Some(artifact) = Artifact::parse(Some(&tag), &damaged(&manifest, &damages)) {
            prop_assert_eq!((artifact.kind, artifact.subject), (ArtifactKind::Signatures, subject));
        }
    }

    #[test]
    fn junk_never_panics(junk: Vec<u8>, text in ".{0,200}", near in r#"[\[\]{}",:0-9a-zA-Z\\ .=+/-]{0,80}"#) {
        for bytes in [&junk[..], text.as_bytes(), near.as_bytes()] {
            let _ = Bundle::parse(bytes);
            let _ = Leaf::parse(bytes);
            let _ = Envelope::parse(bytes);
            let _ = PublicKey::from_spki(bytes);
            let _ = Root::from_json(bytes);
            let _ = Artifact::parse(None, bytes);
            let _ = statement::check_simple_signing(bytes);
            let _ = statement::statement(bytes, &super::lab::some_digest("x"));
            for kind in [ArtifactKind::Bundle, ArtifactKind::Signatures, ArtifactKind::Attestations] {
                let _ = check_layer(kind, bytes);
            }
        }
        let _ = PublicKey::from_pem(&text);
        let annotations = [legacy::SIGNATURE, legacy::CERTIFICATE, legacy::BUNDLE, legacy::TIMESTAMP];
        let annotations = annotations.map(|name| (name.to_owned(), near.clone()));
        let _ = legacy::simple_signing(&BTreeMap::from(annotations));
    }
}
