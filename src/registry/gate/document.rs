//! The policy document in the database, which holds on every node where no file is configured.

use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::metadata::model::Precondition;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::trust::{PolicyEntry, PolicyPut, PolicyRecord};
use crate::registry::{Page, PageRequest, Registry, Result, cut_page, page_limit};
use crate::verify::policy::{Faults, Finding, Loaded, Policies};

/// Most documents of one page of a list.
const DOCUMENTS_PAGE_MAX: u32 = 100;

/// What became of a document that was to take the place of another one.
#[derive(Debug)]
pub enum PolicyStored {
    /// It holds.
    Stored {
        /// Its number.
        number: i64,
        /// Its revision.
        revision: String,
        /// What is odd about it.
        warnings: Vec<Finding>,
    },
    /// It cannot be used.
    Faulty(Faults),
    /// The document whose place it was to take is not as the condition wants it.
    Moved,
}

/// What became of a look at the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFollowed {
    /// Nothing has changed.
    Unchanged,
    /// Another document holds.
    Replaced,
    /// It cannot be used; the policies before it go on to hold.
    Faulty,
}

impl Registry {
    /// The document that holds. `None`: there was never one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn policy_document(&self) -> Result<Option<PolicyRecord>> {
        Ok(self.metadata.policy_find().await?)
    }

    /// Reads a document that is to be tried out, as one that is to be stored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_policy_document(document: &str, has_accounts: bool) -> std::result::Result<Loaded, Faults> {
        read_new(document, has_accounts)
    }

    /// The document with a number, whether it holds or not. `None`: there was none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn policy_document_with(&self, number: i64) -> Result<Option<PolicyRecord>> {
        let record = self.metadata.policy_with(number).await?;
        Ok(record.map(|record| PolicyRecord { revision: Some(revision_of(&record)), ..record }))
    }

    /// All documents that there were, the newest first; each with its revision. `last` of the page is a number.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn policy_documents(&self, page: &PageRequest) -> Result<Page<PolicyEntry>> {
        let limit = page_limit(page, DOCUMENTS_PAGE_MAX);
        let before = page.last.as_deref().map_or(Some(i64::MAX), |last| last.parse().ok());
        let (Some(before), 1..) = (before, limit) else { return Ok(Page { entries: Vec::new(), next: None }) };
        let mut entries = self.metadata.policy_list(before, limit + 1).await?;
        for entry in entries.iter_mut().filter(|entry| entry.revision.is_none()) {
            let record = self.metadata.policy_with(entry.id).await?;
            entry.revision = record.as_ref().map(revision_of);
        }
        Ok(cut_page(entries, limit, |entry| entry.id.to_string()))
    }

    /// Puts a document in the place of the one that holds, on this node at once. `condition` is on that one; `has_accounts`:
    /// whether anybody has to say who he is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put_policy_document(
        &self,
        document: &str,
        condition: &Precondition<String>,
        has_accounts: bool,
        by: &Actor,
    ) -> Result<PolicyStored> {
        let loaded = match read_new(document, has_accounts) {
            Ok(loaded) => loaded,
            Err(faults) => return Ok(PolicyStored::Faulty(faults)),
        };
        let mut number = None;
        if *condition != Precondition::None {
            let held = self.metadata.policy_find().await?;
            // Whoever asks for the document where there was never one is told an empty revision, and may name that.
            let is_named = matches!(condition, Precondition::AnyOf(_) | Precondition::NoneOf(_));
            let revision = held.as_ref().map(revision_now).or_else(|| is_named.then(String::new));
            if !condition.holds(revision.as_ref()) {
                return Ok(PolicyStored::Moved);
            }
            number = Some(held.map_or(0, |held| held.id));
        }
        let (revision, warnings) = (loaded.policies.revision().to_owned(), loaded.warnings.clone());
        let put = PolicyPut {
            document: document.to_owned(),
            replaces: number,
            revision: revision.clone(),
            now: self.clock.now(),
            by: by.clone(),
        };
        let Some(number) = self.metadata.policy_put(&put).await? else { return Ok(PolicyStored::Moved) };
        self.follow_policy_document(has_accounts).await?;
        Ok(PolicyStored::Stored { number, revision, warnings })
    }

    /// Puts the newest document in force, if it is another one than before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn follow_policy_document(&self, has_accounts: bool) -> Result<PolicyFollowed> {
        let _turn = self.gate.following.lock().await;
        if self.options.policy_file {
            return Ok(PolicyFollowed::Unchanged);
        }
        // A document that would guard nothing without accounts can be used as soon as there are some.
        let is_same = self.gate.has_accounts.load(Ordering::Acquire) == has_accounts;
        if is_same && self.metadata.policy_number().await? == self.gate.seen() {
            return Ok(PolicyFollowed::Unchanged);
        }
        let record = self.metadata.policy_find().await?;
        self.gate.has_accounts.store(has_accounts, Ordering::Release);
        let Some(record) = record else { return Ok(PolicyFollowed::Unchanged) };
        let now = self.clock.now();
        let followed = match read(&record.document, has_accounts) {
            Ok(loaded) => {
                let (revision, policies) = (loaded.policies.revision().to_owned(), loaded.policies.iter().count());
                self.gate.policies().replace(loaded, now);
                tracing::info!(revision, policies, "signature policies are in force");
                PolicyFollowed::Replaced
            }
            Err(faults) => {
                self.gate.policies().fail(faults, now);
                tracing::error!(
                    "the signature policies in the database cannot be used, and those before them stay in force"
                );
                PolicyFollowed::Faulty
            }
        };
        self.gate.see(record.id);
        Ok(followed)
    }

    /// The same for whoever has found out that there is a newer document than he judged by.
    ///
    /// # Errors
    /// Those of the store.
    pub(in crate::registry) async fn follow_policies(&self) -> Result<()> {
        let has_accounts = self.gate.has_accounts.load(Ordering::Acquire);
        self.follow_policy_document(has_accounts).await.map(drop)
    }

    /// Where the policies come from and what they are, for whoever administers them: of a file, what holds of it, which need
    /// not be what lies there now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn policy_status(&self) -> Result<Value> {
        let held = self.gate.policies().status();
        let mut status = held.to_json();
        status["source"] = Value::from(if self.options.policy_file { "file" } else { "database" });
        if self.options.policy_file {
            status["document"] = Value::from(held.document.as_deref());
        } else if let Some(record) = self.policy_document().await? {
            status["number"] = Value::from(record.id);
            status["document"] = Value::from(record.document);
            status["actor"] = Value::from(record.actor);
            status["createdAt"] = Value::from(record.created_at.to_rfc3339());
        }
        Ok(status)
    }
}

