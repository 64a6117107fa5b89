//! Every sample with one thing changed, everywhere: a verifier is tested by what it refuses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::lab::in_bundle;
use super::samples::{NAMES, candidate, judge};
use crate::verify::proof::{Candidate, Material, Proof};
use crate::verify::text::to_base64;
use crate::verify::verdict::ReasonCode;

/// The samples that pass and are bundles.
fn bundles() -> impl Iterator<Item = (&'static str, Candidate, Value)> {
    let names = NAMES.into_iter().filter(|name| !name.contains("legacy"));
    names.map(|name| {
        let candidate = candidate(name);
        let Material::Bundle(text) = &candidate.material else { panic!("{name} is no bundle") };
        let bundle = serde_json::from_slice(text).expect("JSON");
        (name, candidate, bundle)
    })
}

/// The old samples that pass.
fn legacy() -> impl Iterator<Item = (&'static str, Candidate)> {
    let names = NAMES.into_iter().filter(|name| name.contains("legacy") && !name.starts_with("ed25519"));
    names.map(|name| (name, candidate(name)))
}

fn changed(name: &str, candidate: &Candidate, material: Material) -> Result<Proof, ReasonCode> {
    judge(name, &Candidate { material, ..candidate.clone() }).map_err(|failure| {
        assert!(!failure.message.is_empty(), "{name}");
        failure.code
    })
}

/// Every place in a document, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                places(inner, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

fn all_places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    places(value, "", &mut found);
    found
}

/// A place whose content decides nothing: a hint is what the signer says of a key that the policy knows.
fn is_idle(place: &str) -> bool {
    place.ends_with("/publicKey/hint")
}

#[test]
fn no_bit_of_a_signature_or_its_evidence_can_be_flipped() {
    for (name, candidate, bundle) in bundles() {
        for place in all_places(&bundle).into_iter().filter(|place| !is_idle(place)) {
            let text = bundle.pointer(&place).and_then(Value::as_str);
            let Some(bytes) = text.and_then(|text| STANDARD.decode(text).ok()).filter(|bytes| bytes.len() > 8) else {
                continue;
            };
            let is_token = place.ends_with("/signedTimestamp");
            for at in (0..bytes.len()).step_by(if is_token { 7 } else { bytes.len() / 12 + 1 }).chain([bytes.len() - 1])
            {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                let mut bundle = bundle.clone();
                *bundle.pointer_mut(&place).expect("a place") = json!(to_base64(&flipped));
                let result = changed(name, &candidate, in_bundle(&bundle));
                // A timestamp brings certificates of its authority along; the ones that count are in the root.
                if is_token && result.is_ok() {
                    assert_eq!(result, judge(name, &candidate).map_err(|failure| failure.code), "{name} {place} {at}");
                    continue;
                }
                let code = result.map(drop).expect_err(&format!("{name}{place}, byte {at}"));
                assert!(is_sensible(&place, code), "{name}{place}, byte {at}: {code}");
            }
        }
    }
}

/// What a fault in a part of a bundle may be called.
fn is_sensible(place: &str, code: ReasonCode) -> bool {
    use ReasonCode::{
        BadSignature, CertUntrusted, IdentityMismatch, IssuerMismatch, Malformed, NoTimestamp, SctInvalid, TlogInvalid,
        UnsupportedAlgorithm,
    };
    let expected: &[ReasonCode] = if place.contains("/dsseEnvelope") {
        &[BadSignature]
    } else if place.contains("/certificate") {
        &[Malformed, BadSignature, CertUntrusted, IdentityMismatch, IssuerMismatch, SctInvalid, UnsupportedAlgorithm]
    } else if place.contains("/tlogEntries") {
        &[TlogInvalid, Malformed]
    } else {
        &[NoTimestamp, Malformed]
    };
    expected.contains(&code)
}

