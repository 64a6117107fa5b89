//! What happened, as the store takes and gives it, and the chain that ties it together.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;

/// Something that happened outside of any other transaction.
#[derive(Clone, Debug)]
pub struct AuditNote {
    /// Who did it.
    pub by: Actor,
    /// What kind of thing, such as `login`.
    pub kind: &'static str,
    /// What it was done to.
    pub subject: String,
    /// The rest.
    pub detail: Json,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Row id, in the order in which events began to be written.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What kind of thing, such as `manifest.push`.
    pub kind: String,
    /// The account, the job, or `command line`.
    pub actor: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// Of the request.
    pub request_id: Option<String>,
    /// What it was done to.
    pub subject: String,
    /// The rest, as a JSON object.
    pub detail: String,
    /// Its place in the chain, once it has one.
    pub seal: Option<Seal>,
}

impl AuditEvent {
    /// The rest, read; a text where it is no JSON any more.
    pub fn detail(&self) -> Json {
        serde_json::from_str(&self.detail).unwrap_or_else(|_| Json::from(self.detail.as_str()))
    }

    /// For programs: everything that the hash is made of, the time in microseconds and for people.
    pub fn to_json(&self) -> Json {
        let Self { at, kind, actor, address, request_id, subject, .. } = self;
        json!({
            "sequence": self.seal.map(|seal| seal.sequence),
            "hash": self.seal.map(|seal| hex::encode(seal.hash)),
            "id": self.id,
            "at": at.as_micros(),
            "time": at.to_rfc3339(),
            "kind": kind,
            "actor": actor,
            "address": address,
            "request_id": request_id,
            "subject": subject,
            "detail": self.detail(),
        })
    }
}

/// A place in the chain; the default is the one before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// Counted from 1 without a gap.
    pub sequence: i64,
    /// SHA-256 over the hash before it and the event.
    pub hash: [u8; 32],
}

/// What stands for the length of a text that is not there.
const ABSENT: u64 = u64::MAX;

impl Seal {
    /// The place of the event that follows.
    ///
    /// The hash is over the hash before it, sequence and time (microseconds) as eight bytes each, then kind, actor, address,
    /// request, subject and detail, each behind its length in bytes; numbers have their highest byte first.
    #[must_use]
    pub fn next(&self, event: &AuditEvent) -> Self {
        let sequence = self.sequence.saturating_add(1);
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(sequence.to_be_bytes());
        hash.update(event.at.as_micros().to_be_bytes());
        let AuditEvent { kind, actor, address, request_id, subject, detail, .. } = event;
        let texts = [Some(kind), actor.as_ref(), address.as_ref(), request_id.as_ref(), Some(subject), Some(detail)];
        for text in texts {
            hash.update(text.map_or(ABSENT, |text| text.len() as u64).to_be_bytes());
            hash.update(text.map_or("", String::as_str));
        }
        Self { sequence, hash: hash.finalize().into() }
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(self.hash))
    }
}

/// A text that names no place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a place in the chain is written SEQUENCE:HASH, a number from 1 and 64 hexadecimal digits")]
pub struct SealError;

impl FromStr for Seal {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let (sequence, hash) = text.split_once(':').ok_or(SealError)?;
        let sequence = sequence.parse().ok().filter(|sequence| *sequence > 0).ok_or(SealError)?;
        let hash = hex::decode(hash).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(SealError)?;
        Ok(Self { sequence, hash })
    }
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// By whom.
    pub actor: Option<String>,
    /// Of which kind.
    pub kind: Option<String>,
    /// What their subject begins with.
    pub subject: Option<String>,
}

/// Some events, the newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditPage {
    /// They, fewer than were asked for if need be, even none.
    pub events: Vec<AuditEvent>,
    /// The id before which the list goes on; `None`: there are no more.
    pub next: Option<i64>,
}

/// What has no place in the chain yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditTail {
    /// How many events; no more are counted than were asked for.
    pub events: u64,
    /// When the first of them happened.
    pub since: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AuditEvent {
        AuditEvent {
            id: 9,
            at: Timestamp::from_micros(1_000_000),
            kind: "manifest.push".to_owned(),
            actor: Some("ann".to_owned()),
            address: Some("127.0.0.1".to_owned()),
            request_id: None,
            subject: "a/b@sha256:00".to_owned(),
            detail: "{}".to_owned(),
            seal: None,
        }
    }

    #[test]
    fn the_encoding_never_changes() {
        let one = Seal::default().next(&event());
        insta::assert_snapshot!(one, @"1:84fe1dfbfe4296a7789616f75fca0b2d44887609cb1190c0abfd808da29c512d");
        insta::assert_snapshot!(one.next(&event()), @"2:a3fc82ee88e0c938b76f1c8b16e1c37f04055e4f47160bae2caf1c7203846f38");
    }

    #[test]
    fn every_field_and_every_border_between_fields_counts() {
        let changes: [fn(&mut AuditEvent); 9] = [
            |event| event.at = Timestamp::from_micros(1_000_001),
            |event| event.kind.push('x'),
            |event| event.actor = None,
            |event| event.actor = Some(String::new()),
            |event| event.address = Some("::1".to_owned()),
            |event| event.request_id = Some(String::new()),
            |event| event.subject.push('x'),
            |event| event.detail.push(' '),
            |event| {
                event.actor = Some("an".to_owned());
                event.address = Some("n127.0.0.1".to_owned());
            },
        ];
        let sealed = Seal::default().next(&event());
        for (number, change) in changes.iter().enumerate() {
            let mut changed = event();
            change(&mut changed);
            assert_ne!(Seal::default().next(&changed).hash, sealed.hash, "{number}");
        }
        assert_ne!(sealed.next(&event()).hash, sealed.hash);
    }

    #[test]
    fn a_place_reads_back_and_nothing_else_is_one() {
        let seal = Seal::default().next(&event());
        assert_eq!(seal.to_string().parse(), Ok(seal));
        for bad in ["", "1", "1:", "0:00", "x:00", &format!("0:{}", "0".repeat(64)), &format!("1:{}", "0".repeat(63))] {
            assert_eq!(bad.parse::<Seal>(), Err(SealError), "{bad}");
        }
    }
}
