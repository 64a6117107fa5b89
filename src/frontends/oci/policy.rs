//! `/v2/_trust/policy/document`: the signature policies of the registry, for its administrators.

use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, IF_MATCH};
use serde_json::{Value, json};

use super::Exchange;
use super::failure::Failure;
use super::reply::{Answer, JSON_MEDIA_TYPE, Reply};
use crate::auth::Identity;
use crate::oci::error::Condition;
use crate::registry::gate::{POLICY_BYTES_MAX, PolicyStored};

/// `GET`: the document that holds, and how it came to hold.
pub(super) async fn get(exchange: &Exchange) -> Answer {
    let status = exchange.registry.policy_status().await?;
    let revision = format!("\"{}\"", status["revision"].as_str().unwrap_or_default());
    let reply = Reply::new(StatusCode::OK).header(CACHE_CONTROL, "private, no-store").header(ETAG, revision);
    Ok(reply.bytes(JSON_MEDIA_TYPE, status.to_string().into()))
}

/// `PUT`: another document, YAML or JSON, takes its place as a whole or not at all; an empty one ends all policies.
/// `If-Match` names the revision whose place it takes.
pub(super) async fn put(exchange: &Exchange) -> Answer {
    if matches!(exchange.identity, Identity::Everybody) {
        let message = "without accounts everybody may push, so there is nobody to keep a policy from";
        return Err(Failure::new(Condition::AccessDenied, message, Value::Null));
    }
    if exchange.registry.policies_are_a_file() {
        let message = "the policies of this registry are a file (`trust.policy`); change that";
        return Err(Failure::new(Condition::PolicyElsewhere, message, Value::Null));
    }
    let body = exchange.inbound.read_manifest(POLICY_BYTES_MAX as u64).await?;
    let faulty = |message: &str, detail| Failure::new(Condition::PolicyInvalid, message, detail);
    let document = std::str::from_utf8(&body).map_err(|_| faulty("the document is not UTF-8", Value::Null))?;
    let replaces =
        exchange.headers.get(IF_MATCH).map(|value| value.to_str().unwrap_or_default().trim().trim_matches('"'));
    let has_accounts = exchange.gate.auth.has_accounts();
    let stored = exchange.registry.put_policy_document(document, replaces, has_accounts, &exchange.actor()).await?;
    match stored {
        PolicyStored::Stored { number, revision, warnings } => {
            let warnings: Vec<Value> = warnings.iter().map(crate::verify::policy::Finding::to_json).collect();
            let body = json!({"number": number, "revision": revision, "warnings": warnings});
            let reply = Reply::new(StatusCode::OK).header(ETAG, format!("\"{revision}\""));
            Ok(reply.bytes(JSON_MEDIA_TYPE, body.to_string().into()))
        }
        PolicyStored::Faulty(faults) => {
            let findings: Vec<Value> = faults.0.iter().map(crate::verify::policy::Finding::to_json).collect();
            Err(faulty("the document cannot be used, and the one before it goes on to hold", Value::from(findings)))
        }
        PolicyStored::Moved => {
            let message = "another document holds than the one that `If-Match` names";
            Err(Failure::new(Condition::PreconditionFailed, message, Value::Null))
        }
    }
}
