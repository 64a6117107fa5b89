//! What every database must do with what proves who an account is, when that ends.

use bonded::access::{TokenScopes, UserName};
use bonded::clock::Timestamp;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::model::accounts::{Actor, Changed, NewToken, NewUser, UserAdded, UserChange, UserId};

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn by() -> Actor {
    Actor { name: Some("test".to_owned()), address: None, request_id: None }
}

fn bob() -> UserName {
    "bob".parse().expect("a name")
}

/// `ann`, who may do everything, and `bob`.
async fn people(store: &dyn AccountStore) -> UserId {
    let mut last = UserId(0);
    for (name, admin) in [("ann", true), ("bob", false)] {
        let name = name.parse().expect("a name");
        let new = NewUser { name, email: None, password: None, admin, robot_of: None, now: NOW };
        let UserAdded::Added(id) = store.user_add(&new, &by()).await.expect("an answer") else { panic!("it is new") };
        last = id;
    }
    last
}

async fn change(store: &dyn AccountStore, change: UserChange) {
    assert_eq!(store.user_change(&bob(), &change, NOW, &by()).await.expect("an answer"), Changed::Done);
}

async fn epoch(store: &dyn AccountStore) -> i64 {
    store.user_find(&bob()).await.expect("a look").expect("bob").epoch
}

/// Makes a token of `bob`; `epoch`: what his has to be. `false`: it is not made.
async fn token(store: &dyn AccountStore, number: u8, login: bool, epoch: Option<i64>) -> bool {
    let (id, scopes) = (format!("token{number}"), TokenScopes::default());
    let (hash, name, expires_at, replaces) = ([number; 32], String::new(), None, None);
    let new = NewToken { id, hash, name, login, scopes, expires_at, epoch, replaces, now: NOW };
    store.token_add(&bob(), &new, &by()).await.expect("an answer")
}

async fn tokens(store: &dyn AccountStore) -> Vec<String> {
    let listed = store.token_list(Some(&bob()), None, 100).await.expect("a list");
    listed.into_iter().map(|token| token.id).collect()
}

async fn what_proves_an_account_has_a_number_that_moves(store: &dyn AccountStore) {
    let id = people(store).await;
    let first = epoch(store).await;
    assert!(token(store, 1, false, None).await && token(store, 2, true, Some(first)).await);
    for (hash, there) in [([1; 32], true), ([2; 32], true), ([3; 32], false)] {
        let found = store.token_find(&hash, NOW).await.expect("a look");
        assert_eq!(found.map(|found| found.epoch), there.then_some(first));
    }
    change(store, UserChange::Password(Some("x".to_owned()))).await;
    let second = epoch(store).await;
    assert!(second > first);
    assert_eq!(tokens(store).await, ["token1"], "one that is none of a password stays");
    assert!(!token(store, 3, true, Some(first)).await, "the password is an old one by now");
    assert!(token(store, 3, true, Some(second)).await);
    let found = store.principal_find(id, None, NOW).await.expect("a look").expect("bob");
    assert_eq!(found.epoch, second);

    for other in [UserChange::Admin(true), UserChange::Admin(false), UserChange::Disabled(false)] {
        change(store, other).await;
    }
    store.user_rehashed(id, "x", "y").await.expect("an answer");
    assert_eq!((epoch(store).await, tokens(store).await.len()), (second, 2), "these end nothing");

    change(store, UserChange::Disabled(true)).await;
    assert!(epoch(store).await > second && tokens(store).await.is_empty());
    assert!(!token(store, 4, false, None).await, "he may not act");
    change(store, UserChange::Disabled(false)).await;
    assert!(store.token_find(&[1; 32], NOW).await.expect("a look").is_none(), "nothing comes back");
    assert!(token(store, 4, false, None).await);
}

/// Of a token that is made and a change that ends all of them, one sees the other.
async fn no_token_outlives_what_ends_all_of_them(store: &dyn AccountStore) {
    people(store).await;
    for round in 0..20 {
        let now = epoch(store).await;
        let disabled = change(store, UserChange::Disabled(true));
        let made = futures_util::future::join3(
            token(store, 3 * round, false, None),
            token(store, 3 * round + 1, true, Some(now)),
            token(store, 3 * round + 2, false, None),
        );
        futures_util::future::join(disabled, made).await;
        assert_eq!(tokens(store).await, [""; 0]);
        change(store, UserChange::Disabled(false)).await;

        let now = epoch(store).await;
        let changed = change(store, UserChange::Password(Some(round.to_string())));
        futures_util::future::join(changed, token(store, 100 + round, true, Some(now))).await;
        assert_eq!(tokens(store).await, [""; 0]);
    }
}

super::on_both! {
    what_proves_an_account_has_a_number_that_moves
    no_token_outlives_what_ends_all_of_them
}
