//! `bonded audit`: the record of what happened.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Format, count};
use super::{DataArgs, Failure, parsed, with_auth};
use crate::audit::{Audit, Verified};
use crate::clock::Timestamp;
use crate::config::Span;
use crate::metadata::model::audit::{AuditEvent, AuditFilter, Seal};

/// Events read at once.
const PAGE: u32 = 500;

/// What to do with the record.
#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Lists events, the newest first.
    Ls(LsArgs),
    /// Walks along the chain of hashes; says where it ends, or where it is broken.
    ///
    /// Ends with 0 when the chain is whole, 1 when it is broken, 2 when it cannot be read.
    Verify {
        /// A place of the chain that was kept elsewhere, as an earlier run printed it.
        #[arg(long, value_name = "SEQUENCE:HASH")]
        expect: Option<String>,
        /// `text` for people, `json` for one object a line.
        #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
        output: Format,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Writes all events to standard output, one JSON object a line, in the order of the chain.
    Export {
        /// Only events that happened since: a date and time such as `2026-11-21T08:00:00Z`, or a time ago such as `24h`.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only events behind this one in the chain.
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: i64,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only events that happened since: a date and time such as `2026-11-21T08:00:00Z`, or a time ago such as `24h`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events that happened before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what this account did.
    #[arg(long)]
    actor: Option<String>,
    /// Only events of this kind, such as `manifest.push`.
    #[arg(long)]
    kind: Option<String>,
    /// Only events whose subject begins with this, such as `team/app`.
    #[arg(long)]
    subject: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: u32,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &AuditVerb) -> Result<ExitCode, Failure> {
    match verb {
        AuditVerb::Ls(args) => with_auth(args.data.load()?.config, async |auth| list(auth.audit(), args).await),
        AuditVerb::Verify { expect, output, data } => {
            let expected = expect.as_deref().map(|text| parsed::<Seal>("a place in the chain", text)).transpose()?;
            with_auth(data.load()?.config, async |auth| verify(auth.audit(), expected, *output).await)
        }
        AuditVerb::Export { since, after, data } => with_auth(data.load()?.config, async |auth| {
            let since = moment(since.as_deref(), auth.now())?;
            export(auth.audit(), since, *after).await
        }),
    }
}

/// A moment, or a time before `now`.
fn moment(text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if let Some(moment) = Timestamp::parse_rfc3339(text) {
        return Ok(Some(moment));
    }
    let span: Span = parsed("a date and time such as `2026-11-21T08:00:00Z` or a time ago", text)?;
    Ok(Some(now.before(span.0)))
}

async fn list(audit: &Audit, args: &LsArgs) -> Result<(), Failure> {
    let filter = AuditFilter {
        since: moment(args.since.as_deref(), audit.now())?,
        until: moment(args.until.as_deref(), audit.now())?,
        actor: args.actor.clone(),
        kind: args.kind.clone(),
        subject: args.subject.clone(),
    };
    let (mut before, mut left) = (None, args.limit);
    while left > 0 {
        let page = audit.list(&filter, before, left.min(PAGE)).await.map_err(Failure::failed)?;
        for event in &page.events {
            args.output.line(|| text(event), || event.to_json());
        }
        left = left.saturating_sub(u32::try_from(page.events.len()).unwrap_or(u32::MAX));
        if page.next.is_none() {
            break;
        }
        before = page.next;
    }
    Ok(())
}

async fn verify(audit: &Audit, expected: Option<Seal>, format: Format) -> Result<(), Failure> {
    let verified = audit.verify(expected).await.map_err(Failure::usage)?;
    let Verified { last, broken, unsealed } = verified.ok_or_else(|| Failure::usage("it is being verified already"))?;
    let text = || {
        let tail = match (unsealed.events, unsealed.since) {
            (0, _) | (_, None) => "nothing waits to be sealed".to_owned(),
            (events, Some(since)) => format!("{} since {} not sealed yet", count(events, "event"), since.to_rfc3339()),
        };
        let sealed = count(last.sequence.unsigned_abs(), "event");
        format!("{sealed} as they were sealed; {tail}\nlast: {last}")
    };
    let object = || {
        json!({
            "ok": broken.is_none(),
            "sealed": last.sequence,
            "last": last.to_string(),
            "broken": broken.map(|broken| json!({"sequence": broken.sequence(), "why": broken.to_string()})),
            "unsealed": unsealed.events,
        })
    };
    format.line(text, object);
    match broken {
        None => Ok(()),
        Some(broken) => Err(Failure::failed(format!("the record is broken at {}: {broken}", broken.sequence()))),
    }
}

/// Page after page, so that no more than one is in memory.
async fn export(audit: &Audit, since: Option<Timestamp>, after: i64) -> Result<(), Failure> {
    let wanted = |event: &&AuditEvent| since.is_none_or(|since| event.at >= since);
    let (mut sealed, mut unsealed) = (Some(after), i64::MIN);
    loop {
        let page = match sealed {
            Some(after) => audit.chain(after).await,
            None => audit.unsealed(unsealed).await,
        };
        let page = page.map_err(Failure::failed)?;
        match (page.last(), sealed) {
            (None, None) => return Ok(()),
            (None, Some(_)) => sealed = None,
            (Some(last), Some(_)) => sealed = last.seal.map(|seal| seal.sequence),
            (Some(last), None) => unsealed = last.id,
        }
        let lines: Vec<String> = page.iter().filter(wanted).map(|event| event.to_json().to_string()).collect();
        if let Err(error) = write(&lines) {
            // Whoever closed it does not want to know.
            let closed = error.kind() == io::ErrorKind::BrokenPipe;
            return if closed {
                Ok(())
            } else {
                Err(Failure::failed(format!("the events cannot be written: {error}")))
            };
        }
    }
}

fn write(lines: &[String]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn text(event: &AuditEvent) -> String {
    let or_nobody = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
    let AuditEvent { at, kind, actor, address, request_id, subject, detail, .. } = event;
    let (actor, address, request) = (or_nobody(actor), or_nobody(address), or_nobody(request_id));
    format!("{}\t{kind}\t{actor}\t{address}\t{request}\t{subject}\t{detail}", at.to_rfc3339())
}
