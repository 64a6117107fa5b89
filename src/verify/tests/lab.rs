//! A laboratory: a certificate authority, a certificate log and a Rekor that sign whatever a test wants signed, so that
//! each rule can be broken alone while everything else holds.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey as _,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::clock::Timestamp;
use crate::oci::digest::{Algorithm, Digest};
use crate::verify::key::{HashChoice, PublicKey};
use crate::verify::legacy::{BUNDLE, CERTIFICATE, SIGNATURE};
use crate::verify::proof::{Candidate, Failure, Format, Material, Need, Proof, Trust, check};
use crate::verify::roots::Root;
use crate::verify::statement::{COSIGN_SIGN, SIMPLE_SIGNING};
use crate::verify::text::to_base64;

/// When everything in the laboratory happens: seconds since 1970, some day in 2025.
pub(super) const NOW: i64 = 1_750_000_000;

const FULCIO: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 0];
const SCT: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// Who can sign certificates.
pub(super) struct Authority {
    key: KeyPair,
    params: CertificateParams,
    der: Vec<u8>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let der = params.self_signed(&key).expect("a certificate").der().to_vec();
        Self { key, params, der }
    }

    /// An authority below this one, changed before its certificate is made.
    pub(super) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let Self { key, mut params, .. } = Self::new(name);
        change(&mut params);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).expect("a certificate").der().to_vec();
        Self { key, params, der }
    }

    /// Its certificate as JSON holds it.
    pub(super) fn json(&self) -> Value {
        json!({ "rawBytes": to_base64(&self.der) })
    }
}

/// A certificate to be made.
pub(super) struct Wish {
    pub(super) issuer_v1: Option<&'static str>,
    pub(super) issuer_v2: Option<&'static str>,
    pub(super) names: Vec<SanType>,
    pub(super) claims: Vec<(u64, &'static str)>,
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) sct: bool,
    pub(super) usage: ExtendedKeyUsagePurpose,
    pub(super) algorithm: &'static SignatureAlgorithm,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            issuer_v1: Some("https://issuer.example"),
            issuer_v2: Some("https://issuer.example"),
            names: vec![email("alice@example.com")],
            claims: Vec::new(),
            from: NOW - 300,
            until: NOW + 300,
            sct: true,
            usage: ExtendedKeyUsagePurpose::CodeSigning,
            algorithm: &PKCS_ECDSA_P256_SHA256,
        }
    }
}

pub(super) fn email(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().expect("an address"))
}

/// Who signs: a key, and for keyless signatures a certificate of it.
pub(super) struct Person {
    pub(super) key: KeyPair,
    pub(super) certificate: Option<Vec<u8>>,
}

impl Person {
    pub(super) fn with_key(algorithm: &'static SignatureAlgorithm) -> Self {
        Self { key: KeyPair::generate_for(algorithm).expect("a key"), certificate: None }
    }

    pub(super) fn public_key(&self) -> PublicKey {
        PublicKey::from_spki(&self.key.subject_public_key_info()).expect("a key that is taken")
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).expect("a signature")
    }

    fn pem(&self) -> String {
        self.certificate.as_ref().map_or_else(|| self.key.public_key_pem(), |der| pem("CERTIFICATE", der))
    }
}

/// The laboratory.
pub(super) struct Lab {
    pub(super) authority: Authority,
    certificate_log: KeyPair,
    rekor: KeyPair,
}

impl Lab {
    pub(super) fn new() -> Self {
        let key = || KeyPair::generate().expect("a key");
        Self { authority: Authority::new("lab"), certificate_log: key(), rekor: key() }
    }

