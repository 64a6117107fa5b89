//! File bytes that go from the page cache to a socket without passing through this program's memory.
//!
//! hyper keeps framing, keep-alive and shutdown to itself and knows only bodies made of bytes. So a body gives it
//! *placeholders*: slices of memory that nobody reads, each announced in the connection's [`FileQueue`]. The connection
//! knows them by their address among what hyper wants written, and has the kernel send the announced bytes instead.
//!
//! Invariants: placeholders are written in the order in which they were announced, since HTTP/1.1 answers are; every one
//! begins at an address of its own, so that a body that was thrown away after it was announced breaks the connection
//! instead of shifting the bytes of the next; where bytes are copied (TLS, HTTP/2), there is no queue.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Files below this size in bytes are cheaper to copy.
pub const SENDFILE_BYTES_MIN: u64 = 128 << 10;

/// Longest placeholder in bytes: the larger, the fewer turns through hyper.
const PIECE_BYTES: usize = 8 << 20;

/// The same for a file that is not in the page cache; so much is read ahead on a thread for blocking work.
const COLD_PIECE_BYTES: usize = 1 << 20;

/// Where placeholders begin: at multiples of a step, within so many bytes.
const START_STEP_BYTES: usize = 64;
const START_BYTES_MAX: usize = 64 << 10;

/// Distance in bytes between the places where a file is asked whether it is in the page cache. What was read once was read
/// ahead in larger steps.
const PROBE_BYTES: usize = 512 << 10;

/// Bytes read in one call into the page cache.
const WARM_BYTES: usize = 128 << 10;

/// What placeholders are slices of. The kernel gives it no pages as long as nobody touches it.
static PLACEHOLDER: LazyLock<Bytes> = LazyLock::new(|| vec![0; PIECE_BYTES + START_BYTES_MAX].into());

/// The announced pieces of files of one connection.
#[derive(Clone, Debug, Default)]
pub struct FileQueue(Arc<Mutex<Announced>>);

#[derive(Debug, Default)]
struct Announced {
    pieces: VecDeque<Piece>,
    /// Where the next placeholder begins.
    start: usize,
}

/// A piece of a file that has its turn when its placeholder has.
#[derive(Debug)]
struct Piece {
    file: Arc<File>,
    range: Range<u64>,
    /// Where the rest of its placeholder begins.
    start: usize,
}

impl FileQueue {
    /// A body of a file's bytes, which must be written by the connection of this queue.
    pub fn stream(&self, file: File, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let sending = Sending { queue: self.clone(), file: Arc::new(file), rest: range, warming: None };
        stream::unfold(Some(sending), |sending| async { sending?.next().await }).boxed()
    }

    /// Whether nothing is announced.
    fn is_empty(&self) -> bool {
        self.lock().pieces.is_empty()
    }

    /// Announces a piece of at most [`PIECE_BYTES`], and gives its placeholder.
    fn announce(&self, file: Arc<File>, range: Range<u64>) -> Bytes {
        let mut announced = self.lock();
        let start = announced.start;
        announced.start = (start + START_STEP_BYTES) % START_BYTES_MAX;
        let len = usize::try_from(range.end - range.start).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        announced.pieces.push_back(Piece { file, range, start });
        PLACEHOLDER.slice(start..start + len)
    }

    /// Sends some of the piece whose placeholder begins with `slice`.
    fn send(&self, socket: &TcpStream, slice: &IoSlice<'_>) -> io::Result<usize> {
        let mut announced = self.lock();
        let piece = announced.pieces.front_mut().filter(|piece| Some(piece.start) == start_of(slice));
        let piece = piece.ok_or_else(|| broken("a placeholder came that was not announced"))?;
        let left = usize::try_from(piece.range.end - piece.range.start).unwrap_or(usize::MAX);
        let sent = rustix::fs::sendfile(socket, &piece.file, Some(&mut piece.range.start), left.min(slice.len()))?;
        if sent == 0 {
            return Err(broken("the file ended before the range that was asked for"));
        }
        piece.start += sent;
        if piece.range.is_empty() {
            announced.pieces.pop_front();
        }
        Ok(sent)
    }

