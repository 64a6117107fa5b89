//! Certificate authorities: those behind signers, who prove in the certificate that they wrote it into a log, and the one
//! behind timestamps.

use anyhow::{Context as _, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    SigningKey as _,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::der::{self, Item};
use super::pem;

/// What a certificate of an authority is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Root,
    Intermediate,
    Timestamps,
}

/// A key with its certificate.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) key: KeyPair,
    params: CertificateParams,
    pub(super) certificate: Vec<u8>,
}

impl Holder {
    fn new(name: &str, purpose: Purpose, issuer: Option<&Self>) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(1);
        params.not_after = now + Duration::days(3650);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "lab");
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = issuer.is_some();
        if purpose == Purpose::Timestamps {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            // RFC 3161, section 2.3: critical, and nothing else.
            let purposes = der::sequence([&der::value(der::OID, &TIME_STAMPING)]);
            let mut usage = CustomExtension::from_oid_content(EXTENDED_KEY_USAGE, purposes);
            usage.set_criticality(true);
            params.custom_extensions.push(usage);
        } else {
            let depth = u8::from(purpose == Purpose::Root);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        if purpose == Purpose::Intermediate {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }
        let certificate = match issuer {
            None => params.self_signed(&key)?,
            Some(issuer) => params.signed_by(&key, &issuer.as_issuer())?,
        };
        let certificate = certificate.der().to_vec();
        Ok(Self { key, params, certificate })
    }

    fn as_issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(super) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }
}

/// Who vouches for signers: a root, an intermediate that signs, and the log in which its certificates stand.
#[derive(Debug)]
pub(super) struct SignerAuthority {
    root: Holder,
    signing: Holder,
    log: KeyPair,
}

impl SignerAuthority {
    pub(super) fn new() -> Result<Self> {
        let root = Holder::new("root", Purpose::Root, None)?;
        let signing = Holder::new("intermediate", Purpose::Intermediate, Some(&root))?;
        Ok(Self { root, signing, log: KeyPair::generate()? })
    }

    /// Intermediate and root.
    pub(super) fn chain(&self) -> [&Holder; 2] {
        [&self.signing, &self.root]
    }

    /// The key of the certificate log.
    pub(super) fn log_key(&self) -> Vec<u8> {
        self.log.subject_public_key_info()
    }

    /// A certificate for a P-256 key (DER of its `SubjectPublicKeyInfo`), as the claims of an identity token want it:
    /// for an `email`, else for the URI in `sub`, vouched for by `iss`. As PEM.
    pub(super) fn issue(&self, spki: &[u8], claims: &Value) -> Result<String> {
        let claim = |name: &str| claims[name].as_str();
        let name = match (claim("email"), claim("sub")) {
            (Some(address), _) => SanType::Rfc822Name(address.try_into()?),
            (None, Some(uri)) => SanType::URI(uri.try_into()?),
            (None, None) => anyhow::bail!("the token names nobody"),
        };
        let issuer = claim("iss").context("the token names no issuer")?;
        let mut params = CertificateParams::default();
        params.serial_number =
            Some(SerialNumber::from(u64::from_be_bytes(*Sha256::digest(spki).first_chunk().expect("32"))));
        params.distinguished_name = DistinguishedName::new();
        params.not_before = OffsetDateTime::now_utc() - Duration::seconds(5);
        params.not_after = params.not_before + VALIDITY;
        params.subject_alt_names = vec![name];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(FULCIO_ISSUER, issuer.as_bytes().to_vec()),
            CustomExtension::from_oid_content(FULCIO_ISSUER_2, der::value(der::UTF8, issuer.as_bytes())),
        ];
        let subject = Subject::of(spki)?;
        let precertificate = params.signed_by(&subject, &self.signing.as_issuer())?;
        let list = self.timestamp_list(precertificate.der())?;
        params.custom_extensions.push(CustomExtension::from_oid_content(TIMESTAMP_LIST, list));
        Ok(pem("CERTIFICATE", params.signed_by(&subject, &self.signing.as_issuer())?.der()))
    }

    /// RFC 6962, section 3.2 and 3.3: the promise of the log over the certificate as it is without that promise.
    fn timestamp_list(&self, precertificate: &[u8]) -> Result<Vec<u8>> {
        let (certificate, _) = Item::read(precertificate)?;
        let tbs = certificate.items()?.first().context("a certificate of nothing")?.whole;
        let time = u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)?.to_be_bytes();
        let issuer = Sha256::digest(self.signing.key.subject_public_key_info());
        let length = u32::try_from(tbs.len())?.to_be_bytes();
        let signed = [&[0, 0][..], &time, &[0, 1], &issuer, &length[1..], tbs, &[0, 0]].concat();
        let signature = self.log.sign(&signed)?;
        let log = Sha256::digest(self.log.subject_public_key_info());
        let timestamp = [&[0][..], &log, &time, &[0, 0, 4, 3], &short(signature.len())?, &signature].concat();
        let list = [&short(timestamp.len() + 2)?[..], &short(timestamp.len())?, &timestamp].concat();
        Ok(der::value(der::OCTETS, &list))
    }
}

/// Who vouches for times: the root, and the one that signs.
#[derive(Debug)]
pub(super) struct TimeAuthority {
    root: Holder,
    pub(super) signing: Holder,
}

impl TimeAuthority {
    pub(super) fn new() -> Result<Self> {
        let root = Holder::new("timestamp root", Purpose::Root, None)?;
        let signing = Holder::new("timestamps", Purpose::Timestamps, Some(&root))?;
        Ok(Self { root, signing })
    }

    pub(super) fn chain(&self) -> [&Holder; 2] {
        [&self.signing, &self.root]
    }
}

/// Whom a certificate is for.
struct Subject<'a> {
    point: &'a [u8],
}

impl<'a> Subject<'a> {
    fn of(spki: &'a [u8]) -> Result<Self> {
        let (info, _) = Item::read(spki)?;
        let parts = info.items()?;
        let [_, key] = parts.as_slice() else { anyhow::bail!("not a public key") };
        let is_p256 = spki.len() == P256_SPKI_LENGTH && key.tag == der::BIT_STRING;
        ensure!(is_p256, "the laboratory has certificates for P-256 keys only");
        Ok(Self { point: &key.content[1..] })
    }
}

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn short(length: usize) -> Result<[u8; 2]> {
    Ok(u16::try_from(length)?.to_be_bytes())
}

/// How long a certificate of a signer is valid, as with the public authority.
const VALIDITY: Duration = Duration::minutes(10);
/// `SubjectPublicKeyInfo` of P-256 with an uncompressed point.
const P256_SPKI_LENGTH: usize = 91;
const FULCIO_ISSUER: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 1];
const FULCIO_ISSUER_2: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
const TIMESTAMP_LIST: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
/// 1.3.6.1.5.5.7.3.8, as it stands in DER.
const TIME_STAMPING: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 8];
