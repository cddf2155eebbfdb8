//! Export of statistics as metrics.

use metrics::{Gauge, counter, gauge};

use crate::error::{ErrorKind, Result};
use crate::pipeline::{DeadLetters, WaitingRetries};
use crate::rpc::{ClientStats, ServerStats};
use crate::transport::{DeadLetterSource, Transport};
use crate::worker::WorkStats;

/// Sets counters with one label to absolute values.
fn set<const N: usize>(label: &'static str, value: &str, counts: [(&'static str, u64); N]) {
    for (name, count) in counts {
        counter!(name, label => value.to_owned()).absolute(count);
    }
}

impl ClientStats {
    /// Records the counts of a client of `service` through the `metrics` facade.
    ///
    /// Call the method before each export of the metrics.
    pub fn record(&self, service: &str) {
        set(
            "service",
            service,
            [
                ("polywire_client_late_replies_total", self.late_replies),
                ("polywire_client_bad_replies_total", self.bad_replies),
            ],
        );
    }
}

impl ServerStats {
    /// Records the counts of a server of `service` through the `metrics` facade.
    ///
    /// Call the method before each export of the metrics. A counter never goes back: for a server
    /// that is bound again, record the sum of the counts before and since.
    pub fn record(&self, service: &str) {
        set(
            "service",
            service,
            [
                ("polywire_server_answered_total", self.answered),
                ("polywire_server_panicked_total", self.panicked),
                ("polywire_server_expired_total", self.expired),
                ("polywire_server_rejected_total", self.rejected),
                ("polywire_server_refused_total", self.refused),
                ("polywire_server_undelivered_total", self.undelivered),
                ("polywire_server_duplicates_total", self.duplicates),
                ("polywire_server_cancelled_total", self.cancelled),
                ("polywire_server_declined_total", self.declined),
                ("polywire_server_answered_early_total", self.answered_early),
                ("polywire_server_failed_late_total", self.failed_late),
            ],
        );
    }
}

impl WorkStats {
    /// Records the counts of a worker of the queue `name`, or of a listener of the channel `name`,
    /// through the `metrics` facade.
    ///
    /// Call the method before each export of the metrics, with the sum of all counts under the
    /// name, as with [`ServerStats::record`].
    pub fn record(&self, name: &str) {
        set(
            "name",
            name,
            [
                ("polywire_work_done_total", self.done),
                ("polywire_work_retried_total", self.retried),
                ("polywire_work_discarded_total", self.discarded),
                ("polywire_work_dead_lettered_total", self.dead_lettered),
                ("polywire_work_panicked_total", self.panicked),
                ("polywire_work_rejected_total", self.rejected),
                ("polywire_work_expired_total", self.expired),
            ],
        );
    }
}

impl<T: Transport> DeadLetters<'_, T> {
    /// [Counts](Self::count) the dead letters, and records their number as the gauge
    /// `polywire_dead_letters`, whose labels name their source. Returns the number.
    ///
    /// Call the method at an interval, such as each minute, and not before each export: it asks the
    /// broker. If the future is dropped, nothing has changed.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count). The gauge is NaN then, since the last number may be wrong by now.
    /// A backend that cannot count has no gauge.
    pub async fn record(&self) -> Result<u64> {
        let counted = self.count().await;
        record("polywire_dead_letters", self.source(), &counted);
        counted
    }
}

impl<T: Transport> WaitingRetries<'_, T> {
    /// [Counts](Self::count) the deliveries that wait, and records their number as the gauge
    /// `polywire_deliveries_waiting`, whose labels name their source. Returns the number.
    ///
    /// The rest is as with [`DeadLetters::record`].
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count). The gauge is NaN then, since the last number may be wrong by now.
    /// A backend that cannot count has no gauge.
    pub async fn record(&self) -> Result<u64> {
        let counted = self.count().await;
        record("polywire_deliveries_waiting", self.source(), &counted);
        counted
    }
}

/// Records a count as a gauge whose labels name its source: NaN if it failed, and no gauge if the
/// backend cannot count.
fn record(name: &'static str, source: &DeadLetterSource, counted: &Result<u64>) {
    if matches!(counted, Err(error) if error.kind() == ErrorKind::Unsupported) {
        return;
    }
    gauge_of(name, source).set(counted.as_ref().map_or(f64::NAN, |count| *count as f64));
}

/// Returns the gauge of a source.
fn gauge_of(name: &'static str, source: &DeadLetterSource) -> Gauge {
    let (kind, of, group) = match source {
        DeadLetterSource::Queue(queue) => ("queue", queue, None),
        DeadLetterSource::Service(service) => ("service", service, None),
        DeadLetterSource::Group { channel, group } => ("group", channel, Some(group)),
    };
    let group = group.map(ToString::to_string).unwrap_or_default();
    gauge!(name, "source" => kind, "name" => of.to_string(), "group" => group)
}
