//! Webhooks, from what happens to the one who is told.

mod api;
mod beside;
mod cli;
mod events;
pub(crate) mod receiver;

use std::sync::Arc;
use std::time::Duration;

use bonded::access::{ClientLimits, NamespacePath};
use bonded::audit::Audit;
use bonded::auth::seal::Secret;
use bonded::auth::{Auth, AuthOptions, Issuers};
use bonded::clock::{Clock, ManualClock, SeededEntropy, Timestamp};
use bonded::hooks::{HookError, HookOptions, Hooks, Networks, WebhookMade, WebhookWish};
use bonded::http::fetch::HttpFetch;
use bonded::metadata::accounts::AccountStore;
use bonded::metadata::audit::AuditStore;
use bonded::metadata::model::accounts::{Actor, NamespaceAdded, NamespaceRecord};
use bonded::metadata::model::webhooks::{DeliveryRecord, DeliveryState, HookEvents};
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use bonded::metadata::webhooks::WebhookStore;
use secrecy::SecretString;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};
use tempfile::TempDir;

use crate::postgres::Database;
use receiver::{Receiver, Reply};

/// The secret of every webhook here.
const SECRET: &str = "whsec_Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";

fn team() -> NamespacePath {
    "team".parse().expect("a path")
}

/// Webhooks over a database of their own, with a namespace `team`, at a time that moves only when told to.
struct Scene {
    clock: Arc<ManualClock>,
    hooks: Arc<Hooks>,
    store: Arc<dyn WebhookStore>,
    auth: Arc<Auth>,
    folder: TempDir,
}

fn options(networks: &[&str]) -> HookOptions {
    let networks = Networks::parse(networks).expect("networks");
    HookOptions { networks, ..HookOptions::default() }
}

async fn auth_over<S>(store: &Arc<S>, clock: &Arc<ManualClock>, secret: Option<u8>) -> Arc<Auth>
where
    S: AccountStore + AuditStore + 'static,
{
    let secret = secret.map(|byte| Secret::new(&[byte; 32]).expect("a secret"));
    let options = AuthOptions {
        service: "bonded.test".to_owned(),
        secret,
        open: false,
        limits: ClientLimits::default(),
        buckets: None,
        issuers: Issuers::new(Vec::new(), Arc::new(HttpFetch::default())),
    };
    let times: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let entropy = Arc::new(SeededEntropy::new(3));
    let audit = Arc::new(Audit::new(Arc::<S>::clone(store), Arc::clone(&times), entropy.as_ref()));
    let auth = Auth::open(Arc::<S>::clone(store), audit, times, entropy, options).await;
    Arc::new(auth.expect("accounts"))
}

async fn found_team(auth: &Auth) {
    let by = Actor::command_line();
    auth.add_user(&"ann".parse().expect("a name"), None, None, true, &by).await.expect("an account");
    let new = NamespaceRecord { path: team(), public: false, created_at: auth.now() };
    let added = auth.accounts().namespace_add(&new, &"ann".parse().expect("a name"), &by).await.expect("an answer");
    assert_eq!(added, NamespaceAdded::Added);
}

impl Scene {
    async fn build() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = SqliteOptions::new(folder.path().join("bonded.db"));
        let store = Arc::new(SqliteStore::open(&database).await.expect("a database"));
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_793_491_200_000_000)));
        let auth = auth_over(&store, &clock, Some(b's')).await;
        found_team(&auth).await;
        let hooks = hooks(
            &(Arc::<SqliteStore>::clone(&store) as Arc<dyn WebhookStore>),
            &auth,
            &clock,
            options(&["127.0.0.0/8"]),
        );
        Self { clock, hooks, store, auth, folder }
    }

    /// The same database as it is served under another configuration.
    fn configured(&self, options: HookOptions) -> Arc<Hooks> {
        hooks(&self.store, &self.auth, &self.clock, options)
    }

    async fn add(&self, url: &str) -> String {
        made(&self.hooks, url).await.expect("a webhook").id
    }

    async fn send_test(&self, id: &str) -> i64 {
        self.hooks.test(&team(), id, &Actor::command_line()).await.expect("a delivery")
    }

    async fn deliver(&self) -> usize {
        self.hooks.deliver_due().await.expect("a run")
    }

    async fn delivery(&self, id: i64) -> DeliveryRecord {
        let listed = self.hooks.deliveries(&team(), false, None, 1000).await.expect("a list");
        listed.into_iter().find(|delivery| delivery.id == id).expect("the delivery")
    }
}

fn hooks(
    store: &Arc<dyn WebhookStore>,
    auth: &Arc<Auth>,
    clock: &Arc<ManualClock>,
    options: HookOptions,
) -> Arc<Hooks> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    Arc::new(Hooks::new(Arc::clone(store), Arc::clone(auth), clock, Arc::new(SeededEntropy::new(5)), options))
}

