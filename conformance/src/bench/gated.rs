//! What signature policies cost: a pull of what is judged already, the first judgement of a digest, and a judgement among
//! thousands of signatures that are nobody's.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conformance::servers::{BUNDLE, SigningKey, SigningLab};
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::client::Connection;
use super::processor;
use super::stats::{Ratio, percentile};
use crate::cli::{Environment, GatedArgs};
use crate::content::Algorithm;
use crate::deployment::Stores;
use crate::scenarios::data_sets::manifest_path;
use crate::server::Server;
use crate::wire::Wire;

/// Measures, prints, and says whether all three bounds were kept.
pub(crate) async fn run(args: &GatedArgs, environment: &Environment) -> Result<bool> {
    let binary = args.server.clone().map_or_else(Server::default_binary, Ok)?;
    let bench = Bench { args, environment, binary, lab: SigningLab::start()? };
    let judged = bench.judged_already().await?;
    let first = bench.first_judgements().await?;
    let junk = bench.among_junk().await?;
    Ok(judged && first && junk)
}

struct Bench<'a> {
    args: &'a GatedArgs,
    environment: &'a Environment,
    binary: PathBuf,
    lab: SigningLab,
}

impl Bench<'_> {
    /// Two servers with the same image, one of which has a policy that it satisfies; in turn within each round.
    async fn judged_already(&self) -> Result<bool> {
        let Self { args, .. } = self;
        let (open, gated) = (self.start(false).await?, self.start(true).await?);
        for server in [&open, &gated] {
            self.push_signed(&Wire::new(&server.url())?, 0).await?;
        }
        println!(
            "{} requests a round on {} connections; processor time of the server",
            args.requests, args.connections
        );
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 1..=args.rounds {
            let mut each = [0.0; 2];
            for slice in 0..SLICES {
                // Who begins changes, since the processor may be slower for who comes second.
                let turns = if slice % 2 == 0 { [(0, &open), (1, &gated)] } else { [(1, &gated), (0, &open)] };
                for (at, server) in turns {
                    let host = server.url().replacen("http://", "", 1);
                    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", manifest_path(REPO, "v0"));
                    let requests = (args.requests / SLICES).max(args.connections);
                    let micros = processor::micros_each(server, &request, args.connections, requests).await?;
                    each[at] += micros / f64::from(SLICES);
                }
            }
            println!("  round {round}: open {:.1} us, gated {:.1} us a request", each[0], each[1]);
            without.push(each[0]);
            with.push(each[1]);
        }
        let ratio = Ratio::of_rounds(&with, &without).context("no rounds")?;
        let [median, least, most] = [ratio.median, ratio.min, ratio.max].map(|ratio| (ratio - 1.0) * 100.0);
        let figure = format!("{median:+.1} % ({least:+.1} to {most:+.1})");
        Ok(say("judged already", &figure, median <= PERCENT_MAX, &format!("at most {PERCENT_MAX} %")))
    }

    /// Images that were signed without keys before there was a policy; each is asked for once.
    async fn first_judgements(&self) -> Result<bool> {
        let mut server = self.start(false).await?;
        let wire = Wire::new(&server.url())?;
        let mut digests = Vec::new();
        for number in 0..IMAGES {
            digests.push(self.push_signed(&wire, number).await?);
        }
        server.stop().await?;
        std::fs::write(server.config_file(), self.config(server.data().parent().context("no folder")?)?)?;
        server.restart().await?;
        let mut connection = Connection::new(&server.url().replacen("http://", "", 1));
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for digest in &digests {
            first.push(head(&mut connection, digest, 200).await?);
            again.push(head(&mut connection, digest, 200).await?);
        }
        let micros = |times: &[Duration]| -> Vec<u32> {
            times.iter().map(|time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX)).collect()
        };
        let (mut first, mut again) = (micros(&first), micros(&again));
        let figures = [percentile(&mut first, 500), percentile(&mut first, 950), percentile(&mut first, 1000)];
        let [median, most, max] = figures.map(|micros| f64::from(micros) / 1000.0);
        let kept = f64::from(percentile(&mut again, 500)) / 1000.0;
        let figure = format!(
            "{median:.2} ms, 95 of 100 below {most:.2} ms, all below {max:.2} ms; the second time {kept:.2} ms"
        );
        Ok(say("first judgement", &figure, most < FIRST_MILLIS_MAX, &format!("below {FIRST_MILLIS_MAX} ms")))
    }

    /// An image whose one signature that counts is known, and one that has none, each with as many signatures by a key
    /// that no policy names. The server is started anew each time, so that it remembers nothing.
    async fn among_junk(&self) -> Result<bool> {
        let mut server = self.start(true).await?;
        let wire = Wire::new(&server.url())?;
        let signed = self.push_signed(&wire, 0).await?;
        let unsigned = push_image(&wire, 1).await?;
        let stranger = SigningKey::generate()?;
        let began = Instant::now();
        for subject in [&signed, &unsigned] {
            let (wire, stranger) = (&wire, &stranger);
            let one = |_| async move { push_bundle(wire, subject, stranger.bundle(&subject.digest)?).await };
            futures_util::stream::iter(0..self.args.junk).map(one).buffer_unordered(8).try_collect::<Vec<_>>().await?;
        }
        println!("2 times {} signatures of a stranger pushed in {:.0?}", self.args.junk, began.elapsed());
        let (mut known, mut refused) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..self.args.rounds {
            server.stop().await?;
            server.restart().await?;
            let mut connection = Connection::new(&server.url().replacen("http://", "", 1));
            connection.open().await?;
            known = known.max(head(&mut connection, &signed, 200).await?);
            refused = refused.max(head(&mut connection, &unsigned, 403).await?);
        }
        let figure = format!("{known:.1?} with its evidence known, {refused:.1?} to refuse one that has none, at most");
        Ok(say("among junk", &figure, known < JUNK_MAX, &format!("known evidence within {JUNK_MAX:?}")))
    }

    async fn start(&self, gated: bool) -> Result<Server> {
        let config = if gated { self.config(self.lab.folder())? } else { String::new() };
        Server::start_on(&self.binary, self.environment, &config, Stores::Folder).await
    }

    /// A configuration with a policy that takes certificates of the laboratory, which is written into a folder.
    fn config(&self, folder: &Path) -> Result<String> {
        let policy = json!({
            "name": "prod", "mode": "enforce", "match": {"repositories": [REPO]}, "unverifiedReaders": "nobody",
            "authorities": [{"name": "ci", "keyless": {
                "trustRoot": "lab", "sct": "require", "tlog": "require",
                "identities": [{"issuer": ISSUER, "subject": ADDRESS}],
            }}],
            "signature": {"threshold": 1},
        });
        let root = json!({"file": "root.json"});
        let document = json!({"apiVersion": "trust/v1", "trustRoots": {"lab": root}, "policies": [policy]});
        std::fs::write(folder.join("root.json"), self.lab.trusted_root([]).to_string())?;
        let file = folder.join("policy.json");
        std::fs::write(&file, document.to_string())?;
        Ok(format!("trust.policy = \"{}\"\n", file.display()))
    }

    async fn push_signed(&self, wire: &Wire, number: usize) -> Result<Pushed> {
        let image = push_image(wire, number).await?;
        push_bundle(wire, &image, self.lab.keyless_bundle(ISSUER, ADDRESS, &image.digest)?).await?;
        Ok(image)
    }
}

