//! Who may sign: a key, or identities that an issuer vouches for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::document::CLAIMS;
use super::pattern::Wanted;
use super::person::comparable;
use super::reading::Reading;
use super::shape::{Node, listed};
use crate::clock::Timestamp;
use crate::oci::json::excerpt;
use crate::verify::key::{HashChoice, PublicKey};
use crate::verify::proof::{Failure, Need, Proof, Signer, Trust};
use crate::verify::roots::Root;
use crate::verify::verdict::ReasonCode;

/// Somebody who may sign.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its name in the policy.
    pub name: String,
    /// Who it is.
    pub trusted: Trusted,
    /// Only signatures count whose proved time is not earlier.
    pub not_before: Option<Timestamp>,
    /// Only signatures count whose proved time is not later.
    pub not_after: Option<Timestamp>,
}

/// Who an authority is.
#[derive(Clone, Debug)]
pub enum Trusted {
    /// Who has a key.
    Key(TrustedKey),
    /// Who an issuer vouches for.
    Keyless(Keyless),
}

/// A key, and what has to come with its signatures.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// `sha256:<hex>` of it.
    pub fingerprint: String,
    /// The hash it signs.
    pub hash: HashChoice,
    /// Whether a log must have the signature.
    pub tlog: Need,
    /// Whether a timestamp authority must have signed it.
    pub timestamp: Need,
    /// The logs and timestamp authorities.
    pub root: Option<Arc<Root>>,
}

/// Certificates that are given to identities.
#[derive(Clone, Debug)]
pub struct Keyless {
    /// The root that they lead to.
    pub root: Arc<Root>,
    /// Its name.
    pub root_name: String,
    /// Whether the certificate must be in a log.
    pub sct: Need,
    /// Whether a log must have the signature.
    pub tlog: Need,
    /// Who counts.
    pub identities: Vec<Identity>,
    /// What the certificate must say besides.
    pub claims: BTreeMap<String, String>,
}

/// An identity, and who vouches for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The issuer.
    pub issuer: Wanted,
    /// The identity.
    pub subject: Wanted,
}

