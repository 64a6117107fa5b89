//! `bonded user cert`: names in client certificates that prove an account.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::team::done;
use super::{DataArgs, Failure, parsed, print, with_auth};
use crate::access::{CertificateName, UserName};
use crate::auth::Auth;
use crate::metadata::model::accounts::Actor;

/// What to do with names.
#[derive(Debug, Subcommand)]
pub(super) enum CertificateVerb {
    /// Lets whoever shows a certificate with this name be the account. An authority of `tls.client_ca` vouches for it.
    Add(NameArgs),
    /// Lists the names of an account.
    Ls {
        /// The account, or a robot's such as `team/app+ci`.
        user: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Takes a name from an account, which ends for it within a second.
    Rm(NameArgs),
}

/// Which name.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The account, or a robot's such as `team/app+ci`.
    user: String,
    /// The name with its kind: `uri:`, `dns:` or `email:` of the subject alternative names, or `cn:` of the subject.
    name: String,
    #[command(flatten)]
    data: DataArgs,
}

impl NameArgs {
    fn parse(&self) -> Result<(UserName, CertificateName), Failure> {
        Ok((parsed("the name of an account", &self.user)?, parsed("the name in a certificate", &self.name)?))
    }
}

/// Does it.
pub(super) fn run(verb: &CertificateVerb) -> Result<ExitCode, Failure> {
    let by = Actor::command_line();
    match verb {
        CertificateVerb::Add(args) => {
            let (user, name) = args.parse()?;
            with_auth(args.data.load()?.config, async |auth| {
                auth.add_certificate(&user, &name, &by).await.map_err(Failure::failed)?;
                print(format_args!("{name} is {user}\n"));
                Ok(())
            })
        }
        CertificateVerb::Ls { user, data } => {
            let user: UserName = parsed("the name of an account", user)?;
            with_auth(data.load()?.config, async |auth| list(auth, &user).await)
        }
        CertificateVerb::Rm(args) => {
            let (user, name) = args.parse()?;
            with_auth(args.data.load()?.config, async |auth| {
                let ended = auth.end_certificate(&user, &name, &by).await.map_err(Failure::failed)?;
                done(ended, &format!("{name} is {user} no more"), format!("`{user}` has no name `{name}`"))
            })
        }
    }
}

async fn list(auth: &Auth, user: &UserName) -> Result<(), Failure> {
    let names = auth.certificates(user).await.map_err(Failure::failed)?;
    for record in names.ok_or_else(|| Failure::failed(format!("there is no account `{user}`")))? {
        print(format_args!("{}\n", record.name));
    }
    Ok(())
}