async fn made(hooks: &Hooks, url: &str) -> Result<WebhookMade, HookError> {
    let secret = Some(SecretString::from(SECRET));
    let wish = WebhookWish { url: url.to_owned(), events: HookEvents::ALL, secret };
    hooks.add(&team(), wish, &Actor::command_line()).await
}

fn is_dead(delivery: &DeliveryRecord) -> bool {
    matches!(delivery.state, DeliveryState::Dead(_))
}

#[tokio::test]
async fn a_delivery_is_a_signed_cloud_event() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let id = scene.add(&receiver.url()).await;
    let delivery = scene.send_test(&id).await;
    assert_eq!(scene.deliver().await, 1);
    let received = receiver.take();
    assert_eq!((received.len(), received[0].path.as_str()), (1, "/in?key=k"));
    let (request, event) = (&received[0], received[0].event());
    assert_eq!(request.header("content-type"), "application/cloudevents+json");
    assert_eq!(request.header("webhook-timestamp"), "1793491200");
    assert!(request.is_signed(SECRET) && !request.is_signed("whsec_YW5vdGhlcg=="));
    let record = scene.delivery(delivery).await;
    assert_eq!(request.header("webhook-id"), record.event_id);
    assert_eq!(event["id"].as_str(), Some(record.event_id.as_str()));
    for (name, value) in [
        ("specversion", "1.0"),
        ("source", "bonded"),
        ("type", "dev.bonded.webhook.test.v1"),
        ("subject", "team"),
        ("time", "2026-11-01T00:00:00Z"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(event[name].as_str(), Some(value), "{name}");
    }
    assert_eq!(event["data"]["webhook"].as_str(), Some(id.as_str()));
    assert_eq!((record.state, record.last_status), (DeliveryState::Delivered(scene.clock.now()), Some(204)));
    assert_eq!(scene.deliver().await, 0, "once");
}

#[tokio::test]
async fn what_fails_comes_again_later_and_is_the_same_event() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let id = scene.add(&receiver.url()).await;
    let delivery = scene.send_test(&id).await;
    receiver.reply(Reply::Status(500));
    assert_eq!(scene.deliver().await, 1);
    assert_eq!(scene.deliver().await, 0);
    scene.clock.advance(Duration::from_secs(9));
    assert_eq!(scene.deliver().await, 0, "ten seconds at least");
    scene.clock.advance(Duration::from_secs(4));
    receiver.reply(Reply::Redirect);
    assert_eq!(scene.deliver().await, 1);
    let record = scene.delivery(delivery).await;
    assert_eq!((record.attempts, record.last_status), (2, Some(307)));
    assert!(record.last_error.expect("a reason").contains("redirects are not followed"));
    scene.clock.advance(Duration::from_secs(25));
    receiver.reply(Reply::Endless);
    assert_eq!(scene.deliver().await, 1, "of a long answer only the beginning is read");
    let received = receiver.take();
    assert_eq!(received.len(), 3, "a redirect leads nowhere");
    assert!(received.iter().all(|request| request.body == received[0].body && request.path == "/in?key=k"));
    assert_ne!(received[0].header("webhook-signature"), received[1].header("webhook-signature"), "signed anew");
    assert!(received.iter().all(|request| request.is_signed(SECRET)));
    assert!(matches!(scene.delivery(delivery).await.state, DeliveryState::Delivered(_)));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_asked_again() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let silent = scene.add(&receiver.url()).await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let absent = scene.add(&format!("http://{closed}/secret-path")).await;
    receiver.reply(Reply::Never);
    let deliveries = [scene.send_test(&silent).await, scene.send_test(&absent).await];
    let impatient = HookOptions { answer_time_max: Duration::from_millis(100), ..options(&["127.0.0.0/8"]) };
    assert_eq!(scene.configured(impatient).deliver_due().await.expect("a run"), 2);
    for (id, why) in deliveries.into_iter().zip(["there was no answer within 0.1 s", "onnect"]) {
        let record = scene.delivery(id).await;
        let reason = record.last_error.expect("a reason");
        assert!(reason.contains(why) && !reason.contains("secret-path"), "{reason}");
        assert!(matches!(record.state, DeliveryState::Waiting(_)) && record.last_status.is_none());
    }
    receiver.reply(Reply::Status(200));
    scene.clock.advance(Duration::from_secs(13));
    assert_eq!(scene.deliver().await, 2);
    assert!(matches!(scene.delivery(deliveries[0]).await.state, DeliveryState::Delivered(_)));
}