impl Authority {
    pub(super) fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let name = cx.name(node);
        let trusted = match (node.field("key"), node.field("keyless")) {
            (Some(key), None) => read_key(node, &key, cx).map(Trusted::Key),
            (None, Some(keyless)) => {
                for own in ["tlog", "timestamp", "trustRoot"].into_iter().filter_map(|name| node.field(name)) {
                    cx.findings.error(&own.place, "this goes with `key`; for certificates it stands inside `keyless`");
                }
                read_keyless(&keyless, cx).map(Trusted::Keyless)
            }
            (both, _) => {
                let what = if both.is_some() { "are both here; keep one" } else { "are both missing; write one" };
                cx.findings.error(&node.place, format!("`key` and `keyless` {what}"));
                None
            }
        };
        let (not_before, not_after) = (cx.moment(node, "notBefore"), cx.moment(node, "notAfter"));
        if let (Some(from), Some(to)) = (not_before, not_after)
            && to < from
        {
            cx.findings.error(&node.place, "`notAfter` is before `notBefore`, so that nothing counts");
        }
        let authority = Self { name: name?, trusted: trusted?, not_before, not_after };
        if (not_before.is_some() || not_after.is_some()) && !authority.proves_time() {
            let message = "`notBefore` and `notAfter` are about the proved time, and nothing proves it here; set `tlog` or \
                           `timestamp` to `require`";
            cx.findings.error(&node.place, message);
        }
        Some(authority)
    }

    /// Whether its signatures come with a proof of their time.
    pub fn proves_time(&self) -> bool {
        match &self.trusted {
            Trusted::Key(key) => key.tlog == Need::Require || key.timestamp == Need::Require,
            Trusted::Keyless(_) => true,
        }
    }

    /// The signers it can be, as issuer and identity, or nothing and the fingerprint of a key; `None` where an expression says
    /// who.
    pub fn signers(&self) -> Option<BTreeSet<(String, String)>> {
        let keyless = match &self.trusted {
            Trusted::Key(key) => return Some([(String::new(), key.fingerprint.clone())].into()),
            Trusted::Keyless(keyless) => keyless,
        };
        let exact = |identity: &Identity| match (&identity.issuer, &identity.subject) {
            (Wanted::Exact(issuer), Wanted::Exact(subject)) => Some((issuer.clone(), comparable(subject).into_owned())),
            _ => None,
        };
        keyless.identities.iter().map(exact).collect()
    }

    /// What a check of a signature may believe.
    pub fn trust(&self) -> Trust<'_> {
        match &self.trusted {
            Trusted::Key(key) => Trust::Key {
                key: &key.key,
                hash: key.hash,
                tlog: key.tlog,
                timestamp: key.timestamp,
                root: key.root.as_deref(),
            },
            Trusted::Keyless(keyless) => Trust::Keyless { root: &keyless.root, sct: keyless.sct, tlog: keyless.tlog },
        }
    }

    /// Whether both have the same trust, so that one check does for both.
    pub(super) fn shares_check(&self, other: &Self) -> bool {
        match (&self.trusted, &other.trusted) {
            (Trusted::Keyless(a), Trusted::Keyless(b)) => {
                Arc::ptr_eq(&a.root, &b.root) && (a.sct, a.tlog) == (b.sct, b.tlog)
            }
            (Trusted::Key(a), Trusted::Key(b)) => {
                let roots = match (&a.root, &b.root) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (a, b) => a.is_none() && b.is_none(),
                };
                roots && (&a.fingerprint, a.hash, a.tlog, a.timestamp) == (&b.fingerprint, b.hash, b.tlog, b.timestamp)
            }
            _ => false,
        }
    }

    /// Whether a proof is by this authority, and made in its time.
    pub fn accept(&self, proof: &Proof) -> Result<(), Failure> {
        match (&self.trusted, &proof.signer) {
            (Trusted::Key(key), Signer::Key { fingerprint }) if *fingerprint == key.fingerprint => {}
            (Trusted::Keyless(keyless), Signer::Identity { issuer, subject, claims }) => {
                keyless.accept(issuer, subject, claims)?;
            }
            _ => return Err(Failure::new(ReasonCode::NoTrustedSigner, "it is by somebody else")),
        }
        let Some(signed_at) = proof.signed_at else {
            let timeless = self.not_before.is_none() && self.not_after.is_none();
            let fault = || Failure::new(ReasonCode::NoTimestamp, "nothing proves when it was made");
            return if timeless { Ok(()) } else { Err(fault()) };
        };
        let early = self.not_before.is_some_and(|from| signed_at < from);
        let late = self.not_after.is_some_and(|to| signed_at > to);
        if early || late {
            let side = if early { "before the authority began" } else { "after the authority ended" };
            return Err(Failure::new(ReasonCode::CertExpired, format!("signed {}, {side}", signed_at.to_rfc3339())));
        }
        Ok(())
    }
}

