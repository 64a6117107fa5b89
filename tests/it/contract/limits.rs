//! What every database must do behind `LimitStore`.

use std::time::Duration;

use bonded::access::{LoginLimits, NamespacePath};
use bonded::clock::Timestamp;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::limits::LimitStore;
use bonded::metadata::model::accounts::{Actor, NamespaceRecord, NewUser};
use bonded::metadata::model::limits::{Attempted, BucketFill, CountedAttempt, LoginAttempt, Quota};

use bonded::oci::name::RepoName;
use futures_util::future::join_all;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn attempt(account: &str, address: &str, now: Timestamp) -> LoginAttempt {
    LoginAttempt {
        pair: format!("{account} {address}"),
        address: format!("at {address}"),
        account: format!("of {account}"),
        limits: LoginLimits { per_account: 3, per_address: 5, per_account_everywhere: 6, ..LoginLimits::default() },
        now,
    }
}

async fn tried(store: &dyn LimitStore, account: &str, address: &str, now: Timestamp) -> Attempted {
    store.login_try(&attempt(account, address, now)).await.expect("an answer")
}

async fn counted(store: &dyn LimitStore, account: &str, address: &str, now: Timestamp) -> CountedAttempt {
    match tried(store, account, address, now).await {
        Attempted::Counted(counted) => counted,
        refused @ Attempted::Refused { .. } => panic!("{account} from {address}: {refused:?}"),
    }
}

async fn refused(store: &dyn LimitStore, account: &str, address: &str, now: Timestamp) -> Timestamp {
    match tried(store, account, address, now).await {
        Attempted::Refused { until, .. } => until,
        counted @ Attempted::Counted(_) => panic!("{account} from {address}: {counted:?}"),
    }
}

