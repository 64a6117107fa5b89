//! Keys of every kind, with every hash, and those that are not taken.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA256, PKCS_ECDSA_P521_SHA512,
    PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA384, PKCS_RSA_SHA512, PublicKeyData as _, RsaKeySize,
    SignatureAlgorithm,
};

use super::lab::{
    Lab, NOW, Person, Wish, attestation_of, by_key, by_logged_key, der, found, in_bundle, payload_of, pem,
    signature_of, some_digest,
};
use super::samples::{code, key};
use crate::verify::key::{HashChoice, KeyError, KeyKind, PublicKey};
use crate::verify::proof::{Material, Need, Trust, check};
use crate::verify::verdict::ReasonCode;

fn person(algorithm: &'static SignatureAlgorithm) -> Person {
    Person::with_key(algorithm)
}

fn rsa() -> Person {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    Person { key, certificate: None }
}

fn signatures(lab: &Lab, person: &Person, time: Option<i64>) -> [Material; 3] {
    let subject = some_digest("an image");
    [
        in_bundle(&lab.bundle(person, &signature_of(&subject), time)),
        lab.sig(person, &payload_of(&subject), time),
        lab.att(person, &attestation_of(&subject), time),
    ]
}

#[test]
fn every_kind_of_key_signs_in_every_format() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    for (kind, person) in [
        (KeyKind::P256, person(&PKCS_ECDSA_P256_SHA256)),
        (KeyKind::P384, person(&PKCS_ECDSA_P384_SHA384)),
        (KeyKind::P521, person(&PKCS_ECDSA_P521_SHA512)),
        (KeyKind::P521, person(&PKCS_ECDSA_P521_SHA256)),
        (KeyKind::Rsa, rsa()),
        (KeyKind::Ed25519, person(&PKCS_ED25519)),
    ] {
        let key = person.public_key();
        assert_eq!(key.kind(), kind);
        for material in signatures(&lab, &person, None) {
            assert!(by_key(&key, material, &subject).is_ok(), "{kind}");
        }
    }
}

#[test]
fn a_hash_that_is_named_is_the_only_one() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (long, short) = (person(&PKCS_ECDSA_P521_SHA512), person(&PKCS_ECDSA_P521_SHA256));
    let with = |person: &Person, hash| {
        let (key, tlog, timestamp) = (person.public_key(), Need::Ignore, Need::Ignore);
        let [material, ..] = signatures(&lab, person, None);
        check(&found(material), &Trust::Key { key: &key, hash, tlog, timestamp, root: None }, &subject)
    };
    assert!(with(&long, HashChoice::Sha512).is_ok() && with(&short, HashChoice::Sha256).is_ok());
    assert_eq!(code(with(&long, HashChoice::Sha256)), ReasonCode::BadSignature);
    assert_eq!(code(with(&short, HashChoice::Sha512)), ReasonCode::BadSignature);
    assert_eq!(code(with(&long, HashChoice::Sha384)), ReasonCode::BadSignature);
    assert_eq!(code(with(&person(&PKCS_ED25519), HashChoice::Sha512)), ReasonCode::UnsupportedAlgorithm);
}

#[test]
fn log_entries_of_every_kind_of_key_but_one_are_verified() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let root = lab.root();
    for person in [person(&PKCS_ECDSA_P256_SHA256), person(&PKCS_ECDSA_P384_SHA384), rsa(), person(&PKCS_ED25519)] {
        for material in signatures(&lab, &person, Some(NOW)) {
            let key = person.public_key();
            let proof = by_logged_key(&key, &root, material, &subject);
            assert!(proof.as_ref().is_ok_and(|proof| proof.tlog), "{} {proof:?}", key.kind());
            assert!(key.is_witnessed(HashChoice::Auto));
        }
    }
    let large = person(&PKCS_ECDSA_P521_SHA512);
    for material in signatures(&lab, &large, Some(NOW)) {
        let failure = code(by_logged_key(&large.public_key(), &root, material, &subject));
        assert_eq!(failure, ReasonCode::UnsupportedAlgorithm);
    }
}

