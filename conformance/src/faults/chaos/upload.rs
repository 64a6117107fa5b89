//! Uploads that go on at whichever node answers, from where it says that they stand.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use tokio::time::{Duration, Instant};

use super::UPLOAD_TTL;
use super::nodes::{Expect, Heard, Nodes};
use crate::content::Blob;
use crate::scenarios::push::{OCTETS, blob_path};
use crate::wire::{Wire, with_query};

/// How long a session surely lives after its last progress.
const SESSION_SURE: Duration = UPLOAD_TTL.saturating_sub(Duration::from_secs(3));
/// Most tries of one upload.
const TRIES_MAX: usize = 400;

/// When a blob was acknowledged, and whether a try of its push may still be under way.
pub(super) struct Pushed {
    pub(super) at: Instant,
    pub(super) doubt: bool,
}

/// Pushes a blob, in a way by chance.
pub(super) async fn push(nodes: &Nodes<'_>, repo: &str, blob: &Blob) -> Result<Pushed> {
    let at = Instant::now();
    match nodes.pick(4) {
        0 => {
            let target = format!("/v2/{repo}/blobs/uploads/?digest={}", blob.digest);
            let said = nodes
                .insist(Expect(&[201], &[201]), |wire| {
                    wire.post(&target).header("content-type", OCTETS).body(blob.bytes.clone())
                })
                .await?;
            nodes.stats.did("blob by POST");
            Ok(Pushed { at, doubt: said.doubt })
        }
        1 => Session::run(nodes, repo, blob, 1, "blob by PUT").await,
        _ => Session::run(nodes, repo, blob, 2 + nodes.pick(4), "blob in chunks").await,
    }
}

/// A session as its client knows it.
struct Session<'a> {
    nodes: &'a Nodes<'a>,
    repo: &'a str,
    blob: &'a Blob,
    location: String,
    /// Acknowledged bytes.
    acknowledged: usize,
    /// Whether a request may have moved it without our knowing.
    doubt: bool,
    /// Whether a closing PUT was among these.
    closing: bool,
    progress: Instant,
}

impl<'a> Session<'a> {
    async fn run(
        nodes: &'a Nodes<'a>,
        repo: &'a str,
        blob: &'a Blob,
        pieces: usize,
        what: &'static str,
    ) -> Result<Pushed> {
        let size = blob.len().div_ceil(pieces);
        let mut doubt = false;
        // A session may be lost in the end, for reasons that the protocol knows; then a new one is begun.
        for _ in 0..TRIES_MAX {
            let mut session = Self::begin(nodes, repo, blob).await?;
            let done = session.send(size).await.with_context(|| format!("upload {}", session.location))?;
            doubt |= session.doubt;
            if let Some(at) = done {
                nodes.stats.did(what);
                return Ok(Pushed { at, doubt });
            }
            nodes.stats.heard("session over");
        }
        bail!("{TRIES_MAX} sessions were lost");
    }

    async fn begin(nodes: &'a Nodes<'a>, repo: &'a str, blob: &'a Blob) -> Result<Self> {
        let target = format!("/v2/{repo}/blobs/uploads/");
        let said = nodes.insist(Expect(&[202], &[202]), |wire| wire.post(&target).body("")).await?;
        let (location, progress) = (said.answer.location()?, Instant::now());
        Ok(Self { nodes, repo, blob, location, acknowledged: 0, doubt: false, closing: false, progress })
    }

    /// Sends what is left; when it is done, gives a time before that; nothing when the session is over.
    async fn send(&mut self, size: usize) -> Result<Option<Instant>> {
        for _ in 0..TRIES_MAX {
            let end = (self.acknowledged + size).min(self.blob.len());
            // The last piece goes with the PUT, or the PUT goes without a body.
            let closes = end == self.blob.len() && (self.acknowledged == end || self.nodes.pick(2) == 0);
            let began = Instant::now();
            let call = self.call(self.nodes.any(), self.acknowledged..end, closes);
            match self.nodes.once(call).await? {
                Heard::Answer(answer) if closes && answer.status == 201 => {
                    answer.expect_header("docker-content-digest", &self.blob.digest)?;
                    return Ok(Some(began));
                }
                Heard::Answer(answer) if !closes && answer.status == 202 => {
                    self.location = answer.location()?;
                    self.acknowledged = end;
                    self.progress = Instant::now();
                    continue;
                }
                Heard::Answer(answer) if answer.status == 416 => {
                    ensure!(self.doubt, "nobody else writes: {}", answer.describe());
                    self.nodes.stats.heard("416");
                }
                Heard::Answer(answer) if answer.status == 404 => {
                    answer.check_error(404, "BLOB_UPLOAD_UNKNOWN")?;
                    return self.over(&answer.describe()).await;
                }
                Heard::Answer(answer) => bail!("{}", answer.describe()),
                Heard::NotSent => {}
                Heard::Unknown => {
                    self.doubt = true;
                    self.closing |= closes;
                }
            }
            self.nodes.pause().await;
            // A closing request may simply be repeated; a piece may not.
            if (!self.closing || self.nodes.pick(2) == 0) && !self.look().await? {
                return self.over("by its status").await;
            }
        }
        bail!("not finished in {TRIES_MAX} tries");
    }

    fn call(&self, wire: &Wire, place: Range<usize>, closes: bool) -> crate::wire::Call {
        let target = if closes {
            with_query(&self.location, &format!("digest={}", self.blob.digest))
        } else {
            self.location.clone()
        };
        let method = if closes { Method::PUT } else { Method::PATCH };
        let call = wire.call(method, &target).header("content-type", OCTETS);
        if place.is_empty() {
            return call.body("");
        }
        let range = format!("{}-{}", place.start, place.end - 1);
        call.header("content-range", range).body(self.blob.bytes.slice(place))
    }

    /// Asks where the session stands; whether it is still there.
    async fn look(&mut self) -> Result<bool> {
        let answer = self.nodes.insist(Expect(&[204, 404], &[204, 404]), |wire| wire.get(&self.location)).await?.answer;
        if answer.status == 404 {
            return Ok(false);
        }
        let range = answer.header("range")?;
        let last: usize = range.strip_prefix("0-").and_then(|last| last.parse().ok()).context("no Range")?;
        let offset = if last == 0 { 0 } else { last + 1 };
        let (acknowledged, length) = (self.acknowledged, self.blob.len());
        ensure!(offset >= acknowledged, "{acknowledged} bytes were acknowledged, now there are {offset}");
        ensure!(offset <= length, "{length} bytes were sent in all, now there are {offset}");
        self.location = answer.location()?;
        self.acknowledged = offset;
        Ok(true)
    }

    /// A session is gone rightly when it was closed or idle for too long. Closed, its blob is there.
    async fn over(&mut self, how: &str) -> Result<Option<Instant>> {
        let idle = self.progress.elapsed();
        ensure!(
            self.closing || idle > SESSION_SURE,
            "a session with {} acknowledged bytes is gone after {idle:?} ({how})",
            self.acknowledged
        );
        let began = Instant::now();
        let path = blob_path(self.repo, &self.blob.digest);
        let head = self.nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.head(&path)).await?.answer;
        Ok((head.status == 200).then_some(began))
    }
}