    /// The trusted root, to be changed.
    pub(super) fn root_json(&self) -> Value {
        let log = |key: &KeyPair| {
            let spki = key.subject_public_key_info();
            let window = json!({ "start": "2020-01-01T00:00:00Z" });
            json!({
                "baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256",
                "publicKey": { "rawBytes": to_base64(&spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": window },
                "logId": { "keyId": to_base64(digest(&SHA256, &spki).as_ref()) },
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.rekor)],
            "ctlogs": [log(&self.certificate_log)],
            "certificateAuthorities": [Self::authority_json(&self.authority, "2020-01-01T00:00:00Z")],
            "timestampAuthorities": [],
        })
    }

    pub(super) fn authority_json(authority: &Authority, start: &str) -> Value {
        json!({
            "subject": { "commonName": "lab" }, "uri": "https://ca.example",
            "certChain": { "certificates": [{ "rawBytes": to_base64(&authority.der) }] },
            "validFor": { "start": start },
        })
    }

    pub(super) fn root(&self) -> Root {
        Root::from_json(self.root_json().to_string().as_bytes()).expect("a trusted root")
    }

    pub(super) fn person(&self, wish: &Wish) -> Person {
        self.person_of(&self.authority, wish)
    }

    pub(super) fn person_of(&self, authority: &Authority, wish: &Wish) -> Person {
        let key = KeyPair::generate_for(wish.algorithm).expect("a key");
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[1, 2, 3]));
        params.distinguished_name = DistinguishedName::new();
        params.not_before = OffsetDateTime::from_unix_timestamp(wish.from).expect("a time");
        params.not_after = OffsetDateTime::from_unix_timestamp(wish.until).expect("a time");
        params.subject_alt_names.clone_from(&wish.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![wish.usage.clone()];
        let bare = wish.issuer_v1.map(|issuer| fulcio(1, issuer.as_bytes().to_vec()));
        let claims = wish.claims.iter().map(|(number, text)| fulcio(*number, utf8(text)));
        let strings = wish.issuer_v2.map(|issuer| fulcio(8, utf8(issuer)));
        params.custom_extensions = bare.into_iter().chain(strings).chain(claims).collect();
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        let precertificate = params.signed_by(&key, &issuer).expect("a certificate").der().to_vec();
        if !wish.sct {
            return Person { key, certificate: Some(precertificate) };
        }
        let sct = self.sct(authority, &precertificate);
        params.custom_extensions.push(CustomExtension::from_oid_content(&SCT, sct));
        let certificate = params.signed_by(&key, &issuer).expect("a certificate").der().to_vec();
        Person { key, certificate: Some(certificate) }
    }

