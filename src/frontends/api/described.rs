//! What operations of `/api/v1` have in common, put into their description: a name, who may call them, and how they are
//! refused.

use utoipa::Modify;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// Operations for which nobody has to say who he is.
const PUBLIC: [&str; 4] =
    ["/api/v1/auth/register", "/api/v1/auth/login", "/api/v1/auth/verify", "/api/v1/auth/oidc/exchange"];

/// Names of the schemes by which credentials come.
const BEARER: &str = "bearer";
const BASIC: &str = "basic";

/// Puts it in.
pub(super) struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [(BEARER, HttpAuthScheme::Bearer), (BASIC, HttpAuthScheme::Basic)] {
            let scheme = HttpBuilder::new().scheme(scheme).build();
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
        for (path, item) in &mut document.paths.paths {
            let operations = [
                ("get", &mut item.get),
                ("put", &mut item.put),
                ("post", &mut item.post),
                ("patch", &mut item.patch),
                ("delete", &mut item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    operation.operation_id = Some(name(method, path));
                    refuse(operation, PUBLIC.contains(&path.as_str()));
                }
            }
        }
    }
}

/// A name of its own, by which generated clients call an operation: `get_users_name`.
fn name(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1/").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("{method}_{words}").trim_end_matches('_').replace("__", "_")
}

/// Adds the refusals that follow from what an operation reads, and says of each what it looks like. Those that follow from
/// what it does are named beside it.
fn refuse(operation: &mut Operation, is_public: bool) {
    let has_body = operation.request_body.is_some();
    let reads = has_body || operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    let also = [("400", reads), ("401", !is_public), ("413", has_body), ("429", true), ("503", true)];
    let responses = &mut operation.responses.responses;
    for (status, _) in also.into_iter().filter(|(_, happens)| *happens) {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(Response::default()));
    }
    for (status, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        *response = RefOr::T(refusal(status));
    }
    if is_public {
        operation.security = Some(Vec::new());
    }
}

fn refusal(status: &str) -> Response {
    let (description, header) = match status {
        "400" => ("the request is malformed", None),
        "401" => ("who asks is not known, or the credentials are wrong", Some(("WWW-Authenticate", "a challenge"))),
        "403" => ("whoever asks may not do this", None),
        "404" => ("it is not there, or not for whoever asks", None),
        "409" => ("it is there already, or something else is in the way", None),
        "413" => ("the body is too long", None),
        "429" => ("too much at once", Some(("Retry-After", "seconds"))),
        "503" => ("not now", Some(("Retry-After", "seconds"))),
        _ => ("refused", None),
    };
    let content = Content::new(Some(Ref::from_schema_name("Refusal")));
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    let response = match header {
        Some((name, meaning)) => response.header(name, HeaderBuilder::new().description(Some(meaning)).build()),
        None => response,
    };
    response.build()
}
