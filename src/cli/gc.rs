//! `bonded gc`: gives space back at once, or says what would go; beside running servers.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::output::{Format, count, human};
use super::{DataArgs, Failure, failed, print, with_registry};
use crate::clock::Timestamp;
use crate::config::Span;
use crate::metadata::model::{Garbage, GarbageKind};
use crate::oci::name::{RepoName, Tag};
use crate::registry::retention::{Ground, Reason, Victim, label};
use crate::registry::{Candidate, Registry};

/// What to do, and how to print it.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Collects garbage and applies the retention rules, until nothing is left to do.
    #[arg(long, required_unless_present = "dry_run", conflicts_with = "dry_run")]
    now: bool,
    /// Prints what would go and why, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(args: &GcArgs) -> Result<ExitCode, Failure> {
    let config = args.data.load()?.config;
    with_registry(config, async |registry| {
        if args.now { collect(registry, args.output).await } else { preview(registry, args.output).await }
    })
}

async fn collect(registry: &Registry, format: Format) -> Result<(), Failure> {
    let work = async {
        loop {
            while registry.sweep().await? {}
            let before = registry.collector_stats().retired;
            registry.retain_now().await?;
            // What an index listed may go by rule once the index is gone.
            if registry.collector_stats().retired == before {
                break;
            }
        }
        Ok((registry.store_counts().await?, registry.purge_holds().await?))
    };
    let (waiting, holds) = work.await.map_err(|error| failed(&error))?;
    let done = registry.collector_stats();
    let rules: Vec<String> =
        done.retired.iter().map(|(rule, manifests)| format!("{} by {}", manifests, named(*rule))).collect();
    let text = || {
        let mut lines = vec![
            format!("{} expired", count(done.sessions, "session")),
            format!(
                "{} deleted by retention{}{}",
                count(done.retired.values().sum(), "manifest"),
                if rules.is_empty() { "" } else { ": " },
                rules.join(", ")
            ),
            format!("{} collected, {}", count(done.blobs, "blob"), human(done.bytes)),
            format!("{} removed, {}", count(done.objects, "object"), human(done.object_bytes)),
            format!("{} waiting, {}", count(waiting.deletions, "object"), human(waiting.deletion_bytes)),
        ];
        lines.extend(holds.iter().map(|hold| format!("nothing is removed while `{}` holds it", hold.name)));
        lines.join("\n")
    };
    let object = || {
        json!({
            "sessions": done.sessions,
            "retired": done.retired.iter().map(|(rule, n)| (label(*rule), json!(n))).collect::<serde_json::Map<_, _>>(),
            "blobs": done.blobs,
            "bytes": done.bytes,
            "objects": done.objects,
            "object_bytes": done.object_bytes,
            "waiting_objects": waiting.deletions,
            "waiting_bytes": waiting.deletion_bytes,
            "holds": holds.iter().map(|hold| hold.name.as_str()).collect::<Vec<_>>(),
        })
    };
    format.line(text, object);
    Ok(())
}

/// Numbers and bytes by kind.
type Totals = BTreeMap<&'static str, (u64, u64)>;

async fn preview(registry: &Registry, format: Format) -> Result<(), Failure> {
    let (now, mut totals) = (registry.now(), Totals::new());
    let mut report = |candidate: Candidate| {
        let (kind, bytes) = weight(&candidate);
        let total = totals.entry(kind).or_default();
        *total = (total.0 + 1, total.1 + bytes);
        format.line(|| text(&candidate, now), || object(&candidate));
    };
    registry.preview_collection(&mut report).await.map_err(|error| failed(&error))?;
    if format == Format::Json {
        let kinds =
            totals.iter().map(|(kind, (number, bytes))| ((*kind).to_owned(), json!({"count": number, "bytes": bytes})));
        print(format_args!("{}\n", json!({"total": kinds.collect::<serde_json::Map<_, _>>()})));
        return Ok(());
    }
    for (kind, (number, bytes)) in &totals {
        print(format_args!("total {kind}: {number}, {}\n", human(*bytes)));
    }
    if totals.is_empty() {
        print("nothing would go\n");
    }
    Ok(())
}

fn weight(candidate: &Candidate) -> (&'static str, u64) {
    match candidate {
        Candidate::Garbage(garbage) => (kind(garbage.kind), garbage.bytes),
        Candidate::Manifest { .. } => ("manifest", 0),
        Candidate::Blobs { bytes, .. } => ("blobs of manifests", *bytes),
    }
}

fn kind(kind: GarbageKind) -> &'static str {
    match kind {
        GarbageKind::Session => "session",
        GarbageKind::Referrer => "referrer",
        GarbageKind::Membership => "membership",
        GarbageKind::Blob => "blob",
        GarbageKind::Object => "object",
    }
}

fn text(candidate: &Candidate, now: Timestamp) -> String {
    match candidate {
        Candidate::Garbage(garbage) => garbage_text(garbage, now),
        Candidate::Manifest { repo, victim } => {
            format!("manifest {repo}@{}{}: {}", victim.facts.digest, tags(victim), why(&victim.reason))
        }
        Candidate::Blobs { repo, bytes } => format!("blobs of these manifests of {repo}: {}", human(*bytes)),
    }
}

fn garbage_text(garbage: &Garbage, now: Timestamp) -> String {
    let place = garbage.repo.as_ref().map(|repo: &RepoName| format!(" of {repo}")).unwrap_or_default();
    let why = match garbage.kind {
        GarbageKind::Session => "no progress before its expiry",
        GarbageKind::Referrer => "its subject is gone",
        GarbageKind::Membership => "no manifest names it and its lease is over",
        GarbageKind::Blob => "no repository has it",
        GarbageKind::Object => "its row is gone",
    };
    let when = if garbage.at > now {
        format!("in {}", whole(now.until(garbage.at)))
    } else {
        format!("since {}", whole(garbage.at.until(now)))
    };
    format!("{} {}{place}: {}, {why}, due {when}", kind(garbage.kind), garbage.name, human(garbage.bytes))
}

