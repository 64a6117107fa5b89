//! Keeps the layers of `docs/ARCHITECTURE.md`: a module names only what lies below it.
//!
//! Cargo keeps layers between packages; in one package this test does. It reads every path that begins with `crate::`
//! (or climbs there with `super::`, or comes from outside as `bonded::`) in production code, group imports included.

use std::collections::BTreeSet;

use super::sources::{self, Source, word_offsets};

/// A top-level module and what it may name of the crate: a module, or one item of a module.
struct Rule {
    module: &'static str,
    may_name: &'static [&'static str],
}

/// The layers from the bottom up. A module that is missing here fails the test, so a new one takes its place on purpose.
const RULES: &[Rule] = &[
    Rule { module: "clock", may_name: &[] },
    Rule { module: "oci", may_name: &[] },
    Rule { module: "access", may_name: &["oci"] },
    Rule { module: "telemetry", may_name: &[] },
    Rule { module: "faults", may_name: &[] },
    Rule { module: "storage", may_name: &["clock", "oci", "telemetry", "faults"] },
    Rule {
        module: "metadata",
        may_name: &["clock", "oci", "access", "telemetry", "faults", "storage::Key", "storage::DriverState"],
    },
    Rule { module: "verify", may_name: &["clock", "oci", "access"] },
    Rule { module: "registry", may_name: &["clock", "oci", "telemetry", "storage", "metadata", "verify"] },
    Rule { module: "audit", may_name: &["clock", "access", "telemetry", "metadata"] },
    Rule { module: "auth", may_name: &["clock", "oci", "access", "telemetry", "metadata", "audit"] },
    Rule {
        module: "http",
        may_name: &["clock", "oci", "access", "telemetry", "storage", "metadata::model", "registry", "auth"],
    },
    Rule { module: "hooks", may_name: &["clock", "oci", "access", "telemetry", "metadata", "auth"] },
    Rule {
        module: "frontends",
        may_name: &[
            "clock",
            "oci",
            "access",
            "telemetry",
            "storage",
            "metadata::model",
            "metadata::MetadataError",
            "verify",
            "registry",
            "audit",
            "auth",
            "hooks",
            "http",
        ],
    },
    Rule { module: "jobs", may_name: &["clock", "oci", "telemetry", "registry", "audit", "auth", "hooks", "http"] },
    Rule { module: "transfer", may_name: &["clock", "oci", "telemetry", "storage", "metadata", "registry"] },
    Rule {
        module: "config",
        may_name: &[
            "clock",
            "oci",
            "access",
            "telemetry",
            "storage",
            "metadata",
            "registry",
            "hooks",
            "http",
            "frontends",
            "jobs",
        ],
    },
    Rule {
        module: "app",
        may_name: &[
            "clock",
            "oci",
            "access",
            "telemetry",
            "faults",
            "storage",
            "metadata",
            "registry",
            "audit",
            "auth",
            "hooks",
            "transfer",
            "verify",
            "http",
            "frontends",
            "jobs",
            "config",
        ],
    },
    Rule {
        module: "cli",
        may_name: &[
            "clock",
            "oci",
            "access",
            "telemetry",
            "faults",
            "storage",
            "metadata",
            "registry",
            "audit",
            "auth",
            "hooks",
            "transfer",
            "verify",
            "http",
            "frontends",
            "jobs",
            "config",
            "app",
        ],
    },
    Rule { module: "main", may_name: &["cli"] },
];

