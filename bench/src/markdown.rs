//! The tables in Markdown.

use std::fmt;

use crate::columns::{heading, median, metrics, number_heading, ratio, title};
use crate::goals::{Bound, goals};
use crate::table::Table;
use crate::trial::Kind;

/// A table for each kind of trial that was measured, then the goals and the failures.
pub(crate) struct Markdown<'a>(pub(crate) &'a Table);

impl fmt::Display for Markdown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::ALL.into_iter().try_for_each(|kind| self.of_kind(kind, f))?;
        self.goals(f)?;
        self.failures(f)
    }
}

impl Markdown<'_> {
    /// Writes the table of a kind. One without rows is left out.
    fn of_kind(&self, kind: Kind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.rows(kind);
        if rows.is_empty() {
            return Ok(());
        }
        let headings: Vec<_> = metrics(kind).iter().map(|metric| heading(*metric)).collect();
        writeln!(f, "### {}\n", title(kind))?;
        writeln!(
            f,
            "| bytes | {} | subject | {} | of {} | of its best set-up |",
            number_heading(kind),
            headings.join(" | "),
            self.0.compared_with(),
        )?;
        writeln!(f, "|{}", "---|".repeat(headings.len() + 5))?;
        for row in rows {
            let medians: Vec<_> =
                metrics(kind).iter().map(|metric| median(&row, *metric)).collect();
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} |",
                row.trial.body,
                row.trial.number,
                row.subject.name(),
                medians.join(" | "),
                ratio(row.of_bare),
                ratio(row.of_best),
            )?;
        }
        writeln!(f)
    }

    /// Writes the goals that have a figure. Without any, writes nothing.
    fn goals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured: Vec<_> = goals()
            .into_iter()
            .filter_map(|goal| goal.value(self.0).map(|value| (goal, value)))
            .collect();
        if measured.is_empty() {
            return Ok(());
        }
        writeln!(f, "### Goals\n\n| goal | bound | measured | reached |\n|---|---|---|---|")?;
        for (goal, value) in measured {
            let bound = match goal.bound {
                Bound::AtLeast(bound) => format!(">= {bound}"),
                Bound::AtMost(bound) => format!("<= {bound}"),
            };
            let reached = if goal.is_reached(value.median) { "yes" } else { "no" };
            writeln!(f, "| {} | {bound} | {} | {reached} |", goal.text(), ratio(Some(value)))?;
        }
        writeln!(f)
    }

    /// Writes a line for each failed measurement, in the order in which they failed.
    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (subject, trial, error) in &self.0.failures {
            let (subject, kind) = (subject.name(), trial.kind.name());
            writeln!(f, "failed: {subject}: {kind} {}, {} B: {error}", trial.number, trial.body)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figures, Metric};
    use crate::subject::Subject;
    use crate::trial::Trial;

    #[test]
    fn table_has_medians_ratios_and_failures() {
        let mut table = Table::new(None);
        let trial = Trial { kind: Kind::Calls, body: 64, number: 1 };
        for (subject, rate) in [(Subject::ZmqTyped, 10.0), (Subject::OmqCalls, 20.0)] {
            let mut figures = Figures::default();
            figures.set(Metric::Rate, rate);
            table.add(1, subject, trial, figures);
        }
        table.failures.push((Subject::Nats, trial, "no server".to_owned()));
        let text = Markdown(&table).to_string();
        assert!(text.contains("| 64 | 1 | zmq-typed | 10 | - |"), "{text}");
        assert!(text.contains("| 0.50 (0.50 to 0.50) | 0.50 (0.50 to 0.50) |"), "{text}");
        assert!(text.contains("| >= 1 | 0.50 (0.50 to 0.50) | no |"), "{text}");
        assert!(text.contains("failed: nats: calls 1, 64 B: no server"), "{text}");
        assert!(!text.contains("Idle subscriptions"), "{text}");
    }
}
