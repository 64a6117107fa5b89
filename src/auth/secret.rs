//! API tokens: opaque, shown once, kept as a hash.
//!
//! ```text
//! bonded_ | 32 letters and digits | 6 letters and digits that check the others
//! ```
//!
//! The beginning lets scanners of source code find a token that leaked, and the check lets them tell it from noise
//! without asking anybody (the scheme of GitHub's tokens: a CRC-32 in base 62). 32 characters are 190 bits of chance, so a
//! plain SHA-256 protects the kept hash.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use crate::clock::Entropy;

/// How every token begins.
pub const PREFIX: &str = "bonded_";

/// Characters of chance.
const RANDOM_CHARS: usize = 32;

/// Characters of the check.
const CHECK_CHARS: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token, in the hands of its owner.
#[derive(Clone, Debug)]
pub struct ApiToken(SecretString);

/// What is kept of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl ApiToken {
    /// A new one.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut text = PREFIX.to_owned();
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            // 248 is the largest multiple of 62 that fits into a byte; a larger one would make some digits likelier.
            let fair = entropy.bytes16().into_iter().filter(|byte| *byte < 248);
            let room = PREFIX.len() + RANDOM_CHARS - text.len();
            text.extend(fair.take(room).map(|byte| char::from(DIGITS[usize::from(byte % 62)])));
        }
        text.push_str(&check(&text));
        Self(SecretString::from(text))
    }

    /// Reads what a client sent. `None`: it is no token, whatever the database says.
    pub fn parse(text: &str) -> Option<Self> {
        let checked = text.len().checked_sub(CHECK_CHARS).and_then(|at| text.split_at_checked(at));
        let (body, sum) = checked.filter(|_| text.len() == PREFIX.len() + RANDOM_CHARS + CHECK_CHARS)?;
        let random = body.strip_prefix(PREFIX)?;
        let good = random.bytes().all(|byte| byte.is_ascii_alphanumeric()) && check(body) == sum;
        good.then(|| Self(SecretString::from(text.to_owned())))
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.expose_secret()).into())
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl TokenHash {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// The CRC-32 (of zlib) in base 62, filled up with zeros from the left.
fn check(text: &str) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    let mut rest = crc.sum();
    let mut digits = [b'0'; CHECK_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn a_token_is_read_back_and_no_two_are_the_same() {
        let entropy = SeededEntropy::new(1);
        let (one, two) = (ApiToken::new(&entropy), ApiToken::new(&entropy));
        assert_eq!(one.expose().len(), 45);
        let read = ApiToken::parse(one.expose()).expect("a token");
        assert!(read.hash() == one.hash() && one.hash() != two.hash());
        assert!(!format!("{one:?} {:?}", one.hash()).contains(&one.expose()[7..]));
    }

    #[test]
    fn the_check_is_that_of_zlib() {
        // crc32("123456789") = 0xCBF43926 = 3421780262 = 3jZRME in base 62.
        assert_eq!(check("123456789"), "3jZRME");
    }

    proptest! {
        #[test]
        fn a_changed_token_is_none(seed in any::<u64>(), at in 0..45_usize, to in "[ -~ä]") {
            let token = ApiToken::new(&SeededEntropy::new(seed));
            let mut text: Vec<char> = token.expose().chars().collect();
            let to = to.chars().next().expect("one character");
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert!(ApiToken::parse(&text.iter().collect::<String>()).is_none());
        }

        #[test]
        fn no_text_is_an_error(text in ".{0,60}") {
            prop_assert!(ApiToken::parse(&text).is_none());
        }
    }
}
