//! Who downloaded what.

super::statements! { "downloads":
    /// Counts downloads: rows of (hour, repository, digest, account, address, number).
    ADD = concat!("INSERT INTO downloads (hour, repository, digest, actor, address, pulls) SELECT ", int!(0), ", ", text!(1),
        ", ", text!(2), ", ", text!(3), ", ", text!(4), ", ", int!(5), " FROM ", rows!("$1"), " WHERE TRUE \
        ON CONFLICT (hour, repository, digest, actor, address) DO UPDATE SET pulls = downloads.pulls + excluded.pulls");

    /// Downloads from a repository, those counted last first.
    LIST = "SELECT id, hour, digest, actor, address, pulls FROM downloads WHERE repository = $1 AND id < $2 \
        ORDER BY id DESC LIMIT $3";

    /// Forgets some that are old.
    FORGET = concat!("DELETE FROM downloads WHERE id IN (SELECT id FROM downloads WHERE hour < $1 ORDER BY hour LIMIT $2",
        locking!(" FOR UPDATE SKIP LOCKED"), ")");
}
