//! The matrix as a table in Markdown.

use super::{Matrix, Row};
use crate::{Entry, Outcome};

pub(super) fn table(matrix: &Matrix) -> String {
    let backends = matrix.reports().iter().map(|report| report.backend.clone());
    let rule = matrix.reports().iter().map(|_| "---".to_owned());
    let verdicts = matrix.reports().iter().map(|report| {
        let word = if report.is_conformant() { "yes" } else { "**no**" };
        word.to_owned()
    });
    let mut table = line("case", backends) + &line("---", rule);
    table.extend(matrix.rows().map(|row| case(&row)));
    table += &line("**conformant**", verdicts);
    table
        + "\n● belongs to the minimum set. What is in words was not run, for want of what it says.\n"
}

fn case(Row { first, cells }: &Row<'_>) -> String {
    let mark = if first.minimum { " ●" } else { "" };
    line(
        &format!("`{}`{mark}", first.case),
        cells.iter().map(|cell| cell.map_or_else(String::new, word)),
    )
}

fn word(entry: &Entry) -> String {
    match &entry.outcome {
        Outcome::Passed => "✓".to_owned(),
        // What it saw differs from run to run.
        Outcome::Failed(_) => "**failed**".to_owned(),
        Outcome::NotRun(missing) => missing.clone(),
    }
}

fn line(head: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = std::iter::once(head.to_owned()).chain(cells).collect();
    format!("| {} |\n", cells.join(" | "))
}
