//! What an attacker would try, one test an attempt. Everything but the one thing that is wrong holds, so each of these
//! passes as soon as its defence is taken away.

use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType};
use serde_json::json;

use super::lab::{
    Lab, NOW, Person, Wish, attestation_of, by_key, by_logged_key, email, in_bundle, pae, payload_of, signature_of,
    some_digest,
};
use super::samples::{NAMES, candidate, code};
use crate::oci::digest::{Algorithm, Digest};
use crate::verify::proof::{Claim, Material, check};
use crate::verify::text::to_base64;
use crate::verify::verdict::ReasonCode;

fn alone() -> Person {
    Person::with_key(&PKCS_ECDSA_P256_SHA256)
}

/// The verdict on bytes that the key has signed and that nothing else is asked of.
fn signed_by_key(person: &Person, material: Material, subject: &Digest) -> ReasonCode {
    code(by_key(&person.public_key(), material, subject))
}

/// Row 1: a signature of one image under the tag or the subject of another.
#[test]
fn a_signature_is_of_the_digest_that_it_says() {
    let other = some_digest("another image");
    for name in NAMES.into_iter().filter(|name| !name.starts_with("ed25519")) {
        let authority = super::samples::Authority::of(name);
        assert_eq!(code(check(&candidate(name), &authority.trust(), &other)), ReasonCode::SubjectMismatch, "{name}");
    }
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, bob, root) = (lab.person(&Wish::default()), alone(), lab.root());
    for by_a_certificate in [
        in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW))),
        lab.sig(&alice, &payload_of(&subject), Some(NOW)),
        lab.att(&alice, &attestation_of(&subject), Some(NOW)),
    ] {
        assert_eq!(code(lab.keyless(by_a_certificate, &other)), ReasonCode::SubjectMismatch);
    }
    for by_a_key in [
        in_bundle(&lab.bundle(&bob, &signature_of(&subject), Some(NOW))),
        lab.sig(&bob, &payload_of(&subject), Some(NOW)),
        lab.att(&bob, &attestation_of(&subject), Some(NOW)),
    ] {
        assert_eq!(signed_by_key(&bob, by_a_key.clone(), &other), ReasonCode::SubjectMismatch);
        assert_eq!(code(by_logged_key(&bob.public_key(), &root, by_a_key, &other)), ReasonCode::SubjectMismatch);
    }
}

/// Row 1: hexadecimal is compared as it is written, and with its algorithm.
#[test]
fn digests_are_compared_byte_by_byte() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let upper = subject.hex().to_uppercase();
    for digest in
        [json!({ "sha256": upper }), json!({ "sha512": subject.hex() }), json!({ "Sha256": subject.hex() }), json!({})]
    {
        let mut statement = signature_of(&subject);
        statement["subject"][0]["digest"] = digest;
        let material = in_bundle(&lab.bundle(&bob, &statement, None));
        assert_eq!(signed_by_key(&bob, material, &subject), ReasonCode::SubjectMismatch, "{statement}");
    }
    let payload = payload_of(&subject).replace(&subject.hex(), &upper);
    assert_eq!(signed_by_key(&bob, lab.sig(&bob, &payload, None), &subject), ReasonCode::SubjectMismatch);
}

/// Row 3: an attestation is something said about an image, not a release of it.
#[test]
fn an_attestation_never_counts_as_a_signature() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let statement = attestation_of(&subject);
    for material in [in_bundle(&lab.bundle(&bob, &statement, None)), lab.att(&bob, &statement, None)] {
        let proof = by_key(&bob.public_key(), material, &subject).expect("an attestation");
        let Claim::Attestation { predicate_type, predicate } = proof.claim else { panic!("{:?}", proof.claim) };
        assert_eq!(predicate_type, "https://spdx.dev/Document");
        assert_eq!(predicate, json!({ "PATH": "/bin", "path": "/usr" }));
    }
}

/// Row 18: the type of an attestation is what was signed, whatever stands on the outside.
#[test]
fn the_type_of_an_attestation_is_the_signed_one() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let Material::Envelope { envelope, mut annotations } = lab.att(&bob, &attestation_of(&subject), None) else {
        panic!("an envelope")
    };
    annotations.insert("predicateType".to_owned(), "https://slsa.dev/provenance/v1".to_owned());
    let proof =
        by_key(&bob.public_key(), Material::Envelope { envelope, annotations }, &subject).expect("an attestation");
    assert!(
        matches!(proof.claim, Claim::Attestation { predicate_type, .. } if predicate_type == "https://spdx.dev/Document")
    );
}

