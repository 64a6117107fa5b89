//! Forms and limits: what is a signature artifact, a bundle, a certificate, a trusted root, and how much of each.

use std::collections::BTreeMap;

use bytes::Bytes;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};

use super::lab::{
    Lab, NOW, Person, Wish, attestation_of, by_key, der, in_bundle, payload_of, signature_of, some_digest,
};
use super::samples::{candidate, code, data, root_json, subject};
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::name::Tag;
use crate::verify::artifact::{Artifact, ArtifactKind, check_config, check_layer};
use crate::verify::bundle::Bundle;
use crate::verify::certificate::Leaf;
use crate::verify::limits::{
    ATTESTATION_BYTES_MAX, CERTIFICATE_BYTES_MAX, CHAIN_MAX, LAYERS_MAX, LOG_ENTRIES_MAX, SIGNATURE_BYTES_MAX,
    STATEMENT_VALUES_MAX, SUBJECTS_MAX, TIMESTAMPS_MAX,
};
use crate::verify::proof::Material;
use crate::verify::roots::Root;
use crate::verify::text::to_base64;
use crate::verify::verdict::ReasonCode;

const SIG: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn tag(ending: &str) -> Tag {
    format!("sha256-{}{ending}", some_digest("an image").hex()).parse().expect("a tag")
}

fn descriptor(media_type: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "size": size, "digest": some_digest(media_type).to_string() })
}

fn sig_manifest() -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", 233), "layers": [descriptor(SIG, 250)],
    })
}

fn referrer() -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "config": descriptor("application/vnd.oci.empty.v1+json", 2),
        "layers": [descriptor("application/vnd.dev.sigstore.bundle.v0.3+json", 3000)],
        "subject": { "mediaType": "a/b", "size": 1, "digest": some_digest("an image").to_string() },
    })
}

fn kind(tag: Option<&Tag>, manifest: &Value) -> Option<ArtifactKind> {
    Artifact::parse(tag, manifest.to_string().as_bytes()).map(|artifact| {
        assert_eq!(artifact.subject, some_digest("an image"));
        artifact.kind
    })
}

fn with(mut manifest: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    manifest.pointer_mut(parent).expect("a place")[name] = value;
    manifest
}

#[test]
fn signature_artifacts_are_known_by_their_form() {
    let att = "application/vnd.dsse.envelope.v1+json";
    assert_eq!(kind(Some(&tag(".sig")), &sig_manifest()), Some(ArtifactKind::Signatures));
    let att = with(sig_manifest(), "/layers", json!([descriptor(att, 1 << 20), descriptor(att, 100)]));
    assert_eq!(kind(Some(&tag(".att")), &att), Some(ArtifactKind::Attestations));
    assert_eq!(kind(None, &referrer()), Some(ArtifactKind::Bundle));
    assert_eq!(kind(Some(&"latest".parse().expect("a tag")), &referrer()), Some(ArtifactKind::Bundle));
    let cosign = "application/vnd.dev.cosign.artifact.sig.v1+json";
    let mode = with(referrer(), "/layers", json!([descriptor(SIG, 250), descriptor(SIG, 250)]));
    let mode = with(with(mode, "/config", descriptor(cosign, 233)), "/artifactType", json!(cosign));
    assert_eq!(kind(None, &mode), Some(ArtifactKind::Signatures));
    assert_eq!(kind(None, &with(mode, "/artifactType", Value::Null)), Some(ArtifactKind::Signatures));
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(
        kind(Some(&tag(".sig")), &with(sig_manifest(), "/mediaType", json!(docker))),
        Some(ArtifactKind::Signatures)
    );
}

/// Under a tag only the tag, the layers and sizes count: tools write other configs than cosign does.
#[test]
fn a_signature_under_a_tag_has_any_small_config() {
    for config in ["application/vnd.oci.empty.v1+json", "application/vnd.example.config+json", TAR] {
        let manifest = with(sig_manifest(), "/config", descriptor(config, 2));
        assert_eq!(kind(Some(&tag(".sig")), &manifest), Some(ArtifactKind::Signatures), "{config}");
        assert_eq!(kind(Some(&tag(".sig")), &with(manifest, "/config/size", json!(16 * 1024 + 1))), None, "{config}");
    }
}

