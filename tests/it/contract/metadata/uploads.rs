//! Upload sessions: fencing, offsets, tails, completion and expiry.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{
    BlobLocation, Checkpoint, NewBlob, NewUpload, Rekey, UploadHold, UploadPut, UploadState, UploadTake, UploadTaken,
};
use bonded::storage::{DriverState, Key};
use bytes::Bytes;

use super::fixtures::{
    DAY, at, at_key, begin, digest, ending, find, intended, key, new_blob, new_upload, repo, sweep, take, taken,
    upload_id, wish,
};

fn checkpoint(received: u64, tail_start: u64, tail_new: &'static [u8], now: i64) -> Checkpoint {
    Checkpoint {
        received,
        driver_state: DriverState(vec![u8::try_from(received).expect("a small number")]),
        hash_state: vec![9, 9],
        tail_start,
        tail_new: Bytes::from_static(tail_new),
        expires_at: at(now + DAY),
    }
}

async fn save(store: &dyn MetadataStore, hold: &UploadHold, checkpoint: Checkpoint) -> bool {
    store.upload_checkpoint(hold, &checkpoint).await.expect("an answer")
}

async fn commit(store: &dyn MetadataStore, hold: &UploadHold, blob: &NewBlob) -> bool {
    store.upload_commit(hold, blob, at(DAY)).await.expect("an answer")
}

pub(super) async fn a_session_is_found_by_repository_and_id(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    begin(store, "other", 2, 0).await;
    let found = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    assert_eq!((found.received, found.epoch, found.state), (0, 1, UploadState::Open));
    assert_eq!((found.object_key, found.principal.as_deref()), (None, Some("someone")));
    assert_eq!(found.driver_state, DriverState::default());
    assert!(store.upload_find(&repo("other"), &upload_id(1), at(1)).await.expect("a look").is_none());
    assert!(matches!(take(store, "other", 1, None, 1).await, UploadTaken::Unknown));
    assert!(!store.upload_cancel(&repo("other"), &upload_id(1), None, ending(1, 1)).await.expect("an answer"));
}

pub(super) async fn taking_raises_the_epoch_and_fences_the_old_holder(store: &dyn MetadataStore) {
    let old = intended(store, "r", 1, "object", 0).await;
    assert!(save(store, &old, checkpoint(10, 10, b"", 1)).await);
    let (new, record) = taken(store, "r", 1, 2).await;
    assert!(new.epoch > old.epoch);
    assert_eq!((record.received, record.object_key, record.hash_state), (10, Some(key("object")), vec![9, 9]));
    assert_eq!(record.driver_state, DriverState(vec![10]));
    assert!(!save(store, &old, checkpoint(20, 20, b"", 3)).await);
    assert!(!store.upload_renew(&old, at(DAY)).await.expect("an answer"));
    assert!(!store.upload_intend(&old, &key("object")).await.expect("an answer"));
    let state = DriverState::default();
    assert!(!store.upload_completing(&old, &digest("b"), 10, &state).await.expect("an answer"));
    assert!(!commit(store, &old, &at_key("b", &key("object"), 3)).await);
    assert!(!store.upload_drop(&old, ending(3, 3)).await.expect("an answer"));
    let untouched = store.upload_find(&repo("r"), &upload_id(1), at(4)).await.expect("a look").expect("the session");
    assert_eq!((untouched.received, untouched.epoch), (10, new.epoch));
    assert!(save(store, &new, checkpoint(20, 20, b"", 4)).await);
}

pub(super) async fn a_wrong_offset_leaves_the_session_alone(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "object", 0).await;
    assert!(save(store, &hold, checkpoint(10, 10, b"", 1)).await);
    for offset in [0, 9, 11] {
        let refused = take(store, "r", 1, Some(offset), 2).await;
        assert!(matches!(refused, UploadTaken::WrongOffset { received: 10 }), "{refused:?}");
    }
    assert!(save(store, &hold, checkpoint(11, 11, b"", 3)).await, "the holder still has it");
    assert!(matches!(take(store, "r", 1, Some(11), 4).await, UploadTaken::Taken(_)));
}

pub(super) async fn an_expired_session_is_unknown(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    assert!(matches!(take(store, "r", 1, None, DAY).await, UploadTaken::Unknown));
    assert!(store.upload_find(&repo("r"), &upload_id(1), at(DAY)).await.expect("a look").is_none());
    assert!(store.upload_find(&repo("r"), &upload_id(1), at(DAY - 1)).await.expect("a look").is_some());
}