/// What is under way is brought to its end, whatever becomes of what is sent beside it.
#[tokio::test]
async fn a_delivery_that_cannot_be_settled_stops_no_other() {
    let (scene, quick, silent) = (Scene::build().await, Receiver::start().await, Receiver::start().await);
    let (first, second) = (scene.add(&quick.url()).await, scene.add(&silent.url()).await);
    silent.reply(Reply::Never);
    let (first, second) = (scene.send_test(&first).await, scene.send_test(&second).await);
    let database = SqliteConnectOptions::new().filename(scene.folder.path().join("bonded.db"));
    let mut conn = database.connect().await.expect("a connection");
    conn.execute(
        "CREATE TRIGGER not_now BEFORE UPDATE ON outbox WHEN NEW.done_at IS NOT NULL \
         BEGIN SELECT RAISE(ABORT, 'not now'); END",
    )
    .await
    .expect("a trigger");
    let impatient = HookOptions { answer_time_max: Duration::from_millis(300), ..options(&["127.0.0.0/8"]) };
    assert!(scene.configured(impatient).deliver_due().await.is_err(), "it is said that one could not be settled");
    assert!(scene.delivery(first).await.last_status.is_none());
    let record = scene.delivery(second).await;
    assert!(record.last_error.expect("a reason").contains("no answer"));
}

/// A server that stops tells what it has counted in the minute that is not over.
#[tokio::test]
async fn refusals_of_the_last_minute_are_not_lost() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    scene.add(&receiver.url()).await;
    let by = Actor { name: Some("bob".to_owned()), ..Actor::default() };
    scene.hooks.denied(&"team/app".parse().expect("a name"), "push", &by);
    scene.hooks.tell_denials(false).await.expect("told");
    assert_eq!(scene.deliver().await, 0);
    scene.hooks.tell_denials(true).await.expect("told");
    assert_eq!(scene.deliver().await, 1);
    assert_eq!(receiver.take()[0].event()["data"]["actor"], "bob");
}

#[tokio::test]
async fn after_twelve_attempts_it_is_given_up_until_somebody_sends_it_again() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let id = scene.add(&receiver.url()).await;
    let delivery = scene.send_test(&id).await;
    receiver.reply(Reply::Status(503));
    for attempt in 1..=12 {
        assert_eq!(scene.deliver().await, 1, "{attempt}");
        assert_eq!(is_dead(&scene.delivery(delivery).await), attempt == 12, "{attempt}");
        scene.clock.advance(Duration::from_secs(4_400));
    }
    assert_eq!(scene.deliver().await, 0);
    let dead = scene.hooks.deliveries(&team(), true, None, 10).await.expect("a list");
    assert_eq!((dead.len(), dead[0].attempts), (1, 12));
    assert_eq!(dead[0].last_error.as_deref(), Some("the receiver answered 503"));
    receiver.reply(Reply::Status(200));
    scene.hooks.resend(&team(), delivery, &Actor::command_line()).await.expect("put on its way");
    assert_eq!(scene.deliver().await, 1);
    assert!(scene.hooks.deliveries(&team(), true, None, 10).await.expect("a list").is_empty());
    let received = receiver.take();
    assert!(received.len() == 13 && received.iter().all(|request| request.body == received[0].body));
    let unknown = scene.hooks.resend(&team(), delivery + 1, &Actor::command_line()).await;
    assert!(matches!(unknown, Err(HookError::DeliveryUnknown(_))));
}

