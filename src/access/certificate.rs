//! What a client certificate calls its owner.

use std::fmt;
use std::str::FromStr;

/// Longest name in bytes, its kind included.
const BYTES_MAX: usize = 512;

/// A name that a certificate may have: `uri:`, `dns:` or `email:` of its subject alternative names (RFC 5280, section
/// 4.2.1.6), or `cn:` of its subject.
///
/// Hosts are compared without regard to the case of letters, everything else byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateName(String);

/// Why a text names nobody in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateNameError {
    /// It does not say what kind of name it is.
    #[error("the name in a certificate begins with uri:, dns:, email: or cn:, such as uri:spiffe://example.com/ci")]
    Kind,
    /// Its length.
    #[error("the name in a certificate has {BYTES_MAX} bytes at most")]
    Long,
    /// An address.
    #[error("a uri has a scheme and no spaces, such as spiffe://example.com/ci")]
    Uri,
    /// A host.
    #[error("a dns name has letters, digits, - and . only; one with a wildcard is nobody's")]
    Dns,
    /// A mail address.
    #[error("this is not a mail address")]
    Email,
    /// A common name.
    #[error("a common name is not empty, and has no control characters")]
    CommonName,
}

impl CertificateName {
    /// The text, with its kind.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CertificateName {
    type Err = CertificateNameError;

    fn from_str(text: &str) -> Result<Self, CertificateNameError> {
        let (kind, value) = text.split_once(':').ok_or(CertificateNameError::Kind)?;
        if text.len() > BYTES_MAX {
            return Err(CertificateNameError::Long);
        }
        let value = match kind {
            "uri" => uri(value)?.to_owned(),
            "dns" => dns(value)?,
            "email" => email(value)?,
            "cn" => common_name(value)?.to_owned(),
            _ => return Err(CertificateNameError::Kind),
        };
        Ok(Self(format!("{kind}:{value}")))
    }
}

fn uri(value: &str) -> Result<&str, CertificateNameError> {
    let has_scheme = value.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let good = has_scheme && value.bytes().all(|byte| byte.is_ascii_graphic());
    good.then_some(value).ok_or(CertificateNameError::Uri)
}

fn dns(value: &str) -> Result<String, CertificateNameError> {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let good = value.split('.').all(is_label);
    good.then(|| value.to_ascii_lowercase()).ok_or(CertificateNameError::Dns)
}

fn email(value: &str) -> Result<String, CertificateNameError> {
    let (local, host) = value.rsplit_once('@').ok_or(CertificateNameError::Email)?;
    let good = !local.is_empty() && local.bytes().all(|byte| byte.is_ascii_graphic());
    let host = dns(host).ok().filter(|_| good).ok_or(CertificateNameError::Email)?;
    Ok(format!("{local}@{host}"))
}

fn common_name(value: &str) -> Result<&str, CertificateNameError> {
    let good = !value.trim().is_empty() && !value.chars().any(char::is_control);
    good.then_some(value).ok_or(CertificateNameError::CommonName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_kind_and_hosts_no_case() {
        for (text, name) in [
            ("uri:spiffe://Example.com/CI", "uri:spiffe://Example.com/CI"),
            ("uri:urn:x", "uri:urn:x"),
            ("dns:CI.Example.com", "dns:ci.example.com"),
            ("email:Ann@Example.COM", "email:Ann@example.com"),
            ("cn:Änne B.", "cn:Änne B."),
        ] {
            assert_eq!(text.parse::<CertificateName>().expect(text).as_str(), name);
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        use CertificateNameError::{CommonName, Dns, Email, Kind, Long, Uri};
        let long = format!("cn:{}", "a".repeat(BYTES_MAX));
        for (text, why) in [
            ("", Kind),
            ("ann", Kind),
            ("ip:127.0.0.1", Kind),
            ("CN:ann", Kind),
            (long.as_str(), Long),
            ("uri:", Uri),
            ("uri:ann", Uri),
            ("uri:x:a b", Uri),
            ("dns:", Dns),
            ("dns:*.example.com", Dns),
            ("dns:a..b", Dns),
            ("dns:a\0.b", Dns),
            ("email:ann", Email),
            ("email:@example.com", Email),
            ("email:a b@example.com", Email),
            ("cn:", CommonName),
            ("cn:  ", CommonName),
            ("cn:a\0b", CommonName),
        ] {
            assert_eq!(text.parse::<CertificateName>(), Err(why), "{text:?}");
        }
    }
}
