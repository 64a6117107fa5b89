//! The first account, from a file that whoever sets the server up writes, so that it never serves without one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::{App, AppError};
use crate::access::UserName;
use crate::auth::password::BYTES_MAX;
use crate::auth::{AdminError, Given};
use crate::metadata::model::accounts::Actor;

/// Its name.
const NAME: &str = "admin";

impl App {
    /// Makes the first account when there is none and `admin_password_file` names a password for it.
    pub(super) async fn make_first_admin(&self) -> Result<(), AppError> {
        let Some(path) = &self.config.admin_password_file else { return Ok(()) };
        if self.auth.refresh().await.map_err(AppError::Accounts)?.accounts {
            tracing::debug!("there are accounts, so `admin_password_file` is not read");
            return Ok(());
        }
        // An open server takes no credentials, so it makes no tokens.
        if !self.auth.has_secret() && !self.config.insecure_anonymous {
            return Err(AppError::SecretMissing);
        }
        let unfit = |why: &dyn std::fmt::Display| AppError::AdminPassword {
            path: path.display().to_string(),
            why: why.to_string(),
        };
        let password = read(path).map_err(|error| unfit(&error))?;
        let name: UserName = NAME.parse().map_err(|error| unfit(&error))?;
        let by = Actor { name: Some("first start".to_owned()), ..Actor::default() };
        match self.auth.add_user(&name, None, Some(Given::Plain(password)), true, &by).await {
            // Another node was faster.
            Ok(_) | Err(AdminError::NameTaken(_)) => {}
            Err(error) => return Err(unfit(&error)),
        }
        tracing::info!(name = NAME, "made the first account; `admin_password_file` is of no more use");
        Ok(())
    }
}

/// The first line of the file.
fn read(path: &Path) -> std::io::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(BYTES_MAX as u64 + 2).read_to_string(&mut text)?;
    Ok(SecretString::from(text.lines().next().unwrap_or_default().to_owned()))
}
