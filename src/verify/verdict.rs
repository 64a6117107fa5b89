//! What comes of judging a digest: outcome, reasons and evidence, and how they are told to clients.
//!
//! Nothing here decides anything. Whatever goes into a header is made of visible ASCII, escaped and bounded, since names of
//! signers come from certificates that anybody may have got.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::oci::digest::Digest;

/// Most reasons that a verdict keeps; the nearest misses come first.
pub const REASONS_MAX: usize = 16;

/// Longest text of one parameter of a header in characters.
const PARAMETER_CHARS_MAX: usize = 256;
/// How many digits of a revision a header shows.
const REVISION_DIGITS: usize = 12;

/// Why a signature, or a policy as a whole, is not satisfied.
///
/// In the order of how near the miss is: who sees several wants to hear of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonCode {
    /// It is not what it should be by its form.
    Malformed,
    /// There was more to look at than is looked at.
    LimitExceeded,
    /// Made with an algorithm that is not verified here.
    UnsupportedAlgorithm,
    /// The signature does not hold under the key.
    BadSignature,
    /// No signature is by anybody whom the policy names.
    NoTrustedSigner,
    /// The certificate does not lead to a trusted root.
    CertUntrusted,
    /// The certificate was not valid when the signature was made.
    CertExpired,
    /// Nothing proves that the certificate is in a log.
    SctInvalid,
    /// The entry in the log is not what it should be.
    TlogInvalid,
    /// There is no entry in a log.
    TlogMissing,
    /// Nothing proves when it was made, or not at a time that counts.
    NoTimestamp,
    /// It is a signature of something else.
    SubjectMismatch,
    /// Vouched for by another issuer.
    IssuerMismatch,
    /// By another identity of the right issuer.
    IdentityMismatch,
    /// An attestation that is asked for is not there.
    AttestationMissing,
    /// It is there and says something else.
    AttestationCondition,
    /// The policy takes back its trust.
    Revoked,
}

impl ReasonCode {
    /// Every code.
    pub const ALL: [Self; 17] = [
        Self::Malformed,
        Self::LimitExceeded,
        Self::UnsupportedAlgorithm,
        Self::BadSignature,
        Self::NoTrustedSigner,
        Self::CertUntrusted,
        Self::CertExpired,
        Self::SctInvalid,
        Self::TlogInvalid,
        Self::TlogMissing,
        Self::NoTimestamp,
        Self::SubjectMismatch,
        Self::IssuerMismatch,
        Self::IdentityMismatch,
        Self::AttestationMissing,
        Self::AttestationCondition,
        Self::Revoked,
    ];

    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::BadSignature => "bad_signature",
            Self::NoTrustedSigner => "no_trusted_signer",
            Self::CertUntrusted => "cert_untrusted",
            Self::CertExpired => "cert_expired",
            Self::SctInvalid => "sct_invalid",
            Self::TlogInvalid => "tlog_invalid",
            Self::TlogMissing => "tlog_missing",
            Self::NoTimestamp => "no_timestamp",
            Self::SubjectMismatch => "subject_mismatch",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::IdentityMismatch => "identity_mismatch",
            Self::AttestationMissing => "attestation_missing",
            Self::AttestationCondition => "attestation_condition",
            Self::LimitExceeded => "limit_exceeded",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The authority that was tried.
    pub authority: Option<String>,
    /// The manifest of the signature that was tried, or the index that could have vouched.
    pub artifact: Option<Digest>,
    /// What it was.
    pub code: ReasonCode,
    /// The same as a sentence for people.
    pub message: String,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every policy is satisfied.
    Pass,
    /// There is no signature at all.
    Unsigned,
    /// There are signatures, and they do not suffice.
    Fail,
    /// A signature itself, which is not judged.
    Exempt,
    /// Not judged for who asks.
    Bypass,
    /// No policy applies.
    Off,
    /// It could not be judged.
    Error,
}

impl Outcome {
    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unsigned => "unsigned",
            Self::Fail => "fail",
            Self::Exempt => "exempt",
            Self::Bypass => "bypass",
            Self::Off => "off",
            Self::Error => "error",
        }
    }

    /// Whether a gate that enforces stays shut.
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Unsigned | Self::Fail | Self::Error)
    }
}

/// A signature that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The manifest that carries it.
    pub artifact: Digest,
    /// `key:sha256:<hex>`, or issuer, a space, and the identity that it vouched for.
    pub signer: String,
    /// The authority of the policy that it satisfied.
    pub authority: String,
    /// When it was made, where that is proved.
    pub signed_at: Option<Timestamp>,
}

