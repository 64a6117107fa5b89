//! Deliveries: what is due is taken, sent, and settled.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use secrecy::SecretString;

use crate::clock::{Entropy, Timestamp};
use crate::hooks::event::SigningKey;
use crate::hooks::sender::{Sent, Signed};
use crate::hooks::{HookUrl, Hooks, event, sealed_name};
use crate::metadata::Result;
use crate::metadata::model::webhooks::{Delivery, DeliveryClaim, Outcome, Settled};

/// Requests under way at once, each to another webhook.
const AT_ONCE: usize = 32;

/// For how long a delivery is not taken again: longer than a request lasts.
const CLAIM: Duration = Duration::from_mins(1);

/// How often it is looked for more while requests are under way.
const LOOK: Duration = Duration::from_secs(1);

/// Most attempts of a delivery.
const ATTEMPTS_MAX: u32 = 12;

/// Pauses between attempts: this, then twice as long each time, up to the longest.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// How long deliveries are listed after their end.
const DELIVERED_KEPT: Duration = Duration::from_hours(1);
const DEAD_KEPT: Duration = Duration::from_hours(24 * 30);

/// How often the outbox is tidied, and how many rows at a time.
const TIDY_PAUSE: Duration = Duration::from_mins(1);
const TIDY_ROWS: u32 = 1_000;