/// A manifest in the registry.
struct Pushed {
    digest: String,
    size: usize,
}

/// An artifact of one small layer, with a tag of its own.
async fn push_image(wire: &Wire, number: usize) -> Result<Pushed> {
    let config = push_blob(wire, "application/octet-stream", b"{}").await?;
    let layer = push_blob(wire, "application/octet-stream", format!("layer {number}").as_bytes()).await?;
    push_manifest(wire, Some(&format!("v{number}")), &json!({"config": config, "layers": [layer]})).await
}

/// A referrer, as cosign 3 makes them.
async fn push_bundle(wire: &Wire, subject: &Pushed, bundle: Vec<u8>) -> Result<Pushed> {
    let config = push_blob(wire, "application/vnd.oci.empty.v1+json", b"{}").await?;
    let layer = push_blob(wire, BUNDLE, &bundle).await?;
    let subject = json!({"mediaType": MANIFEST, "digest": subject.digest, "size": subject.size});
    let manifest = json!({"artifactType": BUNDLE, "config": config, "layers": [layer], "subject": subject});
    push_manifest(wire, None, &manifest).await
}

async fn push_blob(wire: &Wire, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = Algorithm::Sha256.digest(bytes);
    let post = wire.post(&format!("/v2/{REPO}/blobs/uploads/?digest={digest}"));
    post.body(bytes.to_vec()).expect(201).await?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
}

async fn push_manifest(wire: &Wire, tag: Option<&str>, members: &Value) -> Result<Pushed> {
    let mut manifest = members.clone();
    manifest["schemaVersion"] = json!(2);
    manifest["mediaType"] = json!(MANIFEST);
    let bytes = manifest.to_string();
    let pushed = Pushed { digest: Algorithm::Sha256.digest(bytes.as_bytes()), size: bytes.len() };
    let put = wire.put(&manifest_path(REPO, tag.unwrap_or(&pushed.digest)));
    put.header("content-type", MANIFEST).body(bytes).expect(201).await?;
    Ok(pushed)
}

/// How long it takes to be told about a manifest, on a connection that is open.
async fn head(connection: &mut Connection, image: &Pushed, status: u16) -> Result<Duration> {
    let host = connection.authority().to_owned();
    connection.open().await?;
    let request = format!("HEAD {} HTTP/1.1\r\nHost: {host}\r\n\r\n", manifest_path(REPO, &image.digest));
    let began = Instant::now();
    let answer = connection.exchange(true, &[request.as_bytes()]).await?;
    ensure!(answer.status == status, "{} instead of {status} for {}", answer.status, image.digest);
    Ok(began.elapsed())
}

fn say(what: &str, figure: &str, kept: bool, asked: &str) -> bool {
    println!("{}: {what}: {figure}; {asked} asked for", if kept { "ok" } else { "FAILED" });
    kept
}

const REPO: &str = "prod/app";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ISSUER: &str = "https://issuer.lab.example";
const ADDRESS: &str = "alice@lab.example";
/// Images that are judged for the first time.
const IMAGES: usize = 100;
/// In so many turns each server has its requests of a round.
const SLICES: u32 = 10;
/// How much more processor time a pull of what is judged already may take, in percent.
const PERCENT_MAX: f64 = 5.0;
/// Longest time of a first judgement, of 95 of 100.
const FIRST_MILLIS_MAX: f64 = 5.0;
/// Longest time of a judgement among junk whose evidence is known.
const JUNK_MAX: Duration = Duration::from_millis(250);
