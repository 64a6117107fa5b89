//! The document of signature policies: read at the start, and again whenever it or a file that it names has changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::AppError;
use super::files::read_at_most;
use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::Metrics;
use crate::jobs::Job;
use crate::registry::gate::PolicyFollowed;
use crate::registry::{Registry, RegistryError};
use crate::verify::policy::{DOCUMENT_BYTES_MAX, Faults, Finding, InForce, Inlined, Loaded, Policies, Severity};

/// Most bytes of a file that a document names. A trusted root may have as many, a key fewer.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Most findings in the line of the log.
const FINDINGS_LOGGED_MAX: usize = 5;

/// Where policies go, and what they are judged by.
pub(super) struct Surroundings {
    /// The policies that hold.
    pub(super) in_force: Arc<InForce>,
    /// Whether there are accounts. Without any, everybody may push.
    pub(super) has_accounts: Box<dyn Fn() -> bool + Send + Sync>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// The file of the document. The policies in force follow it.
pub struct PolicyFile {
    path: PathBuf,
    around: Surroundings,
    seen: Mutex<Seen>,
}

/// What became of a look at the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Nothing has changed.
    Unchanged,
    /// Something has, and may still be being written.
    Settling,
    /// Other policies are in force.
    Replaced,
    /// It cannot be used; the policies before it stay in force.
    Failed,
}

/// The bytes that were read, to see a change whatever the clock of the file system says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    document: Result<Vec<u8>, String>,
    files: BTreeMap<String, Result<Vec<u8>, String>>,
    has_accounts: bool,
}

impl Snapshot {
    /// The document, as it was read.
    fn text(&self) -> Option<Arc<str>> {
        let bytes = self.document.as_deref().ok()?;
        str::from_utf8(bytes).ok().map(Arc::from)
    }
}

struct Seen {
    /// What the policies in force, or the alarm about others, follow from.
    settled: Snapshot,
    /// What was there the last time.
    settling: Option<Snapshot>,
}

/// Reads a document; the files that it names lie beside it. A trusted root that is given stands for every one of those.
///
/// # Errors
/// Why the document itself cannot be read.
pub fn read_policies(path: &Path, root: Option<&[u8]>) -> Result<Result<Loaded, Faults>, String> {
    let bytes = read_at_most(path, DOCUMENT_BYTES_MAX)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(Policies::load_under(&bytes, &|name| read_at_most(&folder.join(name), FILE_BYTES_MAX), root))
}

/// The same, and what the files hold written into the document.
///
/// # Errors
/// Why the document itself cannot be read.
pub fn read_policies_inlined(path: &Path) -> Result<Result<Inlined, Faults>, String> {
    let bytes = read_at_most(path, DOCUMENT_BYTES_MAX)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(Policies::load_inlined(&bytes, &|name| read_at_most(&folder.join(name), FILE_BYTES_MAX)))
}

impl PolicyFile {
    /// Reads the document and puts it in force.
    ///
    /// # Errors
    /// [`AppError::Policy`], with everything that is wrong with it.
    pub(super) fn open(path: PathBuf, around: Surroundings) -> Result<Self, AppError> {
        let (settled, loaded) = take(&path, (around.has_accounts)());
        let loaded = loaded.map_err(|faults| AppError::Policy { path: path.display().to_string(), faults })?;
        let warnings = loaded.warnings.len();
        around.in_force.replace_by(loaded, settled.text(), around.clock.now());
        let file = Self { path, around, seen: Mutex::new(Seen { settled, settling: None }) };
        file.tell(warnings);
        Ok(file)
    }

    /// Looks at the file, and at those that it names.
    ///
    /// A change counts when two looks have seen the same: a document that is still being written may be sound so far, and
    /// have fewer policies. One that cannot be used is said once, and leaves the policies before it in force.
    pub fn reload_now(&self) -> Reload {
        let has_accounts = (self.around.has_accounts)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_still(&seen.settled, has_accounts) {
            seen.settling = None;
            return Reload::Unchanged;
        }
        let (snapshot, loaded) = take(&self.path, has_accounts);
        if seen.settling.as_ref() != Some(&snapshot) {
            seen.settling = Some(snapshot);
            return Reload::Settling;
        }
        let text = snapshot.text();
        *seen = Seen { settled: snapshot, settling: None };
        let now = self.around.clock.now();
        match loaded {
            Ok(loaded) => {
                let warnings = loaded.warnings.len();
                self.around.in_force.replace_by(loaded, text, now);
                self.tell(warnings);
                Reload::Replaced
            }
            Err(faults) => {
                self.alarm(&faults);
                self.around.in_force.fail(faults, now);
                self.measure();
                Reload::Failed
            }
        }
    }

