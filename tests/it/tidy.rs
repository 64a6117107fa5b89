//! Taste that does not depend on the reviewer's mood: sizes, heads, links and leftovers, checked over the whole
//! repository. `docs/STYLE.md` gives the reasons; every finding names its file and line.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::sources::{self, Source, functions, line_at, rust_files, word_offsets};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Folders and files that people write, beside the Rust sources.
const PROSE_AND_CONFIGURATION: [&str; 11] = [
    "README.md",
    "docs",
    "conformance",
    "migrations",
    ".ci",
    ".github",
    ".cargo",
    "Cargo.toml",
    "Dockerfile",
    "compose.yaml",
    "tests",
];

/// Libraries of which a second one, or any, means that the dependency tree went wrong (`deny.toml` says the same).
const PACKAGES_FORBIDDEN: [&str; 4] = ["openssl-sys", "native-tls", "hyper-tls", "async-std"];
/// The types of `http` are there twice, since the AWS SDK still has 0.2 in its API; there is one `hyper` under both.
const PACKAGES_ONCE: [&str; 3] = ["hyper", "rustls", "aws-lc-rs"];

#[test]
fn rust_files_are_short() {
    let mut findings = Findings::default();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.add(&file, 1, &format!("{lines} lines, at most {FILE_LINES_MAX} are allowed"));
        }
    }
    findings.assert_none();
}

#[test]
fn functions_are_short() {
    let mut findings = Findings::default();
    for file in rust_files() {
        for function in functions(&file.code()).iter().filter(|f| f.lines > FUNCTION_LINES_MAX) {
            let (name, lines) = (&function.name, function.lines);
            findings.add(&file, function.line, &format!("`{name}` has {lines} lines, not {FUNCTION_LINES_MAX}"));
        }
    }
    findings.assert_none();
}

#[test]
fn every_rust_file_begins_with_what_it_is_for() {
    let mut findings = Findings::default();
    for file in rust_files().iter().filter(|file| !file.text.starts_with("//! ")) {
        findings.add(file, 1, "does not begin with a `//!` head");
    }
    findings.assert_none();
}

