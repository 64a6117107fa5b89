//! A client that does everything that writes, step by step; after a crash it repeats or resumes the step that was cut off,
//! as real clients do.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::content::{Algorithm, Blob, Random};
use crate::scenarios::data_sets::{CONFIG, INDEX, LAYER, MANIFEST, manifest_path};
use crate::scenarios::push::{self, OCTETS, blob_path};
use crate::wire::{Wire, with_query};

/// Where the client works; what is in the first one was acknowledged before the server that dies was started.
const REPOS: [&str; 3] = ["crash/before", "crash/a", "crash/b"];
const BEFORE: &str = REPOS[0];
const A: &str = REPOS[1];
const B: &str = REPOS[2];

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Push a blob that stays in its row.
    Small,
    /// Push a blob in one request.
    Post,
    /// Push a blob with POST and PUT.
    Put,
    /// Push a blob that stays in its row with POST and PUT.
    SmallPut,
    /// Push a large blob in chunks.
    Chunks,
    /// Push a blob each chunk of which would stay in its row.
    Growing,
    /// Push a blob whose PATCH pauses for this long.
    SlowPatch(Duration),
    /// Push a blob whose PUT pauses for this long.
    SlowPut(Duration),
    /// Close a session with a digest of another algorithm than it hashed with.
    OtherAlgorithm,
    /// Push what another repository has already.
    Twice,
    /// Mount a blob.
    Mount,
    /// Ask whether a blob is there.
    Head,
    /// Ask how far a session is.
    Status,
    /// Push an image by tag.
    Image,
    /// Push another one by digest.
    ByDigest,
    /// Push an index of the first one.
    Index,
    /// Push a referrer to it.
    Referrer,
    /// Move the tag to the other one.
    MoveTag,
    /// Delete a tag.
    DeleteTag,
    /// Delete the index, so that the image can go.
    DeleteIndex,
    /// Begin a session and let its time pass.
    Abandon,
    /// Delete an image and wait for its bytes.
    DeleteImage,
    /// Delete a blob.
    DeleteBlob,
    /// Push bytes that are not what they are said to be.
    WrongDigest,
    /// Cancel a session.
    Cancel,
}

/// The steps in their order, those left out that only some points need.
pub(super) const STEPS: [Step; 22] = [
    Step::Small,
    Step::Post,
    Step::Put,
    Step::SmallPut,
    Step::Chunks,
    Step::Growing,
    Step::OtherAlgorithm,
    Step::Twice,
    Step::Mount,
    Step::Head,
    Step::Status,
    Step::Image,
    Step::ByDigest,
    Step::Index,
    Step::Referrer,
    Step::MoveTag,
    Step::DeleteTag,
    Step::DeleteIndex,
    Step::DeleteImage,
    Step::DeleteBlob,
    Step::WrongDigest,
    Step::Cancel,
];

/// What is pushed; the same for every point.
pub(super) struct Data {
    small: Blob,
    posted: Blob,
    put: Blob,
    small_put: Blob,
    large: Blob,
    growing: Blob,
    slow: Blob,
    other: Blob,
    cancelled: Blob,
    before: Manifest,
    image: Manifest,
    second: Manifest,
    index: Manifest,
    referrer: Manifest,
}

struct Manifest {
    media_type: &'static str,
    body: Bytes,
    digest: String,
}

impl Manifest {
    fn new(media_type: &'static str, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self { media_type, digest: Algorithm::Sha256.digest(&body), body }
    }

    fn image(config: &Blob, layers: &[&Blob], subject: Option<&Self>) -> Self {
        let entry = |kind: &str, blob: &Blob| json!({"mediaType": kind, "digest": blob.digest, "size": blob.len()});
        let layers: Vec<Value> = layers.iter().map(|blob| entry(LAYER, blob)).collect();
        let mut body =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": entry(CONFIG, config), "layers": layers});
        if let Some(subject) = subject {
            body["subject"] = subject.descriptor();
        }
        Self::new(MANIFEST, &body)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.body.len()})
    }
}