/// A layer would be read by everybody as one.
#[test]
fn a_config_is_a_short_object_in_json() {
    assert!(check_config(b"{}").is_ok());
    let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8)).into_bytes();
    assert!(check_config(&long(16 * 1024)).is_ok());
    assert_eq!(check_config(&long(16 * 1024 + 1)).expect_err("long").code, ReasonCode::LimitExceeded);
    for other in [&b"\x1f\x8b\x08"[..], b"", b"[]", b"\"#!/bin/sh\"", b"#!/bin/sh\n", b"{} x", b"{\"a\":1,\"a\":2}"] {
        assert_eq!(check_config(other).expect_err("no object").code, ReasonCode::Malformed, "{other:?}");
    }
}

/// Row 14 of the table of attacks: an image under the name of a signature.
#[test]
fn an_image_in_disguise_is_no_signature_artifact() {
    let is_none = |manifest: Value| {
        assert_eq!(kind(Some(&tag(".sig")), &manifest), None, "{manifest}");
    };
    is_none(with(sig_manifest(), "/layers", json!([descriptor(TAR, 250)])));
    is_none(with(sig_manifest(), "/layers", json!([descriptor(SIG, 250), descriptor(TAR, 250)])));
    is_none(with(sig_manifest(), "/layers", json!([])));
    is_none(with(sig_manifest(), "/layers", Value::Null));
    is_none(with(sig_manifest(), "/layers", vec![descriptor(SIG, 250); LAYERS_MAX + 1].into()));
    is_none(with(sig_manifest(), "/layers/0/size", json!(SIGNATURE_BYTES_MAX + 1)));
    is_none(with(sig_manifest(), "/layers/0/digest", json!("md5:00")));
    is_none(with(sig_manifest(), "/config/size", json!(16 * 1024 + 1)));
    is_none(with(sig_manifest(), "/config", Value::Null));
    is_none(with(sig_manifest(), "/mediaType", json!("application/vnd.example+json")));
    is_none(with(
        sig_manifest(),
        "/subject",
        json!({ "mediaType": "a/b", "size": 1, "digest": some_digest("x").to_string() }),
    ));
    is_none(with(sig_manifest(), "/Layers", json!([descriptor(TAR, 250)])));
    for ending in [".sbom", ".att", ".sig.sig", "", ".SIG"] {
        assert_eq!(kind(Some(&tag(ending)), &sig_manifest()), None, "{ending}");
    }
    for name in ["latest", "sha256-00.sig", "sha512-00.sig"] {
        assert_eq!(kind(Some(&name.parse().expect("a tag")), &sig_manifest()), None, "{name}");
    }
    assert_eq!(kind(None, &sig_manifest()), None);
}

#[test]
fn a_referrer_is_a_signature_by_its_type_and_its_layer() {
    let is_none = |manifest: Value| assert_eq!(kind(None, &manifest), None, "{manifest}");
    let bundle = descriptor("application/vnd.dev.sigstore.bundle.v0.3+json", 3000);
    is_none(with(referrer(), "/layers", json!([bundle, bundle])));
    is_none(with(referrer(), "/layers", json!([descriptor(TAR, 3000)])));
    is_none(with(referrer(), "/layers/0/size", json!(ATTESTATION_BYTES_MAX + 1)));
    is_none(with(referrer(), "/artifactType", json!("application/spdx+json")));
    is_none(with(referrer(), "/artifactType", Value::Null));
    is_none(with(referrer(), "/artifactType", json!("application/vnd.oci.image.config.v1+json")));
    is_none(with(referrer(), "/config/size", json!(16 * 1024 + 1)));
    is_none(with(referrer(), "/subject", Value::Null));
    is_none(with(referrer(), "/manifests", json!([])));
    assert!(Artifact::parse(None, b"{}").is_none() && Artifact::parse(None, b"").is_none());
}

