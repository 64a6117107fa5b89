//! Who may do what, on the wire.

mod api;
mod audit;
mod catalog;
mod certificates;
mod cors;
mod derived;
mod downloads;
mod ending;
mod issuer;
mod keys;
mod limits;
mod matrix;
mod nodes;
mod oauth;
mod openapi;
mod publishing;
mod quotas;
mod quotas_beside;
mod robots;
mod tokens;

use bonded::access::{NamespacePath, Role, TokenScopes, UserName};
use bonded::auth::{Given, TokenWish};
use bonded::metadata::model::accounts::{Actor, Granted, Member, NamespaceAdded, NamespaceRecord};
use reqwest::RequestBuilder;
use secrecy::SecretString;

use crate::app::TestApp;
use crate::fixtures::ImageBuilder;

/// A registry with the repositories `open/app` and `closed/app`, of namespaces `open` (public) and `closed`, and `loose`,
/// which is nobody's. `owner` owns both namespaces; in both, `reader`, `writer` and `manager` have the roles read, write
/// and admin; `stranger` has none; `root` may do everything.
pub(super) struct Town {
    pub(super) app: TestApp,
}

pub(super) fn user(name: &str) -> UserName {
    name.parse().expect("a name")
}

impl Town {
    pub(super) async fn build() -> Self {
        Self::found(TestApp::start().await).await
    }

    pub(super) async fn found(app: TestApp) -> Self {
        let image = ImageBuilder::new().layer(b"layer");
        for repo in ["open/app", "closed/app", "loose"] {
            app.push_image(repo, "v1", &image).await;
        }
        let by = Actor::command_line();
        for name in ["root", "owner", "manager", "writer", "reader", "stranger"] {
            app.auth.add_user(&user(name), None, None, name == "root", &by).await.expect("an account");
        }
        for (path, public) in [("open", true), ("closed", false)] {
            let path: NamespacePath = path.parse().expect("a path");
            let new = NamespaceRecord { path: path.clone(), public, created_at: app.auth.now() };
            let added = app.auth.accounts().namespace_add(&new, &user("owner"), &by).await.expect("an answer");
            assert_eq!(added, NamespaceAdded::Added);
            for (name, role) in [("manager", Role::Admin), ("writer", Role::Write), ("reader", Role::Read)] {
                let (member, now) = (Member::User(user(name)), app.auth.now());
                let set = app.auth.accounts().role_set(&path, &member, Some(role), now, &by).await.expect("an answer");
                assert_eq!(set, Granted::Done);
            }
        }
        app.auth.refresh().await.expect("the new state");
        Self { app }
    }

    /// A token of an account, limited to scopes.
    pub(super) async fn token(&self, name: &str, scopes: &[&str]) -> String {
        let scopes = TokenScopes::parse(scopes).expect("scopes");
        let wish = TokenWish { name: String::new(), scopes, life: None };
        let made = self.app.auth.add_token(&user(name), wish, None, &Actor::command_line()).await;
        made.expect("a token").1.expose().to_owned()
    }

    pub(super) async fn set_password(&self, name: &str, password: &str) {
        let given = Given::Plain(SecretString::from(password.to_owned()));
        let set = self.app.auth.set_password(&user(name), given, &Actor::command_line()).await;
        set.expect("a password that is strong enough");
    }

    /// A token of the token service.
    pub(super) async fn exchange(&self, credentials: Option<&str>, scopes: &[&str]) -> serde_json::Value {
        let query: Vec<String> = scopes.iter().map(|scope| format!("scope={scope}")).collect();
        let request = self.app.get(&format!("/v2/token?service=bonded.test&{}", query.join("&")));
        let request = match credentials {
            Some(token) => request.basic_auth("anybody", Some(token)),
            None => request,
        };
        crate::app::json(crate::app::expect(request, reqwest::StatusCode::OK).await).await
    }
}

/// With credentials, if there are any.
pub(super) fn with(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}