    /// RFC 6962, section 3.2 and 3.3: a list of one.
    fn sct(&self, authority: &Authority, precertificate: &[u8]) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(precertificate).expect("a certificate");
        let tbs = parsed.tbs_certificate.as_ref();
        let time = u64::try_from(NOW * 1000).expect("a time").to_be_bytes();
        let issuer = digest(&SHA256, &authority.key.subject_public_key_info());
        let tbs_len = u32::try_from(tbs.len()).expect("a length").to_be_bytes();
        let signed = [&[0, 0][..], &time, &[0, 1], issuer.as_ref(), &tbs_len[1..], tbs, &[0, 0]].concat();
        let signature = self.certificate_log.sign(&signed).expect("a signature");
        let log = digest(&SHA256, &self.certificate_log.subject_public_key_info());
        let short = |len: usize| u16::try_from(len).expect("a length").to_be_bytes();
        let length = short(signature.len());
        let sct = [&[0][..], log.as_ref(), &time, &[0, 0, 4, 3], &length, &signature].concat();
        let list = [&short(sct.len() + 2)[..], &short(sct.len()), &sct].concat();
        der(4, &list)
    }

    /// A log entry that has just been taken in, the only one of its tree, as a bundle holds it.
    pub(super) fn entry(&self, body: &Value, time: i64) -> Value {
        let text = body.to_string();
        let log_id = digest(&SHA256, &self.rekor.subject_public_key_info());
        let leaf = digest(&SHA256, &[&[0][..], text.as_bytes()].concat());
        let note = format!("rekor.example\n1\n{}\n", to_base64(leaf.as_ref()));
        let signature = [&log_id.as_ref()[..4], &self.rekor.sign(note.as_bytes()).expect("a signature")].concat();
        json!({
            "logIndex": "0",
            "logId": { "keyId": to_base64(log_id.as_ref()) },
            "kindVersion": { "kind": body["kind"], "version": body["apiVersion"] },
            "integratedTime": time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": to_base64(&self.promise(&text, time)) },
            "inclusionProof": {
                "logIndex": "0", "rootHash": to_base64(leaf.as_ref()), "treeSize": "1", "hashes": [],
                "checkpoint": { "envelope": format!("{note}\n\u{2014} rekor.example {}\n", to_base64(&signature)) },
            },
            "canonicalizedBody": to_base64(text.as_bytes()),
        })
    }

    fn promise(&self, body: &str, time: i64) -> Vec<u8> {
        let log_id = hex::encode(digest(&SHA256, &self.rekor.subject_public_key_info()));
        let body = to_base64(body.as_bytes());
        let text = format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{log_id}","logIndex":0}}"#);
        self.rekor.sign(text.as_bytes()).expect("a signature")
    }

    /// A bundle of version 0.3 around a statement; with a log entry from `time` if there is one.
    pub(super) fn bundle(&self, person: &Person, statement: &Value, time: Option<i64>) -> Value {
        let payload = statement.to_string();
        let signature = person.sign(&pae(payload.as_bytes()));
        let entry = time.map(|time| self.entry(&dsse_body(&payload, &signature, &person.pem()), time));
        let mut material = match &person.certificate {
            Some(der) => json!({ "certificate": { "rawBytes": to_base64(der) } }),
            None => json!({ "publicKey": { "hint": "" } }),
        };
        material["tlogEntries"] = entry.into_iter().collect();
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": to_base64(payload.as_bytes()), "payloadType": "application/vnd.in-toto+json",
                "signatures": [{ "sig": to_base64(&signature) }],
            },
        })
    }

    /// The bundle of a file.
    pub(super) fn file_bundle(&self, person: &Person, file: &[u8], time: Option<i64>) -> Value {
        let signature = person.sign(file);
        let mut bundle = self.bundle(person, &json!({}), None);
        let entry = time.map(|time| self.entry(&hashedrekord_body(file, &signature, &person.pem()), time));
        bundle["verificationMaterial"]["tlogEntries"] = entry.into_iter().collect();
        let digest = json!({ "algorithm": "SHA2_256", "digest": to_base64(digest(&SHA256, file).as_ref()) });
        bundle["messageSignature"] = json!({ "messageDigest": digest, "signature": to_base64(&signature) });
        bundle.as_object_mut().expect("a bundle").remove("dsseEnvelope");
        bundle
    }

    /// A layer of a `.sig` manifest.
    pub(super) fn sig(&self, person: &Person, payload: &str, time: Option<i64>) -> Material {
        let signature = person.sign(payload.as_bytes());
        let mut annotations = BTreeMap::from([(SIGNATURE.to_owned(), to_base64(&signature))]);
        if let Some(der) = &person.certificate {
            annotations.insert(CERTIFICATE.to_owned(), pem("CERTIFICATE", der));
        }
        if let Some(time) = time {
            let body = hashedrekord_body(payload.as_bytes(), &signature, &person.pem());
            annotations.insert(BUNDLE.to_owned(), self.rekor_bundle(&body, time));
        }
        Material::SimpleSigning { payload: Bytes::from(payload.to_owned()), annotations }
    }

    /// A layer of a `.att` manifest.
    pub(super) fn att(&self, person: &Person, statement: &Value, time: Option<i64>) -> Material {
        let payload = statement.to_string();
        let signature = person.sign(&pae(payload.as_bytes()));
        let envelope = json!({
            "payloadType": "application/vnd.in-toto+json", "payload": to_base64(payload.as_bytes()),
            "signatures": [{ "keyid": "", "sig": to_base64(&signature) }],
        });
        let mut annotations = BTreeMap::from([(SIGNATURE.to_owned(), String::new())]);
        if let Some(der) = &person.certificate {
            annotations.insert(CERTIFICATE.to_owned(), pem("CERTIFICATE", der));
        }
        if let Some(time) = time {
            let body = dsse_body(&payload, &signature, &person.pem());
            annotations.insert(BUNDLE.to_owned(), self.rekor_bundle(&body, time));
        }
        Material::Envelope { envelope: Bytes::from(envelope.to_string()), annotations }
    }

    fn rekor_bundle(&self, body: &Value, time: i64) -> String {
        let text = body.to_string();
        json!({
            "SignedEntryTimestamp": to_base64(&self.promise(&text, time)),
            "Payload": {
                "body": to_base64(text.as_bytes()), "integratedTime": time, "logIndex": 0,
                "logID": hex::encode(digest(&SHA256, &self.rekor.subject_public_key_info())),
            },
        })
        .to_string()
    }

    /// What a keyless authority that requires everything says.
    pub(super) fn keyless(&self, material: Material, subject: &Digest) -> Result<Proof, Failure> {
        keyless(&self.root(), material, subject)
    }
}

pub(super) fn keyless(root: &Root, material: Material, subject: &Digest) -> Result<Proof, Failure> {
    let trust = Trust::Keyless { root, sct: Need::Require, tlog: Need::Require };
    check(&found(material), &trust, subject)
}

/// What the authority says that is one key and requires nothing else.
pub(super) fn by_key(key: &PublicKey, material: Material, subject: &Digest) -> Result<Proof, Failure> {
    let (tlog, timestamp) = (Need::Ignore, Need::Ignore);
    check(&found(material), &Trust::Key { key, hash: HashChoice::Auto, tlog, timestamp, root: None }, subject)
}

/// The same, with a log entry required.
pub(super) fn by_logged_key(
    key: &PublicKey,
    root: &Root,
    material: Material,
    subject: &Digest,
) -> Result<Proof, Failure> {
    let (tlog, timestamp) = (Need::Require, Need::Ignore);
    check(&found(material), &Trust::Key { key, hash: HashChoice::Auto, tlog, timestamp, root: Some(root) }, subject)
}

pub(super) fn found(material: Material) -> Candidate {
    let format = if matches!(material, Material::Bundle(_)) { Format::Bundle } else { Format::Legacy };
    Candidate { artifact: some_digest("the artifact"), layer: 0, format, material }
}

