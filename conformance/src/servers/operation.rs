//! Which S3 operation a request is, guessed from method, path and query.
//!
//! Buckets are addressed by path. The guess follows the tables of the S3 API reference; what is in none of them is
//! [`Operation::Other`].

use hyper::Method;
use hyper::http::request::Parts;

/// An operation of the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `PUT /bucket/key`.
    PutObject,
    /// `PUT /bucket/key` with `x-amz-copy-source`.
    CopyObject,
    /// `GET /bucket/key`.
    GetObject,
    /// `HEAD /bucket/key`.
    HeadObject,
    /// `DELETE /bucket/key`.
    DeleteObject,
    /// `POST /bucket?delete`.
    DeleteObjects,
    /// `POST /bucket/key?uploads`.
    CreateMultipartUpload,
    /// `PUT /bucket/key?partNumber=&uploadId=`.
    UploadPart,
    /// The same with `x-amz-copy-source`.
    UploadPartCopy,
    /// `POST /bucket/key?uploadId=`.
    CompleteMultipartUpload,
    /// `DELETE /bucket/key?uploadId=`.
    AbortMultipartUpload,
    /// `GET /bucket/key?uploadId=`.
    ListParts,
    /// `GET /bucket?uploads`.
    ListMultipartUploads,
    /// `GET /bucket`, either version.
    ListObjects,
    /// `HEAD /bucket`.
    HeadBucket,
    /// Anything else.
    Other,
}

impl Operation {
    /// The operation of a request.
    pub(super) fn of(request: &Parts) -> Self {
        let query = request.uri.query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let (bucket, key) = request.uri.path().trim_start_matches('/').split_once('/').unwrap_or_default();
        let (in_key, copies) = (!bucket.is_empty() && !key.is_empty(), request.headers.contains_key(COPY_SOURCE));
        match request.method {
            Method::PUT if in_key && has("partNumber") && copies => Self::UploadPartCopy,
            Method::PUT if in_key && has("partNumber") => Self::UploadPart,
            Method::PUT if in_key && copies => Self::CopyObject,
            Method::PUT if in_key => Self::PutObject,
            Method::POST if in_key && has("uploads") => Self::CreateMultipartUpload,
            Method::POST if in_key && has("uploadId") => Self::CompleteMultipartUpload,
            Method::POST if has("delete") => Self::DeleteObjects,
            Method::DELETE if in_key && has("uploadId") => Self::AbortMultipartUpload,
            Method::DELETE if in_key => Self::DeleteObject,
            Method::GET if in_key && has("uploadId") => Self::ListParts,
            Method::GET if in_key => Self::GetObject,
            Method::GET if has("uploads") => Self::ListMultipartUploads,
            Method::GET if request.uri.path() != "/" => Self::ListObjects,
            Method::HEAD if in_key => Self::HeadObject,
            Method::HEAD => Self::HeadBucket,
            _ => Self::Other,
        }
    }
}

const COPY_SOURCE: &str = "x-amz-copy-source";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart_as_the_reference_does() {
        let cases = [
            ("PUT", "/b/k/l", Operation::PutObject),
            ("PUT", "/b/k?partNumber=1&uploadId=x", Operation::UploadPart),
            ("PUT", "/b/k?x-id=PutObject", Operation::PutObject),
            ("POST", "/b/k?uploads", Operation::CreateMultipartUpload),
            ("POST", "/b/k?uploads=", Operation::CreateMultipartUpload),
            ("POST", "/b/k?uploadId=x", Operation::CompleteMultipartUpload),
            ("POST", "/b?delete", Operation::DeleteObjects),
            ("POST", "/b/?delete=", Operation::DeleteObjects),
            ("DELETE", "/b/k?uploadId=x", Operation::AbortMultipartUpload),
            ("DELETE", "/b/k", Operation::DeleteObject),
            ("GET", "/b/k?uploadId=x", Operation::ListParts),
            ("GET", "/b/k", Operation::GetObject),
            ("GET", "/b/?uploads&prefix=k", Operation::ListMultipartUploads),
            ("GET", "/b?list-type=2", Operation::ListObjects),
            ("GET", "/b/?list-type=2&prefix=k", Operation::ListObjects),
            ("HEAD", "/b/k", Operation::HeadObject),
            ("HEAD", "/b", Operation::HeadBucket),
            ("GET", "/", Operation::Other),
        ];
        for (method, target, wanted) in cases {
            let request = hyper::Request::builder().method(method).uri(target).body(()).unwrap();
            assert_eq!(Operation::of(&request.into_parts().0), wanted, "{method} {target}");
        }
    }
}
