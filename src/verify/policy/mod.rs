//! Policies: whose signatures which images need, as one document says it.
//!
//! A document is read as a whole: either everything in it is sound, or every fault is named and nothing of it holds. All
//! policies that match have to be satisfied, so that another policy can only tighten.

mod authority;
mod candidates;
mod canonical;
mod combine;
mod conditions;
mod document;
mod evaluate;
mod evaluation;
mod finding;
mod in_force;
mod inline;
mod lint;
mod pattern;
mod person;
mod reading;
mod rules;
mod scope;
mod shape;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::oci::name::{RepoName, Tag};
use crate::verify::verdict::{Outcome, ReasonCode, Verdict};

use reading::Reading;
use shape::Node;

pub use authority::{Authority, Identity, Keyless, Trusted, TrustedKey};
pub use candidates::{CandidateRef, order};
pub use combine::{Combined, combine};
pub use conditions::Condition;
pub use document::CLAIMS;
pub use evaluate::{Budget, Judgement, Open, Opened, Stopwatch, evaluate};
pub use finding::{Faults, Finding, Severity};
pub use in_force::{Failed, InForce, Status};
pub use inline::Inlined;
pub use pattern::{Pattern, PatternError, Wanted};
pub use reading::Files;
pub use rules::{AttestationRule, Revoked, SignatureRule};
pub use scope::{Blobs, Children, Gate, Mode, Readers, Scope};
pub use text::DOCUMENT_BYTES_MAX;

/// All policies of one document.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    policies: Vec<Policy>,
    revision: Arc<str>,
}

/// One policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name, unlike that of any other policy of the document.
    pub name: String,
    /// The revision of the document it stands in.
    pub revision: Arc<str>,
    /// What it is about.
    pub scope: Scope,
    /// How strictly it is meant.
    pub mode: Mode,
    /// Where it is asked.
    pub gates: Vec<Gate>,
    /// Who may sign.
    pub authorities: Vec<Authority>,
    /// Which signatures are asked for.
    pub signature: Option<SignatureRule>,
    /// Which attestations are asked for.
    pub attestations: Vec<AttestationRule>,
    /// How the manifests of a passing index are judged.
    pub children: Children,
    /// Who may read what does not pass yet.
    pub readers: Readers,
    /// Whether blobs are guarded.
    pub blobs: Blobs,
    /// Whom and what it trusts no more.
    pub revoked: Revoked,
}

/// A document that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its policies.
    pub policies: Policies,
    /// What is odd about it.
    pub warnings: Vec<Finding>,
}

impl Loaded {
    /// The same for a registry without accounts, where everybody may push.
    ///
    /// # Errors
    /// The policies that would guard nothing there, and what is odd about the document.
    pub fn without_accounts(self) -> Result<Self, Faults> {
        let void = self.policies.void_without_accounts();
        if void.is_empty() { Ok(self) } else { Err(Faults(void.into_iter().chain(self.warnings).collect())) }
    }
}

impl Policies {
    /// Reads a document, YAML or JSON, and the files that it names.
    ///
    /// # Errors
    /// Everything that is wrong with it, and everything that is odd.
    pub fn load(bytes: &[u8], files: Files<'_>) -> Result<Loaded, Faults> {
        Self::load_under(bytes, files, None)
    }