/// The tags of a manifest, the first few of them.
fn tags(victim: &Victim) -> String {
    const SHOWN: usize = 5;
    let tags = &victim.facts.tags;
    if tags.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = tags.iter().take(SHOWN).map(Tag::as_str).collect();
    let more = if tags.len() > SHOWN { ", ..." } else { "" };
    format!(" ({}{more})", shown.join(", "))
}

fn why(reason: &Reason) -> String {
    let ground = match &reason.ground {
        Ground::Untagged(span) => format!("untagged for {}", whole(*span)),
        Ground::Idle(span) => format!("untagged, and not pulled for {}", whole(*span)),
        Ground::Tagged { keep_last, idle } => {
            let last = keep_last.map(|keep| format!("not among the last {keep}"));
            let idle = idle.map(|span| format!("not pulled for {}", whole(span)));
            last.into_iter().chain(idle).collect::<Vec<_>>().join(", ")
        }
    };
    format!("{}, {ground}", named(reason.rule))
}

fn named(rule: Option<usize>) -> String {
    rule.map_or_else(|| "`retention.untagged`".to_owned(), |number| format!("rule {number}"))
}

/// Without parts of a second, which nobody wants to read.
fn whole(span: Duration) -> Span {
    Span(Duration::from_secs(span.as_secs()))
}

fn object(candidate: &Candidate) -> Value {
    match candidate {
        Candidate::Garbage(garbage) => json!({
            "kind": kind(garbage.kind),
            "repository": garbage.repo.as_ref().map(RepoName::as_str),
            "name": garbage.name,
            "bytes": garbage.bytes,
            "due": garbage.at.as_micros() / 1_000_000,
        }),
        Candidate::Manifest { repo, victim } => json!({
            "kind": "manifest",
            "repository": repo.as_str(),
            "name": victim.facts.digest.to_string(),
            "tags": victim.facts.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
            "rule": label(victim.reason.rule),
            "reason": why(&victim.reason),
        }),
        Candidate::Blobs { repo, bytes } => {
            json!({"kind": "blobs", "repository": repo.as_str(), "bytes": bytes})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::model::{GarbageCursor, ManifestFacts};
    use crate::oci::digest::{Algorithm, Digest};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn garbage(kind: GarbageKind, repo: Option<&str>, at: Timestamp) -> Candidate {
        let repo = repo.map(|repo| repo.parse().expect("a name"));
        Candidate::Garbage(Garbage {
            kind,
            repo,
            name: "x".to_owned(),
            bytes: 2048,
            at,
            cursor: GarbageCursor::default(),
        })
    }

    fn manifest(tags: &[&str], rule: Option<usize>, ground: Ground) -> Candidate {
        let facts = ManifestFacts {
            id: 1,
            digest: Digest::of(Algorithm::Sha256, b""),
            pushed_at: NOW,
            pulled_at: None,
            untagged_since: None,
            tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
            tagged_at: None,
            held: false,
        };
        let victim = Victim { facts, reason: Reason { rule, ground } };
        Candidate::Manifest { repo: "a/b".parse().expect("a name"), victim }
    }

    #[test]
    fn each_candidate_says_what_it_is_and_why() {
        let hour = Duration::from_hours(1);
        let day = Duration::from_hours(24);
        let digest = Digest::of(Algorithm::Sha256, b"");
        let many = ["a", "b", "c", "d", "e", "f"];
        let cases = [
            (
                garbage(GarbageKind::Session, Some("a/b"), NOW.before(hour)),
                "session x of a/b: 2.00 KiB, no progress before its expiry, due since 1h".to_owned(),
            ),
            (
                garbage(GarbageKind::Object, None, NOW.after(hour)),
                "object x: 2.00 KiB, its row is gone, due in 1h".to_owned(),
            ),
            (
                manifest(&["v1"], Some(2), Ground::Tagged { keep_last: Some(3), idle: Some(day) }),
                format!("manifest a/b@{digest} (v1): rule 2, not among the last 3, not pulled for 24h"),
            ),
            (
                manifest(&many, Some(1), Ground::Tagged { keep_last: None, idle: Some(hour) }),
                format!("manifest a/b@{digest} (a, b, c, d, e, ...): rule 1, not pulled for 1h"),
            ),
            (
                manifest(&[], None, Ground::Untagged(day)),
                format!("manifest a/b@{digest}: `retention.untagged`, untagged for 24h"),
            ),
            (
                manifest(&[], Some(1), Ground::Idle(day)),
                format!("manifest a/b@{digest}: rule 1, untagged, and not pulled for 24h"),
            ),
        ];
        for (candidate, expected) in cases {
            assert_eq!(text(&candidate, NOW), expected);
        }
    }

    #[test]
    fn objects_for_programs_have_the_same_members() {
        let found = object(&garbage(GarbageKind::Blob, None, NOW));
        let expected = json!({"kind": "blob", "repository": null, "name": "x", "bytes": 2048, "due": 1_800_000_000});
        assert_eq!(found, expected);
        let found = object(&manifest(&["v1"], Some(2), Ground::Idle(Duration::ZERO)));
        assert_eq!((&found["kind"], &found["rule"], &found["tags"]), (&json!("manifest"), &json!("2"), &json!(["v1"])));
    }
}
