//! An S3 server in this process: `s3s-fs`, and what it leaves out of multipart uploads.
//!
//! `s3s-fs` does not list uploads, wants consecutive part numbers, and compares no `ETag`. Around it stands what the real
//! thing does: numbers only ascend, a part counts only under the `ETag` it has, equal parts are demanded when a test asks.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bonded::storage::s3::{S3Credentials, S3Options};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const BUCKET: &str = "bucket";
const KEY: &str = "access";
const SECRET: &str = "secret-key";
const PART_MIN: u64 = 5 << 20;

/// A running server with one bucket; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct S3Server {
    endpoint: String,
    uploads: Arc<Uploads>,
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        Self::with(false).await
    }

    /// A server that wants all parts but the last to have one size.
    pub(crate) async fn with_equal_parts() -> Self {
        Self::with(true).await
    }

    async fn with(equal_parts: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let uploads = Arc::new(Uploads { equal_parts, ..Uploads::new(folder.path()) });
        let mut builder = S3ServiceBuilder::new(Served(Arc::clone(&uploads)));
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, builder.build()));
        Self { endpoint, uploads, _tasks: tasks, _folder: folder }
    }

    /// Options that reach the bucket.
    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint.clone()),
            path_style: true,
            credentials: S3Credentials::Static {
                access_key: KEY.to_owned(),
                secret_key: SECRET.to_owned(),
                session_token: None,
            },
            ..S3Options::new(BUCKET)
        }
    }

    pub(crate) fn wants_equal_parts(&self) -> bool {
        self.uploads.equal_parts
    }

    /// The calls since the last time, in order.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.uploads.state().calls)
    }

    /// What was demanded since the last time: the call, and its headers about encryption and checksums.
    pub(crate) fn demands(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.uploads.state().demands)
    }

    /// Unfinished uploads and stored parts of each.
    pub(crate) fn unfinished(&self) -> Vec<(String, Vec<i32>)> {
        let state = self.uploads.state();
        state.uploads.values().map(|upload| (upload.key.clone(), upload.parts.keys().copied().collect())).collect()
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        connections.spawn(async move {
            // A client that breaks off is its own business.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Debug)]
struct Uploads {
    root: PathBuf,
    inner: FileSystem,
    equal_parts: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<&'static str>,
    /// What was demanded of objects in headers, in order.
    demands: Vec<(&'static str, String)>,
    uploads: BTreeMap<String, Upload>,
}

#[derive(Debug, Default)]
struct Upload {
    key: String,
    /// `ETag` and size by number.
    parts: BTreeMap<i32, (ETag, u64)>,
}

/// What parts have for a number above their own until the upload is completed.
const ASIDE: i32 = 5_000;

impl Uploads {
    fn new(root: &Path) -> Self {
        let inner = FileSystem::new(root).expect("a file system");
        Self { root: root.to_owned(), inner, equal_parts: false, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Writes a call down, also one that fails.
    fn count(&self, call: &'static str) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.calls.push(call);
        state
    }

    /// Writes down what a call demands of the object.
    fn note<T>(&self, call: &'static str, req: &S3Request<T>) {
        let mut state = self.count(call);
        for (name, value) in &req.headers {
            let name = name.as_str();
            if name.starts_with("x-amz-server-side-encryption") || name.contains("checksum") || name == "x-amz-trailer"
            {
                state.demands.push((call, format!("{name}: {}", value.to_str().expect("a text"))));
            }
        }
    }

    /// Checks the named parts and gives the numbers that exist.
    fn check(&self, upload: &str, parts: &[CompletedPart]) -> S3Result<Vec<i32>> {
        let state = self.state();
        let known = state.uploads.get(upload).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let mut numbers = Vec::new();
        let mut sizes = Vec::new();
        for part in parts {
            let number = part.part_number.unwrap_or_default();
            let (etag, size) = known.parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            if part.e_tag.as_ref() != Some(etag) {
                return Err(s3_error!(InvalidPart));
            }
            if numbers.last().is_some_and(|before| *before >= number) {
                return Err(s3_error!(InvalidPartOrder));
            }
            numbers.push(number);
            sizes.push(*size);
        }
        let (last, others) = sizes.split_last().ok_or_else(|| s3_error!(MalformedXML))?;
        if others.iter().any(|size| *size < PART_MIN) {
            return Err(s3_error!(EntityTooSmall));
        }
        if self.equal_parts && others.iter().any(|size| *size != others[0] || *last > others[0]) {
            return Err(s3_error!(InvalidPart, "All non-trailing parts must have the same length."));
        }
        Ok(numbers)
    }

    /// Gives the stored parts the consecutive numbers that `s3s-fs` wants. No part that is still coming has one of those.
    fn renumber(&self, upload: &str, numbers: &[i32]) -> io::Result<()> {
        let file = |number: i32| self.root.join(format!(".upload_id-{upload}.part-{number}"));
        for (to, from) in (1..).zip(numbers) {
            std::fs::rename(file(*from + ASIDE), file(to))?;
        }
        Ok(())
    }
}

/// What the server serves; the same state as the test looks at.
struct Served(Arc<Uploads>);

#[async_trait]
impl S3 for Served {
    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        drop(self.0.count("HeadBucket"));
        self.0.inner.head_bucket(req).await
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        drop(self.0.count("ListObjectsV2"));
        self.0.inner.list_objects_v2(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        drop(self.0.count("GetObject"));
        self.0.inner.get_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        drop(self.0.count("HeadObject"));
        let folder = self.0.root.join(&req.input.bucket).join(&req.input.key);
        if folder.is_dir() {
            return Err(s3_error!(NoSuchKey));
        }
        self.0.inner.head_object(req).await
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.0.note("PutObject", &req);
        self.0.inner.put_object(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        drop(self.0.count("DeleteObject"));
        self.0.inner.delete_object(req).await
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        drop(self.0.count("DeleteObjects"));
        self.0.inner.delete_objects(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.0.note("CreateMultipartUpload", &req);
        let key = req.input.key.clone();
        let created = self.0.inner.create_multipart_upload(req).await?;
        let id = created.output.upload_id.clone().expect("an id");
        self.0.state().uploads.insert(id, Upload { key, ..Upload::default() });
        Ok(created)
    }

    async fn upload_part(&self, mut req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let (id, number) = (req.input.upload_id.clone(), req.input.part_number);
        let size = req.input.content_length.and_then(|len| u64::try_from(len).ok()).unwrap_or_default();
        self.0.note("UploadPart", &req);
        if !self.0.state().uploads.contains_key(&id) {
            return Err(s3_error!(NoSuchUpload));
        }
        req.input.part_number = number + ASIDE;
        let stored = self.0.inner.upload_part(req).await?;
        let etag = stored.output.e_tag.clone().expect("an ETag");
        let mut state = self.0.state();
        let upload = state.uploads.get_mut(&id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(number, (etag, size));
        Ok(stored)
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        drop(self.0.count("CompleteMultipartUpload"));
        let id = req.input.upload_id.clone();
        let mut parts = req.input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
        let numbers = self.0.check(&id, &parts)?;
        self.0.renumber(&id, &numbers).map_err(|error| s3_error!(error, InternalError))?;
        for (number, part) in (1..).zip(&mut parts) {
            part.part_number = Some(number);
        }
        req.input.multipart_upload = Some(CompletedMultipartUpload { parts: Some(parts) });
        let completed = self.0.inner.complete_multipart_upload(req).await?;
        self.0.state().uploads.remove(&id);
        Ok(completed)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        if self.0.count("AbortMultipartUpload").uploads.remove(&req.input.upload_id).is_none() {
            return Err(s3_error!(NoSuchUpload));
        }
        self.0.inner.abort_multipart_upload(req).await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let state = self.0.count("ListMultipartUploads");
        let prefix = req.input.prefix.unwrap_or_default();
        let found = state.uploads.iter().filter(|(_, upload)| upload.key.starts_with(&prefix));
        let mut uploads: Vec<MultipartUpload> = found
            .map(|(id, upload)| MultipartUpload {
                key: Some(upload.key.clone()),
                upload_id: Some(id.clone()),
                ..MultipartUpload::default()
            })
            .collect();
        uploads.sort_by(|a, b| a.key.cmp(&b.key));
        let output = ListMultipartUploadsOutput { uploads: Some(uploads), ..ListMultipartUploadsOutput::default() };
        Ok(S3Response::new(output))
    }
}
