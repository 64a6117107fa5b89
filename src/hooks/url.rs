//! Where a webhook is.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use crate::hooks::networks::Networks;

/// Longest address in bytes.
const URL_BYTES_MAX: usize = 2048;

/// An address that requests may be sent to. Its path may be a secret, so it is shown to those only whose it is.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(Url);

/// Why an address cannot be that of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none.
    #[error("the address of a webhook is a URL such as https://hooks.example.com/registry")]
    Malformed,
    /// It is too long.
    #[error("the address of a webhook has at most {URL_BYTES_MAX} bytes")]
    Long,
    /// Neither of the two.
    #[error("the address of a webhook begins with https://")]
    Scheme,
    /// Without TLS to anybody.
    #[error(
        "an address that begins with http:// has to be in a network that `webhooks.allowed_networks` lists; use https://"
    )]
    Plain,
    /// With a name or a password.
    #[error("the address of a webhook has no user name and no password; deliveries are signed")]
    UserInfo,
    /// With something that is never sent.
    #[error("the address of a webhook has no `#`")]
    Fragment,
    /// An address that is not allowed.
    #[error("this address is not in a network that `webhooks.allowed_networks` allows")]
    NotAllowed,
}

impl HookUrl {
    /// Reads an address and judges what can be judged before its name is resolved.
    ///
    /// # Errors
    /// Any [`UrlError`].
    pub fn parse(text: &str, networks: &Networks) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::Long);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        let allowed = match url.scheme() {
            "https" => networks.clone(),
            "http" => networks.listed_only(),
            _ => return Err(UrlError::Scheme),
        };
        if allowed.is_empty() && url.scheme() == "http" {
            return Err(UrlError::Plain);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(UrlError::Long);
        }
        let url = Self(url);
        match url.literal() {
            Some(address) if !allowed.allows(address) => Err(UrlError::NotAllowed),
            _ => Ok(url),
        }
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port, which may be logged.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether there is TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address of a host that is not a name: nobody resolves it.
    fn literal(&self) -> Option<IpAddr> {
        let host = self.0.host_str()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    pub(super) fn to_url(&self) -> Url {
        self.0.clone()
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({}/..)", self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, networks: &[&str]) -> Result<String, UrlError> {
        HookUrl::parse(text, &Networks::parse(networks).expect("networks")).map(|url| url.as_str().to_owned())
    }

    #[test]
    fn only_addresses_that_may_be_reached_are_taken() {
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        for (text, networks, expected) in [
            ("https://a.example/x?y=z", &["public"][..], Ok("https://a.example/x?y=z")),
            ("https://1.1.1.1:8443/", &["public"], Ok("https://1.1.1.1:8443/")),
            ("http://a.example/", &["public"], Err(UrlError::Plain)),
            ("http://a.example/", &["10.0.0.0/8"], Ok("http://a.example/")),
            ("http://10.0.0.1/", &["10.0.0.0/8"], Ok("http://10.0.0.1/")),
            ("http://1.1.1.1/", &["public", "10.0.0.0/8"], Err(UrlError::NotAllowed)),
            ("https://127.0.0.1/", &["public"], Err(UrlError::NotAllowed)),
            ("https://0x7f.1/", &["public"], Err(UrlError::NotAllowed)),
            ("https://2130706433/", &["public"], Err(UrlError::NotAllowed)),
            ("https://[::ffff:169.254.169.254]/", &["public"], Err(UrlError::NotAllowed)),
            ("https://[::1]/", &["::1/128"], Ok("https://[::1]/")),
            ("https://u:p@a.example/", &["public"], Err(UrlError::UserInfo)),
            ("https://u@a.example/", &["public"], Err(UrlError::UserInfo)),
            ("https://a.example/#x", &["public"], Err(UrlError::Fragment)),
            ("ftp://a.example/", &["public"], Err(UrlError::Scheme)),
            ("file:///etc/passwd", &["public"], Err(UrlError::Scheme)),
            ("a.example", &["public"], Err(UrlError::Malformed)),
            ("https://", &["public"], Err(UrlError::Malformed)),
            (&long, &["public"], Err(UrlError::Long)),
        ] {
            assert_eq!(parse(text, networks), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn what_is_printed_has_no_path() {
        let url = HookUrl::parse("https://a.example:8443/secret?token=x", &Networks::default()).expect("an address");
        assert_eq!(format!("{url:?}"), "HookUrl(https://a.example:8443/..)");
    }
}
