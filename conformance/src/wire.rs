//! A plain HTTP client for scenarios: every answer knows the request it answers, so a failed expectation says both.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::time::Duration;

/// A client of one registry.
#[derive(Clone)]
pub(crate) struct Wire {
    client: reqwest::Client,
    base: String,
}

impl Wire {
    /// A client of the registry at `base` (`http://host:port`).
    pub(crate) fn new(base: &str) -> Result<Self> {
        Self::patient(base, Duration::from_mins(2))
    }

    /// The same with another longest time for a request.
    pub(crate) fn patient(base: &str, longest: Duration) -> Result<Self> {
        let client =
            reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).timeout(longest).no_proxy().build()?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    /// Where the registry is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The port of the registry, where its address names one.
    pub(crate) fn port(&self) -> Option<u16> {
        self.authority().rsplit_once(':')?.1.parse().ok()
    }

    /// `host:port` of the registry.
    pub(crate) fn authority(&self) -> &str {
        self.base.split_once("://").map_or(self.base.as_str(), |(_, rest)| rest)
    }

    /// A request; `target` is a path or a whole URL, as a `Location` may be either.
    pub(crate) fn call(&self, method: Method, target: &str) -> Call {
        let url = if target.starts_with("http") { target.to_owned() } else { format!("{}{target}", self.base) };
        Call { text: format!("{method} {target}"), builder: self.client.request(method, url) }
    }

    /// GET.
    pub(crate) fn get(&self, target: &str) -> Call {
        self.call(Method::GET, target)
    }

    /// HEAD.
    pub(crate) fn head(&self, target: &str) -> Call {
        self.call(Method::HEAD, target)
    }

    /// PUT.
    pub(crate) fn put(&self, target: &str) -> Call {
        self.call(Method::PUT, target)
    }

    /// POST.
    pub(crate) fn post(&self, target: &str) -> Call {
        self.call(Method::POST, target)
    }

    /// PATCH.
    pub(crate) fn patch(&self, target: &str) -> Call {
        self.call(Method::PATCH, target)
    }

    /// DELETE.
    pub(crate) fn delete(&self, target: &str) -> Call {
        self.call(Method::DELETE, target)
    }
}

/// A request that is not yet sent.
pub(crate) struct Call {
    builder: reqwest::RequestBuilder,
    text: String,
}

impl Call {
    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        if value.len() < 80 {
            self.text = format!("{} [{name}: {value}]", self.text);
        }
        self.builder = self.builder.header(name, value);
        self
    }

    /// Sends these bytes, with their length.
    pub(crate) fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.builder = self.builder.body(bytes.into());
        self
    }

    /// Sends a body in pieces without saying its length, as `Transfer-Encoding: chunked`.
    pub(crate) fn stream<S>(mut self, pieces: S) -> Self
    where
        S: futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        self.builder = self.builder.body(reqwest::Body::wrap_stream(pieces));
        self
    }

    /// Sends the request and reads the whole answer.
    pub(crate) async fn send(self) -> Result<Answer> {
        let text = self.text;
        let response = self.builder.send().await.with_context(|| format!("{text} got no answer"))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.with_context(|| format!("{text} -> {status}, but its body broke off"))?;
        Ok(Answer { text, status, headers, body })
    }

    /// Sends the request and demands this status.
    pub(crate) async fn expect(self, status: u16) -> Result<Answer> {
        self.send().await?.expect(status)
    }

    /// Sends the request and demands an error body with this code.
    pub(crate) async fn expect_error(self, status: u16, code: &str) -> Result<Answer> {
        let answer = self.send().await?;
        answer.check_error(status, code)?;
        Ok(answer)
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    text: String,
    /// Status code.
    pub(crate) status: u16,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The answer, if it has this status.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        self.expect_any(&[status])
    }

    /// The answer, if it has one of these statuses.
    pub(crate) fn expect_any(self, statuses: &[u16]) -> Result<Self> {
        ensure!(statuses.contains(&self.status), "{}, expected {statuses:?}", self.describe());
        Ok(self)
    }

    /// Request, status and the beginning of the body.
    pub(crate) fn describe(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        format!("{} -> {} {}", self.text, self.status, body.trim())
    }

    /// A header that must be there, once.
    pub(crate) fn header(&self, name: &str) -> Result<&str> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { bail!("{}: no {name} header", self.describe()) };
        ensure!(values.next().is_none(), "{}: more than one {name} header", self.describe());
        value.to_str().with_context(|| format!("{}: {name} is not text", self.describe()))
    }

    /// Whether there is such a header.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// Demands a header with exactly this value.
    pub(crate) fn expect_header(&self, name: &str, value: &str) -> Result<&Self> {
        let got = self.header(name)?;
        ensure!(got == value, "{}: {name} is {got:?}, expected {value:?}", self.describe());
        Ok(self)
    }

    /// Demands exactly this body, with its length in `Content-Length`.
    pub(crate) fn expect_body(&self, bytes: &[u8]) -> Result<&Self> {
        ensure!(
            self.body == bytes,
            "{} -> {}: the body ({} bytes) is not the one pushed ({} bytes)",
            self.text,
            self.status,
            self.body.len(),
            bytes.len()
        );
        self.expect_header("content-length", &bytes.len().to_string())
    }

    /// The `Location`, which names a path or a whole URL.
    pub(crate) fn location(&self) -> Result<String> {
        self.header("location").map(str::to_owned)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: the body is not JSON", self.describe()))
    }

    /// Demands the error body of the specification ("Error Codes") with this code first; gives its message.
    pub(crate) fn check_error(&self, status: u16, code: &str) -> Result<String> {
        ensure!(self.status == status, "{}, expected {status} {code}", self.describe());
        let kind = self.header("content-type")?;
        ensure!(kind.starts_with("application/json"), "{}: an error body of type {kind}", self.describe());
        let body = self.json()?;
        let first = &body["errors"][0];
        ensure!(first["code"] == code, "{}: expected the code {code}", self.describe());
        let message = first["message"].as_str().unwrap_or_default();
        ensure!(!message.is_empty(), "{}: the error has no message", self.describe());
        Ok(message.to_owned())
    }

    /// The target of the `Link` header with `rel="next"` (RFC 8288), if there is one.
    pub(crate) fn next_page(&self) -> Result<Option<String>> {
        if !self.has("link") {
            return Ok(None);
        }
        let link = self.header("link")?;
        let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let Some((target, rest)) = target else { bail!("{}: Link is {link:?}", self.describe()) };
        ensure!(rest.contains("rel=\"next\""), "{}: Link is {link:?}", self.describe());
        Ok(Some(target.to_owned()))
    }
}

/// Adds a parameter to a target that may have some already.
pub(crate) fn with_query(target: &str, query: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}{query}")
}
