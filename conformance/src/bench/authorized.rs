//! What it costs the server to know who asks: processor time of a GET of a manifest with a token, against one where there
//! are no accounts.
//!
//! Two servers, in turn within each round, so that what the machine does meanwhile falls on both.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::processor;
use super::stats::Ratio;
use crate::cli::{AuthorizedArgs, Environment};
use crate::content::Algorithm;
use crate::deployment::Stores;
use crate::scenarios::data_sets::manifest_path;
use crate::server::Server;
use crate::wire::{Call, Wire};

const REPO: &str = "team/app";

/// A server with one manifest, and how to ask for it.
struct Subject {
    server: Server,
    /// An API token, where there are accounts.
    secret: Option<String>,
}

/// Measures, prints, and says whether the bound was kept.
pub(crate) async fn run(args: &AuthorizedArgs, environment: &Environment) -> Result<bool> {
    let binary = args.server.clone().map_or_else(Server::default_binary, Ok)?;
    let open = Subject::open(&binary, environment).await?;
    let closed = Subject::closed(&binary, environment).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    println!("{} requests a round on {} connections; processor time of the server", args.requests, args.connections);
    for round in 1..=args.rounds {
        let (open, closed) = (open.measure(args).await?, closed.measure(args).await?);
        println!("  round {round}: open {open:.1} us, authorized {closed:.1} us a request");
        without.push(open);
        with.push(closed);
    }
    let ratio = Ratio::of_rounds(&with, &without).context("no rounds")?;
    let [median, least, most] = [ratio.median, ratio.min, ratio.max].map(|ratio| (ratio - 1.0) * 100.0);
    let kept = median <= args.percent_max;
    let judged = if kept { "ok" } else { "FAILED" };
    println!("{judged}: {median:+.1} % ({least:+.1} to {most:+.1}), at most {} % asked for", args.percent_max);
    Ok(kept)
}

impl Subject {
    async fn open(binary: &Path, environment: &Environment) -> Result<Self> {
        let server = Server::start_on(binary, environment, "", Stores::Folder).await?;
        push(&Wire::new(&server.url())?, None).await?;
        Ok(Self { server, secret: None })
    }

    async fn closed(binary: &Path, environment: &Environment) -> Result<Self> {
        let server = Server::start_on(binary, environment, "", Stores::Folder).await?;
        server.command(&["user", "add", "ann", "--admin", "--password-stdin"], "seven wet umbrellas").await?;
        server.command(&["user", "add", "bob", "--password-stdin"], "a stone bridge in autumn").await?;
        server.command(&["ns", "create", "team", "--owner", "ann"], "").await?;
        server.command(&["ns", "grant", "team", "bob", "write"], "").await?;
        let secret = server.command(&["token", "create", "--user", "bob", "--scope", "team/**:*"], "").await?;
        let wire = Wire::new(&server.url())?;
        while wire.get("/v2/").send().await?.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        push(&wire, Some(&secret)).await?;
        Ok(Self { server, secret: Some(secret) })
    }

    /// Microseconds of processor time that a request took.
    async fn measure(&self, args: &AuthorizedArgs) -> Result<f64> {
        let authority = self.server.url().replacen("http://", "", 1);
        let path = manifest_path(REPO, "v1");
        let authorization = match &self.secret {
            None => String::new(),
            Some(secret) => format!("Authorization: Bearer {}\r\n", self.token(secret).await?),
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n");
        processor::micros_each(&self.server, &request, args.connections, args.requests).await
    }

    /// A token of the token service, as clients get one.
    async fn token(&self, secret: &str) -> Result<String> {
        let wire = Wire::new(&self.server.url())?;
        let asked = wire.get(&format!("/v2/token?scope=repository:{REPO}:pull"));
        let answer = asked.header("authorization", format!("Bearer {secret}")).expect(200).await?.json()?;
        answer.get("token").and_then(Value::as_str).map(str::to_owned).context("an answer without a token")
    }
}

/// An artifact of one small layer.
async fn push(wire: &Wire, secret: Option<&str>) -> Result<()> {
    let authorize = |call: Call| match secret {
        None => call,
        Some(secret) => call.header("authorization", format!("Bearer {secret}")),
    };
    let mut descriptors = Vec::new();
    for bytes in [&b"{}"[..], b"hello"] {
        let digest = Algorithm::Sha256.digest(bytes);
        let post = wire.post(&format!("/v2/{REPO}/blobs/uploads/?digest={digest}")).body(bytes);
        authorize(post).expect(201).await?;
        descriptors.push(json!({"mediaType": "application/octet-stream", "digest": digest, "size": bytes.len()}));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": [descriptors[1]],
    });
    let put = wire.put(&manifest_path(REPO, "v1")).header("content-type", MANIFEST).body(manifest.to_string());
    authorize(put).expect(201).await.map(drop)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
