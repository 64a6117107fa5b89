//! Blobs are read through a manifest that passes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use super::ruling::Ruling;
use super::trial::Keeping;
use super::{Gate, Guarded, Key};
use crate::clock::Timestamp;
use crate::metadata::model::trust::{NamingManifest, Standing};
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::name::RepoName;
use crate::oci::reference::Reference;
use crate::registry::{OpenBlob, Registry, RegistryError, Result};
use crate::verify::policy::{Blobs, Gate as Place, Mode, Policies, Policy};
use crate::verify::verdict::{Outcome, Reason, ReasonCode, Verdict};

/// Most manifests that are looked at for one blob.
const NAMING_MAX: u32 = 128;
/// Longest time that is spent on them. What was found out of each is kept, so that whoever asks again gets further.
const NAMING_TIME: Duration = Duration::from_secs(1);

/// The digest of `{}`, the config of what has none. It says nothing that anybody could want to keep to himself.
pub(super) static EMPTY: LazyLock<Digest> = LazyLock::new(|| Digest::of(Algorithm::Sha256, b"{}"));

/// What was found out about a blob.
#[derive(Clone, Debug)]
pub(super) struct KeptBlob {
    generation: i64,
    ruling: Ruling,
    /// What named it, where that may make a difference: what refuses may change with any manifest that comes, and so does
    /// what passes for want of a manifest that guards it; else what passes changes only with signatures and deletions.
    named_by: Option<Digest>,
    until: Option<Timestamp>,
}

/// What was found in the manifests that name a blob, as far as they were looked at.
#[derive(Default)]
struct Looked<'a> {
    /// The best that was said of those that every policy was asked about, or that are refused.
    best: Option<Ruling>,
    /// Those that are not refused by the policies that were asked, which are not all, and these.
    left_out: Vec<(Ruling, Vec<&'a Policy>)>,
    /// Policies that were asked where something was refused.
    guarding: Vec<&'a Policy>,
    until: Option<Timestamp>,
}

impl<'a> Looked<'a> {
    fn add(&mut self, ruling: Ruling, asking: Vec<&'a Policy>, is_enough: bool) {
        self.until = self.until.into_iter().chain(ruling.holds_until()).min();
        if ruling.refuses() {
            self.guarding.extend(asking.iter().filter(|policy| policy.mode == Mode::Enforce));
        } else if !is_enough {
            self.left_out.push((ruling, asking));
            return;
        }
        // One that only warns is better than one that refuses; else the first tells why.
        if self.best.as_ref().is_none_or(|best| best.refuses() && !ruling.refuses()) {
            self.best = Some(ruling);
        }
    }

    /// What comes of them for a blob. Whoever pushes chooses the type of a manifest and the config of a signature: what they
    /// name is open by that alone only where no policy that asks nothing of them guards it in another manifest.
    fn ruling(self, applying: &[&Policy]) -> Option<Ruling> {
        let Self { best, left_out, guarding, .. } = self;
        let among = |policies: &[&Policy], policy: &Policy| policies.iter().any(|other| other.name == policy.name);
        let opens =
            |asking: &[&Policy]| applying.iter().all(|policy| among(asking, policy) || !among(&guarding, policy));
        let open = left_out.into_iter().filter(|(_, asking)| opens(asking)).map(|(ruling, _)| ruling);
        open.chain(best).min_by_key(|ruling| (ruling.refuses(), !ruling.is_clean()))
    }
}

/// A blob that is asked for.
struct Asked<'a> {
    repo: &'a RepoName,
    digest: &'a Digest,
    standing: Standing,
    policies: &'a Arc<Policies>,
    applying: Vec<&'a Policy>,
}

impl Gate {
    /// What was found out about a blob, if it still holds; `named_by`: what names it now, if somebody has looked.
    fn kept_blob(&self, asked: &Asked<'_>, named_by: Option<&Digest>, now: Timestamp) -> Option<Ruling> {
        let kept = self.blobs.get(&asked.key())?;
        let holds = kept.generation == asked.standing.generation
            && kept.ruling.revision() == Some(asked.policies.revision())
            && kept.named_by.as_ref().is_none_or(|then| Some(then) == named_by)
            && kept.until.is_none_or(|until| now < until);
        holds.then_some(kept.ruling)
    }
}

impl Asked<'_> {
    fn key(&self) -> Key {
        (self.standing.repository, self.digest.clone())
    }

    /// What the policies say of a blob that nothing makes readable.
    fn refused(&self, code: ReasonCode, message: &str, now: Timestamp) -> Ruling {
        let verdicts: Vec<_> = self.applying.iter().map(|policy| (*policy, refusal(policy, code, message))).collect();
        Ruling::of_blob(self.digest, verdicts.iter().map(|(policy, verdict)| (*policy, verdict)), self.policies, now)
    }
}

impl Registry {
    /// A blob for GET, with what the gate says of it.
    ///
    /// # Errors
    /// Those of [`open_blob`](Self::open_blob).
    pub async fn pull_blob(&self, repo: &RepoName, digest: &Digest) -> Result<Guarded<OpenBlob>> {
        let content = self.open_blob(repo, digest).await?;
        let ruling = self.rule_blob(repo, digest).await?;
        Ok(Guarded { content, ruling })
    }

    /// Whether a policy guards the blobs of a repository, so that what is said of one today may not be said tomorrow.
    pub fn guards_blobs(&self, repo: &RepoName) -> bool {
        !guarding(&self.gate.policies.current(), repo).is_empty()
    }

