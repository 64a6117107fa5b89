//! Passwords: which are strong enough, how they are kept, and whether one is right.
//!
//! New ones are kept as Argon2id with 19 MiB, two passes and one lane (OWASP, "Password Storage"; RFC 9106). Hashes with
//! PBKDF2-SHA-256, as other registries keep them, are taken over as PHC strings, and replaced at the next login.

use std::borrow::Cow;

use argon2::{Argon2, Params as Argon2Params};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use password_hash::phc::PasswordHash;
use password_hash::{PasswordHasher, PasswordVerifier};
use pbkdf2::Pbkdf2;
use secrecy::{ExposeSecret, SecretString};
use zxcvbn::Score;

use crate::access::UserName;

/// Shortest password in characters (NIST SP 800-63B, section 5.1.1.2).
pub const CHARS_MIN: usize = 8;

/// Longest password in bytes: a hash of more would only cost time.
pub const BYTES_MAX: usize = 512;

/// Rounds of PBKDF2 that a hash from elsewhere may ask for.
const ROUNDS: std::ops::RangeInclusive<u32> = 100_000..=2_000_000;

/// Memory in KiB and passes that an Argon2 hash from elsewhere may ask for.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 16;

/// Why a password is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short.
    #[error("a password has {CHARS_MIN} characters at least")]
    Short,
    /// Too long.
    #[error("a password has {BYTES_MAX} bytes at most")]
    Long,
    /// It would be guessed soon.
    #[error("this password is easy to guess{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Guessable(Option<String>),
}

/// A password that is strong enough to be somebody's.
#[derive(Clone, Debug)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Judges a password for a user; his own names make it no stronger.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(password: SecretString, user: &UserName, email: Option<&str>) -> Result<Self, WeakPassword> {
        let text = password.expose_secret();
        if text.len() > BYTES_MAX {
            return Err(WeakPassword::Long);
        }
        if text.chars().count() < CHARS_MIN {
            return Err(WeakPassword::Short);
        }
        let mut own = vec![user.as_str(), "bonded", "registry"];
        own.extend(email.into_iter().flat_map(|email| email.split(['@', '.'])));
        let judged = zxcvbn::zxcvbn(text, &own);
        if judged.score() < Score::Two {
            let warning = judged.feedback().and_then(zxcvbn::feedback::Feedback::warning);
            return Err(WeakPassword::Guessable(warning.map(|warning| warning.to_string())));
        }
        Ok(Self(password))
    }

    /// Hashes it, which takes some 20 ms of a processor and 19 MiB. Blocks.
    ///
    /// # Errors
    /// When the hash function refuses, which nothing that a client sends leads to.
    pub fn hash(&self, salt: [u8; 16]) -> Result<KeptPassword, password_hash::Error> {
        hash(&self.0, salt)
    }
}

fn hash(password: &SecretString, salt: [u8; 16]) -> Result<KeptPassword, password_hash::Error> {
    let hashed: PasswordHash = Argon2::default().hash_password_with_salt(password.expose_secret().as_bytes(), &salt)?;
    Ok(KeptPassword(hashed.to_string()))
}

/// A hash as it is kept: a PHC string of Argon2id or PBKDF2-SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptPassword(String);

/// A text that is no hash that could be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no PHC string of Argon2id or of PBKDF2-SHA-256 with 100,000 rounds or more, such as \
     $pbkdf2-sha256$i=100000,l=32$SALT$HASH"
)]
pub struct UnknownHash;

/// What became of a password that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is another one.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and should be kept like this from now on.
    Outdated(KeptPassword),
}