#[test]
fn nothing_can_be_removed() {
    for (name, candidate, bundle) in bundles() {
        for place in all_places(&bundle).iter().skip(1) {
            let (parent, last) = place.rsplit_once('/').expect("a place");
            let mut bundle = bundle.clone();
            match bundle.pointer_mut(parent).expect("a parent") {
                Value::Object(members) => drop(members.remove(last)),
                Value::Array(items) => drop(items.remove(last.parse().expect("an index"))),
                _ => {}
            }
            let Ok(proof) = changed(name, &candidate, in_bundle(&bundle)) else { continue };
            let before = judge(name, &candidate).expect("a sample that passes");
            if place.contains("/timestampVerificationData") && name.starts_with("keyless") {
                // The log says when it was; that an authority says so too is not required.
                assert_eq!(Proof { timestamp: true, ..proof }, before, "{name}{place}");
                continue;
            }
            // What is not there counts as zero, and in the first entry of a log it is zero.
            let is_nothing = is_idle(place) || place.ends_with("/logIndex") || is_empty(&candidate, place);
            assert!(is_nothing, "{name}{place}");
            assert_eq!(proof, before, "{name}{place}");
        }
    }
}

/// Whether a sample has nothing in a place, so that nothing is lost with it.
fn is_empty(candidate: &Candidate, place: &str) -> bool {
    let Material::Bundle(text) = &candidate.material else { return false };
    let bundle: Value = serde_json::from_slice(text).expect("JSON");
    let value = bundle.pointer(place).expect("a place");
    [json!({}), json!([]), json!(""), Value::Null].contains(value)
}

#[test]
fn nothing_can_be_added() {
    for (name, candidate, bundle) in bundles() {
        for place in all_places(&bundle) {
            let mut bundle = bundle.clone();
            match bundle.pointer_mut(&place).expect("a place") {
                Value::Object(members) => drop(members.insert("unknown".to_owned(), json!("x"))),
                Value::Array(items) if !items.is_empty() => items.push(items[0].clone()),
                _ => continue,
            }
            let code = changed(name, &candidate, in_bundle(&bundle)).map(drop);
            let expected = [ReasonCode::Malformed, ReasonCode::TlogInvalid, ReasonCode::LimitExceeded];
            assert!(code.is_err_and(|code| expected.contains(&code)), "{name}{place}");
        }
    }
}

#[test]
fn no_member_can_stand_twice_in_any_spelling() {
    const MARK: &str = "@@";
    for (name, candidate, bundle) in bundles() {
        for place in all_places(&bundle).iter().skip(1) {
            let (parent, member) = place.rsplit_once('/').expect("a place");
            let value = bundle.pointer(place).cloned().expect("a place");
            let mut bundle = bundle.clone();
            let Some(Value::Object(members)) = bundle.pointer_mut(parent) else { continue };
            members.insert(MARK.to_owned(), value);
            let text = bundle.to_string();
            for spelling in
                [member.to_owned(), member.to_uppercase(), format!("\\u{:04x}{}", member.as_bytes()[0], &member[1..])]
            {
                let text = text.replace(&format!("\"{MARK}\":"), &format!("\"{spelling}\":"));
                let result = changed(name, &candidate, Material::Bundle(Bytes::from(text)));
                assert_eq!(result.map(drop), Err(ReasonCode::Malformed), "{name}{place} as {spelling}");
            }
        }
    }
}

#[test]
fn no_member_can_be_written_otherwise() {
    for (name, candidate, bundle) in bundles() {
        let text = bundle.to_string();
        for (from, to) in [
            ("\"mediaType\"", "\"media_type\""),
            ("\"dsseEnvelope\"", "\"DsseEnvelope\""),
            ("\"verificationMaterial\"", "\"verification_material\""),
            ("\"payloadType\"", "\"payloadtype\""),
            ("\"sig\"", "\"SIG\""),
        ] {
            let text = text.replacen(from, to, 1);
            let result = changed(name, &candidate, Material::Bundle(Bytes::from(text)));
            assert_eq!(result.map(drop), Err(ReasonCode::Malformed), "{name}: {to}");
        }
    }
}

