//! The figures as JSON.

use serde_json::{Value, json};

use crate::figures::Metric;
use crate::goals::goals;
use crate::table::{Row, Spread, Table};
use crate::trial::Kind;

/// Returns all medians with their spreads, the distributions of latencies, the goals, the failures,
/// and the number of processors.
///
/// `processors` is 0 if the number is unknown.
///
/// A goal that was not measured is in the list as well, with null for its value.
pub(crate) fn json(table: &Table, rounds: u32) -> Value {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let rows = Kind::ALL.into_iter().flat_map(|kind| table.rows(kind));
    let goals = goals().into_iter().map(|goal| {
        let value = goal.value(table);
        let is_reached = value.map(|value| goal.is_reached(value.median));
        json!({ "goal": goal.text(), "value": of_spread(value), "is_reached": is_reached })
    });
    let failures = table.failures.iter().map(|(subject, trial, error)| {
        json!({
            "subject": subject.name(),
            "kind": trial.kind.name(),
            "body_bytes": trial.body,
            "number": trial.number,
            "error": error,
        })
    });
    json!({
        "processors": processors,
        "rounds": rounds,
        "ratio_to": table.compared_with(),
        "rows": rows.map(|row| of_row(&row)).collect::<Vec<_>>(),
        "goals": goals.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
    })
}

/// Returns a row of a table as an object. A figure that was not measured is left out.
///
/// `rounds` counts the rounds in which the trial succeeded, which may be fewer than those of the
/// run.
fn of_row(row: &Row) -> Value {
    let measured = Metric::ALL.into_iter().filter_map(|metric| {
        let spread = row.get(metric)?;
        Some((metric.name().to_owned(), of_spread(Some(spread))))
    });
    json!({
        "kind": row.trial.kind.name(),
        "body_bytes": row.trial.body,
        "number": row.trial.number,
        "subject": row.subject.name(),
        "rounds": row.rounds,
        "figures": measured.collect::<serde_json::Map<_, _>>(),
        "ratio": of_spread(row.of_bare),
        "ratio_to_best_set_up": of_spread(row.of_best),
        "latency_us": row.latency,
    })
}

/// Returns the least, the median and the largest value, or null. An infinite value is null.
fn of_spread(spread: Option<Spread>) -> Value {
    spread.map_or(
        Value::Null,
        |Spread { min, median, max }| json!({ "min": min, "median": median, "max": max }),
    )
}