#[tokio::test]
async fn events_come_one_at_a_time_and_in_their_order() {
    let (scene, receiver, other) = (Scene::build().await, Receiver::start().await, Receiver::start().await);
    let (id, second) = (scene.add(&receiver.url()).await, scene.add(&other.url()).await);
    let mut sent = Vec::new();
    for _ in 0..30 {
        let delivery = scene.send_test(&id).await;
        sent.push(scene.delivery(delivery).await.event_id);
        scene.send_test(&second).await;
    }
    assert_eq!(scene.deliver().await, 60);
    let ids: Vec<String> =
        receiver.take().iter().map(|got| got.event()["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids, sent);
    assert_eq!((receiver.most_under_way(), other.take().len()), (1, 30));
}

#[tokio::test]
async fn a_receiver_that_takes_its_time_does_not_hold_up_another() {
    let (scene, slow, quick) = (Scene::build().await, Receiver::start().await, Receiver::start().await);
    let (id, other) = (scene.add(&slow.url()).await, scene.add(&quick.url()).await);
    slow.reply(Reply::Never);
    for _ in 0..3 {
        scene.send_test(&id).await;
        scene.send_test(&other).await;
    }
    let mut received = 0;
    let all_of_the_other = async {
        while received < 3 {
            received += quick.take().len();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = scene.hooks.deliver_due() => panic!("one of them does not answer"),
        () = all_of_the_other => {}
    }
    assert_eq!(slow.take().len(), 1, "it is asked once at a time");
}

#[tokio::test]
async fn what_may_not_be_reached_is_given_up_at_once() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let port = receiver.address.port();
    let by_name = scene.add(&format!("http://localhost:{port}/")).await;
    let by_address = scene.add(&receiver.url()).await;
    let secure = scene.add(&format!("https://localhost:{port}/")).await;
    let mut deliveries = Vec::new();
    for id in [&by_name, &by_address, &secure] {
        deliveries.push(scene.send_test(id).await);
    }
    // Only the name leads to where nothing may be sent; that shows when it is resolved.
    let elsewhere = scene.configured(options(&["public", "10.0.0.0/8"]));
    assert_eq!(elsewhere.deliver_due().await.expect("a run"), 3);
    for id in deliveries {
        let record = scene.delivery(id).await;
        assert!(is_dead(&record) && record.attempts == 1, "{record:?}");
        assert!(record.last_error.expect("a reason").contains("webhooks.allowed_networks"));
    }
    assert!(receiver.take().is_empty());
    for url in [receiver.url(), format!("https://127.0.0.1:{port}/"), "http://example.com/".to_owned()] {
        assert!(matches!(made(&scene.configured(HookOptions::default()), &url).await, Err(HookError::Url(_))), "{url}");
    }
}

#[tokio::test]
async fn without_the_one_secret_there_are_no_webhooks_and_with_another_no_deliveries() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let id = scene.add(&receiver.url()).await;
    let delivery = scene.send_test(&id).await;
    let path = scene.folder.path().join("bonded.db");
    let store = Arc::new(SqliteStore::open(&SqliteOptions::new(path)).await.expect("the database"));
    let auth = auth_over(&store, &scene.clock, None).await;
    let refused = made(&hooks(&scene.store, &auth, &scene.clock, options(&["127.0.0.0/8"])), &receiver.url()).await;
    let refused = refused.expect_err("no secret").to_string();
    assert!(refused.contains("auth.secret_file"), "{refused}");
    let store =
        Arc::new(SqliteStore::open(&SqliteOptions::new(scene.folder.path().join("bonded.db"))).await.expect("it"));
    let auth = auth_over(&store, &scene.clock, Some(b'o')).await;
    let other = hooks(&scene.store, &auth, &scene.clock, options(&["127.0.0.0/8"]));
    assert_eq!(other.deliver_due().await.expect("a run"), 1);
    let record = scene.delivery(delivery).await;
    assert!(is_dead(&record) && record.last_error.expect("a reason").contains("another secret"));
    assert!(receiver.take().is_empty());
}

#[tokio::test]
async fn the_secret_is_nowhere_in_the_database() {
    let (scene, receiver) = (Scene::build().await, Receiver::start().await);
    let id = scene.add(&receiver.url()).await;
    scene.send_test(&id).await;
    assert_eq!(scene.deliver().await, 1);
    for entry in std::fs::read_dir(scene.folder.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("readable");
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "{}", path.display());
    }
    let listed = format!("{:?} {:?}", scene.hooks.list(&team()).await, scene.hooks);
    assert!(!listed.contains(SECRET));
    for wrong in ["whsec_c2hvcnQ=", &SECRET.replace("whsec_", ""), &SECRET.replace("==", "=!")] {
        let secret = Some(SecretString::from(wrong));
        let wish = WebhookWish { url: receiver.url(), events: HookEvents::ALL, secret };
        let refused = scene.hooks.add(&team(), wish, &Actor::command_line()).await;
        assert!(matches!(refused, Err(HookError::Secret)), "{wrong}");
    }
}

#[tokio::test]
async fn of_two_nodes_each_event_is_sent_by_one() {
    let database = Database::migrated();
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_793_491_200_000_000)));
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let store = Arc::new(database.open().await);
        let auth = auth_over(&store, &clock, Some(b's')).await;
        let store: Arc<dyn WebhookStore> = store;
        nodes.push((hooks(&store, &auth, &clock, options(&["127.0.0.0/8"])), auth));
    }
    found_team(&nodes[0].1).await;
    let receiver = Receiver::start().await;
    for _ in 0..4 {
        let id = made(&nodes[0].0, &receiver.url()).await.expect("a webhook").id;
        for _ in 0..10 {
            nodes[0].0.test(&team(), &id, &Actor::command_line()).await.expect("a delivery");
        }
    }
    let (one, two) = tokio::join!(nodes[0].0.deliver_due(), nodes[1].0.deliver_due());
    assert_eq!(one.expect("a run") + two.expect("a run"), 40);
    let mut ids: Vec<String> = receiver.take().iter().map(|got| got.event()["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    let listed = nodes[0].0.deliveries(&team(), false, None, 100).await.expect("a list");
    assert!(
        listed.iter().all(|delivery| matches!(delivery.state, DeliveryState::Delivered(_)) && delivery.attempts == 1)
    );
}
