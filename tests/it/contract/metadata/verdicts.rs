//! What was found out about digests: a pass that ends is told once, by whoever ends it, and only for what is true now.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::trust::PolicyPut;
use bonded::metadata::model::verdicts::{
    Found, Refusal, VerdictEntry, VerdictPut, VerdictRecord, VerdictSweep, VerdictSweepKeep, VerdictSweepTake,
    VerdictTurn,
};
use futures_util::future::join_all;

use super::fixtures::{Image, at, delete, digest, push_blob, repo};

async fn push(store: &dyn MetadataStore, name: &str) {
    push_blob(store, "r", "b", 0).await;
    Image::new(name).blob("b").push(store, "r", 1).await;
}

/// Of `m` in `r`.
async fn found(store: &dyn MetadataStore, found: Found, now: i64) -> VerdictPut {
    let standing = store.trust_standing(&repo("r")).await.expect("a look").expect("a repository");
    let (revision, evidence) = ("r1".to_owned(), vec![digest("signature")]);
    VerdictPut { standing, document: Some(0), revision, digest: digest("m"), found, evidence, now: at(now) }
}

fn refusal(is_certain: bool) -> Found {
    Found::Refusal(Refusal { outcome: "fail", policy: "prod".to_owned(), reason: "revoked", is_certain })
}

async fn put(store: &dyn MetadataStore, put: &VerdictPut) -> Option<VerdictTurn> {
    store.verdict_put(put).await.expect("written")
}

async fn stored(store: &dyn MetadataStore, put: &VerdictPut) -> VerdictRecord {
    let stored = store.verdict_find(put.standing.repository, &put.digest).await.expect("a look");
    stored.expect("a verdict")
}

pub(super) async fn the_end_of_a_pass_is_told_once(store: &dyn MetadataStore) {
    push(store, "m").await;
    let pass = found(store, Found::Pass, 2).await;
    assert_eq!(put(store, &pass).await, None, "nothing was known");
    let known = stored(store, &pass).await;
    assert_eq!((known.outcome.as_str(), &known.evidence, known.failed_at), ("pass", &pass.evidence, None));
    assert_eq!((known.passed(), known.checked_at), (true, at(2)));
    let refused = found(store, refusal(true), 3).await;
    assert_eq!(put(store, &refused).await, Some(VerdictTurn::Failed));
    assert_eq!(put(store, &found(store, refusal(true), 4).await).await, None);
    let known = stored(store, &pass).await;
    assert_eq!((known.passed(), known.failed_at, known.checked_at), (false, Some(at(3)), at(4)));
    assert_eq!(put(store, &found(store, Found::Pass, 5).await).await, Some(VerdictTurn::Passed));
    assert_eq!(put(store, &found(store, Found::Pass, 6).await).await, None);
    assert_eq!(stored(store, &pass).await.failed_at, None);
    assert_eq!(put(store, &found(store, refusal(true), 7).await).await, Some(VerdictTurn::Failed), "a second time");
}

pub(super) async fn of_many_who_find_it_out_one_tells(store: &dyn MetadataStore) {
    push(store, "m").await;
    put(store, &found(store, Found::Pass, 2).await).await;
    let both = [(refusal(true), VerdictTurn::Failed), (Found::Pass, VerdictTurn::Passed)];
    // The first ones wait for connections, each after the other.
    for (outcome, turn) in both.iter().cycle().take(10).cloned() {
        let puts: Vec<VerdictPut> = join_all((0..8).map(|_| found(store, outcome.clone(), 3))).await;
        let turns = join_all(puts.iter().map(|one| put(store, one))).await;
        assert_eq!(turns.into_iter().flatten().collect::<Vec<_>>(), [turn]);
    }
}