#[test]
fn what_is_left_to_do_stands_in_an_issue() {
    let mut findings = Findings::default();
    for file in &all_files() {
        for marker in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            for at in word_offsets(&file.text, marker).filter(|at| !names_an_issue(&file.text[at + marker.len()..])) {
                findings.add(file, line_at(&file.text, at), &format!("{marker} without `(#number)` of an issue"));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn production_code_does_not_panic_at_will() {
    let banned = [".unwrap()", ".unwrap_err()", "panic!", "todo!", "unimplemented!", "dbg!"];
    let mut findings = Findings::default();
    for file in rust_files().iter().filter(|file| !file.is_test()) {
        let code = file.production_code();
        for call in banned {
            for at in calls(&code, call) {
                findings.add(file, line_at(&code, at), &format!("`{call}` in production code"));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn nothing_is_unsafe() {
    let mut findings = Findings::default();
    for file in &rust_files() {
        let code = file.code();
        for at in word_offsets(&code, concat!("un", "safe")) {
            findings.add(file, line_at(&code, at), "memory safety is not up for discussion");
        }
    }
    findings.assert_none();
}

#[test]
fn links_in_the_documentation_resolve() {
    let mut findings = Findings::default();
    for file in sources::files(&["README.md", "docs", "conformance", "migrations"], &[".md"]) {
        for link in links(&file.text) {
            if let Err(why) = check_link(&file, &link) {
                findings.add(&file, link.line, &format!("link to `{}`: {why}", link.target));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn every_page_of_documentation_is_in_the_index() {
    let mut findings = Findings::default();
    let index = sources::files(&["docs/README.md"], &[".md"]).remove(0);
    let listed: Vec<PathBuf> = links(&index.text).iter().map(|link| resolve(&index, &link.target)).collect();
    for page in sources::files(&["docs"], &[".md"]).iter().filter(|page| page.path != index.path) {
        if !listed.contains(&sources::root().join(&page.path)) {
            findings.add(page, 1, "is not linked from docs/README.md");
        }
    }
    findings.assert_none();
}

#[test]
fn every_snapshot_belongs_to_a_test() {
    let mut findings = Findings::default();
    for snapshot in sources::files(&["src", "tests", "conformance"], &[".snap", ".snap.new"]) {
        if let Err(why) = check_snapshot(&snapshot) {
            findings.add(&snapshot, 1, &why);
        }
    }
    findings.assert_none();
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let folders = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let mut findings = Findings::default();
    for file in &all_files() {
        for folder in folders {
            for (at, _) in file.text.match_indices(folder) {
                let inside_a_path = |c: char| sources::is_word(c) || "./-}".contains(c);
                if !file.text[..at].ends_with(inside_a_path) {
                    findings.add(file, line_at(&file.text, at), &format!("names the machine path `{folder}`"));
                }
            }
        }
    }
    findings.assert_none();
}

#[test]
fn the_lock_file_has_one_stack_for_http_and_tls() {
    let lock = fs::read_to_string(sources::root().join("Cargo.lock")).unwrap();
    let count = |package: &str| lock.lines().filter(|line| *line == format!("name = \"{package}\"")).count();
    for package in PACKAGES_FORBIDDEN {
        assert_eq!(count(package), 0, "{package} must not be among the dependencies");
    }
    for package in PACKAGES_ONCE {
        assert_eq!(count(package), 1, "{package} must be there in exactly one version");
    }
}

/// What a test found, printed all at once.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: &Source, line: usize, what: &str) {
        self.0.push(format!("{}:{line}: {what}", file.path));
    }

    fn assert_none(self) {
        assert!(self.0.is_empty(), "{} findings:\n{}", self.0.len(), self.0.join("\n"));
    }
}

fn all_files() -> Vec<Source> {
    let endings = [".rs", ".md", ".toml", ".yml", ".yaml", ".sql", ".sh", ".snap", ".go", "Dockerfile", "/run"];
    let mut files = sources::files(&PROSE_AND_CONFIGURATION, &endings);
    files.extend(sources::files(&["src"], &endings));
    files
}

/// Where a method (`.unwrap()`) or a macro (`panic!`) is called.
fn calls<'a>(code: &'a str, call: &'a str) -> impl Iterator<Item = usize> + 'a {
    let found = code.match_indices(call).map(|(at, _)| at);
    found.filter(move |&at| call.starts_with('.') || !code[..at].ends_with(sources::is_word))
}

fn names_an_issue(behind: &str) -> bool {
    let number = behind.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(digits, _)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// An inline link `[text](target)`.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    text: String,
    target: String,
}

/// The links of a page, code blocks and code spans left out.
fn links(markdown: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        for (at, _) in line.match_indices("](").filter(|_| !fenced) {
            let (before, behind) = (&line[..at], &line[at + 2..]);
            let in_code = before.matches('`').count() % 2 == 1;
            if let Some((target, _)) = behind.split_once(')').filter(|_| !in_code) {
                let text = before.rsplit('[').next().unwrap_or_default().to_owned();
                found.push(Link { line: index + 1, text, target: target.trim().to_owned() });
            }
        }
    }
    found
}

/// A link leads to a file, and in it to the heading it names; one to Rust code whose text is a name in a code span leads to
/// a file that has this name, so that a walk through the code cannot go stale.
fn check_link(from: &Source, link: &Link) -> Result<(), String> {
    let target = &link.target;
    if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return Ok(());
    }
    let path = resolve(from, target);
    if !path.exists() {
        return Err("there is no such file".to_owned());
    }
    if let Some((_, anchor)) = target.split_once('#') {
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot be read: {e}"))?;
        let found = text.lines().filter(|line| line.starts_with('#')).any(|heading| anchor_of(heading) == anchor);
        return if found { Ok(()) } else { Err("there is no such heading".to_owned()) };
    }
    let name = link.text.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or_default();
    if path.extension().is_some_and(|extension| extension == "rs") && name.chars().all(sources::is_word) {
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot be read: {e}"))?;
        if !name.is_empty() && word_offsets(&text, name).next().is_none() {
            return Err(format!("there is no `{name}` in it"));
        }
    }
    Ok(())
}

/// The file that a link names, seen from the file it stands in.
fn resolve(from: &Source, target: &str) -> PathBuf {
    let here = sources::root().join(&from.path);
    let target = target.split('#').next().unwrap_or_default();
    if target.is_empty() {
        return here;
    }
    let mut path = PathBuf::new();
    for component in here.parent().unwrap_or(Path::new("")).join(target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// The anchor that GitHub gives a heading.
fn anchor_of(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    title
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// A snapshot names its source in its head, and the source names the snapshot, as a function or as a text.
fn check_snapshot(snapshot: &Source) -> Result<(), String> {
    if Path::new(&snapshot.path).extension().is_some_and(|extension| extension == "new") {
        return Err("a new snapshot waits for review".to_owned());
    }
    let head = snapshot.text.lines().find_map(|line| line.strip_prefix("source: "));
    let source = head.ok_or("its head names no source")?.trim_matches('"');
    let text = fs::read_to_string(sources::root().join(source)).map_err(|e| format!("{source}: {e}"))?;
    let file = Path::new(&snapshot.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = file.rsplit("__").next().unwrap_or_default().split('@').next().unwrap_or_default();
    let unnumbered = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    let known = [name, unnumbered].iter().any(|name| !name.is_empty() && text.contains(name));
    if known { Ok(()) } else { Err(format!("{source} has no test called `{name}`")) }
}

#[cfg(test)]
mod tests {
    use super::{Link, anchor_of, links, names_an_issue};

    #[test]
    fn links_are_found_outside_code() {
        let text = "see [a](b.md) and `[c](d)` or\n```\n[e](f)\n```\n[`g`](h.md#i)";
        let link = |line, text: &str, target: &str| Link { line, text: text.to_owned(), target: target.to_owned() };
        assert_eq!(links(text), [link(1, "a", "b.md"), link(5, "`g`", "h.md#i")]);
    }

    #[test]
    fn anchors_are_those_of_the_forge() {
        assert_eq!(anchor_of("## Give space back, now: `gc`"), "give-space-back-now-gc");
    }

    #[test]
    fn only_a_numbered_issue_excuses() {
        assert!(names_an_issue("(#12): later"));
        assert!(!names_an_issue("(me): later") && !names_an_issue("(#): later") && !names_an_issue(": later"));
    }
}
