//! A workload made ready for one target: its requests as bytes, checked once, and what a worker does with them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::client::{Connection, request};
use super::crowd::{self, Crowd};
use super::flows::{self, Image, MANIFEST, MEGABYTE};
use super::limit;
use super::load::{self, Plan, Turn, Worker};
use super::payload::Payloads;
use super::seeding::{REFERRERS, Seeded, TAGS};
use super::target::Target;
use super::workload::{Push, Seed, Workload};

/// A request and what its answer has to be.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    text: String,
    bytes: Vec<u8>,
    is_head: bool,
    status: u16,
    /// Length of the body, where it is known before.
    length: Option<u64>,
    /// Digest of the body, looked at before the rounds.
    digest: Option<String>,
    /// How often this stands in the body, looked at before the rounds.
    occurrences: Option<(&'static str, usize)>,
}

impl Call {
    fn new(method: &str, authority: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let bytes = request(method, authority, target, headers);
        let text = format!("{method} {target}");
        let is_head = method == "HEAD";
        Self { text, bytes, is_head, status: 200, length: None, digest: None, occurrences: None }
    }

    fn content(mut self, length: usize, digest: &str) -> Self {
        (self.length, self.digest) = (Some(length as u64), Some(digest.to_owned()));
        self
    }

    /// Sends it, looks at status and length, and drops the body; gives its length.
    async fn perform(&self, connection: &mut Connection) -> Result<u64> {
        let answer = connection.exchange(self.is_head, &[&self.bytes]).await?;
        ensure!(answer.status == self.status, "{} was answered with {}", self.text, answer.status);
        if let Some(length) = self.length {
            ensure!(answer.body_bytes == length, "{} gave {} of {length} bytes", self.text, answer.body_bytes);
        }
        Ok(answer.body_bytes)
    }

    /// Sends it and looks at everything.
    async fn check(&self, connection: &mut Connection) -> Result<()> {
        let (mut hash, mut body) = (Sha256::new(), Vec::new());
        let mut sink = |piece: &[u8]| {
            hash.update(piece);
            if self.occurrences.is_some() {
                body.extend_from_slice(piece);
            }
        };
        let answer = connection.exchange_into(self.is_head, &[&self.bytes], &mut sink).await?;
        ensure!(answer.status == self.status, "{} was answered with {}", self.text, answer.status);
        let found = format!("sha256:{}", hex::encode(hash.finalize()));
        ensure!(self.digest.as_ref().is_none_or(|digest| *digest == found), "{} gave other bytes", self.text);
        if let Some((what, count)) = self.occurrences {
            let found = String::from_utf8_lossy(&body).matches(what).count();
            ensure!(found >= count, "{} gave {found} of {count} entries", self.text);
        }
        Ok(())
    }
}

/// What workers do, over and over.
pub(crate) enum Work {
    /// All requests of a script, script after script.
    Read(Vec<Vec<Call>>),
    /// A new image.
    Push(Push),
    /// Three scripts, then a new image.
    Mixed(Vec<Vec<Call>>, Push),
    /// The first half of a layer, then the second on another connection.
    Resume(Vec<(Call, Call)>),
    /// Scripts while a crowd is connected.
    Crowded(Vec<Vec<Call>>, Crowd),
    /// One request by each of many connections.
    Rush(Call),
    /// New images, written by this program.
    Write(Push),
}

