//! What is under the prefix: finished objects, then unfinished uploads. For checks and the janitor, never on a hot path.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::storage::s3::calls::Inner;
use crate::storage::s3::error::Failed;
use crate::storage::{ObjectInfo, StorageError};

/// Where a listing of uploads goes on: after this key and this id.
pub(super) type Markers = (Option<String>, Option<String>);

/// A page of unfinished uploads.
pub(super) struct Uploads {
    /// Key as the bucket knows it, and id.
    pub(super) uploads: Vec<(String, String)>,
    /// Where the next page begins.
    pub(super) next: Option<Markers>,
}

/// A page of objects.
struct Objects {
    objects: Vec<(String, u64)>,
    next: Option<String>,
}

impl Inner {
    /// Unfinished uploads whose keys begin with `prefix`.
    pub(super) async fn list_uploads(&self, prefix: &str, after: Markers) -> Result<Uploads, Failed> {
        let page = self
            .client
            .list_multipart_uploads()
            .bucket(&self.options.bucket)
            .set_prefix(Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()))
            .set_key_marker(after.0)
            .set_upload_id_marker(after.1)
            .send()
            .await
            .map_err(|error| Failed::new("ListMultipartUploads", &prefix, &error))?;
        let uploads = page.uploads.unwrap_or_default().into_iter();
        let uploads = uploads.filter_map(|upload| Some((upload.key?, upload.upload_id?))).collect();
        // A store that says "more" without saying where would be asked for ever.
        let next = (page.next_key_marker, page.next_upload_id_marker);
        let more = page.is_truncated == Some(true) && next.0.is_some();
        Ok(Uploads { uploads, next: more.then_some(next) })
    }

    async fn list_objects(&self, prefix: &str, after: Option<String>) -> Result<Objects, Failed> {
        let page = self
            .client
            .list_objects_v2()
            .bucket(&self.options.bucket)
            .set_prefix(Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()))
            .set_continuation_token(after)
            .send()
            .await
            .map_err(|error| Failed::new("ListObjectsV2", &prefix, &error))?;
        let objects = page.contents.unwrap_or_default().into_iter();
        let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        let objects = objects.filter_map(|object| Some((object.key?, size(object.size)))).collect();
        Ok(Objects { objects, next: page.next_continuation_token.filter(|_| page.is_truncated == Some(true)) })
    }

    /// What every key below a folder begins with in the bucket.
    fn folder(&self, folder: &str) -> String {
        let prefix = &self.options.prefix;
        if prefix.is_empty() { format!("{folder}/") } else { format!("{prefix}/{folder}/") }
    }
}

/// Folder of all keys that are not adopted.
const OURS: &str = "blobs";

/// Every object and every unfinished upload of ours.
pub(super) fn list(inner: Arc<Inner>) -> BoxStream<'static, Result<ObjectInfo, StorageError>> {
    objects(Arc::clone(&inner), OURS.to_owned()).chain(uploads(inner)).boxed()
}

/// Every object below a folder.
pub(super) fn objects(inner: Arc<Inner>, folder: String) -> BoxStream<'static, Result<ObjectInfo, StorageError>> {
    let pages = stream::try_unfold((inner, folder, Some(None)), |(inner, folder, after)| async {
        let Some(after) = after else { return Ok(None) };
        let page = inner.list_objects(&inner.folder(&folder), after).await.map_err(Failed::about_store)?;
        let found = page.objects.into_iter().filter_map(|(path, size)| info(&inner, &path, Some(size)));
        let found: Vec<_> = found.map(Ok).collect();
        Ok::<_, StorageError>(Some((stream::iter(found), (inner, folder, page.next.map(Some)))))
    });
    pages.try_flatten().boxed()
}

fn uploads(inner: Arc<Inner>) -> BoxStream<'static, Result<ObjectInfo, StorageError>> {
    let pages = stream::try_unfold((inner, Some((None, None))), |(inner, after)| async {
        let Some(after) = after else { return Ok(None) };
        let page = inner.list_uploads(&inner.folder(OURS), after).await.map_err(Failed::about_store)?;
        let found = page.uploads.into_iter().filter_map(|(path, _)| info(&inner, &path, None));
        let found: Vec<_> = found.map(Ok).collect();
        Ok::<_, StorageError>(Some((stream::iter(found), (inner, page.next))))
    });
    pages.try_flatten().boxed()
}

fn info(inner: &Inner, path: &str, size: Option<u64>) -> Option<ObjectInfo> {
    let key = inner.key(path);
    if key.is_none() {
        tracing::warn!(blob.key = path, "the bucket has an object whose key cannot be one of ours");
    }
    Some(ObjectInfo { key: key?, size })
}
