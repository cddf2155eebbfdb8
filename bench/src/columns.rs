//! The columns of the tables, in Markdown and on the page.
//!
//! Both outputs have the same titles, headings and digits.

use crate::figures::Metric;
use crate::table::{Row, Spread};
use crate::trial::Kind;

/// Returns the title of the table of a kind.
pub(crate) fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Calls => "Calls in a closed loop",
        Kind::Open => "Calls in an open loop, at a share of the limit",
        Kind::Rate => "Calls in an open loop, at a rate",
        Kind::Jobs => "Acknowledged jobs",
        Kind::Events => "Events from one publisher",
        Kind::Held => "Memory of calls in flight",
        Kind::Idle => "An idle client and its server",
        Kind::Subscriptions => "Idle subscriptions",
        Kind::First => "From the start of a process to its first reply",
    }
}

/// Returns the heading of the number of a trial.
pub(crate) fn number_heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Calls | Kind::Held => "in flight",
        Kind::Open => "% of the limit",
        Kind::Rate => "calls/s",
        Kind::Jobs => "unconfirmed",
        Kind::Events => "subscribers",
        Kind::Idle => "calls",
        Kind::Subscriptions => "subscriptions",
        Kind::First => "starts a round",
    }
}

/// Returns the quantities in the table of a kind.
pub(crate) fn metrics(kind: Kind) -> &'static [Metric] {
    use Metric::{
        ClientBytes, ClientIdleUs, ClientMib, CpuUs, FirstReplyMs, Missed, P50Us, P99Us, P999Us,
        Rate, ScheduleP99Us, ServerBytes, ServerIdleUs, ServerMib,
    };

    match kind {
        Kind::Calls => &[Rate, CpuUs, P50Us, P99Us, P999Us, ClientMib, ServerMib],
        Kind::Open | Kind::Rate => &[Rate, P50Us, P99Us, P999Us, ScheduleP99Us, Missed],
        Kind::Jobs => &[Rate, CpuUs, ClientMib, ServerMib],
        Kind::Events => &[Rate, CpuUs, Missed, ClientMib, ServerMib],
        Kind::Held => &[ClientBytes, ServerBytes, ClientMib, ServerMib],
        Kind::Idle | Kind::Subscriptions => &[ClientIdleUs, ServerIdleUs, ClientMib, ServerMib],
        Kind::First => &[FirstReplyMs],
    }
}

/// Returns the heading of a quantity.
pub(crate) fn heading(metric: Metric) -> &'static str {
    match metric {
        Metric::Rate => "a second",
        Metric::CpuUs => "us of CPU each",
        Metric::ClientCpuUs => "us of CPU each, client",
        Metric::ServerCpuUs => "us of CPU each, server",
        Metric::P50Us => "p50 us",
        Metric::P99Us => "p99 us",
        Metric::P999Us => "p99.9 us",
        Metric::ScheduleP99Us => "sent late, p99 us",
        Metric::Missed => "missed, %",
        Metric::ClientBytes => "bytes a call, client",
        Metric::ServerBytes => "bytes a call, server",
        Metric::ClientIdleUs => "us of CPU a second, client",
        Metric::ServerIdleUs => "us of CPU a second, server",
        Metric::FirstReplyMs => "ms",
        Metric::ClientMib => "MiB, client",
        Metric::ServerMib => "MiB, server",
    }
}

/// Returns the median of a quantity as text; a hyphen if it was not measured.
///
/// Shares become percentages.
pub(crate) fn median(row: &Row, metric: Metric) -> String {
    let Some(Spread { median, .. }) = row.get(metric) else { return "-".to_owned() };
    match metric {
        Metric::CpuUs | Metric::ClientCpuUs | Metric::ServerCpuUs => format!("{median:.1}"),
        Metric::FirstReplyMs => format!("{median:.2}"),
        Metric::Missed => format!("{:.2}", 100.0 * median),
        _ => format!("{median:.0}"),
    }
}

/// Returns a ratio with its spread in parentheses; a hyphen if there is none.
pub(crate) fn ratio(ratio: Option<Spread>) -> String {
    ratio.map_or("-".to_owned(), |Spread { min, median, max }| {
        format!("{median:.2} ({min:.2} to {max:.2})")
    })
}