/// What one policy says of one digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was found.
    pub outcome: Outcome,
    /// Name of the policy; empty where none applies.
    pub policy: String,
    /// Revision of the document it stands in; empty where none applies.
    pub revision: String,
    /// What stood in the way, nearest misses first; empty when nothing did.
    pub reasons: Vec<Reason>,
    /// What it stands on; where it did not pass, what counted so far. To be tried first the next time.
    pub evidence: Vec<Evidence>,
    /// Until when it holds if nothing else changes. Of a pass: an attestation grows older than `maxAge` then. Of a refusal:
    /// there was no time for everything, or some clock was ahead, so that it may pass then.
    pub holds_until: Option<Timestamp>,
    /// Whether certificates alone are asked for, and those signatures that there are were all made with keys.
    pub lacks_certificate: bool,
    /// Over how many indexes it came down to the manifest; 0: it is by its own signatures.
    pub levels: usize,
}

impl Verdict {
    /// A verdict that no policy had a part in.
    pub fn without_policy(outcome: Outcome) -> Self {
        Self {
            outcome,
            policy: String::new(),
            revision: String::new(),
            reasons: Vec::new(),
            evidence: Vec::new(),
            holds_until: None,
            lacks_certificate: false,
            levels: 0,
        }
    }

    /// One word for why: the code of the first reason, or `unsigned`.
    pub fn why(&self) -> &'static str {
        match (self.outcome, self.reasons.first()) {
            (Outcome::Fail, Some(reason)) => reason.code.as_str(),
            (outcome, _) => outcome.as_str(),
        }
    }

    /// The sentence of a refusal.
    pub fn message(&self) -> String {
        format!("signature policy '{}' not satisfied: {}", self.policy, self.why())
    }

    /// The sentence of a refusal of tags. What a plain push sends nobody can have signed before, so it says what to do: some
    /// clients show nothing else.
    pub fn tag_message(&self) -> String {
        let message = self.message();
        if self.outcome == Outcome::Error || self.is_revoked() {
            return message;
        }
        format!(
            "{message}; a plain push under this tag cannot satisfy it: push by digest or under a tag that the policy does not \
             match, sign that, then tag it (`crane tag` or `oras tag`)"
        )
    }

    /// Whether the digest itself is not trusted any more, so that no signature helps.
    pub fn is_revoked(&self) -> bool {
        self.reasons.first().is_some_and(|reason| reason.code == ReasonCode::Revoked && reason.artifact.is_none())
    }

    /// The verdict as answers carry it.
    ///
    /// `help` says what to do about it, `digest` of what it is the verdict.
    pub fn to_json(&self, digest: &Digest, help: Option<&str>) -> Value {
        let mut answer = json!({
            "policy": self.policy,
            "revision": self.revision,
            "digest": digest.to_string(),
            "verdict": self.outcome.as_str(),
            "reasons": self.reasons.iter().map(Reason::to_json).collect::<Vec<_>>(),
            "evidence": self.evidence.iter().map(Evidence::to_json).collect::<Vec<_>>(),
        });
        if self.lacks_certificate {
            answer["lacksCertificate"] = Value::from(true);
        }
        if let Some(until) = self.holds_until {
            answer["holdsUntil"] = Value::from(until.to_rfc3339());
        }
        if let Some(help) = help {
            answer["help"] = Value::from(help);
        }
        answer
    }

    /// The value of `X-Signature-Verdict`: an item with parameters (RFC 9651, section 3.3).
    pub fn verdict_header(&self) -> String {
        let mut value = self.outcome.as_str().to_owned();
        if !self.policy.is_empty() {
            push_parameter(&mut value, "policy", &self.policy);
            let digits = self.revision.char_indices().nth(REVISION_DIGITS);
            push_parameter(&mut value, "rev", digits.map_or(&*self.revision, |(at, _)| &self.revision[..at]));
        }
        // Whoever reads `signer` beside a refusal would take it for somebody who vouches for the image.
        if let Some(evidence) = self.evidence.first().filter(|_| self.outcome == Outcome::Pass) {
            push_parameter(&mut value, "signer", &evidence.signer);
        }
        value
    }

    /// The value of `X-Signature-Reason`, a token; `None` when nothing stood in the way.
    pub fn reason_header(&self) -> Option<&'static str> {
        self.outcome.refuses().then(|| self.why())
    }

    /// The value of `X-Signature-Checked`: when it was judged (RFC 3339).
    pub fn checked_header(checked: Timestamp) -> String {
        checked.to_rfc3339()
    }
}

impl Reason {
    /// Whether not everything was looked at, so that what counts may be among the rest.
    pub fn is_want_of_room(&self) -> bool {
        self.code == ReasonCode::LimitExceeded && self.artifact.is_none()
    }

    /// The reason as answers carry it.
    pub fn to_json(&self) -> Value {
        let mut answer = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(authority) = &self.authority {
            answer["authority"] = Value::from(authority.as_str());
        }
        if let Some(artifact) = &self.artifact {
            answer["artifact"] = Value::from(artifact.to_string());
        }
        answer
    }
}

impl Evidence {
    /// The evidence as answers carry it.
    pub fn to_json(&self) -> Value {
        let mut answer = json!({
            "artifact": self.artifact.to_string(), "signer": self.signer, "authority": self.authority,
        });
        if let Some(at) = self.signed_at {
            answer["signedAt"] = Value::from(at.to_rfc3339());
        }
        answer
    }
}

