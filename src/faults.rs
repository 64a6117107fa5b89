//! Named points at which a fault test makes the process die: before and after each call of the stores on the way of a
//! push, a delete and a collection.
//!
//! The table is always here, so that a test can compare it with the stores' traits. What kills is compiled in by the
//! feature `faults` alone: without it no layer passes a point and nothing reads [`VARIABLE`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that sets a trap, to `name` or `name:nth`.
pub const VARIABLE: &str = "FAULT_POINT";

/// A call of a store, which is two points: [`Moment::Before`] it and [`Moment::After`] it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// `metadata.` or `storage.` and the method; `storage.checkpoint` and `storage.stage` are a driver's reports in the
    /// middle of an append.
    pub call: &'static str,
    /// What the call separates: what a process that dies before it leaves behind from what one that dies after it does.
    pub separates: &'static str,
    /// Which servers come here.
    pub reach: Reach,
}

/// Which servers pass a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Every,
    /// Those whose store completes an upload only once, as S3 does.
    Parts,
}

impl Reach {
    /// The word in the printed table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Every => "every",
            Self::Parts => "parts",
        }
    }
}

/// On which side of a call something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before it is made.
    Before,
    /// After it was made and before its answer is seen.
    After,
}

impl Moment {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];

    /// The last part of a point's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

impl Point {
    /// Its name: `metadata.upload_intend.before`.
    pub fn name(&self, moment: Moment) -> String {
        format!("{}.{}", self.call, moment.as_str())
    }
}

const fn every(call: &'static str, separates: &'static str) -> Point {
    Point { call, separates, reach: Reach::Every }
}

const fn parts(call: &'static str, separates: &'static str) -> Point {
    Point { call, separates, reach: Reach::Parts }
}

/// Every point, in the order in which the life of a blob comes to them.
pub const POINTS: &[Point] = &[
    every("metadata.blob_lease", "a HEAD from the lease that its answer promises"),
    every("metadata.blob_mount", "a repository without the blob from one that has it on lease"),
    every("storage.free_bytes", "a request from the room it asks for"),
    every("metadata.blob_put", "a POST from the blob that came with it"),
    every("metadata.session_key", "a question for a session's name from what proves it"),
    every("metadata.upload_find", "a question about a session from its answer"),
    every("metadata.upload_take", "the old writer of a session, or none, from the new one"),
    every("metadata.upload_intend", "a session without a key from one whose key is on record, before its first byte"),
    every("metadata.upload_rekey", "a session whose object cannot be continued from one with a new key"),
    every("storage.begin", "a key on record from the unfinished object under it"),
    every("storage.append", "a body that arrives from bytes in the store that do not count yet"),
    every("storage.checkpoint", "bytes in the store from bytes that count, in the middle of a body"),
    parts("storage.stage", "bytes of a body that stalls from the rows that keep them"),
    every("metadata.upload_checkpoint", "bytes in the store from bytes that count"),
    every("metadata.upload_renew", "a long PUT from its next sign of life"),
    parts("metadata.upload_completing", "stored parts from the intent to make an object of them"),
    every("storage.complete", "an unfinished object from a whole one that no blob names"),
    parts("storage.stat", "a repeated PUT from knowing whether the first one made the object"),
    every("storage.read", "an object hashed with one algorithm from the proof of the other"),
    every("metadata.upload_commit", "a whole object from the blob that it is"),
    every("metadata.upload_put", "a name of a session from the blob that came with its first bytes"),
    every("metadata.upload_drop", "bytes with a wrong digest from the end of their session"),
    every("metadata.upload_cancel", "a session from its end"),
    every("metadata.manifest_put", "blobs on lease from the manifest and the tags that hold them"),
    every("metadata.tag_delete", "a tag from its end"),
    every("metadata.manifest_delete", "a manifest from blobs that nothing names"),
    every("metadata.blob_delete", "a membership from its end"),
    every("metadata.blob_keys", "a delete from the wait for its bytes"),
    every("metadata.upload_expire", "sessions past their time from keys that must go"),
    every("metadata.manifest_collect", "referrers past their time from their end"),
    every("metadata.membership_collect", "memberships past their time from blobs without one"),
    every("metadata.blob_collect", "blobs without a membership from keys that must go"),
    every("metadata.deletion_claim", "keys that must go from keys that this process removes"),
    every("storage.abort", "an unfinished object from its absence, still on the list"),
    every("storage.delete_many", "objects from their absence, still on the list"),
    every("metadata.deletion_done", "objects that are gone from a list that says so"),
    every("metadata.upload_count", "a sweep from its figures"),
    every("metadata.purge_pending", "bytes that are gone from the answer that was waiting for them"),
];

