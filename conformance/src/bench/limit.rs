//! What the disk and the processor can do: the bytes of a push, written and hashed in this program.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::flows::Image;
use super::load::{Plan, Tally, Turn, summary};
use super::payload::Payloads;
use super::workload::Push;

/// Writes images into a folder, each blob hashed while it is written and then named by its digest, without syncing.
pub(crate) fn turn(push: Push, plan: Plan, folder: &Path, payloads: &Payloads) -> Result<Turn> {
    let begin = Instant::now();
    let stream = |index: usize| {
        let mut tally = Tally::default();
        let mut now = begin;
        while now.duration_since(begin) < plan.time {
            let image = Image::new(payloads, push.layers, None);
            write(&image, folder, index)?;
            let end = Instant::now();
            tally.add(image.bytes(), end.duration_since(now));
            now = end;
        }
        tally.seconds = now.duration_since(begin).as_secs_f64();
        Ok(tally)
    };
    let tallies = std::thread::scope(|scope| {
        let stream = &stream;
        let running: Vec<_> = (0..plan.connections).map(|index| scope.spawn(move || stream(index))).collect();
        let joined = running.into_iter().map(|thread| thread.join().ok().context("a writer ended early")?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok(summary(tallies, false))
}

fn write(image: &Image, folder: &Path, index: usize) -> Result<()> {
    let new = folder.join(format!("new-{index}"));
    for blob in &image.blobs {
        let mut hash = Sha256::new();
        let mut file = File::create(&new)?;
        for piece in blob.pieces().iter().flat_map(|piece| piece.chunks(PIECE_BYTES)) {
            file.write_all(piece)?;
            hash.update(piece);
        }
        drop(file);
        std::fs::rename(&new, folder.join(hex::encode(hash.finalize())))?;
    }
    std::fs::write(&new, &image.manifest)?;
    std::fs::rename(&new, folder.join(image.digest.trim_start_matches("sha256:")))?;
    Ok(())
}

/// Larger pieces are slower: they take larger folios for the page cache, which are rarer.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let image = Image::new(&Payloads::new(3000), &[3000], None);
        write(&image, folder.path(), 0).unwrap();
        for blob in &image.blobs {
            let written = std::fs::read(folder.path().join(&blob.digest()[7..])).unwrap();
            assert_eq!(written, blob.pieces().concat());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
