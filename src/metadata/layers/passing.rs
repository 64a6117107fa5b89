//! A store that passes a named point before and after each call.

use std::sync::Arc;

use crate::faults::{Moment, Trap};
use crate::metadata::layers::decorate;
use crate::metadata::{MetadataStore, Result};

/// The layer.
#[derive(Debug)]
pub struct Passing {
    inner: Arc<dyn MetadataStore>,
    trap: Arc<Trap>,
}

impl Passing {
    /// Lets calls of `inner` pass `trap`.
    pub fn new(inner: Arc<dyn MetadataStore>, trap: Arc<Trap>) -> Self {
        Self { inner, trap }
    }

    async fn around<T>(&self, method: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.trap.pass("metadata", method, Moment::Before);
        let answer = call.await;
        self.trap.pass("metadata", method, Moment::After);
        answer
    }
}

decorate!(Passing);