impl Hooks {
    /// Sends what is due, until nothing is; says how many requests that were. Dropped before its end, it leaves deliveries
    /// that are sent again a minute later.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn deliver_due(&self) -> Result<usize> {
        self.look_after().await?;
        if !self.store.delivery_due(self.clock.now()).await? {
            return Ok(0);
        }
        let (mut under_way, mut after, mut sent) = (FuturesUnordered::new(), 0, 0);
        // What is under way is brought to its end whatever fails beside it: dropped, it would be sent twice.
        let mut failed = None;
        loop {
            while failed.is_none() && under_way.len() < AT_ONCE {
                match self.claim_next(&mut after, AT_ONCE - under_way.len()).await {
                    Ok(claimed) if claimed.is_empty() => break,
                    Ok(claimed) => {
                        sent += claimed.len();
                        under_way.extend(claimed.into_iter().map(|delivery| self.deliver(delivery)));
                    }
                    Err(error) => failed = Some(error),
                }
            }
            tokio::select! {
                settled = under_way.next() => match (settled, failed.take()) {
                    (Some(settled), before) => failed = before.or(settled.err()),
                    (None, Some(error)) => return Err(error),
                    (None, None) => return Ok(sent),
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Takes what is due behind a webhook, and from the first one on again when there is nothing: each comes in its turn.
    async fn claim_next(&self, after: &mut i64, limit: usize) -> Result<Vec<Delivery>> {
        // There may always be something to send.
        self.look_after().await?;
        let mut claimed = self.claim(*after, limit).await?;
        if claimed.is_empty() && *after > 0 {
            claimed = self.claim(0, limit).await?;
        }
        *after = claimed.last().map_or(0, |last| last.hook);
        Ok(claimed)
    }

    async fn claim(&self, after: i64, limit: usize) -> Result<Vec<Delivery>> {
        let now = self.clock.now();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.store.delivery_claim(DeliveryClaim { now, until: now.after(CLAIM), after, limit }).await
    }

    async fn deliver(&self, delivery: Delivery) -> Result<()> {
        let sent = self.send(&delivery).await;
        let settled = self.judge(&delivery, sent);
        let (webhook, id, attempt, status) = (delivery.webhook.as_str(), delivery.id, delivery.attempt, settled.status);
        let why = settled.error.as_deref().unwrap_or_default();
        match settled.outcome {
            Outcome::Delivered(..) => tracing::debug!(webhook, delivery = id, attempt, status, "event delivered"),
            Outcome::Again(_) => tracing::info!(webhook, delivery = id, attempt, status, why, "event not delivered"),
            Outcome::Dead(..) => tracing::warn!(webhook, delivery = id, attempt, status, why, "event given up"),
        }
        self.store.delivery_settle(&settled).await.map(drop)
    }

    /// Signs and sends; an error is a reason never to try again.
    async fn send(&self, delivery: &Delivery) -> std::result::Result<Sent, String> {
        let sealed = self.auth.unseal(&sealed_name(&delivery.webhook), &delivery.secret_sealed);
        let secret = sealed.map_err(|error| format!("the secret of the webhook cannot be read: {error}"))?;
        let secret = String::from_utf8(secret).map(SecretString::from).ok();
        let key = secret.as_ref().and_then(SigningKey::parse).ok_or("the secret of the webhook is none")?;
        // What was allowed when the webhook was made need not be so now.
        let url = HookUrl::parse(&delivery.url, &self.options.networks).map_err(|error| error.to_string())?;
        let body = event::body(delivery, &self.options.source);
        let timestamp = event::seconds(self.clock.now());
        let id = delivery.event_id.clone();
        let signature = key.sign(&id, &timestamp, &body);
        Ok(self.sender.send(&url, Signed { id, body, timestamp, signature }).await)
    }

    fn judge(&self, delivery: &Delivery, sent: std::result::Result<Sent, String>) -> Settled {
        let now = self.clock.now();
        let dead = Outcome::Dead(now, now.after(DEAD_KEPT));
        let (status, error, outcome) = match sent {
            Ok(Sent::Answered(status @ 200..=299)) => {
                (Some(status), None, Outcome::Delivered(now, now.after(DELIVERED_KEPT)))
            }
            Ok(Sent::Answered(status)) => {
                let redirect = if (300..=399).contains(&status) { "; redirects are not followed" } else { "" };
                (Some(status), Some(format!("the receiver answered {status}{redirect}")), self.later(delivery, now))
            }
            Ok(Sent::Failed(why)) => (None, Some(why), self.later(delivery, now)),
            Ok(Sent::NotAllowed) => {
                let why = "the receiver is not in a network that `webhooks.allowed_networks` allows";
                (None, Some(why.to_owned()), dead)
            }
            Err(why) => (None, Some(why), dead),
        };
        Settled { id: delivery.id, attempt: delivery.attempt, status, error, outcome }
    }

    /// Once more after a pause, or never again.
    fn later(&self, delivery: &Delivery, now: Timestamp) -> Outcome {
        let next = now.after(pause(delivery.attempt, self.entropy.as_ref()));
        if delivery.attempt >= ATTEMPTS_MAX || next >= delivery.ends_at {
            return Outcome::Dead(now, now.after(DEAD_KEPT));
        }
        Outcome::Again(next)
    }

    /// Puts on its way what is told once a minute, and now and then gives up what was not delivered in time and forgets
    /// what ended long ago.
    async fn look_after(&self) -> Result<()> {
        self.tell_denials(false).await?;
        let now = self.clock.now();
        if self.tidied.load(Ordering::Relaxed) > now.before(TIDY_PAUSE).as_micros() {
            return Ok(());
        }
        self.tidied.store(now.as_micros(), Ordering::Relaxed);
        while self.store.delivery_tidy(now, now.after(DEAD_KEPT), TIDY_ROWS).await? >= u64::from(TIDY_ROWS) {}
        Ok(())
    }
}

/// How long to wait after an attempt: longer each time, and up to a fifth more by chance, so that receivers which failed
/// together are not asked together.
fn pause(attempt: u32, entropy: &dyn Entropy) -> Duration {
    let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let pause = PAUSE_MIN.saturating_mul(doubled).min(PAUSE_MAX);
    pause + pause * u32::from(entropy.bytes16()[0]) / 255 / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn pauses_grow_from_ten_seconds_to_an_hour() {
        let entropy = SeededEntropy::new(1);
        let expected = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600];
        for (attempt, seconds) in (1..).zip(expected) {
            let least = Duration::from_secs(seconds);
            for _ in 0..100 {
                let pause = pause(attempt, &entropy);
                assert!((least..=least * 6 / 5).contains(&pause), "{attempt}: {pause:?}");
            }
        }
        assert!(pause(u32::MAX, &entropy) >= PAUSE_MAX);
    }
}
