//! A proxy that sends each request, not each connection, to the next of its upstreams.
//!
//! So two requests of one client never meet the same node twice in a row: whatever a node keeps to itself shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use hyper::Request;
use hyper::body::Incoming;
use hyper::http::uri::Authority;

use super::forward::{Forwarder, Listening, authority, bad_gateway, boxed, serve_http};

/// A proxy in front of registries.
#[derive(Debug)]
pub struct RoundRobinProxy {
    listening: Listening,
    counts: Arc<Vec<AtomicUsize>>,
}

impl RoundRobinProxy {
    /// Listens on a free loopback port; `upstreams` are `host:port` or `http://host:port`.
    pub fn start<S: AsRef<str>>(upstreams: &[S]) -> Result<Self> {
        ensure!(!upstreams.is_empty(), "a proxy needs somebody behind it");
        let upstreams: Vec<Authority> = upstreams.iter().map(|it| authority(it.as_ref())).collect::<Result<_>>()?;
        let counts: Arc<Vec<AtomicUsize>> = Arc::new(upstreams.iter().map(|_| AtomicUsize::new(0)).collect());
        let (forwarder, turn, shared) = (Forwarder::new(), AtomicUsize::new(0), Arc::clone(&counts));
        let answer = Arc::new(move |request: Request<Incoming>| {
            let at = turn.fetch_add(1, Ordering::Relaxed) % upstreams.len();
            shared[at].fetch_add(1, Ordering::Relaxed);
            let (forwarder, upstream) = (forwarder.clone(), upstreams[at].clone());
            async move {
                let answered = forwarder.send(request.map(boxed), &upstream).await;
                Ok(answered.unwrap_or_else(|error| bad_gateway(&error)))
            }
        });
        let listening = Listening::start(move |stream| serve_http(stream, Arc::clone(&answer)))?;
        Ok(Self { listening, counts })
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.authority())
    }

    /// `127.0.0.1:port`.
    pub fn authority(&self) -> String {
        self.listening.authority()
    }

    /// How many requests each upstream got.
    pub fn counts(&self) -> Vec<usize> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}
