//! Bodies, both ways: what a client sends becomes a [`PushBody`], what the registry reads becomes an answer of known length.
//!
//! Invariants: a sent body has exactly the length its headers name or it breaks the connection; a received body is either
//! read to its end, or the connection is marked as closing, so that the next request cannot begin inside it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::registry::{BodyError, PushBody, RegistryError};

/// Bytes of an unread request body that are read and thrown away before the answer, so that the connection can be kept.
const DRAIN_BYTES_MAX: u64 = 1 << 20;

/// Longest wait for those bytes.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes that are read and thrown away after the answer, on a connection that is going to be closed.
const LINGER_BYTES_MAX: u64 = 64 << 20;

/// Longest wait for those bytes.
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// The body of a request, lent to the registry and taken back when the registry did not read all of it.
pub(super) struct Inbound {
    slot: Arc<Mutex<Slot>>,
    length: Option<u64>,
    idle_max: Duration,
    awaits_continue: bool,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The body was read to its end.
    Whole,
    /// It was not; the connection must end.
    Unread,
}

/// Where a request body is.
enum Slot {
    /// Not lent, with bytes left perhaps.
    Here {
        /// The body.
        body: BodyDataStream,
        /// Whether anybody asked it for bytes; doing so invites a client that waits for `100 Continue` to send.
        polled: bool,
    },
    /// Lent.
    Lent,
    /// Read to its end.
    Ended,
    /// Broken, or given up.
    Broken,
}

impl Inbound {
    /// Wraps a request's body; `awaits_continue`: the client sends nothing before it is asked to (RFC 9110, section 10.1.1).
    pub(super) fn new(body: Body, idle_max: Duration, awaits_continue: bool) -> Self {
        let length = body.size_hint().exact();
        let slot = match length {
            Some(0) => Slot::Ended,
            _ => Slot::Here { body: body.into_data_stream(), polled: false },
        };
        Self { slot: Arc::new(Mutex::new(slot)), length, idle_max, awaits_continue }
    }

    /// The body's length in bytes, when the client said so.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Lends the body out; a second call gives an empty one.
    pub(super) fn push_body(&self) -> PushBody {
        let mut slot = lock(&self.slot);
        let stream = match std::mem::replace(&mut *slot, Slot::Lent) {
            Slot::Here { body, polled } => {
                let lent = LentBody { slot: Arc::clone(&self.slot), body: Some(body), polled };
                read_in_time(lent, self.idle_max).boxed()
            }
            other => {
                *slot = other;
                futures_util::stream::empty().boxed()
            }
        };
        PushBody { stream, length: self.length, awaits_continue: self.awaits_continue }
    }

    /// Reads the whole body, which has `max` bytes at most.
    ///
    /// # Errors
    /// [`RegistryError::ManifestTooLarge`], without reading where the headers say so; [`RegistryError::BodyBroken`];
    /// [`RegistryError::BodyTimeout`].
    pub(super) async fn read_manifest(&self, max: u64) -> Result<Bytes, RegistryError> {
        let too_large = RegistryError::ManifestTooLarge { max };
        if self.length.is_some_and(|length| length > max) {
            return Err(too_large);
        }
        let mut stream = self.push_body().stream;
        let mut payload = BytesMut::new();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| match error {
                BodyError::Broken => RegistryError::BodyBroken,
                BodyError::Timeout => RegistryError::BodyTimeout,
            })?;
            if payload.len() as u64 + piece.len() as u64 > max {
                return Err(too_large);
            }
            payload.extend_from_slice(&piece);
        }
        Ok(payload.freeze())
    }

    /// Gets rid of what nobody read: a little is read now, more only while the connection lingers.
    ///
    /// A server that answers and closes while the client is still writing makes the client's kernel throw the answer away.
    pub(super) async fn settle(self) -> Settled {
        let slot = std::mem::replace(&mut *lock(&self.slot), Slot::Broken);
        let mut body = match slot {
            Slot::Ended => return Settled::Whole,
            Slot::Here { polled: false, .. } if self.awaits_continue => return Settled::Unread,
            Slot::Here { body, .. } => body,
            Slot::Lent | Slot::Broken => return Settled::Unread,
        };
        if let Ok(true) = tokio::time::timeout(DRAIN_TIME_MAX, drain(&mut body, DRAIN_BYTES_MAX)).await {
            return Settled::Whole;
        }
        linger(body);
        Settled::Unread
    }
}

/// Reads on after the answer was given, so that the client gets to see it.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing is lost when shutdown ends this task; it ends by itself in seconds"
)]
fn linger(mut body: BodyDataStream) {
    tokio::spawn(async move {
        let _ = tokio::time::timeout(LINGER_TIME_MAX, drain(&mut body, LINGER_BYTES_MAX)).await;
    });
}

/// Throws away up to `max` bytes; says whether the body ended.
async fn drain(body: &mut BodyDataStream, max: u64) -> bool {
    let mut left = max;
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else { return false };
        left = left.saturating_sub(piece.len() as u64);
        if left == 0 {
            return false;
        }
    }
    true
}

fn lock(slot: &Mutex<Slot>) -> std::sync::MutexGuard<'_, Slot> {
    // A slot is replaced in one step, so a panic elsewhere leaves nothing half done.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request body on loan; it goes back to its slot when dropped.
struct LentBody {
    slot: Arc<Mutex<Slot>>,
    body: Option<BodyDataStream>,
    polled: bool,
}

impl LentBody {
    fn finish(&mut self, as_what: Slot) {
        self.body = None;
        *lock(&self.slot) = as_what;
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *lock(&self.slot) = Slot::Here { body, polled: self.polled };
        }
    }
}

