//! Logins, counted before they are tried, so that two nodes that ask at once get two different numbers.

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::limits::{Attempted, CountedAttempt, LoginAttempt};
use crate::metadata::sql::limits as sql;

record! {
    struct AttemptRow {
        key: String,
        failures: i64,
        ends_at: i64,
        known_until: i64,
    }
}

pub(super) async fn begin<C: Conn>(tx: &mut C, attempt: &LoginAttempt) -> Result<Attempted> {
    let LoginAttempt { pair, address, account, limits, now } = attempt;
    let ends_at = now.after(limits.window);
    let keys = [[pair], [address], [account]];
    let rows: Vec<AttemptRow> =
        tx.all(&sql::ATTEMPT_COUNT, &[Value::rows(&keys), (*now).into(), ends_at.into()]).await?;
    let is_known = rows.iter().any(|row| row.key == *pair && row.known_until > now.as_micros());
    let is_over = |row: &&AttemptRow| match &row.key {
        key if key == pair => row.failures > i64::from(limits.per_account),
        key if key == address => row.failures > i64::from(limits.per_address),
        // Whoever has logged in from there of late is not shut out by others.
        _ => !is_known && row.failures > i64::from(limits.per_account_everywhere),
    };
    let refused = rows.iter().filter(is_over).max_by_key(|row| row.ends_at).map(|row| {
        let key = if row.key == *address { address.clone() } else { pair.clone() };
        Attempted::Refused { key, until: Timestamp::from_micros(row.ends_at) }
    });
    let counted = rows.into_iter().map(|row| (row.key, Timestamp::from_micros(row.ends_at))).collect();
    let counted = CountedAttempt { pair: pair.clone(), counted };
    let Some(refused) = refused else { return Ok(Attempted::Counted(counted)) };
    // What is not tried is not counted: else one address could use up what others have.
    give_back(tx, &counted, None).await?;
    Ok(refused)
}

pub(super) async fn give_back<C: Conn>(
    tx: &mut C,
    counted: &CountedAttempt,
    known_until: Option<Timestamp>,
) -> Result<()> {
    let keys: Vec<String> = counted.counted.iter().map(|(key, _)| key.clone()).collect();
    tx.rows(&sql::ATTEMPT_LOCK, values![keys.as_slice()]).await?;
    let rows: Vec<(&str, i64)> = counted.counted.iter().map(|(key, end)| (key.as_str(), end.as_micros())).collect();
    tx.run(&sql::ATTEMPT_GIVE_BACK, &[Value::rows(&rows)]).await?;
    if let Some(known_until) = known_until {
        tx.run(&sql::ATTEMPT_RIGHT, values![counted.pair.as_str(), known_until]).await?;
    }
    Ok(())
}
