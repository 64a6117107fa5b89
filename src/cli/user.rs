//! `bonded user`: accounts of people.

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::json;

use super::certificate::{self, CertificateVerb};
use super::output::Format;
use super::{DataArgs, Failure, parsed, print, with_auth, with_first_auth};
use crate::access::{Email, NamespacePath, UserName};
use crate::auth::password::{BYTES_MAX, KeptPassword};
use crate::auth::{AdminError, Auth, Given};
use crate::clock::Timestamp;
use crate::metadata::model::accounts::{Actor, UserChange, UserRecord};
use crate::telemetry;

/// Accounts read at once.
const PAGE: u32 = 500;

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(super) enum UserVerb {
    /// Makes an account.
    Add {
        /// Its name: letters, digits, and single . _ - between them.
        name: String,
        /// Its mail address.
        #[arg(long)]
        email: Option<String>,
        /// It may do everything. The first account has to.
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Gives an account another password; what was made by the old one ends within seconds. API tokens stay.
    Passwd {
        /// Its name.
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lets an account do nothing any more; all its tokens end within seconds, for good.
    Disable(UserArgs),
    /// Takes that back, but for the tokens.
    Enable(UserArgs),
    /// Lets an account do everything.
    Promote(UserArgs),
    /// Takes that back.
    Demote(UserArgs),
    /// Ends an account, with its tokens and roles.
    Rm(UserArgs),
    /// Says which client certificates prove an account.
    #[command(subcommand)]
    Cert(CertificateVerb),
    /// Shows an account.
    Show {
        /// Its name.
        name: String,
        /// `text` for people, `json` for one object a line.
        #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
        output: Format,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Lists accounts, one a line.
    Ls {
        /// `text` for people, `json` for one object a line.
        #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
        output: Format,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Which account.
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// Its name.
    name: String,
    #[command(flatten)]
    data: DataArgs,
}

/// From where to read the password: never from the command line, which others on the machine can see.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct PasswordArgs {
    /// Reads the password from standard input; a line break at its end is not part of it.
    #[arg(long)]
    password_stdin: bool,
    /// Reads a hash that another registry kept: a PHC string of Argon2id or PBKDF2-SHA-256.
    #[arg(long)]
    password_hash_stdin: bool,
}

/// Does it.
pub(super) fn run(verb: UserVerb) -> Result<ExitCode, Failure> {
    let by = Actor::command_line();
    match verb {
        UserVerb::Add { name, email, admin, password, data } => {
            let name: UserName = person(&name)?;
            let email = email.map(|email| parsed::<Email>("a mail address", &email)).transpose()?;
            let given = password.read()?;
            with_first_auth(data.load()?.config, async |auth| {
                // In the database, whether or not accounts count.
                let state = auth.refresh().await.map_err(Failure::failed)?;
                if !admin && !state.accounts {
                    let why = "the first account has to be one that may do everything; add --admin";
                    return Err(Failure::failed(why));
                }
                auth.add_user(&name, email, Some(given), admin, &by).await.map_err(|error| refused(&error))?;
                print(format_args!("added {name}\n"));
                Ok(())
            })
        }
        UserVerb::Passwd { name, password, data } => {
            let (name, given) = (person(&name)?, password.read()?);
            with_auth(data.load()?.config, async |auth| {
                auth.set_password(&name, given, &by).await.map_err(|error| refused(&error))?;
                print(format_args!("{name} has another password\n"));
                Ok(())
            })
        }
        UserVerb::Disable(args) => change(&args, &UserChange::Disabled(true), "is disabled"),
        UserVerb::Enable(args) => change(&args, &UserChange::Disabled(false), "is enabled"),
        UserVerb::Promote(args) => change(&args, &UserChange::Admin(true), "may do everything"),
        UserVerb::Demote(args) => change(&args, &UserChange::Admin(false), "may do what its roles say"),
        UserVerb::Rm(args) => {
            let name = person(&args.name)?;
            with_auth(args.data.load()?.config, async |auth| {
                auth.delete_user(&name, &by).await.map_err(|error| refused(&error))?;
                print(format_args!("removed {name}\n"));
                Ok(())
            })
        }
        UserVerb::Cert(verb) => certificate::run(&verb),
        UserVerb::Show { name, output, data } => {
            let name: UserName = parsed("the name of an account", &name)?;
            with_auth(data.load()?.config, async |auth| show(auth, &name, output).await)
        }
        UserVerb::Ls { output, data } => with_auth(data.load()?.config, async |auth| list(auth, output).await),
    }
}

fn change(args: &UserArgs, change: &UserChange, what: &str) -> Result<ExitCode, Failure> {
    let name = person(&args.name)?;
    with_auth(args.data.load()?.config, async |auth| {
        auth.change_user(&name, change, &Actor::command_line()).await.map_err(|error| refused(&error))?;
        print(format_args!("{name} {what}\n"));
        Ok(())
    })
}

async fn show(auth: &Auth, name: &UserName, format: Format) -> Result<(), Failure> {
    let found = auth.accounts().user_find(name).await.map_err(Failure::failed)?;
    let user = found.ok_or_else(|| refused(&AdminError::UserUnknown(name.clone())))?;
    let time = |moment: Timestamp| httpdate::fmt_http_date(moment.to_system_time());
    let (email, robot_of) = (user.email.as_ref().map(Email::as_str), user.robot_of.as_ref().map(NamespacePath::as_str));
    let (made, disabled) = (time(user.created_at), user.disabled_at.map(time));
    let text = || {
        let (email, disabled) = (email.unwrap_or("no mail address"), disabled.as_deref().unwrap_or("never"));
        format!("{}\t{}\t{email}\tmade: {made}\tdisabled: {disabled}", user.name, kind(&user))
    };
    let object = || {
        json!({
            "name": user.name.as_str(),
            "email": email,
            "kind": kind(&user),
            "robot_of": robot_of,
            "password": user.password.is_some(),
            "created_at": made,
            "disabled_at": disabled,
        })
    };
    format.line(text, object);
    Ok(())
}

fn kind(user: &UserRecord) -> &'static str {
    match (&user.robot_of, user.admin) {
        (Some(_), _) => "robot",
        (None, true) => "admin",
        (None, false) => "user",
    }
}

async fn list(auth: &Auth, format: Format) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let users = auth.accounts().user_list(after.as_deref(), PAGE).await.map_err(Failure::failed)?;
        let Some(last) = users.last() else { return Ok(()) };
        after = Some(last.name.to_string());
        for user in &users {
            let kind = kind(user);
            let state = if user.disabled_at.is_some() { "\tdisabled" } else { "" };
            let object = json!({
                "name": user.name.as_str(),
                "email": user.email.as_ref().map(Email::as_str),
                "kind": kind,
                "disabled": user.disabled_at.is_some(),
            });
            format.line(|| format!("{}\t{kind}{state}", user.name), || object);
        }
    }
}

/// The name of a person; machines have a verb of their own.
fn person(text: &str) -> Result<UserName, Failure> {
    let name: UserName = parsed("the name of an account", text)?;
    if name.is_robot() {
        return Err(Failure::usage(format!("`{text}` is the name of a robot; see `bonded robot`")));
    }
    Ok(name)
}

/// Why an account is not made or changed.
pub(super) fn refused(error: &AdminError) -> Failure {
    Failure::failed(telemetry::chain(error))
}

impl PasswordArgs {
    fn read(self) -> Result<Given, Failure> {
        let mut text = String::new();
        let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX).saturating_add(3);
        let read = std::io::stdin().take(limit).read_to_string(&mut text);
        read.map_err(|error| Failure::usage(format!("the password cannot be read: {error}")))?;
        let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if self.password_hash_stdin {
            return KeptPassword::parse(line).map(Given::Kept).map_err(Failure::usage);
        }
        Ok(Given::Plain(SecretString::from(line.to_owned())))
    }
}