pub(super) fn some_digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

pub(super) fn in_bundle(bundle: &Value) -> Material {
    Material::Bundle(Bytes::from(bundle.to_string()))
}

/// What `cosign sign` has signed for a bundle.
pub(super) fn signature_of(subject: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { subject.algorithm().as_str(): subject.hex() }, "annotations": { "env": "prod" } }],
        "predicateType": COSIGN_SIGN, "predicate": {},
    })
}

/// What `cosign attest` has signed.
pub(super) fn attestation_of(subject: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "subject": [{ "name": "team/app", "digest": { subject.algorithm().as_str(): subject.hex() } }],
        "predicateType": "https://spdx.dev/Document", "predicate": { "PATH": "/bin", "path": "/usr" },
    })
}

/// What `cosign sign` has signed for a `.sig` tag.
pub(super) fn payload_of(subject: &Digest) -> String {
    let critical = json!({
        "identity": { "docker-reference": "registry.example/team/app" },
        "image": { "docker-manifest-digest": subject.to_string() }, "type": SIMPLE_SIGNING,
    });
    json!({ "critical": critical, "optional": { "env": "prod" } }).to_string()
}

pub(super) fn pae(payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).as_bytes(), payload].concat()
}

pub(super) fn dsse_body(payload: &str, signature: &[u8], pem: &str) -> Value {
    let hash = |bytes: &[u8]| json!({ "algorithm": "sha256", "value": hex::encode(digest(&SHA256, bytes)) });
    json!({
        "apiVersion": "0.0.1", "kind": "dsse",
        "spec": {
            "envelopeHash": hash(b"the envelope"), "payloadHash": hash(payload.as_bytes()),
            "signatures": [{ "signature": to_base64(signature), "verifier": to_base64(pem.as_bytes()) }],
        },
    })
}

/// What Rekor 2 writes down: for an envelope, the hash of what was signed.
pub(super) fn rekor2_body(signed: &[u8], signature: &[u8], key: &[u8]) -> Value {
    let verifier = json!({ "keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": { "rawBytes": to_base64(key) } });
    json!({
        "apiVersion": "0.0.2", "kind": "hashedrekord",
        "spec": { "hashedRekordV002": {
            "data": { "algorithm": "SHA2_256", "digest": to_base64(digest(&SHA256, signed).as_ref()) },
            "signature": { "content": to_base64(signature), "verifier": verifier },
        } },
    })
}

fn hashedrekord_body(payload: &[u8], signature: &[u8], pem: &str) -> Value {
    let hash = json!({ "algorithm": "sha256", "value": hex::encode(digest(&SHA256, payload)) });
    let public_key = json!({ "content": to_base64(pem.as_bytes()) });
    let signature = json!({ "content": to_base64(signature), "publicKey": public_key });
    json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": { "data": { "hash": hash }, "signature": signature } })
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> =
        to_base64(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// DER of one value.
pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a length").to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(3)..];
    let long = u8::try_from(length.len()).expect("four at most") | 0x80;
    let head = if content.len() < 128 { vec![tag] } else { vec![tag, long] };
    [&head, length, content].concat()
}

fn utf8(text: &str) -> Vec<u8> {
    der(0x0c, text.as_bytes())
}

fn fulcio(number: u64, content: Vec<u8>) -> CustomExtension {
    let mut oid = FULCIO;
    oid[8] = number;
    CustomExtension::from_oid_content(&oid, content)
}

#[test]
fn what_the_laboratory_makes_holds() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let (alice, bob) = (lab.person(&Wish::default()), Person::with_key(&PKCS_ECDSA_P256_SHA256));
    let (statement, payload) = (signature_of(&subject), payload_of(&subject));
    for material in [
        in_bundle(&lab.bundle(&alice, &statement, Some(NOW))),
        lab.sig(&alice, &payload, Some(NOW)),
        lab.att(&alice, &attestation_of(&subject), Some(NOW)),
    ] {
        let proof = lab.keyless(material, &subject).expect("a keyless signature");
        assert!(proof.tlog && proof.sct && !proof.timestamp);
        assert_eq!(proof.signed_at.map(Timestamp::as_micros), Some(NOW * 1_000_000));
    }
    let root = lab.root();
    for material in [
        in_bundle(&lab.bundle(&bob, &statement, Some(NOW))),
        lab.sig(&bob, &payload, Some(NOW)),
        lab.att(&bob, &attestation_of(&subject), Some(NOW)),
    ] {
        assert!(by_key(&bob.public_key(), material.clone(), &subject).is_ok());
        assert!(by_logged_key(&bob.public_key(), &root, material, &subject).expect("a logged signature").tlog);
    }
}