pub(super) async fn a_renewed_session_lives_on(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    let (hold, _) = taken(store, "r", 1, 0).await;
    assert!(store.upload_renew(&hold, at(2 * DAY)).await.expect("an answer"));
    assert!(store.upload_find(&repo("r"), &upload_id(1), at(DAY)).await.expect("a look").is_some());
    assert_eq!(store.upload_expire(at(DAY), at(DAY), 10).await.expect("a pass"), 0);
}

pub(super) async fn the_tail_is_kept_cut_and_joined(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "object", 0).await;
    assert!(save(store, &hold, checkpoint(5, 0, b"abcde", 1)).await);
    assert!(save(store, &hold, checkpoint(8, 0, b"fgh", 2)).await);
    assert_eq!(taken(store, "r", 1, 3).await.1.tail, "abcdefgh");
    let (hold, _) = taken(store, "r", 1, 3).await;
    // The object has the first bytes now, up to the middle of a kept piece.
    assert!(save(store, &hold, checkpoint(10, 6, b"ij", 4)).await);
    let (hold, record) = taken(store, "r", 1, 5).await;
    assert_eq!((record.tail.as_ref(), record.received), (b"ghij".as_slice(), 10));
    assert!(store.upload_find(&repo("r"), &upload_id(1), at(5)).await.expect("a look").expect("it").tail.is_empty());
    assert!(save(store, &hold, checkpoint(12, 12, b"", 6)).await);
    assert_eq!(taken(store, "r", 1, 7).await.1.tail, "");
}

pub(super) async fn a_key_is_recorded_once(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "object", 0).await;
    assert!(store.upload_intend(&hold, &key("object")).await.expect("the same again"));
    assert!(!store.upload_intend(&hold, &key("another")).await.expect("an answer"));
    let found = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    assert_eq!(found.object_key, Some(key("object")));
}

pub(super) async fn a_session_gets_another_key(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "first", 0).await;
    let rekey = |object: &str, tail: &'static [u8]| Rekey {
        key: key(object),
        tail: Bytes::from_static(tail),
        dead_until: at(50),
    };
    assert!(store.upload_rekey(&hold, &rekey("second", b"")).await.expect("an answer"));
    let (hold, record) = taken(store, "r", 1, 2).await;
    assert_eq!((record.object_key, record.driver_state), (Some(key("second")), DriverState::default()));

    // All of it is an object, and then more bytes come.
    assert!(save(store, &hold, checkpoint(5, 5, b"", 3)).await);
    assert!(store.upload_rekey(&hold, &rekey("third", b"abcde")).await.expect("an answer"));
    let old = hold;
    let (hold, record) = taken(store, "r", 1, 4).await;
    assert_eq!(
        (record.object_key, record.received, record.tail.as_ref()),
        (Some(key("third")), 5, b"abcde".as_slice())
    );
    assert_eq!(record.driver_state, DriverState::default());
    assert!(save(store, &hold, checkpoint(7, 0, b"fg", 5)).await);
    assert_eq!(taken(store, "r", 1, 6).await.1.tail, "abcdefg");

    assert!(!store.upload_rekey(&old, &rekey("fourth", b"")).await.expect("it is not theirs any more"));
    assert_eq!(store.deletion_claim(at(49), 10).await.expect("a claim"), []);
    let doomed = store.deletion_claim(at(50), 10).await.expect("a claim");
    let mut keys: Vec<Key> = doomed.into_iter().map(|doomed| doomed.key).collect();
    keys.sort();
    let mut expected = [key("first"), key("second")];
    expected.sort();
    assert_eq!(keys, expected);
}

pub(super) async fn a_completing_session_can_be_taken_again(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "object", 0).await;
    assert!(save(store, &hold, checkpoint(1, 0, b"b", 1)).await);
    assert_eq!(store.upload_tail(&hold).await.expect("an answer"), Some(Bytes::from_static(b"b")));
    let state = DriverState(vec![1, 2, 3]);
    assert!(store.upload_completing(&hold, &digest("bb"), 1, &state).await.expect("an answer"));
    let (again, record) = taken(store, "r", 1, 2).await;
    assert_eq!(record.state, UploadState::Completing(digest("bb")));
    assert_eq!((record.received, &record.driver_state, record.tail), (1, &state, Bytes::from_static(b"b")));
    assert_eq!(store.upload_tail(&hold).await.expect("an answer"), None, "it is not the old holder's any more");
    assert!(store.upload_completing(&again, &digest("bb"), 2, &state).await.expect("an answer"));
    let (again, record) = taken(store, "r", 1, 3).await;
    assert_eq!((record.received, record.tail), (2, Bytes::new()), "what is kept does not reach the end");
    assert!(!commit(store, &hold, &at_key("bb", &key("object"), 3)).await);
    assert!(commit(store, &again, &at_key("bb", &key("object"), 3)).await);
    assert!(find(store, "r", "bb").await.is_some());
}

