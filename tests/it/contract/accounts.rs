//! What every database must do behind `AccountStore`.

use std::collections::{BTreeMap, BTreeSet};

use bonded::access::{NamespacePath, Role, TeamName, TokenScopes, UserName};
use bonded::clock::Timestamp;
use bonded::metadata::MetadataStore;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::dump::{Batch, LoadOptions};
use bonded::metadata::model::accounts::{
    Actor, Changed, Granted, Member, NamespaceAdded, NamespaceRecord, NewToken, NewUser, RepositoryRights, TokenAdded,
    UserAdded, UserChange, UserId,
};
use bonded::metadata::model::limits::Quota;
use bonded::metadata::model::webhooks::{HookEvents, WebhookAdded};

use bonded::metadata::webhooks::WebhookStore;
use bonded::oci::name::RepoName;
use futures_util::{StreamExt as _, TryStreamExt as _};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use crate::contract::{certificates, publishers};

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn user(name: &str) -> UserName {
    name.parse().expect("a name")
}

fn path(text: &str) -> NamespacePath {
    text.parse().expect("a path")
}

fn team(name: &str) -> TeamName {
    name.parse().expect("a name")
}

fn repo(name: &str) -> RepoName {
    name.parse().expect("a name")
}

fn by() -> Actor {
    Actor { name: Some("test".to_owned()), address: Some([127, 0, 0, 1].into()), request_id: Some("r".to_owned()) }
}

fn new(name: &str, admin: bool) -> NewUser {
    NewUser { name: user(name), email: None, password: None, admin, robot_of: None, now: NOW }
}

async fn add(store: &dyn AccountStore, name: &str, admin: bool) -> UserId {
    match store.user_add(&new(name, admin), &by()).await.expect("an answer") {
        UserAdded::Added(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn found(store: &dyn AccountStore, at: &str, owner: &str, public: bool) {
    let new = NamespaceRecord { path: path(at), public, created_at: NOW };
    let added = store.namespace_add(&new, &user(owner), &by()).await.expect("an answer");
    assert_eq!(added, NamespaceAdded::Added);
}

async fn grant(store: &dyn AccountStore, at: &str, member: Member, role: Option<Role>) -> Granted {
    store.role_set(&path(at), &member, role, NOW, &by()).await.expect("an answer")
}

async fn an_account_is_made_once(store: &dyn AccountStore) {
    assert!(!store.access_state().await.expect("a state").accounts);
    let with_email = |name: &str, email: &str| NewUser { email: email.parse().ok(), ..new(name, true) };
    let first = store.user_add(&with_email("ann", "ann@example.com"), &by()).await.expect("an answer");
    assert!(matches!(first, UserAdded::Added(_)));
    assert!(store.access_state().await.expect("a state").accounts);
    let again = store.user_add(&new("Ann", false), &by()).await.expect("an answer");
    assert_eq!(again, UserAdded::NameTaken);
    let taken = store.user_add(&with_email("bob", "Ann@Example.com"), &by()).await.expect("an answer");
    assert_eq!(taken, UserAdded::EmailTaken);
    let robot_of = Some((path("nowhere"), Role::Write));
    let robot = NewUser { robot_of, ..new("nowhere+ci", false) };
    assert_eq!(store.user_add(&robot, &by()).await.expect("an answer"), UserAdded::NamespaceUnknown);
    let kept = store.user_find(&user("ann")).await.expect("a look").expect("ann");
    assert!(kept.admin && kept.disabled_at.is_none() && kept.created_at == NOW);
    assert_eq!(store.user_list(None, 10).await.expect("a list").len(), 1);
}

async fn the_last_admin_stays(store: &dyn AccountStore) {
    add(store, "ann", true).await;
    add(store, "bob", false).await;
    for change in [UserChange::Disabled(true), UserChange::Admin(false)] {
        let changed = store.user_change(&user("ann"), &change, NOW, &by()).await.expect("an answer");
        assert_eq!(changed, Changed::Last);
    }
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Last);
    let promoted = store.user_change(&user("bob"), &UserChange::Admin(true), NOW, &by()).await.expect("an answer");
    assert_eq!(promoted, Changed::Done);
    let disabled = store.user_change(&user("bob"), &UserChange::Disabled(true), NOW, &by()).await.expect("an answer");
    assert_eq!(disabled, Changed::Done);
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Last, "bob is disabled");
    store.user_change(&user("bob"), &UserChange::Disabled(false), NOW, &by()).await.expect("an answer");
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Done);
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Unknown);
}