    async fn rule_blob(&self, repo: &RepoName, digest: &Digest) -> Result<Ruling> {
        let policies = self.gate.policies.current();
        let applying = guarding(&policies, repo);
        if applying.is_empty() {
            return Ok(Ruling::off());
        }
        let standing = self.metadata.trust_standing(repo).await?;
        let standing = standing.ok_or_else(|| RegistryError::BlobUnknown(digest.clone()))?;
        let asked = Asked { repo, digest, standing, policies: &policies, applying };
        if let Some(ruling) = self.gate.kept_blob(&asked, None, self.clock.now()) {
            return Ok(ruling);
        }
        if *digest == *EMPTY {
            return Ok(Ruling::exempt(digest, &policies, self.clock.now()));
        }
        // One more than are looked at, so that those that are left out are noticed.
        let naming = self.metadata.manifests_naming(standing.repository, digest, NAMING_MAX + 1).await?;
        let named_by = sign_of(&naming);
        if let Some(ruling) = self.gate.kept_blob(&asked, Some(&named_by), self.clock.now()) {
            return Ok(ruling);
        }
        let turn = self.gate.blob_turns.of(&asked.key());
        let _turn = turn.lock().await;
        if let Some(ruling) = self.gate.kept_blob(&asked, Some(&named_by), self.clock.now()) {
            return Ok(ruling);
        }
        self.look_through(&asked, &naming, named_by).await
    }

    /// Looks through the manifests that name a blob for one that makes it readable.
    async fn look_through(&self, asked: &Asked<'_>, naming: &[NamingManifest], named_by: Digest) -> Result<Ruling> {
        let (began, now) = (Instant::now(), self.clock.now());
        let is_all = naming.len() <= NAMING_MAX as usize;
        let mut looked = Looked::default();
        for manifest in naming.iter().take(NAMING_MAX as usize) {
            if began.elapsed() > NAMING_TIME {
                let message = "there was no time to look at every manifest that names this blob";
                return Ok(asked.refused(ReasonCode::LimitExceeded, message, now));
            }
            let Some((ruling, asking)) = self.rule_naming(asked, manifest).await? else { continue };
            // The layers of a signature were looked into when it came, and are nothing else.
            let is_enough = asking.len() == asked.applying.len() || manifest.is_signature && manifest.is_layer;
            if is_enough && ruling.is_clean() {
                let kept = KeptBlob {
                    generation: asked.standing.generation,
                    until: ruling.holds_until(),
                    ruling: ruling.clone(),
                    named_by: None,
                };
                self.gate.blobs.insert(asked.key(), kept);
                return Ok(ruling);
            }
            looked.add(ruling, asking, is_enough);
        }
        if !is_all {
            // What guards it may be among those that were not looked at.
            looked.left_out.clear();
        }
        let unnamed =
            || asked.refused(ReasonCode::NoTrustedSigner, "no manifest of the repository names this blob", now);
        let until = looked.until;
        let ruling = looked.ruling(&asked.applying).unwrap_or_else(unnamed);
        let generation = asked.standing.generation;
        let kept = KeptBlob { generation, ruling: ruling.clone(), named_by: Some(named_by), until };
        self.gate.blobs.insert(asked.key(), kept);
        Ok(ruling)
    }

    /// What the policies say of a manifest that names a blob, and which of them are asked. `None`: it has just gone.
    async fn rule_naming<'a>(
        &self,
        asked: &Asked<'a>,
        manifest: &NamingManifest,
    ) -> Result<Option<(Ruling, Vec<&'a Policy>)>> {
        let Asked { repo, standing, policies, applying, .. } = asked;
        let NamingManifest { digest, is_signature, .. } = manifest;
        let mut asking = if *is_signature { Vec::new() } else { applying.clone() };
        if asking.iter().any(|policy| policy.scope.excludes_artifact_types()) {
            let record = self.metadata.manifest_find(repo, &Reference::Digest(digest.clone())).await?;
            let Some(record) = record else { return Ok(None) };
            asking = self.asking(&record, applying);
        }
        let ruling = self.rule_by(repo, *standing, digest, policies, &asking, Keeping::Gate).await?;
        Ok(Some((ruling, asking)))
    }
}

/// The policies that guard the blobs of a repository.
fn guarding<'p>(policies: &'p Policies, repo: &RepoName) -> Vec<&'p Policy> {
    let mut applying = policies.applying(repo, Place::Pull, None);
    applying.retain(|policy| policy.blobs == Blobs::Gate);
    applying
}

/// One digest for everything that names a blob: with the same manifests in the same repository, nothing else comes of a look.
fn sign_of(naming: &[NamingManifest]) -> Digest {
    let line = |NamingManifest { digest, is_signature, is_layer }: &NamingManifest| {
        format!("{digest} {is_signature} {is_layer}")
    };
    let lines: Vec<String> = naming.iter().map(line).collect();
    Digest::of(Algorithm::Sha256, lines.join("\n").as_bytes())
}

/// What a policy says of a blob that nothing makes readable.
fn refusal(policy: &Policy, code: ReasonCode, message: &str) -> Verdict {
    let outcome = if code == ReasonCode::LimitExceeded { Outcome::Fail } else { Outcome::Unsigned };
    let reason = Reason { authority: None, artifact: None, code, message: message.to_owned() };
    Verdict {
        policy: policy.name.clone(),
        revision: policy.revision.to_string(),
        reasons: vec![reason],
        ..Verdict::without_policy(outcome)
    }
}
