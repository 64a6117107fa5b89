//! A client with two repositories of its own: nobody else writes there, so it knows what every node has to say.
//!
//! Where a try got no answer, what it asked for may still be done later, even after a second try was acknowledged. The
//! worker writes such doubts down and demands nothing that contradicts them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::BLOB_LEASE;
use super::nodes::{Expect, Nodes};
use super::upload::{self, Pushed};
use crate::content::{Algorithm, Blob, Random};
use crate::scenarios::data_sets::{CONFIG, LAYER, MANIFEST, manifest_path};
use crate::scenarios::push::blob_path;
use crate::wire::{Answer, Wire};

/// How long an acknowledged blob is surely there.
const LEASE_SURE: Duration = BLOB_LEASE.saturating_sub(Duration::from_secs(2));
/// How many images a worker keeps, and how many deleted ones it remembers.
const IMAGES_MAX: usize = 20;
const GONE_MAX: usize = 200;
/// Most tries of a manifest whose blobs were collected before it came.
const TRIES_MAX: usize = 50;
const NEW_SIZES: [usize; 4] = [100, 3_000, 20_000, 600_000];

/// A worker with its ledger.
pub(super) struct Worker<'a> {
    nodes: &'a Nodes<'a>,
    pool: &'a [Blob],
    random: Random,
    repos: [String; 2],
    images: Vec<Image>,
    tags: BTreeMap<(String, String), Tag>,
    gone: Vec<(String, String)>,
    /// Deleted, but a late request may have brought them back.
    haunted: Vec<(String, String)>,
}

/// An acknowledged image.
#[derive(Clone)]
struct Image {
    repo: String,
    digest: String,
    body: String,
    blobs: Vec<Blob>,
    subject: Option<String>,
    /// A push of it may still be under way.
    doubt: bool,
}

/// What a tag was last said to be, and what late requests may make of it.
#[derive(Default)]
struct Tag {
    current: Option<String>,
    doubts: Vec<Option<String>>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(number: usize, nodes: &'a Nodes<'a>, pool: &'a [Blob], seed: u64) -> Self {
        let repos = ["a", "b"].map(|name| format!("chaos/worker-{number}/{name}"));
        let (images, tags, gone, haunted) = Default::default();
        Self { nodes, pool, random: Random::new(seed), repos, images, tags, gone, haunted }
    }

    /// Works until `end`; fails at the first lie.
    pub(super) async fn work(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.step().await.with_context(|| format!("worker of {}", self.repos[0]))?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        let image = self.any_image();
        match (self.random.below(100), image) {
            (0..28, _) | (_, None) => self.push_new(None).await,
            (28..50, Some(at)) => self.pull(at).await,
            (50..58, Some(at)) => self.move_tag(at).await,
            (58..64, Some(_)) => self.delete_tag().await,
            (64..78, Some(at)) => self.delete(at).await,
            (78..85, Some(at)) => self.copy(at).await,
            (85..91, Some(at)) => self.refer(at).await,
            (91..93, Some(at)) => self.delete_refused(at).await,
            (93..96, Some(_)) => self.delete_blob().await,
            (96..98, Some(_)) => self.abandon().await,
            (_, Some(_)) => self.list().await,
        }?;
        while self.images.len() > IMAGES_MAX {
            self.delete(0).await?;
        }
        Ok(())
    }

    // --- pushes -------------------------------------------------------------------------------------------------------

    async fn push_new(&mut self, subject: Option<&Image>) -> Result<()> {
        let repo = subject.map_or_else(|| self.any_repo(), |subject| subject.repo.clone());
        let mut blobs = Vec::new();
        for _ in 0..=self.random.below(3) {
            blobs.push(self.any_blob());
        }
        let image = self.image(&repo, blobs, subject);
        let mut since = Vec::new();
        for blob in &image.blobs {
            since.push(self.push_or_find(&repo, blob).await?);
        }
        let tag = format!("t{}", self.random.word());
        self.put(image, &tag, oldest(&since)).await?;
        self.nodes.stats.did("push");
        Ok(())
    }

