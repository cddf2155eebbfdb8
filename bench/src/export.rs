//! The figures as JSON.

use serde_json::{Value, json};

use crate::table::{Row, Spread, Table};

/// Returns all medians with their spreads, the number of processors, and the subject of comparison.
pub(crate) fn json(table: &Table, rounds: u32) -> Value {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let rows: Vec<_> = table.rows().map(|row| of_row(&row)).collect();
    let ratio_to = table.compared_with();
    json!({ "processors": processors, "rounds": rounds, "ratio_to": ratio_to, "rows": rows })
}

/// Returns a row of the table as an object. A figure that was not measured is null.
fn of_row(row: &Row) -> Value {
    json!({
        "subject": row.subject.name(),
        "body_bytes": row.load.body,
        "in_flight": row.load.in_flight,
        "calls_per_second": of_spread(Some(row.calls_per_second)),
        "ratio": of_spread(row.of_bare),
        "cpu_us_per_call": of_spread(Some(row.cpu_us_per_call)),
        "p50_us": of_spread(row.p50_us),
        "p99_us": of_spread(row.p99_us),
        "p999_us": of_spread(row.p999_us),
        "server_mib": of_spread(Some(row.server_mib)),
    })
}

/// Returns the least, the median and the largest value, or null.
fn of_spread(spread: Option<Spread>) -> Value {
    spread.map_or(
        Value::Null,
        |Spread { min, median, max }| json!({ "min": min, "median": median, "max": max }),
    )
}
