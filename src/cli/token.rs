//! `bonded token`: API tokens.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::output::Format;
use super::user::refused;
use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{TokenScopes, UserName};
use crate::auth::{Auth, TokenWish};
use crate::clock::Timestamp;
use crate::config::Span;
use crate::metadata::model::accounts::{Actor, TokenRecord};

/// Tokens read at once.
const PAGE: u32 = 500;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Makes a token and prints it, which happens only once.
    Create {
        /// Whose token; may be left out while there is only one account.
        #[arg(long)]
        user: Option<String>,
        /// What it is limited to, such as `team/**:pull,push`; may be repeated. Without any, it may do all that its
        /// owner may.
        #[arg(long = "scope", value_name = "GLOB:ACTIONS")]
        scopes: Vec<String>,
        /// How long it lives, such as `30d`; without, until it is removed.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lists tokens: number, account, scopes, when they end and were used, and who made them for whom.
    Ls {
        /// Only those of this account.
        #[arg(long)]
        user: Option<String>,
        /// Only those that this account made for others, such as robots.
        #[arg(long, value_name = "USER")]
        made_by: Option<String>,
        /// `text` for people, `json` for one object a line.
        #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
        output: Format,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Ends a token within a second, with those that were made by it.
    Rm {
        /// Its number, as `ls` shows it.
        id: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Does it.
pub(super) fn run(verb: &TokenVerb) -> Result<ExitCode, Failure> {
    match verb {
        TokenVerb::Create { user, scopes, expires, name, data } => {
            let user = user.as_deref().map(account).transpose()?;
            let scopes = TokenScopes::parse(scopes).map_err(Failure::usage)?;
            let life = expires.as_deref().map(|text| parsed::<Span>("a time", text)).transpose()?;
            let wish = TokenWish { name: name.clone(), scopes, life: life.map(|span| span.0) };
            with_auth(data.load()?.config, async |auth| create(auth, user, wish).await)
        }
        TokenVerb::Ls { user, made_by, output, data } => {
            let user = user.as_deref().map(account).transpose()?;
            let made_by = made_by.as_deref().map(account).transpose()?;
            with_auth(data.load()?.config, async |auth| list(auth, user.as_ref(), made_by.as_ref(), *output).await)
        }
        TokenVerb::Rm { id, data } => with_auth(data.load()?.config, async |auth| {
            let (now, by) = (auth.now(), Actor::command_line());
            let ended = auth.accounts().token_delete(None, id, now, &by).await.map_err(Failure::failed)?;
            super::team::done(ended, &format!("removed token {id}"), format!("there is no token `{id}`"))
        }),
    }
}

async fn create(auth: &Auth, user: Option<UserName>, wish: TokenWish) -> Result<(), Failure> {
    let user = match user {
        Some(user) => user,
        None => only_account(auth).await?,
    };
    let (id, token) =
        auth.add_token(&user, wish, None, &Actor::command_line()).await.map_err(|error| refused(&error))?;
    print(format_args!("{}\n", token.expose()));
    super::eprint(format_args!("this is token {id} of {user}; it is not shown again"));
    Ok(())
}

async fn only_account(auth: &Auth) -> Result<UserName, Failure> {
    let mut users = auth.accounts().user_list(None, 2).await.map_err(Failure::failed)?;
    match (users.pop(), users.pop()) {
        (Some(user), None) => Ok(user.name),
        (None, _) => Err(Failure::failed("there is no account yet; `bonded user add NAME --admin` makes one")),
        _ => Err(Failure::usage("there are several accounts; say with --user whose token it is to be")),
    }
}

async fn list(auth: &Auth, user: Option<&UserName>, made_by: Option<&UserName>, format: Format) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let tokens = auth.accounts().token_list(user, after.as_deref(), PAGE).await.map_err(Failure::failed)?;
        let Some(last) = tokens.last() else { return Ok(()) };
        after = Some(last.id.clone());
        for token in tokens.iter().filter(|token| made_by.is_none() || token.made_by.as_ref() == made_by) {
            let time =
                |moment: Option<Timestamp>| moment.map(|moment| httpdate::fmt_http_date(moment.to_system_time()));
            let scopes = token.scopes.to_texts();
            let (ends, used) = (time(token.expires_at), time(token.used_at));
            let text = || {
                let shown = if scopes.is_empty() { "everything".to_owned() } else { scopes.join(" ") };
                let (ends, used) = (ends.as_deref().unwrap_or("never"), used.as_deref().unwrap_or("never"));
                let maker = token.made_by.as_ref().map(|maker| format!("\tmade by: {maker}")).unwrap_or_default();
                let with = token.parent.as_ref().map(|parent| format!("\tmade with: {parent}")).unwrap_or_default();
                let TokenRecord { id, user, name, .. } = token;
                format!("{id}\t{user}\t{name}\t{shown}\tends: {ends}\tused: {used}{maker}{with}")
            };
            let object = || {
                json!({
                    "id": token.id,
                    "user": token.user.as_str(),
                    "name": token.name,
                    "scopes": scopes,
                    "expires_at": ends,
                    "used_at": used,
                    "made_by": token.made_by.as_ref().map(UserName::as_str),
                    "made_with": token.parent,
                })
            };
            format.line(text, object);
        }
    }
}

fn account(text: &str) -> Result<UserName, Failure> {
    parsed("the name of an account", text)
}
