//! The chains of certificates in a trusted root.
//!
//! The library takes every certificate of a chain of `certificateAuthorities` for an anchor, at which a way ends and of which
//! nothing is asked any more, and so it does with the last one of a chain of `timestampAuthorities`. What a chain asks of its
//! certificates is therefore asked here, once, when the root is read; and how long each of them is valid is written down as
//! the window in which it counts, which the library holds against the times of signatures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sigstore_verify::trust_root::{CertificateAuthority, TimestampAuthority, TrustedRoot};
use sigstore_verify::types::TimeRange;
use x509_parser::asn1_rs::{FromDer as _, Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};

use crate::verify::key::{HashChoice, KeyKind, PublicKey};

const ECDSA_SHA256: Oid<'static> = oid!(1.2.840.10045.4.3.2);
const ECDSA_SHA384: Oid<'static> = oid!(1.2.840.10045.4.3.3);
const ECDSA_SHA512: Oid<'static> = oid!(1.2.840.10045.4.3.4);
const RSA_SHA256: Oid<'static> = oid!(1.2.840.113549.1.1.11);
const RSA_SHA384: Oid<'static> = oid!(1.2.840.113549.1.1.12);
const RSA_SHA512: Oid<'static> = oid!(1.2.840.113549.1.1.13);
const ED25519: Oid<'static> = oid!(1.3.101.112);

/// What a chain is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Each of its certificates may have issued that of a signer.
    Signers,
    /// The first of its certificates is that of the timestamp authority itself.
    Timestamps,
}

impl Purpose {
    /// Whether a certificate that is limited to some uses may be used for this.
    fn is_in(self, usage: &ExtendedKeyUsage<'_>) -> bool {
        let named = match self {
            Self::Signers => usage.code_signing,
            Self::Timestamps => usage.time_stamping,
        };
        named || usage.any
    }

    /// How many certificates stand before the first one that is an authority.
    fn leaves(self) -> usize {
        match self {
            Self::Signers => 0,
            Self::Timestamps => 1,
        }
    }
}

/// Checks every chain, and gives every certificate that issues those of signers the window in which it counts: that of its
/// authority, as far as it and all above it are valid.
///
/// Returns what the root has and what never counts, because its times do not meet or the library cannot verify it.
///
/// # Errors
/// Which certificate is not what its place in its chain asks for, and why.
pub(super) fn hold_to_their_chains(root: &mut TrustedRoot) -> Result<Vec<String>, String> {
    let (mut issuers, mut witnesses, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for (at, authority) in root.certificate_authorities.iter().enumerate() {
        issuers.extend(as_issuers(authority, &format!("certificateAuthorities[{at}]"), &mut warnings)?);
    }
    for (at, authority) in root.timestamp_authorities.iter().enumerate() {
        witnesses.extend(as_witness(authority, &format!("timestampAuthorities[{at}]"), &mut warnings)?);
    }
    root.certificate_authorities = issuers;
    root.timestamp_authorities = witnesses;
    Ok(warnings)
}

/// Each certificate of an authority that may count, as an authority of its own.
fn as_issuers(
    authority: &CertificateAuthority,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateAuthority>, String> {
    let entries = &authority.cert_chain.certificates;
    let ders = entries.iter().map(|entry| entry.raw_bytes.as_bytes());
    let chain = read(ders, authority.valid_for, Purpose::Signers, name)?;
    // What is above an anchor is not looked at any more, and what an anchor itself asks of names is not understood.
    let limited = chain.iter().rposition(limits_names);
    if let Some(position) = limited {
        let place = place(name, position);
        warnings.push(format!(
            "{place}: it is limited to some names (name constraints), which is not verified; no certificate by it or by what \
             stands below it counts"
        ));
    }
    let mut issuers = Vec::new();
    let first = limited.map_or(0, |position| position + 1);
    for (position, entry) in entries.iter().enumerate().skip(first) {
        let mut issuer = authority.clone();
        issuer.cert_chain.certificates = vec![entry.clone()];
        issuer.valid_for = window(authority.valid_for, chain.get(position..).unwrap_or_default());
        if issuer.valid_for.is_some() {
            issuers.push(issuer);
        } else {
            warnings.push(never(&place(name, position)));
        }
    }
    Ok(issuers)
}

/// A timestamp authority, if it may count.
fn as_witness(
    authority: &TimestampAuthority,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<TimestampAuthority>, String> {
    let ders = authority.cert_chain.certificates.iter().map(|entry| entry.raw_bytes.as_bytes());
    let chain = read(ders, authority.valid_for, Purpose::Timestamps, name)?;
    let mut witness = authority.clone();
    witness.valid_for = window(authority.valid_for, &chain);
    if witness.valid_for.is_none() {
        warnings.push(never(name));
    }
    let key = chain.first().and_then(|leaf| PublicKey::from_spki(leaf.public_key().raw).ok());
    if !key.is_some_and(|key| matches!(key.kind(), KeyKind::P256 | KeyKind::P384)) {
        warnings.push(format!(
            "{name}: timestamps are verified by keys P-256 and P-384 alone; this authority never counts"
        ));
    }
    Ok(Some(witness).filter(|witness| witness.valid_for.is_some()))
}

fn place(name: &str, position: usize) -> String {
    format!("{name}.certChain.certificates[{position}]")
}

/// The certificates of a chain that holds, under a window that does.
fn read<'a>(
    chain: impl Iterator<Item = &'a [u8]>,
    valid_for: Option<TimeRange>,
    purpose: Purpose,
    name: &str,
) -> Result<Vec<X509Certificate<'a>>, String> {
    let certificates = chain.enumerate().map(|(position, der)| {
        let read = X509Certificate::from_der(der).map(|(_, certificate)| certificate);
        read.map_err(|_| format!("{} is not X.509 in DER (RFC 5280)", place(name, position)))
    });
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        return Err(format!("{name} has no certificates"));
    }
    check(&certificates, purpose, name)?;
    check_window(valid_for, name)?;
    Ok(certificates)
}

