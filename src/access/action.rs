//! What can be done in a repository, in the words of the token specification.

use std::fmt;
use std::str::FromStr;

/// One thing to do in a repository (distribution, "Docker Registry v2 authentication": the actions of a scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Upload blobs and manifests, set and move tags.
    Push,
    /// Delete manifests, tags and blobs.
    Delete,
}

impl Action {
    /// Every action, in the order in which lists have them.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// Its name in a scope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A text that is no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action; there are pull, push, delete and * for all of them")]
pub struct UnknownAction(String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(|| UnknownAction(text.to_owned()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(Action::Pull.bit() | Action::Push.bit() | Action::Delete.bit());

    /// These.
    pub const fn of<const N: usize>(actions: [Action; N]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < N {
            bits |= actions[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// Whether an action is in it.
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Whether it has all of the other's.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }

    /// Reads a list with commas; `*` is all of them.
    ///
    /// # Errors
    /// The first word that is no action.
    pub fn parse(list: &str) -> Result<Self, UnknownAction> {
        list.split(',').try_fold(Self::NONE, |actions, word| match word {
            "*" => Ok(Self::ALL),
            _ => Ok(actions.union(Self::of([word.parse()?]))),
        })
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, action) in self.iter().enumerate() {
            write!(f, "{}{action}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actions({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sets() {
        let (pull, push) = (Actions::of([Action::Pull]), Actions::of([Action::Push]));
        let both = pull.union(push);
        assert_eq!(both.to_string(), "pull,push");
        assert!(both.covers(pull) && !pull.covers(both) && Actions::ALL.covers(both) && pull.covers(Actions::NONE));
        assert_eq!(both.intersection(Actions::of([Action::Push, Action::Delete])), push);
        assert!(pull.intersection(push).is_empty());
    }

    #[test]
    fn lists_are_read_whole_or_not_at_all() {
        assert_eq!(Actions::parse("push,pull"), Ok(Actions::of([Action::Pull, Action::Push])));
        assert_eq!(Actions::parse("pull,*"), Ok(Actions::ALL));
        for bad in ["", "pull,", "Pull", "pull push", "admin"] {
            assert!(Actions::parse(bad).is_err(), "{bad}");
        }
        for actions in [Actions::of([Action::Delete]), Actions::ALL] {
            assert_eq!(Actions::parse(&actions.to_string()), Ok(actions));
        }
    }
}