/// A library and the only places that may name it.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("sqlx", &["src/metadata/"]),
    ("aws_config", &["src/storage/s3/"]),
    ("aws_credential_types", &["src/storage/s3/"]),
    ("aws_sdk_s3", &["src/storage/s3/"]),
    ("axum", &["src/http/", "src/http.rs", "src/frontends/", "src/app.rs", "src/app/"]),
    ("argon2", &["src/auth/"]),
    ("aws_lc_rs", &["src/auth/", "src/http/tls.rs", "src/verify/key.rs", "src/verify/tests/"]),
    ("jsonwebtoken", &["src/auth/"]),
    ("sigstore_verify", &["src/verify/sigstore.rs", "src/verify/sigstore/"]),
    ("x509_parser", &["src/auth/", "src/verify/"]),
    (
        "reqwest",
        &[
            "src/cli/policy/server.rs",
            "src/cli/verify/",
            "src/http/fetch.rs",
            "src/hooks/sender.rs",
            "src/hooks/url.rs",
        ],
    ),
    ("pbkdf2", &["src/auth/"]),
    ("regex", &["src/verify/policy/"]),
    ("saphyr_parser", &["src/verify/policy/"]),
    ("clap", &["src/cli.rs", "src/cli/", "src/main.rs"]),
];

/// A concrete driver and the only places that may name it: its own folder, and the one that puts the parts together.
const DRIVERS: &[(&str, &[&str])] = &[
    ("metadata::postgres", &["src/metadata/", "src/app.rs", "src/app/"]),
    ("metadata::sqlite", &["src/metadata/", "src/app.rs", "src/app/"]),
    ("storage::fs", &["src/storage/", "src/app.rs", "src/app/"]),
    // The configuration gives the options of a bucket their types; it opens nothing.
    (
        "storage::s3",
        &[
            "src/storage/",
            "src/app.rs",
            "src/app/",
            "src/config/storage.rs",
            "src/config/mod.rs",
            "src/config/tests.rs",
        ],
    ),
    ("storage::memory", &["src/storage/", "src/app.rs", "src/app/"]),
];

/// The seams that front ends and jobs must not reach past the registry for.
const STORES: &[&str] = &["storage::BlobStore", "metadata::MetadataStore"];

