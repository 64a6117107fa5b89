//! Origins of web pages, as browsers send them in `Origin` (RFC 6454, section 6.2).

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// The origin of a web page: scheme, host, and a port that is not the scheme's own. It is written in one way only, so that
/// comparing it byte by byte with what a browser sends is right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebOrigin(String);

/// Why a text is not the origin of a web page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebOriginError {
    /// It is something else.
    #[error("`{0}` is not the origin of a web page such as \"https://console.example.com\", nor one with a port")]
    Shape(String),
    /// It stands for more than one.
    #[error(
        "`{0}` stands for more than one web page; name each origin that may call, such as \"https://console.example.com\""
    )]
    Wildcard(String),
    /// No browser would send it like this.
    #[error("`{given}` is not how browsers write this origin; write \"{written}\"")]
    Spelling {
        /// What was given.
        given: String,
        /// What they send.
        written: String,
    },
}

impl WebOrigin {
    /// As browsers send it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = WebOriginError;

    fn from_str(text: &str) -> Result<Self, WebOriginError> {
        if text.contains('*') {
            return Err(WebOriginError::Wildcard(text.to_owned()));
        }
        let written = canonical(text).ok_or_else(|| WebOriginError::Shape(text.to_owned()))?;
        if written == text {
            return Ok(Self(written));
        }
        Err(WebOriginError::Spelling { given: text.to_owned(), written })
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How browsers write the origin that a text means.
fn canonical(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let usual_port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => 443,
        Some(scheme) if *scheme == Scheme::HTTP => 80,
        _ => return None,
    };
    let scheme = uri.scheme_str()?;
    let authority = uri.authority()?;
    let host = authority.host().to_ascii_lowercase();
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains(['#', '@', '%']);
    // A colon without a number behind it is no port.
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse::<u16>().ok()?),
    };
    if host.is_empty() || !is_bare {
        return None;
    }
    let port = port.filter(|port| *port != usual_port).map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{scheme}://{host}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for good in [
            "https://console.example.com",
            "https://console.example.com:8443",
            "http://localhost:3000",
            "http://127.0.0.1:5173",
            "http://[::1]:5173",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(good.parse::<WebOrigin>().map(|origin| origin.to_string()), Ok(good.to_owned()));
        }
        for (given, written) in [
            ("https://Console.example.com", "https://console.example.com"),
            ("https://console.example.com/", "https://console.example.com"),
            ("https://console.example.com:443", "https://console.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:03000", "http://localhost:3000"),
            ("HTTPS://console.example.com", "https://console.example.com"),
        ] {
            let (given, written) = (given.to_owned(), written.to_owned());
            assert_eq!(given.parse::<WebOrigin>(), Err(WebOriginError::Spelling { given, written }));
        }
    }

    #[test]
    fn what_is_no_origin_or_more_than_one_is_refused() {
        for text in ["*", "https://*.example.com", "http://*"] {
            assert_eq!(text.parse::<WebOrigin>(), Err(WebOriginError::Wildcard(text.to_owned())));
        }
        for text in [
            "",
            "null",
            "console.example.com",
            "//console.example.com",
            "file:///",
            "ftp://example.com",
            "chrome-extension://abcdef",
            "https://",
            "https://:443",
            "https://example.com:",
            "https://example.com:0x50",
            "https://example.com:70000",
            "https://example.com/app",
            "https://example.com?q",
            "https://example.com#top",
            "https://user@example.com",
            "https://example.com https://example.org",
            "https://b\u{fc}cher.example",
        ] {
            assert_eq!(text.parse::<WebOrigin>(), Err(WebOriginError::Shape(text.to_owned())), "{text}");
        }
    }
}
