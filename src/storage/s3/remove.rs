//! Making objects and unfinished uploads go.

use std::collections::HashMap;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::stream::{self, StreamExt};

use crate::storage::s3::calls::Inner;
use crate::storage::s3::error::Failed;
use crate::storage::s3::state::State;
use crate::storage::{Key, StorageError};

/// How often an upload is aborted in a row: a part that was on its way may outlive the first time.
const ABORTS_MAX: u32 = 4;

/// Most keys of one call (AWS, `DeleteObjects`).
const DELETE_MAX: usize = 1_000;

/// Single deletions at once, where the store has no call for many.
const DELETES_PARALLEL: usize = 8;

/// Removes whatever an upload left: parts under the id in its state or else under any id, and the finished object.
pub(super) async fn abort(inner: &Inner, key: &Key, state: Option<State>) -> Result<(), StorageError> {
    let removed = match state.and_then(|state| state.upload) {
        Some(upload) => abort_upload(inner, key, &upload).await,
        None => abort_uploads(inner, key).await,
    };
    removed.map_err(|error| error.about(key))?;
    // After its upload has gone nothing can make the object appear any more.
    inner.delete_object(key).await.map_err(|error| error.about(key))
}

/// Aborts until the store says that there is no such upload.
async fn abort_upload(inner: &Inner, key: &Key, upload: &str) -> Result<(), Failed> {
    for _ in 0..ABORTS_MAX {
        if !inner.abort_upload(key, upload).await? {
            break;
        }
    }
    Ok(())
}

/// Aborts every unfinished upload with exactly this key.
pub(super) async fn abort_uploads(inner: &Inner, key: &Key) -> Result<(), Failed> {
    for upload in uploads(inner, key).await? {
        abort_upload(inner, key, &upload).await?;
    }
    Ok(())
}

/// The ids of the unfinished uploads with exactly this key.
pub(super) async fn uploads(inner: &Inner, key: &Key) -> Result<Vec<String>, Failed> {
    let path = inner.path(key);
    let (mut found, mut markers) = (Vec::new(), (None, None));
    loop {
        let page = inner.list_uploads(&path, markers).await?;
        // Uploads come in order of their keys, and the key is the first that has itself as a prefix.
        let others = page.uploads.iter().any(|(of, _)| *of != path);
        found.extend(page.uploads.into_iter().filter(|(of, _)| *of == path).map(|(_, upload)| upload));
        match page.next {
            Some(next) if !others => markers = next,
            _ => return Ok(found),
        }
    }
}

/// Removes objects; one answer for each key, in order.
pub(super) async fn delete_many(inner: &Inner, keys: &[Key]) -> Vec<Result<(), StorageError>> {
    let mut answers = Vec::with_capacity(keys.len());
    for batch in keys.chunks(DELETE_MAX) {
        match delete_batch(inner, batch).await {
            Ok(failed) => answers.extend(batch.iter().map(|key| answer(key, &failed))),
            // A store that does not know the call, or wants a header that nobody else wants any more.
            Err(error) if is_unknown(&error) => answers.extend(delete_one_by_one(inner, batch).await),
            Err(error) => {
                let reason = error.to_string();
                let passes = error.passes();
                answers.extend(batch.iter().map(|_| Err(as_error(&reason, passes))));
            }
        }
    }
    answers
}

/// Codes and messages of the keys that could not be removed, by the key as the bucket knows it.
type NotRemoved = HashMap<String, (String, String)>;

async fn delete_batch(inner: &Inner, keys: &[Key]) -> Result<HashMap<Key, (String, String)>, Failed> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let objects = keys.iter().filter_map(|key| ObjectIdentifier::builder().key(inner.path(key)).build().ok()).collect();
    // Every object has a key, and the list has objects, so this is never `None`.
    let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().ok();
    let call = inner.client.delete_objects().bucket(&inner.options.bucket).set_delete(delete);
    let what = format!("{} objects", keys.len());
    let answer = call.send().await.map_err(|error| Failed::new("DeleteObjects", &what, &error))?;
    let failed: NotRemoved = answer
        .errors
        .unwrap_or_default()
        .into_iter()
        .map(|error| {
            let text = |text: Option<String>| text.unwrap_or_default();
            (text(error.key), (text(error.code), text(error.message)))
        })
        .filter(|(_, (code, _))| code != "NoSuchKey")
        .collect();
    Ok(failed.into_iter().filter_map(|(path, why)| Some((inner.key(&path)?, why))).collect())
}

fn answer(key: &Key, failed: &HashMap<Key, (String, String)>) -> Result<(), StorageError> {
    let Some((code, message)) = failed.get(key) else { return Ok(()) };
    let reason = format!("DeleteObjects of {key}: {code}: {message}");
    match code.as_str() {
        "AccessDenied" => Err(StorageError::Denied(reason.into())),
        "InternalError" | "SlowDown" | "ServiceUnavailable" => Err(StorageError::Unavailable(reason.into())),
        _ => Err(StorageError::Other(reason.into())),
    }
}

fn is_unknown(error: &Failed) -> bool {
    let unknown = ["NotImplemented", "MethodNotAllowed", "MalformedXML", "MissingContentMD5", "InvalidRequest"];
    matches!(error.status, Some(405 | 501)) || unknown.iter().any(|code| error.is(code))
}

async fn delete_one_by_one(inner: &Inner, keys: &[Key]) -> Vec<Result<(), StorageError>> {
    let delete = async |key: Key| inner.delete_object(&key).await.map_err(|error| error.about(&key));
    let deletes: Vec<_> = keys.iter().cloned().map(delete).collect();
    stream::iter(deletes).buffered(DELETES_PARALLEL).collect().await
}

fn as_error(reason: &str, passes: bool) -> StorageError {
    if passes { StorageError::Unavailable(reason.into()) } else { StorageError::Other(reason.into()) }
}
