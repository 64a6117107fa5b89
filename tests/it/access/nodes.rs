//! Limits that several nodes share.

use std::sync::Arc;
use std::time::Duration;

use bonded::metadata::limits::SharedBuckets;
use bonded::metadata::redis::RedisBuckets;
use conformance::servers::Redis;
use reqwest::StatusCode;

use crate::app::TestApp;

/// Nodes that let ten requests a minute through from an address.
struct Nodes(Vec<TestApp>);

impl Nodes {
    async fn start(count: u64, buckets: Option<Arc<dyn SharedBuckets>>) -> Self {
        let builder = TestApp::builder().behind_a_proxy().clients(|limits| {
            limits.shared = true;
            limits.rates.v2_anonymous = "10/m".parse().expect("a rate");
        });
        let builder = match buckets {
            Some(buckets) => builder.buckets(buckets),
            None => builder,
        };
        Self(builder.start_shared(count).await)
    }

    /// How many of so many requests to a node it lets through.
    async fn passed(&self, node: usize, address: &str, tries: usize) -> usize {
        let mut passed = 0;
        for _ in 0..tries {
            let get = self.0[node].get("/v2/").header("x-forwarded-for", address);
            let answer = get.send().await.expect("an answer");
            passed += usize::from(answer.status() != StatusCode::TOO_MANY_REQUESTS);
        }
        passed
    }

    /// Each tells what it let through.
    async fn reconcile(&self) {
        for node in &self.0 {
            node.auth.reconcile_limits().await.expect("told");
        }
    }

    fn advance(&self, time: Duration) {
        self.0[0].clock.advance(time);
    }
}

async fn share_a_limit(nodes: &Nodes) {
    assert_eq!(nodes.passed(0, "192.0.2.1", 6).await, 6);
    nodes.reconcile().await;
    // The other node has not heard of this address; it does with its first request.
    assert_eq!(nodes.passed(1, "192.0.2.1", 1).await, 1);
    nodes.reconcile().await;
    assert_eq!(nodes.passed(1, "192.0.2.1", 9).await, 3);
    nodes.reconcile().await;
    assert_eq!(nodes.passed(1, "192.0.2.1", 1).await, 0);
    assert_eq!(nodes.passed(1, "192.0.2.2", 1).await, 1);
}

/// However requests are spread, in the long run there are no more than the rate allows, and not much less.
async fn shares_follow_the_demand(nodes: &Nodes) {
    // Each node alone, one after the other, then all of them, the first one most: two minutes each.
    let spread: [&[usize]; 4] = [&[3, 0, 0], &[0, 3, 0], &[0, 0, 3], &[3, 1, 1]];
    for (at, tries) in spread.iter().enumerate() {
        let mut passed = [0; 3];
        for _ in 0..120 {
            nodes.advance(Duration::from_secs(1));
            for (node, tries) in tries.iter().enumerate() {
                passed[node] += nodes.passed(node, "192.0.2.9", *tries).await;
            }
            nodes.reconcile().await;
        }
        let total: usize = passed.iter().sum();
        // The first of them finds the bucket empty, and each node may fill what is free before it hears of the others.
        let most = if at == 0 { 30 } else { 24 };
        assert!((16..=most).contains(&total), "{passed:?} in two minutes at ten a minute");
        assert!(tries.iter().zip(&passed).all(|(tries, passed)| *tries > 0 || *passed == 0));
    }
}

#[tokio::test]
async fn nodes_share_a_limit_in_postgres() {
    share_a_limit(&Nodes::start(2, None).await).await;
}

#[tokio::test]
async fn a_node_gets_as_much_of_a_limit_as_is_asked_of_it_in_postgres() {
    shares_follow_the_demand(&Nodes::start(3, None).await).await;
}

/// A Redis server, if one is installed.
fn redis() -> Option<(Redis, Arc<dyn SharedBuckets>)> {
    let server = match Redis::start() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("not tested: {error:#}");
            return None;
        }
    };
    let buckets = RedisBuckets::new(&server.url()).expect("an address");
    assert!(!format!("{buckets:?}").contains(server.password()));
    Some((server, Arc::new(buckets)))
}

#[tokio::test]
async fn nodes_share_a_limit_in_redis() {
    let Some((_server, buckets)) = redis() else { return };
    share_a_limit(&Nodes::start(2, Some(buckets)).await).await;
}

#[tokio::test]
async fn a_node_gets_as_much_of_a_limit_as_is_asked_of_it_in_redis() {
    let Some((_server, buckets)) = redis() else { return };
    shares_follow_the_demand(&Nodes::start(3, Some(buckets)).await).await;
}

#[tokio::test]
async fn without_redis_each_node_counts_alone() {
    let Some((server, buckets)) = redis() else { return };
    let nodes = Nodes::start(2, Some(buckets)).await;
    assert_eq!(nodes.passed(0, "192.0.2.1", 4).await, 4);
    nodes.reconcile().await;
    server.stop().expect("stopped");
    for node in [0, 1] {
        assert_eq!(nodes.passed(node, "192.0.2.1", 4).await, 4);
        let error = nodes.0[node].auth.reconcile_limits().await.expect_err("nobody is there");
        assert!(!format!("{error:#}").contains(server.password()), "{error:#}");
    }
    // What could not be told is told when somebody listens again.
    server.restart().expect("started");
    nodes.reconcile().await;
    assert_eq!(nodes.passed(0, "192.0.2.1", 9).await, 2);
    nodes.reconcile().await;
    assert_eq!(nodes.passed(1, "192.0.2.1", 9).await, 2, "it heard of eight when it told of its four");
    nodes.reconcile().await;
    assert_eq!(nodes.passed(1, "192.0.2.1", 1).await, 0);
}