#[test]
fn a_referrer_without_a_type_is_of_that_of_its_config() {
    for (media_type, layer, expected) in [
        (BUNDLE, BUNDLE, Some(ArtifactKind::Bundle)),
        (BUNDLE, TAR, None),
        ("application/vnd.dev.cosign.artifact.sig.v1+json", SIG, Some(ArtifactKind::Signatures)),
        ("application/vnd.oci.image.config.v1+json", BUNDLE, None),
    ] {
        let manifest = with(referrer(), "/layers", json!([descriptor(layer, 3000)]));
        let manifest = with(manifest, "/config", descriptor(media_type, 2));
        let alone = with(manifest.clone(), "/artifactType", Value::Null);
        assert_eq!(kind(None, &alone), expected, "{media_type} {layer}");
        // One that has a type is of that, whatever its config is.
        let other = with(manifest, "/artifactType", json!("application/spdx+json"));
        assert_eq!(kind(None, &other), None, "{media_type} {layer}");
    }
    let config = with(referrer(), "/config", descriptor("application/vnd.oci.image.config.v1+json", 2));
    assert_eq!(kind(None, &config), Some(ArtifactKind::Bundle));
}

#[test]
fn a_fallback_index_names_manifests_and_nothing_else() {
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor("application/vnd.oci.image.manifest.v1+json", 800)],
    });
    assert_eq!(kind(Some(&tag("")), &index), Some(ArtifactKind::Fallback));
    assert_eq!(kind(Some(&tag("")), &with(index.clone(), "/manifests", json!([]))), Some(ArtifactKind::Fallback));
    assert_eq!(kind(Some(&tag(".sig")), &index), None);
    assert_eq!(kind(None, &index), None);
    let child = descriptor("application/vnd.oci.image.manifest.v1+json", 800);
    let often = with(index.clone(), "/manifests", Value::from(vec![child; 1000]));
    let read = Artifact::parse(Some(&tag("")), often.to_string().as_bytes()).expect("a list");
    assert_eq!(read.layers.len(), 1, "each is looked at once");
    for (pointer, value) in [
        ("/manifests/0", descriptor("application/vnd.oci.image.index.v1+json", 800)),
        ("/manifests", Value::Null),
        ("/layers", json!([])),
        ("/config", descriptor(TAR, 2)),
    ] {
        let index = if pointer == "/manifests/0" {
            with(index.clone(), "/manifests", json!([value]))
        } else {
            with(index.clone(), pointer, value)
        };
        assert_eq!(kind(Some(&tag("")), &index), None, "{index}");
    }
}

#[test]
fn layers_are_what_their_artifact_says() {
    let payload = data("key-legacy-notlog/blobs/3ed7c9fbb4b7c034cf5d9184ad6134f276ba05b120ff021c75abe2de141a6070");
    let bundle = data("key-new-notlog/bundle-0.sigstore.json");
    let envelope: Value = serde_json::from_slice::<Value>(&bundle).expect("JSON")["dsseEnvelope"].take();
    let envelope = envelope.to_string().into_bytes();
    let kinds = [ArtifactKind::Signatures, ArtifactKind::Bundle, ArtifactKind::Attestations];
    for (mine, bytes) in kinds.into_iter().zip([payload, bundle, envelope]) {
        for kind in kinds {
            assert_eq!(check_layer(kind, &bytes).is_ok(), kind == mine, "{kind:?} {mine:?}");
        }
    }
    for kind in kinds {
        let failure = check_layer(kind, &vec![b' '; ATTESTATION_BYTES_MAX + 1]).expect_err("too long");
        assert_eq!(failure.code, ReasonCode::LimitExceeded);
        for junk in [&b"\x1f\x8b\x08"[..], b"", b"{}", b"null", b"[]", b"\"x\""] {
            assert_eq!(check_layer(kind, junk).expect_err("junk").code, ReasonCode::Malformed, "{kind:?}");
        }
    }
    assert!(check_layer(ArtifactKind::Fallback, b"{}").is_err());
}