    /// Whether everything is as it was when the policies in force were read.
    fn is_still(&self, settled: &Snapshot, has_accounts: bool) -> bool {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        settled.has_accounts == has_accounts
            && read_at_most(&self.path, DOCUMENT_BYTES_MAX) == settled.document
            && settled.files.iter().all(|(name, bytes)| read_at_most(&folder.join(name), FILE_BYTES_MAX) == *bytes)
    }

    fn tell(&self, warnings: usize) {
        let status = self.around.in_force.status();
        let (file, revision, policies) = (self.path.display(), status.revision, status.policies);
        tracing::info!(%file, revision, policies, "signature policies are in force");
        if warnings > 0 {
            tracing::warn!(%file, warnings, "the policies may not say what was meant; `bonded policy check` says more");
        }
        self.measure();
    }

    fn alarm(&self, faults: &Faults) {
        let errors = faults.0.iter().filter(|finding| finding.severity == Severity::Error);
        let first: Vec<_> = errors.clone().take(FINDINGS_LOGGED_MAX).map(Finding::to_string).collect();
        let (file, errors, first) = (self.path.display(), errors.count(), first.join("; "));
        tracing::error!(
            %file, errors, first,
            "the signature policies cannot be used, and those before them stay in force; `bonded policy check` says more"
        );
    }

    fn measure(&self) {
        let status = self.around.in_force.status();
        self.around.metrics.observe_policies(status.policies, status.failed.is_some());
    }
}

impl fmt::Debug for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Reads everything at once: what there is, and what it says.
fn take(path: &Path, has_accounts: bool) -> (Snapshot, Result<Loaded, Faults>) {
    let document = read_at_most(path, DOCUMENT_BYTES_MAX);
    let files = RefCell::new(BTreeMap::new());
    let folder = path.parent().unwrap_or(Path::new(""));
    let named = |name: &str| {
        let bytes = read_at_most(&folder.join(name), FILE_BYTES_MAX);
        files.borrow_mut().insert(name.to_owned(), bytes.clone());
        bytes
    };
    let loaded = match &document {
        Ok(bytes) => Policies::load(bytes, &named),
        Err(why) => Err(unreadable(why)),
    };
    let loaded = if has_accounts { loaded } else { loaded.and_then(Loaded::without_accounts) };
    (Snapshot { document, files: files.into_inner(), has_accounts }, loaded)
}

fn unreadable(why: &str) -> Faults {
    let message = format!("the document cannot be read: {why}");
    Faults(vec![Finding { severity: Severity::Error, place: String::new(), line: None, message }])
}

/// Looks at the document in the database every second.
#[derive(Debug)]
pub(super) struct FollowDocument {
    pub(super) registry: Arc<Registry>,
    pub(super) auth: Arc<Auth>,
    pub(super) metrics: Arc<Metrics>,
}

impl FollowDocument {
    /// Takes a look.
    pub(super) async fn look(&self) -> Result<PolicyFollowed, RegistryError> {
        let followed = self.registry.follow_policy_document(self.auth.has_accounts()).await?;
        let status = self.registry.gate().policies().status();
        self.metrics.observe_policies(status.policies, status.failed.is_some());
        Ok(followed)
    }
}

#[async_trait]
impl Job for FollowDocument {
    fn name(&self) -> &'static str {
        "policy_document"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn backoff_max(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn run(&self) -> anyhow::Result<bool> {
        self.look().await?;
        Ok(false)
    }
}

/// Looks at the file every second.
#[derive(Debug)]
pub(super) struct FollowPolicy(Arc<PolicyFile>);

impl FollowPolicy {
    /// Follows `file`.
    pub(super) fn new(file: Arc<PolicyFile>) -> Self {
        Self(file)
    }
}

#[async_trait]
impl Job for FollowPolicy {
    fn name(&self) -> &'static str {
        "policy_reload"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// What is wrong with the file is said once, and no reason to look at it less often.
    async fn run(&self) -> anyhow::Result<bool> {
        let file = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || file.reload_now()).await?;
        Ok(false)
    }
}