pub(super) async fn a_checkpoint_opens_a_completing_session(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "object", 0).await;
    let state = DriverState::default();
    assert!(store.upload_completing(&hold, &digest("b"), 1, &state).await.expect("an answer"));
    assert!(save(store, &hold, checkpoint(2, 2, b"", 1)).await);
    let found = store.upload_find(&repo("r"), &upload_id(1), at(2)).await.expect("a look").expect("the session");
    assert_eq!((found.state, found.received), (UploadState::Open, 2));
}

pub(super) async fn a_commit_makes_a_leased_member(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "b", 0).await;
    assert!(commit(store, &hold, &new_blob("b", 0)).await);
    assert_eq!(find(store, "r", "b").await.expect("the blob").location, BlobLocation::Object(key("b")));
    assert!(sweep(store, DAY - 1).await.is_empty());
    assert_eq!(sweep(store, DAY).await, [key("b")]);
}

pub(super) async fn a_repeated_commit_is_fine(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "b", 0).await;
    assert!(commit(store, &hold, &new_blob("b", 0)).await);
    assert!(commit(store, &hold, &new_blob("b", 1)).await);
    assert!(!commit(store, &hold, &new_blob("another", 1)).await);
    assert!(sweep(store, 2).await.is_empty(), "the blob's object is not doomed");
    assert_eq!(find(store, "r", "b").await.expect("the blob").location, BlobLocation::Object(key("b")));
}

pub(super) async fn a_commit_without_the_session_is_refused(store: &dyn MetadataStore) {
    let hold = UploadHold { id: upload_id(1), epoch: 1 };
    assert!(!commit(store, &hold, &new_blob("b", 0)).await);
    assert_eq!(store.blob_scan(bonded::metadata::model::BlobId(0), 1).await.expect("rows"), []);
}

pub(super) async fn a_committed_session_answers_until_it_expires(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "b", 0).await;
    assert!(save(store, &hold, checkpoint(1, 0, b"b", 1)).await);
    assert!(commit(store, &hold, &new_blob("b", 0)).await);
    match take(store, "r", 1, Some(77), 1).await {
        UploadTaken::Committed(committed) => assert_eq!(committed, digest("b")),
        other => panic!("{other:?}"),
    }
    let found = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    assert_eq!((found.state, found.received), (UploadState::Committed(digest("b")), 1));
    assert!(!save(store, &hold, checkpoint(2, 2, b"", 1)).await);
    assert!(!store.upload_cancel(&repo("r"), &upload_id(1), None, ending(1, 1)).await.expect("an answer"));
    assert!(!store.upload_drop(&hold, ending(1, 1)).await.expect("an answer"));
    assert!(matches!(take(store, "r", 1, None, DAY).await, UploadTaken::Unknown));
    assert_eq!(store.upload_expire(at(DAY), at(DAY), 10).await.expect("a pass"), 1);
    assert!(store.deletion_claim(at(DAY), 10).await.expect("a claim").is_empty(), "the key is the blob's");
}

pub(super) async fn a_commit_with_an_unused_object_dooms_it(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "unused", 0).await;
    let inline = NewBlob { location: BlobLocation::Inline(Bytes::from_static(b"b")), ..new_blob("b", 0) };
    assert!(commit(store, &hold, &inline).await);
    let doomed = store.deletion_claim(at(1), 10).await.expect("a claim");
    assert_eq!(doomed.len(), 1);
    assert_eq!((&doomed[0].key, &doomed[0].driver_state), (&key("unused"), &Some(DriverState::default())));
}

