//! The certificate of a keyless signature: whom it names, and the bounds it has to keep.
//!
//! Nothing read here is believed before the certificate is verified up to a trusted root. Reading it first keeps keys,
//! curves and sizes that are not taken away from that code, and gives one answer to the question who signed: one name, one
//! issuer, and claims that stand once.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use x509_parser::asn1_rs::{FromDer as _, Utf8String};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;

use super::der;
use super::failure::{Failure, at_most};
use super::key::{KeyError, PublicKey};
use super::limits::{CERTIFICATE_BYTES_MAX, TEXT_BYTES_MAX};
use super::verdict::ReasonCode;

/// Where Fulcio's extensions stand (<https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>).
const FULCIO: &str = "1.3.6.1.4.1.57264.1.";

/// The issuer as bare text, in certificates of old and of new.
const ISSUER_V1: &str = "1";

/// The issuer as a DER string.
const ISSUER_V2: &str = "8";

/// Fulcio's claims about the workload that signed: the last number of the OID, and the name that policies call it.
pub(super) const CLAIMS: [(&str, &str); 14] = [
    ("9", "buildSignerURI"),
    ("10", "buildSignerDigest"),
    ("11", "runnerEnvironment"),
    ("12", "sourceRepositoryURI"),
    ("13", "sourceRepositoryDigest"),
    ("14", "sourceRepositoryRef"),
    ("15", "sourceRepositoryIdentifier"),
    ("16", "sourceRepositoryOwnerURI"),
    ("17", "sourceRepositoryOwnerIdentifier"),
    ("18", "buildConfigURI"),
    ("19", "buildConfigDigest"),
    ("20", "buildTrigger"),
    ("21", "runInvocationURI"),
    ("22", "sourceRepositoryVisibilityAtSigning"),
];

/// What the certificate of a signer says. Not proved by being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Who told the authority whom it deals with: an OIDC issuer.
    pub issuer: String,
    /// The one name: an e-mail address or a URI.
    pub subject: String,
    /// Claims about the workload by the names that policies give them.
    pub claims: BTreeMap<String, String>,
    /// The key that it is about.
    pub key: PublicKey,
    /// The first and the last second at which it is valid, since 1970.
    pub validity: RangeInclusive<i64>,
}

impl Leaf {
    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// - `limit_exceeded`: it is too long;
    /// - `malformed`: it is no certificate, or says something twice;
    /// - `unsupported_algorithm`: its key is of a kind that is not taken;
    /// - `issuer_mismatch`: its two forms of the issuer contradict each other, or there is none;
    /// - `identity_mismatch`: it does not have exactly one name that is an e-mail address or a URI.
    pub fn parse(der: &[u8]) -> Result<Self, Failure> {
        at_most(der.len(), CERTIFICATE_BYTES_MAX, "bytes of the certificate")?;
        der::check(der, "the certificate")?;
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|_| Failure::malformed("the certificate is not X.509 in DER (RFC 5280)"))?;
        check_unique(certificate.extensions())?;
        let key = public_key(certificate.public_key().raw)?;
        let fulcio = fulcio(certificate.extensions())?;
        let validity = certificate.validity();
        Ok(Self {
            issuer: issuer(&fulcio)?,
            subject: subject(certificate.extensions())?,
            claims: claims(&fulcio)?,
            key,
            validity: validity.not_before.timestamp()..=validity.not_after.timestamp(),
        })
    }
}

fn public_key(spki: &[u8]) -> Result<PublicKey, Failure> {
    PublicKey::from_spki(spki).map_err(|error| {
        let code = match error {
            KeyError::Unsupported => ReasonCode::UnsupportedAlgorithm,
            KeyError::RsaBits(_) => ReasonCode::LimitExceeded,
            KeyError::Pem | KeyError::Form => ReasonCode::Malformed,
        };
        Failure::new(code, format!("the key of the certificate: {error}"))
    })
}