    fn image(&self, repo: &str, blobs: Vec<Blob>, subject: Option<&Image>) -> Image {
        let entry = |kind: &str, blob: &Blob| json!({"mediaType": kind, "digest": blob.digest, "size": blob.len()});
        let layers: Vec<_> = blobs.iter().map(|blob| entry(LAYER, blob)).collect();
        let mut body = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": entry(CONFIG, &blobs[0]), "layers": layers,
            "annotations": {"one.of.its.kind": self.random.word()},
        });
        if let Some(subject) = subject {
            body["artifactType"] = "application/vnd.example.chaos".into();
            body["subject"] = json!({"mediaType": MANIFEST, "digest": subject.digest, "size": subject.body.len()});
        }
        let body = body.to_string();
        let digest = Algorithm::Sha256.digest(body.as_bytes());
        let subject = subject.map(|subject| subject.digest.clone());
        Image { repo: repo.to_owned(), digest, body, blobs, subject, doubt: false }
    }

    /// As clients do: asks first, sometimes, and pushes what is not there. Gives a time before the acknowledgement.
    async fn push_or_find(&self, repo: &str, blob: &Blob) -> Result<Instant> {
        if self.random.below(2) == 0 {
            let (began, path) = (Instant::now(), blob_path(repo, &blob.digest));
            let head = self.nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.head(&path)).await?.answer;
            if head.status == 200 {
                head.expect_header("content-length", &blob.len().to_string())?;
                self.nodes.stats.did("blob found");
                return Ok(began);
            }
        }
        let pushed = upload::push(self.nodes, repo, blob).await?;
        self.check_leased(repo, blob, &pushed).await?;
        Ok(pushed.at)
    }

    /// What one node acknowledged, another one has.
    async fn check_leased(&self, repo: &str, blob: &Blob, pushed: &Pushed) -> Result<()> {
        let path = blob_path(repo, &blob.digest);
        let answer = self.nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.get(&path)).await?.answer;
        if answer.status == 200 {
            answer.expect_body(&blob.bytes)?;
            return Ok(());
        }
        let age = pushed.at.elapsed();
        ensure!(age > LEASE_SURE, "acknowledged {age:?} ago: {}", answer.describe());
        Ok(())
    }

    /// Puts a manifest under a tag and writes it down; its blobs were there `since` then.
    async fn put(&mut self, mut image: Image, tag: &str, mut since: Instant) -> Result<()> {
        let path = manifest_path(&image.repo, tag);
        for _ in 0..TRIES_MAX {
            let body = image.body.clone();
            let put = |wire: &Wire| wire.put(&path).header("content-type", MANIFEST).body(body.clone());
            let said = self.nodes.insist(Expect(&[201, 404], &[201, 404]), put).await?;
            image.doubt |= said.doubt;
            if said.answer.status == 201 {
                said.answer.expect_header("docker-content-digest", &image.digest)?;
                self.tagged(&image.repo, tag, &image.digest, image.doubt);
                self.check_tag(self.nodes.any(), &image.repo, tag).await?;
                self.images.push(image);
                return Ok(());
            }
            said.answer.check_error(404, "MANIFEST_BLOB_UNKNOWN")?;
            let age = since.elapsed();
            ensure!(age > LEASE_SURE, "its blobs were acknowledged {age:?} ago: {}", said.answer.describe());
            self.nodes.stats.heard("404 MANIFEST_BLOB_UNKNOWN");
            let mut again = Vec::new();
            for blob in &image.blobs {
                again.push(self.push_or_find(&image.repo, blob).await?);
            }
            since = oldest(&again);
        }
        anyhow::bail!("{} was refused {TRIES_MAX} times", image.digest)
    }

    fn tagged(&mut self, repo: &str, tag: &str, digest: &str, doubt: bool) {
        let tag = self.tags.entry((repo.to_owned(), tag.to_owned())).or_default();
        tag.current = Some(digest.to_owned());
        if doubt {
            tag.doubts.push(tag.current.clone());
        }
    }

    /// An image in the other repository, all of its blobs mounted.
    async fn copy(&mut self, at: usize) -> Result<()> {
        let image = self.images[at].clone();
        let repo = self.repos.iter().find(|repo| **repo != image.repo).context("two repositories")?.clone();
        let mut since = Vec::new();
        for blob in &image.blobs {
            let began = Instant::now();
            let target = format!("/v2/{repo}/blobs/uploads/?mount={}&from={}", blob.digest, image.repo);
            let said = self.nodes.insist(Expect(&[201], &[201]), |wire| wire.post(&target).body("")).await?;
            said.answer.expect_header("docker-content-digest", &blob.digest)?;
            let pushed = Pushed { at: began, doubt: said.doubt };
            self.check_leased(&repo, blob, &pushed).await?;
            since.push(began);
        }
        let copy = self.image(&repo, image.blobs, None);
        let tag = format!("t{}", self.random.word());
        self.put(copy, &tag, oldest(&since)).await?;
        self.nodes.stats.did("copy by mount");
        Ok(())
    }

    /// An artifact that refers to an image, and the list that has to name it.
    async fn refer(&mut self, at: usize) -> Result<()> {
        let subject = self.images[at].clone();
        self.push_new(Some(&subject)).await?;
        self.check_referrers(self.nodes.any(), &subject).await?;
        self.nodes.stats.did("referrer");
        Ok(())
    }

    // --- deletes and moves --------------------------------------------------------------------------------------------

    /// A tag of the same repository, which was set and which no late request can move, goes to this image.
    async fn move_tag(&mut self, at: usize) -> Result<()> {
        let image = self.images[at].clone();
        let Some(tag) = self.sure_tag(|repo, tag| repo == image.repo && tag.current.is_some()) else { return Ok(()) };
        let path = manifest_path(&image.repo, &tag.1);
        let put = |wire: &Wire| wire.put(&path).header("content-type", MANIFEST).body(image.body.clone());
        // The image is there with all its blobs, so nothing can be unknown.
        let said = self.nodes.insist(Expect(&[201], &[201]), put).await?;
        self.images[at].doubt |= said.doubt;
        self.tagged(&tag.0, &tag.1, &image.digest, said.doubt);
        self.check_tag(self.nodes.any(), &tag.0, &tag.1).await?;
        self.nodes.stats.did("tag move");
        Ok(())
    }

    async fn delete_tag(&mut self) -> Result<()> {
        let Some(key) = self.sure_tag(|_, tag| tag.current.is_some()) else { return Ok(()) };
        let path = manifest_path(&key.0, &key.1);
        let said = self.nodes.insist(Expect(&[202], &[202, 404]), |wire| wire.delete(&path)).await?;
        let tag = self.tags.entry(key.clone()).or_default();
        tag.current = None;
        if said.doubt {
            tag.doubts.push(None);
        }
        self.check_tag(self.nodes.any(), &key.0, &key.1).await?;
        self.nodes.stats.did("tag delete");
        Ok(())
    }

    async fn delete(&mut self, at: usize) -> Result<()> {
        let image = self.images.swap_remove(at);
        let purge = if self.random.below(3) == 0 { "?purge=wait" } else { "" };
        let path = manifest_path(&image.repo, &image.digest);
        let target = format!("{path}{purge}");
        self.nodes.insist(Expect(&[202], &[202, 404]), |wire| wire.delete(&target)).await?;
        for ((repo, _), tag) in &mut self.tags {
            if *repo != image.repo {
                continue;
            }
            if tag.current.as_ref() == Some(&image.digest) {
                tag.current = None;
            }
            if tag.doubts.iter().any(|doubt| doubt.as_ref() == Some(&image.digest)) {
                tag.doubts.push(None);
            }
        }
        let entry = (image.repo.clone(), image.digest.clone());
        if image.doubt {
            self.haunted.push(entry);
        } else {
            self.check_gone(self.nodes.any(), &entry).await?;
            self.gone.push(entry);
            let more = self.gone.len().saturating_sub(GONE_MAX);
            self.gone.drain(..more);
        }
        self.nodes.stats.did(if purge.is_empty() { "delete" } else { "delete and wait" });
        Ok(())
    }

    /// A blob that an image names stays.
    async fn delete_refused(&mut self, at: usize) -> Result<()> {
        let image = &self.images[at];
        let path = blob_path(&image.repo, &image.blobs[0].digest);
        let said = self.nodes.insist(Expect(&[405], &[405]), |wire| wire.delete(&path)).await?;
        said.answer.check_error(405, "DENIED")?;
        self.nodes.stats.did("delete refused");
        Ok(())
    }

    /// A blob that nothing names goes at once.
    async fn delete_blob(&mut self) -> Result<()> {
        let (repo, blob) = (self.any_repo(), Blob::random(&self.random, 40_000));
        let pushed = upload::push(self.nodes, &repo, &blob).await?;
        let path = blob_path(&repo, &blob.digest);
        let said = self.nodes.insist(Expect(&[202, 404], &[202, 404]), |wire| wire.delete(&path)).await?;
        let age = pushed.at.elapsed();
        ensure!(
            said.answer.status == 202 || said.doubt || age > LEASE_SURE,
            "acknowledged {age:?} ago: {}",
            said.answer.describe()
        );
        if !pushed.doubt {
            self.nodes.insist(Expect(&[404], &[404]), |wire| wire.head(&path)).await?;
        }
        self.nodes.stats.did("blob delete");
        Ok(())
    }

    /// An upload that is cancelled, or that nobody goes on with.
    async fn abandon(&mut self) -> Result<()> {
        let (repo, bytes) = (self.any_repo(), self.pool[self.nodes.pick(self.pool.len())].bytes.clone());
        let target = format!("/v2/{repo}/blobs/uploads/");
        let location = self.nodes.insist(Expect(&[202], &[202]), |wire| wire.post(&target).body("")).await?;
        let location = location.answer.location()?;
        // Whether it arrives does not matter.
        self.nodes.once(self.nodes.any().patch(&location).body(bytes)).await?;
        if self.random.below(2) == 0 {
            self.nodes.insist(Expect(&[204], &[204, 404]), |wire| wire.delete(&location)).await?;
            self.nodes.insist(Expect(&[404], &[404]), |wire| wire.get(&location)).await?;
        }
        self.nodes.stats.did("upload given up");
        Ok(())
    }

    // --- reads --------------------------------------------------------------------------------------------------------

    async fn pull(&self, at: usize) -> Result<()> {
        self.check_image(self.nodes.any(), &self.images[at]).await?;
        self.nodes.stats.did("pull");
        Ok(())
    }

    /// The tags of a repository are those that were acknowledged.
    async fn list(&self) -> Result<()> {
        let repo = self.any_repo();
        let target = format!("/v2/{repo}/tags/list");
        let answer = self.nodes.insist(Expect(&[200, 404], &[200, 404]), |wire| wire.get(&target)).await?.answer;
        let body = if answer.status == 200 { answer.json()? } else { json!({"tags": []}) };
        let listed: Vec<&str> = body["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()).collect();
        for ((_, name), tag) in self.tags.iter().filter(|((of, _), tag)| *of == repo && tag.doubts.is_empty()) {
            let there = listed.contains(&name.as_str());
            ensure!(there == tag.current.is_some(), "{name} should be {:?}: {}", tag.current, answer.describe());
        }
        self.nodes.stats.did("tag list");
        Ok(())
    }

    async fn check_image(&self, wire: &Wire, image: &Image) -> Result<()> {
        let path = manifest_path(&image.repo, &image.digest);
        let answer = self.nodes.insist_on(wire, &[200], |wire| wire.get(&path)).await?;
        answer.expect_body(image.body.as_bytes())?;
        for blob in &image.blobs {
            let path = blob_path(&image.repo, &blob.digest);
            self.nodes.insist_on(wire, &[200], |wire| wire.get(&path)).await?.expect_body(&blob.bytes)?;
        }
        Ok(())
    }

    async fn check_tag(&self, wire: &Wire, repo: &str, name: &str) -> Result<()> {
        let path = manifest_path(repo, name);
        let answer = self.nodes.insist_on(wire, &[200, 404], |wire| wire.get(&path)).await?;
        let found = found(&answer)?;
        let key = (repo.to_owned(), name.to_owned());
        let tag = self.tags.get(&key).context("a tag that was never set")?;
        let right = tag.current == found || tag.doubts.contains(&found);
        ensure!(right, "{name} is {found:?}, should be {:?} or {:?}: {}", tag.current, tag.doubts, answer.describe());
        Ok(())
    }

    async fn check_gone(&self, wire: &Wire, (repo, digest): &(String, String)) -> Result<()> {
        let path = manifest_path(repo, digest);
        self.nodes.insist_on(wire, &[404], |wire| wire.get(&path)).await?;
        Ok(())
    }

    /// The list of an image's referrers has those that were acknowledged and none that was deleted.
    async fn check_referrers(&self, wire: &Wire, subject: &Image) -> Result<()> {
        let path = format!("/v2/{}/referrers/{}", subject.repo, subject.digest);
        let answer = self.nodes.insist_on(wire, &[200], |wire| wire.get(&path)).await?;
        let body = answer.json()?;
        let listed: Vec<&str> =
            body["manifests"].as_array().into_iter().flatten().filter_map(|entry| entry["digest"].as_str()).collect();
        let of = |image: &&Image| image.repo == subject.repo && image.subject.as_ref() == Some(&subject.digest);
        for image in self.images.iter().filter(of) {
            ensure!(listed.contains(&image.digest.as_str()), "{} is missing: {}", image.digest, answer.describe());
        }
        let gone = self.gone.iter().find(|(repo, digest)| *repo == subject.repo && listed.contains(&digest.as_str()));
        ensure!(gone.is_none(), "{gone:?} is listed, but was deleted: {}", answer.describe());
        Ok(())
    }

    /// Checks the whole ledger on every node; gives how many images it has.
    pub(super) async fn check_everywhere(&self) -> Result<u64> {
        for wire in self.nodes.all() {
            for (repo, name) in self.tags.keys() {
                self.check_tag(wire, repo, name).await?;
            }
            for image in &self.images {
                self.check_image(wire, image).await?;
                self.check_referrers(wire, image).await?;
            }
            for gone in &self.gone {
                self.check_gone(wire, gone).await?;
            }
        }
        Ok(self.images.len() as u64)
    }

    /// Deletes everything that there is or may be.
    pub(super) async fn delete_all(&mut self) -> Result<()> {
        while !self.images.is_empty() {
            self.delete(0).await?;
        }
        for (repo, digest) in std::mem::take(&mut self.haunted) {
            let path = manifest_path(&repo, &digest);
            self.nodes.insist(Expect(&[202, 404], &[202, 404]), |wire| wire.delete(&path)).await?;
        }
        Ok(())
    }

    // --- choices ------------------------------------------------------------------------------------------------------

    fn any_repo(&self) -> String {
        self.repos[usize::from(self.random.below(2) == 0)].clone()
    }

    fn any_image(&self) -> Option<usize> {
        usize::try_from(self.random.next()).unwrap_or_default().checked_rem(self.images.len())
    }

    /// One that many have, or one that nobody has.
    fn any_blob(&self) -> Blob {
        let at = usize::try_from(self.random.below(1 << 20)).unwrap_or_default();
        if at.is_multiple_of(2) {
            self.pool[at / 2 % self.pool.len()].clone()
        } else {
            Blob::random(&self.random, NEW_SIZES[at / 2 % NEW_SIZES.len()])
        }
    }

    /// A tag, by chance, of which no late request can make anything else.
    fn sure_tag(&self, wanted: impl Fn(&str, &Tag) -> bool) -> Option<(String, String)> {
        let sure = self.tags.iter().filter(|((repo, _), tag)| tag.doubts.is_empty() && wanted(repo, tag));
        let keys: Vec<_> = sure.map(|(key, _)| key).collect();
        let at = usize::try_from(self.random.next()).unwrap_or_default().checked_rem(keys.len())?;
        Some(keys[at].clone())
    }
}

/// The digest that a tag has by this answer.
fn found(answer: &Answer) -> Result<Option<String>> {
    if answer.status == 404 {
        return Ok(None);
    }
    let digest = answer.header("docker-content-digest")?;
    ensure!(
        Algorithm::Sha256.digest(&answer.body) == digest,
        "other bytes than the digest says: {}",
        answer.describe()
    );
    Ok(Some(digest.to_owned()))
}

fn oldest(times: &[Instant]) -> Instant {
    times.iter().min().copied().unwrap_or_else(Instant::now)
}