pub(super) async fn dropping_and_cancelling_doom_the_key(store: &dyn MetadataStore) {
    let hold = intended(store, "r", 1, "dropped", 0).await;
    assert!(save(store, &hold, checkpoint(10, 10, b"", 1)).await);
    assert!(store.upload_drop(&hold, ending(1, 100)).await.expect("an answer"));
    intended(store, "r", 2, "cancelled", 0).await;
    assert!(store.upload_cancel(&repo("r"), &upload_id(2), None, ending(1, 100)).await.expect("an answer"));
    assert!(!store.upload_cancel(&repo("r"), &upload_id(2), None, ending(1, 100)).await.expect("an answer"));
    assert!(matches!(take(store, "r", 1, None, 2).await, UploadTaken::Unknown));
    assert!(store.deletion_claim(at(99), 10).await.expect("a claim").is_empty(), "late writes may still come");
    let mut doomed = store.deletion_claim(at(100), 10).await.expect("a claim");
    doomed.sort_by_key(|deletion| deletion.size);
    let keys: Vec<_> = doomed.iter().map(|deletion| deletion.key.clone()).collect();
    assert_eq!(keys, [key("cancelled"), key("dropped")]);
    assert_eq!(doomed[0].driver_state, Some(DriverState::default()));
    assert_eq!((&doomed[1].driver_state, doomed[1].size), (&Some(DriverState(vec![10])), 10));
}

pub(super) async fn a_session_without_key_leaves_nothing(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    assert!(store.upload_cancel(&repo("r"), &upload_id(1), None, ending(1, 1)).await.expect("an answer"));
    assert!(store.deletion_claim(at(1), 10).await.expect("a claim").is_empty());
}

pub(super) async fn expiry_ends_a_batch(store: &dyn MetadataStore) {
    for n in 1..=3 {
        intended(store, "r", n, &format!("object {n}"), i64::from(n)).await;
    }
    intended(store, "r", 4, "young", 500).await;
    assert_eq!(store.upload_expire(at(DAY + 10), at(DAY + 20), 2).await.expect("a pass"), 2);
    assert_eq!(store.upload_expire(at(DAY + 10), at(DAY + 20), 2).await.expect("a pass"), 1);
    assert_eq!(store.upload_expire(at(DAY + 10), at(DAY + 20), 2).await.expect("a pass"), 0);
    assert_eq!(store.deletion_claim(at(DAY + 19), 10).await.expect("a claim"), []);
    assert_eq!(store.deletion_claim(at(DAY + 20), 10).await.expect("a claim").len(), 3);
    assert!(store.upload_find(&repo("r"), &upload_id(4), at(DAY + 10)).await.expect("a look").is_some());
}

fn beginning(tail: &'static [u8]) -> UploadTake {
    let begin = NewUpload { tail: Bytes::from_static(tail), hash_state: vec![7], ..new_upload() };
    UploadTake { key: Some(key("object")), begin: Some(begin), ..wish(Some(0), 0) }
}

fn whole(text: &str, begin: Option<NewUpload>) -> UploadPut {
    let location = BlobLocation::Inline(Bytes::copy_from_slice(text.as_bytes()));
    let blob = NewBlob { location, ..new_blob(text, 1) };
    UploadPut { principal: new_upload().principal, begin, blob, keep_until: at(DAY) }
}

async fn put(store: &dyn MetadataStore, n: u8, put: &UploadPut) -> bool {
    store.upload_put(&repo("r"), &upload_id(n), put).await.expect("an answer")
}

pub(super) async fn a_session_begins_with_its_first_writer(store: &dyn MetadataStore) {
    let take = UploadTake { offset: Some(1), ..beginning(b"") };
    let refused = store.upload_take(&repo("r"), &upload_id(1), &take, at(0)).await.expect("a take");
    assert!(matches!(refused, UploadTaken::WrongOffset { received: 0 }), "{refused:?}");
    assert!(store.upload_find(&repo("r"), &upload_id(1), at(0)).await.expect("a look").is_none(), "nothing is written");
    let begun = store.upload_take(&repo("r"), &upload_id(1), &beginning(b"abc"), at(0)).await.expect("a take");
    let UploadTaken::Begun(begun) = begun else { panic!("{begun:?}") };
    assert_eq!((begun.epoch, begun.received, begun.tail.as_ref()), (1, 3, b"abc".as_slice()));
    let found = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    assert_eq!((found.received, found.hash_state, found.object_key), (3, vec![7], Some(key("object"))));
    // The second one finds what the first one left, and its key counts for nothing.
    let other = UploadTake { offset: None, key: Some(key("another")), ..beginning(b"xyz") };
    let taken = store.upload_take(&repo("r"), &upload_id(1), &other, at(1)).await.expect("a take");
    let UploadTaken::Taken(taken) = taken else { panic!("{taken:?}") };
    assert_eq!((taken.epoch, taken.tail.as_ref(), taken.object_key), (2, b"abc".as_slice(), Some(key("object"))));
    assert!(!save(store, &UploadHold { id: upload_id(1), epoch: 1 }, checkpoint(9, 9, b"", 1)).await);
}

