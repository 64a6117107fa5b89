//! The error table of the OCI dialect: every condition with its code, status, message and documentation.
//!
//! One code may stand in several rows (DENIED with 403, 405, 507). The codes of 4xx answers are those of the
//! specification (distribution-spec, "Error Codes"), since it allows no others; UNKNOWN stands only where this side
//! failed. The reference page is generated from the same rows.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The key.
    pub condition: Condition,
    /// `code` in the body.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// `message` in the body when there is nothing more exact to say.
    pub message: &'static str,
    /// When it happens and what helps.
    pub documentation: &'static str,
}

/// Makes the enum and its table from one list, so that neither can lack what the other has.
macro_rules! conditions {
    ($($name:ident $code:ident $status:literal $message:literal $documentation:literal;)*) => {
        /// Why a request is refused or fails.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Condition {
            $(#[doc = $documentation] $name,)*
        }

        /// The table, in the order of [`Condition`].
        pub const ROWS: &[ErrorRow] = &[
            $(ErrorRow {
                condition: Condition::$name,
                code: stringify!($code),
                status: $status,
                message: $message,
                documentation: $documentation,
            },)*
        ];
    };
}

conditions! {
    AccessDenied DENIED 403 "access denied"
        "The account is known, and may not do this here. An owner of the namespace can give it a role.";
    BlobDamaged BLOB_UNKNOWN 503 "blob damaged"
        "The blob is known, but its bytes are missing or wrong. Pushing it again heals it.";
    BlobTooLarge SIZE_INVALID 413 "blob too large"
        "The blob is larger than the registry's limit for blobs.";
    BlobUnknown BLOB_UNKNOWN 404 "blob unknown to the repository"
        "The repository has no such blob; another repository may have it.";
    BodyBroken BLOB_UPLOAD_INVALID 400 "request body broke off"
        "The request body ended before it was whole. Nothing of a closing PUT is kept; a PATCH keeps what was checkpointed.";
    BodyTimeout BLOB_UPLOAD_INVALID 408 "request body did not arrive in time"
        "No byte of the request body came for longer than the limit, or the request took too long in all.";
    Busy TOOMANYREQUESTS 503 "the registry is busy"
        "A limit on concurrent work is reached, or the store is away for the moment. `Retry-After` says when to try again.";
    ContentMissing MANIFEST_BLOB_UNKNOWN 404 "content unknown to the repository"
        "The manifest names blobs or manifests that the repository does not have; there is one entry for each. Push them first.";
    ContentRangeInvalid BLOB_UPLOAD_INVALID 400 "Content-Range invalid"
        "The `Content-Range` of a chunk is not `start-end` with both ends included.";
    DigestInvalid DIGEST_INVALID 400 "digest invalid"
        "A digest is missing or malformed, or its algorithm is not sha256 or sha512.";
    DigestMismatch DIGEST_INVALID 400 "content does not have the digest"
        "The bytes that came have another digest than the request says. The upload session is closed.";
    DiskFull DENIED 507 "disk full"
        "Less room is left on the registry's disk than `disk_free_bytes_min` asks for. Reads and deletes go on.";
    HeaderInvalid UNSUPPORTED 400 "header invalid"
        "A header that decides what is written, such as `If-Match`, is malformed.";
    HostRefused DENIED 421 "host refused"
        "Without accounts the registry answers only under loopback names, so that no web page can reach it through DNS rebinding. Set `public_url`, add an account, or set `insecure_anonymous`.";
    Internal UNKNOWN 500 "internal error"
        "A failure on the registry's side. Its log has the cause under the answer's `X-Request-Id`.";
    ManifestDamaged MANIFEST_UNKNOWN 503 "manifest damaged"
        "The manifest is known, but its bytes are wrong. Pushing it again heals it.";
    ManifestInvalid MANIFEST_INVALID 400 "manifest invalid"
        "The manifest breaks a rule: it is not strict JSON, contradicts its media type, lacks a member or names a malformed descriptor. The message says where.";
    ManifestTooLarge MANIFEST_INVALID 413 "manifest too large"
        "The manifest is larger than the registry's limit for manifests.";
    ManifestUnknown MANIFEST_UNKNOWN 404 "manifest unknown to the repository"
        "The repository has no such tag or manifest.";
    MethodNotAllowed UNSUPPORTED 405 "method not allowed"
        "The path exists, but not for this method. `Allow` lists those that do.";
    NameInvalid NAME_INVALID 400 "repository name invalid"
        "The repository name breaks the grammar of the specification or is too long.";
    PageRefused DENIED 403 "page refused"
        "A browser sent this for a web page of another origin, as `Sec-Fetch-Site` or `Origin` says, and it would change something. Name the origin in `api.allowed_origins` if the page is yours; clients of registries send neither header.";
    PolicyElsewhere UNSUPPORTED 409 "the policies are not changed here"
        "The signature policies of the registry are a file of its configuration; they are changed there.";
    PolicyInvalid UNSUPPORTED 400 "the policy document cannot be used"
        "The document of signature policies has faults; `detail` has all of them. The one before it goes on to hold.";
    PolicyNotHere UNSUPPORTED 404 "no such policy here"
        "No signature policy with this name is about the repository. Without `policy`, all that are are asked.";
    PolicyTooLarge UNSUPPORTED 413 "the policy document is too large"
        "A document of signature policies has 1 MiB at most.";
    PolicyUnknown UNSUPPORTED 404 "policy document unknown"
        "There is no document of signature policies with this number; `/v2/_trust/policy/revisions` lists those that there were.";
    PreconditionFailed DENIED 412 "condition does not hold"
        "`If-Match` or `If-None-Match` does not hold: somebody else changed the tag, or the document of signature policies, first. Read it again.";
    QueryInvalid UNSUPPORTED 400 "query invalid"
        "A query parameter is malformed, for example `n` is not a non-negative integer.";
    RangeUnsatisfiable SIZE_INVALID 416 "range not satisfiable"
        "No range of the `Range` header lies within the blob. `Content-Range` tells its size.";
    Referenced DENIED 405 "content is in use"
        "The content is named by a manifest that is still there, which the message names. Delete that first.";
    RepositoryUnknown NAME_UNKNOWN 404 "repository unknown"
        "The repository does not exist or has nothing to list.";
    QuotaExceeded DENIED 403 "quota exceeded"
        "The namespace has no room for this. The message and `detail` have the numbers: what it may hold, what it holds, and what was asked for. Delete something, or ask for a larger quota.";
    RouteUnknown UNSUPPORTED 404 "nothing under this path"
        "The path is not one of the distribution API.";
    SizeMismatch SIZE_INVALID 400 "size does not match"
        "The body has another length than its headers say.";
    TagImmutable DENIED 403 "tag immutable"
        "A rule of `immutable_tags` covers the tag, so it cannot be moved or deleted.";
    TagInvalid MANIFEST_INVALID 400 "tag invalid"
        "The tag to be set breaks the grammar of the specification.";
    TooManyFailures TOOMANYREQUESTS 429 "too many logins have failed"
        "Too many logins to this account or from this address have failed (`limits.logins`). Wait as long as `Retry-After` says, and again if need be; logins from elsewhere go on.";
    TooManyLogins TOOMANYREQUESTS 429 "too many logins at once"
        "More passwords are waiting to be checked than the registry checks at once. Use tokens, which cost nothing to check.";
    TooManyRanges UNSUPPORTED 400 "too many ranges"
        "The `Range` header names more ranges than the registry's limit. Ask for fewer at a time.";
    TooManyRequests TOOMANYREQUESTS 429 "too many requests"
        "More requests have come from this account, or without one from this address, than `limits.rate` allows. `Retry-After` says when to try again, 60 seconds at most.";
    TooManySessions TOOMANYREQUESTS 429 "too many upload sessions"
        "As many upload sessions are open as `limits.sessions_max` allows. Finish or cancel some; `Retry-After` says when to try again.";
    TooManyTags UNSUPPORTED 414 "too many tags"
        "The request has more `tag` parameters than the registry's limit.";
    Unauthorized UNAUTHORIZED 401 "authentication required"
        "The request has no credentials, wrong ones, or a token that does not say enough. `WWW-Authenticate` says where to get one.";
    Unverified DENIED 403 "signature policy not satisfied"
        "What is asked for has no signature that a policy of the registry asks for. `detail` says which, and what to do.";
    UploadRange BLOB_UPLOAD_INVALID 416 "chunk out of order"
        "The chunk does not begin where the session stands, or another writer took the session. `Range` tells where it stands; the session is unharmed.";
    UploadUnknown BLOB_UPLOAD_UNKNOWN 404 "upload session unknown"
        "The session never was, is over, or expired. Begin a new one.";
}

