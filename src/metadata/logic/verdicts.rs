//! What was found out about digests: written down, and told when something that passed does not any more.

use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::verdicts::{
    Found, VerdictEntry, VerdictPut, VerdictRecord, VerdictSweep, VerdictSweepKeep, VerdictSweepTake, VerdictTurn,
};
use crate::metadata::rows::{inconsistent, json as list, parse, texts};
use crate::metadata::sql::Statement;
use crate::metadata::sql::verdicts as sql;
use crate::oci::digest::Digest;

record! {
    struct FoundRow {
        outcome: String,
        evidence: String,
        checked_at: i64,
        failed_at: Option<i64>,
    }
}

record! {
    struct StandsRow {
        path: String,
        generation: i64,
        document: i64,
        stored: bool,
    }
}

record! {
    struct EntryRow {
        repo_id: i64,
        digest: String,
        outcome: String,
        failed_at: Option<i64>,
        path: Option<String>,
    }
}

record! {
    struct SweepRow {
        began_at: i64,
        finished_at: Option<i64>,
        revision: String,
    }
}

impl FoundRow {
    fn read(self, digest: &Digest) -> Result<VerdictRecord> {
        let evidence: Vec<String> = serde_json::from_str(&self.evidence)
            .map_err(|error| inconsistent("verdicts", "evidence", digest, error))?;
        Ok(VerdictRecord {
            outcome: self.outcome,
            evidence: evidence.iter().map(|text| parse("verdicts", "evidence", digest, text)).collect::<Result<_>>()?,
            checked_at: Timestamp::from_micros(self.checked_at),
            failed_at: self.failed_at.map(Timestamp::from_micros),
        })
    }
}

pub(super) async fn find<C: Conn>(conn: &mut C, repo_id: i64, digest: &Digest) -> Result<Option<VerdictRecord>> {
    read(conn, &sql::FIND, repo_id, digest).await
}

async fn read<C: Conn>(
    conn: &mut C,
    statement: &Statement,
    repo_id: i64,
    digest: &Digest,
) -> Result<Option<VerdictRecord>> {
    let row: Option<FoundRow> = conn.first(statement, &[repo_id.into(), Value::shown(digest)]).await?;
    row.map(|row| row.read(digest)).transpose()
}

pub(super) async fn put<C: Conn>(tx: &mut C, put: &VerdictPut) -> Result<Option<VerdictTurn>> {
    let (repo_id, evidence) = (put.standing.repository, list(&texts(&put.evidence)));
    // By what has changed since nothing begins to pass.
    let is_late = put.found == Found::Pass && stands(tx, put).await?.is_none();
    let first = if is_late { &Found::Nothing } else { &put.found };
    let values =
        &[repo_id.into(), Value::shown(&put.digest), first.outcome().into(), evidence.as_str().into(), put.now.into()];
    if tx.run(&sql::INSERT, values).await? == 1 {
        return Ok(None);
    }
    // Of several who find out the same, each waits for the one before, and sees what that one has written.
    let Some(before) = read(tx, &sql::LOCK, repo_id, &put.digest).await? else { return Ok(None) };
    let passed = before.passed();
    let mut after = VerdictRecord {
        outcome: put.found.outcome().to_owned(),
        evidence: put.evidence.clone(),
        checked_at: put.now,
        failed_at: before.failed_at,
    };
    let mut turn = None;
    match (&put.found, passed) {
        (Found::Refusal(refusal), true) if !refusal.is_certain => return Ok(None),
        // What nobody asks of it any more it neither has nor lacks.
        (Found::Nothing, _) => after.outcome = before.outcome,
        (Found::Pass, true) | (Found::Refusal(_), false) => {}
        (Found::Refusal(_), true) => {
            let Some(stands) = stands(tx, put).await? else { return Ok(None) };
            turn = stands.stored.then_some((VerdictTurn::Failed, stands.path));
            after.failed_at = turn.is_some().then_some(put.now);
        }
        (Found::Pass, false) => match stands(tx, put).await? {
            Some(stands) => {
                let is_told = stands.stored && before.failed_at.is_some();
                turn = is_told.then_some((VerdictTurn::Passed, stands.path));
                after.failed_at = None;
            }
            // Its evidence counted a moment ago, and may still.
            None => after.outcome = before.outcome,
        },
    }
    write(tx, put, &after).await?;
    let Some((turn, path)) = turn else { return Ok(None) };
    tell(tx, put, turn, &path).await?;
    Ok(Some(turn))
}