impl Data {
    /// With a large blob of so many bytes.
    pub(super) fn new(random: &Random, large: usize) -> Self {
        let sizes = [900, 60_000, 61_000, 62_000, 1_900, 9_000];
        let [small, posted, put, cancelled, small_put, growing] = sizes.map(|size| Blob::random(random, size));
        let (large, slow) = (Blob::random(random, large), Blob::random(random, large));
        let other = Blob::new(Algorithm::Sha512, random.bytes(63_000));
        let before = Manifest::image(&small, &[&posted], None);
        let image = Manifest::image(&small, &[&put, &large], None);
        let second = Manifest::image(&small, &[&put, &posted], None);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image.descriptor()]});
        let referrer = Manifest::image(&small, &[], Some(&image));
        let index = Manifest::new(INDEX, &index);
        Self {
            small,
            posted,
            put,
            small_put,
            large,
            growing,
            slow,
            other,
            cancelled,
            before,
            image,
            second,
            index,
            referrer,
        }
    }

    fn blobs(&self) -> [&Blob; 9] {
        let Self { small, posted, put, small_put, large, growing, slow, other, cancelled, .. } = self;
        [small, posted, put, small_put, large, growing, slow, other, cancelled]
    }

    /// In the order in which they can be deleted.
    fn manifests(&self) -> [&Manifest; 5] {
        [&self.index, &self.referrer, &self.image, &self.second, &self.before]
    }
}

/// The client.
pub(super) struct Script<'a> {
    data: &'a Data,
    /// What a path must give: these bytes, or nothing. What is under way stands here in neither way.
    promised: BTreeMap<String, Option<Bytes>>,
    /// The session of the step under way.
    location: Option<String>,
    /// All bytes of it were sent, and perhaps its closing PUT.
    closing: bool,
    /// The step under way was cut off by a crash and is done again.
    again: bool,
    /// Sessions that went on after a crash, and sessions that had to begin anew.
    pub(super) resumed: usize,
    pub(super) anew: usize,
}

impl<'a> Script<'a> {
    pub(super) fn new(data: &'a Data) -> Self {
        let promised = BTreeMap::new();
        Self { data, promised, location: None, closing: false, again: false, resumed: 0, anew: 0 }
    }

    /// Pushes what must survive everything that follows.
    pub(super) async fn prepare(&mut self, wire: &Wire) -> Result<()> {
        let data = self.data;
        for blob in [&data.small, &data.posted] {
            self.post(wire, BEFORE, blob).await?;
        }
        self.put_manifest(wire, BEFORE, "v1", &data.before).await
    }

    /// Does a step; `again` when a crash cut it off before.
    pub(super) async fn take(&mut self, wire: &Wire, step: Step, again: bool) -> Result<()> {
        if !again {
            (self.location, self.closing) = (None, false);
        }
        self.again = again;
        let data = self.data;
        match step {
            Step::Small => self.post(wire, A, &data.small).await,
            Step::Post => self.post(wire, A, &data.posted).await,
            Step::Put | Step::Twice => self.put(wire, if step == Step::Put { A } else { B }, &data.put).await,
            Step::OtherAlgorithm => self.put(wire, A, &data.other).await,
            Step::SmallPut => self.put(wire, A, &data.small_put).await,
            Step::Chunks => self.chunks(wire, &data.large).await,
            Step::Growing => self.chunks(wire, &data.growing).await,
            Step::SlowPatch(pause) => self.slow_patch(wire, pause).await,
            Step::SlowPut(pause) => self.slow_put(wire, pause).await,
            Step::Mount => self.mount(wire).await,
            Step::Head => wire.head(&blob_path(A, &data.posted.digest)).expect(200).await.map(drop),
            Step::Status => self.status(wire).await,
            Step::Image => self.put_manifest(wire, A, "v1", &data.image).await,
            Step::ByDigest => self.put_manifest(wire, A, &data.second.digest, &data.second).await,
            Step::Index => self.put_manifest(wire, A, "all", &data.index).await,
            Step::Referrer => self.put_manifest(wire, A, &data.referrer.digest, &data.referrer).await,
            Step::MoveTag => self.put_manifest(wire, A, "v1", &data.second).await,
            Step::DeleteTag => self.delete(wire, &manifest_path(A, "all"), "").await,
            Step::DeleteIndex => self.delete(wire, &manifest_path(A, &data.index.digest), "").await,
            Step::DeleteImage => {
                // Its large blob is named by nothing else from here on.
                self.promised.remove(&blob_path(A, &data.large.digest));
                self.delete(wire, &manifest_path(A, &data.image.digest), "?purge=wait").await
            }
            Step::DeleteBlob => self.delete(wire, &blob_path(B, &data.posted.digest), "").await,
            Step::Abandon => self.abandon(wire).await,
            Step::WrongDigest => self.wrong_digest(wire).await,
            Step::Cancel => self.cancel(wire).await,
        }
        .with_context(|| format!("{step:?}{}", if again { ", again" } else { "" }))
    }

