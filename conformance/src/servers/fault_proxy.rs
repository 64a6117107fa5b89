//! A proxy in front of an S3 server that counts calls and injects faults.
//!
//! Rules are asked in the order in which they were added; the first that matches decides. They can be added and removed
//! while requests go through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use super::forward::{Body, Error, Forwarder, Listening, authority, bad_gateway, boxed, full, serve_http};
use super::operation::Operation;
use crate::random::Random;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body is taken, nothing is passed on, this status is the answer, with an S3 error as its body.
    Status(u16),
    /// 503 with the code `SlowDown`, in the same way.
    SlowDown,
    /// The call is passed on after this time.
    Delay(Duration),
    /// The body is taken, nothing is passed on, no answer comes as long as the client waits.
    Hang,
    /// The call is passed on, its answer never comes as long as the client waits.
    HangAnswer,
    /// So many bytes of the request's body are passed on, then both connections end.
    CutRequest(u64),
    /// So many bytes of the answer's body are passed on, then the connection ends.
    CutAnswer(u64),
    /// The call is passed on and done, then the connection ends without an answer.
    DropAnswer,
    /// 200 with an error as its body (S3 does so for calls that take long); nothing is passed on.
    ErrorInOk,
    /// 200 with an error as its body, although the call was passed on and done.
    ErrorInOkAfter,
    /// Both bodies go at so many bytes a second.
    Slow(u64),
}

/// Which calls a fault hits.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    operation: Option<Operation>,
    path: Option<String>,
    skip: u64,
    times: u64,
    permille: u64,
}

impl Rule {
    /// Hits every call.
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, path: None, skip: 0, times: u64::MAX, permille: 1000 }
    }

    /// Hits only this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Hits only calls whose path contains this text.
    #[must_use]
    pub fn path(mut self, text: impl Into<String>) -> Self {
        self.path = Some(text.into());
        self
    }

    /// Lets so many matching calls through first.
    #[must_use]
    pub fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Hits at most so many calls.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }

    /// Hits the `nth` matching call, counted from 1, and no other.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        self.skip(nth.saturating_sub(1)).times(1)
    }

    /// Hits so many of 1,000 matching calls, by the proxy's seed.
    #[must_use]
    pub fn permille(mut self, chance: u64) -> Self {
        self.permille = chance;
        self
    }

    fn matches(&self, call: &Call) -> bool {
        self.operation.is_none_or(|operation| operation == call.operation)
            && self.path.as_ref().is_none_or(|text| call.target.split('?').next().unwrap_or_default().contains(text))
    }
}

/// Names a rule that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

/// A call that came to the proxy.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// What it is.
    pub operation: Operation,
    /// Path and query.
    pub target: String,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// When it came, counted from the start of the proxy.
    pub came: Duration,
    /// When its answer began, and with which status; none when there was none, or not yet.
    pub answered: Option<(Duration, u16)>,
}

/// A proxy in front of an HTTP server, made for S3.
#[derive(Debug)]
pub struct FaultProxy {
    listening: Listening,
    shared: Arc<Shared>,
}

struct Shared {
    began: Instant,
    forwarder: Forwarder,
    upstream: Authority,
    random: Random,
    state: Mutex<State>,
    /// Raised whenever a call was written down.
    news: watch::Sender<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    rules: Vec<Active>,
    next_rule: u64,
    counts: BTreeMap<Operation, u64>,
    injected: u64,
    calls: Vec<Call>,
}

struct Active {
    id: RuleId,
    rule: Rule,
    seen: u64,
    hits: u64,
}