/// `None`: it was judged by policies or signatures that have changed since, or its repository is gone.
async fn stands<C: Conn>(tx: &mut C, put: &VerdictPut) -> Result<Option<StandsRow>> {
    let values = &[put.standing.repository.into(), Value::shown(&put.digest)];
    let row: Option<StandsRow> = tx.first(&sql::STANDS, values).await?;
    Ok(row.filter(|row| {
        row.generation == put.standing.generation && put.document.is_none_or(|document| document == row.document)
    }))
}

async fn write<C: Conn>(tx: &mut C, put: &VerdictPut, after: &VerdictRecord) -> Result<()> {
    let evidence = list(&texts(&after.evidence));
    let values = &[
        put.standing.repository.into(),
        Value::shown(&put.digest),
        after.outcome.as_str().into(),
        evidence.as_str().into(),
        after.checked_at.into(),
        after.failed_at.into(),
    ];
    tx.run(&sql::UPDATE, values).await.map(drop)
}

/// Nobody did it: it was found out, perhaps by a pull, and who pulled is not to be named for it.
async fn tell<C: Conn>(tx: &mut C, put: &VerdictPut, turn: VerdictTurn, path: &str) -> Result<()> {
    let (kind, detail) = match (turn, &put.found) {
        (VerdictTurn::Failed, Found::Refusal(refusal)) => {
            let detail = json!({
                "policy": refusal.policy,
                "revision": put.revision,
                "verdict": refusal.outcome,
                "reason": refusal.reason,
            });
            ("trust.failed", detail)
        }
        _ => ("trust.passed", json!({"revision": put.revision})),
    };
    let subject = format!("{path}@{}", put.digest);
    write_down(tx, &Actor::default(), Event { kind, subject: &subject, detail, now: put.now }).await
}

pub(super) async fn scan<C: Conn>(
    conn: &mut C,
    after: Option<&(i64, Digest)>,
    limit: u32,
) -> Result<Vec<VerdictEntry>> {
    let (repo_id, digest) = after.map_or((i64::MIN, String::new()), |(repo_id, digest)| (*repo_id, digest.to_string()));
    let rows: Vec<EntryRow> = conn.all(&sql::SCAN, values![repo_id, digest.as_str(), limit]).await?;
    let entry = |row: EntryRow| {
        let repo = row.path.map(|path| parse("repositories", "path", row.repo_id, &path)).transpose()?;
        let record = VerdictEntry {
            repository: row.repo_id,
            repo,
            passed: row.outcome == Found::Pass.outcome(),
            failed: row.failed_at.is_some(),
            digest: parse("verdicts", "digest", &row.digest, &row.digest)?,
        };
        Ok(record)
    };
    rows.into_iter().map(entry).collect()
}

pub(super) async fn sweep<C: Conn>(conn: &mut C) -> Result<VerdictSweep> {
    let row: SweepRow = conn.one(&sql::SWEEP, &[]).await?;
    Ok(VerdictSweep {
        began_at: Timestamp::from_micros(row.began_at),
        finished_at: row.finished_at.map(Timestamp::from_micros),
        revision: row.revision,
    })
}

pub(super) async fn take<C: Conn>(tx: &mut C, take: &VerdictSweepTake) -> Result<bool> {
    let VerdictSweepTake { node, revision, now, until, last } = take;
    let values = values![node.as_str(), *until, *now, revision.as_str(), last.began_at, last.revision.as_str()];
    Ok(tx.run(&sql::TAKE, values).await? == 1)
}

pub(super) async fn keep<C: Conn>(tx: &mut C, keep: &VerdictSweepKeep) -> Result<bool> {
    let VerdictSweepKeep { node, began_at, until, finished_at } = keep;
    Ok(tx.run(&sql::KEEP, values![node.as_str(), *began_at, *until, *finished_at]).await? == 1)
}