fn read_in_time(lent: LentBody, idle_max: Duration) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static {
    futures_util::stream::unfold(lent, move |mut lent| async move {
        lent.polled = true;
        let next = tokio::time::timeout(idle_max, lent.body.as_mut()?.next()).await;
        let item = match next {
            Ok(Some(Ok(bytes))) => Ok(bytes),
            Ok(None) => {
                lent.finish(Slot::Ended);
                return None;
            }
            Ok(Some(Err(_))) => {
                lent.finish(Slot::Broken);
                Err(BodyError::Broken)
            }
            Err(_) => {
                lent.finish(Slot::Broken);
                Err(BodyError::Timeout)
            }
        };
        Some((item, lent))
    })
}

/// Why a body that was being sent had to be cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The store gave fewer or more bytes than the headers had promised.
    #[error("the stored bytes are not as long as announced: {left} bytes off")]
    Length {
        /// How many bytes were to come.
        left: u64,
    },
    /// The store or the registry failed.
    #[error(transparent)]
    Read(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// A stream of bytes with its length, as the body of an answer.
pub(super) struct SizedBody {
    stream: BoxStream<'static, Result<Bytes, SendError>>,
    left: u64,
    failed: bool,
}

impl SizedBody {
    /// `length`: what the headers promise, in bytes.
    pub(super) fn new(stream: BoxStream<'static, Result<Bytes, SendError>>, length: u64) -> Self {
        Self { stream, left: length, failed: false }
    }

    fn fail(&mut self, error: SendError) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        self.failed = true;
        tracing::error!(error = &error as &dyn std::error::Error, "an answer's body broke off");
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for SizedBody {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        if self.left == 0 || self.failed {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.stream.as_mut().poll_next(cx)) {
            None => {
                let left = self.left;
                self.fail(SendError::Length { left })
            }
            Some(Err(error)) => self.fail(error),
            Some(Ok(bytes)) => match self.left.checked_sub(bytes.len() as u64) {
                None => {
                    let left = self.left;
                    self.fail(SendError::Length { left })
                }
                Some(left) => {
                    self.left = left;
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn sized(pieces: &[&'static str], length: u64) -> SizedBody {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        SizedBody::new(stream::iter(pieces).boxed(), length)
    }

    #[tokio::test]
    async fn a_body_ends_exactly_where_its_headers_say_or_fails() {
        let body = sized(&["abc", "de"], 5);
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.expect("a whole body").to_bytes(), "abcde");
        assert!(matches!(sized(&["abc"], 5).collect().await, Err(SendError::Length { left: 2 })));
        assert!(matches!(sized(&["abc", "def"], 5).collect().await, Err(SendError::Length { left: 2 })));
        assert!(sized(&[], 0).is_end_stream());
        let broken = stream::iter([Err(SendError::Read("gone".into()))]).boxed();
        assert!(matches!(SizedBody::new(broken, 1).collect().await, Err(SendError::Read(_))));
    }

    fn inbound(pieces: &[Bytes], awaits_continue: bool) -> Inbound {
        let pieces: Vec<_> = pieces.iter().cloned().map(Ok::<_, std::io::Error>).collect();
        Inbound::new(Body::from_stream(stream::iter(pieces)), Duration::from_mins(1), awaits_continue)
    }

    #[tokio::test]
    async fn a_little_that_nobody_read_is_thrown_away_and_much_ends_the_connection() {
        let little = [Bytes::from(vec![0; 1000])];
        let much = vec![Bytes::from(vec![0; 1 << 19]); 3];
        assert_eq!(inbound(&little, false).settle().await, Settled::Whole);
        assert_eq!(inbound(&much, false).settle().await, Settled::Unread);
        assert_eq!(inbound(&little, true).settle().await, Settled::Unread, "nobody asked for the body");

        let begun = inbound(&[little[0].clone(), little[0].clone()], true);
        assert!(begun.push_body().stream.next().await.is_some());
        assert_eq!(begun.settle().await, Settled::Whole, "it is on its way already");

        let read = inbound(&much, false);
        assert_eq!(read.push_body().stream.count().await, 3);
        assert_eq!(read.settle().await, Settled::Whole);
    }

    #[tokio::test]
    async fn a_body_on_loan_at_the_end_ends_the_connection() {
        let inbound = inbound(&[Bytes::from_static(b"x")], false);
        let lent = inbound.push_body();
        assert_eq!(inbound.push_body().stream.count().await, 0, "it can be lent once");
        assert_eq!(inbound.settle().await, Settled::Unread);
        drop(lent);
    }

    #[tokio::test]
    async fn silence_is_not_waited_out() {
        let silent = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let inbound = Inbound::new(silent, Duration::from_millis(1), false);
        assert_eq!(inbound.push_body().stream.next().await, Some(Err(BodyError::Timeout)));
        assert_eq!(inbound.settle().await, Settled::Unread);
    }

    #[tokio::test]
    async fn a_manifest_is_read_to_its_limit() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"de")];
        assert_eq!(inbound(&pieces, false).read_manifest(5).await.expect("it fits"), "abcde");
        let refused = inbound(&pieces, false).read_manifest(4).await;
        assert!(matches!(refused, Err(RegistryError::ManifestTooLarge { max: 4 })));
        let known = Inbound::new(Body::from("abcde"), Duration::from_mins(1), false);
        assert_eq!(known.length(), Some(5));
        assert!(matches!(known.read_manifest(4).await, Err(RegistryError::ManifestTooLarge { max: 4 })));
    }
}
