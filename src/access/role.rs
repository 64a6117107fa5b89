//! What a member of a namespace is.

use std::fmt;
use std::str::FromStr;

use crate::access::{Action, Actions};

/// A role in a namespace. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Pulls.
    Read,
    /// Pushes, and moves tags.
    Write,
    /// Deletes, says who is a member in the roles up to its own, and what is public.
    Admin,
    /// Makes others owners, and ends the namespace.
    Owner,
}

impl Role {
    /// Every role, from the least on.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Admin, Self::Owner];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Its place among the roles, from 1 on, as the database keeps it.
    pub const fn rank(self) -> i64 {
        self as i64 + 1
    }

    /// The role at a place.
    pub fn of_rank(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.rank() == rank)
    }

    /// What it allows in the repositories of the namespace.
    pub const fn actions(self) -> Actions {
        match self {
            Self::Read => Actions::of([Action::Pull]),
            Self::Write => Actions::of([Action::Pull, Action::Push]),
            Self::Admin | Self::Owner => Actions::ALL,
        }
    }
}

/// A text that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; there are owner, admin, write and read")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[1] > pair[0] && pair[1].rank() == pair[0].rank() + 1);
            assert!(pair[1].actions().covers(pair[0].actions()));
        }
    }

    #[test]
    fn names_and_ranks_lead_back() {
        for role in Role::ALL {
            assert_eq!((role.as_str().parse(), Role::of_rank(role.rank())), (Ok(role), Some(role)));
        }
        assert_eq!((Role::of_rank(0), Role::of_rank(5)), (None, None));
        assert!("Owner".parse::<Role>().is_err());
    }
}
