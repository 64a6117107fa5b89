//! Refusals, counted by who was refused, what for, and minute; one event for each count.
//!
//! Counts stand in memory until their minute is over, so that whoever is refused a thousand times a second costs one row a
//! minute. A node that dies loses the last of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::access::AddressBlock;
use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::audit::AuditNote;

/// Most counts at once; what else there is is counted under no name.
const COUNTS_MAX: usize = 10_000;

/// Most of them while addresses are told apart: whoever has many of them does not take the place of accounts.
const ADDRESSES_MAX: usize = COUNTS_MAX / 2;

/// Most counts written down in one transaction.
const BATCH: usize = 500;

/// What counts are taken together by.
const MINUTE: Duration = Duration::from_mins(1);

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// When the minute began.
    minute: Timestamp,
    /// The account that was refused.
    name: Option<String>,
    /// From where, where no account is known.
    address: Option<AddressBlock>,
    what: What,
}

impl Key {
    /// Whether there is room for it among others.
    fn has_room(&self, counts: &HashMap<Self, Count>) -> bool {
        let most = if self.address.is_some() { ADDRESSES_MAX } else { COUNTS_MAX };
        counts.len() < most || counts.contains_key(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    /// Wrong credentials, perhaps of this account.
    Login(Option<String>),
    /// An action.
    Action(String),
    /// Not refused, by an exception of a policy; in this repository.
    Bypass(String),
}

/// How often, and the first of them.
#[derive(Clone, Debug)]
struct Count {
    number: u64,
    address: Option<IpAddr>,
}

/// A count that is over.
#[derive(Debug)]
pub(super) struct Counted(Key, Count);

/// The counts that are not.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<Key, Count>>);

impl Refusals {
    /// Counts wrong credentials.
    pub(super) fn count_login(&self, account: Option<&str>, by: &Actor, now: Timestamp) {
        self.add(What::Login(account.map(str::to_owned)), by, now);
    }

    /// Counts a refusal.
    pub(super) fn count(&self, action: &str, by: &Actor, now: Timestamp) {
        self.add(What::Action(action.to_owned()), by, now);
    }

    /// Counts an exception that was made.
    pub(super) fn count_bypass(&self, repo: &str, by: &Actor, now: Timestamp) {
        self.add(What::Bypass(repo.to_owned()), by, now);
    }

    fn add(&self, what: What, by: &Actor, now: Timestamp) {
        let address = by.name.is_none().then(|| AddressBlock::from(by.address));
        let minute = now.floor(MINUTE);
        let mut key = Key { minute, name: by.name.clone(), address, what };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = by.address;
        if key.address.is_some() && !key.has_room(&counts) {
            (key.address, first) = (None, None);
        }
        if !key.has_room(&counts) {
            let what = match key.what {
                What::Login(_) => What::Login(None),
                What::Action(_) => What::Action("other".to_owned()),
                What::Bypass(_) => What::Bypass("other".to_owned()),
            };
            key = Key { name: None, address: None, what, ..key };
            first = None;
        }
        count(&mut counts, key, first);
    }

    /// Takes some of those whose minute is over at `now`; `None`: of all.
    pub(super) fn take(&self, now: Option<Timestamp>) -> Vec<Counted> {
        let current = now.map(|now| now.floor(MINUTE));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back leaves minutes that seem to come; they are over as well.
        let over = |key: &Key| Some(key.minute) != current;
        counts.extract_if(|key, _| over(key)).take(BATCH).map(|(key, count)| Counted(key, count)).collect()
    }

    /// Takes back what could not be written down.
    pub(super) fn put_back(&self, counted: Vec<Counted>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Counted(key, count) in counted {
            counts.entry(key).and_modify(|known| known.number += count.number).or_insert(count);
        }
    }
}

fn count(counts: &mut HashMap<Key, Count>, key: Key, address: Option<IpAddr>) {
    counts.entry(key).or_insert(Count { number: 0, address }).number += 1;
}

impl From<&Counted> for AuditNote {
    fn from(Counted(key, count): &Counted) -> Self {
        let by = Actor { name: key.name.clone(), address: count.address, request_id: None };
        let minute = key.minute.to_rfc3339();
        // No account has this name.
        let nobody = || "-".to_owned();
        let (kind, subject, action) = match &key.what {
            What::Login(account) => ("login.refused", account.clone().unwrap_or_else(nobody), "login"),
            What::Bypass(repo) => ("trust.bypass", repo.clone(), "pull"),
            What::Action(action) => {
                let address = || count.address.map_or_else(nobody, |address| address.to_string());
                ("refused", key.name.clone().unwrap_or_else(address), action.as_str())
            }
        };
        Self { by, kind, subject, detail: json!({"action": action, "count": count.number, "minute": minute}) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(300_000_001);
    const LATER: Timestamp = Timestamp::from_micros(360_000_000);

    fn at(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn account(name: &str, last: u8) -> Actor {
        Actor { name: Some(name.to_owned()), address: Some(at(last)), request_id: Some("r".to_owned()) }
    }

    fn notes(refusals: &Refusals, now: Option<Timestamp>) -> Vec<String> {
        let counted = refusals.take(now);
        let shown = |counted: &Counted| {
            let AuditNote { kind, subject, detail, .. } = AuditNote::from(counted);
            format!("{kind} {subject} {} {}", detail["action"], detail["count"])
        };
        let mut notes: Vec<String> = counted.iter().map(shown).collect();
        notes.sort();
        notes
    }

    /// Everything, however many times it has to be taken.
    fn all_notes(refusals: &Refusals) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let some = notes(refusals, None);
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    #[test]
    fn a_minute_of_somebody_and_something_is_one_event() {
        let refusals = Refusals::default();
        for last in 1..=3 {
            refusals.count("push", &account("ann", last), NOW);
        }
        refusals.count("pull", &account("ann", 1), NOW);
        refusals.count("pull", &Actor { address: Some(at(7)), ..Actor::default() }, NOW);
        refusals.count_login(Some("ann"), &Actor { address: Some(at(8)), ..Actor::default() }, NOW);
        refusals.count_login(None, &Actor { address: Some(at(8)), ..Actor::default() }, NOW);
        assert!(notes(&refusals, Some(NOW)).is_empty(), "the minute is not over");
        refusals.count("push", &account("ann", 1), LATER);
        let expected = [
            r#"login.refused - "login" 1"#,
            r#"login.refused ann "login" 1"#,
            r#"refused 10.0.0.7 "pull" 1"#,
            r#"refused ann "pull" 1"#,
            r#"refused ann "push" 3"#,
        ];
        assert_eq!(notes(&refusals, Some(LATER)), expected);
        assert!(notes(&refusals, Some(LATER)).is_empty());
        assert_eq!(notes(&refusals, None), [r#"refused ann "push" 1"#]);
    }

    #[test]
    fn a_network_is_counted_once_under_its_first_address() {
        let refusals = Refusals::default();
        for last in 1..=3_u16 {
            let address = Some([0x2001, 0xdb8, 1, 2, 0, 0, 0, last].into());
            refusals.count("pull", &Actor { address, ..Actor::default() }, NOW);
        }
        assert_eq!(notes(&refusals, None), [r#"refused 2001:db8:1:2::1 "pull" 3"#]);
    }

    #[test]
    fn many_addresses_do_not_hide_accounts() {
        let refusals = Refusals::default();
        for number in 0..u32::try_from(COUNTS_MAX).expect("a number") {
            let by = Actor { address: Some(number.to_be_bytes().into()), ..Actor::default() };
            refusals.count("push", &by, NOW);
        }
        refusals.count("push", &account("ann", 1), NOW);
        refusals.count_login(Some("bob"), &Actor { address: Some(at(9)), ..Actor::default() }, NOW);
        let all = all_notes(&refusals);
        let rest = format!(r#"refused - "push" {}"#, COUNTS_MAX - ADDRESSES_MAX);
        for expected in [r#"refused ann "push" 1"#, r#"login.refused bob "login" 1"#, &rest] {
            assert!(all.iter().any(|note| note == expected), "{expected}");
        }
        assert_eq!(all.len(), ADDRESSES_MAX + 3);
    }

    #[test]
    fn what_could_not_be_written_is_counted_on() {
        let refusals = Refusals::default();
        refusals.count("push", &account("ann", 1), NOW);
        let counted = refusals.take(None);
        refusals.count("push", &account("ann", 1), NOW);
        refusals.put_back(counted);
        assert_eq!(notes(&refusals, None), [r#"refused ann "push" 2"#]);
    }

    #[test]
    fn many_who_are_refused_are_counted_without_their_names() {
        let refusals = Refusals::default();
        for number in 0..COUNTS_MAX + 50 {
            refusals.count("push", &account(&format!("u{number}"), 1), NOW);
        }
        let all = all_notes(&refusals);
        assert_eq!(all.len(), COUNTS_MAX + 1);
        assert!(all.contains(&r#"refused - "other" 50"#.to_owned()));
    }
}