/// Attestations are long; what says no more than that somebody signed has no reason to be.
#[test]
fn only_attestations_are_long() {
    let (lab, bob) = (Lab::new(), Person::with_key(&PKCS_ECDSA_P256_SHA256));
    let padded = |mut statement: Value, bytes: usize| {
        statement["predicate"] = json!({ "padding": "x".repeat(bytes) });
        lab.bundle(&bob, &statement, None)
    };
    let (signature, attestation) = (signature_of(&some_digest("an image")), attestation_of(&some_digest("an image")));
    // In base64 it is a third longer.
    let (short, long) = (2 << 20, 15 << 18);
    let both = |bundle: &Value| {
        let envelope = bundle["dsseEnvelope"].to_string();
        let (whole, envelope) = (bundle.to_string().into_bytes(), envelope.into_bytes());
        [check_layer(ArtifactKind::Bundle, &whole), check_layer(ArtifactKind::Attestations, &envelope)]
    };
    for (statement, bytes) in [(&signature, short), (&attestation, short), (&attestation, long)] {
        assert_eq!(both(&padded(statement.clone(), bytes)), [Ok(()), Ok(())], "{statement}");
    }
    let nothing = json!({ "_type": "https://in-toto.io/Statement/v1" });
    for statement in [&signature, &nothing] {
        for checked in both(&padded(statement.clone(), long)) {
            assert_eq!(checked.expect_err("too long").code, ReasonCode::LimitExceeded, "{statement}");
        }
    }
    let mut message = lab.file_bundle(&bob, b"a file", None).to_string();
    assert!(check_layer(ArtifactKind::Bundle, message.as_bytes()).is_ok());
    message.push_str(&" ".repeat(SIGNATURE_BYTES_MAX));
    let failure = check_layer(ArtifactKind::Bundle, message.as_bytes()).expect_err("too long");
    assert_eq!(failure.code, ReasonCode::LimitExceeded);
}

fn sample_bundle() -> Value {
    let Material::Bundle(text) = candidate("keyless-new").material else { panic!("a bundle") };
    serde_json::from_slice(&text).expect("JSON")
}

fn fault(bundle: &Value) -> ReasonCode {
    Bundle::parse(bundle.to_string().as_bytes()).expect_err("no such bundle").code
}

/// Row 12 and 13: of everything there is a most.
#[test]
fn bundles_have_limits() {
    let material = "/verificationMaterial";
    let entries = "/verificationMaterial/tlogEntries";
    let entry = "/verificationMaterial/tlogEntries/0";
    let tokens = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
    let long = |bytes: usize| json!(to_base64(&vec![7; bytes]));
    let many = |count: usize| {
        (0..count).map(|i| json!({ "signedTimestamp": to_base64(&der(4, &i.to_be_bytes())) })).collect::<Value>()
    };
    let chain = |count: usize| json!({ "certificates": vec![json!({ "rawBytes": to_base64(&der(5, &[])) }); count] });
    let v1 = with(sample_bundle(), "/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.1"));
    let v1 = with(v1, "/verificationMaterial/certificate", Value::Null);
    for bundle in [
        with(sample_bundle(), "/verificationMaterial/certificate/rawBytes", long(65 << 10)),
        with(sample_bundle(), "/verificationMaterial/certificate/rawBytes", long(CERTIFICATE_BYTES_MAX + 1)),
        with(v1.clone(), &format!("{material}/x509CertificateChain"), chain(CHAIN_MAX + 1)),
        with(sample_bundle(), tokens, many(20)),
        with(sample_bundle(), tokens, many(TIMESTAMPS_MAX + 1)),
        with(sample_bundle(), tokens, json!([{ "signedTimestamp": long(65 << 10) }])),
        with(sample_bundle(), entries, vec![sample_bundle().pointer(entry).cloned(); LOG_ENTRIES_MAX + 1].into()),
        with(sample_bundle(), &format!("{entry}/canonicalizedBody"), long(2 << 20)),
        with(sample_bundle(), &format!("{entry}/inclusionProof/hashes"), vec!["AAAA"; 65].into()),
        with(sample_bundle(), &format!("{entry}/inclusionProof/checkpoint/envelope"), json!("x".repeat(17 << 10))),
        with(sample_bundle(), &format!("{entry}/inclusionProof/checkpoint/envelope"), json!("x\n".repeat(33))),
        with(sample_bundle(), &format!("{entry}/inclusionPromise/signedEntryTimestamp"), long(5 << 10)),
        with(sample_bundle(), &format!("{entry}/logId/keyId"), long(5 << 10)),
        with(sample_bundle(), &format!("{entry}/kindVersion/kind"), json!("x".repeat(5 << 10))),
        with(sample_bundle(), "/dsseEnvelope/signatures/0/sig", long(5 << 10)),
        with(sample_bundle(), "/dsseEnvelope/signatures/0/keyid", json!("x".repeat(5 << 10))),
    ] {
        assert_eq!(fault(&bundle), ReasonCode::LimitExceeded, "{bundle:.300}");
    }
    assert_eq!(
        Bundle::parse(&vec![b' '; ATTESTATION_BYTES_MAX + 1]).expect_err("too long").code,
        ReasonCode::LimitExceeded
    );
    assert!(Bundle::parse(with(sample_bundle(), tokens, many(TIMESTAMPS_MAX)).to_string().as_bytes()).is_ok());
    assert!(
        Bundle::parse(with(v1, &format!("{material}/x509CertificateChain"), chain(CHAIN_MAX)).to_string().as_bytes())
            .is_ok()
    );
}