/// A robot ends with its namespace, and without any account everybody may do everything.
async fn robots_are_no_admins_and_somebody_stays(store: &dyn AccountStore) {
    add(store, "ann", false).await;
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Last, "nobody is left");
    store.user_change(&user("ann"), &UserChange::Admin(true), NOW, &by()).await.expect("an answer");
    found(store, "a", "ann", false).await;
    let robot = NewUser { robot_of: Some((path("a"), Role::Owner)), ..new("a+ci", false) };
    let with_password = NewUser { password: Some("x".to_owned()), ..robot.clone() };
    for never in [NewUser { admin: true, ..robot.clone() }, with_password, new("b+ci", true)] {
        assert_eq!(store.user_add(&never, &by()).await.expect("an answer"), UserAdded::Robot);
    }
    assert!(matches!(store.user_add(&robot, &by()).await.expect("an answer"), UserAdded::Added(_)));
    for never in [UserChange::Admin(true), UserChange::Password(Some("x".to_owned()))] {
        let changed = store.user_change(&user("a+ci"), &never, NOW, &by()).await.expect("an answer");
        assert_eq!(changed, Changed::Robot);
    }
    for change in [UserChange::Disabled(true), UserChange::Disabled(false), UserChange::Admin(false)] {
        let changed = store.user_change(&user("a+ci"), &change, NOW, &by()).await.expect("an answer");
        assert_eq!(changed, Changed::Done);
    }
    let kept = store.user_find(&user("a+ci")).await.expect("a look").expect("the robot");
    assert!(!kept.admin && kept.password.is_none());
    for change in [UserChange::Disabled(true), UserChange::Admin(false)] {
        let changed = store.user_change(&user("ann"), &change, NOW, &by()).await.expect("an answer");
        assert_eq!(changed, Changed::Last);
    }
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Last);
    let listed = store.robot_list(&path("a"), None, 10).await.expect("a list").expect("a namespace");
    assert_eq!(
        listed.iter().map(|robot| (robot.name.as_str(), robot.role)).collect::<Vec<_>>(),
        [("a+ci", Some(Role::Owner))]
    );
    assert_eq!(store.robot_list(&path("a"), Some("a+ci"), 10).await.expect("a list"), Some(vec![]));
    assert_eq!(store.robot_list(&path("b"), None, 10).await.expect("a list"), None);
    assert!(store.namespace_delete(&path("a"), NOW, &by()).await.expect("an answer"));
    assert!(store.access_state().await.expect("a state").accounts);
}

async fn every_change_moves_the_version(store: &dyn AccountStore) {
    let mut last = store.access_state().await.expect("a state").version;
    let mut moved = async || {
        let version = store.access_state().await.expect("a state").version;
        std::mem::replace(&mut last, version) < version
    };
    add(store, "ann", true).await;
    assert!(moved().await);
    found(store, "a", "ann", false).await;
    assert!(moved().await);
    store.team_add(&team("t"), NOW, &by()).await.expect("an answer");
    store.team_member_set(&team("t"), &user("ann"), true, NOW, &by()).await.expect("an answer");
    assert!(moved().await);
    grant(store, "a", Member::Team(team("t")), Some(Role::Read)).await;
    assert!(moved().await);
    store.namespace_public(&path("a"), true, NOW, &by()).await.expect("an answer");
    assert!(moved().await);
    store.user_change(&user("ann"), &UserChange::Password(Some("x".to_owned())), NOW, &by()).await.expect("an answer");
    assert!(moved().await);
    token(store, "ann", "one", None).await;
    moved().await;
    store.token_delete(None, "one", NOW, &by()).await.expect("an answer");
    assert!(moved().await);
    store.namespace_delete(&path("a"), NOW, &by()).await.expect("an answer");
    assert!(moved().await);
}