impl Work {
    /// Makes the requests of a workload for a target with these seeds, which stand in the order that the workload names.
    pub(crate) fn new(workload: Workload, authority: &str, seeds: &[&[Seeded]]) -> Result<Self> {
        let images = seeds.first().copied().unwrap_or_default();
        let each = |script: &dyn Fn(&Seeded) -> Vec<Call>| images.iter().map(script).collect::<Vec<_>>();
        let by_tag = |method: &'static str| each(&|seeded| vec![manifest(method, authority, seeded, false)]);
        let by_digest = |method: &'static str| each(&|seeded| vec![manifest(method, authority, seeded, true)]);
        let pulls = || each(&|seeded| pull(authority, seeded));
        let push = workload.push().context("nothing to push");
        Ok(match workload {
            Workload::ManifestGetTag => Self::Read(by_tag("GET")),
            Workload::ManifestGetDigest => Self::Read(by_digest("GET")),
            Workload::ManifestHeadTag => Self::Read(by_tag("HEAD")),
            Workload::ManifestHeadDigest => Self::Read(by_digest("HEAD")),
            Workload::TagList | Workload::Referrers | Workload::Catalog => {
                Self::Read(vec![vec![listing(workload, authority, images.first().context("no image")?)]])
            }
            Workload::Pull1 | Workload::Pull10 | Workload::Pull100 => Self::Read(pulls()),
            Workload::Mixed => Self::Mixed(pulls(), push?),
            Workload::PullRanged => Self::Read(each(&|seeded| vec![part(authority, seeded, 4 * MEGABYTE, MEGABYTE)])),
            Workload::PullResumed => Self::Resume(images.iter().map(|seeded| resumed(authority, seeded)).collect()),
            Workload::SlowClients => {
                let layer = seeds.get(1).and_then(|images| images.first()).context("no image")?;
                Self::Crowded(by_tag("GET"), Crowd::slow(layer_call(authority, layer).bytes))
            }
            Workload::IdleConnections => {
                Self::Crowded(by_tag("GET"), Crowd::idle(request("GET", authority, "/v2/", &[])))
            }
            Workload::ColdBlob => Self::Rush(layer_call(authority, images.first().context("no image")?)),
            _ => Self::Push(push?),
        })
    }

    /// Sends every request that is repeated once, and looks at the bytes that come.
    pub(crate) async fn check(&self, authority: &str) -> Result<()> {
        let mut connection = Connection::new(authority);
        let scripts = match self {
            Self::Read(scripts) | Self::Mixed(scripts, _) | Self::Crowded(scripts, _) => scripts.as_slice(),
            // Reading the layer of a rush would warm it.
            Self::Push(_) | Self::Resume(_) | Self::Rush(_) | Self::Write(_) => &[],
        };
        for call in scripts.iter().flatten() {
            call.check(&mut connection).await?;
        }
        Ok(())
    }

    /// Lets a target work for a round.
    pub(crate) fn turn(&self, plan: Plan, target: &Target, payloads: &Payloads) -> Result<Turn> {
        let authorities = target.authorities();
        match self {
            Self::Write(push) => limit::turn(*push, plan, target.data().context("no folder")?, payloads),
            Self::Crowded(scripts, crowd) => {
                crowd::run(plan, authorities, crowd, &async |worker: &mut Worker| read(scripts, worker).await)
            }
            Self::Rush(call) => {
                let plan =
                    Plan { connections: RUSH, time: Duration::MAX, operations_max: Some(1), buffer_bytes: 16 << 10 };
                load::run(plan, authorities, &async |worker: &mut Worker| call.perform(&mut worker.connection).await)
            }
            _ => {
                let run = format!("bench/w{:016x}", payloads.stamp());
                load::run(plan, authorities, &async |worker: &mut Worker| self.operate(worker, &run, payloads).await)
            }
        }
    }

    /// One operation; gives the bytes of content it moved.
    async fn operate(&self, worker: &mut Worker, run: &str, payloads: &Payloads) -> Result<u64> {
        match self {
            Self::Push(push) => push_new(*push, worker, run, payloads).await,
            // Workers begin at different places, so that pushes do not come all at once.
            Self::Mixed(_, push) if (worker.index + worker.count) % 4 == 3 => {
                push_new(*push, worker, run, payloads).await
            }
            Self::Read(scripts) | Self::Mixed(scripts, _) => read(scripts, worker).await,
            Self::Resume(halves) => {
                let at = (worker.index + worker.count) % halves.len();
                let (first, second) = halves.get(at).context("no image")?;
                let bytes = first.length.unwrap_or_default() / 2;
                let answer = worker.connection.break_off(&[&first.bytes], bytes).await?;
                flows::expect(&first.text, 200, &answer)?;
                Ok(bytes + second.perform(&mut worker.connection).await?)
            }
            Self::Crowded(..) | Self::Rush(_) | Self::Write(_) => Ok(0),
        }
    }
}

