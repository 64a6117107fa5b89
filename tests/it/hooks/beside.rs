//! Webhooks that come, change and go while others push, on both databases.

use bonded::hooks::WebhookWish;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::webhooks::HookEvents;
use futures_util::future::{join, join_all, join3};
use reqwest::StatusCode;
use serde_json::json;

use super::events::push;
use super::receiver::Receiver;
use crate::access::{Town, with};
use crate::app::{TestApp, expect, on_both_places};

on_both_places! {
    no_push_fails_while_webhooks_come_change_and_go
    what_was_removed_gets_what_is_in_flight_at_most
    what_rests_gets_what_is_in_flight_at_most
}

/// How often things happen beside each other.
const ROUNDS: usize = 6;

/// The webhooks of a namespace, each with a path of its own at one receiver.
struct Beside {
    town: Town,
    receiver: Receiver,
    token: String,
}

impl Beside {
    async fn new(app: TestApp) -> Self {
        let town = Town::found(app).await;
        let token = town.token("manager", &[]).await;
        Self { receiver: Receiver::start().await, town, token }
    }

    async fn add(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.receiver.address);
        let wish = WebhookWish { url, events: HookEvents::ALL, secret: None };
        let namespace = "closed".parse().expect("a path");
        self.town.app.hooks.add(&namespace, wish, &Actor::command_line()).await.expect("a webhook").id
    }

    async fn activate(&self, id: &str, active: bool) {
        let patch = self.town.app.patch(&format!("/api/v1/namespaces/closed/webhooks/{id}"));
        let patch = with(patch, Some(&self.token)).body(json!({"active": active}).to_string());
        expect(patch, StatusCode::NO_CONTENT).await;
    }

    async fn remove(&self, id: &str) {
        let delete = self.town.app.delete(&format!("/api/v1/namespaces/closed/webhooks/{id}"));
        expect(with(delete, Some(&self.token)), StatusCode::NO_CONTENT).await;
    }

    /// Pushes images at once, which must come in, each with a tag of its own.
    async fn push(&self, round: usize, images: usize) {
        let one = |n: usize| async move {
            let (tag, layer) = (format!("t{n}"), format!("layer {round} {n}"));
            let (status, _) = push(&self.town, &self.token, "closed/app", &tag, layer.as_bytes()).await;
            assert_eq!(status, StatusCode::CREATED, "round {round}, image {n}");
        };
        join_all((0..images).map(one)).await;
    }

    async fn deliver(&self) {
        self.town.app.hooks.deliver_due().await.expect("a run");
    }

    /// How many requests came to a path since this was asked last, for any path.
    fn came(&self, path: &str) -> usize {
        self.receiver.take().iter().filter(|request| request.path == path).count()
    }
}

async fn no_push_fails_while_webhooks_come_change_and_go(app: TestApp) {
    let beside = Beside::new(app).await;
    let stays = beside.add("/stays").await;
    for round in 0..ROUNDS {
        let path = format!("/goes-{round}");
        let change = async {
            let id = beside.add(&path).await;
            beside.activate(&id, false).await;
            beside.activate(&stays, round % 2 == 0).await;
            beside.activate(&id, true).await;
            beside.remove(&id).await;
        };
        join3(beside.push(round, 3), change, beside.deliver()).await;
    }
    beside.activate(&stays, true).await;
    beside.deliver().await;
    beside.receiver.take();
    beside.push(ROUNDS, 2).await;
    beside.deliver().await;
    let paths: Vec<String> = beside.receiver.take().into_iter().map(|request| request.path).collect();
    // Each image is new, and its tag moves to it.
    assert_eq!(paths, ["/stays"; 4], "nobody else is there any more");
}

/// Delivers until something has come to a path, ends it there, and gives how many more requests came after that.
async fn ended_in_the_middle(beside: &Beside, path: &str, end: impl Future<Output = ()>) -> usize {
    let ended = async {
        while beside.came(path) == 0 {
            tokio::task::yield_now().await;
        }
        end.await;
        beside.receiver.take();
    };
    join(beside.deliver(), ended).await;
    beside.came(path)
}

async fn what_was_removed_gets_what_is_in_flight_at_most(app: TestApp) {
    let beside = Beside::new(app).await;
    for round in 0..ROUNDS {
        let path = format!("/goes-{round}");
        let id = beside.add(&path).await;
        beside.push(round, 4).await;
        let later = ended_in_the_middle(&beside, &path, beside.remove(&id)).await;
        assert!(later <= 1, "one request at a time goes to a webhook, and {later} came after its end");
        beside.push(round + 100, 2).await;
        beside.deliver().await;
        assert_eq!(beside.came(&path), 0, "round {round}");
    }
    let namespace = "closed".parse().expect("a path");
    let deliveries = beside.town.app.hooks.deliveries(&namespace, false, None, 100).await.expect("a list");
    assert!(deliveries.is_empty(), "what was on its way to them went with them: {deliveries:?}");
}

async fn what_rests_gets_what_is_in_flight_at_most(app: TestApp) {
    let beside = Beside::new(app).await;
    let id = beside.add("/rests").await;
    for round in 0..ROUNDS {
        beside.push(round, 4).await;
        let later = ended_in_the_middle(&beside, "/rests", beside.activate(&id, false)).await;
        assert!(later <= 1, "one request at a time goes to a webhook, and {later} came while it rested");
        beside.push(round + 100, 2).await;
        beside.deliver().await;
        assert_eq!(beside.came("/rests"), 0, "nothing is added while it rests");
        beside.activate(&id, true).await;
        beside.deliver().await;
        beside.receiver.take();
    }
}
