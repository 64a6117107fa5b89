//! The layers that pass fault points, in a build with the feature `faults` and with `FAULT_POINT` set; nothing otherwise.

use super::Stores;

#[cfg(not(feature = "faults"))]
impl Stores {
    /// The stores as they are.
    pub(super) fn with_trap(self) -> Self {
        self
    }
}

#[cfg(feature = "faults")]
impl Stores {
    /// The stores with the trap that the environment sets, if it does. A text that sets none is logged: the test that set
    /// it finds that nobody dies.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a switch of tests, which is no configuration")]
    pub(super) fn with_trap(mut self) -> Self {
        use std::sync::Arc;

        use crate::faults::{Trap, VARIABLE, die};

        let Ok(text) = std::env::var(VARIABLE) else { return self };
        match Trap::parse(&text, die) {
            Ok(trap) => {
                tracing::warn!(point = text, "this process will kill itself");
                let trap = Arc::new(trap);
                self.metadata = Arc::new(crate::metadata::layers::Passing::new(self.metadata, Arc::clone(&trap)));
                self.storage = Arc::new(crate::storage::layers::Passing::new(self.storage, trap));
            }
            Err(unknown) => tracing::error!(error = %unknown, "{VARIABLE} sets no trap"),
        }
        self
    }
}
