//! Upload sessions: begin, append, finish, ask, cancel; mounts; blobs in one request (distribution-spec, end-4 to end-6,
//! end-11, end-13, end-14).
//!
//! Invariant: every answer about a session that lives on says where it is and how far it is, refusals too.

use axum::response::Response;
use http::StatusCode;
use http::header::{LOCATION, RANGE};

use super::Exchange;
use super::conditions::chunk_range;
use super::failure::Failure;
use super::reply::{Answer, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, Reply};
use crate::access::Action;
use crate::auth::{Identity, Room};
use crate::metadata::model::UploadId;
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::error::Condition;
use crate::oci::name::RepoName;
use crate::oci::route::{Mount, location_blob, location_upload};
use crate::registry::{ChunkRange, RegistryError, UploadStatus};

/// `POST /v2/<name>/blobs/uploads/`: a mount, a whole blob, or a session.
///
/// What cannot be mounted becomes a session, never an error: clients go on after a 202 and give up after a 4xx. Only what
/// goes beyond a quota is refused at once, as the upload would be.
pub(super) async fn start(
    exchange: &Exchange,
    repo: &RepoName,
    digest: Option<&Digest>,
    algorithm: Option<Algorithm>,
    mount: Option<&Mount>,
) -> Answer {
    if let Some(Mount { digest, from }) = mount
        && may_mount(exchange, from.as_ref(), digest).await?
    {
        match exchange.room_to_mount(repo, from.as_ref(), digest).await {
            // Clients give up when a mount is refused (containerd/containerd#14086); the upload that follows will be.
            Err(failure) if failure.condition() == Condition::QuotaExceeded => {}
            Err(failure) => return Err(failure),
            Ok(room) => {
                if exchange.registry.mount_blob(repo, from.as_ref(), digest).await? {
                    if let Some((room, bytes)) = room {
                        room.fill(bytes);
                    }
                    return Ok(created(repo, digest));
                }
            }
        }
    }
    if let Some(digest) = digest {
        let room = exchange.room_for_blob(repo, digest).await?;
        exchange.registry.push_blob(repo, digest, exchange.inbound.push_body()).await?;
        fill(exchange, room);
        return Ok(created(repo, digest));
    }
    if mount.is_none() {
        exchange.room_to_begin(repo).await?;
    }
    // Whoever asked for a mount will close the session with the digest that could not be mounted.
    let algorithm = algorithm.or(mount.map(|mount| mount.digest.algorithm())).unwrap_or(Algorithm::Sha256);
    let status = exchange.registry.start_upload(exchange.holder(repo), algorithm).await?;
    Ok(progress(StatusCode::ACCEPTED, repo, &status).finish())
}

/// The body of a request came in.
fn fill(exchange: &Exchange, room: Option<Room>) {
    if let Some(room) = room {
        room.fill(exchange.inbound.length().unwrap_or(0));
    }
}

/// Whether the caller may read where a blob is to come from, by what his account may do and not by what his token says: a
/// client does not know yet what it will mount (moby/buildkit#2454). The scopes of the API token behind it count: its owner
/// meant it to read no more. Without a source there is one only where everybody may read everything.
async fn may_mount(exchange: &Exchange, from: Option<&RepoName>, digest: &Digest) -> Result<bool, Failure> {
    match from {
        Some(from) => {
            let of_token = exchange.identity.token_actions(from);
            if !of_token.contains(Action::Pull) || !exchange.may(Action::Pull, from).await? {
                return Ok(false);
            }
            // A mount is a read of the source.
            match exchange.registry.pull_blob(from, digest).await {
                Ok(guarded) => Ok(exchange.would_admit(from, guarded).await?),
                Err(RegistryError::BlobUnknown(_) | RegistryError::BlobDamaged(_)) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        // With a policy in force, a blob that it guards somewhere must not come from there.
        None => Ok(matches!(exchange.identity, Identity::Everybody) && !exchange.registry.gate().guards_anything()),
    }
}

/// `PATCH <location>`: the next piece.
pub(super) async fn append(exchange: &Exchange, repo: &RepoName, id: &UploadId) -> Answer {
    let range = checked_chunk(exchange)?;
    let room = exchange.room_for_piece(repo, id, None).await?;
    let taken = exchange.registry.append_upload(exchange.holder(repo), id, range, exchange.inbound.push_body()).await;
    let status = taken.map_err(|error| with_position(error, repo, id))?;
    if let Some(room) = room {
        room.fill(status.received);
    }
    Ok(progress(StatusCode::ACCEPTED, repo, &status).finish())
}

/// `PUT <location>?digest=`: the last piece, which may be empty, and the end.
pub(super) async fn finish(exchange: &Exchange, repo: &RepoName, id: &UploadId, digest: &Digest) -> Answer {
    let range = checked_chunk(exchange)?;
    let room = exchange.room_for_piece(repo, id, Some(digest)).await?;
    let body = exchange.inbound.push_body();
    let done = exchange.registry.finish_upload(exchange.holder(repo), id, range, digest, body).await;
    done.map_err(|error| with_position(error, repo, id))?;
    fill(exchange, room);
    Ok(created(repo, digest))
}

/// `GET <location>`: how far it is.
pub(super) async fn status(exchange: &Exchange, repo: &RepoName, id: &UploadId) -> Answer {
    let status = exchange.registry.upload_status(exchange.holder(repo), id).await?;
    Ok(progress(StatusCode::NO_CONTENT, repo, &status).finish())
}

/// `DELETE <location>`: the end without a blob.
pub(super) async fn cancel(exchange: &Exchange, repo: &RepoName, id: &UploadId) -> Answer {
    exchange.registry.cancel_upload(exchange.holder(repo), id).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT).finish())
}

/// `Content-Range`, where its length agrees with that of the body.
fn checked_chunk(exchange: &Exchange) -> Result<Option<ChunkRange>, Failure> {
    let range = chunk_range(&exchange.headers)?;
    if let (Some(range), Some(length)) = (range, exchange.inbound.length()) {
        let declared = range.end - range.start + 1;
        if declared != length {
            return Err(RegistryError::SizeMismatch { declared, actual: length }.into());
        }
    }
    Ok(range)
}

fn progress(code: StatusCode, repo: &RepoName, status: &UploadStatus) -> Reply {
    let reply = if code == StatusCode::NO_CONTENT { Reply::new(code) } else { Reply::empty(code) };
    reply
        .header(LOCATION, location_upload(repo, status.id.as_str()))
        .header(RANGE, position(status.received))
        .header(DOCKER_UPLOAD_UUID, status.id.as_str())
}

fn created(repo: &RepoName, digest: &Digest) -> Response {
    Reply::empty(StatusCode::CREATED)
        .header(LOCATION, location_blob(repo, digest))
        .header(DOCKER_CONTENT_DIGEST, digest)
        .finish()
}

/// A refusal that leaves the session alive says where the session stands (distribution-spec, "Pushing a blob in chunks").
fn with_position(error: RegistryError, repo: &RepoName, id: &UploadId) -> Failure {
    let received = match &error {
        RegistryError::UploadRange { received } => Some(*received),
        _ => None,
    };
    let failure = Failure::from(error);
    match received {
        None => failure,
        Some(received) => failure
            .with_header(LOCATION, location_upload(repo, id.as_str()))
            .with_header(RANGE, position(received))
            .with_header(DOCKER_UPLOAD_UUID, id.as_str()),
    }
}

/// `Range` of a session: the whole blob so far, its end included, without a unit. Clients read `%d-%d` and insist on an
/// end that is not before the start, so an empty session says `0-0` like one with a single byte.
fn position(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}