/// Row 4: other tools sign the same form and mean something else.
#[test]
fn a_payload_is_a_container_signature_and_nothing_else() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let payload = payload_of(&subject);
    for kind in
        ["atomic container signature", "Cosign container image signature", "", "cosign container image signature "]
    {
        let other = payload.replace("cosign container image signature", kind);
        assert_ne!(other, payload);
        assert_eq!(signed_by_key(&bob, lab.sig(&bob, &other, None), &subject), ReasonCode::Malformed, "{kind}");
    }
    for kind in ["https://in-toto.io/Statement/v2", "https://in-toto.io/Statement/V1", ""] {
        let mut statement = signature_of(&subject);
        statement["_type"] = json!(kind);
        let material = in_bundle(&lab.bundle(&bob, &statement, None));
        assert_eq!(signed_by_key(&bob, material, &subject), ReasonCode::Malformed, "{kind}");
    }
}

/// Row 5: a payload that Go would read as one thing and others as another.
#[test]
fn no_member_stands_twice_in_what_is_signed() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    let other = some_digest("another image");
    let (payload, statement) = (payload_of(&subject), signature_of(&subject).to_string());
    let image = format!(r#""docker-manifest-digest":"{subject}""#);
    for twice in [
        format!(r#"{image},"docker-manifest-digest":"{other}""#),
        format!(r#""docker-manifest-digest":"{other}",{image}"#),
        format!(r#"{image},"Docker-Manifest-Digest":"{other}""#),
        format!(r#"{image},"docKer-manifest-digest":"{other}""#).replace('K', "\u{212a}"),
        format!(r#"{image},"note":"x""#),
        format!(r#""Docker-Manifest-Digest":"{subject}""#),
    ] {
        let payload = payload.replace(&image, &twice);
        assert_eq!(signed_by_key(&bob, lab.sig(&bob, &payload, None), &subject), ReasonCode::Malformed, "{payload}");
    }
    let digest = format!(r#""sha256":"{}""#, subject.hex());
    for (from, to) in [
        (digest.as_str(), format!(r#"{digest},"sha256":"{}""#, other.hex())),
        (&digest, format!(r#"{digest},"SHA256":"{}""#, other.hex())),
        (r#""predicate":{}"#, r#""predicate":{},"PredicateType":"https://example.com""#.to_owned()),
        (r#""predicate":{}"#, r#""predicate":{"a":1,"a":2}"#.to_owned()),
        (r#""subject":["#, r#""Subject":[],"subject":["#.to_owned()),
    ] {
        let text = statement.replace(from, &to);
        assert_ne!(text, statement);
        assert_eq!(signed_by_key(&bob, raw_statement(&bob, &text), &subject), ReasonCode::Malformed, "{text}");
    }
}

/// A bundle around a statement that no JSON library would write.
fn raw_statement(person: &Person, payload: &str) -> Material {
    in_bundle(&json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": {
            "payload": to_base64(payload.as_bytes()), "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": to_base64(&person.sign(&pae(payload.as_bytes()))) }],
        },
    }))
}

/// Row 5 and 13: what stands before or behind the JSON that was signed.
#[test]
fn nothing_stands_around_what_is_signed() {
    let (lab, bob, subject) = (Lab::new(), alone(), some_digest("an image"));
    for (before, behind) in [("\u{feff}", ""), ("", "{}"), ("", "\0"), ("[", "]")] {
        let payload = format!("{before}{}{behind}", payload_of(&subject));
        assert_eq!(signed_by_key(&bob, lab.sig(&bob, &payload, None), &subject), ReasonCode::Malformed);
        let statement = format!("{before}{}{behind}", signature_of(&subject));
        assert_eq!(signed_by_key(&bob, raw_statement(&bob, &statement), &subject), ReasonCode::Malformed);
    }
}

/// Row 19: keys come from the policy; a hint and a `keyid` are what the signer says of himself.
#[test]
fn neither_hint_nor_keyid_chooses_the_key() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (bob, mallory) = (alone(), alone());
    let mut bundle = lab.bundle(&mallory, &signature_of(&subject), None);
    let hint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bob.public_key().spki());
    bundle["verificationMaterial"]["publicKey"]["hint"] = json!(to_base64(hint.as_ref()));
    assert_eq!(signed_by_key(&bob, in_bundle(&bundle), &subject), ReasonCode::BadSignature);
    assert!(by_key(&mallory.public_key(), in_bundle(&bundle), &subject).is_ok(), "a hint keeps nobody out either");
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("mallory");
    assert_eq!(signed_by_key(&mallory, in_bundle(&bundle), &subject), ReasonCode::Malformed);
}

/// Row 8: one issuer, one name.
#[test]
fn a_certificate_says_one_thing() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let by = |wish: Wish| {
        let person = lab.person(&wish);
        lab.keyless(in_bundle(&lab.bundle(&person, &signature_of(&subject), Some(NOW))), &subject)
    };
    let wish = |issuer_v1, issuer_v2| Wish { issuer_v1, issuer_v2, ..Wish::default() };
    assert_eq!(code(by(wish(Some("https://a.example"), Some("https://b.example")))), ReasonCode::IssuerMismatch);
    assert_eq!(code(by(wish(None, None))), ReasonCode::IssuerMismatch);
    assert!(by(wish(Some("https://a.example"), None)).is_ok() && by(wish(None, Some("https://a.example"))).is_ok());
    let named = |names| Wish { names, ..Wish::default() };
    let uri = SanType::URI("https://ci.example/app".try_into().expect("a URI"));
    for names in [
        vec![email("alice@example.com"), email("mallory@example.com")],
        vec![email("alice@example.com"), uri],
        vec![SanType::DnsName("example.com".try_into().expect("a name"))],
        Vec::new(),
    ] {
        assert_eq!(code(by(named(names))), ReasonCode::IdentityMismatch);
    }
}

/// A certificate of the right authority that is for something else.
#[test]
fn a_certificate_is_for_signing_code() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let server = lab.person(&Wish { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Wish::default() });
    let material = in_bundle(&lab.bundle(&server, &signature_of(&subject), Some(NOW)));
    assert_eq!(code(lab.keyless(material, &subject)), ReasonCode::CertUntrusted);
}

/// A signature in whose certificate is another key, with everything else around it genuine.
#[test]
fn the_certificate_made_the_signature() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, mallory) = (lab.person(&Wish::default()), alone());
    let thief = Person { key: mallory.key, certificate: alice.certificate };
    for material in [
        in_bundle(&lab.bundle(&thief, &signature_of(&subject), Some(NOW))),
        lab.sig(&thief, &payload_of(&subject), Some(NOW)),
        lab.att(&thief, &attestation_of(&subject), Some(NOW)),
    ] {
        assert_eq!(code(lab.keyless(material, &subject)), ReasonCode::BadSignature);
    }
}

/// A message signature says nothing of a manifest that anybody could compare.
#[test]
fn a_bundle_without_an_envelope_is_no_signature_of_a_manifest() {
    let (bob, subject) = (alone(), some_digest("an image"));
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "messageSignature": { "signature": to_base64(&bob.sign(subject.to_string().as_bytes())) },
    });
    assert_eq!(signed_by_key(&bob, in_bundle(&bundle), &subject), ReasonCode::Malformed);
}

/// Manifests can be called by SHA-512 as well, and then that is what has to be signed.
#[test]
fn a_subject_can_be_called_by_sha512() {
    let lab = Lab::new();
    let subject = Digest::of(Algorithm::Sha512, b"an image");
    let (alice, bob, root) = (lab.person(&Wish::default()), alone(), lab.root());
    assert!(lab.keyless(in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW))), &subject).is_ok());
    assert!(lab.keyless(lab.sig(&alice, &payload_of(&subject), Some(NOW)), &subject).is_ok());
    let material = in_bundle(&lab.bundle(&bob, &signature_of(&subject), Some(NOW)));
    assert!(by_logged_key(&bob.public_key(), &root, material.clone(), &subject).is_ok());
    let short = Digest::of(Algorithm::Sha256, b"an image");
    assert_eq!(code(by_logged_key(&bob.public_key(), &root, material, &short)), ReasonCode::SubjectMismatch);
}