impl KeptPassword {
    /// Reads a PHC string, from the database or from another registry.
    ///
    /// # Errors
    /// [`UnknownHash`] also for one whose work would be out of proportion.
    pub fn parse(text: &str) -> Result<Self, UnknownHash> {
        let text = to_phc(text).ok_or(UnknownHash)?;
        let hash = PasswordHash::new(&text).map_err(|_| UnknownHash)?;
        let whole = hash.hash.is_some() && hash.salt.is_some();
        let fits = match hash.algorithm.as_str() {
            "argon2id" => Argon2Params::try_from(&hash)
                .is_ok_and(|params| params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX),
            "pbkdf2-sha256" => pbkdf2::Params::try_from(&hash).is_ok_and(|params| ROUNDS.contains(&params.rounds())),
            _ => false,
        };
        if whole && fits { Ok(Self(text.into_owned())) } else { Err(UnknownHash) }
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a password is the one, compared in constant time. Blocks, as long as hashing takes.
    pub fn judge(&self, password: &SecretString, salt: [u8; 16]) -> Judged {
        let bytes = password.expose_secret().as_bytes();
        let Ok(kept) = PasswordHash::new(&self.0) else { return Judged::Wrong };
        if bytes.len() > BYTES_MAX {
            return Judged::Wrong;
        }
        let argon2id = kept.algorithm.as_str() == "argon2id";
        let right = if argon2id {
            Argon2::default().verify_password(bytes, &kept)
        } else {
            Pbkdf2::default().verify_password(bytes, &kept)
        };
        if right.is_err() {
            return Judged::Wrong;
        }
        let current = argon2id && Argon2Params::try_from(&kept).is_ok_and(|params| is_current(&params));
        if current {
            return Judged::Right;
        }
        hash(password, salt).map_or(Judged::Right, Judged::Outdated)
    }

    /// A hash that no password has, for users who are not there: so that asking for them takes as long.
    pub fn of_nobody() -> Self {
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA$\
                              AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        Self(NOBODY.to_owned())
    }
}

/// The PHC string of a hash in one of the forms that others write: Django's `pbkdf2_sha256$ROUNDS$SALT$HASH`, whose salt is
/// the text itself, and passlib's `$pbkdf2-sha256$ROUNDS$SALT$HASH`. Any other text is left as it is.
fn to_phc(text: &str) -> Option<Cow<'_, str>> {
    let phc = |rounds: &str, salt: &[u8], hash: &[u8]| {
        let (salt, len, hash) = (STANDARD_NO_PAD.encode(salt), hash.len(), STANDARD_NO_PAD.encode(hash));
        Cow::Owned(format!("$pbkdf2-sha256$i={rounds},l={len}${salt}${hash}"))
    };
    let three = |rest: &'_ str| -> Option<(String, String, String)> {
        let mut parts = rest.split('$').map(str::to_owned);
        let found = (parts.next()?, parts.next()?, parts.next()?);
        (parts.next().is_none() && found.0.bytes().all(|byte| byte.is_ascii_digit())).then_some(found)
    };
    if let Some(rest) = text.strip_prefix("pbkdf2_sha256$") {
        let (rounds, salt, hash) = three(rest)?;
        return Some(phc(&rounds, salt.as_bytes(), &STANDARD.decode(hash).ok()?));
    }
    let Some((rounds, salt, hash)) = text.strip_prefix("$pbkdf2-sha256$").and_then(three) else {
        return Some(Cow::Borrowed(text));
    };
    let decode = |text: String| STANDARD_NO_PAD.decode(text.replace('.', "+")).ok();
    Some(phc(&rounds, &decode(salt)?, &decode(hash)?))
}

fn is_current(params: &Argon2Params) -> bool {
    let current = Argon2Params::default();
    (params.m_cost(), params.t_cost(), params.p_cost()) == (current.m_cost(), current.t_cost(), current.p_cost())
}

