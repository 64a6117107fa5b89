//! When two signatures are by the same person.

use std::borrow::Cow;

use crate::verify::proof::Signer;

/// An identity as it is compared with others: the host of an e-mail address in lower case, since hosts are the same in any
/// case (RFC 5321, section 2.4). Everything else stays as it is.
///
/// This is for counting signers and for taking trust back. Who is trusted has to be named byte by byte.
pub(super) fn comparable(subject: &str) -> Cow<'_, str> {
    match subject.rsplit_once('@') {
        Some((local, host)) if !subject.contains(['/', ':']) => Cow::Owned(format!("{local}@{}", host.to_lowercase())),
        _ => Cow::Borrowed(subject),
    }
}

/// Whether two signers are one where different ones are counted.
pub(super) fn same(a: &Signer, b: &Signer) -> bool {
    match (a, b) {
        (Signer::Key { fingerprint: a }, Signer::Key { fingerprint: b }) => a == b,
        (Signer::Identity { issuer, subject, .. }, Signer::Identity { issuer: other, subject: another, .. }) => {
            issuer == other && comparable(subject) == comparable(another)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_the_same_in_any_case() {
        for (subject, expected) in [
            ("Alice@Example.COM", "Alice@example.com"),
            ("\"a@B\"@Example.com", "\"a@B\"@example.com"),
            ("https://github.com/Acme/app@refs/tags/V1", "https://github.com/Acme/app@refs/tags/V1"),
            ("spiffe://Host/x", "spiffe://Host/x"),
            ("urn:A@B", "urn:A@B"),
            ("Nobody", "Nobody"),
        ] {
            assert_eq!(comparable(subject), expected);
        }
    }
}
