//! What `serve` prints once it listens: where it is, and three lines to paste that push something.

use std::net::{IpAddr, SocketAddr};

use crate::config::PublicUrl;

/// The text for standard output, with a newline at its end.
pub(super) fn greeting(listens: SocketAddr, tls: bool, public_url: Option<&PublicUrl>) -> String {
    let scheme = if tls { "https" } else { "http" };
    let url = public_url.map_or_else(|| format!("{scheme}://{listens}"), |url| url.url.clone());
    let name = match public_url {
        Some(url) => url.url.split_once("://").map_or(url.url.clone(), |(_, host)| host.to_owned()),
        None => local_name(listens),
    };
    format!(
        "bonded serves {url}\n\nTo push something, paste this (nothing is downloaded):\n\n    \
         echo 'hello, bonded' > hello.txt\n    \
         tar -c hello.txt | docker import - {name}/hello:v1\n    \
         docker push {name}/hello:v1\n\n"
    )
}

/// Clients speak plain HTTP to `localhost` without being asked to, and to hardly anything else.
fn local_name(listens: SocketAddr) -> String {
    match listens.ip() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => format!("localhost:{}", listens.port()),
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => format!("localhost:{}", listens.port()),
        _ => listens.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting_at(listens: &str, tls: bool, public_url: Option<&PublicUrl>) -> String {
        greeting(listens.parse().expect("an address"), tls, public_url)
    }

    #[test]
    fn it_names_the_address_and_three_commands() {
        let text = greeting_at("127.0.0.1:8080", false, None);
        assert!(text.starts_with("bonded serves http://127.0.0.1:8080\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("    ")).count(), 3);
        assert!(text.contains("docker push localhost:8080/hello:v1"), "{text}");
    }

    #[test]
    fn clients_are_told_the_name_that_they_can_reach() {
        let url = PublicUrl { url: "https://r.example".to_owned(), host: "r.example".to_owned() };
        let text = greeting_at("0.0.0.0:443", true, Some(&url));
        assert!(text.starts_with("bonded serves https://r.example\n"), "{text}");
        assert!(text.contains("docker push r.example/hello:v1"), "{text}");
        assert!(greeting_at("192.0.2.1:80", false, None).contains("docker push 192.0.2.1:80/hello:v1"));
        assert!(greeting_at("[::]:80", true, None).contains("https://[::]:80\n"));
    }
}
