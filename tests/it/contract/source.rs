//! An upload body that follows a script and checks that the driver keeps the rules of `AppendSource`.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bonded::storage::{AppendError, AppendSource, DriverState};
use bytes::Bytes;
use tokio::sync::Notify;

/// The script and what came of it.
#[derive(Debug, Default)]
pub(crate) struct ScriptedSource {
    pieces: VecDeque<Bytes>,
    /// End of the last piece given, from the start of the blob.
    offset: u64,
    marks: Vec<u64>,
    fenced: bool,
    hung: Option<Arc<Notify>>,
    staged: Bytes,
    /// What the driver reported, in order.
    pub(crate) checkpoints: Vec<(u64, DriverState)>,
}

impl ScriptedSource {
    /// Gives `pieces` to an upload that stands at byte `offset`, tail included.
    pub(crate) fn new(offset: u64, pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self { pieces: pieces.into_iter().collect(), offset, ..Self::default() }
    }

    /// Answers every checkpoint as if another writer had the session.
    pub(crate) fn fenced(self) -> Self {
        Self { fenced: true, ..self }
    }

    /// Says so and waits for ever after the last piece, as a client does that has gone away without a word.
    pub(crate) fn hanging(self, hung: Arc<Notify>) -> Self {
        Self { hung: Some(hung), ..self }
    }

    /// How many bytes nobody has asked for yet.
    pub(crate) fn left(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

#[async_trait]
impl AppendSource for ScriptedSource {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        assert!(limit > 0, "a driver asks for at least one byte");
        let Some(front) = self.pieces.front_mut() else {
            if let Some(hung) = &self.hung {
                hung.notify_one();
                std::future::pending::<()>().await;
            }
            return None;
        };
        let piece = front.split_to(limit.min(front.len()));
        if front.is_empty() {
            self.pieces.pop_front();
        }
        self.offset += piece.len() as u64;
        Some(piece)
    }

    fn mark(&mut self, offset: u64) {
        assert_eq!(offset, self.offset, "a mark stands at the end of the last piece taken");
        self.marks.push(offset);
    }

    async fn checkpoint(&mut self, offset: u64, state: &DriverState) -> Result<(), AppendError> {
        assert!(self.marks.contains(&offset), "the checkpoint {offset} was not marked");
        if self.fenced {
            return Err(AppendError::Fenced);
        }
        self.checkpoints.push((offset, state.clone()));
        Ok(())
    }

    async fn stage(&mut self, stored: u64, _state: &DriverState, tail: Bytes) -> Result<bool, AppendError> {
        assert_eq!(stored + tail.len() as u64, self.offset, "what is kept ends where the last piece does");
        self.staged = tail;
        if self.fenced { Err(AppendError::Fenced) } else { Ok(true) }
    }

    async fn staged(&mut self) -> Result<Bytes, AppendError> {
        Ok(self.staged.clone())
    }
}
