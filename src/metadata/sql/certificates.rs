//! Names in client certificates, and whose they are.

super::statements! { "certificates":
    /// Gives a name to an account; nothing when it is given already.
    INSERT = "INSERT INTO user_certificates (user_id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";

    /// How many names an account has.
    COUNT = "SELECT COUNT(*) FROM user_certificates WHERE user_id = $1";

    /// The names of an account.
    LIST = "SELECT id, name, created_at FROM user_certificates WHERE user_id = $1 ORDER BY name";

    /// Takes a name from an account.
    DELETE = "DELETE FROM user_certificates WHERE user_id = $1 AND name = $2";

    /// Who has any of these names.
    FIND = concat!("SELECT DISTINCT u.id, u.name, u.admin, u.epoch, u.disabled_at IS NOT NULL AS disabled \
        FROM user_certificates c JOIN users u ON u.id = c.user_id WHERE c.name ", among!("$1"));
}