impl FaultProxy {
    /// Listens on a free loopback port; `upstream` is `host:port` or `http://host:port`. Without rules it only counts.
    pub fn start(upstream: &str, seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            forwarder: Forwarder::new(),
            upstream: authority(upstream)?,
            random: Random::new(seed),
            state: Mutex::default(),
            news: watch::Sender::new(()),
        });
        let served = Arc::clone(&shared);
        let answer = Arc::new(move |request| Arc::clone(&served).answer(request));
        let listening = Listening::start(move |stream| serve_http(stream, Arc::clone(&answer)))?;
        Ok(Self { listening, shared })
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listening.authority())
    }

    /// `127.0.0.1:port`.
    pub fn authority(&self) -> String {
        self.listening.authority()
    }

    /// Adds a rule behind those that are there.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut state = self.shared.state();
        state.next_rule += 1;
        let id = RuleId(state.next_rule);
        state.rules.push(Active { id, rule, seen: 0, hits: 0 });
        id
    }

    /// Removes a rule; calls that it hit go on as they began.
    pub fn remove(&self, id: RuleId) {
        self.shared.state().rules.retain(|active| active.id != id);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.shared.state().rules.clear();
    }

    /// How many calls a rule has hit; 0 for one that was removed.
    pub fn hits(&self, id: RuleId) -> u64 {
        self.shared.state().rules.iter().find(|active| active.id == id).map_or(0, |active| active.hits)
    }

    /// Waits until a rule has hit so many calls.
    pub async fn wait_for_hits(&self, id: RuleId, hits: u64) {
        let mut news = self.shared.news.subscribe();
        while self.hits(id) < hits {
            // The sender lives as long as we do.
            let _ = news.changed().await;
        }
    }

    /// How many calls came, by operation.
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        self.shared.state().counts.clone()
    }

    /// How many calls came of this operation.
    pub fn count(&self, operation: Operation) -> u64 {
        self.shared.state().counts.get(&operation).copied().unwrap_or_default()
    }

    /// How many calls came.
    pub fn total(&self) -> u64 {
        self.shared.state().counts.values().sum()
    }

    /// How many calls a rule has hit, whichever.
    pub fn injected(&self) -> u64 {
        self.shared.state().injected
    }

    /// The first calls, in the order in which they came, at most [`Self::CALLS_MAX`].
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// Forgets counts and calls.
    pub fn forget(&self) {
        let mut state = self.shared.state();
        state.counts.clear();
        state.calls.clear();
        state.injected = 0;
    }

    /// How many calls are written down one by one.
    pub const CALLS_MAX: usize = 100_000;
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a call down and says what is to be done to it, and where it is written.
    fn judge(&self, mut call: Call) -> (Option<Fault>, usize) {
        let mut state = self.state();
        *state.counts.entry(call.operation).or_default() += 1;
        let hit = state.rules.iter_mut().find_map(|active| {
            if !active.rule.matches(&call) {
                return None;
            }
            active.seen += 1;
            let due = active.seen > active.rule.skip && active.hits < active.rule.times;
            if !due || !self.random.permille(active.rule.permille) {
                return None;
            }
            active.hits += 1;
            Some(active.rule.fault.clone())
        });
        state.injected += u64::from(hit.is_some());
        call.fault.clone_from(&hit);
        let place = state.calls.len();
        if place < FaultProxy::CALLS_MAX {
            state.calls.push(call);
        }
        drop(state);
        self.news.send_replace(());
        (hit, place)
    }

    fn answered(&self, place: usize, status: u16) {
        if let Some(call) = self.state().calls.get_mut(place) {
            call.answered = Some((self.began.elapsed(), status));
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Error> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let (method, operation) = (parts.method.clone(), Operation::of(&parts));
        let came = self.began.elapsed();
        let (fault, place) = self.judge(Call { method, operation, target, fault: None, came, answered: None });
        let request = Request::from_parts(parts, body);
        let answer = match fault {
            None => Ok(self.pass(request.map(boxed)).await),
            Some(fault) => self.inject(fault, request).await,
        };
        if let Ok(answer) = &answer {
            self.answered(place, answer.status().as_u16());
        }
        answer
    }

    async fn inject(&self, fault: Fault, request: Request<Incoming>) -> Result<Response<Body>, Error> {
        match fault {
            Fault::Status(status) => {
                let status = StatusCode::from_u16(status)?;
                let code = if status.is_server_error() { "InternalError" } else { "InvalidRequest" };
                refuse(request, status, code).await
            }
            Fault::SlowDown => refuse(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await,
            Fault::ErrorInOk => refuse(request, StatusCode::OK, "InternalError").await,
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok(self.pass(request.map(boxed)).await)
            }
            Fault::Hang => {
                request.into_body().collect().await?;
                std::future::pending().await
            }
            Fault::HangAnswer => {
                self.pass_whole(request).await;
                std::future::pending().await
            }
            Fault::DropAnswer => {
                self.pass_whole(request).await;
                Err("the answer is dropped".into())
            }
            Fault::ErrorInOkAfter => {
                self.pass_whole(request).await;
                Ok(error_answer(&Method::POST, StatusCode::OK, "InternalError"))
            }
            Fault::CutRequest(after) => {
                self.forwarder.send(request.map(|body| cut(boxed(body), after)), &self.upstream).await
            }
            Fault::CutAnswer(after) => Ok(self.pass(request.map(boxed)).await.map(|body| cut(body, after))),
            Fault::Slow(rate) => {
                let request = request.map(|body| slow(boxed(body), rate));
                Ok(self.pass(request).await.map(|body| slow(body, rate)))
            }
        }
    }

    async fn pass(&self, request: Request<Body>) -> Response<Body> {
        self.forwarder.send(request, &self.upstream).await.unwrap_or_else(|error| bad_gateway(&error))
    }

    /// Passes a call on and takes its whole answer.
    async fn pass_whole(&self, request: Request<Incoming>) {
        let response = self.pass(request.map(boxed)).await;
        // Whatever the answer is, nobody will see it.
        let _ = response.into_body().collect().await;
    }
}

