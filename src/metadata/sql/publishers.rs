//! Rules for publishing, and which tokens were taken by them.

super::statements! { "publishers":
    /// A new rule; no row when its name is taken.
    INSERT = "INSERT INTO publisher_rules (ns_id, name, issuer, audience, claims, role, reuse, jwks, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (ns_id, name) DO NOTHING RETURNING id";

    /// How many rules a namespace has.
    COUNT = "SELECT COUNT(*) FROM publisher_rules WHERE ns_id = $1";

    /// The rules of a namespace.
    LIST = "SELECT r.id, n.path AS namespace, r.name, r.issuer, r.audience, r.claims, r.role, r.reuse, \
            r.jwks IS NOT NULL AS has_jwks, r.created_at \
        FROM publisher_rules r JOIN namespaces n ON n.id = r.ns_id WHERE r.ns_id = $1 ORDER BY r.name";

    /// The end of a rule.
    DELETE = "DELETE FROM publisher_rules WHERE ns_id = $1 AND name = $2";

    /// The rules for tokens of an issuer, a page of them.
    MATCH = concat!("SELECT r.id, n.path AS namespace, r.name, r.issuer, r.audience, r.claims, r.role, r.reuse, \
            r.jwks IS NOT NULL AS has_jwks, r.created_at \
        FROM publisher_rules r JOIN namespaces n ON n.id = r.ns_id \
        WHERE r.issuer = $1 AND r.audience ", among!("$2"), " AND (CAST($3 AS TEXT) IS NULL OR n.path = $3) \
            AND r.id > $4 ORDER BY r.id LIMIT $5");

    /// The keys of rules that have their own.
    KEYS = concat!("SELECT id, jwks FROM publisher_rules WHERE id ", among!("$1"), " AND jwks IS NOT NULL");

    /// What rules give.
    FIND = concat!("SELECT r.id, n.path AS namespace, r.name, r.role, r.reuse \
        FROM publisher_rules r JOIN namespaces n ON n.id = r.ns_id WHERE r.id ", among!("$1"));

    /// A token that a rule takes; no row is changed when it has taken it before.
    USE = "INSERT INTO publisher_uses (rule_id, jti, ends_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

    /// Tokens that nobody takes any more.
    SWEEP = "DELETE FROM publisher_uses WHERE ends_at <= $1";
}
