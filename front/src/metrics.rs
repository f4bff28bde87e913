//! Counters of the whole front, as Prometheus text.
//!
//! Promises: plain cells, no allocation on the way of a call; names and labels are fixed or server names.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use gaoler_wire::id::InstanceId;
use gaoler_wire::message::Usage;

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    /// One more.
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// HTTP requests
    pub(crate) requests: Counter,
    /// HTTP answers with a status from 400 on
    pub(crate) refused: Counter,
    /// JSON-RPC calls that ended with an error of this front
    pub(crate) failed_calls: Counter,
    /// sessions opened
    pub(crate) sessions_opened: Counter,
    /// sessions that were ended for another, for idleness or for slowness
    pub(crate) sessions_evicted: Counter,
    /// jails started
    pub(crate) starts: Counter,
    /// jails started in place of one that had died
    pub(crate) restarts: Counter,
    /// jails that could not be started
    pub(crate) start_failures: Counter,
    /// messages that could not be told to belong to one caller
    pub(crate) withheld: Counter,
    /// lines of servers that were no message
    pub(crate) skipped_lines: Counter,
    /// readers that were too slow
    pub(crate) slow_readers: Counter,
    /// bytes to servers
    pub(crate) bytes_in: Counter,
    /// bytes from servers
    pub(crate) bytes_out: Counter,
    /// connections accepted
    pub(crate) connections: Counter,
    latency: [Counter; BOUNDS_US.len() + 1],
    latency_sum_us: Counter,
    usage: RefCell<BTreeMap<InstanceId, (String, Usage)>>,
}

impl Metrics {
    /// One call was answered after this time.
    pub(crate) fn answered(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.latency[bucket].add(1);
        self.latency_sum_us.add(us);
    }

    /// New readings of one jail.
    pub(crate) fn used(&self, instance: InstanceId, server: &str, usage: Usage) {
        self.usage.borrow_mut().insert(instance, (server.to_owned(), usage));
    }

    /// A jail has ended.
    pub(crate) fn forget(&self, instance: InstanceId) {
        self.usage.borrow_mut().remove(&instance);
    }

    /// The text of `/metrics`; `gauges` are current values.
    pub(crate) fn render(&self, gauges: &[(&str, u64)]) -> String {
        let mut out = String::with_capacity(8192);
        for (name, counter) in self.counters() {
            one(&mut out, name, "counter", counter.0.get());
        }
        for (name, value) in gauges {
            one(&mut out, name, "gauge", *value);
        }
        self.render_latency(&mut out);
        self.render_usage(&mut out);
        out
    }

    fn counters(&self) -> [(&'static str, &Counter); 14] {
        [
            ("gaoler_requests_total", &self.requests),
            ("gaoler_refused_total", &self.refused),
            ("gaoler_failed_calls_total", &self.failed_calls),
            ("gaoler_sessions_opened_total", &self.sessions_opened),
            ("gaoler_sessions_evicted_total", &self.sessions_evicted),
            ("gaoler_starts_total", &self.starts),
            ("gaoler_restarts_total", &self.restarts),
            ("gaoler_start_failures_total", &self.start_failures),
            ("gaoler_withheld_messages_total", &self.withheld),
            ("gaoler_skipped_lines_total", &self.skipped_lines),
            ("gaoler_slow_readers_total", &self.slow_readers),
            ("gaoler_bytes_to_servers_total", &self.bytes_in),
            ("gaoler_bytes_from_servers_total", &self.bytes_out),
            ("gaoler_connections_total", &self.connections),
        ]
    }

    fn render_latency(&self, out: &mut String) {
        let name = "gaoler_call_seconds";
        let _ = writeln!(out, "# TYPE {name} histogram");
        let mut sum = 0;
        for (index, counter) in self.latency.iter().enumerate() {
            sum += counter.0.get();
            let bound = match BOUNDS_US.get(index) {
                Some(us) => seconds(*us),
                None => "+Inf".to_owned(),
            };
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let _ = writeln!(out, "{name}_sum {}", seconds(self.latency_sum_us.0.get()));
        let _ = writeln!(out, "{name}_count {sum}");
    }

    fn render_usage(&self, out: &mut String) {
        type Read = fn(&Usage) -> String;
        let kinds: [(&str, &str, Read); 5] = [
            ("gaoler_server_memory_bytes", "gauge", |u| u.memory_bytes.to_string()),
            ("gaoler_server_memory_peak_bytes", "gauge", |u| u.memory_peak_bytes.to_string()),
            ("gaoler_server_cpu_seconds_total", "counter", |u| seconds(u.cpu_us)),
            ("gaoler_server_pids", "gauge", |u| u.pids.to_string()),
            ("gaoler_server_oom_kills_total", "counter", |u| u.oom_kills.to_string()),
        ];
        let usage = self.usage.borrow();
        for (name, kind, read) in kinds {
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for (instance, (server, reading)) in usage.iter() {
                let value = read(reading);
                let _ = writeln!(out, "{name}{{server=\"{server}\",instance=\"{instance}\"}} {value}");
            }
        }
    }
}

fn one(out: &mut String, name: &str, kind: &str, value: u64) {
    let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
}

/// Microseconds as a decimal fraction of seconds.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        metrics.answered(Duration::from_micros(90));
        metrics.answered(Duration::from_millis(2));
        metrics.answered(Duration::from_secs(60));
        let text = metrics.render(&[("gaoler_sessions", 3)]);
        assert!(text.contains("gaoler_call_seconds_bucket{le=\"0.000100\"} 1\n"));
        assert!(text.contains("gaoler_call_seconds_bucket{le=\"0.002500\"} 2\n"));
        assert!(text.contains("gaoler_call_seconds_bucket{le=\"+Inf\"} 3\n"));
        assert!(text.contains("gaoler_call_seconds_count 3\n"));
        assert!(text.contains("# TYPE gaoler_sessions gauge\ngaoler_sessions 3\n"));
    }

    #[test]
    fn a_jail_that_ended_is_not_reported() {
        let metrics = Metrics::default();
        metrics.used(InstanceId(4), "a/b", Usage { cpu_us: 1_500_000, ..Usage::default() });
        assert!(metrics.render(&[]).contains("cpu_seconds_total{server=\"a/b\",instance=\"4\"} 1.500000"));
        metrics.forget(InstanceId(4));
        assert!(!metrics.render(&[]).contains("a/b"));
    }
}
