//! `/openapi.json`: the description of `/api/v1`, made from the handlers themselves.

use http::StatusCode;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    Answer, accounts, audit, certificates, json, namespaces, publishers, quotas, repositories, robots, sessions, teams,
    tokens, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Bonded", description = "Accounts, teams, namespaces, tokens and the record of what happened."),
    paths(
        sessions::register,
        sessions::login,
        sessions::verify,
        sessions::refresh,
        sessions::logout,
        accounts::list,
        accounts::add,
        accounts::show,
        accounts::change,
        accounts::set_password,
        accounts::remove,
        tokens::list,
        tokens::create,
        tokens::remove,
        teams::list,
        teams::create,
        teams::show,
        teams::remove,
        teams::join,
        teams::leave,
        namespaces::list,
        namespaces::create,
        namespaces::show,
        namespaces::change,
        namespaces::remove,
        namespaces::grant,
        namespaces::revoke,
        namespaces::add_robot,
        robots::list,
        robots::remove,
        robots::add_token,
        certificates::list,
        certificates::add,
        certificates::remove,
        publishers::list,
        publishers::add,
        publishers::remove,
        publishers::exchange,
        quotas::show,
        quotas::set,
        webhooks::list,
        webhooks::add,
        webhooks::change,
        webhooks::remove,
        webhooks::test,
        webhooks::deliveries,
        webhooks::resend,
        repositories::list,
        repositories::remove,
        repositories::set_visibility,
        audit::list,
        audit::verify,
    ),
    modifiers(&Credentials),
    security(("bearer" = []), ("basic" = []))
)]
struct Description;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [("bearer", HttpAuthScheme::Bearer), ("basic", HttpAuthScheme::Basic)] {
            let scheme = HttpBuilder::new().scheme(scheme).build();
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
        name_operations(document);
    }
}

/// Gives every operation a name of its own, by which generated clients call it: `get_users_name`.
fn name_operations(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let words = path.trim_start_matches("/api/v1/").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                let id = format!("{method}_{words}");
                operation.operation_id = Some(id.trim_end_matches('_').replace("__", "_"));
            }
        }
    }
}

/// For everybody.
pub(super) async fn document() -> Answer {
    json(StatusCode::OK, &Description::openapi())
}
