//! Opened objects as streams.
//!
//! Bytes of a file that the page cache holds are copied where the stream is polled, since a hop to another thread would
//! cost more than the copy; a file that is not there yet is read on a blocking thread, one chunk ahead at most.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use crate::storage::{BlobRead, ReadSource, StorageError};

/// A good size of the pieces of a file in bytes.
pub const READ_CHUNK_BYTES: usize = 256 << 10;

impl BlobRead {
    /// The bytes asked for as a stream; pieces of a file are `chunk` bytes long (at least one), the last one excepted.
    ///
    /// Nothing past the range is read. The stream ends after its first error, which is [`StorageError::Corrupt`] when a
    /// file ends before its range does.
    pub fn into_stream(self, chunk: usize) -> BoxStream<'static, Result<Bytes, StorageError>> {
        match self.source {
            ReadSource::Stream(stream) => stream,
            ReadSource::File { file, range } => {
                let read = FileRead { file: Arc::new(file), rest: range, chunk: chunk.max(1), ahead: None };
                stream::unfold(Some(read), |read| async { read?.next().await }).boxed()
            }
        }
    }
}

/// A file being streamed.
struct FileRead {
    file: Arc<File>,
    /// What nobody has begun to read.
    rest: Range<u64>,
    chunk: usize,
    /// The chunk before `rest`, once the file turned out not to be in the page cache.
    ahead: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

type Step = (Result<Bytes, StorageError>, Option<FileRead>);

impl FileRead {
    async fn next(mut self) -> Option<Step> {
        if self.ahead.is_none() {
            let (offset, len) = self.take_chunk()?;
            if let Some(bytes) = read_cached(&self.file, offset, len) {
                return Some((Ok(bytes.into()), Some(self)));
            }
            self.ahead = Some(self.start(offset, len));
        }
        let read = self.ahead.take()?.await;
        if let Some((offset, len)) = self.take_chunk() {
            self.ahead = Some(self.start(offset, len));
        }
        match read {
            Ok(Ok(bytes)) => Some((Ok(bytes.into()), Some(self))),
            Ok(Err(error)) => Some((Err(read_error(error)), None)),
            Err(error) => Some((Err(StorageError::Other(error.into())), None)),
        }
    }

    /// Offset and length of the next chunk; `None` at the end of the range.
    fn take_chunk(&mut self) -> Option<(u64, usize)> {
        let left = usize::try_from(self.rest.end.saturating_sub(self.rest.start)).unwrap_or(usize::MAX);
        let (offset, len) = (self.rest.start, left.min(self.chunk));
        self.rest.start += len as u64;
        (len > 0).then_some((offset, len))
    }

    fn start(&self, offset: u64, len: usize) -> JoinHandle<io::Result<Vec<u8>>> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || read_exact(&file, offset, len))
    }
}

/// The bytes, if all of them are in the page cache; any doubt is settled by reading them again on a blocking thread.
fn read_cached(file: &File, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut bytes)], offset, ReadWriteFlags::NOWAIT);
    (read == Ok(len)).then_some(bytes)
}

fn read_exact(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // An allocator may give more room than was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

fn read_error(error: io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let reason = "it ended before the range that was asked for".to_owned();
        // A file that is open has no name any more.
        return StorageError::Corrupt { key: "(being read)".to_owned(), reason };
    }
    StorageError::reading(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::TryStreamExt;

    use super::*;

    /// A stream over `range` of a file with the bytes 0 to 99; read ahead on a blocking thread when `cold`.
    fn pieces(range: Range<u64>, chunk: usize, cold: bool) -> BoxStream<'static, Result<Bytes, StorageError>> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&(0..100).collect::<Vec<u8>>()).expect("written");
        let mut read = FileRead { file: Arc::new(file), rest: range, chunk, ahead: None };
        if cold && let Some((offset, len)) = read.take_chunk() {
            read.ahead = Some(read.start(offset, len));
        }
        stream::unfold(Some(read), |read| async { read?.next().await }).boxed()
    }

    #[tokio::test]
    async fn cached_or_not_a_range_is_cut_into_chunks() {
        for cold in [false, true] {
            for (range, lens) in [(0..0, vec![]), (3..4, vec![1]), (10..70, vec![25, 25, 10]), (50..100, vec![25, 25])]
            {
                let pieces: Vec<Bytes> = pieces(range.clone(), 25, cold).try_collect().await.expect("bytes");
                assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), lens, "{range:?}, cold: {cold}");
                let expected: Vec<u8> = (0..100).skip_while(|b| u64::from(*b) < range.start).collect();
                assert!(expected.starts_with(&pieces.concat()), "{range:?}, cold: {cold}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_corrupt() {
        for cold in [false, true] {
            let all: Vec<_> = pieces(80..120, 15, cold).collect().await;
            let ends_with_error = matches!(all.as_slice(), [Ok(_), Err(StorageError::Corrupt { .. })]);
            assert!(ends_with_error, "{all:?}, cold: {cold}");
        }
    }
}
