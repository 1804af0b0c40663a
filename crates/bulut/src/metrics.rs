//! Counters for `/metrics`, in the OpenMetrics text format.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// A route and how it answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
    status: u16,
}

/// A kind of operation and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// A template of letters, and what became of a try to send one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MailLabels {
    template: &'static str,
    outcome: &'static str,
}

/// Phase and power of servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    phase: String,
    power: String,
}

/// The installation's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RouteLabels, Counter>,
    latency: Histogram,
    operations: Family<OperationLabels, Counter>,
    operation_seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    servers: Family<ServerLabels, Gauge>,
    drift: Counter,
    forged: Counter,
    mails: Family<MailLabels, Counter>,
}

fn operation_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 2.0, 14))
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bulut");
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and status", requests.clone());
        let latency = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        registry.register_with_unit(
            "http_request_duration",
            "Time from request to answer",
            Unit::Seconds,
            latency.clone(),
        );
        let operations = Family::default();
        registry.register("operations", "Operations that ended, by kind and outcome", operations.clone());
        let operation_seconds = Family::new_with_constructor(operation_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "operation_duration",
            "Time from order to end of an operation",
            Unit::Seconds,
            operation_seconds.clone(),
        );
        let servers = Family::default();
        registry.register("servers", "Servers that exist, by phase and power", servers.clone());
        let drift = Counter::default();
        registry.register(
            "drift",
            "Times that a machine or its network was not as the database said",
            drift.clone(),
        );
        let forged = Counter::default();
        let help = "Frames of guests that were dropped because they had no right to send them";
        registry.register("forged_frames", help, forged.clone());
        let mails = Family::default();
        registry.register("mails", "Tries to send a letter, by template and outcome", mails.clone());
        Self { registry, requests, latency, operations, operation_seconds, servers, drift, forged, mails }
    }

    /// A request was answered. `route` is the route's pattern, never the path.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = RouteLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.latency.observe(took.as_secs_f64());
    }

    /// An operation ended, `done` or `undone`.
    pub fn operation(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        let labels = OperationLabels { kind, outcome };
        self.operations.get_or_create(&labels).inc();
        self.operation_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// How many servers there are, by phase and power.
    pub fn servers(&self, counted: &[(String, String, u64)]) {
        self.servers.clear();
        for (phase, power, servers) in counted {
            let labels = ServerLabels { phase: phase.clone(), power: power.clone() };
            self.servers.get_or_create(&labels).set(i64::try_from(*servers).unwrap_or(i64::MAX));
        }
    }

    /// A machine was not as the database said.
    pub fn drifted(&self) {
        self.drift.inc();
    }

    /// Guests sent so many frames that they had no right to send.
    pub fn forged(&self, frames: u64) {
        self.forged.inc_by(frames);
    }

    /// A letter was tried: `sent`, `failed`, `given_up` or `expired`.
    pub fn mail(&self, template: &'static str, outcome: &'static str) {
        self.mails.get_or_create(&MailLabels { template, outcome }).inc();
    }

    /// The page for `/metrics`.
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing into a String does not fail; an empty page would be the honest answer if it did.
        if text::encode(&mut page, &self.registry).is_err() {
            page.clear();
        }
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
