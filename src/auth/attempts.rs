//! How many logins may fail.
//!
//! A login by password is counted as a failure in the database before its password is hashed, and given back when it was
//! right; so the number is exact, however many nodes are asked at once. There are three numbers, each for a time that
//! begins with the first failure: of the account from this address, of this address, and of the account from everywhere.
//! The last does not bind an address from which somebody has logged in to the account of late: so whoever knows the
//! password is shut out by others only from where he has never been, and not for longer than that time.
//!
//! Tokens are not worth guessing, and one that has expired is sent again and again by machines that mean no harm, often from
//! the address of many others; so wrong ones are requests without an account, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use crate::access::{AddressBlock, LoginLimits, UserName};
use crate::auth::service::{Auth, AuthError, Result};
use crate::clock::Timestamp;
use crate::metadata::model::limits::{Attempted, CountedAttempt, LoginAttempt};

/// Refusals that are kept in mind.
const KEPT_MAX: usize = 20_000;

/// How long a refusal is repeated without asking the database again.
const REFUSAL_REPEATED: Duration = Duration::from_secs(1);

/// How long an address counts as known after a login.
const KNOWN_FOR: Duration = Duration::from_hours(24 * 30);

/// What this process keeps in mind about logins.
#[derive(Debug)]
pub(super) struct Attempts {
    limits: LoginLimits,
    /// By address, or by account and address: until when it is refused, and until when nobody asks whether it still is.
    refused: Cache<String, (Timestamp, Timestamp)>,
    /// Logins under way.
    under_way: Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
}

/// The place of a login among those that are hashed.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    attempts: &'a Attempts,
    key: [u8; 32],
    alone: Option<OwnedMutexGuard<()>>,
}

impl Attempts {
    pub(super) fn new(limits: LoginLimits) -> Self {
        Self { limits, refused: Cache::new(KEPT_MAX), under_way: Mutex::default() }
    }

    fn attempt(&self, user: &str, from: AddressBlock, now: Timestamp) -> LoginAttempt {
        let account = user.parse::<UserName>().map_or_else(|_| user.to_owned(), |name| name.to_string());
        let address = from.to_string();
        LoginAttempt {
            pair: digest(&["pair", &account, &address]),
            address: digest(&["address", &address]),
            account: digest(&["account", &account]),
            limits: self.limits,
            now,
        }
    }
}

/// What a counter is called, so that nothing that somebody typed into the wrong field is written down.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

impl Auth {
    /// Counts a login that is about to be tried.
    ///
    /// # Errors
    /// [`AuthError::TooManyFailures`].
    pub(super) async fn begin_attempt(&self, user: &str, from: AddressBlock) -> Result<CountedAttempt> {
        let (now, attempts) = (self.clock.now(), &self.attempts);
        let attempt = attempts.attempt(user, from, now);
        let refused = [&attempt.address, &attempt.pair].into_iter().filter_map(|key| attempts.refused.get(key));
        if let Some((until, _)) = refused.into_iter().find(|(_, repeated)| now < *repeated) {
            return Err(AuthError::TooManyFailures { wait: now.until(until) });
        }
        match self.store.login_try(&attempt).await? {
            Attempted::Counted(counted) => Ok(counted),
            Attempted::Refused { key, until } => {
                let repeated = until.min(now.after(REFUSAL_REPEATED));
                attempts.refused.insert(key, (until, repeated));
                Err(AuthError::TooManyFailures { wait: now.until(until) })
            }
        }
    }

    /// Gives back what was counted for a login whose password was right.
    pub(super) async fn end_attempt(&self, counted: &CountedAttempt) -> Result<()> {
        let known_until = self.clock.now().after(KNOWN_FOR);
        Ok(self.store.login_give_back(counted, Some(known_until)).await?)
    }

    /// The same for a login that could not be judged.
    pub(super) async fn drop_attempt(&self, counted: &CountedAttempt) -> Result<()> {
        Ok(self.store.login_give_back(counted, None).await?)
    }

    /// Waits for those who log in with the same name and password, so that many clients who begin at once do not count as
    /// many failures before the first is known to be right.
    pub(super) async fn turn(&self, key: [u8; 32]) -> Result<Turn<'_>> {
        let lock = {
            let mut under_way = self.attempts.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(under_way.entry(key).or_default())
        };
        // Made before the wait: whoever goes away while he waits leaves nothing behind.
        let mut turn = Turn { attempts: &self.attempts, key, alone: None };
        turn.alone = Some(lock.lock_owned().await);
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.alone = None;
        let mut under_way = self.attempts.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_addresses_and_both_are_counted_apart() {
        let attempts = Attempts::new(LoginLimits::default());
        let block = |text: &str| AddressBlock::from(text.parse().ok());
        let now = Timestamp::default();
        let one = attempts.attempt("Ann", block("192.0.2.1"), now);
        assert_eq!(one.account, attempts.attempt("ann", block("192.0.2.2"), now).account);
        assert_eq!(one.address, attempts.attempt("bob", block("192.0.2.1"), now).address);
        assert_eq!(one.pair, attempts.attempt("ann", block("192.0.2.1"), now).pair);
        assert_ne!(one.pair, attempts.attempt("ann", block("192.0.2.2"), now).pair);
        assert!(one.pair != one.account && one.pair != one.address && one.account != one.address);
    }
}