#[test]
fn modules_import_only_downwards() {
    let mut findings = Vec::new();
    for file in production_files() {
        let module = module_path(&file.path).first().cloned().unwrap_or_default();
        if module == "lib" {
            continue;
        }
        let Some(rule) = RULES.iter().find(|rule| rule.module == module) else {
            findings.push(format!("{}: `{module}` has no row in the table of layers", file.path));
            continue;
        };
        for path in crate_paths(&file) {
            let inside = path.split("::").next() == Some(rule.module);
            if !inside && !rule.may_name.iter().any(|allowed| is_within(&path, allowed)) {
                findings.push(format!("{}: `{module}` may not name `{path}`", file.path));
            }
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn libraries_stay_where_they_belong() {
    let mut findings = Vec::new();
    for file in production_files() {
        let code = file.production_code();
        for (library, places) in LIBRARIES {
            let used = word_offsets(&code, library).any(|at| code[at + library.len()..].trim_start().starts_with("::"));
            if used && !places.iter().any(|place| file.path.starts_with(place)) {
                findings.push(format!("{}: `{library}` belongs in {places:?}", file.path));
            }
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn drivers_are_named_only_where_the_parts_are_put_together() {
    let mut findings = Vec::new();
    for file in production_files() {
        for path in crate_paths(&file) {
            let rule = DRIVERS.iter().find(|(driver, _)| is_within(&path, driver));
            if rule.is_some_and(|(_, places)| !places.iter().any(|place| file.path.starts_with(place))) {
                findings.push(format!("{}: names the driver `{path}`", file.path));
            }
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn front_ends_and_jobs_go_through_the_registry() {
    let mut findings = Vec::new();
    let files = production_files();
    let above = |file: &&Source| file.path.starts_with("src/frontends") || file.path.starts_with("src/jobs");
    for file in files.iter().filter(above) {
        let reached = crate_paths(file).into_iter().filter(|path| STORES.iter().any(|store| is_within(path, store)));
        findings.extend(reached.map(|path| format!("{}: goes past the registry to `{path}`", file.path)));
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn production_files() -> Vec<Source> {
    sources::files(&["src"], &[".rs"]).into_iter().filter(|file| !file.is_test()).collect()
}

/// `src/a/b.rs` is `[a, b]`, `src/a/mod.rs` is `[a]`.
fn module_path(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inner.split('/').map(str::to_owned).collect()
}

/// Whether `path` is `prefix` or lies in it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path into the crate that the production code of a file names, from the crate's root.
fn crate_paths(file: &Source) -> BTreeSet<String> {
    let code = file.production_code();
    let depth = module_path(&file.path).len();
    let mut paths = BTreeSet::new();
    for start in ["crate", "bonded"] {
        for at in word_offsets(&code, start) {
            paths.extend(path_tails(&code[at + start.len()..]));
        }
    }
    let climb = "super::".repeat(depth);
    for (at, _) in code.match_indices(&climb).filter(|(at, _)| !code[..*at].ends_with("super::")) {
        paths.extend(path_tails(&code[at + climb.len() - 2..]));
    }
    paths.retain(|path| !path.is_empty());
    paths
}

/// The paths that follow at the start of `code`, which begins with `::`; a group gives one for each of its members.
fn path_tails(code: &str) -> Vec<String> {
    let Some(rest) = code.trim_start().strip_prefix("::") else { return Vec::new() };
    use_tree(rest.trim_start()).0
}

/// The paths of one use tree (`a::b`, `a::{b, c::d}`, `*`) and what follows it.
fn use_tree(code: &str) -> (Vec<String>, &str) {
    if let Some(group) = code.strip_prefix('{') {
        return use_group(group);
    }
    let end = code.find(|c: char| !sources::is_word(c)).unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    let Some(inner) = rest.trim_start().strip_prefix("::").filter(|_| !name.is_empty()) else {
        return (vec![name.to_owned()], rest);
    };
    let (tails, rest) = use_tree(inner.trim_start());
    let join = |tail: String| if tail.is_empty() { name.to_owned() } else { format!("{name}::{tail}") };
    (tails.into_iter().map(join).collect(), rest)
}

/// The members of a group whose opening brace has been read.
fn use_group(mut code: &str) -> (Vec<String>, &str) {
    let mut paths = Vec::new();
    loop {
        code = code.trim_start();
        if let Some(rest) = code.strip_prefix('}') {
            return (paths, rest);
        }
        if code.is_empty() {
            return (paths, code);
        }
        let (members, rest) = use_tree(code);
        paths.extend(members);
        // Whatever else stands there (`as name`, `*`, the comma) ends where the next member or the group's end begins.
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        code = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, crate_paths, is_within};

    fn paths(path: &str, text: &str) -> Vec<String> {
        crate_paths(&Source { path: path.to_owned(), text: text.to_owned() }).into_iter().collect()
    }

    #[test]
    fn group_imports_are_taken_apart() {
        let text = "use crate::{a::{self, b as c, d::*}, e};\nfn f() { crate::g::h(1) } // crate::no";
        assert_eq!(paths("src/x.rs", text), ["a::b", "a::d", "a::self", "e", "g::h"]);
    }

    #[test]
    fn climbing_to_the_root_counts() {
        assert_eq!(paths("src/a/b.rs", "use super::c; use super::super::d::E;"), ["d::E"]);
        assert_eq!(paths("src/a/mod.rs", "use super::d;"), ["d"]);
        assert_eq!(paths("src/main.rs", "bonded::cli::run()"), ["cli::run"]);
    }

    #[test]
    fn test_modules_may_name_what_they_like() {
        assert_eq!(paths("src/a.rs", "#[cfg(test)]\nmod tests { use crate::b; }"), Vec::<String>::new());
    }

    #[test]
    fn a_prefix_ends_at_a_path_segment() {
        assert!(is_within("storage::Key::parse", "storage::Key") && is_within("storage", "storage"));
        assert!(!is_within("storage::Keyring", "storage::Key") && !is_within("storage", "storage::Key"));
    }
}
