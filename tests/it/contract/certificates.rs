//! What every database must do behind `CertificateStore`.

use bonded::access::{CertificateName, UserName};
use bonded::clock::Timestamp;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::certificates::CERTIFICATE_NAMES_MAX;
use bonded::metadata::model::accounts::{Actor, Changed, NewUser, UserAdded, UserChange};
use bonded::metadata::model::certificates::CertificateAdded;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn user(text: &str) -> UserName {
    text.parse().expect("a name")
}

fn name(text: &str) -> CertificateName {
    text.parse().expect("a name")
}

fn by() -> Actor {
    Actor { name: Some("test".to_owned()), address: None, request_id: None }
}

/// Gives a name to an account.
pub(super) async fn add(store: &dyn AccountStore, to: &str, called: &str) {
    assert_eq!(given(store, to, called).await, CertificateAdded::Added);
}

async fn given(store: &dyn AccountStore, to: &str, called: &str) -> CertificateAdded {
    store.certificate_add(&user(to), &name(called), NOW, &by()).await.expect("an answer")
}

async fn people(store: &dyn AccountStore, names: &[&str]) {
    for called in names {
        let (name, admin) = (user(called), *called == "root");
        let new = NewUser { name, email: None, password: None, admin, robot_of: None, now: NOW };
        assert!(matches!(store.user_add(&new, &by()).await.expect("an answer"), UserAdded::Added(_)));
    }
}

/// Whose any of these names are.
async fn owners(store: &dyn AccountStore, names: &[&str]) -> Vec<String> {
    let names: Vec<CertificateName> = names.iter().map(|text| name(text)).collect();
    let found = store.certificate_find(&names).await.expect("owners");
    let shown = |disabled| if disabled { " (disabled)" } else { "" };
    let mut owners: Vec<String> =
        found.iter().map(|owner| format!("{}{}", owner.principal.name, shown(owner.disabled))).collect();
    owners.sort();
    owners
}

async fn a_name_is_of_one_account(store: &dyn AccountStore) {
    people(store, &["root", "ann", "bob"]).await;
    let version = store.access_state().await.expect("a state").version;
    add(store, "ann", "uri:spiffe://x/ann").await;
    assert!(store.access_state().await.expect("a state").version > version);
    add(store, "ann", "cn:ann").await;
    add(store, "bob", "cn:bob").await;
    assert_eq!(given(store, "bob", "cn:ann").await, CertificateAdded::NameTaken);
    assert_eq!(given(store, "ann", "cn:ann").await, CertificateAdded::NameTaken);
    assert_eq!(given(store, "cat", "cn:cat").await, CertificateAdded::UserUnknown);
    let names = store.certificate_list(&user("ann")).await.expect("a list").expect("an account");
    let shown: Vec<(&str, Timestamp)> = names.iter().map(|record| (record.name.as_str(), record.created_at)).collect();
    assert_eq!(shown, [("cn:ann", NOW), ("uri:spiffe://x/ann", NOW)]);
    assert!(store.certificate_list(&user("cat")).await.expect("a list").is_none());
    assert_eq!(owners(store, &["cn:ann", "uri:spiffe://x/ann", "dns:x"]).await, ["ann"], "once for two names");
    assert_eq!(owners(store, &["cn:ann", "cn:bob"]).await, ["ann", "bob"]);
    assert_eq!(owners(store, &["cn:Ann", "dns:ann"]).await, [""; 0]);
    assert_eq!(owners(store, &[]).await, [""; 0]);
}

async fn a_name_ends_alone_or_with_its_account(store: &dyn AccountStore) {
    people(store, &["root", "ann"]).await;
    add(store, "ann", "cn:one").await;
    add(store, "ann", "cn:two").await;
    let delete = async |of: &str, called: &str| {
        store.certificate_delete(&user(of), &name(called), NOW, &by()).await.expect("an answer")
    };
    assert!(!delete("root", "cn:one").await && !delete("cat", "cn:one").await, "it is another one's");
    let version = store.access_state().await.expect("a state").version;
    let epoch = async || {
        let names = [name("cn:two")];
        store.certificate_find(&names).await.expect("an answer").first().map(|owner| owner.principal.epoch)
    };
    let before = epoch().await.expect("an owner");
    assert!(delete("ann", "cn:one").await && !delete("ann", "cn:one").await);
    assert_eq!(epoch().await, Some(before + 1), "what was made by it ends");
    assert!(store.access_state().await.expect("a state").version > version);
    assert_eq!(owners(store, &["cn:one"]).await, [""; 0]);
    let disable = UserChange::Disabled(true);
    assert_eq!(store.user_change(&user("ann"), &disable, NOW, &by()).await.expect("an answer"), Changed::Done);
    assert_eq!(owners(store, &["cn:two"]).await, ["ann (disabled)"]);
    assert_eq!(store.user_delete(&user("ann"), NOW, &by()).await.expect("an answer"), Changed::Done);
    assert_eq!(owners(store, &["cn:two"]).await, [""; 0]);
    add(store, "root", "cn:two").await;
    assert_eq!(owners(store, &["cn:two"]).await, ["root"]);
}

async fn an_account_has_so_many_names_at_most(store: &dyn AccountStore) {
    people(store, &["root"]).await;
    for n in 0..CERTIFICATE_NAMES_MAX {
        add(store, "root", &format!("cn:{n}")).await;
    }
    assert_eq!(given(store, "root", "cn:more").await, CertificateAdded::Full);
}

super::on_both! {
    a_name_is_of_one_account
    a_name_ends_alone_or_with_its_account
    an_account_has_so_many_names_at_most
}