async fn read(scripts: &[Vec<Call>], worker: &mut Worker) -> Result<u64> {
    // Workers begin at different places, so that they do not walk in step.
    let script = scripts.get((worker.index * 13 + worker.count) % scripts.len()).context("no script")?;
    let mut bytes = 0;
    for call in script {
        bytes += call.perform(&mut worker.connection).await?;
    }
    Ok(bytes)
}

/// Pushes a new image under a new tag into the repository that the worker has for this turn.
async fn push_new(push: Push, worker: &mut Worker, run: &str, payloads: &Payloads) -> Result<u64> {
    let image = Image::new(payloads, push.layers, None);
    let (repo, tag) = (format!("{run}/{}", worker.index), format!("v{}", worker.count));
    flows::push(&mut worker.connection, &repo, Some(&tag), &image, push.flow).await?;
    Ok(image.bytes())
}

fn manifest(method: &str, authority: &str, Seeded { repo, tag, image }: &Seeded, by_digest: bool) -> Call {
    let reference = tag.as_ref().filter(|_| !by_digest).unwrap_or(&image.digest);
    let call = Call::new(method, authority, &format!("/v2/{repo}/manifests/{reference}"), &[("accept", MANIFEST)]);
    if method == "HEAD" { call } else { call.content(image.manifest.len(), &image.digest) }
}

fn pull(authority: &str, seeded: &Seeded) -> Vec<Call> {
    let blobs = seeded.image.blobs.iter().map(|blob| {
        let call = Call::new("GET", authority, &format!("/v2/{}/blobs/{}", seeded.repo, blob.digest()), &[]);
        call.content(blob.len(), blob.digest())
    });
    [manifest("GET", authority, seeded, false)].into_iter().chain(blobs).collect()
}

fn layer_call(authority: &str, seeded: &Seeded) -> Call {
    pull(authority, seeded).pop().unwrap_or_else(|| manifest("GET", authority, seeded, false))
}

fn listing(workload: Workload, authority: &str, seeded: &Seeded) -> Call {
    let (path, what, count) = match workload {
        Workload::TagList => (format!("/v2/{}/tags/list", seeded.repo), "\"v1.", TAGS),
        Workload::Referrers => {
            (format!("/v2/{}/referrers/{}", seeded.repo, seeded.image.digest), "\"digest\"", REFERRERS)
        }
        _ => ("/v2/_catalog?n=100".to_owned(), "bench/", CATALOG_PAGE),
    };
    Call { occurrences: Some((what, count)), ..Call::new("GET", authority, &path, &[]) }
}

fn part(authority: &str, seeded: &Seeded, begin: usize, length: usize) -> Call {
    let range = format!("bytes={begin}-{}", begin + length - 1);
    let whole = layer_call(authority, seeded);
    let path = whole.text.trim_start_matches("GET ");
    let call = Call { status: 206, ..Call::new("GET", authority, path, &[("range", &range)]) };
    let bytes = seeded.image.blobs.last().map(|blob| blob.range(begin, begin + length).concat()).unwrap_or_default();
    call.content(length, &super::payload::digest_of(&bytes))
}

fn resumed(authority: &str, seeded: &Seeded) -> (Call, Call) {
    let whole = layer_call(authority, seeded);
    let length = seeded.image.blobs.last().map_or(0, super::payload::Blob::len);
    (whole, part(authority, seeded, length / 2, length - length / 2))
}

/// The page of the catalog that is asked for.
const CATALOG_PAGE: usize = super::seeding::REPOSITORIES;
/// Clients that want the same layer.
const RUSH: usize = 1000;

/// Whether a round needs content of its own.
pub(crate) fn is_new_each_round(workload: Workload) -> bool {
    workload.seeds().contains(&Seed::Cold)
}