/// A point that is armed: the nth call that comes to it springs it.
pub struct Trap {
    point: &'static Point,
    moment: Moment,
    left: AtomicU64,
    spring: Box<dyn Fn() + Send + Sync>,
}

/// A text that sets no trap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault point with an optional `:nth`")]
pub struct UnknownPoint(String);

impl Trap {
    /// From `name` or `name:nth` (1: the first call).
    ///
    /// # Errors
    /// [`UnknownPoint`] for a name that is not in [`POINTS`] and for an nth that is not a number above zero.
    pub fn parse(text: &str, spring: impl Fn() + Send + Sync + 'static) -> Result<Self, UnknownPoint> {
        let unknown = || UnknownPoint(text.to_owned());
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(unknown)?;
        let all = POINTS.iter().flat_map(|point| Moment::ALL.map(|moment| (point, moment)));
        let (point, moment) =
            all.into_iter().find(|(point, moment)| point.name(*moment) == name).ok_or_else(unknown)?;
        Ok(Self { point, moment, left: AtomicU64::new(nth), spring: Box::new(spring) })
    }

    /// A call `method` of the store `store` is about to be made, or has been made.
    pub fn pass(&self, store: &str, method: &str, moment: Moment) {
        let here = self.point.call.strip_prefix(store).and_then(|rest| rest.strip_prefix('.')) == Some(method);
        if here && moment == self.moment && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            (self.spring)();
        }
    }
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trap({}, {} to go)", self.point.name(self.moment), self.left.load(Ordering::SeqCst))
    }
}

/// Ends this process as a power cut would: no destructor runs, nothing is flushed.
#[cfg(feature = "faults")]
pub fn die() {
    let own = rustix::process::getpid();
    // SIGKILL cannot be refused; whatever the call answers, nothing may happen after it.
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_trap_springs_at_the_nth_call_and_once() {
        let sprung = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sprung);
        let spring = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let trap = Trap::parse("metadata.upload_intend.after:2", spring).expect("in the table");
        let passes = [
            ("metadata", "upload_intend", Moment::After, 0),
            ("metadata", "upload_intend", Moment::Before, 0),
            ("storage", "upload_intend", Moment::After, 0),
            ("metadata", "upload_take", Moment::After, 0),
            ("metadata", "upload_intend", Moment::After, 1),
            ("metadata", "upload_intend", Moment::After, 1),
        ];
        for (store, method, moment, expected) in passes {
            trap.pass(store, method, moment);
            assert_eq!(sprung.load(Ordering::SeqCst), expected, "{store} {method} {moment:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_sets_no_trap() {
        for text in
            ["", "metadata.upload_intend", "metadata.nothing.before", "storage.begin.after:0", "storage.begin.after:x"]
        {
            assert!(Trap::parse(text, || {}).expect_err("no point").to_string().contains(text));
        }
        assert!(Trap::parse("storage.begin.after", || {}).is_ok());
    }

    #[test]
    fn points_can_be_told_apart() {
        let calls: HashSet<&str> = POINTS.iter().map(|point| point.call).collect();
        let texts: HashSet<&str> = POINTS.iter().map(|point| point.separates).collect();
        assert_eq!((calls.len(), texts.len()), (POINTS.len(), POINTS.len()));
    }
}
