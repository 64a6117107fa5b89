//! By what the signatures are judged: the policies of a document, those that the other options make, or both.

use std::path::Path;

use serde_json::{Value, json};

use super::VerifyArgs;
use crate::app::files::read_at_most;
use crate::cli::{Failure, policy};
use crate::oci::name::RepoName;
use crate::verify::policy::{Faults, Gate, Loaded, Policies, Policy};

/// Most bytes of a key or a trusted root.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Everything that has to hold.
pub(super) struct Asked {
    /// That of the document.
    document: Option<Policies>,
    /// That of a key or an identity.
    options: Option<Policies>,
}

impl Asked {
    /// Reads what the options name.
    pub(super) fn read(args: &VerifyArgs) -> Result<Self, Failure> {
        let root = args.trusted_root.as_deref().map(read).transpose()?;
        let document = args.policy.as_deref().map(|path| usable(policy::load(path, root.as_deref())?));
        let options = made_of(args)?.map(|made| {
            // It names the file that was given, and no other.
            let file = |name: &str| Err(format!("there is no file {name}"));
            usable(Policies::load_under(made.to_string().as_bytes(), &file, root.as_deref()))
        });
        Ok(Self { document: document.transpose()?, options: options.transpose()? })
    }

    /// Those that are about a repository; a document that says nothing of it is the wrong one.
    pub(super) fn applying(&self, repository: &RepoName) -> Result<Vec<&Policy>, Failure> {
        let mut applying = Vec::new();
        for policies in self.document.iter().chain(&self.options) {
            let these = policies.applying(repository, Gate::Pull, None);
            if these.is_empty() {
                return Err(Failure::usage(format!("no policy of the document is about {repository}")));
            }
            applying.extend(these);
        }
        Ok(applying)
    }
}

fn usable(loaded: Result<Loaded, Faults>) -> Result<Policies, Failure> {
    let loaded = loaded.map_err(|faults| {
        let first = faults.0.first().map(ToString::to_string).unwrap_or_default();
        Failure::usage(format!("the policy cannot be used: {first}"))
    })?;
    Ok(loaded.policies)
}

/// A document with one policy, for whoever names a key or an identity.
fn made_of(args: &VerifyArgs) -> Result<Option<Value>, Failure> {
    let mut authority = if let Some(key) = &args.key {
        let pem = String::from_utf8_lossy(&read(key)?).into_owned();
        let tlog = if args.trusted_root.is_some() { "require" } else { "ignore" };
        json!({"name": "key", "key": {"pem": pem}, "tlog": tlog, "timestamp": "ignore"})
    } else if let Some(identity) = &args.identity {
        let identities = json!([{"issuer": args.issuer, "subject": identity}]);
        json!({"name": "identity", "keyless": {"identities": identities}})
    } else {
        return Ok(None);
    };
    let mut document = json!({
        "apiVersion": "trust/v1",
        "policies": [{
            "name": "command-line", "match": {"repositories": ["**"]}, "mode": "enforce", "on": ["pull"],
            "signature": {"threshold": 1},
        }],
    });
    if args.trusted_root.is_some() {
        document["trustRoots"] = json!({"given": {"file": "trusted_root.json"}});
        let believing = if args.key.is_some() { &mut authority } else { &mut authority["keyless"] };
        believing["trustRoot"] = Value::from("given");
    }
    document["policies"][0]["authorities"] = Value::from(vec![authority]);
    Ok(Some(document))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, FILE_BYTES_MAX).map_err(|why| Failure::usage(format!("{}: {why}", path.display())))
}