/// The revision of a stored document; empty: it cannot be read any more, or has no policies.
fn revision_of(record: &PolicyRecord) -> String {
    let read = || read(&record.document, true).map(|read| read.policies.revision().to_owned());
    record.revision.clone().unwrap_or_else(|| read().unwrap_or_default())
}

/// The revision by which a document is known that is in force here: as this release finds it out. One that this release
/// cannot read has that which was written down.
fn revision_now(record: &PolicyRecord) -> String {
    let read = read(&record.document, true).map(|read| read.policies.revision().to_owned());
    read.unwrap_or_else(|_| record.revision.clone().unwrap_or_default())
}

/// Reads a document of the database. An empty one has no policies: there was a time when one could be stored.
fn read(document: &str, has_accounts: bool) -> std::result::Result<Loaded, Faults> {
    if document.trim().is_empty() {
        return Ok(Loaded { policies: Policies::default(), warnings: Vec::new() });
    }
    read_new(document, has_accounts)
}

/// Reads a document that is to be stored, and lies in no folder.
fn read_new(document: &str, has_accounts: bool) -> std::result::Result<Loaded, Faults> {
    let nothing = |_: &str| Err("a document in the database lies in no folder; write `pem` or `json`".to_owned());
    let loaded = Policies::load(document.as_bytes(), &nothing)?;
    if has_accounts { Ok(loaded) } else { loaded.without_accounts() }
}
