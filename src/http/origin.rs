//! Under which address a request came, as its sender sees it.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Uri};
use ipnet::IpNet;

/// How to tell.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// `public_url` without a slash at its end; where it is set, nothing else is looked at.
    pub public_url: Option<Arc<str>>,
    /// TLS is spoken here.
    pub tls: bool,
    /// Proxies whose `X-Forwarded-*` count.
    pub trusted_proxies: Arc<[IpNet]>,
}

impl Origins {
    /// Scheme and host with port, such as `https://registry.example.com:8443`.
    pub fn of(&self, headers: &HeaderMap, uri: &Uri, peer: Option<IpAddr>) -> String {
        if let Some(url) = &self.public_url {
            return url.to_string();
        }
        let forwarded = |name: &str| {
            let value = headers.get(name).filter(|_| self.trusts(peer))?.to_str().ok()?;
            // The proxy nearest to the client comes first.
            value.split(',').next().map(str::trim).filter(|value| !value.is_empty())
        };
        let scheme = match forwarded("x-forwarded-proto") {
            Some("https") => "https",
            Some("http") => "http",
            _ if self.tls => "https",
            _ => "http",
        };
        let own = || uri.authority().map(http::uri::Authority::as_str).or_else(|| headers.get(HOST)?.to_str().ok());
        let host = forwarded("x-forwarded-host").or_else(own).filter(|host| is_host(host)).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }

    /// Who sent a request: the peer, or whom a trusted proxy names.
    pub fn client(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return peer;
        }
        // Each proxy writes behind what it got, at the end of the last line or in a line of its own (RFC 9110, section 5.3).
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        // From the right: what stands to the left of the first address that is no trusted proxy, anybody may have written.
        let mut hops = hops.map_while(|hop| hop.trim().parse::<IpAddr>().ok());
        let client = hops.find(|hop| !self.trusts(Some(*hop)));
        client.or(peer)
    }

    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| {
            let peer = peer.to_canonical();
            self.trusted_proxies.iter().any(|network| network.contains(&peer))
        })
    }
}

/// Nothing that could end a quoted string or a line, and no user information.
fn is_host(text: &str) -> bool {
    let fits = !text.is_empty() && text.len() <= 255;
    fits && text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        };
        pairs.iter().map(pair).collect()
    }

    const PEER: &str = "10.0.0.1";

    fn of(origins: &Origins, pairs: &[(&'static str, &str)]) -> String {
        origins.of(&headers(pairs), &Uri::from_static("/v2/"), PEER.parse().ok())
    }

    fn trusting() -> Origins {
        let network: IpNet = "10.0.0.0/8".parse().expect("a network");
        Origins { trusted_proxies: Arc::from([network]), ..Origins::default() }
    }

    #[test]
    fn forwarded_headers_count_only_from_trusted_proxies() {
        let sent = [("host", "inner:5000"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "reg.example, inner")];
        assert_eq!(of(&Origins::default(), &sent), "http://inner:5000");
        assert_eq!(of(&Origins { tls: true, ..Origins::default() }, &sent), "https://inner:5000");
        assert_eq!(of(&trusting(), &sent), "https://reg.example");
        assert_eq!(of(&Origins { public_url: Some("https://public".into()), ..trusting() }, &sent), "https://public");
    }

    #[test]
    fn a_host_that_would_break_the_challenge_is_not_repeated() {
        for bad in ["a\"b", "a b", "user@host", "a/b", ""] {
            assert_eq!(of(&trusting(), &[("x-forwarded-host", bad), ("host", bad)]), "http://localhost", "{bad}");
        }
    }

    #[test]
    fn lines_of_forwarded_addresses_are_one_list() {
        let client = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_str(line).expect("a header"));
            }
            trusting().client(&headers, PEER.parse().ok()).expect("an address").to_string()
        };
        assert_eq!(client(&["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&["6.6.6.6", "1.2.3.4, 10.9.9.9", "10.8.8.8"]), "1.2.3.4");
        assert_eq!(client(&["6.6.6.6, 1.2.3.4", "10.9.9.9"]), "1.2.3.4");
        assert_eq!(client(&["1.2.3.4", "rubbish"]), PEER);
    }

    #[test]
    fn the_client_is_the_last_one_before_the_trusted_proxies() {
        let client = |origins: &Origins, value: &str| {
            origins.client(&headers(&[("x-forwarded-for", value)]), PEER.parse().ok()).expect("an address").to_string()
        };
        assert_eq!(client(&Origins::default(), "1.2.3.4"), PEER);
        assert_eq!(client(&trusting(), "6.6.6.6, 1.2.3.4, 10.9.9.9"), "1.2.3.4");
        assert_eq!(client(&trusting(), "10.9.9.9"), PEER);
        assert_eq!(client(&trusting(), "1.2.3.4, rubbish"), PEER);
        assert_eq!(client(&trusting(), ""), PEER);
    }
}
