//! What clients do, each as something that can be tried again after a refusal.

use futures_util::future::BoxFuture;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::app::{TestApp, maybe_header};
use crate::fixtures::{IMAGE_INDEX, IMAGE_MANIFEST, ImageBuilder, bytes, descriptor, index, sha256, sha512};

/// A client with one thing to do in a repository of its own.
pub(super) struct Client<'a> {
    pub(super) app: &'a TestApp,
    pub(super) repo: String,
    /// Makes its content different from everybody else's.
    seed: u32,
    layer: Vec<u8>,
    /// The upload session that it was told of.
    location: Option<String>,
    /// Whether all bytes of the session are sent and only its end was refused.
    closing: bool,
    /// Whether it was refused before, so that what it asks for may have been done already.
    pub(super) refused: bool,
}

/// Why an attempt ended.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An answer other than success.
    Answer { status: StatusCode, retry_after: Option<String>, code: Option<String> },
    /// The answer broke off.
    Broken,
}

pub(super) type Attempt = Result<(), Refusal>;

type Step = for<'a> fn(&'a mut Client<'_>) -> BoxFuture<'a, Attempt>;

/// Something that clients do.
pub(super) struct Flow {
    pub(super) name: &'static str,
    /// What has to be there before.
    pub(super) prepare: Step,
    /// The thing itself; also what may be tried again.
    pub(super) attempt: Step,
    /// What holds once it was done.
    pub(super) check: Step,
}

macro_rules! flows {
    ($($name:literal: $prepare:ident, $attempt:ident, $check:ident;)*) => {
        pub(super) const FLOWS: &[Flow] = &[$(Flow {
            name: $name,
            prepare: |client| Box::pin(client.$prepare()),
            attempt: |client| Box::pin(client.$attempt()),
            check: |client| Box::pin(client.$check()),
        },)*];
    };
}

flows! {
    "push a blob in one request": nothing, push_in_one, pull_layer;
    "push a small blob": nothing, push_small, pull_small;
    "push a blob with POST and PUT": nothing, put_whole, pull_layer;
    "push a blob in chunks": nothing, put_chunks, pull_layer;
    "push a blob in chunks, the last one with PUT": nothing, put_last_chunk, pull_layer;
    "push a blob in one PATCH": nothing, put_stream, pull_layer;
    "push a blob that another algorithm hashes": nothing, put_other_algorithm, pull_other_algorithm;
    "push a blob again": push_in_one, push_in_one, pull_layer;
    "cancel a session": begin, cancel, is_cancelled;
    "ask how far a session is": begin, status, nothing;
    "mount a blob": push_elsewhere, mount, pull_layer;
    "look whether a blob is there": push_in_one, head_layer, nothing;
    "pull a blob": push_in_one, pull_layer, nothing;
    "pull a small blob": push_small, pull_small, nothing;
    "pull ranges of a blob": push_in_one, pull_ranges, nothing;
    "push a manifest by tag": push_blobs, put_by_tag, pull_by_tag;
    "push a manifest by digest, with tags": push_blobs, put_by_digest, pull_by_tag;
    "push an index": push_image, put_index, pull_index;
    "push a referrer": push_image, put_referrer, list_referrers;
    "move a tag": push_image, move_tag, pull_moved;
    "pull a manifest": push_image, pull_by_tag, nothing;
    "look whether a manifest is there": push_image, head_manifest, nothing;
    "list tags": push_image, list_tags, nothing;
    "list repositories": push_image, list_repositories, nothing;
    "list referrers": push_with_referrer, list_referrers, nothing;
    "delete a tag": push_image, delete_tag, tag_is_gone;
    "delete a manifest": push_image, delete_manifest, manifest_is_gone;
    "delete a manifest and wait": push_image, delete_and_wait, manifest_is_gone;
    "delete a blob": push_in_one, delete_layer, layer_is_gone;
}

