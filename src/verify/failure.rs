//! Why a signature does not count: a code for machines and a sentence for people.

use super::verdict::ReasonCode;

/// Longest message in characters: texts of other parsers can hold what they were given.
const MESSAGE_CHARS_MAX: usize = 400;

/// Why a candidate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of fault it is.
    pub code: ReasonCode,
    /// What is wrong, and where.
    pub message: String,
    /// Whether it was made with a key, and a certificate is asked for.
    pub lacks_certificate: bool,
}

impl Failure {
    /// A failure; the message loses its control characters and what is too long.
    pub fn new(code: ReasonCode, message: impl AsRef<str>) -> Self {
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let message = message.as_ref().chars().take(MESSAGE_CHARS_MAX).map(shown).collect();
        Self { code, message, lacks_certificate: false }
    }

    /// It was made with a key, and a certificate is asked for.
    pub(super) fn no_certificate(message: impl AsRef<str>) -> Self {
        Self { lacks_certificate: true, ..Self::new(ReasonCode::NoTrustedSigner, message) }
    }

    /// Something has not the form it must have.
    pub(super) fn malformed(message: impl AsRef<str>) -> Self {
        Self::new(ReasonCode::Malformed, message)
    }

    /// Something is larger, longer or more than is looked at.
    pub(super) fn limit(message: impl AsRef<str>) -> Self {
        Self::new(ReasonCode::LimitExceeded, message)
    }
}

/// Checks that `count` of something is not more than `max`.
///
/// # Errors
/// `limit_exceeded`.
pub(super) fn at_most(count: usize, max: usize, what: &str) -> Result<(), Failure> {
    if count > max { Err(Failure::limit(format!("{what}: {count}, at most {max} are allowed"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_plain() {
        let failure = Failure::malformed(format!("a\nb\u{1b}[31m{}", "x".repeat(1000)));
        assert!(failure.message.starts_with("a b [31mxxx"));
        assert_eq!(failure.message.chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn limits_say_what_and_how_many() {
        let failure = at_most(9, 8, "timestamps").expect_err("one too many");
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (ReasonCode::LimitExceeded, "timestamps: 9, at most 8 are allowed")
        );
        assert_eq!(at_most(8, 8, "timestamps"), Ok(()));
    }
}
