//! What every database must do with what proves who an account is, when that ends.

use bonded::access::{NamespacePath, Role, TokenScopes, UserName};
use bonded::clock::Timestamp;
use bonded::metadata::MetadataStore;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::dump::{Batch, LoadOptions};
use bonded::metadata::model::accounts::{
    Actor, Changed, Granted, Maker, MakerRight, Member, NamespaceAdded, NamespaceRecord, NewToken, NewUser, TokenAdded,
    TokenRecord, UserAdded, UserChange, UserId,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

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
    let bob_id = store.user_find(&bob()).await.expect("a look").expect("bob").id;
    let (token, until, right) = (None, None, MakerRight::Own);
    let maker = epoch.map(|epoch| Maker { id: bob_id, epoch, token, until, right });
    let new = NewToken { id, hash, name, login, scopes, expires_at, maker, replaces, now: NOW };
    store.token_add(&bob(), &new, &by()).await.expect("an answer") == TokenAdded::Added
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

/// `ann`, `bob` and `eve`, who may do everything but for `bob`, and the robot `a+ci`; `eve` makes tokens for the others.
struct Makers<'a> {
    store: &'a dyn AccountStore,
    eve: UserId,
}

impl<'a> Makers<'a> {
    async fn found(store: &'a dyn AccountStore) -> Self {
        people(store).await;
        let namespace = NamespaceRecord { path: path(), public: false, created_at: NOW };
        let added = store.namespace_add(&namespace, &bob(), &by()).await.expect("an answer");
        assert_eq!(added, NamespaceAdded::Added);
        let mut ids = Vec::new();
        for (name, robot_of) in [("a+ci", Some((path(), Role::Read))), ("eve", None)] {
            let (name, admin) = (user(name), robot_of.is_none());
            let new = NewUser { name, email: None, password: None, admin, robot_of, now: NOW };
            let UserAdded::Added(id) = store.user_add(&new, &by()).await.expect("an answer") else {
                panic!("it is new")
            };
            ids.push(id);
        }
        Self { store, eve: ids[1] }
    }

    async fn now(&self) -> Maker {
        let epoch = self.store.user_find(&user("eve")).await.expect("a look").expect("eve").epoch;
        Maker { id: self.eve, epoch, token: None, until: None, right: MakerRight::Everything }
    }

    async fn make(&self, number: u8, whose: &str, maker: Maker) -> TokenAdded {
        self.make_limited(number, whose, maker, TokenScopes::default()).await
    }

    async fn make_limited(&self, number: u8, whose: &str, maker: Maker, scopes: TokenScopes) -> TokenAdded {
        let (id, hash) = (format!("token{number}"), [number; 32]);
        let (name, maker, login, expires_at, replaces) = (String::new(), Some(maker), false, None, None);
        let new = NewToken { id, hash, name, login, scopes, expires_at, maker, replaces, now: NOW };
        self.store.token_add(&user(whose), &new, &by()).await.expect("an answer")
    }

    async fn change(&self, change: UserChange) {
        let changed = self.store.user_change(&user("eve"), &change, NOW, &by()).await.expect("an answer");
        assert_eq!(changed, Changed::Done);
    }

    /// The numbers of the tokens that there are, whose and by which token and by whom they were made.
    async fn all(&self) -> Vec<(String, String, Option<String>, Option<String>)> {
        let listed = self.store.token_list(None, None, 100).await.expect("a list");
        let one = |token: TokenRecord| {
            let made_by = token.made_by.map(|maker| maker.to_string());
            (token.id, token.user.to_string(), token.parent, made_by)
        };
        listed.into_iter().map(one).collect()
    }

    async fn numbers(&self) -> Vec<String> {
        self.all().await.into_iter().map(|(id, ..)| id).collect()
    }
}

fn user(name: &str) -> UserName {
    name.parse().expect("a name")
}

fn path() -> NamespacePath {
    "a".parse().expect("a path")
}

async fn a_token_ends_with_the_one_by_which_it_was_made<S: AccountStore + MetadataStore>(store: &S) {
    let makers = Makers::found(store).await;
    let by_token = |maker: &Maker, number: u8| Maker { token: Some(format!("token{number}")), ..maker.clone() };
    let eve = makers.now().await;
    let own = Maker { right: MakerRight::Own, ..eve.clone() };
    assert_eq!(makers.make(1, "eve", own.clone()).await, TokenAdded::Added);
    assert_eq!(makers.make(2, "eve", by_token(&own, 1)).await, TokenAdded::Added);
    assert_eq!(makers.make(3, "bob", by_token(&eve, 2)).await, TokenAdded::Added);
    assert_eq!(makers.make(4, "a+ci", by_token(&eve, 2)).await, TokenAdded::Added);
    assert_eq!(makers.make(5, "a+ci", eve.clone()).await, TokenAdded::Added);
    let known = [
        ("token1", "eve", None, None),
        ("token2", "eve", Some("token1"), None),
        ("token3", "bob", Some("token2"), Some("eve")),
        ("token4", "a+ci", Some("token2"), Some("eve")),
        ("token5", "a+ci", None, Some("eve")),
    ];
    let text = |text: Option<&str>| text.map(str::to_owned);
    let known = known.map(|(id, whose, with, by)| (id.to_owned(), whose.to_owned(), text(with), text(by)));
    assert_eq!(makers.all().await, known);
    // They come back with a backup as they were.
    let dumped: Vec<Batch> = store.dump().try_collect().await.expect("rows");
    let options = LoadOptions { now: NOW, doom_unknown: false, ends_copy: false };
    store.load(stream::iter(dumped).map(Ok).boxed(), options).await.expect("loaded");
    assert_eq!(makers.all().await, known);

    // Another password ends none, and what goes by a token goes on.
    makers.change(UserChange::Password(Some("x".to_owned()))).await;
    assert_eq!(makers.make(6, "eve", own.clone()).await, TokenAdded::MakerEnded, "what proved her is an old one");
    assert_eq!(makers.make(6, "eve", by_token(&own, 2)).await, TokenAdded::Added);
    assert_eq!(makers.numbers().await.len(), 6);
    // What is limited makes nothing that is not.
    let scopes = TokenScopes::parse(&["a/**:pull"]).expect("scopes");
    assert_eq!(makers.make_limited(7, "eve", by_token(&own, 1), scopes).await, TokenAdded::Added);
    assert_eq!(makers.make(8, "eve", by_token(&own, 7)).await, TokenAdded::MakerEnded);

    let version = store.access_state().await.expect("a state").version;
    assert!(store.token_delete(None, "token1", NOW, &by()).await.expect("an answer"));
    assert!(store.access_state().await.expect("a state").version > version, "nodes have to notice");
    assert_eq!(makers.numbers().await, ["token5"]);
    assert_eq!(makers.make(9, "eve", by_token(&own, 1)).await, TokenAdded::MakerEnded);
    assert_eq!(makers.make(9, "eve", by_token(&own, 5)).await, TokenAdded::MakerEnded, "it is not hers");
}

