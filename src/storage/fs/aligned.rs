//! Bytes as `O_DIRECT` wants them: whole blocks, at an address that is a multiple of a block.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rustix::io::Errno;

/// Bytes of a block: what every disk and file system in use takes at least.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Buffers that are kept for the next writes.
const SPARE_MAX: usize = 8;

/// Buffers that nobody uses.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Whole blocks, gathered from pieces.
#[derive(Debug)]
pub(super) struct Aligned {
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// Gathers pieces, which are whole blocks together.
    pub(super) fn of(pieces: &[Bytes]) -> Self {
        let len = pieces.iter().map(Bytes::len).sum();
        let mut buffer = spare().pop().unwrap_or_default();
        if buffer.len() < len + BLOCK_BYTES {
            buffer.resize(len + BLOCK_BYTES, 0);
        }
        let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
        let mut at = start;
        for piece in pieces {
            buffer[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Self { buffer, start, len }
    }

    /// Writes it from byte `offset` on, a multiple of a block; says how many bytes were written, which are not all when
    /// one write ends inside a block, as on a disk that is nearly full. Blocks.
    pub(super) fn write_to(&self, file: &File, offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < self.len {
            let rest = &self.buffer[self.start + done..self.start + self.len];
            match rustix::io::pwrite(file, rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    done += written;
                    if written % BLOCK_BYTES != 0 {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        let mut spare = spare();
        if spare.len() < SPARE_MAX {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

fn spare() -> std::sync::MutexGuard<'static, Vec<Vec<u8>>> {
    // A list of buffers is whole between any two steps.
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}
