//! Bytes that are written as text: base64 and PEM, in one spelling only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::pem::parse_x509_pem;

use super::failure::{Failure, at_most};
use super::limits::CERTIFICATE_BYTES_MAX;

/// Reads base64 (RFC 4648, section 4, with padding) of at most `max` bytes.
///
/// # Errors
/// `limit_exceeded` before it is decoded, `malformed`.
pub(super) fn base64(text: &str, max: usize, what: &str) -> Result<Vec<u8>, Failure> {
    at_most(text.len() / 4 * 3, max.saturating_add(2), &format!("bytes of {what}"))?;
    let bytes = STANDARD.decode(text).map_err(|_| Failure::malformed(format!("{what} is not base64 (RFC 4648)")))?;
    at_most(bytes.len(), max, &format!("bytes of {what}"))?;
    Ok(bytes)
}

/// Writes base64 as [`base64()`] reads it.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads one certificate (PEM) into DER.
///
/// # Errors
/// `limit_exceeded`, `malformed`.
pub(super) fn certificate(pem: &str) -> Result<Vec<u8>, Failure> {
    at_most(pem.len(), CERTIFICATE_BYTES_MAX * 2, "bytes of the certificate in PEM")?;
    let malformed = || Failure::malformed("the certificate is not one PEM block `CERTIFICATE`");
    let (rest, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| malformed())?;
    if block.label != "CERTIFICATE" || !rest.trim_ascii().is_empty() {
        return Err(malformed());
    }
    at_most(block.contents.len(), CERTIFICATE_BYTES_MAX, "bytes of the certificate")?;
    Ok(block.contents)
}