#[test]
fn nothing_stands_around_a_bundle_and_nothing_is_cut_off() {
    for (name, candidate, bundle) in bundles() {
        let text = bundle.to_string();
        for (before, behind) in [("\u{feff}", ""), ("", "{}"), ("", "\0"), ("", "x"), ("[", "]"), ("\"", "\"")] {
            let text = Bytes::from(format!("{before}{text}{behind}"));
            let result = changed(name, &candidate, Material::Bundle(text));
            assert_eq!(result.map(drop), Err(ReasonCode::Malformed), "{name}: {before}{behind}");
        }
        let all = Bytes::from(text);
        for len in (0..all.len()).rev().take(64).chain((0..all.len()).step_by(13)) {
            let result = changed(name, &candidate, Material::Bundle(all.slice(..len)));
            assert_eq!(result.map(drop), Err(ReasonCode::Malformed), "{name}, the first {len} bytes");
        }
    }
}

#[test]
fn no_bit_of_an_old_signature_can_be_flipped() {
    for (name, candidate) in legacy() {
        let Material::SimpleSigning { payload, annotations } = &candidate.material else { panic!("{name}") };
        for at in 0..payload.len() {
            let mut flipped = payload.to_vec();
            flipped[at] ^= 1 << (at % 8);
            let material = Material::SimpleSigning { payload: Bytes::from(flipped), annotations: annotations.clone() };
            assert_eq!(
                changed(name, &candidate, material).map(drop),
                Err(ReasonCode::BadSignature),
                "{name}, byte {at}"
            );
        }
        let signature = "dev.cosignproject.cosign/signature";
        let bytes = STANDARD.decode(&annotations[signature]).expect("base64");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let mut annotations = annotations.clone();
            annotations.insert(signature.to_owned(), to_base64(&flipped));
            let material = Material::SimpleSigning { payload: payload.clone(), annotations };
            assert_eq!(
                changed(name, &candidate, material).map(drop),
                Err(ReasonCode::BadSignature),
                "{name}, byte {at}"
            );
        }
    }
}

#[test]
fn no_character_of_an_annotation_can_be_changed() {
    for (name, candidate) in legacy() {
        let Material::SimpleSigning { payload, annotations } = &candidate.material else { panic!("{name}") };
        // The chain is not read: intermediates come from the root.
        for annotation in annotations.keys().filter(|annotation| !annotation.ends_with("/chain")) {
            let text = &annotations[annotation];
            for at in (0..text.len()).step_by(text.len() / 150 + 1) {
                let mut characters = text.clone().into_bytes();
                characters[at] = if characters[at] == b'B' { b'C' } else { b'B' };
                let mut annotations = annotations.clone();
                annotations.insert(annotation.clone(), String::from_utf8(characters).expect("text"));
                let material = Material::SimpleSigning { payload: payload.clone(), annotations };
                let result = changed(name, &candidate, material);
                if let Ok(proof) = result {
                    // The certificates that a timestamp brings along, and the last line of a PEM block.
                    let is_idle = annotation.ends_with("/rfc3161timestamp") || text[..at].contains("-----END");
                    assert!(is_idle, "{name}: {annotation}, character {at}");
                    assert_eq!(Ok(proof), judge(name, &candidate).map_err(|failure| failure.code));
                }
            }
        }
        for annotation in annotations.keys() {
            let mut fewer = annotations.clone();
            fewer.remove(annotation);
            let material = Material::SimpleSigning { payload: payload.clone(), annotations: fewer };
            let result = changed(name, &candidate, material);
            let is_spare = annotation.ends_with("/chain") || annotation.ends_with("/rfc3161timestamp");
            assert_eq!(result.is_ok(), is_spare, "{name} without {annotation}");
        }
    }
}
