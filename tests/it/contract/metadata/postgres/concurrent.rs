//! Two nodes doing at the same moment what must not be done at the same moment. Each race is run many times; whichever
//! way it ends, the end must be one that a sequence of the two could have had.

use bonded::metadata::MetadataStore;
use bonded::metadata::model::{
    BlobDeleted, BlobMount, Checkpoint, ManifestDeleted, ManifestStored, Precondition, UploadEnd, UploadHold, UploadId,
    UploadTake, UploadTaken,
};
use bonded::oci::digest::{Algorithm, Hasher};
use bonded::storage::DriverState;
use bytes::Bytes;
use futures_util::future::join_all;

use super::nodes::Nodes;
use crate::contract::metadata::fixtures::{
    DAY, Image, at, at_key, begin, blob_id, damage, delete, digest, ending, find, has, head, intended, key, new_blob,
    new_upload, push_blob, repo, sweep, tag, tagged, take, upload_id, wish,
};
use crate::fixtures::NOBODY;

/// How often each race is run.
const RUNS: usize = 60;

/// The repository of one run.
fn place(run: usize) -> String {
    format!("r{run}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn double_last_delete() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (one, two, blob) = (format!("one{run}"), format!("two{run}"), format!("blob {run}"));
        push_blob(nodes.node(0), &one, &blob, 0).await;
        push_blob(nodes.node(0), &two, &blob, 0).await;
        let (one, two, digest) = (repo(&one), repo(&two), digest(&blob));
        let (a, b) = tokio::join!(
            nodes.node(0).blob_delete(&one, &digest, at(1), &NOBODY),
            nodes.node(1).blob_delete(&two, &digest, at(1), &NOBODY)
        );
        assert!(matches!(
            (a.expect("a delete"), b.expect("a delete")),
            (BlobDeleted::Deleted(_), BlobDeleted::Deleted(_))
        ));
        nodes.check().await;
        assert_eq!(sweep(nodes.node(0), 2).await, [key(&blob)], "the last reference took the object along");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn double_last_end_of_repositories() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (one, two, blobs) = (format!("one{run}"), format!("two{run}"), [format!("x{run}"), format!("y{run}")]);
        for blob in &blobs {
            push_blob(nodes.node(0), &one, blob, 0).await;
            push_blob(nodes.node(0), &two, blob, 0).await;
        }
        let (one, two) = (repo(&one), repo(&two));
        let (a, b) = tokio::join!(
            nodes.node(0).repository_delete(&one, at(1), at(1), &NOBODY),
            nodes.node(1).repository_delete(&two, at(1), at(1), &NOBODY)
        );
        assert!(a.expect("an end").is_some() && b.expect("an end").is_some());
        nodes.check().await;
        assert_eq!(sweep(nodes.node(0), 2).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_reference() {
    let nodes = Nodes::start(2).await;
    let mut stored = 0;
    for run in 0..RUNS {
        let (place, blob) = (place(run), format!("blob {run}"));
        push_blob(nodes.node(0), &place, &blob, 0).await;
        let image = Image::new(&format!("image {run}")).blob(&blob).tag("t");
        let collect = async {
            nodes.node(1).membership_collect(at(2 * DAY), 10).await.expect("a pass");
            nodes.node(1).blob_collect(at(2 * DAY), at(2 * DAY), 10).await.expect("a pass");
        };
        let (put, ()) = tokio::join!(image.put(nodes.node(0), &place, 2 * DAY), collect);
        let found = find(nodes.node(0), &place, &blob).await.is_some();
        match put {
            ManifestStored::Stored => assert!(found, "what a manifest names is there"),
            ManifestStored::Missing(missing) => assert!(missing == [digest(&blob)] && !found),
            other => panic!("{other:?}"),
        }
        stored += usize::from(found);
        nodes.check().await;
    }
    eprintln!("{stored} of {RUNS} manifests came before the collector");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ghost_head() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (place, blob) = (place(run), format!("blob {run}"));
        push_blob(nodes.node(0), &place, &blob, 0).await;
        let collect = async {
            nodes.node(1).membership_collect(at(2 * DAY), 10).await.expect("a pass");
            nodes.node(1).blob_collect(at(2 * DAY), at(2 * DAY), 10).await.expect("a pass");
        };
        let (seen, ()) = tokio::join!(head(nodes.node(0), &place, &blob, 2 * DAY), collect);
        nodes.node(1).membership_collect(at(2 * DAY), 10).await.expect("a pass");
        assert_eq!(find(nodes.node(0), &place, &blob).await, seen, "whoever was told that it is there may rely on it");
        if seen.is_some() {
            let image = Image::new(&format!("image {run}")).blob(&blob);
            assert_eq!(image.put(nodes.node(0), &place, 2 * DAY + 1).await, ManifestStored::Stored);
        }
        nodes.check().await;
    }
}

/// Many make one tag under a condition that only one of them can meet, in a repository that nobody has made yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tag_has_one_maker() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let place = place(run);
        let images = (0..6).map(|n| Image::new(&format!("image {n}")).tag("v1").when(Precondition::Absent));
        let images: Vec<Image> = images.collect();
        let puts = join_all(images.iter().enumerate().map(|(n, image)| image.put(nodes.node(n), &place, 1))).await;
        let stored: Vec<usize> =
            puts.iter().enumerate().filter(|(_, put)| **put == ManifestStored::Stored).map(|(n, _)| n).collect();
        assert_eq!(stored.len(), 1, "{puts:?}");
        assert!(puts.iter().filter(|put| **put == ManifestStored::PreconditionFailed).count() == 5, "{puts:?}");
        assert_eq!(tagged(nodes.node(0), &place, "v1").await, Some(format!("image {}", stored[0])));
    }
    nodes.check().await;
    let living = "SELECT count(*) FROM repositories WHERE deleted_at IS NULL";
    assert_eq!(nodes.count(living).await, i64::try_from(RUNS).expect("a small number"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immutable_tag_is_set_once() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let place = place(run);
        if run % 2 == 0 {
            Image::new("before").push(nodes.node(0), &place, 0).await;
        }
        let images: Vec<Image> =
            (0..6).map(|n| Image::new(&format!("image {n}")).tag("v1").immutable("**:v*")).collect();
        let puts = join_all(images.iter().enumerate().map(|(n, image)| image.put(nodes.node(n), &place, 1))).await;
        assert_eq!(puts.iter().filter(|put| **put == ManifestStored::Stored).count(), 1, "{puts:?}");
        assert_eq!(puts.iter().filter(|put| **put == ManifestStored::Immutable(tag("v1"))).count(), 5, "{puts:?}");
    }
    nodes.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_moves_only_from_where_it_was_seen() {
    let nodes = Nodes::start(3).await;
    Image::new("seen").tag("t").push(nodes.node(0), "r", 0).await;
    let mut current = "seen".to_owned();
    for run in 0..RUNS {
        let images: Vec<Image> = (0..4)
            .map(|n| {
                let seen = Precondition::AnyOf(vec![digest(&current)]);
                Image::new(&format!("image {run} {n}")).tag("t").when(seen)
            })
            .collect();
        let puts = join_all(images.iter().enumerate().map(|(n, image)| image.put(nodes.node(n), "r", 1))).await;
        let winner = puts.iter().position(|put| *put == ManifestStored::Stored).expect("one of them");
        assert_eq!(puts.iter().filter(|put| **put == ManifestStored::PreconditionFailed).count(), 3, "{puts:?}");
        current = format!("image {run} {winner}");
        assert_eq!(tagged(nodes.node(run), "r", "t").await.as_ref(), Some(&current));
    }
    nodes.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_ends_while_others_push_to_it() {
    let nodes = Nodes::start(3).await;
    let name = repo("r");
    for run in 0..RUNS {
        push_blob(nodes.node(0), "r", "kept", 0).await;
        let hold =
            intended(nodes.node(0), "r", u8::try_from(run).expect("few runs"), &format!("object {run}"), 0).await;
        let committed = at_key(&format!("committed {run}"), &key(&format!("object {run}")), 1);
        let (image, blob) = (Image::new(&format!("image {run}")).tag("t"), format!("blob {run}"));
        let ((), _, ended, commit) = tokio::join!(
            push_blob(nodes.node(0), "r", &blob, 1),
            image.put(nodes.node(1), "r", 1),
            nodes.node(2).repository_delete(&name, at(1), at(1), &NOBODY),
            nodes.node(0).upload_commit(&hold, &committed, at(DAY)),
        );
        assert!(ended.expect("an end").is_some());
        let there = find(nodes.node(0), "r", &format!("committed {run}")).await.is_some();
        assert!(!there || commit.expect("an answer"), "what was refused is not there");
        nodes.check().await;
        let living = "SELECT count(*) FROM repositories WHERE deleted_at IS NULL AND path = 'r'";
        assert!(nodes.count(living).await <= 1);
    }
}

/// A manifest that may wait for its blob, and the blob, in either order: the edge must not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_and_the_sparse_manifest_that_waits_for_it() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (place, blob) = (place(run / 2), format!("blob {run}"));
        let image = Image::new(&format!("image {run}"));
        let image = if run % 2 == 0 { image.blob(&blob).sparse() } else { image.foreign(&blob) };
        let (put, ()) = tokio::join!(image.put(nodes.node(0), &place, 1), push_blob(nodes.node(1), &place, &blob, 1));
        assert_eq!(put, ManifestStored::Stored);
        nodes.check().await;
    }
    assert_eq!(nodes.count("SELECT count(*) FROM manifest_blobs WHERE blob_id IS NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_and_the_sparse_index_that_waits_for_it() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (place, name) = (place(run / 2), format!("child {run}"));
        let (index, child) = (Image::new(&format!("index {run}")).child(&name).sparse(), Image::new(&name));
        let (one, two) = tokio::join!(index.put(nodes.node(0), &place, 1), child.put(nodes.node(1), &place, 1));
        assert_eq!((one, two), (ManifestStored::Stored, ManifestStored::Stored));
        nodes.check().await;
    }
    let waiting = "SELECT (SELECT count(*) FROM manifest_children WHERE child_id IS NULL) \
        + (SELECT count(*) FROM manifest_blobs WHERE blob_id IS NULL)";
    assert_eq!(nodes.count(waiting).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_and_the_end_of_its_child() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (place, name) = (place(run), format!("child {run}"));
        Image::new(&name).push(nodes.node(0), &place, 0).await;
        let index = Image::new(&format!("index {run}")).child(&name);
        let (put, deleted) = tokio::join!(index.put(nodes.node(0), &place, 1), delete(nodes.node(1), &place, &name, 1));
        match (&put, &deleted) {
            (ManifestStored::Stored, ManifestDeleted::Referenced(_)) => {
                assert!(has(nodes.node(0), &place, &name).await);
            }
            (ManifestStored::Missing(_), ManifestDeleted::Deleted(_)) => {}
            _ => panic!("{put:?} {deleted:?}"),
        }
    }
    nodes.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_and_the_delete_of_its_blob() {
    let nodes = Nodes::start(2).await;
    for run in 0..RUNS {
        let (place, blob) = (place(run), format!("blob {run}"));
        push_blob(nodes.node(0), &place, &blob, 0).await;
        let image = Image::new(&format!("image {run}")).blob(&blob);
        let (name, digest) = (repo(&place), digest(&blob));
        let (put, deleted) = tokio::join!(
            image.put(nodes.node(0), &place, 1),
            nodes.node(1).blob_delete(&name, &digest, at(1), &NOBODY)
        );
        let deleted = deleted.expect("an answer");
        match (&put, &deleted) {
            (ManifestStored::Stored, BlobDeleted::Referenced(_))
            | (ManifestStored::Missing(_), BlobDeleted::Deleted(_)) => {}
            _ => panic!("{put:?} {deleted:?}"),
        }
    }
    nodes.check().await;
}

/// An edge is filled by a commit while the blob's membership is deleted: not an error, whoever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filled_edge_and_the_delete_of_its_blob() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let (place, blob) = (place(run), format!("blob {run}"));
        push_blob(nodes.node(0), &place, &blob, 0).await;
        let image = Image::new(&format!("image {run}")).foreign(&blob);
        let (name, digest) = (repo(&place), digest(&blob));
        let (_, deleted, ()) = tokio::join!(
            image.put(nodes.node(0), &place, 1),
            nodes.node(1).blob_delete(&name, &digest, at(1), &NOBODY),
            push_blob(nodes.node(2), &place, &blob, 1),
        );
        deleted.expect("an answer");
        nodes.check().await;
    }
}

/// The last two manifests that name a blob go at once, while a third one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_names_of_a_blob() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let (place, blob) = (place(run), format!("blob {run}"));
        for name in ["one", "two"] {
            Image::new(name).blob(&blob).push(nodes.node(0), &place, 0).await;
        }
        let third = Image::new("three").blob(&blob);
        let (_, _, put) = tokio::join!(
            delete(nodes.node(0), &place, "one", 1),
            delete(nodes.node(1), &place, "two", 1),
            third.put(nodes.node(2), &place, 1),
        );
        assert_eq!(put, ManifestStored::Stored);
        nodes.check().await;
        delete(nodes.node(0), &place, "three", 2).await;
        assert_eq!(sweep(nodes.node(1), 2 * DAY).await, [key(&blob)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takers_of_one_session() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let n = u8::try_from(run).expect("few runs");
        begin(nodes.node(0), "r", n, 0).await;
        let takes = join_all((0..6).map(|at| take(nodes.node(at), "r", n, Some(0), 1))).await;
        let mut epochs: Vec<i64> = takes
            .iter()
            .map(|taken| match taken {
                UploadTaken::Taken(record) => record.epoch,
                other => panic!("{other:?}"),
            })
            .collect();
        epochs.sort_unstable();
        assert_eq!(epochs, [2, 3, 4, 5, 6, 7], "each take is one of its own");
        let holds: Vec<UploadHold> =
            epochs.iter().map(|epoch| UploadHold { id: upload_id(n), epoch: *epoch }).collect();
        let progress = Checkpoint {
            received: 3,
            driver_state: DriverState::default(),
            hash_state: Hasher::new(Algorithm::Sha256).save(),
            tail_start: 0,
            tail_new: Bytes::from_static(b"abc"),
            expires_at: at(DAY),
        };
        let writes =
            join_all(holds.iter().enumerate().map(|(n, hold)| nodes.node(n).upload_checkpoint(hold, &progress))).await;
        let written: Vec<bool> = writes.into_iter().map(|write| write.expect("an answer")).collect();
        assert_eq!(written, [false, false, false, false, false, true], "only the newest holder writes");
    }
}

/// One session, committed, cancelled, swept and taken at once: one of them ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_against_cancel_and_expiry() {
    let nodes = Nodes::start(3).await;
    let name = repo("r");
    for run in 0..RUNS {
        let (n, text) = (u8::try_from(run).expect("few runs"), format!("blob {run}"));
        let hold = intended(nodes.node(0), "r", n, &text, 0).await;
        let (blob, id) = (new_blob(&text, 1), upload_id(n));
        let (commit, cancel, expired) = tokio::join!(
            nodes.node(0).upload_commit(&hold, &blob, at(3 * DAY)),
            nodes.node(1).upload_cancel(&name, &id, None, UploadEnd { keep_until: at(3 * DAY), ..ending(1, 1) }),
            nodes.node(2).upload_expire(at(2 * DAY), at(1), 10),
        );
        let committed = commit.expect("an answer");
        let others = u64::from(cancel.expect("an answer")) + expired.expect("a pass");
        assert_eq!(u64::from(committed) + others, 1, "one of them has ended the session");
        assert_eq!(find(nodes.node(0), "r", &text).await.is_some(), committed);
        nodes.check().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commits_of_one_digest() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS / 2 {
        let text = format!("blob {run}");
        // An orphan of the same digest, which a collector is about to take.
        push_blob(nodes.node(0), "old", &text, 0).await;
        let (old, digest) = (repo("old"), digest(&text));
        nodes.node(0).blob_delete(&old, &digest, at(1), &NOBODY).await.expect("a delete");
        let mut holds = Vec::new();
        for n in 0..6_u8 {
            let id = UploadId::from_bytes([
                u8::try_from(run).expect("few runs"),
                n,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                1,
            ]);
            let place = repo(&format!("r{}", n % 3));
            let object = key(&format!("object {run} {n}"));
            let take = UploadTake { key: Some(object.clone()), begin: Some(new_upload()), ..wish(None, 0) };
            nodes.node(0).upload_take(&place, &id, &take, at(1)).await.expect("a take");
            let hold = UploadHold { id, epoch: 1 };
            holds.push((hold, at_key(&text, &object, 2)));
        }
        let commits = join_all(
            holds.iter().enumerate().map(|(n, (hold, blob))| nodes.node(n).upload_commit(hold, blob, at(DAY))),
        );
        let (commits, _) = tokio::join!(commits, nodes.node(1).blob_collect(at(2), at(2), 10));
        assert!(commits.into_iter().all(|commit| commit.expect("an answer")));
        nodes.check().await;
        let kept = nodes.node(0).blob_keys(&[blob_id(nodes.node(0), "r0", &text).await]).await.expect("keys");
        let gone = sweep(nodes.node(0), 3).await;
        assert_eq!(gone.len(), 6, "of seven objects one is kept");
        assert!(!gone.contains(&kept[0]));
    }
}

/// Many pushes heal a damaged blob at once: one object takes its place, every other one goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_heal_one_blob() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS / 2 {
        let text = format!("blob {run}");
        push_blob(nodes.node(0), "r0", &text, 0).await;
        let id = blob_id(nodes.node(0), "r0", &text).await;
        nodes.node(0).blob_damage(&damage(id, &key(&text), 1)).await.expect("a mark");
        let pushes = (0..6).map(|n| {
            let (place, blob) = (repo(&format!("r{}", n % 3)), at_key(&text, &key(&format!("object {run} {n}")), 2));
            let node = nodes.owned(n);
            async move { node.blob_put(&place, &blob).await.expect("a blob") }
        });
        join_all(pushes).await;
        let healed = find(nodes.node(0), "r1", &text).await.expect("the blob");
        assert_eq!(healed.damaged_at, None);
        nodes.check().await;
        let kept = nodes.node(0).blob_keys(&[id]).await.expect("keys");
        let gone = sweep(nodes.node(0), 3).await;
        assert_eq!(gone.len(), 6, "of seven objects one is kept");
        assert!(!gone.contains(&kept[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_against_the_end_of_its_source() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let (from, to, blob) = (format!("from{run}"), format!("to{run}"), format!("blob {run}"));
        push_blob(nodes.node(0), &from, &blob, 0).await;
        let mount = BlobMount {
            to: repo(&to),
            from: (run % 2 == 0).then(|| repo(&from)),
            digest: digest(&blob),
            now: at(1),
            lease_until: at(DAY),
        };
        let source = repo(&from);
        let end = async {
            nodes.node(1).blob_delete(&source, &mount.digest, at(1), &NOBODY).await.expect("a delete");
            nodes.node(1).blob_collect(at(1), at(1), 10).await.expect("a pass");
        };
        let (mounted, (), _) =
            tokio::join!(nodes.node(0).blob_mount(&mount), end, nodes.node(2).blob_collect(at(1), at(1), 10));
        let mounted = mounted.expect("a mount").is_some();
        assert_eq!(find(nodes.node(2), &to, &blob).await.is_some(), mounted);
        sweep(nodes.node(2), 1).await;
        assert_eq!(find(nodes.node(2), &to, &blob).await.is_some(), mounted);
        nodes.check().await;
    }
}

/// A subject comes back, a referrer of it is tagged or pushed again, and the collector is after the referrer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referrer_in_demand_against_collection() {
    let nodes = Nodes::start(3).await;
    for run in 0..RUNS {
        let place = place(run);
        Image::new("subject").push(nodes.node(0), &place, 0).await;
        let signature = || Image::new("signature").subject("subject");
        signature().push(nodes.node(0), &place, 0).await;
        delete(nodes.node(0), &place, "subject", 1).await;
        let (subject, tagging) = (Image::new("subject"), signature().tag("kept"));
        let (back, stored, passed) = tokio::join!(
            subject.put(nodes.node(0), &place, 2 * DAY),
            tagging.put(nodes.node(1), &place, 2 * DAY),
            nodes.node(2).manifest_collect(at(2 * DAY), 10),
        );
        passed.expect("a pass");
        assert_eq!((back, stored), (ManifestStored::Stored, ManifestStored::Stored));
        nodes.check().await;
        sweep(nodes.node(0), 3 * DAY).await;
        assert_eq!(tagged(nodes.node(2), &place, "kept").await.as_deref(), Some("signature"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_collectors() {
    let nodes = Nodes::start(3).await;
    for n in 0..90 {
        push_blob(nodes.node(0), &place(n % 7), &format!("blob {}", n % 30), 0).await;
    }
    let members = nodes.count("SELECT count(*) FROM repo_blobs").await;
    let rounds = join_all((0..40).map(|n| {
        let node = nodes.owned(n);
        async move {
            let ended = node.membership_collect(at(DAY), 5).await.expect("a pass").rows;
            let doomed = node.blob_collect(at(DAY), at(DAY), 5).await.expect("a pass").rows;
            let claimed = node.deletion_claim(at(DAY), 5).await.expect("a claim").len();
            (ended, doomed, claimed)
        }
    }))
    .await;
    assert_eq!(rounds.iter().map(|round| round.0).sum::<u64>(), members.unsigned_abs());
    assert_eq!(rounds.iter().map(|round| round.1).sum::<u64>(), 30);
    let rest = nodes.node(0).deletion_claim(at(DAY), 100).await.expect("a claim").len();
    assert_eq!(rounds.iter().map(|round| round.2).sum::<usize>() + rest, 30, "no object is handed out twice");
    nodes.check().await;
}