impl Condition {
    /// Its row.
    pub fn row(self) -> &'static ErrorRow {
        &ROWS[self as usize]
    }
}

/// The body of an error answer: `{"errors":[{code,message,detail}]}` with one or more entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorBody {
    errors: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Entry {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    detail: Value,
}

impl ErrorBody {
    /// With one entry; `detail` is left out when it is null.
    pub fn new(condition: Condition, message: impl Into<String>, detail: Value) -> Self {
        Self { errors: Vec::new() }.and(condition, message, detail)
    }

    /// With another entry.
    #[must_use]
    pub fn and(mut self, condition: Condition, message: impl Into<String>, detail: Value) -> Self {
        self.errors.push(Entry { code: condition.row().code, message: message.into(), detail });
        self
    }

    /// The JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and JSON values can be written as JSON")
    }
}

impl From<Condition> for ErrorBody {
    fn from(condition: Condition) -> Self {
        Self::new(condition, condition.row().message, Value::Null)
    }
}

/// The page `docs/reference/errors.md`.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Errors\n\nGenerated from the table in `src/oci/error.rs`. Every error of the distribution API has the body\n\
         `{\"errors\":[{\"code\":\"...\",\"message\":\"...\",\"detail\":...}]}`; there may be several entries, and `detail` may be\n\
         missing.\n\n| status | code | message | when, and what helps |\n|---|---|---|---|\n",
    );
    let mut rows: Vec<&ErrorRow> = ROWS.iter().collect();
    rows.sort_by_key(|row| (row.status, row.code, row.message));
    for ErrorRow { status, code, message, documentation, .. } in rows {
        writeln!(page, "| {status} | `{code}` | {message} | {documentation} |").expect("a String takes any text");
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    /// distribution-spec, "Error Codes".
    const SPECIFIED: &[&str] = &[
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    ];

    #[test]
    fn every_condition_finds_its_own_row() {
        for row in ROWS {
            assert_eq!(row.condition.row(), row);
        }
    }

    #[test]
    fn client_errors_have_specified_codes() {
        for row in ROWS {
            let specified = SPECIFIED.contains(&row.code);
            assert!(specified || (row.status >= 500 && row.code == "UNKNOWN"), "{row:?}");
            assert!((400..600).contains(&row.status), "{row:?}");
        }
    }

    #[test]
    fn rows_can_be_told_apart() {
        let messages: HashSet<&str> = ROWS.iter().map(|row| row.message).collect();
        assert_eq!(messages.len(), ROWS.len());
    }

    #[test]
    fn bodies_have_one_entry_for_each_fault() {
        let body = ErrorBody::new(Condition::ContentMissing, "a", json!({"digest": "sha256:00"}));
        let body = body.and(Condition::ContentMissing, "b", Value::Null);
        let expected = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"a","detail":{"digest":"sha256:00"}},{"code":"MANIFEST_BLOB_UNKNOWN","message":"b"}]}"#;
        assert_eq!(body.to_json(), expected);
        let plain = ErrorBody::from(Condition::BlobUnknown).to_json();
        assert_eq!(plain, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to the repository"}]}"#);
    }

    #[test]
    fn the_page_has_a_line_for_each_row() {
        let page = reference_page();
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(lines.len(), ROWS.len() + 1);
        assert!(lines.iter().all(|line| line.matches('|').count() == 5), "a cell holds a separator");
        assert!(page.contains("| 416 | `BLOB_UPLOAD_INVALID` | chunk out of order |"));
    }
}
