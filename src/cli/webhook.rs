//! `bonded webhook`: who is told what happens in a namespace.

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::output::Format;
use super::{DataArgs, Failure, parsed, print, with_hooks};
use crate::access::NamespacePath;
use crate::hooks::{HookError, Hooks, WebhookWish};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::webhooks::{DeliveryRecord, DeliveryState, HookEvent, HookEvents};
use crate::telemetry;

/// Deliveries read at once.
const PAGE: u32 = 500;

/// Longest secret that is read in bytes, with the line break.
const SECRET_BYTES_MAX: u64 = 256;

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(super) enum WebhookVerb {
    /// Makes a webhook and prints its number; and its secret, which happens only once, unless that is given.
    Add {
        /// The namespace whose repositories it is told of.
        namespace: String,
        /// Where to send to.
        url: String,
        /// push, tag, delete, denial or trust; may be repeated. Without any, all of them.
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
        /// Reads the secret that signs deliveries from standard input: `whsec_` and 24 to 64 bytes in base64.
        #[arg(long)]
        secret_stdin: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lists the webhooks of a namespace: number, address, events.
    Ls(ListArgs),
    /// Ends a webhook, with what is on its way to it.
    Rm(HookArgs),
    /// Lets a webhook rest: nothing is added to its deliveries, and nothing sent.
    Disable(HookArgs),
    /// Wakes it up.
    Enable(HookArgs),
    /// Has a server send it an event that says nothing.
    Test(HookArgs),
    /// Lists what is on its way to the webhooks of a namespace or was sent lately, the newest first: number, webhook, what
    /// happened, and what became of it.
    Deliveries(ListArgs),
    /// Lists what was given up, the newest first.
    Dead(ListArgs),
    /// Has a server send an event again, whatever became of it.
    Resend {
        /// The namespace.
        namespace: String,
        /// The number of the delivery, as `dead` and `deliveries` show it.
        delivery: i64,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// What to list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The namespace.
    namespace: String,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    data: DataArgs,
}

/// Which webhook.
#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// The namespace.
    namespace: String,
    /// Its number, as `ls` shows it.
    id: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Does it.
pub(super) fn run(verb: &WebhookVerb) -> Result<ExitCode, Failure> {
    match verb {
        WebhookVerb::Add { namespace, url, events, secret_stdin, data } => {
            let path = namespace_of(namespace)?;
            let events = read_events(events)?;
            let secret = if *secret_stdin { Some(read_secret()?) } else { None };
            let wish = WebhookWish { url: url.clone(), events, secret };
            with_hooks(data.load()?.config, async |hooks| add(hooks, &path, wish).await)
        }
        WebhookVerb::Ls(args) => {
            let path = namespace_of(&args.namespace)?;
            with_hooks(args.data.load()?.config, async |hooks| list(hooks, &path, args.output).await)
        }
        WebhookVerb::Rm(args) => {
            change(args, "removed", async |hooks, path, by| hooks.remove(path, &args.id, by).await)
        }
        WebhookVerb::Disable(args) => {
            change(args, "disabled", async |hooks, path, by| hooks.activate(path, &args.id, false, by).await)
        }
        WebhookVerb::Enable(args) => {
            change(args, "enabled", async |hooks, path, by| hooks.activate(path, &args.id, true, by).await)
        }
        WebhookVerb::Test(args) => change(args, "a server sends a test to", async |hooks, path, by| {
            hooks.test(path, &args.id, by).await.map(drop)
        }),
        WebhookVerb::Deliveries(args) => list_deliveries(args, false),
        WebhookVerb::Dead(args) => list_deliveries(args, true),
        WebhookVerb::Resend { namespace, delivery, data } => {
            let path = namespace_of(namespace)?;
            with_hooks(data.load()?.config, async |hooks| {
                hooks.resend(&path, *delivery, &Actor::command_line()).await.map_err(|error| refused(&error))?;
                print(format_args!("a server sends {delivery} again\n"));
                Ok(())
            })
        }
    }
}

fn list_deliveries(args: &ListArgs, dead: bool) -> Result<ExitCode, Failure> {
    let path = namespace_of(&args.namespace)?;
    with_hooks(args.data.load()?.config, async |hooks| deliveries(hooks, &path, dead, args.output).await)
}

fn change(
    args: &HookArgs,
    what: &str,
    work: impl AsyncFnOnce(&Hooks, &NamespacePath, &Actor) -> Result<(), HookError>,
) -> Result<ExitCode, Failure> {
    let path = namespace_of(&args.namespace)?;
    with_hooks(args.data.load()?.config, async |hooks| {
        work(hooks, &path, &Actor::command_line()).await.map_err(|error| refused(&error))?;
        print(format_args!("{what} webhook {}\n", args.id));
        Ok(())
    })
}

async fn add(hooks: &Hooks, path: &NamespacePath, wish: WebhookWish) -> Result<(), Failure> {
    let made = hooks.add(path, wish, &Actor::command_line()).await.map_err(|error| refused(&error))?;
    print(format_args!("{}\n", made.id));
    if let Some(secret) = made.secret {
        print(format_args!("{}\n", secret.expose_secret()));
        super::eprint("the second line is the secret that signs deliveries; it is not shown again");
    }
    Ok(())
}

async fn list(hooks: &Hooks, path: &NamespacePath, format: Format) -> Result<(), Failure> {
    for hook in hooks.list(path).await.map_err(|error| refused(&error))? {
        let events = hook.events.names();
        let state = if hook.active { "" } else { "\tdisabled" };
        let text = || format!("{}\t{}\t{}{state}", hook.id, hook.url, events.join(","));
        format.line(text, || json!({"id": hook.id, "url": hook.url, "events": events, "active": hook.active}));
    }
    Ok(())
}

async fn deliveries(hooks: &Hooks, path: &NamespacePath, dead: bool, format: Format) -> Result<(), Failure> {
    let mut before = None;
    loop {
        let found = hooks.deliveries(path, dead, before, PAGE).await.map_err(|error| refused(&error))?;
        let Some(last) = found.last() else { return Ok(()) };
        before = Some(last.id);
        for delivery in &found {
            show(delivery, format);
        }
    }
}

fn show(delivery: &DeliveryRecord, format: Format) {
    let (state, at) = match delivery.state {
        DeliveryState::Waiting(at) => ("waiting", at),
        DeliveryState::Delivered(at) => ("delivered", at),
        DeliveryState::Dead(at) => ("dead", at),
    };
    let (at, attempts) = (at.to_rfc3339(), delivery.attempts);
    let DeliveryRecord { id, webhook, kind, subject, last_error, .. } = delivery;
    let text = || {
        let why = last_error.as_deref().map(|why| format!("\t{why}")).unwrap_or_default();
        format!("{id}\t{webhook}\t{kind}\t{subject}\t{state} {at}\tattempts: {attempts}{why}")
    };
    let object = || {
        json!({
            "id": id,
            "webhook": webhook,
            "event": delivery.event_id,
            "kind": kind,
            "subject": subject,
            "attempts": attempts,
            "state": state,
            "at": at,
            "last_status": delivery.last_status,
            "last_error": last_error,
        })
    };
    format.line(text, object);
}

fn read_events(names: &[String]) -> Result<HookEvents, Failure> {
    if names.is_empty() {
        return Ok(HookEvents::ALL);
    }
    let events: Result<Vec<HookEvent>, Failure> = names.iter().map(|name| parsed("an event", name)).collect();
    Ok(HookEvents::of(events?))
}

fn read_secret() -> Result<SecretString, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("the secret cannot be read: {error}")))?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(SecretString::from(line.to_owned()))
}

fn namespace_of(text: &str) -> Result<NamespacePath, Failure> {
    parsed("a namespace", text)
}

/// Why a webhook is not made or changed.
fn refused(error: &HookError) -> Failure {
    Failure::failed(telemetry::chain(error))
}
