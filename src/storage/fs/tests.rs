//! What cannot be seen from outside: who holds an upload's turn, and until when.

use std::sync::mpsc;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::*;

/// Blocks the only blocking thread before it gives its one piece, and then gives nothing more.
struct Blocking {
    gate: Option<mpsc::Receiver<()>>,
    hung: Option<oneshot::Sender<()>>,
}

#[async_trait]
impl AppendSource for Blocking {
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
        let mut source = Blocking { gate: Some(gate), hung: Some(hung) };
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
