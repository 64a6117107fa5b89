//! Webhooks and what is on its way to them, as the store gives and takes them.

use std::fmt;
use std::str::FromStr;

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::oci::name::RepoName;

/// Webhooks of a namespace.
pub const WEBHOOKS_MAX: usize = 20;

/// Events that wait for a webhook; what happens when there are as many is not told.
pub const WAITING_MAX: u32 = 10_000;

/// Deliveries of a webhook that are kept; when there are more, the oldest of those that ended go.
pub const KEPT_MAX: u32 = 10_000;

/// Something that a webhook may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookEvent {
    /// A manifest was pushed.
    Push,
    /// A tag points to another manifest.
    Tag,
    /// A manifest, tag, blob or repository was deleted.
    Delete,
    /// Somebody was refused.
    Denial,
    /// Something that satisfied the signature policies does not any more, or does so again.
    Trust,
}

/// Some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookEvents(i64);

/// A text that names none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is one of push, tag, delete, denial and trust")]
pub struct UnknownEvent;

impl HookEvent {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Push, Self::Tag, Self::Delete, Self::Denial, Self::Trust];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Tag => "tag",
            Self::Delete => "delete",
            Self::Denial => "denial",
            Self::Trust => "trust",
        }
    }

    /// What the kind of a recorded event is to a webhook; `None`: nothing.
    pub fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            "manifest.push" => Some(Self::Push),
            "tag.move" => Some(Self::Tag),
            "manifest.delete" | "tag.delete" | "blob.delete" | "repository.delete" => Some(Self::Delete),
            "denial" => Some(Self::Denial),
            "trust.failed" | "trust.passed" => Some(Self::Trust),
            _ => None,
        }
    }

    /// The one bit that stands for it in the database.
    pub(crate) fn bit(self) -> i64 {
        match self {
            Self::Push => 1,
            Self::Tag => 2,
            Self::Delete => 4,
            Self::Denial => 8,
            Self::Trust => 16,
        }
    }
}

impl FromStr for HookEvent {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|event| event.as_str() == text).ok_or(UnknownEvent)
    }
}

impl HookEvents {
    /// Every event.
    pub const ALL: Self = Self(31);

    /// These.
    pub fn of(events: impl IntoIterator<Item = HookEvent>) -> Self {
        Self(events.into_iter().fold(0, |bits, event| bits | event.bit()))
    }

    /// Whether one is among them.
    pub fn contains(self, event: HookEvent) -> bool {
        self.0 & event.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        HookEvent::ALL.into_iter().filter(|event| self.contains(*event)).map(HookEvent::as_str).collect()
    }

    pub(crate) fn bits(self) -> i64 {
        self.0
    }

    /// `None`: there is a bit that stands for nothing.
    pub(crate) fn of_bits(bits: i64) -> Option<Self> {
        (0..=Self::ALL.0).contains(&bits).then_some(Self(bits))
    }
}

/// A webhook to be made.
#[derive(Clone)]
pub struct NewWebhook {
    /// Its public number.
    pub id: String,
    /// Its namespace.
    pub namespace: NamespacePath,
    /// Where to send to.
    pub url: String,
    /// The part of it that may be written down: without path and query.
    pub origin: String,
    /// What signs its deliveries, sealed.
    pub secret_sealed: Vec<u8>,
    /// What it wants to know of.
    pub events: HookEvents,
    /// Now.
    pub now: Timestamp,
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook").field("id", &self.id).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What became of a new webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookAdded {
    /// It is there.
    Added,
    /// There is no such namespace.
    NamespaceUnknown,
    /// The namespace has [`WEBHOOKS_MAX`] of them.
    TooMany,
}

/// A webhook, without what signs its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRecord {
    /// Its public number.
    pub id: String,
    /// Where to send to.
    pub url: String,
    /// What it wants to know of.
    pub events: HookEvents,
    /// Whether anything is sent.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestQueued {
    /// It is on its way, under this number.
    Queued(i64),
    /// There is no such webhook.
    WebhookUnknown,
    /// [`WAITING_MAX`] events wait for it already.
    Full,
}

/// Refusals of one account by one action in one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Where; the path of a namespace stands for the namespace.
    pub repo: RepoName,
    /// Who.
    pub name: Option<String>,
    /// What he may not.
    pub action: &'static str,
    /// The beginning of the minute.
    pub minute: Timestamp,
    /// How often.
    pub count: u64,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It will be sent then.
    Waiting(Timestamp),
    /// It was delivered then.
    Delivered(Timestamp),
    /// It was given up then.
    Dead(Timestamp),
}

/// An event on its way to a webhook, or at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: i64,
    /// The public number of the webhook.
    pub webhook: String,
    /// The event's identifier, the same in every attempt.
    pub event_id: String,
    /// What happened.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// When.
    pub created_at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// The status of the last answer.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
}

/// Which deliveries a node takes.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryClaim {
    /// Now.
    pub now: Timestamp,
    /// Until then nobody else takes them.
    pub until: Timestamp,
    /// Of webhooks with a larger row id.
    pub after: i64,
    /// How many at most.
    pub limit: u32,
}

/// A delivery that a node has taken.
#[derive(Clone)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Row id of the webhook.
    pub hook: i64,
    /// The public number of the webhook.
    pub webhook: String,
    /// Where to send to.
    pub url: String,
    /// What signs it, sealed.
    pub secret_sealed: Vec<u8>,
    /// The event's identifier.
    pub event_id: String,
    /// What happened.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// More of it (JSON).
    pub data: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// When it is given up.
    pub ends_at: Timestamp,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Delivery");
        shown.field("id", &self.id).field("attempt", &self.attempt).field("webhook", &self.webhook);
        shown.finish_non_exhaustive()
    }
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The delivery.
    pub id: i64,
    /// The attempt.
    pub attempt: u32,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// What now.
    pub outcome: Outcome,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is delivered; the row may go at the second moment.
    Delivered(Timestamp, Timestamp),
    /// It is sent again then.
    Again(Timestamp),
    /// It is given up; the row may go at the second moment.
    Dead(Timestamp, Timestamp),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_names_and_bits_of_their_own() {
        for event in HookEvent::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
            assert_eq!(HookEvents::of_bits(event.bit()), Some(HookEvents::of([event])));
            assert_eq!(HookEvents::of([event]).names(), [event.as_str()]);
        }
        assert_eq!(HookEvents::of(HookEvent::ALL), HookEvents::ALL);
        assert_eq!((HookEvents::of_bits(32), HookEvents::of_bits(-1)), (None, None));
        assert_eq!("Push".parse::<HookEvent>(), Err(UnknownEvent));
        assert_eq!(HookEvent::of_kind("user.add"), None);
    }
}
