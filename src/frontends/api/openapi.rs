//! `/openapi.json`: the description of `/api/v1`, made from the handlers themselves.

use std::sync::LazyLock;

use http::StatusCode;
use utoipa::OpenApi;

use super::described::Common;
use super::error::RefusalShown;
use super::{
    Answer, accounts, audit, certificates, downloads, json, namespaces, publishers, quotas, repositories, robots,
    sessions, teams, tokens, webhooks,
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
        robots::tokens,
        robots::add_token,
        robots::remove_token,
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
        downloads::list,
        audit::list,
        audit::verify,
    ),
    components(schemas(RefusalShown)),
    modifiers(&Common),
    security(("bearer" = []), ("basic" = []))
)]
struct Description;

/// For everybody.
pub(super) async fn document() -> Answer {
    static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Description::openapi);
    json(StatusCode::OK, &*DOCUMENT)
}
