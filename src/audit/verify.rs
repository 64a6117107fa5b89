//! Whether the chain is whole.

use crate::audit::{Audit, Result};
use crate::metadata::model::audit::{AuditEvent, AuditTail, Seal};

/// Most events without a place in the chain that are counted.
const TAIL_MAX: u32 = 100_000;

/// What became of a walk along the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The last event up to which everything is as it was sealed; the default when that is none.
    pub last: Seal,
    /// What is wrong with the one after it.
    pub broken: Option<Broken>,
    /// What has no place in the chain yet.
    pub unsealed: AuditTail,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// One is missing.
    #[error("event {missing} is missing; {found} comes next")]
    Gap {
        /// Its number.
        missing: i64,
        /// The number that comes in its place.
        found: i64,
    },
    /// Its hash is not that of what it says.
    #[error("event {0} is not what was sealed, or what stands before it is not")]
    Changed(i64),
    /// The chain is whole, and another one than the one that was expected.
    #[error("event {0} has another hash than it had: the chain was written anew")]
    Other(i64),
    /// The chain is whole and goes on behind what was sealed.
    #[error("event {0} is in the chain, and nobody sealed it")]
    Foreign(i64),
    /// The chain is whole and ends early.
    #[error("the chain ends after event {last}, and it was longer: event {expected} is missing")]
    Short {
        /// Its last number.
        last: i64,
        /// The number that it had.
        expected: i64,
    },
}

impl Broken {
    /// The number of the first event that is wrong.
    pub fn sequence(&self) -> i64 {
        match *self {
            Self::Gap { missing, .. } => missing,
            Self::Changed(sequence) | Self::Other(sequence) | Self::Foreign(sequence) => sequence,
            Self::Short { last, .. } => last.saturating_add(1),
        }
    }
}

/// How far a walk has come.
struct Walk {
    last: Seal,
    /// Places that somebody remembers.
    expected: Vec<Seal>,
}

impl Walk {
    fn step(&mut self, event: &AuditEvent) -> std::result::Result<(), Broken> {
        let (next, found) = (self.last.next(event), event.seal.unwrap_or_default());
        if found.sequence != next.sequence {
            return Err(Broken::Gap { missing: next.sequence, found: found.sequence });
        }
        if found.hash != next.hash {
            return Err(Broken::Changed(next.sequence));
        }
        if self.expected.iter().any(|expected| expected.sequence == next.sequence && expected.hash != next.hash) {
            return Err(Broken::Other(next.sequence));
        }
        self.last = next;
        Ok(())
    }

    /// What is wrong when there is no event more, and the last one that was sealed is `sealed`.
    fn end(&self, sealed: i64) -> Option<Broken> {
        let last = self.last.sequence;
        if last > sealed {
            return Some(Broken::Foreign(sealed.saturating_add(1)));
        }
        let expected = self.expected.iter().map(|expected| expected.sequence).max()?;
        (expected > last).then_some(Broken::Short { last, expected })
    }
}

impl Audit {
    /// Walks along the whole chain; `expected` is a place of it that somebody has kept elsewhere.
    ///
    /// `None`: somebody else has this process do so now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn verify(&self, expected: Option<Seal>) -> Result<Option<Verified>> {
        let Ok(_alone) = self.verifying.try_lock() else { return Ok(None) };
        let mut expected: Vec<Seal> = expected.into_iter().collect();
        expected.push(self.store.audit_head().await?);
        let mut walk = Walk { last: Seal::default(), expected };
        // From the very first number, so that rows before the first event are found as well.
        let mut after = i64::MIN;
        let broken = 'walk: loop {
            let page = self.chain(after).await?;
            let Some(seal) = page.last().and_then(|event| event.seal) else {
                // More may have been sealed since the walk began.
                break walk.end(self.store.audit_head().await?.sequence);
            };
            for event in &page {
                if let Err(broken) = walk.step(event) {
                    break 'walk Some(broken);
                }
            }
            after = seal.sequence;
        };
        let unsealed = self.store.audit_tail(TAIL_MAX).await?;
        Ok(Some(Verified { last: walk.last, broken, unsealed }))
    }
}