pub(super) async fn what_never_passed_does_not_fail(store: &dyn MetadataStore) {
    push(store, "m").await;
    assert_eq!(put(store, &found(store, refusal(true), 2).await).await, None);
    assert_eq!(put(store, &found(store, Found::Pass, 3).await).await, None, "nothing was told before");
    // Nor is it news that nobody asks any more.
    assert_eq!(put(store, &found(store, Found::Nothing, 4).await).await, None);
    let known = stored(store, &found(store, Found::Pass, 0).await).await;
    assert!(known.passed(), "what it was stays: {known:?}");
    assert_eq!(put(store, &found(store, refusal(true), 5).await).await, Some(VerdictTurn::Failed));
    assert_eq!(put(store, &found(store, Found::Nothing, 6).await).await, None);
    assert_eq!(put(store, &found(store, Found::Pass, 7).await).await, Some(VerdictTurn::Passed));
}

pub(super) async fn a_doubtful_refusal_ends_no_pass(store: &dyn MetadataStore) {
    push(store, "m").await;
    let pass = found(store, Found::Pass, 2).await;
    put(store, &pass).await;
    let before = stored(store, &pass).await;
    let doubtful = VerdictPut { evidence: Vec::new(), ..found(store, refusal(false), 3).await };
    assert_eq!(put(store, &doubtful).await, None);
    assert_eq!(stored(store, &pass).await, before, "nor its evidence");
}

/// Found out by the signatures or the policies of before: whoever is late neither ends a pass nor begins one.
pub(super) async fn what_is_found_out_late_turns_nothing(store: &dyn MetadataStore) {
    push(store, "m").await;
    put(store, &found(store, Found::Pass, 2).await).await;
    let late = |mut put: VerdictPut| {
        put.standing.generation -= 1;
        put
    };
    let old = |put: VerdictPut| VerdictPut { document: Some(7), ..put };
    let refused = found(store, refusal(true), 3).await;
    for stale in [late(refused.clone()), old(refused.clone())] {
        assert_eq!(put(store, &stale).await, None);
        assert!(stored(store, &stale).await.passed());
    }
    assert_eq!(put(store, &refused).await, Some(VerdictTurn::Failed));
    let pass = VerdictPut { evidence: vec![digest("other")], ..found(store, Found::Pass, 4).await };
    for stale in [late(pass.clone()), old(pass.clone())] {
        assert_eq!(put(store, &stale).await, None);
        let known = stored(store, &stale).await;
        assert_eq!((known.passed(), known.failed_at), (false, Some(at(3))));
        assert_eq!(known.evidence, pass.evidence, "what counted is looked at first the next time");
    }
    // With policies from a file nobody can say which are older.
    let by_file = VerdictPut { document: None, ..pass };
    let document = PolicyPut {
        document: "x".to_owned(),
        replaces: None,
        revision: "r2".to_owned(),
        now: at(5),
        by: Actor::command_line(),
    };
    let number = store.policy_put(&document).await.expect("an answer").expect("a number");
    assert_eq!(put(store, &found(store, Found::Pass, 6).await).await, None, "document 0 holds no more");
    assert_eq!(put(store, &by_file).await, Some(VerdictTurn::Passed));
    let newest = VerdictPut { document: Some(number), ..found(store, refusal(true), 7).await };
    assert_eq!(put(store, &newest).await, Some(VerdictTurn::Failed));
}

pub(super) async fn nothing_is_told_of_what_is_not_there(store: &dyn MetadataStore) {
    push(store, "other").await;
    let pass = found(store, Found::Pass, 2).await;
    assert_eq!(put(store, &pass).await, None, "its signatures came first");
    assert_eq!(put(store, &found(store, refusal(true), 3).await).await, None);
    let known = stored(store, &pass).await;
    assert_eq!((known.passed(), known.failed_at), (false, None));
    // What is deleted is forgotten, and so is a repository.
    push(store, "m").await;
    put(store, &found(store, Found::Pass, 4).await).await;
    delete(store, "r", "m", 5).await;
    assert_eq!(store.verdict_find(pass.standing.repository, &pass.digest).await.expect("a look"), None);
    put(store, &pass).await;
    store.repository_delete(&repo("r"), at(6), at(6), &Actor::command_line()).await.expect("an answer");
    assert_eq!(put(store, &VerdictPut { found: refusal(true), ..pass.clone() }).await, None);
    assert_eq!(store.verdict_find(pass.standing.repository, &pass.digest).await.expect("a look"), None);
    assert!(store.verdict_scan(None, 10).await.expect("rows").is_empty());
}