    /// Everything acknowledged is there with the right bytes, and what was deleted is gone.
    pub(super) async fn check(&self, wire: &Wire) -> Result<()> {
        for (path, promised) in &self.promised {
            match promised {
                Some(bytes) => {
                    let answer = wire.get(path).expect(200).await?;
                    ensure!(answer.body == bytes, "{path} has other bytes than were acknowledged");
                }
                None => drop(wire.head(path).expect(404).await?),
            }
        }
        Ok(())
    }

    /// Deletes whatever any step may have left.
    pub(super) async fn delete_everything(&mut self, wire: &Wire) -> Result<()> {
        let any = [202, 404];
        for repo in REPOS {
            for manifest in self.data.manifests() {
                wire.delete(&manifest_path(repo, &manifest.digest)).send().await?.expect_any(&any)?;
            }
            for blob in self.data.blobs() {
                wire.delete(&blob_path(repo, &blob.digest)).send().await?.expect_any(&any)?;
            }
        }
        self.promised.clear();
        Ok(())
    }

    // --- blobs

    fn promise_blob(&mut self, repo: &str, blob: &Blob) {
        self.promised.insert(blob_path(repo, &blob.digest), Some(blob.bytes.clone()));
    }

    async fn post(&mut self, wire: &Wire, repo: &str, blob: &Blob) -> Result<()> {
        push::send(wire, repo, blob, push::Way::PostOnly).await?.expect(201)?;
        self.promise_blob(repo, blob);
        Ok(())
    }

    async fn mount(&mut self, wire: &Wire) -> Result<()> {
        let blob = &self.data.posted;
        let target = format!("/v2/{B}/blobs/uploads/?mount={}&from={A}", blob.digest);
        wire.post(&target).body("").expect(201).await?;
        self.promise_blob(B, blob);
        Ok(())
    }

    /// The session of this step, begun if there is none yet.
    async fn session(&mut self, wire: &Wire, repo: &str) -> Result<String> {
        if self.location.is_none() {
            self.location = Some(push::begin(wire, repo).await?);
        }
        self.location.clone().context("a session")
    }

    /// Where the session of this step stands; a new one where it is gone, which only a crash may do.
    async fn stand(&mut self, wire: &Wire, repo: &str) -> Result<usize> {
        let location = self.session(wire, repo).await?;
        if !self.again {
            return Ok(0);
        }
        let answer = wire.get(&location).send().await?.expect_any(&[204, 404])?;
        if answer.status == 404 {
            self.begin_anew(wire, repo).await?;
            return Ok(0);
        }
        self.resumed += 1;
        let range = answer.header("range")?;
        let last: usize = range.strip_prefix("0-").and_then(|last| last.parse().ok()).context("a Range")?;
        // No byte and one byte look the same, and no chunk here has one byte.
        Ok(if last == 0 { 0 } else { last + 1 })
    }

    async fn begin_anew(&mut self, wire: &Wire, repo: &str) -> Result<()> {
        self.anew += 1;
        self.closing = false;
        self.location = Some(push::begin(wire, repo).await?);
        Ok(())
    }

    /// The closing PUT. `false`: after a crash the session is gone.
    async fn close(&mut self, wire: &Wire, repo: &str, blob: &Blob, rest: Bytes) -> Result<bool> {
        let location = self.session(wire, repo).await?;
        self.closing = true;
        let answer = push::put(wire, &location, blob, rest).await?;
        if self.again && answer.status == 404 {
            answer.check_error(404, "BLOB_UPLOAD_UNKNOWN")?;
            return Ok(false);
        }
        answer.expect(201)?;
        self.promise_blob(repo, blob);
        Ok(true)
    }

    async fn put(&mut self, wire: &Wire, repo: &str, blob: &Blob) -> Result<()> {
        if !self.close(wire, repo, blob, blob.bytes.clone()).await? {
            self.begin_anew(wire, repo).await?;
            self.again = false;
            self.close(wire, repo, blob, blob.bytes.clone()).await?;
        }
        Ok(())
    }

