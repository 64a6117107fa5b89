//! From the SDK's errors to what a caller can do about them.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::storage::{Key, StorageError};

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {what}: {reason}")]
pub(super) struct Failed {
    operation: &'static str,
    what: String,
    reason: String,
    /// Status of the answer; none when there was no answer.
    pub(super) status: Option<u16>,
    /// Code of the answer, where it has one; the answer to a HEAD has none.
    pub(super) code: Option<String>,
    kind: Kind,
}

/// Where a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The store answered with an error.
    Answer,
    /// No answer, or not a whole one.
    Transport,
    /// The call could not be made.
    Local,
}

impl Failed {
    /// Reads the SDK's error of an operation on `what`.
    pub(super) fn new<E>(operation: &'static str, what: &impl ToString, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let what = what.to_string();
        match error {
            SdkError::ServiceError(context) => {
                let (status, code) = (context.raw().status().as_u16(), context.err().code());
                let message = context.err().message().unwrap_or("no message");
                let reason = format!("{status} {}: {message}", code.unwrap_or("without a code"));
                let code = code.map(str::to_owned);
                Self { operation, what, reason, status: Some(status), code, kind: Kind::Answer }
            }
            other => {
                let local = matches!(other, SdkError::ConstructionFailure(_));
                let kind = if local { Kind::Local } else { Kind::Transport };
                Self { operation, what, reason: chain(other), status: None, code: None, kind }
            }
        }
    }

    /// Whether the answer has this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The same failure with the reason that turned out later.
    pub(super) fn because(self, code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..self }
    }

    /// Whether trying again may help.
    pub(super) fn passes(&self) -> bool {
        let passing = matches!(
            self.code.as_deref(),
            Some(
                "InternalError"
                    | "OperationAborted"
                    | "RequestTimeout"
                    | "ServiceUnavailable"
                    | "SlowDown"
                    | "Throttling"
                    | "ThrottlingException"
                    | "TooManyRequests"
            )
        );
        self.kind == Kind::Transport || passing || matches!(self.status, Some(408 | 429 | 500 | 502 | 503 | 504))
    }

    /// Whether the store may have done what was asked although the call failed.
    pub(super) fn may_be_done(&self) -> bool {
        self.kind == Kind::Transport || matches!(self.status, Some(500 | 502 | 504))
    }

    /// The error for whoever called the driver about `key`.
    pub(super) fn about(self, key: &Key) -> StorageError {
        let key = key.to_string();
        match (self.code.as_deref(), self.status) {
            (Some("NoSuchBucket"), _) => StorageError::Other(self.into()),
            (Some("NoSuchUpload" | "InvalidPart" | "InvalidPartOrder"), _) => {
                StorageError::UploadLost { key, reason: self.to_string() }
            }
            (Some("NoSuchKey" | "NotFound"), _) | (_, Some(404)) => StorageError::NotFound { key },
            (Some("InvalidRange"), _) | (_, Some(416)) => StorageError::Corrupt { key, reason: self.to_string() },
            _ => self.about_store(),
        }
    }

    /// The error for whoever called the driver about no certain object.
    pub(super) fn about_store(self) -> StorageError {
        let full =
            ["EntityTooLarge", "InsufficientCapacity", "QuotaExceeded", "StorageQuotaExceeded", "XMinioStorageFull"];
        let denied = [
            "AccessDenied",
            "ExpiredToken",
            "InvalidAccessKeyId",
            "InvalidToken",
            "SignatureDoesNotMatch",
            // versitygw, for a key that nobody has.
            "XAdminUserNotFound",
        ];
        let among = |codes: &[&str]| self.code.as_deref().is_some_and(|code| codes.contains(&code));
        if among(&full) || self.status == Some(507) {
            StorageError::Full(self.into())
        } else if self.passes() {
            StorageError::Unavailable(self.into())
        } else if among(&denied) || matches!(self.status, Some(401 | 403)) {
            StorageError::Denied(self.into())
        } else {
            StorageError::Other(self.into())
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// An upload that cannot be continued.
pub(super) fn lost(key: &Key, reason: &str) -> StorageError {
    StorageError::UploadLost { key: key.to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: Option<&str>, status: u16) -> &'static str {
        let code = code.map(str::to_owned);
        let (what, reason) = (String::new(), String::new());
        let failed = Failed { operation: "call", what, reason, status: Some(status), code, kind: Kind::Answer };
        match failed.about(&Key::opaque("00")) {
            StorageError::NotFound { .. } => "not found",
            StorageError::UploadLost { .. } => "lost",
            StorageError::Denied(_) => "denied",
            StorageError::Full(_) => "full",
            StorageError::Unavailable(_) => "unavailable",
            StorageError::Corrupt { .. } => "corrupt",
            StorageError::Unreadable(_) | StorageError::Other(_) => "other",
        }
    }

    #[test]
    fn answers_are_named_by_what_the_caller_can_do() {
        for (code, status, expected) in [
            (Some("NoSuchKey"), 404, "not found"),
            (None, 404, "not found"),
            (Some("NoSuchBucket"), 404, "other"),
            (Some("NoSuchUpload"), 404, "lost"),
            (Some("InvalidPart"), 400, "lost"),
            (Some("AccessDenied"), 403, "denied"),
            (None, 403, "denied"),
            (Some("InvalidAccessKeyId"), 403, "denied"),
            (Some("SignatureDoesNotMatch"), 403, "denied"),
            (Some("ExpiredToken"), 400, "denied"),
            (Some("InternalError"), 500, "unavailable"),
            (Some("InternalError"), 200, "unavailable"),
            (Some("SlowDown"), 503, "unavailable"),
            (None, 502, "unavailable"),
            (Some("QuotaExceeded"), 403, "full"),
            (Some("XMinioStorageFull"), 507, "full"),
            (Some("InvalidRange"), 416, "corrupt"),
            (Some("InvalidArgument"), 400, "other"),
        ] {
            assert_eq!(kind(code, status), expected, "{code:?} {status}");
        }
    }
}
