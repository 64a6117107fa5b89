//! A running registry that is asked what a document would change.
//!
//! Whoever administers it has to show his own credentials: no token of the token service says that he may.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::verify::{AccessArgs, credentials};
use crate::telemetry::chain;

/// Longest time without an answer.
const TIME_MAX: Duration = Duration::from_mins(1);
/// Most bytes of an answer.
const BODY_BYTES_MAX: usize = 32 << 20;
/// How often a page is asked for while the registry is busy, and how long it is left alone each time.
const TRIES_MAX: u32 = 20;
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The path of the question.
const PATH: &str = "/v2/_trust/policy/dryrun";

/// A registry.
pub(super) struct Server {
    base: String,
    client: Client,
    /// `Authorization: Basic`.
    basic: Option<String>,
}

/// What a registry says to a question.
pub(super) enum Told {
    /// Its answer.
    Page(Value),
    /// It cannot use the document, for these reasons.
    Faulty(Vec<Value>),
}

impl Server {
    /// A client for an address such as `https://registry.example.com` or `localhost:5000`.
    pub(super) fn new(address: &str, access: &AccessArgs) -> Result<Self, Failure> {
        let wrong =
            || Failure::usage(format!("`{address}` is no address of a registry, as https://registry.example.com"));
        let url = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
        let url = Url::parse(&url).map_err(|_| wrong())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let name = url.host_str().filter(|_| bare && matches!(url.scheme(), "http" | "https")).ok_or_else(wrong)?;
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let plain = match address.split_once("://") {
            Some((scheme, _)) => scheme.eq_ignore_ascii_case("http"),
            None => access.plain_http || is_here(name),
        };
        let builder = Client::builder().timeout(TIME_MAX).redirect(Policy::none());
        let builder = if is_here(name) { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| Failure::usage(chain(&error)))?;
        let basic = credentials(&host, access)?;
        Ok(Self { base: format!("{}://{host}", if plain { "http" } else { "https" }), client, basic })
    }

    /// Asks for one page, and again while the registry is busy.
    pub(super) async fn ask(&self, target: &str, document: &str) -> Result<Told, Failure> {
        if target.strip_prefix(PATH).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('?')) {
            return Err(Failure::usage("the registry says to go on elsewhere"));
        }
        let mut tries = 0;
        loop {
            let request = self.client.post(format!("{}{target}", self.base)).header(CONTENT_TYPE, "application/yaml");
            let request = match &self.basic {
                Some(basic) => request.header(AUTHORIZATION, basic),
                None => request,
            };
            let answer = request.body(document.to_owned()).send().await;
            let answer = answer.map_err(|error| Failure::usage(chain(&error)))?;
            let is_busy = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            tries += 1;
            if !is_busy || tries == TRIES_MAX {
                return judged(answer).await;
            }
            let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(1)).min(WAIT_MAX)).await;
        }
    }
}

/// Whether a host is this machine.
fn is_here(name: &str) -> bool {
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn judged(mut answer: Response) -> Result<Told, Failure> {
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| Failure::usage(chain(&error)))? {
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(Failure::usage(format!(
                "an answer has more than {BODY_BYTES_MAX} bytes; ask for less at a time"
            )));
        }
        body.extend_from_slice(&piece);
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() && body["checked"].is_u64() {
        return Ok(Told::Page(body));
    }
    let error = &body["errors"][0];
    if let (StatusCode::BAD_REQUEST, Value::Array(findings)) = (status, &error["detail"]) {
        return Ok(Told::Faulty(findings.clone()));
    }
    let said = error["message"].as_str().unwrap_or("it cannot try out policies");
    let help = match status {
        StatusCode::UNAUTHORIZED => "; give --username of an administrator",
        StatusCode::FORBIDDEN => "; it takes an administrator, with a token that has no scopes",
        _ => "",
    };
    Err(Failure::usage(format!("the registry answered {status}: {said}{help}")))
}