    async fn chunks(&mut self, wire: &Wire, blob: &Blob) -> Result<()> {
        if self.closing && self.close(wire, A, blob, Bytes::new()).await? {
            return Ok(());
        }
        self.closing = false;
        let mut at = self.stand(wire, A).await?;
        let location = self.session(wire, A).await?;
        while at < blob.len() {
            let end = (at + blob.len().div_ceil(3)).min(blob.len());
            push::chunk(wire, Method::PATCH, &location, blob, at..end).await?.expect(202)?;
            at = end;
        }
        self.again = false;
        self.close(wire, A, blob, Bytes::new()).await.map(drop)
    }

    async fn slow_patch(&mut self, wire: &Wire, pause: Duration) -> Result<()> {
        let blob = &self.data.slow;
        if !self.again {
            let location = self.session(wire, A).await?;
            let call = wire.patch(&location).header("content-type", OCTETS);
            call.stream(slowly(blob, pause)).expect(202).await?;
            self.again = true;
        }
        self.chunks(wire, blob).await
    }

    async fn slow_put(&mut self, wire: &Wire, pause: Duration) -> Result<()> {
        let blob = &self.data.slow;
        if !self.again {
            let location = self.session(wire, A).await?;
            let target = with_query(&location, &format!("digest={}", blob.digest));
            wire.put(&target).header("content-type", OCTETS).stream(slowly(blob, pause)).expect(201).await?;
        }
        self.put(wire, A, blob).await
    }

    async fn status(&mut self, wire: &Wire) -> Result<()> {
        self.stand(wire, A).await?;
        let location = self.session(wire, A).await?;
        push::status(wire, &location).await.map(drop)
    }

    async fn abandon(&mut self, wire: &Wire) -> Result<()> {
        let blob = &self.data.cancelled;
        let location = push::begin(wire, A).await?;
        push::chunk(wire, Method::PATCH, &location, blob, 0..20_000).await?.expect(202)?;
        sleep(super::EXPIRY).await;
        Ok(())
    }

    async fn wrong_digest(&mut self, wire: &Wire) -> Result<()> {
        let location = self.session(wire, A).await?;
        let blob = self.data.cancelled.clone();
        let answer = push::put(wire, &location, &blob, blob.clone().spoiled().bytes).await?;
        if self.again && answer.status == 404 {
            return Ok(());
        }
        answer.check_error(400, "DIGEST_INVALID")?;
        self.promised.insert(blob_path(A, &blob.digest), None);
        Ok(())
    }

    async fn cancel(&mut self, wire: &Wire) -> Result<()> {
        let blob = &self.data.cancelled;
        let location = self.session(wire, A).await?;
        if !self.closing {
            if self.stand(wire, A).await? == 0 {
                push::chunk(wire, Method::PATCH, &location, blob, 0..20_000).await?.expect(202)?;
            }
            self.closing = true;
        }
        wire.delete(&location).send().await?.expect_any(if self.again { &[204, 404] } else { &[204] })?;
        wire.get(&location).expect(404).await?;
        Ok(())
    }

    // --- manifests and deletes

    async fn put_manifest(&mut self, wire: &Wire, repo: &str, reference: &str, manifest: &Manifest) -> Result<()> {
        let path = manifest_path(repo, reference);
        // From here until the answer a tag may stand where it stood, or here.
        self.promised.remove(&path);
        wire.put(&path).header("content-type", manifest.media_type).body(manifest.body.clone()).expect(201).await?;
        self.promised.insert(manifest_path(repo, &manifest.digest), Some(manifest.body.clone()));
        self.promised.insert(path, Some(manifest.body.clone()));
        Ok(())
    }

    async fn delete(&mut self, wire: &Wire, path: &str, query: &str) -> Result<()> {
        self.promised.remove(path);
        let wanted: &[u16] = if self.again { &[202, 404] } else { &[202] };
        wire.delete(&format!("{path}{query}")).send().await?.expect_any(wanted)?;
        self.promised.insert(path.to_owned(), None);
        Ok(())
    }
}

/// A piece that is less than a part, and after a pause the rest.
fn slowly(blob: &Blob, pause: Duration) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let mut first = blob.bytes.clone();
    let rest = first.split_off(1 << 20);
    futures_util::stream::iter([(Duration::ZERO, first), (pause, rest)]).then(|(pause, piece)| async move {
        sleep(pause).await;
        Ok(piece)
    })
}
