//! Answers of a timestamp authority (RFC 3161): a CMS message (RFC 5652) around the hash that was asked for and the time.

use anyhow::{Context as _, Result, ensure};
use rcgen::SigningKey as _;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::authority::TimeAuthority;
use super::der::{self, CONTEXT_0, GENERALIZED_TIME, INTEGER, Item, OCTETS, OID, SEQUENCE, SET, UTC_TIME};

/// What is asked for: a hash, and how the answer shall look.
struct Query<'a> {
    /// The `MessageImprint` as it came.
    imprint: &'a [u8],
    nonce: Option<&'a [u8]>,
    wants_certificate: bool,
}

impl<'a> Query<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (query, behind) = Item::read(bytes)?;
        ensure!(query.tag == SEQUENCE && behind.is_empty(), "not a timestamp query");
        let items = query.items()?;
        let [_version, imprint, options @ ..] = items.as_slice() else { anyhow::bail!("a query for nothing") };
        let option = |tag| options.iter().find(|item| item.tag == tag);
        let wants_certificate = option(BOOLEAN).is_some_and(|item| item.content != [0]);
        Ok(Self { imprint: imprint.whole, nonce: option(INTEGER).map(|item| item.whole), wants_certificate })
    }
}

impl TimeAuthority {
    /// The answer to a query (DER of `TimeStampReq`): `TimeStampResp` with status "granted".
    pub(super) fn answer(&self, query: &[u8]) -> Result<Vec<u8>> {
        let query = Query::parse(query)?;
        let now = OffsetDateTime::now_utc();
        let info = info(&query, now);
        let signer = self.signer(&info, now)?;
        let content = der::sequence([&oid(TST_INFO), &der::value(CONTEXT_0, &der::value(OCTETS, &info))]);
        let certificates = der::value(CONTEXT_0, &self.signing.certificate);
        let signed = der::sequence([
            &number(3),
            &der::value(SET, &algorithm(SHA256)),
            &content,
            if query.wants_certificate { &certificates } else { &[] },
            &der::value(SET, &signer),
        ]);
        let message = der::sequence([&oid(SIGNED_DATA), &der::value(CONTEXT_0, &signed)]);
        Ok(der::sequence([&der::sequence([&number(0)]), &message]))
    }

    /// RFC 5652, section 5.3, with the attributes that RFC 3161 and 5816 want.
    fn signer(&self, info: &[u8], now: OffsetDateTime) -> Result<Vec<u8>> {
        let certificate = der::sequence([&der::value(OCTETS, &Sha256::digest(&self.signing.certificate))]);
        let mut attributes = [
            attribute(CONTENT_TYPE, &oid(TST_INFO)),
            // The year of a UTCTime has two digits.
            attribute(SIGNING_TIME, &der::value(UTC_TIME, &generalized(now).as_bytes()[2..])),
            attribute(MESSAGE_DIGEST, &der::value(OCTETS, &Sha256::digest(info))),
            attribute(SIGNING_CERTIFICATE, &der::sequence([&der::sequence([&certificate])])),
        ];
        // X.690, section 11.6: the members of a SET OF are in order.
        attributes.sort_unstable();
        let attributes = attributes.concat();
        let signature = self.signing.key.sign(&der::value(SET, &attributes))?;
        Ok(der::sequence([
            &number(1),
            &self.issuer_and_serial()?,
            &algorithm(SHA256),
            &der::value(CONTEXT_0, &attributes),
            &algorithm(ECDSA_SHA256),
            &der::value(OCTETS, &signature),
        ]))
    }

    fn issuer_and_serial(&self) -> Result<Vec<u8>> {
        let (certificate, _) = Item::read(&self.signing.certificate)?;
        let items = certificate.items()?.first().context("a certificate of nothing")?.items()?;
        let [_version, serial, _algorithm, issuer, ..] = items.as_slice() else { anyhow::bail!("not a certificate") };
        Ok(der::sequence([issuer.whole, serial.whole]))
    }
}

/// RFC 3161, section 2.4.2: `TSTInfo`.
fn info(query: &Query<'_>, now: OffsetDateTime) -> Vec<u8> {
    der::sequence([
        &number(1),
        &oid(POLICY),
        query.imprint,
        // Positive, and another one each time.
        &der::value(INTEGER, &[&[0][..], &now.unix_timestamp_nanos().to_be_bytes()].concat()[9..]),
        &der::value(GENERALIZED_TIME, generalized(now).as_bytes()),
        &der::sequence([&number(1)]),
        query.nonce.unwrap_or_default(),
    ])
}

/// X.690, section 11.7: `YYYYMMDDhhmmssZ`.
fn generalized(now: OffsetDateTime) -> String {
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.to_hms();
    format!("{year:04}{:02}{day:02}{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

fn number(number: u8) -> Vec<u8> {
    der::value(INTEGER, &[number])
}

fn oid(oid: &[u8]) -> Vec<u8> {
    der::value(OID, oid)
}

fn algorithm(algorithm: &[u8]) -> Vec<u8> {
    der::sequence([&oid(algorithm)])
}

fn attribute(kind: &[u8], content: &[u8]) -> Vec<u8> {
    der::sequence([&oid(kind), &der::value(SET, content)])
}

const BOOLEAN: u8 = 0x01;
/// Object identifiers as they stand in DER.
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const SIGNING_TIME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5];
const SIGNING_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 47];
/// One that nobody else has.
const POLICY: &[u8] = &[0x2a, 3, 4, 1];
