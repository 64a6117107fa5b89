//! Requests that a browser sends for a web page of another origin.
//!
//! A page may make a browser send a form or a text anywhere without being asked first (the Fetch standard calls that a
//! simple request), also to a server on the machine of its user that asks nobody who he is. Browsers say whose page it is:
//! in `Sec-Fetch-Site` (W3C, "Fetch Metadata Request Headers"), which no page can write, and in `Origin` (RFC 6454). What
//! would change something is taken from other pages only where the operator names them. Clients of registries say neither.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Uri};

use crate::access::WebOrigin;
use crate::http::origin::Origins;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose pages may change something.
#[derive(Clone, Debug, Default)]
pub struct PageGuard {
    /// Pages of other origins that may call.
    pub pages: Arc<[WebOrigin]>,
    /// Which origin is our own.
    pub origins: Origins,
}

impl PageGuard {
    /// Whether a request changes nothing, comes from no page, or from one that may call.
    pub(super) fn allows(&self, method: &Method, uri: &Uri, headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return true;
        }
        let mut from = headers.get_all(ORIGIN).iter().map(|origin| origin.to_str().unwrap_or_default());
        // No browser sends two.
        let (from, None) = (from.next(), from.next()) else { return false };
        if from.is_some_and(|origin| self.pages.iter().any(|page| page.as_str() == origin)) {
            return true;
        }
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
        if sites.peek().is_some() {
            // `none`: nobody's page, but the user himself. A proxy may have changed `Host`, so the browser knows best.
            return sites.all(|site| site == "same-origin" || site == "none");
        }
        from.is_none_or(|origin| self.is_own(origin, uri, headers, peer))
    }

    /// Whether an origin is the one under which the request came. Schemes do not count: a proxy may speak TLS for us.
    fn is_own(&self, origin: &str, uri: &Uri, headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
        let Some(place) = place(origin) else { return false };
        let asked = uri.authority().map(http::uri::Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok());
        let own = self.origins.of(headers, uri, peer);
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(place))
            || self::place(&own).is_some_and(|own| own.eq_ignore_ascii_case(place))
    }
}

/// The host of an origin, with its port where that is not the usual one; `None`: it is none, such as `null`.
fn place(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    let usual = if scheme == "https" { ":443" } else { ":80" };
    Some(authority.strip_suffix(usual).unwrap_or(authority)).filter(|place| !place.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn guard() -> PageGuard {
        PageGuard {
            pages: Arc::from(["https://console.example.com".parse().expect("an origin")]),
            origins: Origins { public_url: Some("https://reg.example.com:443".into()), ..Origins::default() },
        }
    }

    fn allows(method: &Method, pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:8080"))]);
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        guard().allows(method, &Uri::from_static("/v2/a/blobs/uploads/"), &headers, None)
    }

    #[test]
    fn only_named_pages_and_our_own_change_anything() {
        for good in [
            &[][..],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "https://reg.example.com")],
            &[("origin", "https://console.example.com"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://behind.a.proxy.example"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(allows(&Method::POST, good), "{good:?}");
        }
        for bad in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "http://127.0.0.1")],
            &[("origin", "https://console.example.com"), ("origin", "https://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
        ] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(!allows(&method, bad), "{method} {bad:?}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(allows(&method, bad), "{method} {bad:?}");
            }
        }
    }
}
