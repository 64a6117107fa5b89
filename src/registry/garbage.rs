//! What a sweep and a retention pass would take, without taking it.

use crate::metadata::model::{Garbage, GarbageCursor, GarbageKind};
use crate::oci::name::RepoName;
use crate::registry::retain::{Pass, Step};
use crate::registry::retention::Victim;
use crate::registry::{Registry, Result};

/// Rows read at a time.
const PAGE: u32 = 500;

/// Manifests of one repository whose bytes are added up; the bytes of more would be told too low.
const MANIFESTS_MAX: usize = 50_000;

/// Something that would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// It is garbage already.
    Garbage(Garbage),
    /// A retention rule takes it.
    Manifest {
        /// Where.
        repo: RepoName,
        /// What, and why.
        victim: Victim,
    },
    /// The blobs that follow the manifests taken from a repository.
    Blobs {
        /// Where.
        repo: RepoName,
        /// Bytes of the blobs that only those manifests name, and no other repository has.
        bytes: u64,
    },
}

/// The kinds of garbage, in the order in which a sweep takes them.
const KINDS: [GarbageKind; 5] =
    [GarbageKind::Session, GarbageKind::Referrer, GarbageKind::Membership, GarbageKind::Blob, GarbageKind::Object];

impl Registry {
    /// Gives everything that would go now to `report`, and changes nothing.
    pub async fn preview_collection(&self, report: &mut (dyn FnMut(Candidate) + Send)) -> Result<()> {
        for kind in KINDS {
            let mut after = GarbageCursor::default();
            loop {
                let page = self.metadata.garbage_list(kind, self.clock.now(), &after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.cursor.clone();
                let more = page.len() == PAGE as usize;
                for garbage in page {
                    report(Candidate::Garbage(garbage));
                }
                if !more {
                    break;
                }
            }
        }
        self.preview_retention(report).await
    }

    async fn preview_retention(&self, report: &mut (dyn FnMut(Candidate) + Send)) -> Result<()> {
        if self.options.retention.is_idle() {
            return Ok(());
        }
        let (mut pass, mut taken) = (Pass::default(), Vec::new());
        loop {
            let (repo, victims, last) = match self.retention_step(&mut pass).await? {
                Step::Finished => return Ok(()),
                Step::Onward => continue,
                Step::Found { repo, victims, last } => (repo, victims, last),
            };
            taken.extend(victims.iter().map(|victim| victim.facts.id).take(MANIFESTS_MAX - taken.len()));
            for victim in victims {
                report(Candidate::Manifest { repo: repo.clone(), victim });
            }
            if last && !taken.is_empty() {
                let bytes = self.metadata.manifest_bytes_alone(&repo, &taken).await?;
                report(Candidate::Blobs { repo, bytes });
            }
            if last {
                taken.clear();
            }
        }
    }
}