/// Whoever asks for what is not there makes no node forget what it knows.
async fn what_changes_nothing_leaves_the_version(store: &dyn AccountStore) {
    add(store, "ann", true).await;
    found(store, "a", "ann", false).await;
    token(store, "ann", "one", None).await;
    let version = async || store.access_state().await.expect("a state").version;
    let (before, now, by) = (version().await, NOW, by());
    let (ann, none) = (user("ann"), user("nobody"));
    for (who, id) in [(None, "gone"), (Some(&none), "one")] {
        assert!(!store.token_delete(who, id, now, &by).await.expect("an answer"));
    }
    assert_eq!(store.user_add(&new("ann", false), &by).await.expect("an answer"), UserAdded::NameTaken);
    assert_eq!(store.user_delete(&none, now, &by).await.expect("an answer"), Changed::Unknown);
    assert_eq!(store.user_delete(&ann, now, &by).await.expect("an answer"), Changed::Last);
    let change = UserChange::Admin(false);
    assert_eq!(store.user_change(&ann, &change, now, &by).await.expect("an answer"), Changed::Last);
    assert!(!store.namespace_delete(&path("b"), now, &by).await.expect("an answer"));
    assert!(!store.namespace_public(&path("b"), true, now, &by).await.expect("an answer"));
    assert_eq!(grant(store, "a", Member::User(none.clone()), Some(Role::Read)).await, Granted::MemberUnknown);
    assert_eq!(grant(store, "a", Member::User(ann), None).await, Granted::LastOwner);
    assert!(!store.team_delete(&team("t"), now, &by).await.expect("an answer"));
    assert!(!store.team_member_set(&team("t"), &none, true, now, &by).await.expect("an answer"));
    assert!(!store.repository_public(&repo("a/b"), Some(true), now, &by).await.expect("an answer"));
    let rule = "ci".parse().expect("a name");
    assert!(!store.publisher_delete(&path("a"), &rule, now, &by).await.expect("an answer"));
    let name = "email:ann@example.com".parse().expect("a name");
    assert!(!store.certificate_delete(&none, &name, now, &by).await.expect("an answer"));
    assert!(!store.quota_set(&path("b"), Quota::default(), now, &by).await.expect("an answer"));
    assert_eq!(version().await, before);
}

async fn token(store: &dyn AccountStore, name: &str, id: &str, expires_at: Option<Timestamp>) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..id.len()].copy_from_slice(id.as_bytes());
    let scopes = TokenScopes::parse(&["a/**:pull"]).expect("scopes");
    let login = id.starts_with("login");
    let (user, id, name, maker, replaces) = (user(name), id.to_owned(), "n".to_owned(), None, None);
    let new = NewToken { id, hash, name, login, scopes, expires_at, maker, replaces, now: NOW };
    assert_eq!(store.token_add(&user, &new, &by()).await.expect("an answer"), TokenAdded::Added);
    hash
}

async fn tokens_lead_to_their_owners_until_they_end(store: &dyn AccountStore) {
    let ann = add(store, "ann", true).await;
    let later = Timestamp::from_micros(2_000_000);
    let (one, two) = (token(store, "ann", "one", None).await, token(store, "ann", "two", Some(later)).await);
    let login = token(store, "ann", "login", Some(later)).await;
    for hash in [one, two, login] {
        let found = store.token_find(&hash, NOW).await.expect("a look").expect("ann");
        assert_eq!((found.id, found.name.as_str()), (ann, "ann"));
        let token = found.token.expect("a token");
        assert_eq!((token.scopes.to_texts(), token.login), (vec!["a/**:pull".to_owned()], hash == login));
    }
    assert!(store.token_find(&two, later).await.expect("a look").is_none());
    assert!(store.token_find(&[9; 32], NOW).await.expect("a look").is_none());
    let listed = store.token_list(Some(&user("ann")), None, 10).await.expect("a list");
    assert_eq!(listed.iter().map(|token| token.id.as_str()).collect::<Vec<_>>(), ["login", "one", "two"]);
    store.token_used(&[("one".to_owned(), later), ("gone".to_owned(), later)]).await.expect("written");
    let listed = store.token_list(None, Some("login"), 1).await.expect("a list");
    assert_eq!((listed.len(), listed[0].used_at), (1, Some(later)));
    for (id, token, there) in [(ann, Some("one"), true), (ann, Some("gone"), false), (ann, None, true)] {
        assert_eq!(store.principal_find(id, token, NOW).await.expect("a look").is_some(), there, "{token:?}");
    }
    let change = UserChange::Password(Some("x".to_owned()));
    store.user_change(&user("ann"), &change, NOW, &by()).await.expect("an answer");
    assert!(store.token_find(&login, NOW).await.expect("a look").is_none(), "it came from the old password");
    assert!(store.token_find(&one, NOW).await.expect("a look").is_some());
    add(store, "bob", true).await;
    assert!(!store.token_delete(Some(&user("bob")), "one", NOW, &by()).await.expect("an answer"), "it is not his");
    assert!(store.token_delete(Some(&user("ann")), "one", NOW, &by()).await.expect("an answer"));
    assert!(store.token_find(&one, NOW).await.expect("a look").is_none());
    store.user_change(&user("ann"), &UserChange::Disabled(true), NOW, &by()).await.expect("an answer");
    assert!(store.token_find(&two, NOW).await.expect("a look").is_none());
    assert!(store.principal_find(ann, None, NOW).await.expect("a look").is_none());
}