#[test]
fn bundles_have_the_form_of_their_version() {
    let entry = "/verificationMaterial/tlogEntries/0";
    let certificate = sample_bundle()["verificationMaterial"]["certificate"].clone();
    for (pointer, value, expected) in [
        ("/mediaType".to_owned(), json!("application/vnd.dev.sigstore.bundle.v0.4+json"), ReasonCode::Malformed),
        ("/mediaType".to_owned(), json!("application/json"), ReasonCode::Malformed),
        ("/mediaType".to_owned(), Value::Null, ReasonCode::Malformed),
        ("/messageSignature".to_owned(), json!({ "signature": "AAAA" }), ReasonCode::Malformed),
        ("/dsseEnvelope".to_owned(), Value::Null, ReasonCode::Malformed),
        ("/verificationMaterial/publicKey".to_owned(), json!({ "hint": "" }), ReasonCode::Malformed),
        ("/verificationMaterial/certificate".to_owned(), Value::Null, ReasonCode::Malformed),
        (
            "/verificationMaterial/x509CertificateChain".to_owned(),
            json!({ "certificates": [certificate] }),
            ReasonCode::Malformed,
        ),
        ("/dsseEnvelope/payloadType".to_owned(), json!("text/plain"), ReasonCode::Malformed),
        ("/dsseEnvelope/signatures".to_owned(), json!([]), ReasonCode::Malformed),
        ("/dsseEnvelope/signatures".to_owned(), json!([{ "sig": "AAAA" }, { "sig": "AAAA" }]), ReasonCode::Malformed),
        ("/dsseEnvelope/signatures/0/keyid".to_owned(), json!("me"), ReasonCode::Malformed),
        ("/dsseEnvelope/payload".to_owned(), json!("AAA"), ReasonCode::Malformed),
        ("/dsseEnvelope/payload".to_owned(), json!("AB=="), ReasonCode::Malformed),
        ("/dsseEnvelope/payload".to_owned(), json!("AA_-"), ReasonCode::Malformed),
        (format!("{entry}/integratedTime"), json!("-1"), ReasonCode::Malformed),
        (format!("{entry}/integratedTime"), json!("+1"), ReasonCode::Malformed),
        (format!("{entry}/integratedTime"), json!(1.5), ReasonCode::Malformed),
        (format!("{entry}/integratedTime"), json!("0"), ReasonCode::TlogMissing),
        (format!("{entry}/logIndex"), json!("9223372036854775808"), ReasonCode::Malformed),
        (format!("{entry}/inclusionProof/treeSize"), json!("01"), ReasonCode::Malformed),
        (format!("{entry}/inclusionPromise"), Value::Null, ReasonCode::TlogInvalid),
        (format!("{entry}/inclusionProof"), Value::Null, ReasonCode::TlogMissing),
    ] {
        let bundle = with(sample_bundle(), &pointer, value);
        assert_eq!(fault(&bundle), expected, "{pointer}");
    }
    let v1 = with(sample_bundle(), "/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.1"));
    assert!(Bundle::parse(v1.to_string().as_bytes()).is_ok());
    assert_eq!(fault(&with(v1.clone(), &format!("{entry}/inclusionProof"), Value::Null)), ReasonCode::TlogMissing);
    let unsigned = with(v1, &format!("{entry}/inclusionPromise"), Value::Null);
    assert_eq!(fault(&with(unsigned, &format!("{entry}/integratedTime"), json!("0"))), ReasonCode::TlogMissing);
}

