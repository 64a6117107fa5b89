//! The repository as text, for the tests that read it: files, and Rust code without its comments and literals.
//!
//! Blanking keeps every line break, so a line number in the blanked text is one in the file.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One text file of the repository.
pub(crate) struct Source {
    /// Its path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// One Rust function.
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, counted from 1.
    pub(crate) line: usize,
    /// Lines from the `fn` to the closing brace.
    pub(crate) lines: usize,
}

impl Source {
    /// The text with every comment and literal made of spaces.
    pub(crate) fn code(&self) -> String {
        blank_text(&self.text)
    }

    /// The code without the items under `#[cfg(test)]`.
    pub(crate) fn production_code(&self) -> String {
        without_tests(&self.code())
    }

    /// Whether the file holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the given folders (or the file itself) whose name ends in one of `endings`, sorted by path.
///
/// Folders called `target` and hidden ones below the given start are left out; a start that is missing gives nothing.
pub(crate) fn files(starts: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for start in starts {
        collect_paths(&root().join(start), &mut paths);
    }
    paths.sort();
    paths.dedup();
    let wanted = |path: &PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
    paths.into_iter().filter(wanted).map(|path| read_source(&path)).collect()
}

/// Every Rust file of the workspace.
pub(crate) fn rust_files() -> Vec<Source> {
    files(&["src", "tests", "conformance"], &[".rs"])
}

/// The line, counted from 1, in which the byte at `offset` stands.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Where `word` stands in `code` as a word of its own.
pub(crate) fn word_offsets<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let end = at + word.len();
        !code[..at].ends_with(is_word) && !code[end..].starts_with(is_word)
    })
}

/// Whether a character may stand in an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The functions with a body in blanked `code`.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    word_offsets(code, "fn")
        .filter_map(|at| {
            let name: String = code[at + 2..].trim_start().chars().take_while(|&c| is_word(c)).collect();
            let body = item_end(code, at)?;
            let ends_in_body = code[..body].ends_with('}');
            let lines = line_at(code, body) - line_at(code, at) + 1;
            (ends_in_body && !name.is_empty()).then(|| Function { name, line: line_at(code, at), lines })
        })
        .collect()
}

fn collect_paths(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_file() {
        into.push(path.to_owned());
    } else if path.is_dir() {
        let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for entry in entries {
            let entry = entry.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name != "target" && !name.starts_with('.') {
                collect_paths(&entry.path(), into);
            }
        }
    }
}

fn read_source(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let relative = path.strip_prefix(root()).unwrap_or(path);
    Source { path: relative.to_string_lossy().replace('\\', "/"), text }
}

fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    for attribute in ["#[cfg(test)]", "#![cfg(test)]"] {
        while let Some(at) = kept.find(attribute) {
            let end = if attribute.starts_with("#!") { kept.len() } else { item_end(&kept, at).unwrap_or(kept.len()) };
            blank_range(&mut kept, at..end);
        }
    }
    kept
}

/// The end of the item that begins at `start`: behind its `;`, or behind the brace that closes its first block.
fn item_end(code: &str, start: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(start + at + 1),
            '}' => braces -= 1,
            ';' if braces == 0 && others == 0 => return Some(start + at + 1),
            _ => {}
        }
    }
    None
}

fn blank_range(text: &mut String, range: Range<usize>) {
    let blank: String = text[range.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    text.replace_range(range, &blank);
}

fn blank_text(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let behind_word = code.ends_with(is_word);
        let blank = literal_len(rest, behind_word);
        let len = blank.unwrap_or(first.len_utf8());
        let (piece, tail) = rest.split_at(len);
        match blank {
            Some(_) => code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => code.push_str(piece),
        }
        rest = tail;
    }
    code
}

/// How many bytes the comment or literal at the start of `rest` takes; `None` when code stands there.
fn literal_len(rest: &str, behind_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_len(rest));
    }
    if rest.starts_with('\'') {
        return char_len(rest);
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let tail = rest.strip_prefix(prefix).unwrap_or_default();
        tail.starts_with('"') || (prefix.ends_with('r') && tail.trim_start_matches('#').starts_with('"'))
    })?;
    if behind_word && !prefix.is_empty() {
        return None;
    }
    Some(prefix.len() + string_len(&rest[prefix.len()..], prefix.ends_with('r')))
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a character literal; `None` for a lifetime.
fn char_len(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return chars.find(|&(_, c)| c == '\'').map(|(at, _)| at + 1);
    }
    chars.next().filter(|&(_, c)| c == '\'').map(|(at, _)| at + 1)
}

/// The length of a string literal that begins with its hashes or its quote.
fn string_len(rest: &str, raw: bool) -> usize {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return rest[hashes + 1..].find(&end).map_or(rest.len(), |at| hashes + 1 + at + end.len());
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::{Source, functions};

    fn source(text: &str) -> Source {
        Source { path: "src/a.rs".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a /* { /* } */ \" */ b // }\n\"}\\\"{\" c '{' '\\'' 'x r#\"}\"\n\"# d br\"{\" for_r\"}\" e";
        let code = source(text).code();
        assert_eq!(code.matches('\n').count(), 2);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "'x", "d", "for_r", "e"]);
    }

    #[test]
    fn test_items_are_no_production_code() {
        let code = source("fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n#[cfg(test)]\nuse c::d;\nfn e() {}");
        let code = code.production_code();
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["fn", "a()", "{}", "fn", "e()", "{}"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let code = "fn a(x: [u8; 2]) {\n    if b {}\n}\ntrait T {\n    fn c();\n    fn d() { }\n}\ntype F = fn(u8);";
        let found: Vec<_> = functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 1, 3), ("d".to_owned(), 6, 1)]);
    }
}