/// A parameter with a text: a String where all of it is visible ASCII (RFC 9651, section 3.3.3), else a Display String
/// (section 3.3.8).
fn push_parameter(header: &mut String, name: &str, text: &str) {
    let text: String = text.chars().take(PARAMETER_CHARS_MAX).collect();
    header.extend([";", name, "="]);
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        header.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                header.push('\\');
            }
            header.push(c);
        }
    } else {
        header.push_str("%\"");
        for byte in text.bytes() {
            match byte {
                b'%' | b'"' | 0..=0x1f | 0x7f.. => write!(header, "%{byte:02x}").expect("a String takes any text"),
                _ => header.push(char::from(byte)),
            }
        }
    }
    header.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::digest::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn passed(signer: &str) -> Verdict {
        let evidence = Evidence {
            artifact: digest("signature"),
            signer: signer.to_owned(),
            authority: "ci".to_owned(),
            signed_at: Some(Timestamp::from_micros(1_795_246_580_000_000)),
        };
        Verdict {
            outcome: Outcome::Pass,
            policy: "prod".to_owned(),
            revision: "0123456789abcdef".repeat(4),
            evidence: vec![evidence],
            ..Verdict::without_policy(Outcome::Pass)
        }
    }

    fn failed(message: &str) -> Verdict {
        let reason = Reason {
            authority: Some("ci".to_owned()),
            artifact: Some(digest("signature")),
            code: ReasonCode::IssuerMismatch,
            message: message.to_owned(),
        };
        Verdict { outcome: Outcome::Fail, reasons: vec![reason], evidence: Vec::new(), ..passed("") }
    }

    #[test]
    fn headers_say_what_was_found() {
        let verdict = passed("key:sha256:ab");
        assert_eq!(verdict.verdict_header(), r#"pass;policy="prod";rev="0123456789ab";signer="key:sha256:ab""#);
        assert_eq!(verdict.reason_header(), None);
        assert_eq!(failed("x").reason_header(), Some("issuer_mismatch"));
        let partly = Verdict { evidence: passed("key:sha256:ab").evidence, ..failed("x") };
        assert_eq!(partly.verdict_header(), r#"fail;policy="prod";rev="0123456789ab""#, "nobody signs a refusal");
        assert_eq!(partly.to_json(&digest("image"), None)["evidence"][0]["signer"], "key:sha256:ab");
        let unsigned = Verdict { outcome: Outcome::Unsigned, ..failed("x") };
        assert_eq!(unsigned.reason_header(), Some("unsigned"));
        assert_eq!(unsigned.message(), "signature policy 'prod' not satisfied: unsigned");
        assert_eq!(Verdict::without_policy(Outcome::Off).verdict_header(), "off");
        assert_eq!(Verdict::checked_header(Timestamp::from_micros(0)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_stands_in_quotes_is_escaped() {
        let header = passed(r#"https://a "b"\ c"#).verdict_header();
        assert!(header.ends_with(r#";signer="https://a \"b\"\\ c""#), "{header}");
        let header = passed("a\"%ü\r\nX-Evil: 1").verdict_header();
        assert!(header.ends_with(";signer=%\"a%22%25%c3%bc%0d%0aX-Evil: 1\""), "{header}");
    }

    #[test]
    fn answers_carry_the_whole_verdict() {
        let answer = failed("by https://other.example").to_json(&digest("image"), Some("cosign sign x"));
        assert_eq!(answer["verdict"], "fail");
        assert_eq!(answer["digest"], digest("image").to_string());
        assert_eq!(answer["reasons"][0]["code"], "issuer_mismatch");
        assert_eq!(answer["reasons"][0]["authority"], "ci");
        assert_eq!(answer["help"], "cosign sign x");
        let answer =
            Verdict { holds_until: Some(Timestamp::from_micros(0)), ..passed("k") }.to_json(&digest("i"), None);
        assert_eq!(answer["evidence"][0]["signedAt"], "2026-11-21T07:36:20Z");
        assert_eq!(answer["holdsUntil"], "1970-01-01T00:00:00Z");
        assert!(answer.get("help").is_none() && answer.get("lacksCertificate").is_none());
        let keys = Verdict { lacks_certificate: true, ..failed("made with a key") };
        assert_eq!(keys.to_json(&digest("i"), None)["lacksCertificate"], true);
    }

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), ReasonCode::ALL.len());
        assert!(ReasonCode::ALL.is_sorted());
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_a_header(text in any::<String>(), times in 1_usize..40) {
            let verdict = passed(&text.repeat(times));
            let header = verdict.verdict_header();
            prop_assert!(header.bytes().all(|b| matches!(b, b' '..=b'~')));
            prop_assert!(header.len() < 100 + 12 * PARAMETER_CHARS_MAX);
        }
    }
}