#[test]
fn statements_have_limits() {
    let (lab, image) = (Lab::new(), some_digest("an image"));
    let bob = Person::with_key(&PKCS_ECDSA_P256_SHA256);
    let by = |statement: &Value| code(by_key(&bob.public_key(), in_bundle(&lab.bundle(&bob, statement, None)), &image));
    let one = attestation_of(&image)["subject"][0].clone();
    let many = |count: usize| with(attestation_of(&image), "/subject", vec![one.clone(); count].into());
    assert_eq!(by(&many(SUBJECTS_MAX + 1)), ReasonCode::LimitExceeded);
    let all = in_bundle(&lab.bundle(&bob, &many(SUBJECTS_MAX), None));
    assert!(by_key(&bob.public_key(), all, &image).is_ok());
    assert_eq!(by(&many(0)), ReasonCode::SubjectMismatch);
    assert_eq!(by(&with(attestation_of(&image), "/predicateType", json!(""))), ReasonCode::Malformed);
    assert_eq!(by(&with(attestation_of(&image), "/predicateType", json!("x".repeat(2000)))), ReasonCode::LimitExceeded);
    let values = |count: usize| {
        let bundle = lab.bundle(&bob, &with(attestation_of(&image), "/predicate", vec![0; count].into()), None);
        by_key(&bob.public_key(), in_bundle(&bundle), &image)
    };
    assert!(values(300_000).is_ok(), "as long as a bill of materials");
    assert_eq!(code(values(STATEMENT_VALUES_MAX)), ReasonCode::LimitExceeded);
    let twice = signature_of(&image)["subject"][0].clone();
    assert_eq!(by(&with(signature_of(&image), "/subject", json!([twice, twice]))), ReasonCode::Malformed);
    let long = payload_of(&image).replace("prod", &"x".repeat(SIGNATURE_BYTES_MAX));
    assert_eq!(code(by_key(&bob.public_key(), lab.sig(&bob, &long, None), &image)), ReasonCode::LimitExceeded);
    let long = with(signature_of(&image), "/predicate", json!("x".repeat(SIGNATURE_BYTES_MAX)));
    assert_eq!(by(&long), ReasonCode::LimitExceeded, "a signature is short, in a bundle as well");
}

#[test]
fn deep_and_long_json_is_refused() {
    let (lab, image) = (Lab::new(), some_digest("an image"));
    let bob = Person::with_key(&PKCS_ECDSA_P256_SHA256);
    let bomb = payload_of(&image).replace("\"prod\"", &format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
    assert_eq!(code(by_key(&bob.public_key(), lab.sig(&bob, &bomb, None), &image)), ReasonCode::Malformed);
    for text in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), format!("{{\"mediaType\":{}", "[".repeat(1 << 20))] {
        assert_eq!(Bundle::parse(text.as_bytes()).expect_err("a bomb").code, ReasonCode::Malformed);
        assert!(Artifact::parse(None, text.as_bytes()).is_none());
        assert!(Root::from_json(text.as_bytes()).is_err());
    }
}