/// What a policy is refused for: the same signatures count without a log entry.
#[test]
fn log_entries_of_other_hashes_are_never_verified() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let root = lab.root();
    let rsa = |algorithm| Person {
        key: KeyPair::generate_rsa_for(algorithm, RsaKeySize::_2048).expect("a key"),
        certificate: None,
    };
    for (hash, person) in [
        (HashChoice::Sha384, rsa(&PKCS_RSA_SHA384)),
        (HashChoice::Sha512, rsa(&PKCS_RSA_SHA512)),
        (HashChoice::Sha256, person(&PKCS_ECDSA_P521_SHA256)),
        (HashChoice::Sha512, person(&PKCS_ECDSA_P521_SHA512)),
    ] {
        let key = person.public_key();
        assert!(key.signs(hash) && !key.is_witnessed(hash), "{key:?} {hash:?}");
        for material in signatures(&lab, &person, Some(NOW)) {
            let by = |tlog, root| {
                let trust = Trust::Key { key: &key, hash, tlog, timestamp: Need::Ignore, root };
                check(&found(material.clone()), &trust, &subject)
            };
            assert!(by(Need::Ignore, None).is_ok(), "{key:?} {hash:?}");
            assert_eq!(code(by(Need::Require, Some(&root))), ReasonCode::UnsupportedAlgorithm, "{key:?} {hash:?}");
        }
    }
}

#[test]
fn certificates_have_keys_of_the_same_kinds_but_one() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let by = |algorithm| {
        let person = lab.person(&Wish { algorithm, ..Wish::default() });
        signatures(&lab, &person, Some(NOW)).map(|material| lab.keyless(material, &subject))
    };
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        for proof in by(algorithm) {
            assert!(proof.is_ok(), "{algorithm:?} {proof:?}");
        }
    }
    for result in by(&PKCS_ECDSA_P521_SHA512) {
        assert_eq!(code(result), ReasonCode::UnsupportedAlgorithm);
    }
}

#[test]
fn fingerprints_are_the_hash_of_the_key() {
    for (name, kind) in [
        ("key-p256", KeyKind::P256),
        ("k-p384", KeyKind::P384),
        ("k-p521", KeyKind::P521),
        ("k-rsa", KeyKind::Rsa),
        ("k-ed", KeyKind::Ed25519),
    ] {
        let key = key(name);
        assert_eq!(key.kind(), kind);
        assert_eq!(key.fingerprint(), some_digest_of(key.spki()));
        assert_eq!(format!("{key:?}"), format!("PublicKey({kind} {})", key.fingerprint()));
        assert_eq!(PublicKey::from_pem(&pem("PUBLIC KEY", key.spki())), Ok(key));
    }
}

fn some_digest_of(bytes: &[u8]) -> String {
    crate::oci::digest::Digest::of(crate::oci::digest::Algorithm::Sha256, bytes).to_string()
}

#[test]
fn a_key_is_one_block_of_pem() {
    let good = pem("PUBLIC KEY", key("key-p256").spki());
    assert!(PublicKey::from_pem(&format!("\n{good}\n")).is_ok());
    for bad in [
        String::new(),
        "not PEM".to_owned(),
        format!("{good}{good}"),
        format!("{good}x"),
        good.replace("PUBLIC KEY", "EC PUBLIC KEY"),
        good.replace("PUBLIC KEY", "CERTIFICATE"),
        "x".repeat(1 << 20),
    ] {
        assert_eq!(PublicKey::from_pem(&bad), Err(KeyError::Pem), "{bad:.60}");
    }
    assert_eq!(PublicKey::from_pem(&pem("PUBLIC KEY", b"\x30\x00")), Err(KeyError::Form));
    assert_eq!(PublicKey::from_pem(&pem("RSA PUBLIC KEY", key("key-p256").spki())), Err(KeyError::Form));
}

/// A public key: its algorithm, the parameters of that, and the key itself.
fn spki(oid: &[u8], parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[&der(6, oid)[..], parameters].concat());
    der(0x30, &[algorithm, der(3, &[&[0], key].concat())].concat())
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const NULL: &[u8] = &[5, 0];

fn rsa_key(bits: usize) -> Vec<u8> {
    let first = 1_u8 << ((bits - 1) % 8);
    // DER writes a zero before a first bit that is set, and nowhere else.
    let sign: &[u8] = if first == 0x80 { &[0] } else { &[] };
    let modulus = [sign, &[first], &vec![0x55; (bits - 1) / 8]].concat();
    der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat())
}

