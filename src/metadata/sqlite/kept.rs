//! Rows that a reading connection gives again while nobody commits.
//!
//! SQLite says by a number whether another connection, of whatever process, has committed since it was asked last
//! (`PRAGMA data_version`). So nothing has to be told to anybody, and no answer is older than the database.

use std::collections::HashMap;

use crate::metadata::logic::SqliteRow;

/// Bytes of rows after which everything is forgotten.
const BYTES_MAX: usize = 256 << 10;

/// Bytes of the rows of one question that are worth keeping.
const ROWS_BYTES_MAX: usize = 16 << 10;

/// A statement and its values as text.
pub(super) type Question = (&'static str, String);

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    version: i64,
    bytes: usize,
    rows: HashMap<Question, Vec<SqliteRow>>,
}

impl Kept {
    /// The rows for a question, if they were kept at this version of the database. Those of another one are forgotten.
    pub(super) fn find(&mut self, version: i64, question: &Question) -> Option<Vec<SqliteRow>> {
        if self.version != version {
            self.forget();
            self.version = version;
        }
        self.rows.get(question).cloned()
    }

    /// Keeps rows that were found at the version of the last [`find`](Self::find), or a later one.
    pub(super) fn keep(&mut self, question: Question, rows: &[SqliteRow]) {
        let bytes = question.1.len() + rows.iter().map(SqliteRow::bytes).sum::<usize>();
        if bytes <= ROWS_BYTES_MAX {
            if self.bytes + bytes > BYTES_MAX {
                self.forget();
            }
            self.bytes += bytes;
            self.rows.insert(question, rows.to_vec());
        }
    }

    fn forget(&mut self) {
        (self.bytes, self.rows) = (0, HashMap::new());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metadata::logic::SqliteValue;

    fn row(text: &str) -> Vec<SqliteRow> {
        vec![SqliteRow { names: Arc::from(["text".to_owned()]), values: vec![SqliteValue::Text(text.to_owned())] }]
    }

    fn text(rows: Option<Vec<SqliteRow>>) -> Option<String> {
        rows.and_then(|mut rows| rows.first_mut()?.take("text").ok())
    }

    #[test]
    fn rows_are_given_again_at_their_version_only() {
        let (mut kept, question) = (Kept::default(), ("SELECT", "[1]".to_owned()));
        assert_eq!(text(kept.find(1, &question)), None);
        kept.keep(question.clone(), &row("one"));
        assert_eq!(text(kept.find(1, &question)), Some("one".to_owned()));
        assert_eq!(text(kept.find(1, &("SELECT", "[2]".to_owned()))), None);
        assert_eq!(text(kept.find(2, &question)), None);
        assert_eq!(text(kept.find(1, &question)), None, "forgotten, not hidden");
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut kept = Kept::default();
        kept.find(1, &("SELECT", String::new()));
        kept.keep(("SELECT", String::new()), &row(&"x".repeat(ROWS_BYTES_MAX + 1)));
        assert!(kept.rows.is_empty());
        for n in 0..100 {
            kept.keep(("SELECT", n.to_string()), &row(&"x".repeat(ROWS_BYTES_MAX / 2)));
            assert!(kept.bytes <= BYTES_MAX && kept.bytes == kept.rows.len() * ROWS_BYTES_MAX / 2 + lengths(&kept));
        }
    }

    fn lengths(kept: &Kept) -> usize {
        kept.rows.keys().map(|(_, values)| values.len()).sum()
    }
}