#[test]
fn annotations_of_old_signatures_have_forms_and_limits() {
    let Material::SimpleSigning { payload, annotations } = candidate("keyless-legacy").material else { panic!(".sig") };
    let with = |name: &str, value: String| {
        let mut annotations: BTreeMap<String, String> = annotations.clone();
        annotations.insert(name.to_owned(), value);
        let material = Material::SimpleSigning { payload: Bytes::clone(&payload), annotations };
        code(super::samples::judge("keyless-legacy", &super::lab::found(material)))
    };
    let (bundle, certificate) = ("dev.sigstore.cosign/bundle", "dev.sigstore.cosign/certificate");
    let (timestamp, signature) = ("dev.sigstore.cosign/rfc3161timestamp", "dev.cosignproject.cosign/signature");
    let good = &annotations[bundle];
    for (name, value, expected) in [
        (signature, String::new(), ReasonCode::Malformed),
        (signature, "AAAA".to_owned(), ReasonCode::BadSignature),
        (signature, "x".repeat(1 << 20), ReasonCode::LimitExceeded),
        (certificate, String::new(), ReasonCode::NoTrustedSigner),
        (certificate, "x".repeat(1 << 20), ReasonCode::LimitExceeded),
        (certificate, annotations[certificate].repeat(2), ReasonCode::Malformed),
        (bundle, String::new(), ReasonCode::Malformed),
        (bundle, format!("{good}{good}"), ReasonCode::Malformed),
        (bundle, good.replace("\"Payload\"", "\"payload\""), ReasonCode::Malformed),
        (bundle, good.replacen('{', "{\"extra\":1,", 1), ReasonCode::Malformed),
        (bundle, good.replacen('{', "{\"signedEntryTimestamp\":\"AAAA\",", 1), ReasonCode::Malformed),
        (bundle, " ".repeat(4 << 20), ReasonCode::LimitExceeded),
        (timestamp, "{}".to_owned(), ReasonCode::Malformed),
        (timestamp, "{\"SignedRFC3161Timestamp\":\"AAAA\"}".to_owned(), ReasonCode::Malformed),
        (timestamp, "{\"SignedRFC3161Timestamp\":\"BQA=\"}".to_owned(), ReasonCode::NoTimestamp),
        (timestamp, " ".repeat(1 << 20), ReasonCode::LimitExceeded),
    ] {
        assert_eq!(with(name, value), expected, "{name}");
    }
}

