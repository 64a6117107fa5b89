//! A timestamp authority of the laboratory (RFC 3161).

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, SigningKey as _,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::lab::der;
use crate::verify::text::to_base64;

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const ECDSA_SHA_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SOME_POLICY: &[u8] = &[0x2a, 3, 4];

/// Who says when something was.
pub(super) struct TimestampAuthority {
    key: KeyPair,
    leaf: Vec<u8>,
    root: Vec<u8>,
}

impl TimestampAuthority {
    pub(super) fn new() -> Self {
        let (root_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let mut root = named("tsa root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let mut leaf = named("tsa");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        let leaf = leaf.signed_by(&key, &Issuer::from_params(&root, &root_key)).expect("a certificate").der().to_vec();
        Self { key, leaf, root: root.self_signed(&root_key).expect("a certificate").der().to_vec() }
    }

    /// How a trusted root names it.
    pub(super) fn json(&self) -> Value {
        let chain = [&self.leaf, &self.root].map(|der| json!({ "rawBytes": to_base64(der) }));
        json!({
            "subject": { "commonName": "tsa" }, "uri": "https://tsa.example", "certChain": { "certificates": chain },
            "validFor": { "start": "2020-01-01T00:00:00Z" },
        })
    }

    /// Says that `signature` was there at `time`, in seconds since 1970.
    pub(super) fn stamp(&self, signature: &[u8], time: i64) -> Vec<u8> {
        self.stamp_with(signature, time, &[])
    }

    /// The same, with certificates that nobody asked for in the token.
    pub(super) fn stamp_with(&self, signature: &[u8], time: i64, certificates: &[u8]) -> Vec<u8> {
        let time = OffsetDateTime::from_unix_timestamp(time).expect("a time");
        let (date, clock) = (time.date(), time.to_hms());
        let text = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
        let text = format!("{text}{:02}{:02}{:02}Z", clock.0, clock.1, clock.2);
        let imprint = sequence(&[&algorithm(SHA_256), &der(4, hash(signature).as_ref())]);
        let info = sequence(&[&[2, 1, 1], &der(6, SOME_POLICY), &imprint, &[2, 1, 7], &der(0x18, text.as_bytes())]);
        let content = sequence(&[&der(6, TST_INFO), &der(0xa0, &der(4, &info))]);
        let certificates = if certificates.is_empty() { Vec::new() } else { der(0xa0, certificates) };
        let signed = sequence(&[
            &[2, 1, 3],
            &der(0x31, &algorithm(SHA_256)),
            &content,
            &certificates,
            &der(0x31, &self.signer_info(&info)),
        ]);
        sequence(&[&der(6, SIGNED_DATA), &der(0xa0, &signed)])
    }

    /// RFC 5652, section 5.3.
    fn signer_info(&self, info: &[u8]) -> Vec<u8> {
        let (_, leaf) = X509Certificate::from_der(&self.leaf).expect("a certificate");
        let issuer = sequence(&[leaf.issuer().as_raw(), &der(2, leaf.raw_serial())]);
        let attribute = |oid: &[u8], value: &[u8]| sequence(&[&der(6, oid), &der(0x31, value)]);
        let attributes =
            [attribute(CONTENT_TYPE, &der(6, TST_INFO)), attribute(MESSAGE_DIGEST, &der(4, hash(info).as_ref()))]
                .concat();
        let signature = self.key.sign(&der(0x31, &attributes)).expect("a signature");
        sequence(&[
            &[2, 1, 1],
            &issuer,
            &algorithm(SHA_256),
            &der(0xa0, &attributes),
            &algorithm(ECDSA_SHA_256),
            &der(4, &signature),
        ])
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&[1, 2, 3]));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn hash(bytes: &[u8]) -> aws_lc_rs::digest::Digest {
    digest(&SHA256, bytes)
}

fn algorithm(oid: &[u8]) -> Vec<u8> {
    sequence(&[&der(6, oid)])
}

fn sequence(values: &[&[u8]]) -> Vec<u8> {
    der(0x30, &values.concat())
}