#[test]
fn rsa_keys_are_neither_short_nor_endless() {
    let with = |bits| PublicKey::from_spki(&spki(RSA, NULL, &rsa_key(bits))).map(|key| key.kind());
    for bits in [2048, 3072, 4096, 8192] {
        assert_eq!(with(bits), Ok(KeyKind::Rsa), "{bits}");
    }
    for bits in [512, 1024, 2047, 8193, 16384, 65536] {
        assert_eq!(with(bits), Err(KeyError::RsaBits(bits)), "{bits}");
    }
    assert_eq!(PublicKey::from_spki(&spki(RSA, &[], &rsa_key(2048))), Err(KeyError::Form), "no parameters");
    let behind = [rsa_key(2048), vec![0]].concat();
    assert_eq!(PublicKey::from_spki(&spki(RSA, NULL, &behind)), Err(KeyError::Form), "bytes behind the key");
}

/// RFC 8017, appendix A.1.1, and RFC 5280.
#[test]
fn an_rsa_key_has_one_fingerprint_in_both_its_forms() {
    for bits in [2048, 4096] {
        let whole = PublicKey::from_spki(&spki(RSA, NULL, &rsa_key(bits))).expect("a key");
        assert_eq!(PublicKey::from_pem(&pem("RSA PUBLIC KEY", &rsa_key(bits))), Ok(whole));
    }
    for bits in [8, 512, 1024] {
        assert_eq!(PublicKey::from_pem(&pem("RSA PUBLIC KEY", &rsa_key(bits))), Err(KeyError::RsaBits(bits)));
    }
    let behind = [rsa_key(2048), vec![0]].concat();
    assert_eq!(PublicKey::from_pem(&pem("RSA PUBLIC KEY", &behind)), Err(KeyError::Form));
    assert_eq!(PublicKey::from_pem(&pem("RSA PUBLIC KEY", &[])), Err(KeyError::Form));
}

#[test]
fn curves_are_those_that_are_named() {
    let point = |len: usize| [&[4][..], &vec![1; len * 2]].concat();
    let with = |curve: &[u8], point: &[u8]| PublicKey::from_spki(&spki(EC, &der(6, curve), point));
    let (p224, k256, brainpool) =
        ([0x2b, 0x81, 4, 0, 0x21], [0x2b, 0x81, 4, 0, 0x0a], [0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7]);
    for (curve, len) in [(&p224[..], 28), (&k256, 32), (&brainpool, 32)] {
        assert_eq!(with(curve, &point(len)), Err(KeyError::Unsupported));
    }
    let p256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    assert!(with(&p256, &point(32)).is_ok());
    for bad in [point(31), point(48), [&[2][..], &[1; 32]].concat(), vec![0], Vec::new()] {
        assert_eq!(with(&p256, &bad), Err(KeyError::Form));
    }
    // Parameters that are written out can describe any curve (CVE-2020-0601).
    assert_eq!(PublicKey::from_spki(&spki(EC, &der(0x30, &[2, 1, 1]), &point(32))), Err(KeyError::Unsupported));
    assert_eq!(PublicKey::from_spki(&spki(EC, NULL, &point(32))), Err(KeyError::Unsupported));
    assert_eq!(PublicKey::from_spki(&spki(EC, &[], &point(32))), Err(KeyError::Unsupported));
}

#[test]
fn other_kinds_are_not_taken() {
    let (ed448, dsa) = ([0x2b, 0x65, 0x71], [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1]);
    assert_eq!(PublicKey::from_spki(&spki(&ed448, &[], &[1; 57])), Err(KeyError::Unsupported));
    assert_eq!(PublicKey::from_spki(&spki(&dsa, &[], &[2, 1, 1])), Err(KeyError::Unsupported));
    assert_eq!(PublicKey::from_spki(&spki(&[0x2b, 0x65, 0x70], &[], &[1; 31])), Err(KeyError::Unsupported));
    let good = key("key-p256").spki().to_vec();
    assert_eq!(PublicKey::from_spki(&[good.clone(), vec![0]].concat()), Err(KeyError::Form));
    for len in 0..good.len() {
        assert!(PublicKey::from_spki(&good[..len]).is_err());
    }
    let person = person(&PKCS_ECDSA_P256_SHA256);
    assert_eq!(person.public_key().spki(), person.key.subject_public_key_info());
}