pub(super) async fn a_walk_goes_over_all_in_order(store: &dyn MetadataStore) {
    let mut expected = Vec::new();
    for name in ["q", "r"] {
        push_blob(store, name, "b", 0).await;
        for image in ["m", "n", "o"] {
            Image::new(image).blob("b").push(store, name, 1).await;
            let standing = store.trust_standing(&repo(name)).await.expect("a look").expect("a repository");
            let pass = VerdictPut { standing, digest: digest(image), ..found_in(standing, 2) };
            put(store, &pass).await;
            let failed = image == "o";
            if failed {
                put(store, &VerdictPut { found: refusal(true), ..pass }).await;
            }
            let (repository, repo) = (standing.repository, Some(repo(name)));
            expected.push(VerdictEntry { repository, repo, digest: digest(image), passed: !failed, failed });
        }
    }
    expected.sort_by_key(|entry| (entry.repository, entry.digest.to_string()));
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = store.verdict_scan(after.as_ref(), 2).await.expect("rows");
        let Some(last) = page.last() else { break };
        after = Some((last.repository, last.digest.clone()));
        walked.extend(page);
    }
    assert_eq!(walked, expected);
}

fn found_in(standing: bonded::metadata::model::trust::Standing, now: i64) -> VerdictPut {
    VerdictPut {
        standing,
        document: None,
        revision: String::new(),
        digest: digest("m"),
        found: Found::Pass,
        evidence: Vec::new(),
        now: at(now),
    }
}

fn take(node: &str, now: i64, last: &VerdictSweep) -> VerdictSweepTake {
    let (node, revision, last) = (node.to_owned(), format!("r{now}"), last.clone());
    VerdictSweepTake { node, revision, now: at(now), until: at(now + 30), last }
}

fn keep(node: &str, began: i64, until: i64, finished: Option<i64>) -> VerdictSweepKeep {
    VerdictSweepKeep { node: node.to_owned(), began_at: at(began), until: at(until), finished_at: finished.map(at) }
}

pub(super) async fn one_node_at_a_time_walks(store: &dyn MetadataStore) {
    let seen = async || store.verdict_sweep().await.expect("a walk");
    let taken = async |take: &VerdictSweepTake| store.verdict_sweep_take(take).await.expect("an answer");
    let kept = async |keep: &VerdictSweepKeep| store.verdict_sweep_keep(keep).await.expect("an answer");
    let none = seen().await;
    assert_eq!((none.revision.as_str(), none.finished_at.is_some()), ("", true));
    assert!(taken(&take("one", 100, &none)).await);
    let first = seen().await;
    assert_eq!((first.began_at, first.finished_at, first.revision.as_str()), (at(100), None, "r100"));
    assert!(!taken(&take("two", 101, &none)).await, "it has not seen that one has begun");
    assert!(!taken(&take("two", 129, &first)).await, "another node is at it");
    assert!(kept(&keep("one", 100, 150, None)).await);
    assert!(!taken(&take("two", 149, &first)).await);
    assert!(taken(&take("two", 150, &first)).await, "it has not been heard of");
    assert!(!kept(&keep("one", 100, 999, None)).await, "it has been taken");
    assert!(kept(&keep("two", 150, 160, Some(160))).await);
    let second = seen().await;
    assert_eq!((second.finished_at, second.revision.as_str()), (Some(at(160)), "r150"));
    assert!(taken(&take("one", 160, &second)).await);
}