/// Those of robots stay: a robot is there so that machines do not stop with a person.
async fn what_somebody_made_for_people_ends_with_his_right_to(store: &dyn AccountStore) {
    let makers = Makers::found(store).await;
    for (number, change) in [(1, UserChange::Admin(false)), (2, UserChange::Disabled(true))] {
        let eve = makers.now().await;
        for (whose, number) in [("bob", 10 + number), ("a+ci", 20 + number)] {
            assert_eq!(makers.make(number, whose, eve.clone()).await, TokenAdded::Added);
        }
        makers.change(change).await;
        assert!(tokens(store).await.is_empty(), "of bob");
        for whose in ["bob", "a+ci", "eve"] {
            assert_eq!(makers.make(30, whose, eve.clone()).await, TokenAdded::MakerEnded, "{whose}");
        }
        makers.change(UserChange::Disabled(false)).await;
        makers.change(UserChange::Admin(true)).await;
        assert!(tokens(store).await.is_empty(), "they do not come back");
    }
    let eve = makers.now().await;
    assert_eq!(makers.make(13, "bob", eve.clone()).await, TokenAdded::Added);
    assert_eq!(store.user_delete(&user("eve"), NOW, &by()).await.expect("an answer"), Changed::Done);
    assert_eq!(makers.make(30, "bob", eve).await, TokenAdded::MakerEnded);
    let left = makers.all().await;
    let robot = |id: &str| (id.to_owned(), "a+ci".to_owned(), None, None);
    assert_eq!(left, [robot("token21"), robot("token22")]);
}

/// Whoever administers a namespace makes tokens of its robots, as long as he does.
async fn a_role_is_looked_at_when_a_token_is_made(store: &dyn AccountStore) {
    let makers = Makers::found(store).await;
    let eve = makers.now().await;
    makers.change(UserChange::Admin(false)).await;
    let (member, right) = (Member::User(user("eve")), MakerRight::Role(path(), Role::Admin));
    let maker = Maker { right, ..eve };
    for (role, expected) in [
        (None, TokenAdded::MakerEnded),
        (Some(Role::Write), TokenAdded::MakerEnded),
        (Some(Role::Admin), TokenAdded::Added),
    ] {
        let set = store.role_set(&path(), &member, role, NOW, &by()).await.expect("an answer");
        assert_eq!(set, Granted::Done);
        assert_eq!(makers.make(1, "a+ci", maker.clone()).await, expected, "{role:?}");
    }
}

/// Of a token that is made and what ends its maker, one sees the other.
async fn no_token_outlives_what_ends_its_maker(store: &dyn AccountStore) {
    let makers = Makers::found(store).await;
    for round in 0..20 {
        let eve = makers.now().await;
        assert_eq!(makers.make(1, "eve", Maker { right: MakerRight::Own, ..eve.clone() }).await, TokenAdded::Added);
        let by_token = Maker { token: Some("token1".to_owned()), ..eve.clone() };
        let ended = async {
            if round % 2 == 0 {
                makers.change(UserChange::Disabled(true)).await;
            } else {
                assert!(store.token_delete(None, "token1", NOW, &by()).await.expect("an answer"));
                makers.change(UserChange::Admin(false)).await;
            }
        };
        let made = futures_util::future::join3(
            makers.make(2, "bob", eve.clone()),
            makers.make(3, "bob", by_token.clone()),
            makers.make(4, "a+ci", by_token),
        );
        futures_util::future::join(ended, made).await;
        assert_eq!(makers.numbers().await, [""; 0], "round {round}");
        makers.change(UserChange::Disabled(false)).await;
        makers.change(UserChange::Admin(true)).await;
    }
}

super::on_both! {
    what_proves_an_account_has_a_number_that_moves
    no_token_outlives_what_ends_all_of_them
    a_token_ends_with_the_one_by_which_it_was_made
    what_somebody_made_for_people_ends_with_his_right_to
    a_role_is_looked_at_when_a_token_is_made
    no_token_outlives_what_ends_its_maker
}