    fn lock(&self) -> MutexGuard<'_, Announced> {
        // A panic between two steps would leave a piece that no placeholder fits, which breaks the connection.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what hyper wants written, placeholders as what they stand for.
pub(super) fn poll_write(
    socket: &mut TcpStream,
    queue: &FileQueue,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let Some(place) = slices.iter().position(|slice| start_of(slice).is_some()) else {
        if queue.is_empty() {
            return tokio::io::AsyncWrite::poll_write_vectored(std::pin::Pin::new(socket), context, slices);
        }
        // Somebody has copied it: the client would get the zeros that it consists of.
        return Poll::Ready(Err(broken("a placeholder was announced and did not come")));
    };
    loop {
        ready!(socket.poll_write_ready(context))?;
        let write = || if place > 0 { send_more(socket, &slices[..place]) } else { queue.send(socket, &slices[0]) };
        match socket.try_io(Interest::WRITABLE, write) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Sends bytes that the first of a file's follow at once: the client is woken for both together.
fn send_more(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let (mut control, flags) = (SendAncillaryBuffer::default(), SendFlags::MORE | SendFlags::NOSIGNAL);
    Ok(rustix::net::sendmsg(socket, slices, &mut control, flags)?)
}

/// Where in the placeholders' memory a slice begins; `None`: it is an ordinary one.
fn start_of(slice: &IoSlice<'_>) -> Option<usize> {
    let start = slice.as_ptr().addr().checked_sub(PLACEHOLDER.as_ptr().addr())?;
    (start < PLACEHOLDER.len() && !slice.is_empty()).then_some(start)
}

fn broken(reason: &'static str) -> io::Error {
    tracing::error!(reason, "a file could not be sent");
    io::Error::other(reason)
}

/// A file on its way.
struct Sending {
    queue: FileQueue,
    file: Arc<File>,
    /// What is not announced.
    rest: Range<u64>,
    /// The next piece, when it is being read into the page cache.
    warming: Option<(Range<u64>, JoinHandle<io::Result<()>>)>,
}

impl Sending {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let (piece, warming) = if let Some((piece, warming)) = self.warming.take() {
            (piece, Some(warming))
        } else {
            let piece = self.take(PIECE_BYTES)?;
            if is_cached(&self.file, &piece) {
                (piece, None)
            } else {
                self.rest.start = piece.start;
                let piece = self.take(COLD_PIECE_BYTES)?;
                (piece.clone(), Some(self.warm(piece)))
            }
        };
        if let Some(warming) = warming {
            match warming.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some((Err(error), None)),
                Err(error) => return Some((Err(io::Error::other(error)), None)),
            }
            // The next one is read while this one is sent.
            self.warming = self.take(COLD_PIECE_BYTES).map(|next| (next.clone(), self.warm(next)));
        }
        let placeholder = self.queue.announce(Arc::clone(&self.file), piece);
        Some((Ok(placeholder), Some(self)))
    }

    /// The next piece; `None` at the end.
    fn take(&mut self, bytes_max: usize) -> Option<Range<u64>> {
        let start = self.rest.start;
        self.rest.start = self.rest.end.min(start.saturating_add(bytes_max as u64));
        (start < self.rest.start).then_some(start..self.rest.start)
    }

    fn warm(&self, piece: Range<u64>) -> JoinHandle<io::Result<()>> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || warm(&file, piece))
    }
}

/// Whether a piece seems to be in the page cache. What is not after all is read where it is sent, on the thread that sends.
fn is_cached(file: &File, piece: &Range<u64>) -> bool {
    let mut byte = [0];
    let places = (piece.start..piece.end).step_by(PROBE_BYTES).chain(piece.end.checked_sub(1));
    places.into_iter().all(|place| {
        rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], place, ReadWriteFlags::NOWAIT) == Ok(1)
    })
}

/// Reads a piece into the page cache. Blocks.
fn warm(file: &File, piece: Range<u64>) -> io::Result<()> {
    let mut scratch = vec![0; WARM_BYTES];
    let mut at = piece.start;
    while at < piece.end {
        let len = scratch.len().min(usize::try_from(piece.end - at).unwrap_or(usize::MAX));
        match rustix::io::pread(file, &mut scratch[..len], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => at += read as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