impl Keyless {
    fn accept(&self, issuer: &str, subject: &str, claims: &BTreeMap<String, String>) -> Result<(), Failure> {
        let mut vouched = self.identities.iter().filter(|identity| identity.issuer.matches(issuer)).peekable();
        if vouched.peek().is_none() {
            let message = format!("vouched for by {}, which is none of the issuers", excerpt(issuer));
            return Err(Failure::new(ReasonCode::IssuerMismatch, message));
        }
        if !vouched.any(|identity| identity.subject.matches(subject)) {
            let message = format!("signed by {}, which is none of the identities", excerpt(subject));
            return Err(Failure::new(ReasonCode::IdentityMismatch, message));
        }
        for (name, wanted) in &self.claims {
            let found = claims.get(name);
            if found != Some(wanted) {
                let found = found.map_or_else(|| "missing".to_owned(), |found| format!("`{}`", excerpt(found)));
                let message = format!("the claim {name} is {found}, not `{}`", excerpt(wanted));
                return Err(Failure::new(ReasonCode::IdentityMismatch, message));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.trusted {
            Trusted::Key(key) => write!(f, "key {}", key.fingerprint)?,
            Trusted::Keyless(keyless) => {
                write!(f, "certificates of {} for", keyless.root_name)?;
                for (at, identity) in keyless.identities.iter().enumerate() {
                    write!(f, "{} {} of {}", if at == 0 { "" } else { "," }, identity.subject, identity.issuer)?;
                }
            }
        }
        Ok(())
    }
}

/// The need of a member; `default` when it is missing or wrong.
fn need(node: &Node<'_>, name: &str, default: Need) -> Need {
    match node.text_of(name) {
        Some("require") => Need::Require,
        Some("ignore") => Need::Ignore,
        _ => default,
    }
}

fn read_key(authority: &Node<'_>, node: &Node<'_>, cx: &mut Reading<'_>) -> Option<TrustedKey> {
    let (tlog, timestamp) = (need(authority, "tlog", Need::Ignore), need(authority, "timestamp", Need::Ignore));
    let root = authority.field("trustRoot");
    if root.is_none() && (tlog == Need::Require || timestamp == Need::Require) {
        let message =
            "`trustRoot` is missing: with `tlog` or `timestamp` on `require` it says whose logs and timestamps count";
        cx.findings.error(&authority.place, message);
    }
    let root = root.and_then(|name| cx.root(&name));
    let (place, pem) = match (node.field("pem"), node.field("file")) {
        (Some(pem), None) => (pem.place.clone(), pem.text()?.to_owned()),
        (None, Some(file)) => {
            let text = String::from_utf8(cx.file(&file)?).map_err(|_| "this is not a key in PEM: it is not a text");
            (file.place.clone(), cx.findings.take(&file.place, text)?)
        }
        (both, _) => {
            let what = if both.is_some() { "are both here; keep one" } else { "are both missing; write one" };
            cx.findings.error(&node.place, format!("`pem` and `file` {what}"));
            return None;
        }
    };
    let key = PublicKey::from_pem(&pem).map_err(|error| format!("this key cannot be used: {error}"));
    let key = cx.findings.take(&place, key)?;
    let hash = match node.text_of("hash") {
        Some("sha256") => HashChoice::Sha256,
        Some("sha384") => HashChoice::Sha384,
        Some("sha512") => HashChoice::Sha512,
        _ => HashChoice::Auto,
    };
    check_hash(node, &key, hash, tlog == Need::Require || timestamp == Need::Require, cx);
    Some(TrustedKey { fingerprint: key.fingerprint(), key, hash, tlog, timestamp, root })
}

/// Finds keys whose signatures can never count: `witnessed` where a log entry or a timestamp has to come with them.
fn check_hash(node: &Node<'_>, key: &PublicKey, hash: HashChoice, witnessed: bool, cx: &mut Reading<'_>) {
    let kind = key.kind();
    let named = node.field("hash").map_or_else(|| node.place.clone(), |hash| hash.place);
    if !key.signs(hash) {
        cx.findings.error(named, format!("{kind} keys have their hash built in, and sign no other; say `auto`"));
    } else if witnessed && !key.is_witnessed(HashChoice::Auto) {
        let message = format!(
            "log entries and timestamps of {kind} keys are not verified, so that none of its signatures counts with `tlog` or \
             `timestamp` on `require`; take a key on P-256 or P-384"
        );
        cx.findings.error(&node.place, message);
    } else if witnessed && !key.is_witnessed(hash) {
        let message = format!(
            "log entries and timestamps of {kind} keys are not verified with this hash, so that no signature counts with \
             `tlog` or `timestamp` on `require`; say `auto`"
        );
        cx.findings.error(named, message);
    }
}

fn read_keyless(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Keyless> {
    let named = node.field("trustRoot");
    let root = named.as_ref().and_then(|name| cx.root(name));
    let all = node.items_of("identities");
    let identities: Vec<_> = all.iter().filter_map(|identity| Identity::read(identity, cx)).collect();
    let claims: BTreeMap<_, _> = node.texts_of("claims").into_iter().collect();
    for (name, claim) in node.field("claims").map(|claims| claims.members()).unwrap_or_default() {
        if !CLAIMS.contains(&name) {
            let message = format!("no certificate has a claim `{}`; there are {}", excerpt(name), listed(&CLAIMS));
            cx.findings.error(&claim.place, message);
        }
    }
    let whole = identities.len() == all.len() && !all.is_empty();
    let (root, root_name) = (root?, named?.text()?.to_owned());
    let (sct, tlog) = (need(node, "sct", Need::Require), need(node, "tlog", Need::Require));
    whole.then_some(Keyless { root, root_name, sct, tlog, identities, claims })
}

impl Identity {
    fn read(node: &Node<'_>, cx: &mut Reading<'_>) -> Option<Self> {
        let issuer = cx.wanted(node, "issuer", "issuerRegExp");
        let subject = cx.wanted(node, "subject", "subjectRegExp");
        Some(Self { issuer: issuer?, subject: subject? })
    }
}
