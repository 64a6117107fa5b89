//! Where the databases speak differently, as macros of literals: the same names twice, once for each database.
//!
//! `statements!` reads each statement once with the one set and once with the other.

/// What SQLite says. One task writes, so nothing is ever locked.
pub(super) mod sqlite {
    /// The text for SQLite, or the one for Postgres.
    macro_rules! either {
        ($sqlite:literal, $postgres:literal) => {
            $sqlite
        };
    }
    /// A row lock, or a whole statement, that only a database with many writers needs.
    macro_rules! locking {
        ($postgres:literal) => {
            ""
        };
    }
    /// `= ...`: whether a value is in a list parameter.
    macro_rules! among {
        ($list:literal) => {
            concat!("IN (SELECT value FROM json_each(", $list, "))")
        };
    }
    /// A list of texts as a table `j` with the column `value`.
    macro_rules! texts {
        ($list:literal) => {
            concat!("json_each(", $list, ") AS j")
        };
    }
    /// A list of rows (JSON) as a table `j` with the column `value`.
    macro_rules! rows {
        ($list:literal) => {
            concat!("json_each(", $list, ") AS j")
        };
    }
    /// A number in a row of [`rows`].
    macro_rules! int {
        ($at:literal) => {
            concat!("json_extract(j.value, '$[", $at, "]')")
        };
    }
    /// A text in a row of [`rows`].
    macro_rules! text {
        ($at:literal) => {
            concat!("json_extract(j.value, '$[", $at, "]')")
        };
    }
    pub(in crate::metadata::sql) use {among, either, int, locking, rows, text, texts};
}

/// What Postgres says.
pub(super) mod postgres {
    macro_rules! either {
        ($sqlite:literal, $postgres:literal) => {
            $postgres
        };
    }
    macro_rules! locking {
        ($postgres:literal) => {
            $postgres
        };
    }
    macro_rules! among {
        ($list:literal) => {
            concat!("= ANY (", $list, ")")
        };
    }
    macro_rules! texts {
        ($list:literal) => {
            concat!("unnest(CAST(", $list, " AS TEXT[])) AS j (value)")
        };
    }
    macro_rules! rows {
        ($list:literal) => {
            concat!("json_array_elements(CAST(", $list, " AS JSON)) AS j (value)")
        };
    }
    macro_rules! int {
        ($at:literal) => {
            concat!("CAST(j.value ->> ", $at, " AS BIGINT)")
        };
    }
    macro_rules! text {
        ($at:literal) => {
            concat!("(j.value ->> ", $at, ")")
        };
    }
    pub(in crate::metadata::sql) use {among, either, int, locking, rows, text, texts};
}
