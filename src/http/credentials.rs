//! What a request says about who sends it (RFC 9110, section 11.6.2).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use secrecy::SecretString;

use crate::auth::{AuthError, ClientCertificate, Credentials, TOKEN_BYTES_MAX};

/// Longest header that is looked at in bytes.
const HEADER_BYTES_MAX: usize = TOKEN_BYTES_MAX + 1024;

/// Reads what a request says, and where it says nothing, the certificate of its connection.
///
/// A browser shows a certificate for any page that asks it to, and says then whose page it is (`Origin`). To such requests
/// the certificate does not lend a name.
///
/// # Errors
/// [`AuthError::Malformed`], as for [`credentials`].
pub fn credentials_of(parts: &Parts) -> Result<Credentials, AuthError> {
    match credentials(&parts.headers)? {
        Credentials::None if !parts.headers.contains_key(ORIGIN) => {
            let certificate = parts.extensions.get::<Arc<ClientCertificate>>();
            Ok(certificate.map_or(Credentials::None, |certificate| Credentials::Certificate(Arc::clone(certificate))))
        }
        found => Ok(found),
    }
}

/// Reads `Authorization`: `Basic`, `Bearer`, or a token without a scheme, as cargo sends it.
///
/// Empty Basic credentials are none: clients that know no better send them for anonymous pulls.
///
/// # Errors
/// [`AuthError::Malformed`] for anything else, and for two headers.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials, AuthError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (all.next(), all.next()) else {
        return if headers.contains_key(AUTHORIZATION) { Err(AuthError::Malformed) } else { Ok(Credentials::None) };
    };
    let text = header.to_str().ok().filter(|text| text.len() <= HEADER_BYTES_MAX).ok_or(AuthError::Malformed)?.trim();
    match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => basic(rest.trim()),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => token(rest.trim()),
        Some(_) => Err(AuthError::Malformed),
        None if text.eq_ignore_ascii_case("basic") || text.eq_ignore_ascii_case("bearer") => Ok(Credentials::None),
        None => token(text),
    }
}

fn basic(encoded: &str) -> Result<Credentials, AuthError> {
    let decoded = STANDARD.decode(encoded).map_err(|_| AuthError::Malformed)?;
    let text = String::from_utf8(decoded).map_err(|_| AuthError::Malformed)?;
    // A user name has no colon (RFC 7617, section 2).
    let (user, password) = text.split_once(':').ok_or(AuthError::Malformed)?;
    if user.is_empty() && password.is_empty() {
        return Ok(Credentials::None);
    }
    Ok(Credentials::Basic { user: user.to_owned(), password: SecretString::from(password.to_owned()) })
}

fn token(text: &str) -> Result<Credentials, AuthError> {
    if text.is_empty() {
        return Ok(Credentials::None);
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Credentials::Token(SecretString::from(text.to_owned())))
    } else {
        Err(AuthError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read(value: &str) -> Result<String, AuthError> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).expect("a header"))]);
        credentials(&headers).map(|found| match found {
            Credentials::None => "none".to_owned(),
            Credentials::Basic { user, password } => format!("{user} / {}", password.expose_secret()),
            Credentials::Certificate(_) => "certificate".to_owned(),
            Credentials::Token(token) | Credentials::Refresh(token) => format!("token {}", token.expose_secret()),
        })
    }

    #[test]
    fn the_forms_that_clients_send() {
        for (value, found) in [
            ("Basic YW5uOnM6ZWNyZXQ=", "ann / s:ecret"),
            ("basic  YW5uOnM6ZWNyZXQ=", "ann / s:ecret"),
            ("Basic Og==", "none"),
            ("Basic", "none"),
            ("Bearer abc.def-_", "token abc.def-_"),
            ("BEARER abc", "token abc"),
            ("Bearer ", "none"),
            ("bonded_abc", "token bonded_abc"),
        ] {
            assert_eq!(read(value).expect(value), found, "{value}");
        }
        assert!(matches!(credentials(&HeaderMap::new()), Ok(Credentials::None)));
    }

    #[test]
    fn anything_else_is_refused() {
        for value in ["Basic YW5u", "Basic !!!", "Basic /w==", "Digest abc", "Bearer a b", "a b c"] {
            assert!(matches!(read(value), Err(AuthError::Malformed)), "{value}");
        }
        let header = || (AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        let two = HeaderMap::from_iter([header(), header()]);
        assert!(matches!(credentials(&two), Err(AuthError::Malformed)));
    }
}
