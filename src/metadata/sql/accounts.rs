//! People, machines, teams, namespaces, and what they may do.

/// The highest role of the account `$3` in the namespace `n`, by itself or by a team.
macro_rules! role_in {
    () => {
        "(SELECT MAX(o.role) FROM ( \
            SELECT g.role FROM grants g WHERE g.ns_id = n.id AND g.user_id = $3 \
            UNION ALL \
            SELECT g.role FROM team_members m JOIN grants g ON g.team_id = m.team_id AND g.ns_id = n.id \
            WHERE m.user_id = $3) AS o)"
    };
}

super::statements! { "accounts":
    /// What nodes compare, and whether there is any account.
    STATE = "SELECT s.version, EXISTS (SELECT 1 FROM users WHERE id > 0) AS accounts FROM access_state s WHERE s.one = 1";

    /// Says that something changed. Whoever changes something begins with this, so changes come one after the other.
    BUMP = "UPDATE access_state SET version = version + 1 WHERE one = 1";

    /// Takes that back in the same transaction, because nothing changed after all.
    UNBUMP = "UPDATE access_state SET version = version - 1 WHERE one = 1";

    /// A new account; no row when its name or its address is taken.
    USER_INSERT = "INSERT INTO users (name, email, password, admin, robot_of, created_at) \
        VALUES ($1, $2, $3, CAST($4 AS BIGINT) <> 0, $5, $6) ON CONFLICT DO NOTHING RETURNING id";

    /// An account by its name.
    USER_FIND = "SELECT u.id, u.name, u.email, u.password, u.admin, n.path AS robot_of, u.disabled_at, u.created_at, u.epoch \
        FROM users u LEFT JOIN namespaces n ON n.id = u.robot_of WHERE u.name = $1";

    /// Accounts in the order of their names.
    USER_LIST = "SELECT u.id, u.name, u.email, u.password, u.admin, n.path AS robot_of, u.disabled_at, u.created_at, u.epoch \
        FROM users u LEFT JOIN namespaces n ON n.id = u.robot_of WHERE u.name > $1 ORDER BY u.name LIMIT $2";

    /// The robots of a namespace with their roles there, in the order of their names.
    ROBOTS = "SELECT u.name, g.role, u.disabled_at, u.created_at \
        FROM users u LEFT JOIN grants g ON g.ns_id = u.robot_of AND g.user_id = u.id \
        WHERE u.robot_of = $1 AND u.name > $2 ORDER BY u.name LIMIT $3";

    /// Another password, or none.
    USER_PASSWORD = "UPDATE users SET password = $2, epoch = epoch + 1 WHERE id = $1";

    /// What logins by the old password left.
    LOGINS_END = "DELETE FROM api_tokens WHERE user_id = $1 AND login";

    /// Whatever else proves who an account is, but for names in certificates.
    USER_EPOCH = "UPDATE users SET epoch = epoch + 1 WHERE id = $1";

    /// All tokens of an account, and those that were made by them.
    USER_TOKENS_END = "DELETE FROM api_tokens WHERE user_id = $1";

    /// What an account made for other people. Robots have theirs on.
    MADE_TOKENS_END = "DELETE FROM api_tokens WHERE made_by = $1 \
        AND EXISTS (SELECT 1 FROM users u WHERE u.id = api_tokens.user_id AND u.robot_of IS NULL)";

    /// An account that gets a token stays as it is until the transaction ends, so that no token outlives what ends them all.
    USER_SHARE = locking!("SELECT id FROM users WHERE name = $1 FOR SHARE");

    /// The same for whoever makes it.
    MAKER_SHARE = locking!("SELECT id FROM users WHERE id = $1 FOR SHARE");

    /// And for the token by which it is made.
    PARENT_SHARE = locking!("SELECT id FROM api_tokens WHERE key_id = $1 FOR KEY SHARE");

    /// Tokens that ended some time ago.
    TOKENS_ENDED = "DELETE FROM api_tokens WHERE expires_at <= $1";

    /// The same in place of one that was read before.
    USER_REHASHED = "UPDATE users SET password = $3 WHERE id = $1 AND password = $2";

    /// Disabled since then; none: not any more.
    USER_DISABLED = "UPDATE users SET disabled_at = $2 WHERE id = $1";

    /// Whether it may do everything.
    USER_ADMIN = "UPDATE users SET admin = CAST($2 AS BIGINT) <> 0 WHERE id = $1";

    /// Whether anybody else may do everything. A robot ends with its namespace, so none counts.
    OTHER_ADMIN = "SELECT EXISTS (SELECT 1 FROM users \
        WHERE admin AND id > 0 AND id <> $1 AND disabled_at IS NULL AND robot_of IS NULL)";

    /// Whether there is an account of anybody else that does not end with a namespace.
    OTHER_PERSON = "SELECT EXISTS (SELECT 1 FROM users WHERE id > 0 AND id <> $1 AND robot_of IS NULL)";

    /// The end of an account, with its tokens, memberships and grants.
    USER_DELETE = "DELETE FROM users WHERE id = $1";

    /// A new token.
    TOKEN_INSERT = "INSERT INTO api_tokens (key_id, user_id, hash, name, scopes, created_at, expires_at, login, parent, made_by) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, CAST($8 AS BIGINT) <> 0, \
            (SELECT p.id FROM api_tokens p WHERE p.key_id = CAST($9 AS TEXT)), $10)";

    /// The account and the scopes behind a token.
    TOKEN_FIND = "SELECT u.id, u.name, u.admin, u.epoch, t.key_id AS token, t.scopes, t.expires_at, t.used_at, t.login \
        FROM api_tokens t JOIN users u ON u.id = t.user_id \
        WHERE t.hash = $1 AND u.disabled_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)";

    /// An account that is not disabled, with one of its tokens where one is asked for.
    PRINCIPAL = "SELECT u.id, u.name, u.admin, u.epoch, t.key_id AS token, t.scopes, t.expires_at, t.used_at, t.login \
        FROM users u LEFT JOIN api_tokens t \
            ON t.key_id = $2 AND t.user_id = u.id AND (t.expires_at IS NULL OR t.expires_at > $3) \
        WHERE u.id = $1 AND u.disabled_at IS NULL";

    /// The tokens of an account, or of all.
    TOKEN_LIST = "SELECT t.key_id, (SELECT u.name FROM users u WHERE u.id = t.user_id) AS user_name, t.name, t.scopes, \
            t.created_at, t.expires_at, t.used_at, (SELECT p.key_id FROM api_tokens p WHERE p.id = t.parent) AS parent, \
            (SELECT m.name FROM users m WHERE m.id = t.made_by) AS made_by \
        FROM api_tokens t \
        WHERE t.key_id > $2 AND (CAST($1 AS TEXT) IS NULL OR t.user_id = (SELECT u.id FROM users u WHERE u.name = $1)) \
        ORDER BY t.key_id LIMIT $3";

    /// Whose token it is.
    TOKEN_OWNER = "SELECT u.name FROM api_tokens t JOIN users u ON u.id = t.user_id WHERE t.key_id = $1";

    /// The end of a token.
    TOKEN_DELETE = "DELETE FROM api_tokens WHERE key_id = $1";

    /// When tokens were used last.
    TOKEN_USED = concat!("UPDATE api_tokens SET used_at = ", int!("1"), " FROM ", rows!("$1"), " WHERE key_id = ", text!("0"));

    /// A new namespace; no row when there is one.
    NAMESPACE_INSERT = "INSERT INTO namespaces (path, public, created_at) VALUES ($1, CAST($2 AS BIGINT) <> 0, $3) \
        ON CONFLICT (path) DO NOTHING RETURNING id";

    /// A namespace by its path.
    NAMESPACE_FIND = "SELECT id, path, public, created_at FROM namespaces WHERE path = $1";

    /// Namespaces in the order of their paths.
    NAMESPACE_LIST = "SELECT id, path, public, created_at FROM namespaces WHERE path > $1 ORDER BY path LIMIT $2";

    /// Whether its repositories are public.
    NAMESPACE_PUBLIC = "UPDATE namespaces SET public = CAST($2 AS BIGINT) <> 0 WHERE id = $1";

    /// The end of a namespace, with its grants and robots. Its repositories stay, and are nobody's.
    NAMESPACE_DELETE = "DELETE FROM namespaces WHERE id = $1";

    /// Gives a user a role.
    GRANT_USER = "INSERT INTO grants (ns_id, user_id, role) VALUES ($1, $2, $3) \
        ON CONFLICT (ns_id, user_id) WHERE user_id IS NOT NULL DO UPDATE SET role = excluded.role";

    /// Gives a team a role.
    GRANT_TEAM = "INSERT INTO grants (ns_id, team_id, role) VALUES ($1, $2, $3) \
        ON CONFLICT (ns_id, team_id) WHERE team_id IS NOT NULL DO UPDATE SET role = excluded.role";

    /// Takes a user's role.
    REVOKE_USER = "DELETE FROM grants WHERE ns_id = $1 AND user_id = $2";

    /// Takes a team's role.
    REVOKE_TEAM = "DELETE FROM grants WHERE ns_id = $1 AND team_id = $2";

    /// Who has a role in a namespace.
    MEMBERS = "SELECT u.name AS user_name, t.name AS team_name, g.role FROM grants g \
        LEFT JOIN users u ON u.id = g.user_id LEFT JOIN teams t ON t.id = g.team_id \
        WHERE g.ns_id = $1 ORDER BY u.name, t.name";

    /// A new team; no row when there is one.
    TEAM_INSERT = "INSERT INTO teams (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING id";

    /// A team by its name.
    TEAM_FIND = "SELECT id, name, created_at FROM teams WHERE name = $1";

    /// Teams in the order of their names.
    TEAM_LIST = "SELECT id, name, created_at FROM teams WHERE name > $1 ORDER BY name LIMIT $2";

    /// The end of a team.
    TEAM_DELETE = "DELETE FROM teams WHERE id = $1";

    /// Who is in a team.
    TEAM_MEMBERS = "SELECT u.name FROM team_members m JOIN users u ON u.id = m.user_id WHERE m.team_id = $1 ORDER BY u.name";

    /// Puts an account into a team.
    TEAM_JOIN = "INSERT INTO team_members (team_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    /// Takes an account out of a team.
    TEAM_LEAVE = "DELETE FROM team_members WHERE team_id = $1 AND user_id = $2";

    /// Who owns a repository, what he may hold, whether it is public, and the role of an account there. Always one row.
    RIGHTS = concat!("SELECT n.path AS namespace, COALESCE(n.public, FALSE) AS namespace_public, \
            COALESCE((SELECT r.is_public <> 0 FROM repositories r WHERE r.path = $1 AND r.deleted_at IS NULL), n.public, FALSE) \
                AS public, \
            ", role_in!(), " AS role, q.bytes AS quota_bytes, q.repositories AS quota_repositories \
        FROM (SELECT 1 AS one) AS one LEFT JOIN namespaces n ON n.path ", among!("$2"), " \
        LEFT JOIN quotas q ON q.ns_id = n.id \
        ORDER BY length(n.path) DESC LIMIT 1");

    /// The same of many at once: their namespaces, and those of them that say themselves whether they are public.
    RIGHTS_AMONG = concat!("SELECT n.path, TRUE AS owns, n.public, \
            ", role_in!(), " AS role, q.bytes AS quota_bytes, q.repositories AS quota_repositories \
        FROM namespaces n LEFT JOIN quotas q ON q.ns_id = n.id WHERE n.path ", among!("$2"), " \
        UNION ALL \
        SELECT r.path, FALSE, r.is_public <> 0, NULL, NULL, NULL FROM repositories r \
        WHERE r.path ", among!("$1"), " AND r.deleted_at IS NULL AND r.is_public IS NOT NULL");

    /// Whether a repository is public; none: as its namespace is.
    REPOSITORY_PUBLIC = "UPDATE repositories SET is_public = $2 WHERE path = $1 AND deleted_at IS NULL";

    /// Keys that still verify.
    KEYS = "SELECT kid, sealed, created_at, ends_at FROM signing_keys WHERE ends_at > $1";

    /// A new key.
    KEY_INSERT = "INSERT INTO signing_keys (kid, sealed, created_at, ends_at) VALUES ($1, $2, $3, $4)";

    /// Keys whose last token has ended.
    KEYS_ENDED = "DELETE FROM signing_keys WHERE ends_at <= $1";
}
