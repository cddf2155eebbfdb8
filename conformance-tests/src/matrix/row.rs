//! A row of the matrix: one case on all backends.

use crate::cases;
use crate::report::{Entry, Report};

/// One case on all backends.
pub(super) struct Row<'a> {
    /// The first entry, for the fields that are the same in all.
    pub(super) first: &'a Entry,
    /// By backend; `None` where the report does not have the case.
    pub(super) cells: Vec<Option<&'a Entry>>,
}

/// Iterates over the cases that are in some report, in the order of the suite.
pub(super) fn rows(reports: &[Report]) -> impl Iterator<Item = Row<'_>> {
    cases::ALL.iter().filter_map(move |case| {
        let cells: Vec<_> = reports.iter().map(|report| report.entry(case.id)).collect();
        let first = *cells.iter().flatten().next()?;
        Some(Row { first, cells })
    })
}
