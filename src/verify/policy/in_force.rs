//! The policies that hold now, and what has become of those that were to follow them.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use super::finding::{Faults, Finding};
use super::{Loaded, Policies};
use crate::clock::Timestamp;

/// The policies that hold now. Whoever judges takes them once and is not disturbed by others that follow; a document that
/// cannot be used follows nobody.
#[derive(Debug, Default)]
pub struct InForce(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    policies: Arc<Policies>,
    status: Status,
}

/// How the policies that hold came to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The revision; empty while there is no document.
    pub revision: String,
    /// How many policies there are.
    pub policies: usize,
    /// Since when they hold.
    pub since: Option<Timestamp>,
    /// What is odd about the document.
    pub warnings: Vec<Finding>,
    /// A newer document, which cannot be used.
    pub failed: Option<Failed>,
    /// The document, where whoever put it in force said which.
    pub document: Option<Arc<str>>,
}

/// A document that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Since when it has been there.
    pub at: Timestamp,
    /// What is wrong with it.
    pub faults: Faults,
}

impl InForce {
    /// The policies that hold now.
    pub fn current(&self) -> Arc<Policies> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).policies)
    }

    /// From now on these hold. Says whether that is another revision.
    pub fn replace(&self, loaded: Loaded, now: Timestamp) -> bool {
        self.replace_by(loaded, None, now)
    }

    /// The same, and this is the document that says so.
    pub fn replace_by(&self, loaded: Loaded, document: Option<Arc<str>>, now: Timestamp) -> bool {
        let Loaded { policies, warnings } = loaded;
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = state.status.since.is_none() || *state.status.revision != *policies.revision();
        let since = if changed { Some(now) } else { state.status.since };
        let (revision, count) = (policies.revision().to_owned(), policies.iter().count());
        *state = State {
            policies: Arc::new(policies),
            status: Status { revision, policies: count, since, warnings, failed: None, document },
        };
        changed
    }

    /// Others were to follow and cannot be used; those that hold go on to.
    pub fn fail(&self, faults: Faults, now: Timestamp) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.status.failed = Some(Failed { at: now, faults });
    }

    /// How the policies that hold came to hold.
    pub fn status(&self) -> Status {
        self.0.read().unwrap_or_else(PoisonError::into_inner).status.clone()
    }
}

impl Status {
    /// The status as answers carry it.
    pub fn to_json(&self) -> Value {
        let findings = |findings: &[Finding]| findings.iter().map(Finding::to_json).collect::<Vec<_>>();
        let failed = self
            .failed
            .as_ref()
            .map(|failed| json!({ "at": failed.at.to_rfc3339(), "findings": findings(&failed.faults.0) }));
        json!({
            "revision": self.revision,
            "policies": self.policies,
            "since": self.since.map(Timestamp::to_rfc3339),
            "warnings": findings(&self.warnings),
            "failed": failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "apiVersion: trust/v1\npolicies: []\n";
    /// The same and one more thing, which is odd and changes the revision.
    const ODD: &str = "apiVersion: trust/v1\npolicies: []\ntrustRoots: {unused: {file: root.json}}\n";

    fn load(text: &str) -> Result<Loaded, Faults> {
        let root = include_bytes!("../../../tests/data/signing/trusted_root.lab.json");
        Policies::load(text.as_bytes(), &|_| Ok(root.to_vec()))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_holds_goes_on_until_something_sound_follows() {
        let in_force = InForce::default();
        assert_eq!((in_force.status(), in_force.current().revision()), (Status::default(), ""));
        assert!(in_force.replace(load(EMPTY).expect("sound"), at(1)), "the first one");
        let held = in_force.current();
        assert!(!in_force.replace(load("# again\napiVersion: trust/v1\npolicies: []\n").expect("sound"), at(2)));
        assert_eq!(in_force.status().since, Some(at(1)), "it says the same");

        let faults = load("apiVersion: 1").expect_err("a fault");
        in_force.fail(faults.clone(), at(3));
        assert_eq!(in_force.current().revision(), held.revision());
        let status = in_force.status();
        assert_eq!(status.failed, Some(Failed { at: at(3), faults }));
        assert_eq!(status.to_json()["failed"]["at"], "1970-01-01T00:00:03Z");
        assert!(status.to_json()["failed"]["findings"][0]["message"].is_string());

        assert!(in_force.replace(load(ODD).expect("sound"), at(4)));
        let status = in_force.status();
        assert_eq!((status.failed.as_ref(), status.since, status.warnings.len()), (None, Some(at(4)), 1));
        assert_ne!(held.revision(), in_force.current().revision(), "who judges by the old ones has them still");
        assert_eq!(status.to_json()["since"], "1970-01-01T00:00:04Z");
    }
}
