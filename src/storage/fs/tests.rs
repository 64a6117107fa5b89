//! What cannot be seen from outside: who holds an upload's turn, and until when.

use std::sync::mpsc;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::*;

/// Where the pieces of an append come from.
#[async_trait]
trait Pieces: Send {
    async fn next(&mut self, limit: usize) -> Option<Bytes>;
}

/// A source to which nothing else matters than its pieces.
struct Source<P>(P);

#[async_trait]
impl<P: Pieces> AppendSource for Source<P> {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        self.0.next(limit).await
    }

    fn mark(&mut self, _offset: u64) {}

    async fn checkpoint(&mut self, _offset: u64, _state: &DriverState) -> Result<(), AppendError> {
        Ok(())
    }

    async fn stage(&mut self, _stored: u64, _state: &DriverState, _tail: Bytes) -> Result<bool, AppendError> {
        Ok(true)
    }

    async fn staged(&mut self) -> Result<Bytes, AppendError> {
        Ok(Bytes::new())
    }
}

/// Blocks the only blocking thread before it gives its one piece, and then gives nothing more.
struct Blocking {
    gate: Option<mpsc::Receiver<()>>,
    hung: Option<oneshot::Sender<()>>,
}

#[async_trait]
impl Pieces for Blocking {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        if let Some(gate) = self.gate.take() {
            tokio::task::spawn_blocking(move || gate.recv());
            return Some(vec![7; limit].into());
        }
        if let Some(hung) = self.hung.take() {
            hung.send(()).expect("the test waits for it");
        }
        std::future::pending().await
    }
}

#[test]
fn a_write_that_nobody_waits_for_holds_the_turn_until_it_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_owned();
        let options = FsOptions { root, durability: Durability::Strict, boot_id: "one".to_owned() };
        let store = FsStore::open(options).await.expect("a store");
        let key = Key::opaque("00");
        let state = store.begin(&key).await.expect("begin");

        let (open_gate, gate) = mpsc::channel();
        let (hung, has_hung) = oneshot::channel();
        let mut source = Source(Blocking { gate: Some(gate), hung: Some(hung) });
        tokio::select! {
            _ = store.append(&key, state.clone(), 0, Bytes::new(), AppendHint::default(), &mut source) => {}
            result = has_hung => result.expect("the source hangs"),
        }

        assert!(store.turns.take(&key).now_or_never().is_none(), "the write still waits for a thread");
        open_gate.send(()).expect("the thread waits for it");
        store.complete(&key, state, 0, Bytes::new()).await.expect("complete");
        assert_eq!(store.stat(&key).await.expect("stat"), 0, "what the write left was cut off");
        assert!(store.turns.take(&key).now_or_never().is_some(), "nobody has the turn");
    });
}

/// Gives pieces of odd sizes, then nothing more.
struct Odd {
    bytes: Bytes,
    piece: usize,
}

#[async_trait]
impl Pieces for Odd {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        let len = self.piece.min(limit).min(self.bytes.len());
        (len > 0).then(|| self.bytes.split_to(len))
    }
}

#[tokio::test]
async fn blocks_and_pieces_of_blocks_make_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let options =
        FsOptions { root: folder.path().to_owned(), durability: Durability::Strict, boot_id: "one".to_owned() };
    let store = FsStore::open(options).await.expect("a store");
    let all: Bytes = (0..2_000_003_u32).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
    for (number, (piece, step)) in
        [(70_001, 300_001), (4_096, 131_072), (1_000_000, 2_000_003), (5_000, 40_000), (100, 33_333)]
            .into_iter()
            .enumerate()
    {
        let key = Key::opaque(&format!("{number:02}"));
        let (mut state, mut stored) = (store.begin(&key).await.expect("begin"), 0);
        while stored < all.len() as u64 {
            let from = usize::try_from(stored).expect("a small number");
            let mut source = Source(Odd { bytes: all.slice(from..all.len().min(from + step)), piece });
            let appended = store.append(&key, state, stored, Bytes::new(), AppendHint::default(), &mut source);
            let appended = appended.await.expect("appended");
            assert_eq!(appended.stored, (from + step).min(all.len()) as u64);
            (state, stored) = (appended.state, appended.stored);
        }
        store.complete(&key, state, stored, Bytes::new()).await.expect("complete");
        assert!(std::fs::read(folder.path().join(key.as_str())).expect("a file") == all, "pieces of {piece}");
    }
}