    /// The same with another trusted root in the place of every file that `trustRoots` names.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_under(bytes: &[u8], files: Files<'_>, root: Option<&[u8]>) -> Result<Loaded, Faults> {
        let tree = text::read(bytes).map_err(|(line, message)| {
            Faults(vec![Finding { severity: Severity::Error, place: String::new(), line, message }])
        })?;
        if tree.value.is_null() {
            // Perhaps a file that was not written, or is being: nothing that is taken for "no policies".
            let message =
                "the document is empty; one that ends all policies says `apiVersion: trust/v1` and `policies: []`";
            let message = message.to_owned();
            return Err(Faults(vec![Finding { severity: Severity::Error, place: String::new(), line: None, message }]));
        }
        let mut cx = Reading::new(files);
        shape::check(&document::DOCUMENT, &tree.value, "", &mut cx.findings);
        // What comes next looks through one list for each entry of another, and takes the product of their lengths.
        if cx.findings.has_excess() {
            return Err(Faults(cx.findings.finish(&tree.lines)));
        }
        let document = Node::root(&tree.value);
        cx.read_roots(&document, root);
        let policies = read_policies(&document, &mut cx);
        lint::document(&document, &policies, &mut cx);
        let revision: Arc<str> = canonical::revision(&tree.value, &cx.seen).into();
        let unusable = cx.findings.has_errors();
        let findings = cx.findings.finish(&tree.lines);
        if unusable {
            return Err(Faults(findings));
        }
        let policies =
            policies.into_iter().map(|policy| Policy { revision: Arc::clone(&revision), ..policy }).collect();
        Ok(Loaded { policies: Self { policies, revision }, warnings: findings })
    }

    /// The revision: the same for every document that says the same. Empty when there is none.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// All of them, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// Whether any of them leaves types of referrers out.
    pub fn exclude_artifact_types(&self) -> bool {
        self.iter().any(|policy| policy.scope.excludes_artifact_types())
    }

    /// The one with a name.
    pub fn get(&self, name: &str) -> Option<&Policy> {
        self.iter().find(|policy| policy.name == name)
    }

    /// Those that have to be satisfied at a gate of a repository, strictest mode first.
    ///
    /// A tag matters at [`Gate::Tag`] only: reads are judged by digest, since whoever resolves a tag asks for the digest
    /// next, and a gate that looks at tags alone would be none.
    pub fn applying(&self, repository: &RepoName, gate: Gate, tag: Option<&Tag>) -> Vec<&Policy> {
        let mut applying: Vec<_> = self.iter().filter(|policy| policy.applies(repository, gate, tag)).collect();
        applying.sort_by_key(|policy| std::cmp::Reverse(policy.mode));
        applying
    }

    /// The policies that would guard nothing where nobody has an account: there everybody may push, so everybody would be
    /// an exception.
    pub fn void_without_accounts(&self) -> Vec<Finding> {
        self.iter().filter_map(lint::void_without_accounts).collect()
    }
}

