//! A store that fails when a test says so: before a call, or after it, as if the answer had been lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::faults::Moment;
use crate::metadata::layers::decorate;
use crate::metadata::{MetadataError, MetadataStore, Result};

/// What a call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`MetadataError::Unavailable`]
    Unavailable,
    /// [`MetadataError::Full`]
    Full,
    /// [`MetadataError::Driver`]
    Driver,
    /// It never answers.
    Hang,
    /// It waits until it is told to go on, and then does its work; only before a call.
    Pause,
}

/// The layer. It does no harm until it is told to.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn MetadataStore>,
    plan: Mutex<Plan>,
    hung: Notify,
    resumed: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    calls: HashMap<&'static str, u64>,
    planned: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    method: &'static str,
    call: u64,
    moment: Moment,
    fault: Fault,
}

impl Faulty {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn MetadataStore>) -> Self {
        Self { inner, plan: Mutex::default(), hung: Notify::new(), resumed: Notify::new() }
    }

    /// Makes the `nth` call of a method from now on (1: the next one) fail.
    pub fn fail(&self, method: &'static str, nth: u64, moment: Moment, fault: Fault) {
        let mut plan = self.plan();
        let call = plan.calls.get(method).copied().unwrap_or(0) + nth;
        plan.planned.push(Planned { method, call, moment, fault });
    }

    /// Forgets every fault that has not happened; says how many.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut self.plan().planned).len()
    }

    /// How often each method was called.
    pub fn calls(&self) -> HashMap<&'static str, u64> {
        self.plan().calls.clone()
    }

    /// Lets a call go on that waits.
    pub fn resume(&self) {
        self.resumed.notify_one();
    }

    /// Resolves when a call hangs or waits.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Every change is whole before the lock is let go, so a panic elsewhere does not spoil the plan.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn around<T>(&self, method: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fault = self.plan().next(method);
        match fault {
            None => call.await,
            Some((Moment::Before, Fault::Pause)) => {
                self.hung.notify_one();
                self.resumed.notified().await;
                call.await
            }
            Some((Moment::Before, fault)) => Err(self.happen(fault).await),
            Some((Moment::After, fault)) => {
                call.await?;
                Err(self.happen(fault).await)
            }
        }
    }

    async fn happen(&self, fault: Fault) -> MetadataError {
        let reason = "a test wanted this fault";
        match fault {
            Fault::Unavailable => MetadataError::Unavailable(reason.to_owned()),
            Fault::Full => MetadataError::Full(reason.to_owned()),
            Fault::Driver => MetadataError::Driver(reason.into()),
            Fault::Hang | Fault::Pause => {
                self.hung.notify_one();
                std::future::pending().await
            }
        }
    }
}

impl Plan {
    fn next(&mut self, method: &'static str) -> Option<(Moment, Fault)> {
        let calls = self.calls.entry(method).or_default();
        *calls += 1;
        let due = |planned: &Planned| planned.method == method && planned.call == *calls;
        let at = self.planned.iter().position(due)?;
        let Planned { moment, fault, .. } = self.planned.swap_remove(at);
        Some((moment, fault))
    }
}

decorate!(Faulty);
