//! A registry that is read: manifests, blobs and lists, with a token where it asks for one (distribution, "Token
//! Authentication Specification").

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::AccessArgs;
use crate::cli::{Failure, variable};
use crate::config::TOKEN_VARIABLE;
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::telemetry::chain;

/// Longest time without an answer.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Most redirects to a store.
const REDIRECTS_MAX: usize = 5;

/// What is to be verified.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// With its port.
    pub(super) host: String,
    pub(super) repository: RepoName,
    pub(super) reference: Reference,
}

/// Why there is no answer to be had.
#[derive(Debug)]
pub(super) enum RemoteError {
    /// There is no such thing.
    Unknown(String),
    /// What was given on the command line cannot be used.
    Usage(Failure),
    /// The registry answers, and does not give it.
    Refused(StatusCode, String),
    /// The registry does not answer, or not with what it should.
    Failed(String),
}

/// An answer within limits.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A registry, for one repository.
pub(super) struct Remote {
    base: String,
    repository: RepoName,
    client: Client,
    /// `Authorization: Basic`.
    basic: Option<String>,
    /// What the token service gave.
    bearer: OnceCell<String>,
}

impl Image {
    /// Reads `host/repository[:tag][@digest]`; where both stand, the digest counts.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no reference: {why}, as in registry.example.com/team/app:v1");
        let (host, rest) = text.split_once('/').ok_or_else(|| wrong("it names a host and a repository"))?;
        let is_host = host.contains(['.', ':']) || host == "localhost";
        if !is_host || host.contains(['@', '?', '#', '\\']) {
            return Err(wrong("it begins with a host"));
        }
        let (rest, digest) = rest.split_once('@').map_or((rest, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = rest.rsplit_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        let repository = name.parse().map_err(|error| wrong(&format!("{error}")))?;
        let reference = digest.or(tag).ok_or_else(|| wrong("it ends with a tag or a digest"))?;
        let reference: Reference = reference.parse().map_err(|error| wrong(&format!("{error}")))?;
        if digest.is_some() != matches!(reference, Reference::Digest(_)) {
            return Err(wrong("behind `@` there is a digest"));
        }
        Ok(Self { host: host.to_owned(), repository, reference })
    }

    fn is_here(&self) -> bool {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        name == "localhost"
            || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl Remote {
    /// A client for a registry, with the credentials that there are.
    pub(super) fn new(image: &Image, args: &AccessArgs) -> Result<Self, Failure> {
        let plain = args.plain_http || image.is_here();
        let builder = Client::builder().timeout(TIME_MAX).redirect(Policy::limited(REDIRECTS_MAX));
        let builder = if image.is_here() { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| Failure::failed(chain(&error)))?;
        let base = format!("{}://{}", if plain { "http" } else { "https" }, image.host);
        let basic = credentials(&image.host, args)?;
        Ok(Self { base, repository: image.repository.clone(), client, basic, bearer: OnceCell::new() })
    }

    /// Sends a GET.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<Answer, RemoteError> {
        let answer = self.ask(reqwest::Method::GET, path, accept).await?;
        judged(answer).await
    }

    /// Sends a HEAD; a refusal by a policy still tells the digest.
    pub(super) async fn head(&self, path: &str, accept: &str) -> Result<HeaderMap, RemoteError> {
        let answer = self.ask(reqwest::Method::HEAD, path, accept).await?;
        match answer.status() {
            StatusCode::FORBIDDEN if answer.headers().contains_key("docker-content-digest") => {
                Ok(answer.headers().clone())
            }
            _ => judged(answer).await.map(|answer| answer.headers),
        }
    }

    /// The path of a link in the answer to a GET of `path`. `None`: it leads elsewhere than to the registry.
    pub(super) fn own_path(&self, path: &str, link: &str) -> Option<String> {
        let url = Url::parse(&format!("{}{path}", self.base)).and_then(|url| url.join(link)).ok()?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        self.is_own(url.as_str()).then(|| format!("{}{query}", url.path()))
    }

    async fn ask(&self, method: reqwest::Method, path: &str, accept: &str) -> Result<reqwest::Response, RemoteError> {
        let send = |authorization: Option<&String>| {
            let request = self.client.request(method.clone(), format!("{}{path}", self.base)).header(ACCEPT, accept);
            match authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            }
        };
        let answer = send(self.bearer.get()).send().await.map_err(failed)?;
        // What asks elsewhere, after a redirect, is not the registry.
        let is_other = !self.is_own(answer.url().as_str());
        if answer.status() != StatusCode::UNAUTHORIZED || self.bearer.get().is_some() || is_other {
            return Ok(answer);
        }
        let challenge =
            answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let authorization = self.authorization(challenge).await?;
        let authorization = self.bearer.get_or_init(|| async { authorization }).await;
        send(Some(authorization)).send().await.map_err(failed)
    }

    /// Whether an address is one of the registry: scheme, host and port.
    fn is_own(&self, address: &str) -> bool {
        let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
        origin(address).is_some_and(|found| Some(found) == origin(&self.base))
    }

    /// What a challenge asks for.
    async fn authorization(&self, challenge: &str) -> Result<String, RemoteError> {
        let refused = || RemoteError::Failed("the registry asks for credentials; give --username".to_owned());
        let Some(parameters) = challenge.strip_prefix("Bearer ").map(parameters) else {
            return self.basic.clone().ok_or_else(refused);
        };
        let realm = parameters.get("realm").ok_or_else(refused)?;
        // Credentials are told to the registry's own token service, or to one behind TLS.
        if !realm.starts_with("https://") && !self.is_own(realm) {
            return Err(RemoteError::Failed(format!("the token service {realm} is elsewhere and without TLS")));
        }
        let scope = format!("repository:{}:pull", self.repository);
        let service = parameters.get("service").cloned().unwrap_or_default();
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("service", &service)
            .append_pair("scope", &scope)
            .finish();
        let request = self.client.get(format!("{realm}?{query}"));
        let request = match &self.basic {
            Some(basic) => request.header(AUTHORIZATION, basic),
            None => request,
        };
        let answer = judged(request.send().await.map_err(failed)?).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = body["token"].as_str().or(body["access_token"].as_str()).ok_or_else(refused)?;
        Ok(format!("Bearer {token}"))
    }
}

/// The body of an answer, or what it says is wrong.
async fn judged(mut answer: reqwest::Response) -> Result<Answer, RemoteError> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(RemoteError::Failed(format!("an answer has more than {BODY_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    if status.is_success() {
        return Ok(Answer { headers, body });
    }
    let error: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = error["errors"][0]["message"].as_str().unwrap_or_default();
    let message = if said.is_empty() { format!("the registry answered {status}") } else { said.to_owned() };
    Err(if status == StatusCode::NOT_FOUND {
        RemoteError::Unknown(message)
    } else {
        RemoteError::Refused(status, message)
    })
}

fn failed(error: impl std::error::Error + 'static) -> RemoteError {
    RemoteError::Failed(chain(&error))
}

/// `name="value"` pairs of a challenge (RFC 9110, section 11.2).
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while let Some((name, behind)) = rest.split_once("=\"") {
        let Some((value, next)) = behind.split_once('"') else { break };
        found.insert(name.trim_matches([',', ' ']).to_ascii_lowercase(), value.to_owned());
        rest = next;
    }
    found
}

/// Who asks: by the options, else by docker's configuration.
pub(in crate::cli) fn credentials(host: &str, args: &AccessArgs) -> Result<Option<String>, Failure> {
    let secret = if args.password_stdin {
        let mut text = String::new();
        let read = std::io::stdin().take(64 << 10).read_to_string(&mut text);
        read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    } else {
        // Who names no account means no host by it either.
        let token = args.username.as_ref().and_then(|_| variable(TOKEN_VARIABLE));
        token.and_then(|token| token.into_string().ok())
    };
    if args.username.is_some() && secret.is_none() {
        return Err(Failure::usage(format!("--username needs --password-stdin, or the variable {TOKEN_VARIABLE}")));
    }
    if let Some(secret) = secret {
        let name = args.username.as_deref().unwrap_or("token");
        return Ok(Some(format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))));
    }
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    let text = folder.and_then(|folder| std::fs::read(folder.join("config.json")).ok()).unwrap_or_default();
    let config: Value = serde_json::from_slice(&text).unwrap_or_default();
    let kept = config["auths"][host]["auth"].as_str().filter(|auth| !auth.is_empty());
    Ok(kept.map(|auth| format!("Basic {auth}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_host_repository_and_tag_or_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, reference) in [
            ("localhost:5000/app:v1".to_owned(), "v1".to_owned()),
            ("registry.example.com/team/app:v1".to_owned(), "v1".to_owned()),
            (format!("127.0.0.1:5000/a/b/c@{digest}"), digest.clone()),
            (format!("127.0.0.1:5000/a/b/c:v1@{digest}"), digest.clone()),
        ] {
            let image = Image::parse(&text).expect(&text);
            assert_eq!(image.reference.to_string(), reference, "{text}");
        }
        for text in ["app:v1", "team/app:v1", "a.b/app", "a.b/App:v1", "a.b/app@v1", "a.b/app:", "a@b.c/app:v1"] {
            assert!(Image::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_challenge_has_parameters() {
        let read = parameters(r#"realm="https://a/v2/token",service="a, b",Scope="repository:x:pull,push""#);
        assert_eq!(read["realm"], "https://a/v2/token");
        assert_eq!((read["service"].as_str(), read["scope"].as_str()), ("a, b", "repository:x:pull,push"));
        assert!(parameters("realm=\"open").is_empty());
    }
}