impl<'a> Client<'a> {
    pub(super) fn new(app: &'a TestApp, repo: String, seed: u32) -> Self {
        Self { app, repo, seed, layer: bytes(LAYER_BYTES, seed), location: None, closing: false, refused: false }
    }

    #[expect(clippy::unused_async, reason = "it stands in a table of steps, which are async")]
    async fn nothing(&mut self) -> Attempt {
        Ok(())
    }

    fn layer(&self) -> Vec<u8> {
        self.layer.clone()
    }

    fn small(&self) -> Vec<u8> {
        bytes(100, self.seed)
    }

    fn image(&self) -> ImageBuilder {
        ImageBuilder::new().layer(&self.layer()).annotation("seed", &self.seed.to_string())
    }

    fn referrer(&self) -> Vec<u8> {
        ImageBuilder::new().subject(IMAGE_MANIFEST, &self.image().manifest()).artifact_type("test/signature").manifest()
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repo)
    }

    fn blob_path(&self, data: &[u8]) -> String {
        self.path(&format!("blobs/{}", sha256(data)))
    }

    fn manifest_path(&self, manifest: &[u8]) -> String {
        self.path(&format!("manifests/{}", sha256(manifest)))
    }

    // --- pushing blobs

    async fn push_in_one(&mut self) -> Attempt {
        self.post_blob(&self.layer()).await
    }

    async fn push_small(&mut self) -> Attempt {
        self.post_blob(&self.small()).await
    }

    async fn post_blob(&self, data: &[u8]) -> Attempt {
        let target = self.path(&format!("blobs/uploads/?digest={}", sha256(data)));
        send(self.app.post(&target).body(data.to_vec()), &[StatusCode::CREATED]).await.map(drop)
    }

    async fn begin(&mut self) -> Attempt {
        let answer = send(self.app.post(&self.path("blobs/uploads/")), &[StatusCode::ACCEPTED]).await?;
        self.location = maybe_header(&answer, "location").map(str::to_owned);
        Ok(())
    }

    /// The session, begun if there is none yet.
    async fn session(&mut self) -> Result<String, Refusal> {
        if self.location.is_none() {
            self.begin().await?;
        }
        Ok(self.location.clone().expect("the answer to POST has a Location"))
    }

    /// Closes the session.
    async fn close(&mut self, digest: &str, rest: Vec<u8>) -> Attempt {
        let location = self.session().await?;
        self.closing = true;
        let put = self.app.put(&format!("{location}?digest={digest}")).body(rest);
        let closed = send(put, &[StatusCode::CREATED]).await.map(drop);
        self.forget_if_unknown(closed)
    }

    async fn put_whole(&mut self) -> Attempt {
        let layer = self.layer();
        self.close(&sha256(&layer), layer).await
    }

    async fn put_other_algorithm(&mut self) -> Attempt {
        let layer = self.layer();
        self.close(&sha512(&layer), layer).await
    }

    async fn put_chunks(&mut self) -> Attempt {
        let (layer, location) = (self.layer(), self.session().await?);
        while !self.closing {
            let from = self.offset(&location).await?;
            let to = (from + LAYER_BYTES / 3).min(LAYER_BYTES);
            self.closing = to == LAYER_BYTES;
            if from < to {
                self.closing = false;
                let range = format!("{from}-{}", to - 1);
                let patch = self.app.patch(&location).header("content-range", range).body(layer[from..to].to_vec());
                let sent = send(patch, &[StatusCode::ACCEPTED]).await.map(drop);
                self.forget_if_unknown(sent)?;
            }
        }
        self.close(&sha256(&layer), Vec::new()).await
    }

    /// The closing PUT brings bytes and says where they belong; repeated, it says the same again.
    async fn put_last_chunk(&mut self) -> Attempt {
        let (layer, location, cut) = (self.layer(), self.session().await?, LAYER_BYTES / 2);
        let from = if self.closing { cut } else { self.offset(&location).await? };
        if from < cut {
            let range = format!("{from}-{}", cut - 1);
            let patch = self.app.patch(&location).header("content-range", range).body(layer[from..cut].to_vec());
            let sent = send(patch, &[StatusCode::ACCEPTED]).await.map(drop);
            self.forget_if_unknown(sent)?;
        }
        self.closing = true;
        let put = self.app.put(&format!("{location}?digest={}", sha256(&layer)));
        let put = put.header("content-range", format!("{cut}-{}", LAYER_BYTES - 1)).body(layer[cut..].to_vec());
        let closed = send(put, &[StatusCode::CREATED]).await.map(drop);
        self.forget_if_unknown(closed)
    }

    /// A session that is gone is forgotten, so that the next attempt begins anew.
    fn forget_if_unknown(&mut self, attempt: Attempt) -> Attempt {
        if attempt.as_ref().is_err_and(Refusal::is_unknown_session) {
            (self.location, self.closing) = (None, false);
        }
        attempt
    }

    /// Where the session stands, as the server says.
    async fn offset(&self, location: &str) -> Result<usize, Refusal> {
        let answer = send(self.app.get(location), &[StatusCode::NO_CONTENT]).await?;
        let range = maybe_header(&answer, "range").expect("a session says where it stands");
        let last: usize = range.strip_prefix("0-").and_then(|last| last.parse().ok()).expect("0-last");
        // A session says the same about no byte and about one; nobody sends a single byte here.
        Ok(if last == 0 { 0 } else { last + 1 })
    }

    async fn put_stream(&mut self) -> Attempt {
        let (layer, location) = (self.layer(), self.session().await?);
        if !self.closing {
            // Without a place of its own, what is repeated would come twice; so the place is asked for first.
            let from = self.offset(&location).await?;
            if from < LAYER_BYTES {
                let patch = self.app.patch(&location).body(layer[from..].to_vec());
                let sent = send(patch, &[StatusCode::ACCEPTED]).await.map(drop);
                self.forget_if_unknown(sent)?;
            }
        }
        self.close(&sha256(&layer), Vec::new()).await
    }

    async fn cancel(&mut self) -> Attempt {
        let location = self.session().await?;
        send(self.app.delete(&location), self.gone_or(StatusCode::NO_CONTENT)).await.map(drop)
    }

    async fn is_cancelled(&mut self) -> Attempt {
        let location = self.session().await?;
        send(self.app.get(&location), &[StatusCode::NOT_FOUND]).await.map(drop)
    }

    async fn status(&mut self) -> Attempt {
        let location = self.session().await?;
        self.offset(&location).await.map(|offset| assert_eq!(offset, 0))
    }

    async fn push_elsewhere(&mut self) -> Attempt {
        let target = format!("/v2/{}-source/blobs/uploads/?digest={}", self.repo, sha256(&self.layer()));
        send(self.app.post(&target).body(self.layer()), &[StatusCode::CREATED]).await.map(drop)
    }

    async fn mount(&mut self) -> Attempt {
        let (digest, repo) = (sha256(&self.layer()), &self.repo);
        let target = self.path(&format!("blobs/uploads/?mount={digest}&from={repo}-source"));
        send(self.app.post(&target), &[StatusCode::CREATED]).await.map(drop)
    }

    // --- pulling blobs

    async fn head_layer(&mut self) -> Attempt {
        send(self.app.head(&self.blob_path(&self.layer())), &[StatusCode::OK]).await.map(drop)
    }

    async fn pull_layer(&mut self) -> Attempt {
        self.pull(&self.blob_path(&self.layer()), &self.layer()).await
    }

    async fn pull_small(&mut self) -> Attempt {
        self.pull(&self.blob_path(&self.small()), &self.small()).await
    }

    async fn pull_other_algorithm(&mut self) -> Attempt {
        let layer = self.layer();
        self.pull(&self.path(&format!("blobs/{}", sha512(&layer))), &layer).await
    }

    async fn pull_ranges(&mut self) -> Attempt {
        let (layer, path) = (self.layer(), self.blob_path(&self.layer()));
        let one = send(self.app.get(&path).header("range", "bytes=1000-20999"), &[StatusCode::PARTIAL_CONTENT]).await?;
        assert_eq!(whole(one).await?, layer[1_000..21_000]);
        let ranges = self.app.get(&path).header("range", "bytes=0-999,15000-16000");
        let many = send(ranges, &[StatusCode::PARTIAL_CONTENT]).await?;
        assert!(whole(many).await?.len() > 2_000);
        Ok(())
    }

    async fn pull(&self, path: &str, expected: &[u8]) -> Attempt {
        let answer = send(self.app.get(path), &[StatusCode::OK]).await?;
        assert_eq!(whole(answer).await?, expected, "{path}: other bytes than were pushed");
        Ok(())
    }

    // --- manifests and tags

    async fn push_blobs(&mut self) -> Attempt {
        for blob in self.image().blobs() {
            self.post_blob(&blob).await?;
        }
        Ok(())
    }

    async fn push_image(&mut self) -> Attempt {
        self.push_blobs().await?;
        self.put_by_tag().await
    }

    async fn push_with_referrer(&mut self) -> Attempt {
        self.push_image().await?;
        self.put_referrer().await
    }

    async fn put(&self, path: &str, media_type: &str, manifest: Vec<u8>) -> Attempt {
        let put = self.app.put(path).header("content-type", media_type).body(manifest);
        send(put, &[StatusCode::CREATED]).await.map(drop)
    }

    async fn put_by_tag(&mut self) -> Attempt {
        self.put(&self.path("manifests/v1"), IMAGE_MANIFEST, self.image().manifest()).await
    }

    async fn put_by_digest(&mut self) -> Attempt {
        let manifest = self.image().manifest();
        let path = format!("{}?tag=v1&tag=v2", self.manifest_path(&manifest));
        self.put(&path, IMAGE_MANIFEST, manifest).await
    }

    async fn put_index(&mut self) -> Attempt {
        self.put(&self.path("manifests/all"), IMAGE_INDEX, index(&[self.image().manifest()])).await
    }

    async fn pull_index(&mut self) -> Attempt {
        self.pull(&self.path("manifests/all"), &index(&[self.image().manifest()])).await
    }

    async fn put_referrer(&mut self) -> Attempt {
        let referrer = self.referrer();
        self.put(&self.manifest_path(&referrer), IMAGE_MANIFEST, referrer).await
    }

    fn moved(&self) -> Vec<u8> {
        self.image().annotation("moved", "yes").manifest()
    }

    async fn move_tag(&mut self) -> Attempt {
        self.put(&self.path("manifests/v1"), IMAGE_MANIFEST, self.moved()).await
    }

    async fn pull_moved(&mut self) -> Attempt {
        self.pull(&self.path("manifests/v1"), &self.moved()).await?;
        self.pull(&self.manifest_path(&self.image().manifest()), &self.image().manifest()).await
    }

    async fn pull_by_tag(&mut self) -> Attempt {
        let manifest = self.image().manifest();
        self.pull(&self.path("manifests/v1"), &manifest).await?;
        self.pull(&self.manifest_path(&manifest), &manifest).await
    }

    async fn head_manifest(&mut self) -> Attempt {
        send(self.app.head(&self.path("manifests/v1")), &[StatusCode::OK]).await.map(drop)
    }

    async fn list(&self, path: &str, what: &str) -> Result<Value, Refusal> {
        let answer = send(self.app.get(path), &[StatusCode::OK]).await?;
        let mut body: Value = serde_json::from_slice(&whole(answer).await?).expect("a list is JSON");
        Ok(body[what].take())
    }

    async fn list_tags(&mut self) -> Attempt {
        assert_eq!(self.list(&self.path("tags/list"), "tags").await?, serde_json::json!(["v1"]));
        Ok(())
    }

    async fn list_repositories(&mut self) -> Attempt {
        let names = self.list("/v2/_catalog", "repositories").await?;
        assert!(names.as_array().is_some_and(|names| names.contains(&self.repo.as_str().into())), "{names}");
        Ok(())
    }

    async fn list_referrers(&mut self) -> Attempt {
        let path = self.path(&format!("referrers/{}", sha256(&self.image().manifest())));
        let manifests = self.list(&path, "manifests").await?;
        let expected = descriptor(IMAGE_MANIFEST, &self.referrer());
        assert_eq!(manifests[0]["digest"], expected["digest"]);
        Ok(())
    }

    // --- deletes

    /// What a delete may be answered: after a refusal it may have been done already.
    fn gone_or(&self, done: StatusCode) -> &'static [StatusCode] {
        match (self.refused, done) {
            (false, StatusCode::ACCEPTED) => &[StatusCode::ACCEPTED],
            (false, _) => &[StatusCode::NO_CONTENT],
            (true, StatusCode::ACCEPTED) => &[StatusCode::ACCEPTED, StatusCode::NOT_FOUND],
            (true, _) => &[StatusCode::NO_CONTENT, StatusCode::NOT_FOUND],
        }
    }

    async fn delete(&self, path: &str) -> Attempt {
        send(self.app.delete(path), self.gone_or(StatusCode::ACCEPTED)).await.map(drop)
    }

    async fn is_gone(&self, path: &str) -> Attempt {
        send(self.app.head(path), &[StatusCode::NOT_FOUND]).await.map(drop)
    }

    async fn delete_tag(&mut self) -> Attempt {
        self.delete(&self.path("manifests/v1")).await
    }

    async fn tag_is_gone(&mut self) -> Attempt {
        self.is_gone(&self.path("manifests/v1")).await?;
        self.pull(&self.manifest_path(&self.image().manifest()), &self.image().manifest()).await
    }

    async fn delete_manifest(&mut self) -> Attempt {
        self.delete(&self.manifest_path(&self.image().manifest())).await
    }

    async fn delete_and_wait(&mut self) -> Attempt {
        self.delete(&format!("{}?purge=wait", self.manifest_path(&self.image().manifest()))).await
    }

    async fn manifest_is_gone(&mut self) -> Attempt {
        self.is_gone(&self.manifest_path(&self.image().manifest())).await?;
        self.is_gone(&self.path("manifests/v1")).await
    }

    async fn delete_layer(&mut self) -> Attempt {
        self.delete(&self.blob_path(&self.layer())).await
    }

    async fn layer_is_gone(&mut self) -> Attempt {
        self.is_gone(&self.blob_path(&self.layer())).await
    }
}

/// Not a multiple of the parts that the store takes, and of more than two of them.
const LAYER_BYTES: usize = 25_001;

impl Refusal {
    pub(super) fn is_unknown_session(&self) -> bool {
        matches!(self, Self::Answer { code: Some(code), .. } if code == "BLOB_UPLOAD_UNKNOWN")
    }
}

async fn send(request: RequestBuilder, wanted: &[StatusCode]) -> Result<Response, Refusal> {
    // A body that fails before its first byte takes the head with it.
    let answer = request.send().await.map_err(|_| Refusal::Broken)?;
    let status = answer.status();
    if wanted.contains(&status) {
        return Ok(answer);
    }
    let retry_after = maybe_header(&answer, "retry-after").map(str::to_owned);
    let body: Value = serde_json::from_slice(&whole(answer).await?).unwrap_or_default();
    let code = body["errors"][0]["code"].as_str().map(str::to_owned);
    Err(Refusal::Answer { status, retry_after, code })
}

/// The whole body; the client sees when it is not.
async fn whole(answer: Response) -> Result<Vec<u8>, Refusal> {
    answer.bytes().await.map(|body| body.to_vec()).map_err(|_| Refusal::Broken)
}
