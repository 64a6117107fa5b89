//! What happened in a repository, on its way to the webhooks of its namespace: rows of the transaction in which it did.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value as Json, json};

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::Happened;
use crate::metadata::logic::webhooks::TRIED_FOR;
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::{Denial, HookEvent, WAITING_MAX};
use crate::metadata::rows::texts;
use crate::metadata::sql::webhooks as sql;
use crate::oci::name::RepoName;

/// Repositories that an event of refusals names.
const REPOSITORIES_MAX: usize = 10;

record! {
    struct OwnerRow {
        path: String,
        wants: bool,
    }
}

/// The minute, who was refused, and what he may not.
type Refused<'a> = (Timestamp, Option<&'a str>, &'a str);

/// How often, and where.
#[derive(Default)]
struct Often<'a> {
    count: u64,
    repositories: BTreeSet<&'a str>,
}

/// Puts events on their way, by one statement for each repository.
pub(super) async fn enqueue<C: Conn>(tx: &mut C, by: &Actor, now: Timestamp, events: &[Happened<'_>]) -> Result<()> {
    let mut repositories: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for event in events {
        let Some(told) = HookEvent::of_kind(event.kind) else { continue };
        let subject = event.subject.as_ref();
        let rows = repositories.entry(repository(subject)).or_default();
        let place = rows.len();
        rows.push(json!([told.bit(), event.kind, subject, data(by, event).to_string(), place]));
    }
    for (repository, rows) in repositories {
        // What happened to something else is nobody's in particular.
        let Ok(repo) = repository.parse::<RepoName>() else { continue };
        queue(tx, &rows, &texts(NamespacePath::owners_of(&repo)), now).await?;
    }
    Ok(())
}

/// `REPOSITORY`, `REPOSITORY@DIGEST` or `REPOSITORY:TAG`: the first part has neither sign.
fn repository(subject: &str) -> &str {
    subject.split(['@', ':']).next().unwrap_or_default()
}

/// What a receiver is told: what the record says, and who did it. Not from where: that is nobody's business but the
/// operator's.
fn data(by: &Actor, event: &Happened<'_>) -> Json {
    let subject = event.subject.as_ref();
    let repository = repository(subject);
    let mut data = json!({"repository": repository, "actor": by.name, "requestId": by.request_id});
    let rest = &subject[repository.len()..];
    if let Some(digest) = rest.strip_prefix('@') {
        data["digest"] = json!(digest);
    }
    if let Some(tag) = rest.strip_prefix(':') {
        data["tag"] = json!(tag);
    }
    if let Json::Object(detail) = &event.detail {
        for (key, value) in detail {
            data[key] = value.clone();
        }
    }
    data
}

/// Tells the webhooks of namespaces who was refused there: one event for each account, action and minute.
pub(super) async fn tell_denials<C: Conn>(tx: &mut C, denials: &[Denial], now: Timestamp) -> Result<()> {
    let paths: BTreeSet<&str> = denials.iter().flat_map(|denial| NamespacePath::owners_of(&denial.repo)).collect();
    let paths = texts(paths);
    let owners: Vec<OwnerRow> = tx.all(&sql::OWNERS, values![paths.as_slice()]).await?;
    let owners: HashMap<&str, bool> = owners.iter().map(|row| (row.path.as_str(), row.wants)).collect();
    let mut told: BTreeMap<&str, BTreeMap<Refused<'_>, Often<'_>>> = BTreeMap::new();
    for denial in denials {
        let Denial { repo, name, action, minute, count } = denial;
        // The longest path owns the repository, whether or not its webhooks want to know.
        let owner = NamespacePath::owners_of(repo).find_map(|path| Some((path, *owners.get(path)?)));
        let Some((owner, true)) = owner else { continue };
        let often = told.entry(owner).or_default().entry((*minute, name.as_deref(), action)).or_default();
        often.count += count;
        often.repositories.insert(repo.as_str());
    }
    for (namespace, refusals) in told {
        let row = |(place, ((minute, name, action), often)): (usize, (Refused<'_>, Often<'_>))| {
            let repositories: Vec<&str> = often.repositories.into_iter().take(REPOSITORIES_MAX).collect();
            let data = json!({
                "namespace": namespace,
                "actor": name,
                "action": action,
                "count": often.count,
                "minute": minute.to_rfc3339(),
                "repositories": repositories,
            });
            json!([HookEvent::Denial.bit(), "denial", namespace, data.to_string(), place])
        };
        let rows: Vec<Json> = refusals.into_iter().enumerate().map(row).collect();
        queue(tx, &rows, &[namespace.to_owned()], now).await?;
    }
    Ok(())
}

/// One statement for events of one namespace.
async fn queue<C: Conn>(tx: &mut C, rows: &[Json], owners: &[String], now: Timestamp) -> Result<()> {
    // Is there a row behind so many?
    let (ends, behind) = (now.after(TRIED_FOR), (WAITING_MAX - 1).into());
    tx.run(&sql::ENQUEUE, &[Value::rows(rows), owners.into(), now.into(), ends.into(), behind]).await.map(drop)
}
