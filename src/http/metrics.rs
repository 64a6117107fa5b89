//! What is measured, rendered as Prometheus reads it. No label ever holds a repository, a tag or a digest.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as MetricRegistry;

use crate::metadata::model::StoreCounts;
use crate::registry::gate::SweepStats;
use crate::registry::retention::label;
use crate::registry::{CollectorStats, ScrubStats};
use crate::telemetry::metric;

/// Bounds of the time histograms in seconds.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// The metrics of one process.
pub struct Metrics {
    registry: MetricRegistry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    uploads_open: Gauge,
    deletions: Gauge,
    deletion_bytes: Gauge,
    gc_blobs: Counter,
    gc_bytes: Counter,
    gc_objects: Counter,
    gc_object_bytes: Counter,
    gc_waiting: Gauge,
    gc_waiting_bytes: Gauge,
    retired: Family<RuleLabels, Counter>,
    uploads_expired: Counter,
    storage: Family<OperationLabels, Histogram, fn() -> Histogram>,
    scrub_objects: Counter,
    scrub_bytes: Counter,
    scrub_unread: Counter,
    damage_found: Counter,
    damaged_blobs: Gauge,
    damaged_manifests: Gauge,
    policies: Gauge,
    policy_document_faulty: Gauge,
    verdicts_failed: Counter,
    verdicts_swept: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn time_histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: MetricRegistry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(time_histogram),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            uploads_open: Gauge::default(),
            deletions: Gauge::default(),
            deletion_bytes: Gauge::default(),
            gc_blobs: Counter::default(),
            gc_bytes: Counter::default(),
            gc_objects: Counter::default(),
            gc_object_bytes: Counter::default(),
            gc_waiting: Gauge::default(),
            gc_waiting_bytes: Gauge::default(),
            retired: Family::default(),
            uploads_expired: Counter::default(),
            storage: Family::new_with_constructor(time_histogram),
            scrub_objects: Counter::default(),
            scrub_bytes: Counter::default(),
            scrub_unread: Counter::default(),
            damage_found: Counter::default(),
            damaged_blobs: Gauge::default(),
            damaged_manifests: Gauge::default(),
            policies: Gauge::default(),
            policy_document_faulty: Gauge::default(),
            verdicts_failed: Counter::default(),
            verdicts_swept: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register(metric::BUILD, "Version of the program", build);
        registry.register(metric::HTTP_REQUESTS, "Requests answered", self.requests.clone());
        registry.register(metric::HTTP_DURATION, "Time to the head of the answer", self.durations.clone());
        registry.register(metric::HTTP_IN_FLIGHT, "Requests under way", self.in_flight.clone());
        registry.register(metric::CONNECTIONS, "Open connections", self.connections.clone());
        registry.register(metric::UPLOADS_OPEN, "Upload sessions that are open", self.uploads_open.clone());
        registry.register(metric::DELETIONS_WAITING, "Objects that wait to be removed", self.deletions.clone());
        registry.register(metric::DELETIONS_WAITING_BYTES, "Bytes of these objects", self.deletion_bytes.clone());
        registry.register(metric::GC_BLOBS, "Blobs collected", self.gc_blobs.clone());
        registry.register(metric::GC_BYTES, "Bytes of blobs collected", self.gc_bytes.clone());
        registry.register(metric::GC_OBJECTS, "Objects removed from the store", self.gc_objects.clone());
        registry.register(metric::GC_OBJECT_BYTES, "Bytes of objects removed", self.gc_object_bytes.clone());
        registry.register(metric::GC_WAITING, "Blobs that wait for collection", self.gc_waiting.clone());
        registry.register(metric::GC_WAITING_BYTES, "Bytes of these blobs", self.gc_waiting_bytes.clone());
        registry.register(metric::RETENTION_MANIFESTS, "Manifests deleted by retention", self.retired.clone());
        registry.register(metric::UPLOADS_EXPIRED, "Upload sessions that expired", self.uploads_expired.clone());
        registry.register(metric::STORAGE_DURATION, "Time of storage operations", self.storage.clone());
        registry.register(metric::SCRUB_OBJECTS, "Blobs and manifests read again", self.scrub_objects.clone());
        registry.register(metric::SCRUB_BYTES, "Bytes read again", self.scrub_bytes.clone());
        registry.register(metric::SCRUB_UNREAD, "Blobs that could not be read again", self.scrub_unread.clone());
        registry.register(metric::DAMAGE_FOUND, "Blobs and manifests found damaged", self.damage_found.clone());
        registry.register(metric::BLOBS_DAMAGED, "Blobs that are damaged", self.damaged_blobs.clone());
        registry.register(metric::MANIFESTS_DAMAGED, "Manifests that are damaged", self.damaged_manifests.clone());
        registry.register(metric::POLICIES, "Signature policies in force", self.policies.clone());
        let faulty = "1 while the newest document of signature policies cannot be used and an older one is in force";
        registry.register(metric::POLICY_DOCUMENT_FAULTY, faulty, self.policy_document_faulty.clone());
        let failed = "Images that satisfied the signature policies and do not any more";
        registry.register(metric::VERDICTS_FAILED, failed, self.verdicts_failed.clone());
        registry.register(
            metric::VERDICTS_SWEPT,
            "Images judged again though nobody asked",
            self.verdicts_swept.clone(),
        );
    }

    /// A request begins; it is counted as under way until the guard is dropped.
    pub fn begin_request(&self) -> GaugeGuard {
        GaugeGuard::new(&self.in_flight)
    }

    /// Requests whose answer has not begun yet.
    pub fn requests_under_way(&self) -> i64 {
        self.in_flight.get()
    }

    /// A connection is open until the guard is dropped.
    pub fn begin_connection(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    /// A request was answered.
    pub fn observe_request(&self, route: &'static str, method: &'static str, status: u16, elapsed: Duration) {
        self.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        self.durations.get_or_create(&RouteLabels { route }).observe(elapsed.as_secs_f64());
    }

    /// A storage operation ended.
    pub fn observe_storage(&self, operation: &'static str, outcome: &'static str, elapsed: Duration) {
        self.storage.get_or_create(&OperationLabels { operation, outcome }).observe(elapsed.as_secs_f64());
    }

    /// So many signature policies are in force; whether the newest document of them cannot be used.
    pub fn observe_policies(&self, policies: usize, faulty: bool) {
        self.policies.set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.policy_document_faulty.set(i64::from(faulty));
    }

    /// Everything as `OpenMetrics` text, with what the stores say now.
    pub fn render(
        &self,
        counts: StoreCounts,
        collected: &CollectorStats,
        scrubbed: &ScrubStats,
        swept: &SweepStats,
    ) -> String {
        let gauge = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.uploads_open, counts.uploads);
        gauge(&self.deletions, counts.deletions);
        gauge(&self.deletion_bytes, counts.deletion_bytes);
        gauge(&self.gc_waiting, counts.garbage);
        gauge(&self.gc_waiting_bytes, counts.garbage_bytes);
        gauge(&self.damaged_blobs, counts.damaged_blobs);
        gauge(&self.damaged_manifests, counts.damaged_manifests);
        raise(&self.scrub_objects, scrubbed.objects);
        raise(&self.scrub_bytes, scrubbed.bytes);
        raise(&self.scrub_unread, scrubbed.unread);
        raise(&self.damage_found, scrubbed.found);
        raise(&self.verdicts_failed, swept.failed);
        raise(&self.verdicts_swept, swept.judged);
        for (rule, manifests) in &collected.retired {
            raise(&self.retired.get_or_create(&RuleLabels { rule: label(*rule) }), *manifests);
        }
        raise(&self.gc_object_bytes, collected.object_bytes);
        raise(&self.gc_blobs, collected.blobs);
        raise(&self.gc_bytes, collected.bytes);
        raise(&self.gc_objects, collected.objects);
        raise(&self.uploads_expired, collected.sessions);
        let mut text = String::new();
        // Writing to a String cannot fail.
        encode(&mut text, &self.registry).ok();
        text
    }
}

/// Raises a counter to a total that is kept elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// One more of something, for as long as this lives.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