fn check(chain: &[X509Certificate<'_>], purpose: Purpose, name: &str) -> Result<(), String> {
    for (position, certificate) in chain.iter().enumerate() {
        let wrong = |why: &str| format!("{}: {why}", place(name, position));
        check_usage(certificate, purpose, position < purpose.leaves()).map_err(wrong)?;
        if position >= purpose.leaves() {
            check_authority(certificate, position - purpose.leaves()).map_err(wrong)?;
        }
        if let Some(issuer) = chain.get(position + 1) {
            check_issued(certificate, issuer).map_err(wrong)?;
        }
    }
    Ok(())
}

/// An authority that names no uses is for all; the certificate of a timestamp authority has to name its own (RFC 3161,
/// section 2.3).
fn check_usage(certificate: &X509Certificate<'_>, purpose: Purpose, is_leaf: bool) -> Result<(), &'static str> {
    let usage = certificate.extended_key_usage().map_err(|_| "its extended key usage cannot be read")?;
    match usage {
        None if !is_leaf => Ok(()),
        Some(usage) if purpose.is_in(usage.value) => Ok(()),
        _ => Err(match purpose {
            Purpose::Signers => "it is not for signing code (extended key usage)",
            Purpose::Timestamps => "it is not for timestamps (extended key usage)",
        }),
    }
}

/// RFC 5280, section 4.2.1.9 and 4.2.1.3. There are `below` authorities between this one and what is issued in the end.
fn check_authority(certificate: &X509Certificate<'_>, below: usize) -> Result<(), &'static str> {
    let constraints = certificate.basic_constraints().map_err(|_| "its basic constraints cannot be read")?;
    let constraints = constraints.map(|extension| extension.value).filter(|constraints| constraints.ca);
    let constraints = constraints.ok_or("it is no certificate of an authority (basic constraints)")?;
    let allowed =
        constraints.path_len_constraint.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    if below > allowed {
        return Err("more authorities stand below it than it allows (path length)");
    }
    let usage = certificate.key_usage().map_err(|_| "its key usage cannot be read")?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its key is not for signing certificates (key usage)");
    }
    Ok(())
}

/// Whether a certificate says for which names it may issue others, unless these are hosts, whose names no signer has. One
/// that cannot be read may say so.
fn limits_names(certificate: &X509Certificate<'_>) -> bool {
    let Ok(constraints) = certificate.name_constraints() else { return true };
    let trees = constraints.map(|extension| [&extension.value.permitted_subtrees, &extension.value.excluded_subtrees]);
    let mut trees = trees.into_iter().flatten().flatten().flatten();
    trees.any(|tree| !matches!(tree.base, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
}

fn check_issued(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), &'static str> {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err("the next certificate of the chain is not that of its issuer");
    }
    let key = PublicKey::from_spki(issuer.public_key().raw)
        .map_err(|_| "the key of its issuer is of no kind that is taken")?;
    let algorithm = &certificate.signature_algorithm.algorithm;
    let hash = hash(algorithm, key.kind()).ok_or("the algorithm of its signature is not taken")?;
    let signed = key.verify(hash, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    signed.map_err(|_| "it is not signed by the next certificate of the chain")
}

fn hash(algorithm: &Oid<'_>, kind: KeyKind) -> Option<HashChoice> {
    let of_kind = match kind {
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => [ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512],
        KeyKind::Rsa => [RSA_SHA256, RSA_SHA384, RSA_SHA512],
        KeyKind::Ed25519 => return (*algorithm == ED25519).then_some(HashChoice::Auto),
    };
    let hashes = of_kind.iter().zip([HashChoice::Sha256, HashChoice::Sha384, HashChoice::Sha512]);
    hashes.into_iter().find(|(known, _)| *known == algorithm).map(|(_, hash)| hash)
}

/// An authority that never counts takes nothing from the others, so it is left out and the root is not refused.
fn never(what: &str) -> String {
    format!("{what} never counts: its window, its validity and that of all above it do not meet")
}

fn check_window(given: Option<TimeRange>, name: &str) -> Result<(), String> {
    let ends_first = given.is_some_and(|range| range.end.is_some_and(|end| end < range.start));
    if ends_first { Err(format!("{name}: its window ends before it starts")) } else { Ok(()) }
}

/// The part of a window in which all of `chain` is valid, if there is one.
fn window(given: Option<TimeRange>, chain: &[X509Certificate<'_>]) -> Option<TimeRange> {
    let validity = || chain.iter().map(|certificate| certificate.validity());
    let from = validity().map(|validity| validity.not_before.timestamp()).max().and_then(moment)?;
    let until = validity().map(|validity| validity.not_after.timestamp()).min().and_then(moment)?;
    let Ok(from) = from.try_into() else { return None };
    let mut range = given.unwrap_or(TimeRange::new(from, None));
    range.start = range.start.max(from);
    // What is after the last moment that the library knows, a day before the year 10000, is as good as no end.
    if let Ok(until) = until.try_into() {
        range.end = Some(range.end.map_or(until, |end| end.min(until)));
    }
    range.end.is_none_or(|end| end >= range.start).then_some(range)
}

/// A time in seconds since 1970.
fn moment(seconds: i64) -> Option<SystemTime> {
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) }
}

#[cfg(test)]
mod tests {
    use sigstore_verify::trust_root::SigstoreInstance;

    use super::*;

    #[test]
    fn the_chains_of_public_instances_hold() {
        for instance in [SigstoreInstance::PublicGood, SigstoreInstance::Staging, SigstoreInstance::GitHub] {
            let mut root = TrustedRoot::from_embedded(instance).expect("a trusted root");
            assert_eq!(hold_to_their_chains(&mut root), Ok(Vec::new()), "{instance:?}");
        }
    }

    #[test]
    fn a_certificate_without_an_end_leaves_the_window_open() {
        assert!(moment(253_402_300_799).is_some_and(|end| end > UNIX_EPOCH));
        assert_eq!(moment(-1), UNIX_EPOCH.checked_sub(Duration::from_secs(1)));
    }
}
