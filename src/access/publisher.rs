//! What names a rule for publishing, and what it names.

use std::fmt;
use std::str::FromStr;

use super::name::{NameError, plain};

/// Longest issuer or audience in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The name of a rule for publishing, which no other of its namespace has: letters and digits with single `.`, `_`, `-`
/// between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherName(String);

/// Who signs a token: `iss` (RFC 7519, section 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer(String);

/// For whom a token is: `aud` (RFC 7519, section 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(String);

/// Why a text is no issuer and no audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has 1 to {TEXT_BYTES_MAX} visible ASCII characters")]
pub struct UnfitText;

macro_rules! shown {
    ($($name:ident)+) => {
        $(impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        })+
    };
}

shown! { PublisherName Issuer Audience }

impl FromStr for PublisherName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        plain(text).map(Self)
    }
}

impl FromStr for Issuer {
    type Err = UnfitText;

    fn from_str(text: &str) -> Result<Self, UnfitText> {
        visible(text).map(Self)
    }
}

impl FromStr for Audience {
    type Err = UnfitText;

    fn from_str(text: &str) -> Result<Self, UnfitText> {
        visible(text).map(Self)
    }
}

/// As it stands: both are compared byte for byte.
fn visible(text: &str) -> Result<String, UnfitText> {
    let good = (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err(UnfitText) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_and_audiences_are_taken_as_they_stand() {
        for good in ["https://token.actions.githubusercontent.com", "sigstore", "a"] {
            assert_eq!(good.parse::<Issuer>().expect(good).as_str(), good);
        }
        for bad in ["", "a b", "a\0", "ä", "a\n", &"a".repeat(TEXT_BYTES_MAX + 1)] {
            assert_eq!(bad.parse::<Audience>(), Err(UnfitText), "{bad:?}");
        }
        assert!("Release-1".parse::<PublisherName>().is_ok() && "a/b".parse::<PublisherName>().is_err());
    }
}