impl Policy {
    fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let name = cx.name(node);
        let scope = node.field("match").and_then(|at| Scope::read(&at, cx));
        let named = node.items_of("authorities");
        let authorities: Vec<_> = named.iter().filter_map(|authority| Authority::read(authority, cx)).collect();
        // With one of them missing, places among them would be those of others.
        let whole = authorities.len() == named.len();
        let known = if whole { authorities.as_slice() } else { &[] };
        let asked = node.field("signature");
        let signature = asked.as_ref().map(|at| SignatureRule::read(at, &named, cx));
        let rules = node.items_of("attestations");
        let attestations: Vec<_> =
            rules.iter().filter_map(|rule| AttestationRule::read(rule, &named, known, cx)).collect();
        let asks = asked.is_some() || !rules.is_empty();
        if !asks {
            let message = "this policy asks for nothing; add `signature: {threshold: 1}`, or `attestations`";
            cx.findings.error(&node.place, message);
        }
        let readers = Readers::read(node.field("unverifiedReaders").as_ref(), cx);
        let revoked = node.field("revoke").map(|at| Revoked::read(&at, cx)).unwrap_or_default();
        let sound = asks && whole && attestations.len() == rules.len() && !matches!(signature, Some(None));
        let word = |name: &str| node.text_of(name).unwrap_or_default();
        let policy = Self {
            name: name?,
            revision: Arc::default(),
            scope: scope?,
            mode: mode(word("mode"))?,
            gates: gates(node),
            authorities,
            signature: signature.flatten(),
            attestations,
            children: if word("children") == "each" { Children::Each } else { Children::Inherit },
            readers,
            blobs: if word("blobs") == "open" { Blobs::Open } else { Blobs::Gate },
            revoked,
        };
        sound.then_some(policy)
    }

    /// Whether it has to be satisfied at a gate of a repository.
    pub fn applies(&self, repository: &RepoName, gate: Gate, tag: Option<&Tag>) -> bool {
        self.mode != Mode::Off
            && self.gates.contains(&gate)
            && self.scope.covers(repository)
            && (gate != Gate::Tag || tag.is_none_or(|tag| self.scope.covers_tag(tag)))
    }

    /// What to do about a verdict: the command that would satisfy it for an image `host/repository@digest`.
    pub fn help(&self, verdict: &Verdict, image: &str) -> Option<String> {
        if !verdict.outcome.refuses() || verdict.outcome == Outcome::Error {
            return None;
        }
        if verdict.is_revoked() {
            return Some("this image is revoked; pull another one, or push and sign a new one".to_owned());
        }
        let first = verdict.reasons.first().map(|reason| reason.code);
        let lacks_attestation =
            matches!(first, Some(ReasonCode::AttestationMissing | ReasonCode::AttestationCondition));
        match &self.signature {
            Some(rule) if !lacks_attestation || verdict.outcome == Outcome::Unsigned => {
                let key = rule.of.iter().any(|at| matches!(self.authorities[*at].trusted, Trusted::Key(_)));
                Some(format!("cosign sign {}{image}", if key { "--key cosign.key " } else { "" }))
            }
            _ => {
                let told = |rule: &&AttestationRule| {
                    let lacking = self.lacking(rule);
                    verdict.reasons.iter().any(|reason| reason.message == lacking)
                };
                let rule = self.attestations.iter().find(told).or(self.attestations.first())?;
                let key = rule.of.iter().any(|at| matches!(self.authorities[*at].trusted, Trusted::Key(_)));
                let key = if key { "--key cosign.key " } else { "" };
                Some(format!("cosign attest {key}--type {} --predicate predicate.json {image}", rule.predicate_type))
            }
        }
    }

    /// The same where `image` is refused a tag: it need not be stored, and can be signed only when it is.
    pub fn tag_help(&self, verdict: &Verdict, image: &str, tag: &str) -> Option<String> {
        let sign = self.help(verdict, image)?;
        if verdict.is_revoked() {
            return Some(sign);
        }
        Some(format!(
            "push it by digest, or under a tag that the policy does not match; then `{sign}`; then `crane tag {image} {tag}`"
        ))
    }

    /// What is said where no attestation satisfies a rule.
    fn lacking(&self, rule: &AttestationRule) -> String {
        format!("no attestation {} counts that is by {}", rule.predicate_type, self.names(&rule.of))
    }

    /// The names of authorities.
    fn names(&self, of: &[usize]) -> String {
        of.iter().map(|at| self.authorities[*at].name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What it asks for, a sentence each.
    pub fn asks(&self) -> Vec<String> {
        let named = |of: &[usize]| self.names(of);
        let mut asks = Vec::new();
        if let Some(rule) = &self.signature {
            let formats = match (rule.bundle, rule.legacy) {
                (true, false) => ", bundles only",
                (false, true) => ", legacy format only",
                _ => "",
            };
            let signers = if rule.threshold == 1 { "a signature" } else { "signatures" };
            asks.push(format!("{signers} by {} of {}{formats}", rule.threshold, named(&rule.of)));
            for (name, value) in &rule.annotations {
                asks.push(format!("with the signed annotation {name}={value}"));
            }
            if rule.own_reference {
                asks.push("signed under the name of this repository".to_owned());
            }
        }
        for rule in &self.attestations {
            asks.push(format!("an attestation {} by {}", rule.predicate_type, named(&rule.of)));
            asks.extend(rule.conditions.iter().map(|condition| format!("where {condition}")));
            asks.extend(rule.max_age.map(|age| format!("not older than {} hours", age.as_secs().div_ceil(3600))));
        }
        asks
    }
}

fn read_policies(root: &Node<'_>, cx: &mut Reading<'_>) -> Vec<Policy> {
    let nodes = root.items_of("policies");
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for node in &nodes {
        unique(node, &mut names, cx);
        let mut authorities = BTreeMap::new();
        node.items_of("authorities").iter().for_each(|authority| unique(authority, &mut authorities, cx));
    }
    nodes.iter().filter_map(|node| Policy::read(node, cx)).collect()
}

/// Notes a name that stands at another place too.
fn unique<'a>(node: &Node<'a>, names: &mut BTreeMap<&'a str, String>, cx: &mut Reading<'_>) {
    let Some(name) = node.text_of("name") else { return };
    if let Some(first) = names.get(name) {
        let message = format!("{first} has this name already; choose another one");
        cx.findings.error(format!("{}.name", node.place), message);
    } else {
        names.insert(name, node.place.clone());
    }
}

fn mode(word: &str) -> Option<Mode> {
    [Mode::Off, Mode::Warn, Mode::Enforce].into_iter().find(|mode| mode.as_str() == word)
}

fn gates(node: &Node<'_>) -> Vec<Gate> {
    if node.field("on").is_none() {
        return vec![Gate::Push, Gate::Pull];
    }
    let words: Vec<_> = node.items_of("on").iter().filter_map(Node::text).collect();
    Gate::ALL.into_iter().filter(|gate| words.contains(&gate.as_str())).collect()
}

/// The JSON Schema of a document.
pub fn schema() -> Value {
    let mut schema = shape::schema(&document::DOCUMENT);
    schema["$schema"] = Value::from("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = Value::from("Signature policies of Bonded");
    schema
}

/// The rows of the reference page: every member of a document.
pub fn reference_rows() -> String {
    let mut rows = String::new();
    shape::reference(&document::DOCUMENT, "", &mut rows);
    rows
}