fn seconds(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

async fn failures_of_an_account_from_an_address_end_with_their_time(store: &dyn LimitStore) {
    for second in 0..3 {
        counted(store, "ann", "a", seconds(second)).await;
    }
    for _ in 0..10 {
        assert_eq!(refused(store, "ann", "a", seconds(5)).await, seconds(900));
    }
    counted(store, "ann", "b", seconds(5)).await;
    counted(store, "bob", "a", seconds(5)).await;
    refused(store, "ann", "a", seconds(899)).await;
    counted(store, "ann", "a", seconds(900)).await;
}

async fn an_address_has_a_bound_over_all_accounts(store: &dyn LimitStore) {
    for account in ["a", "b", "c", "d", "e"] {
        counted(store, account, "x", NOW).await;
    }
    assert_eq!(refused(store, "f", "x", NOW).await, seconds(900));
    // What is refused is not counted.
    counted(store, "f", "y", NOW).await;
    counted(store, "f", "y", NOW).await;
    counted(store, "f", "y", NOW).await;
    refused(store, "f", "y", NOW).await;
}

async fn a_right_password_is_no_failure(store: &dyn LimitStore) {
    counted(store, "ann", "a", NOW).await;
    counted(store, "ann", "a", NOW).await;
    let right = counted(store, "ann", "a", NOW).await;
    refused(store, "ann", "a", NOW).await;
    store.login_give_back(&right, Some(seconds(5_000))).await.expect("given back");
    for _ in 0..3 {
        counted(store, "ann", "a", NOW).await;
    }
    // Of the address, only the one that was right was given back.
    refused(store, "bob", "a", NOW).await;
}

async fn what_could_not_be_judged_is_given_back_alone(store: &dyn LimitStore) {
    counted(store, "ann", "a", NOW).await;
    counted(store, "ann", "a", NOW).await;
    let unjudged = counted(store, "ann", "a", NOW).await;
    store.login_give_back(&unjudged, None).await.expect("given back");
    counted(store, "ann", "a", NOW).await;
    refused(store, "ann", "a", NOW).await;
    // Its time is over, and another one has begun: nothing is taken from that.
    counted(store, "ann", "a", seconds(1_000)).await;
    store.login_give_back(&unjudged, None).await.expect("nothing to give back");
    counted(store, "ann", "a", seconds(1_000)).await;
    counted(store, "ann", "a", seconds(1_000)).await;
    refused(store, "ann", "a", seconds(1_000)).await;
}

async fn many_addresses_shut_nobody_out_from_where_he_is_known(store: &dyn LimitStore) {
    let right = counted(store, "ann", "home", NOW).await;
    store.login_give_back(&right, Some(seconds(86_400))).await.expect("given back");
    let (begun, now) = (seconds(1_000), seconds(1_001));
    for attacker in ["a", "b"] {
        for _ in 0..3 {
            counted(store, "ann", attacker, begun).await;
        }
    }
    assert_eq!(refused(store, "ann", "elsewhere", now).await, seconds(1_900));
    let right = counted(store, "ann", "home", now).await;
    store.login_give_back(&right, Some(seconds(86_400))).await.expect("given back");
    counted(store, "ann", "elsewhere", seconds(1_900)).await;
}

async fn each_of_many_at_once_gets_a_number_of_its_own(store: &dyn LimitStore) {
    let tries = (0..40).map(|_| tried(store, "ann", "a", NOW));
    let passed = join_all(tries).await.iter().filter(|tried| matches!(tried, Attempted::Counted(_))).count();
    assert_eq!(passed, 3);
    let tries = (0..40).map(|n| async move { tried(store, &format!("u{n}"), "b", NOW).await });
    let passed = join_all(tries).await.iter().filter(|tried| matches!(tried, Attempted::Counted(_))).count();
    assert_eq!(passed, 5);
}

async fn what_says_nothing_any_more_is_forgotten(store: &dyn LimitStore) {
    let right = counted(store, "ann", "a", NOW).await;
    store.login_give_back(&right, Some(seconds(5_000))).await.expect("given back");
    let fill = BucketFill { key: "k".to_owned(), lasts: Duration::from_secs(10) };
    store.rate_fill(&[fill], NOW).await.expect("filled");
    assert_eq!(store.limits_forget(seconds(9)).await.expect("forgotten"), 0);
    assert_eq!(store.limits_forget(seconds(10)).await.expect("forgotten"), 1, "the bucket");
    assert_eq!(store.limits_forget(seconds(900)).await.expect("forgotten"), 2, "the address and the account");
    assert_eq!(store.limits_forget(seconds(4_999)).await.expect("forgotten"), 0);
    assert_eq!(store.limits_forget(seconds(5_000)).await.expect("forgotten"), 1);
}

async fn buckets_run_out_as_time_passes(store: &dyn LimitStore) {
    let fill = |key: &str, seconds| BucketFill { key: key.to_owned(), lasts: Duration::from_secs(seconds) };
    let level = async |key: &str, lasts: u64, now: u64| {
        let levels = store.rate_fill(&[fill(key, lasts)], seconds(now)).await.expect("levels");
        assert_eq!((levels.len(), levels[0].key.as_str()), (1, key));
        levels[0].empty_at
    };
    assert_eq!(level("a", 10, 0).await, seconds(10));
    assert_eq!(level("a", 5, 4).await, seconds(15));
    assert_eq!(level("b", 1, 4).await, seconds(5));
    assert_eq!(level("a", 2, 100).await, seconds(102));
    let both = store.rate_fill(&[fill("b", 1), fill("a", 1)], seconds(100)).await.expect("levels");
    let mut both: Vec<_> = both.into_iter().map(|level| (level.key, level.empty_at)).collect();
    both.sort();
    assert_eq!(both, [("a".to_owned(), seconds(103)), ("b".to_owned(), seconds(101))]);
    assert!(store.rate_fill(&[], seconds(100)).await.expect("levels").is_empty());
}

async fn a_quota_is_that_of_the_namespace(store: &dyn AccountStore) {
    let by = Actor::command_line();
    let name = |text: &str| text.parse().expect("a name");
    let path = |text: &str| text.parse::<NamespacePath>().expect("a path");
    let (email, password) = (None, None);
    let ann = NewUser { name: name("ann"), email, password, admin: true, robot_of: None, now: NOW };
    store.user_add(&ann, &by).await.expect("an account");
    for (at, public) in [("a", true), ("a/b", false)] {
        let new = NamespaceRecord { path: path(at), public, created_at: NOW };
        store.namespace_add(&new, &name("ann"), &by).await.expect("a namespace");
    }
    let quota = Quota { bytes: Some(10 << 30), repositories: Some(100) };
    assert!(!store.quota_set(&path("b"), quota, NOW, &by).await.expect("an answer"));
    assert_eq!(store.quota_find(&path("b")).await.expect("an answer"), None);
    assert_eq!(store.quota_find(&path("a")).await.expect("an answer"), Some(Quota::default()));
    let version = store.access_state().await.expect("a state").version;
    assert!(store.quota_set(&path("a"), quota, NOW, &by).await.expect("an answer"));
    assert!(store.access_state().await.expect("a state").version > version, "nodes have to notice");
    assert_eq!(store.quota_find(&path("a")).await.expect("an answer"), Some(quota));
    let at = async |repo: &str| {
        let repo: RepoName = repo.parse().expect("a name");
        store.rights(&repo, None).await.expect("rights").quota
    };
    assert_eq!((at("a/x").await, at("a/b/x").await, at("c").await), (quota, Quota::default(), Quota::default()));
    assert!(store.quota_set(&path("a"), Quota::default(), NOW, &by).await.expect("an answer"));
    assert_eq!(at("a/x").await, Quota::default());
    assert_eq!(store.quota_usage(&path("a"), &[]).await.expect("usage").repositories, 0);
}

super::on_both! {
    failures_of_an_account_from_an_address_end_with_their_time
    an_address_has_a_bound_over_all_accounts
    a_right_password_is_no_failure
    what_could_not_be_judged_is_given_back_alone
    many_addresses_shut_nobody_out_from_where_he_is_known
    each_of_many_at_once_gets_a_number_of_its_own
    what_says_nothing_any_more_is_forgotten
    buckets_run_out_as_time_passes
    a_quota_is_that_of_the_namespace
}