#[test]
fn certificates_are_read_whole_or_not_at_all() {
    let lab = Lab::new();
    let good = lab.person(&Wish { claims: vec![(12, "https://example.com/app"), (11, "hosted")], ..Wish::default() });
    let good = good.certificate.expect("a certificate");
    let leaf = Leaf::parse(&good).expect("a certificate");
    assert_eq!((leaf.issuer.as_str(), leaf.subject.as_str()), ("https://issuer.example", "alice@example.com"));
    assert_eq!(leaf.claims["sourceRepositoryURI"], "https://example.com/app");
    assert_eq!(leaf.claims["runnerEnvironment"], "hosted");
    assert_eq!(leaf.validity, NOW - 300..=NOW + 300);
    for len in 0..good.len() {
        assert_eq!(Leaf::parse(&good[..len]).expect_err("half a certificate").code, ReasonCode::Malformed);
    }
    assert_eq!(Leaf::parse(&[&good[..], &[0]].concat()).expect_err("more").code, ReasonCode::Malformed);
    assert_eq!(Leaf::parse(&vec![0x30; 65 << 10]).expect_err("too long").code, ReasonCode::LimitExceeded);
    for bomb in [
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
        &[0x30, 0x80],
        &[0x30, 0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[0x1f; 100],
        &(0..1500).flat_map(|_| [0x30, 0x82, 0x03, 0xe8]).collect::<Vec<u8>>(),
    ] {
        assert_eq!(Leaf::parse(bomb).expect_err("a bomb").code, ReasonCode::Malformed);
    }
    let repeated =
        lab.person(&Wish { claims: vec![(12, "https://a.example"), (12, "https://b.example")], ..Wish::default() });
    let twice = Leaf::parse(&repeated.certificate.expect("a certificate")).expect_err("an extension twice");
    assert_eq!(twice.code, ReasonCode::Malformed);
    let long = Box::leak("x".repeat(2000).into_boxed_str());
    let long = lab.person(&Wish { claims: vec![(12, long)], ..Wish::default() }).certificate.expect("a certificate");
    assert_eq!(Leaf::parse(&long).expect_err("a long claim").code, ReasonCode::LimitExceeded);
}

/// Row 13: the key in a certificate is held to the same rules as one in a policy.
#[test]
fn certificates_with_other_keys_are_refused_unread() {
    let lab = Lab::new();
    let person = lab.person(&Wish::default());
    let (good, spki) = (person.certificate.expect("a certificate"), person.key.subject_public_key_info());
    let at = good.windows(spki.len()).position(|window| window == spki).expect("the key");
    let curve =
        spki.windows(8).position(|window| window == [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]).expect("the curve");
    let mut odd = good.clone();
    odd[at + curve + 7] = 1;
    assert_eq!(Leaf::parse(&odd).expect_err("an odd curve").code, ReasonCode::UnsupportedAlgorithm);
    let mut compressed = good;
    compressed[at + spki.len() - 65] = 2;
    assert_eq!(Leaf::parse(&compressed).expect_err("a point").code, ReasonCode::Malformed);
    assert_eq!(der(4, &[0; 200])[..3], [4, 0x81, 200]);
}

#[test]
fn trusted_roots_are_read_as_a_whole() {
    let text = root_json().to_string();
    let root = Root::from_json(text.as_bytes()).expect("a trusted root");
    assert_eq!(root.revision(), format!("{}", Digest::of(Algorithm::Sha256, text.as_bytes())));
    assert_eq!(format!("{root:?}"), format!("Root({})", root.revision()));
    let doubled = |kind: &str| {
        let mut root = root_json();
        let entry = root[kind][0].clone();
        root[kind] = json!([entry, entry]);
        root
    };
    for bad in [
        json!({}),
        json!([]),
        doubled("tlogs"),
        doubled("ctlogs"),
        with(root_json(), "/tlogs", json!({})),
        with(root_json(), "/tlogs/0/publicKey/rawBytes", json!("AAAA")),
        with(
            root_json(),
            "/tlogs/0/publicKey/validFor",
            json!({ "start": "2030-01-01T00:00:00Z", "end": "2020-01-01T00:00:00Z" }),
        ),
        with(root_json(), "/tlogs/0/logId/keyId", json!("AAAA")),
        with(root_json(), "/certificateAuthorities/0/certChain/certificates", json!([])),
        with(root_json(), "/certificateAuthorities/0/certChain/certificates/0/rawBytes", json!("AAAA")),
        with(
            root_json(),
            "/certificateAuthorities/0/certChain/certificates/0/rawBytes",
            json!(to_base64(&vec![0; 20 << 10])),
        ),
        with(root_json(), "/timestampAuthorities", vec![root_json()["timestampAuthorities"][0].clone(); 65].into()),
        with(root_json(), "/mediaType", Value::Null),
        with(root_json(), "/MediaType", json!("x")),
    ] {
        let error = Root::from_json(bad.to_string().as_bytes()).expect_err("no trusted root").to_string();
        assert!(error.starts_with("the trusted root cannot be used: "), "{error}");
    }
    for bad in [&b""[..], b"{", b"\xef\xbb\xbf{}", " ".repeat(2 << 20).as_bytes()] {
        assert!(Root::from_json(bad).is_err());
    }
    assert!(Root::from_json(with(root_json(), "/operator", json!("new")).to_string().as_bytes()).is_ok());
    assert_eq!(subject("keyless-new").to_string().len(), 71);
}
