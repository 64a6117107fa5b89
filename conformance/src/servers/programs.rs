//! Where installed programs are, which user runs them, which port they get.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::random::Random;

/// The folders in which programs are looked for.
#[derive(Clone, Debug)]
pub struct Programs {
    folders: Vec<PathBuf>,
}

impl Programs {
    /// Those that the environment names: `$CONFORMANCE_TOOLS`, `$BONDED_TOOLS`, `$PATH`, then the folder into which `.ci/run`
    /// installs, then where Debian puts daemons.
    pub fn from_environment() -> Self {
        let mut folders: Vec<PathBuf> = ["CONFORMANCE_TOOLS", "BONDED_TOOLS"].iter().filter_map(folder_of).collect();
        if let Some(path) = std::env::var_os("PATH") {
            folders.extend(std::env::split_paths(&path));
        }
        let cache = folder_of(&"XDG_CACHE_HOME").or_else(|| Some(folder_of(&"HOME")?.join(".cache")));
        folders.extend(cache.map(|cache| cache.join("bonded/tools")));
        folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        Self { folders }
    }

    /// Where a program is.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file())
    }

    /// The folder with the programs of a Postgres server: `$POSTGRES_BIN`, one of the folders that has them all, else the
    /// newest version where Debian puts them.
    pub fn postgres(&self) -> Result<PathBuf> {
        if let Some(folder) = folder_of(&"POSTGRES_BIN") {
            return Ok(folder);
        }
        let complete = |folder: &Path| POSTGRES_PROGRAMS.iter().all(|program| folder.join(program).is_file());
        if let Some(folder) = self.folders.iter().find(|folder| complete(folder)) {
            return Ok(folder.clone());
        }
        let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let entries = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let versions = entries.filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))));
        let newest = versions.filter(|(_, folder)| complete(folder)).max();
        newest.map(|(_, folder)| folder).with_context(|| format!("Postgres is not installed: {POSTGRES_PROGRAMS:?}"))
    }
}

/// What [`super::PostgresCluster`] calls.
const POSTGRES_PROGRAMS: [&str; 6] = ["postgres", "initdb", "pg_isready", "createdb", "dropdb", "psql"];

fn folder_of(variable: &&str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The user for programs that refuse to run as root; none when we are not root.
pub(super) fn user_instead_of_root() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd").context("the list of users cannot be read")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| user_named(&accounts, name));
    user.map(Some).context("there is no user `postgres` or `nobody` to run Postgres as")
}

/// A line of passwd(5): name, password, uid, gid, ...
fn user_named(accounts: &str, name: &str) -> Option<User> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let line = accounts.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name))?;
    Some(User { uid: line.get(2)?.parse().ok()?, gid: line.get(3)?.parse().ok()? })
}

/// A port on loopback that nobody listens on.
///
/// It lies below the range from which the kernel gives ports to connections, so that a server which is down for a moment
/// finds its port free again.
pub fn free_port() -> Result<u16> {
    let random = Random::new(Random::any_seed());
    for _ in 0..PORT_TRIES {
        let port = PORT_MIN + u16::try_from(random.below(PORT_COUNT))?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port was free in {PORT_TRIES} tries")
}

const PORT_TRIES: usize = 100;
const PORT_MIN: u16 = 18_000;
const PORT_COUNT: u64 = 14_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_line_with_its_name() {
        let accounts = "root:x:0:0:root:/x:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        assert_eq!(user_named(accounts, "postgres"), Some(User { uid: 101, gid: 104 }));
        assert_eq!(user_named(accounts, "post"), None);
    }
}