async fn a_namespace_keeps_an_owner(store: &dyn AccountStore) {
    add(store, "ann", true).await;
    add(store, "bob", false).await;
    found(store, "a", "ann", false).await;
    let ann = || Member::User(user("ann"));
    for role in [None, Some(Role::Admin)] {
        assert_eq!(grant(store, "a", ann(), role).await, Granted::LastOwner);
    }
    assert_eq!(grant(store, "a", ann(), Some(Role::Owner)).await, Granted::Done);
    assert_eq!(grant(store, "a", Member::User(user("bob")), Some(Role::Read)).await, Granted::Done);
    assert_eq!(grant(store, "a", Member::User(user("bob")), None).await, Granted::Done, "he is none");
    assert_eq!(grant(store, "a", Member::User(user("bob")), Some(Role::Owner)).await, Granted::Done);
    assert_eq!(grant(store, "a", ann(), None).await, Granted::Done);
    assert_eq!(grant(store, "b", ann(), None).await, Granted::NamespaceUnknown);
    assert_eq!(grant(store, "a", Member::User(user("cat")), None).await, Granted::MemberUnknown);
    assert_eq!(grant(store, "a", Member::Team(team("t")), None).await, Granted::MemberUnknown);
    let roles = store.role_list(&path("a")).await.expect("a list").expect("a namespace");
    assert_eq!(roles, [(Member::User(user("bob")), Role::Owner)]);
}

async fn a_robot_ends_with_its_namespace(store: &dyn AccountStore) {
    add(store, "ann", true).await;
    found(store, "a", "ann", false).await;
    let robot_of = Some((path("a"), Role::Write));
    let robot = NewUser { robot_of, ..new("a+ci", false) };
    let UserAdded::Added(id) = store.user_add(&robot, &by()).await.expect("an answer") else { panic!("it is new") };
    let rights = store.rights(&repo("a/b"), Some(id)).await.expect("rights");
    assert_eq!((rights.role, rights.namespace), (Some(Role::Write), Some(path("a"))));
    assert!(store.namespace_delete(&path("a"), NOW, &by()).await.expect("an answer"));
    assert!(store.user_find(&user("a+ci")).await.expect("a look").is_none());
    assert_eq!(store.rights(&repo("a/b"), Some(id)).await.expect("rights"), RepositoryRights::default());
}

/// Tables of facts that only accounts fill.
pub(super) const TABLES: [&str; 10] = [
    "quotas",
    "namespaces",
    "users",
    "teams",
    "team_members",
    "grants",
    "api_tokens",
    "webhooks",
    "publisher_rules",
    "user_certificates",
];

async fn accounts_come_back_as_they_were<S: AccountStore + MetadataStore + WebhookStore>(store: &S) {
    let ann = add(store, "ann", true).await;
    found(store, "a", "ann", true).await;
    store.team_add(&team("t"), NOW, &by()).await.expect("an answer");
    store.team_member_set(&team("t"), &user("ann"), true, NOW, &by()).await.expect("an answer");
    grant(store, "a", Member::Team(team("t")), Some(Role::Read)).await;
    let hash = token(store, "ann", "one", None).await;
    assert_eq!(super::webhooks::add(store, "a", "hook", HookEvents::ALL).await, WebhookAdded::Added);
    let hooks = store.webhook_list(&path("a")).await.expect("a list");
    let quota = Quota { bytes: Some(5), repositories: None };
    assert!(store.quota_set(&path("a"), quota, NOW, &by()).await.expect("an answer"));
    publishers::add(store, "a", "ci").await;
    certificates::add(store, "ann", "cn:ann").await;
    let dumped: Vec<Batch> = store.dump().try_collect().await.expect("rows");
    for table in TABLES {
        assert!(dumped.iter().any(|batch| batch.table.name == table), "{table}");
    }
    add(store, "bob", true).await;
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Done);
    let version = store.access_state().await.expect("a state").version;
    let options = LoadOptions { now: NOW, doom_unknown: false, ends_copy: false };
    store.load(futures_util::stream::iter(dumped).map(Ok).boxed(), options).await.expect("loaded");
    assert!(store.access_state().await.expect("a state").version > version, "nodes have to notice");
    assert!(store.user_find(&user("bob")).await.expect("a look").is_none());
    assert_eq!(store.token_find(&hash, NOW).await.expect("a look").expect("ann").id, ann);
    assert_eq!(store.webhook_list(&path("a")).await.expect("a list"), hooks);
    assert_eq!(store.publisher_list(&path("a")).await.expect("a list").expect("a namespace").len(), 1);
    assert_eq!(store.certificate_list(&user("ann")).await.expect("a list").expect("ann").len(), 1);
    let rights = store.rights(&repo("a/b"), Some(ann)).await.expect("rights");
    assert_eq!(
        rights,
        RepositoryRights {
            namespace: Some(path("a")),
            namespace_public: true,
            public: true,
            role: Some(Role::Owner),
            quota
        }
    );
    assert!(add(store, "cat", false).await > ann, "new rows follow the old ones");
}

