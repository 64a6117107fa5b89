//! Regular expressions that match a whole text or nothing, and exact texts.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Longest expression in bytes, and most memory that a compiled one may take.
const EXPRESSION_BYTES_MAX: usize = 2048;
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// A regular expression, anchored at both ends whatever it says itself.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has a fault.
    #[error("this is not a regular expression: {0}")]
    Syntax(String),
    /// It is too long.
    #[error("this is longer than {EXPRESSION_BYTES_MAX} bytes; write two shorter ones")]
    Long,
    /// It would take too much memory.
    #[error("this expression is too large when compiled; repeat less, or use `[0-9]` and `[a-z]` for `\\d` and `\\w`")]
    Large,
    /// It ends in a comment.
    #[error("this ends in a comment of the `x` flag, so that nothing can follow it; leave the comment out")]
    Open,
}

impl Pattern {
    /// Reads an expression in the syntax of the crate `regex`, which takes time linear in the text.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(PatternError::Long);
        }
        // By itself first: `a)|(b` would be sound between the parentheses that anchor it, and match more than it says.
        compile(text)?;
        let regex = compile(&format!(r"\A(?:{text})\z")).map_err(|error| match error {
            PatternError::Syntax(_) => PatternError::Open,
            error => error,
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether it matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    let built = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::Large,
        // Its message is a drawing of several lines, the last of which says what is wrong.
        error => PatternError::Syntax(error.to_string().lines().last().unwrap_or_default().trim().to_owned()),
    })
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a text has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// This, byte by byte.
    Exact(String),
    /// Whatever the expression matches as a whole.
    Pattern(Pattern),
}

impl Wanted {
    /// Whether it is.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Pattern(pattern) => pattern.matches(text),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Pattern(pattern) => write!(f, "~ {}", pattern.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).expect(pattern).matches(text)
    }

    #[test]
    fn only_the_whole_text_counts() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a", "ba", false),
            ("a", "a\n", false),
            ("a|b", "ab", false),
            ("a|ab", "ab", true),
            ("ab?", "ab", true),
            ("(?m)^a$", "a\nb", false),
            ("^a$", "a", true),
            ("(?i)a", "A", true),
            ("(?s).*", "a\nb", true),
            ("(?x) a b # c\n", "ab", true),
            ("ci\\.lab\\.example/acme", "ci.lab.example/acme/evil", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text:?}");
        }
    }

    #[test]
    fn what_would_match_more_than_it_says_is_refused() {
        assert!(matches!(Pattern::parse("a)|(b"), Err(PatternError::Syntax(_))));
        assert!(matches!(Pattern::parse("a)|.*|(?:b"), Err(PatternError::Syntax(_))));
        assert_eq!(Pattern::parse("(?x) a # b"), Err(PatternError::Open));
    }

    #[test]
    fn expressions_are_bounded() {
        assert_eq!(Pattern::parse("(?:(?:\\w{100}){100}){100}"), Err(PatternError::Large));
        assert_eq!(Pattern::parse(&"a".repeat(EXPRESSION_BYTES_MAX + 1)), Err(PatternError::Long));
        assert!(matches!(Pattern::parse("(?=a)b"), Err(PatternError::Syntax(_))));
    }

    proptest! {
        #[test]
        fn whatever_parses_is_anchored(text in "[()|a^$*?\\\\#x.\\[\\]]{1,12}", before in "[abx]{1,3}", after in "[abx]{1,3}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let alone = Regex::new(&text).expect("it parsed");
                let inner = "a";
                let around = format!("{before}{inner}{after}");
                // A match of the whole text is always one that the bare expression finds somewhere.
                prop_assert!(!pattern.matches(&around) || alone.is_match(&around));
                // And where the longest match of the bare expression is not the whole text, anchoring decides.
                if !alone.is_match(&around) {
                    prop_assert!(!pattern.matches(&around));
                }
            }
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = Pattern::parse(&text);
        }
    }
}
