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

/// How the names of those begin who act by rules.
const PUBLISHER: &str = "publisher:";

/// Repositories that an event of refusals names.
const REPOSITORIES_MAX: usize = 10;

record! {
    struct OwnerRow {
        path: String,
        wants: bool,
    }
}

/// The minute, who was refused, and what he may not.
type Refused<'a> = (Timestamp, Option<String>, &'a str);

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
    let repo = repository.parse::<RepoName>();
    let owners = repo.iter().flat_map(NamespacePath::owners_of);
    let mut data = json!({"repository": repository, "actor": by.name.as_deref().map(|name| told_name(name, owners)), "requestId": by.request_id});
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

/// What receivers of a namespace are told of somebody's name. One who acts by rules is called by all of them, and what rules
/// others have is their business; the longest of the paths `owners` that has a rule of his says which are told. An account
/// has no colon in its name.
fn told_name<'a>(name: &str, owners: impl IntoIterator<Item = &'a str>) -> String {
    if !name.starts_with(PUBLISHER) {
        return name.to_owned();
    }
    let of = |path: &str| {
        let is_of = |rule: &&str| {
            rule.strip_prefix(PUBLISHER).and_then(|rule| rule.rsplit_once('/')).is_some_and(|(at, _)| at == path)
        };
        let rules: Vec<&str> = name.split(' ').filter(is_of).collect();
        (!rules.is_empty()).then(|| rules.join(" "))
    };
    owners.into_iter().find_map(of).unwrap_or_else(|| "publisher".to_owned())
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
        let often = told
            .entry(owner)
            .or_default()
            .entry((*minute, name.as_deref().map(|name| told_name(name, [owner])), action))
            .or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_hear_of_their_own_rules_only() {
        let both = "publisher:a/ci publisher:b/theirs publisher:a/b/deep publisher:a/more";
        for (name, owners, told) in [
            ("ann", &["a"][..], "ann"),
            (both, &["a"], "publisher:a/ci publisher:a/more"),
            (both, &["a/b", "a"], "publisher:a/b/deep"),
            (both, &["b/c", "b"], "publisher:b/theirs"),
            (both, &["c"], "publisher"),
        ] {
            assert_eq!(told_name(name, owners.iter().copied()), told, "{owners:?}");
        }
    }
}