impl std::fmt::Debug for KeptPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptPassword(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "correct horse", 100,000 rounds, salt "sixteen bytes ok", made with Python's `hashlib.pbkdf2_hmac`.
    const PBKDF2: &str =
        "$pbkdf2-sha256$i=100000,l=32$c2l4dGVlbiBieXRlcyBvaw$8hQnfKHih1uycuH8c5JbHEEfBbOfJzLkwZCmczvtTlo";

    /// Of the same password, salt "0123456789abcdef".
    const DJANGO: &str = "pbkdf2_sha256$100000$0123456789abcdef$WYEVV1ul0qBt7iGnOFpq5RmH0aOFvmOKTlUAgn9mWYM=";

    /// The first one as passlib writes it.
    const PASSLIB: &str = "$pbkdf2-sha256$100000$c2l4dGVlbiBieXRlcyBvaw$8hQnfKHih1uycuH8c5JbHEEfBbOfJzLkwZCmczvtTlo";

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn judge(text: &str) -> Result<NewPassword, WeakPassword> {
        NewPassword::judge(secret(text), &"ann.miller".parse().expect("a name"), Some("ann@example.com"))
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        assert_eq!(judge("short").expect_err("short"), WeakPassword::Short);
        assert!(judge("ääääääää").is_err(), "eight characters, but all the same");
        assert_eq!(judge(&"x".repeat(BYTES_MAX + 1)).expect_err("long"), WeakPassword::Long);
        for weak in ["password", "12345678", "ann.miller", "annmiller1", "qwertyuiop", "registry1"] {
            assert!(matches!(judge(weak), Err(WeakPassword::Guessable(_))), "{weak}");
        }
        for strong in ["SecurePass123!", "correct horse battery", "tYg7-plov-8831"] {
            judge(strong).expect(strong);
        }
    }

    #[test]
    fn a_password_is_right_or_wrong() {
        let kept = judge("correct horse battery").expect("strong").hash([7; 16]).expect("a hash");
        assert!(kept.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(KeptPassword::parse(kept.as_str()), Ok(kept.clone()));
        assert_eq!(kept.judge(&secret("correct horse battery"), [8; 16]), Judged::Right);
        assert_eq!(kept.judge(&secret("correct horse batterz"), [8; 16]), Judged::Wrong);
        assert_eq!(kept.judge(&secret(""), [8; 16]), Judged::Wrong);
        assert_eq!(KeptPassword::of_nobody().judge(&secret("nobody"), [8; 16]), Judged::Wrong);
        assert!(KeptPassword::parse(KeptPassword::of_nobody().as_str()).is_ok(), "it costs the usual work");
    }

    #[test]
    fn hashes_from_elsewhere_are_taken_and_brought_up_to_date() {
        for text in [PBKDF2, DJANGO, PASSLIB] {
            let kept = KeptPassword::parse(text).expect("a hash");
            assert_eq!(kept.judge(&secret("wrong horse"), [8; 16]), Judged::Wrong);
            let Judged::Outdated(new) = kept.judge(&secret("correct horse"), [8; 16]) else { panic!("it is the one") };
            assert_eq!(new.judge(&secret("correct horse"), [9; 16]), Judged::Right);
        }
    }

    #[test]
    fn hashes_that_would_cost_too_much_or_protect_too_little_are_refused() {
        for bad in [
            "",
            "plain",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2i$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=4194304,t=2,p=1$bm9ib2R5IGF0IGFsbA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA",
            "pbkdf2_sha256$100000$0123456789abcdef",
            "pbkdf2_sha256$1000$0123456789abcdef$WYEVV1ul0qBt7iGnOFpq5RmH0aOFvmOKTlUAgn9mWYM=",
            "pbkdf2_sha256$+100000$0123456789abcdef$WYEVV1ul0qBt7iGnOFpq5RmH0aOFvmOKTlUAgn9mWYM=",
            "$pbkdf2-sha256$100000$c2l4dGVlbiBieXRlcyBvaw$8hQnfKHih1uycuH8c5JbHEEfBbOfJzLkwZCmczvtTlo$",
            "$pbkdf2-sha256$i=1000,l=32$c2l4dGVlbiBieXRlcyBvaw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$pbkdf2-sha256$i=100000000,l=32$c2l4dGVlbiBieXRlcyBvaw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(KeptPassword::parse(bad), Err(UnknownHash), "{bad}");
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let strong = judge("correct horse battery").expect("strong");
        let kept = strong.hash([7; 16]).expect("a hash");
        let shown = format!("{strong:?} {kept:?}");
        assert!(!shown.contains("horse") && !shown.contains("argon2"), "{shown}");
    }
}