/// Takes the body and answers in the server's place.
async fn refuse(request: Request<Incoming>, status: StatusCode, code: &str) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    body.collect().await?;
    Ok(error_answer(&parts.method, status, code))
}

fn error_answer(method: &Method, status: StatusCode, code: &str) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>A fault was \
         injected.</Message><RequestId>fault</RequestId></Error>"
    );
    let mut response = Response::new(full(if *method == Method::HEAD { Bytes::new() } else { Bytes::from(text) }));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The first bytes of a body, then an error, which ends the connection.
fn cut(body: Body, after: u64) -> Body {
    let pieces = stream::unfold(Some((body.into_data_stream(), after)), |state| async move {
        let (mut pieces, left) = state?;
        let broken: Error = "the body is cut here".into();
        if left == 0 {
            return Some((Err(broken), None));
        }
        match pieces.next().await {
            Some(Ok(piece)) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                let left = left - take as u64;
                Some((Ok(Frame::data(piece.slice(..take))), Some((pieces, left))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            // A body that is shorter than promised is cut at its end.
            None => Some((Err(broken), None)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A body that comes at so many bytes a second.
fn slow(body: Body, rate: u64) -> Body {
    let pieces = stream::unfold((body.into_data_stream(), Bytes::new()), move |(mut pieces, mut rest)| async move {
        while rest.is_empty() {
            match pieces.next().await? {
                Ok(piece) => rest = piece,
                Err(error) => return Some((Err(error), (pieces, rest))),
            }
        }
        let piece = rest.split_to(rest.len().min(SLOW_PIECE_BYTES));
        let micros = (piece.len() as u64).saturating_mul(1_000_000) / rate.max(1);
        tokio::time::sleep(Duration::from_micros(micros)).await;
        Some((Ok(Frame::data(piece)), (pieces, rest)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

const SLOW_PIECE_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;
    use reqwest::Client;

    use super::super::RoundRobinProxy;
    use super::*;

    /// Answers each request with the bytes of its body, and says how much came.
    fn echo() -> Listening {
        let answer = Arc::new(|request: Request<Incoming>| async {
            let host = request.headers().get("host").cloned();
            let bytes = request.into_body().collect().await?.to_bytes();
            let mut response = Response::new(full(bytes));
            response.headers_mut().extend(host.map(|host| (HeaderName::from_static("x-host"), host)));
            Ok(response)
        });
        Listening::start(move |stream| serve_http(stream, Arc::clone(&answer))).unwrap()
    }

    struct Bench {
        proxy: FaultProxy,
        client: Client,
        _upstream: Listening,
    }

    impl Bench {
        fn new() -> Self {
            let upstream = echo();
            let proxy = FaultProxy::start(&upstream.authority(), 7).unwrap();
            let client = Client::builder().no_proxy().build().unwrap();
            Self { proxy, client, _upstream: upstream }
        }

        /// Status and body, or the error.
        async fn put(&self, bytes: &'static [u8]) -> reqwest::Result<(u16, Bytes)> {
            let response = self.client.put(format!("{}/b/k", self.proxy.endpoint())).body(bytes).send().await?;
            Ok((response.status().as_u16(), response.bytes().await?))
        }

        async fn hangs(&self) -> bool {
            tokio::time::timeout(Duration::from_millis(100), self.put(b"1234")).await.is_err()
        }
    }

    #[tokio::test]
    async fn calls_are_passed_on_and_counted() {
        let bench = Bench::new();
        for _ in 0..3 {
            assert_eq!(bench.put(b"1234").await.unwrap(), (200, Bytes::from_static(b"1234")));
        }
        assert_eq!((bench.proxy.count(Operation::PutObject), bench.proxy.total()), (3, 3));
        assert_eq!(bench.proxy.calls()[2].target, "/b/k");
        let url = format!("{}/b/k?uploads", bench.proxy.endpoint());
        let response = bench.client.post(url).header("host", "bucket.example").send().await.unwrap();
        assert_eq!(response.headers()["x-host"], "bucket.example");
        assert_eq!(bench.proxy.count(Operation::CreateMultipartUpload), 1);
    }

    #[tokio::test]
    async fn faults_are_what_they_say() {
        let bench = Bench::new();
        let with = |fault: Fault| {
            bench.proxy.clear();
            bench.proxy.add(Rule::new(fault))
        };
        with(Fault::Status(500));
        let (status, body) = bench.put(b"1234").await.unwrap();
        assert!(status == 500 && String::from_utf8_lossy(&body).contains("<Code>InternalError</Code>"));
        with(Fault::SlowDown);
        assert_eq!(bench.put(b"1234").await.unwrap().0, 503);
        with(Fault::ErrorInOkAfter);
        let (status, body) = bench.put(b"1234").await.unwrap();
        assert!(status == 200 && body.starts_with(b"<?xml"));
        for fault in [Fault::CutRequest(2), Fault::CutAnswer(2), Fault::DropAnswer] {
            let id = with(fault.clone());
            assert!(bench.put(b"1234").await.is_err(), "{fault:?}");
            assert_eq!(bench.proxy.hits(id), 1, "{fault:?}");
        }
        for fault in [Fault::Hang, Fault::HangAnswer, Fault::Delay(Duration::from_mins(1)), Fault::Slow(1)] {
            with(fault.clone());
            assert!(bench.hangs().await, "{fault:?}");
        }
        with(Fault::Slow(1 << 20));
        assert_eq!(bench.put(b"1234").await.unwrap(), (200, Bytes::from_static(b"1234")));
    }

    #[tokio::test]
    async fn a_rule_hits_the_calls_that_it_names() {
        let bench = Bench::new();
        let second = bench.proxy.add(Rule::new(Fault::Status(500)).on(Operation::PutObject).nth(2));
        bench.proxy.add(Rule::new(Fault::Status(501)).on(Operation::GetObject));
        bench.proxy.add(Rule::new(Fault::Status(502)).path("other"));
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(bench.put(b"1").await.unwrap().0);
        }
        assert_eq!(statuses, [200, 500, 200, 200]);
        bench.proxy.wait_for_hits(second, 1).await;
        assert_eq!(bench.proxy.injected(), 1);
        bench.proxy.add(Rule::new(Fault::Status(503)).permille(500));
        let mut hits = 0;
        for _ in 0..100 {
            hits += u16::from(bench.put(b"1").await.unwrap().0 == 503);
        }
        assert!((20..80).contains(&hits), "{hits} of 100");
    }

    #[tokio::test]
    async fn requests_take_turns_on_one_connection() {
        let upstreams = [echo(), echo(), echo()].map(|it| (it.authority(), it));
        let proxy = RoundRobinProxy::start(&upstreams.each_ref().map(|(authority, _)| authority.clone())).unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        for _ in 0..6 {
            let response = client.post(proxy.url()).body("12").send().await.unwrap();
            assert_eq!(response.headers()["x-host"], proxy.authority());
            assert_eq!(response.bytes().await.unwrap(), "12");
        }
        assert_eq!(proxy.counts(), [2, 2, 2]);
        drop(upstreams);
        assert_eq!(client.get(proxy.url()).send().await.unwrap().status(), 502);
    }
}
