//! `/v2/_trust/policy`: the signature policies of the registry, those before them, and what others would change, for its
//! administrators.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, LINK};
use serde_json::{Value, json};

use super::failure::Failure;
use super::reply::{Answer, JSON_MEDIA_TYPE, Reply};
use super::{Exchange, conditions};
use crate::auth::Identity;
use crate::metadata::model::trust::PolicyEntry;
use crate::oci::error::Condition;
use crate::oci::page::{PageRequest, link_next};
use crate::oci::route::{DryRun, target_revisions};
use crate::registry::gate::{Compared, DRY_RUN_TIME_MAX, POLICY_BYTES_MAX, PolicyStored};
use crate::registry::{Registry, RegistryError};
use crate::verify::policy::{Faults, Finding};

/// `GET`: the document that holds, and how it came to hold.
pub(super) async fn get(exchange: &Exchange) -> Answer {
    let status = exchange.registry.policy_status().await?;
    let revision = format!("\"{}\"", status["revision"].as_str().unwrap_or_default());
    let reply = Reply::new(StatusCode::OK).header(CACHE_CONTROL, "private, no-store").header(ETAG, revision);
    Ok(reply.bytes(JSON_MEDIA_TYPE, status.to_string().into()))
}

/// `GET` with `number`: a document that there was, and how it came to be.
pub(super) async fn get_old(exchange: &Exchange, number: i64) -> Answer {
    let record = exchange.registry.policy_document_with(number).await?;
    let record = record.ok_or_else(|| Failure::from(Condition::PolicyUnknown))?;
    let revision = record.revision.unwrap_or_default();
    let body = json!({
        "number": record.id,
        "revision": revision,
        "document": record.document,
        "actor": record.actor,
        "createdAt": record.created_at.to_rfc3339(),
    });
    let reply = Reply::new(StatusCode::OK).header(CACHE_CONTROL, "private, no-store");
    Ok(reply.header(ETAG, format!("\"{revision}\"")).bytes(JSON_MEDIA_TYPE, body.to_string().into()))
}

/// `GET .../revisions`: the documents in the database, the newest first. The newest holds, unless the policies are a file.
pub(super) async fn revisions(exchange: &Exchange, page: &PageRequest) -> Answer {
    let listed = exchange.registry.policy_documents(page).await?;
    let entry = |entry: &PolicyEntry| {
        json!({
            "number": entry.id,
            "revision": entry.revision,
            "actor": entry.actor,
            "createdAt": entry.created_at.to_rfc3339(),
            "size": entry.bytes,
        })
    };
    let entries: Vec<Value> = listed.entries.iter().map(entry).collect();
    let body = json!({"source": source(&exchange.registry), "revisions": entries});
    let next = listed.next.map(|last| link_next(&target_revisions(&page.after(&last))));
    let reply = Reply::new(StatusCode::OK).header(CACHE_CONTROL, "private, no-store").maybe(LINK, next);
    Ok(reply.bytes(JSON_MEDIA_TYPE, body.to_string().into()))
}

/// `POST .../dryrun`: what this document would change for those who pull, if it held. Nothing is changed.
pub(super) async fn dry_run(exchange: &Exchange, mut wanted: DryRun) -> Answer {
    not_for_everybody(exchange)?;
    let document = received(exchange).await?;
    let registry = &exchange.registry;
    let loaded = Registry::read_policy_document(&document, exchange.gate.auth.has_accounts());
    let loaded = loaded.map_err(|faults| faulty("the document cannot be used", &faults))?;
    let (revision, warnings) = (loaded.policies.revision().to_owned(), findings(&loaded.warnings));
    let page = registry.dry_run(&Arc::new(loaded.policies), &wanted, DRY_RUN_TIME_MAX).await?;
    let mut body = json!({
        "revision": revision,
        "warnings": warnings,
        "compared": {"source": source(registry), "revision": page.holds, "on": "pull"},
        "checked": page.checked,
        "manifests": page.manifests.iter().map(Compared::to_json).collect::<Vec<_>>(),
        "outOfTime": page.out_of_time,
    });
    let mut reply = Reply::new(StatusCode::OK).header(CACHE_CONTROL, "private, no-store");
    if page.next.is_some() {
        wanted.after = page.next;
        let target = wanted.target();
        reply = reply.header(LINK, link_next(&target));
        body["next"] = Value::from(target);
    }
    Ok(reply.bytes(JSON_MEDIA_TYPE, body.to_string().into()))
}

/// `PUT`: another document, YAML or JSON, takes its place as a whole or not at all; `policies: []` ends all of them.
/// `If-Match` names the revision whose place it takes, `If-None-Match` one whose place it does not take.
pub(super) async fn put(exchange: &Exchange) -> Answer {
    not_for_everybody(exchange)?;
    if exchange.registry.policies_are_a_file() {
        let message = "the policies of this registry are a file (`trust.policy`); change that";
        return Err(Failure::new(Condition::PolicyElsewhere, message, Value::Null));
    }
    let condition = conditions::precondition(&exchange.headers)?;
    let document = received(exchange).await?;
    let has_accounts = exchange.gate.auth.has_accounts();
    let stored = exchange.registry.put_policy_document(&document, &condition, has_accounts, &exchange.actor()).await?;
    match stored {
        PolicyStored::Stored { number, revision, warnings } => {
            let body = json!({"number": number, "revision": revision, "warnings": findings(&warnings)});
            let reply = Reply::new(StatusCode::OK).header(ETAG, format!("\"{revision}\""));
            Ok(reply.bytes(JSON_MEDIA_TYPE, body.to_string().into()))
        }
        PolicyStored::Faulty(faults) => {
            Err(faulty("the document cannot be used, and the one before it goes on to hold", &faults))
        }
        PolicyStored::Moved => {
            let message = "the document that holds is not as `If-Match` or `If-None-Match` wants it";
            Err(Failure::new(Condition::PreconditionFailed, message, Value::Null))
        }
    }
}

/// Where the policies come from.
fn source(registry: &Registry) -> &'static str {
    if registry.policies_are_a_file() { "file" } else { "database" }
}

/// Refuses where nobody is told from anybody else.
fn not_for_everybody(exchange: &Exchange) -> Result<(), Failure> {
    if matches!(exchange.identity, Identity::Everybody) {
        let message = "without accounts everybody may push, so there is nobody to keep a policy from";
        return Err(Failure::new(Condition::AccessDenied, message, Value::Null));
    }
    Ok(())
}

/// The document of a request.
async fn received(exchange: &Exchange) -> Result<String, Failure> {
    let body = exchange.inbound.read_manifest(POLICY_BYTES_MAX as u64).await.map_err(|error| match error {
        RegistryError::ManifestTooLarge { max } => {
            let message = format!("the document is larger than {max} bytes");
            Failure::new(Condition::PolicyTooLarge, message, Value::Null)
        }
        other => other.into(),
    })?;
    let not_text = |_| Failure::new(Condition::PolicyInvalid, "the document is not UTF-8", Value::Null);
    String::from_utf8(body.to_vec()).map_err(not_text)
}

fn findings(findings: &[Finding]) -> Vec<Value> {
    findings.iter().map(Finding::to_json).collect()
}

fn faulty(message: &str, faults: &Faults) -> Failure {
    Failure::new(Condition::PolicyInvalid, message, Value::from(findings(&faults.0)))
}