/// RFC 5280, section 4.2: no extension twice.
fn check_unique(extensions: &[X509Extension<'_>]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match extensions.iter().find(|extension| !seen.insert(extension.oid.as_bytes())) {
        Some(twice) => Err(Failure::malformed(format!("the certificate has extension {} twice", twice.oid))),
        None => Ok(()),
    }
}

/// Fulcio's extensions by the last number of their OID.
fn fulcio<'a>(extensions: &'a [X509Extension<'a>]) -> Result<BTreeMap<String, &'a [u8]>, Failure> {
    let mut found = BTreeMap::new();
    for extension in extensions {
        let oid = extension.oid.to_id_string();
        if let Some(number) = oid.strip_prefix(FULCIO) {
            at_most(extension.value.len(), TEXT_BYTES_MAX, &format!("bytes of extension {oid} of the certificate"))?;
            found.insert(number.to_owned(), extension.value);
        }
    }
    Ok(found)
}

/// Old certificates have the issuer as bare text, new ones in both forms; a certificate that says two things says nothing.
fn issuer(fulcio: &BTreeMap<String, &[u8]>) -> Result<String, Failure> {
    let mismatch = |message: &str| Failure::new(ReasonCode::IssuerMismatch, message);
    let bare = fulcio.get(ISSUER_V1).map(|value| text(value, ISSUER_V1)).transpose()?;
    let string = fulcio.get(ISSUER_V2).map(|value| der_text(value, ISSUER_V2)).transpose()?;
    match (bare, string) {
        (Some(bare), Some(string)) if bare != string => {
            Err(mismatch("the two forms of the issuer in the certificate (.1.1 and .1.8) contradict each other"))
        }
        (_, Some(issuer)) | (Some(issuer), None) if !issuer.is_empty() => Ok(issuer),
        _ => Err(mismatch("the certificate names no issuer")),
    }
}

fn claims(fulcio: &BTreeMap<String, &[u8]>) -> Result<BTreeMap<String, String>, Failure> {
    let present = CLAIMS.iter().filter_map(|(number, name)| Some((number, name, fulcio.get(*number)?)));
    present.map(|(number, name, value)| Ok(((*name).to_owned(), der_text(value, number)?))).collect()
}

/// Fulcio gives one name; with two, which of them a policy means would depend on who reads.
fn subject(extensions: &[X509Extension<'_>]) -> Result<String, Failure> {
    let mismatch = |message: &str| Failure::new(ReasonCode::IdentityMismatch, message);
    let names = extensions.iter().find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME);
    let names = match names.map(X509Extension::parsed_extension) {
        Some(ParsedExtension::SubjectAlternativeName(names)) => names.general_names.as_slice(),
        Some(_) => return Err(Failure::malformed("the name of the certificate cannot be read")),
        None => &[],
    };
    let subject = match names {
        [GeneralName::RFC822Name(name) | GeneralName::URI(name)] => *name,
        [_] => return Err(mismatch("the name of the certificate is neither an e-mail address nor a URI")),
        [] => return Err(mismatch("the certificate names nobody")),
        [_, _, ..] => return Err(mismatch("the certificate has more than one name")),
    };
    at_most(subject.len(), TEXT_BYTES_MAX, "bytes of the name of the certificate")?;
    if subject.is_empty() || subject.chars().any(char::is_control) {
        return Err(mismatch("the name of the certificate is empty or has control characters"));
    }
    Ok(subject.to_owned())
}

fn der_text(value: &[u8], number: &str) -> Result<String, Failure> {
    match Utf8String::from_der(value) {
        Ok(([], string)) => text(string.string().as_bytes(), number),
        _ => Err(Failure::malformed(format!("extension {FULCIO}{number} of the certificate is no UTF8String"))),
    }
}

fn text(value: &[u8], number: &str) -> Result<String, Failure> {
    let text = str::from_utf8(value).ok().filter(|text| !text.chars().any(char::is_control));
    let text =
        text.ok_or_else(|| Failure::malformed(format!("extension {FULCIO}{number} of the certificate is no text")));
    text.map(str::to_owned)
}