/// Whoever did not begin a session changes nothing of it, and does not cut off who did.
pub(super) async fn a_session_is_not_taken_by_others(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    let (hold, _) = taken(store, "r", 1, 1).await;
    let before = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    for principal in [None, Some("other".to_owned())] {
        for offset in [None, Some(0), Some(7)] {
            let take = UploadTake { principal: principal.clone(), key: Some(key("object")), ..wish(offset, 1) };
            let refused = store.upload_take(&repo("r"), &upload_id(1), &take, at(1)).await.expect("a take");
            assert!(matches!(refused, UploadTaken::Unknown), "{refused:?}");
        }
        let whole = UploadPut { principal: principal.clone(), ..whole("b", None) };
        assert!(!put(store, 1, &whole).await);
    }
    let after = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    assert_eq!((after.epoch, &after.state, after.object_key), (before.epoch, &UploadState::Open, None));
    assert!(find(store, "r", "b").await.is_none());
    assert!(save(store, &hold, checkpoint(3, 3, b"", 1)).await, "its holder goes on");
}

pub(super) async fn a_key_can_come_with_the_take(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    let take = UploadTake { key: Some(key("object")), ..wish(None, 1) };
    let taken = store.upload_take(&repo("r"), &upload_id(1), &take, at(1)).await.expect("a take");
    assert!(matches!(taken, UploadTaken::Taken(record) if record.object_key == Some(key("object"))));
    assert_eq!(store.key_known(&[key("object")]).await.expect("a look"), [true]);
}

pub(super) async fn a_session_can_be_one_request(store: &dyn MetadataStore) {
    assert!(!put(store, 1, &whole("b", None)).await, "nobody knows it");
    assert!(put(store, 1, &whole("b", Some(new_upload()))).await);
    let blob = find(store, "r", "b").await.expect("the blob");
    assert_eq!(blob.location, BlobLocation::Inline(Bytes::from_static(b"b")));
    let found = store.upload_find(&repo("r"), &upload_id(1), at(1)).await.expect("a look").expect("the session");
    assert_eq!((found.state, found.received), (UploadState::Committed(digest("b")), 1));
    assert!(!put(store, 1, &whole("c", Some(new_upload()))).await, "it is closed");
    assert!(find(store, "r", "c").await.is_none());
}

pub(super) async fn one_request_ends_a_session_that_holds_nothing_only(store: &dyn MetadataStore) {
    begin(store, "r", 1, 0).await;
    assert!(put(store, 1, &whole("b", None)).await);
    assert!(!save(store, &UploadHold { id: upload_id(1), epoch: 1 }, checkpoint(1, 0, b"x", 1)).await, "it is closed");
    intended(store, "r", 2, "object", 0).await;
    assert!(!put(store, 2, &whole("c", None)).await, "an object is on its way");
    begin(store, "r", 3, 0).await;
    let (hold, _) = taken(store, "r", 3, 1).await;
    assert!(save(store, &hold, checkpoint(1, 0, b"x", 1)).await);
    assert!(!put(store, 3, &whole("c", Some(new_upload()))).await, "it has bytes");
    assert!(find(store, "r", "c").await.is_none());
}

pub(super) async fn a_name_that_ended_begins_no_session(store: &dyn MetadataStore) {
    let begin = new_upload();
    assert!(store.upload_cancel(&repo("r"), &upload_id(1), Some(&begin), ending(0, 0)).await.expect("an answer"));
    assert!(!store.upload_cancel(&repo("r"), &upload_id(1), Some(&begin), ending(0, 0)).await.expect("an answer"));
    let hold = intended(store, "r", 2, "object", 0).await;
    assert!(store.upload_drop(&hold, ending(0, 0)).await.expect("an answer"));
    for n in [1, 2] {
        let taken = store.upload_take(&repo("r"), &upload_id(n), &beginning(b""), at(1)).await.expect("a take");
        assert!(matches!(taken, UploadTaken::Unknown), "{taken:?}");
        assert!(!put(store, n, &whole("b", Some(new_upload()))).await);
        let found = store.upload_find(&repo("r"), &upload_id(n), at(1)).await.expect("a look");
        assert!(matches!(found, Some(record) if record.state == UploadState::Ended));
    }
    assert_eq!(store.upload_count().await.expect("a number"), 0, "neither is open");
    assert_eq!(store.deletion_claim(at(1), 10).await.expect("a claim").len(), 1, "the object goes once");
    assert_eq!(store.upload_expire(at(3600), at(3600), 10).await.expect("a pass"), 2);
    assert_eq!(store.deletion_claim(at(3600 + 60), 10).await.expect("a claim").len(), 1, "and no other");
}