/// What a map says of roles, teams and namespaces, the database says too.
async fn rights_follow_a_model(store: &dyn AccountStore) {
    const USERS: [&str; 3] = ["ann", "bob", "cat"];
    const TEAMS: [&str; 2] = ["red", "blue"];
    const PATHS: [&str; 4] = ["a", "a/b", "a/b/c", "b"];
    const REPOS: [&str; 7] = ["a", "a/x", "a/b", "a/b/x", "a/b/c/d/e", "b/c", "c"];
    let mut ids = BTreeMap::new();
    for name in USERS {
        ids.insert(name, add(store, name, true).await);
    }
    for name in TEAMS {
        assert!(store.team_add(&team(name), NOW, &by()).await.expect("an answer"));
    }
    add(store, "owner", true).await;
    for at in PATHS {
        found(store, at, "owner", at == "a/b").await;
    }
    let role = prop::option::of(prop::sample::select(Role::ALL.to_vec()));
    let step = (0..PATHS.len(), 0..USERS.len() + TEAMS.len(), role);
    let join = (0..TEAMS.len(), 0..USERS.len(), any::<bool>());
    let steps = prop::collection::vec((step, join), 40);
    let mut runner = TestRunner::new(Config::default());
    let steps = steps.new_tree(&mut runner).expect("steps").current();
    let mut roles: BTreeMap<(&str, &str), Role> = BTreeMap::new();
    let mut members: BTreeSet<(&str, &str)> = BTreeSet::new();
    for ((at, member, role), (joined, who, joins)) in steps {
        let (name, as_member) = match member.checked_sub(USERS.len()) {
            None => (USERS[member], Member::User(user(USERS[member]))),
            Some(at) => (TEAMS[at], Member::Team(team(TEAMS[at]))),
        };
        assert_eq!(grant(store, PATHS[at], as_member, role).await, Granted::Done);
        match role {
            Some(role) => drop(roles.insert((PATHS[at], name), role)),
            None => drop(roles.remove(&(PATHS[at], name))),
        }
        let set = store.team_member_set(&team(TEAMS[joined]), &user(USERS[who]), joins, NOW, &by()).await;
        assert!(set.expect("an answer"));
        if joins {
            members.insert((TEAMS[joined], USERS[who]));
        } else {
            members.remove(&(TEAMS[joined], USERS[who]));
        }
        for target in REPOS {
            let begins = |at: &&str| target == *at || target.starts_with(&format!("{at}/"));
            let owner = PATHS.into_iter().filter(begins).max_by_key(|at| at.len());
            for name in USERS {
                let teams = TEAMS.into_iter().filter(|team| members.contains(&(*team, name)));
                let held = teams.chain([name]).filter_map(|holder| roles.get(&(owner?, holder)).copied()).max();
                let rights = store.rights(&repo(target), Some(ids[name])).await.expect("rights");
                assert_eq!((rights.role, rights.namespace), (held, owner.map(path)), "{name} in {target}");
                assert_eq!(rights.public, owner == Some("a/b"));
            }
        }
        let all: Vec<RepoName> = REPOS.iter().map(|target| repo(target)).collect();
        for user in USERS.into_iter().map(|name| Some(ids[name])).chain([None]) {
            let among = store.rights_among(&all, user).await.expect("rights");
            assert_eq!(among.len(), all.len());
            for (target, found) in all.iter().zip(among) {
                assert_eq!(found, store.rights(target, user).await.expect("rights"), "{target}");
            }
        }
    }
}

super::on_both! {
    an_account_is_made_once
    the_last_admin_stays
    robots_are_no_admins_and_somebody_stays
    every_change_moves_the_version
    what_changes_nothing_leaves_the_version
    tokens_lead_to_their_owners_until_they_end
    a_namespace_keeps_an_owner
    a_robot_ends_with_its_namespace
    rights_follow_a_model
    accounts_come_back_as_they_were
}
