//! What came of a scenario.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_conformance::Summary;
use serde::Serialize;

use crate::book::Book;
use crate::{Plan, Scenario};

/// What came of a scenario, in one mode.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The scenario's letter.
    pub scenario: char,
    /// What it is about.
    pub about: &'static str,
    /// Which kind the queues were of.
    pub mode: String,
    /// What its dice started with.
    pub seed: u64,
    /// What was counted.
    pub counts: Summary,
    /// Effects beyond the first of their operation at one and the same process.
    pub repeated: usize,
    /// Failures by their kind.
    pub failures: BTreeMap<String, usize>,
    /// What else was measured.
    pub figures: BTreeMap<&'static str, String>,
    /// How long it took.
    pub seconds: u64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl Report {
    pub(crate) fn new(
        scenario: &Scenario,
        plan: &Plan,
        book: &Book,
        took: Duration,
        outcome: Result<()>,
    ) -> Self {
        Self {
            scenario: scenario.letter,
            about: scenario.about,
            mode: plan.mode.to_string(),
            seed: plan.seed,
            counts: book.sum(),
            repeated: book.repeated(),
            failures: book.failures(),
            figures: book.figures(),
            seconds: took.as_secs(),
            failure: outcome.err().map(|error| format!("{error:#}")),
        }
    }

    /// Writes it into a folder, as JSON.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).context("the folder of the reports")?;
        let path = folder.join(format!("{}-{}.json", self.scenario, self.mode));
        std::fs::write(&path, serde_json::to_string_pretty(self)?).context("a report")?;
        Ok(path)
    }
}

impl fmt::Display for Report {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, mode, seconds, .. } = self;
        let Summary {
            attempted,
            acknowledged,
            failed,
            indeterminate,
            lost,
            duplicated,
            unexpected,
            ..
        } = self.counts;
        write!(
            f,
            "{scenario} {mode}: {attempted} attempted: {acknowledged} acknowledged, {failed} failed, \
             {indeterminate} indeterminate; {lost} lost, {duplicated} duplicated ({} at one process), \
             {unexpected} unexpected; {seconds} s; {}",
            self.repeated,
            self.remarks()
        )?;
        self.failure.as_ref().map_or(Ok(()), |failure| write!(f, "\n  FAILED: {failure}"))
    }
}

impl Report {
    fn remarks(&self) -> String {
        let figures = self.figures.iter().map(|(name, value)| format!("{name}: {value}"));
        let failures = self.failures.iter().map(|(kind, count)| format!("{count} × {kind}"));
        figures.chain(failures).collect::<Vec<_>>().join("; ")
    }
}

/// Reports side by side, as Markdown.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Report>);

impl Table {
    /// Adds a report.
    pub fn add(&mut self, report: Report) {
        self.0.push(report);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| | queues | attempted | acknowledged | failed | indeterminate | lost | duplicated | unexpected | \
             time | also |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|")?;
        for report in &self.0 {
            let Summary {
                attempted,
                acknowledged,
                failed,
                indeterminate,
                lost,
                duplicated,
                unexpected,
                ..
            } = report.counts;
            let Report { scenario, mode, seconds, .. } = report;
            let failed_mark = if report.failure.is_some() { " **FAILED**" } else { "" };
            writeln!(
                f,
                "| {scenario}{failed_mark} | {mode} | {attempted} | {acknowledged} | {failed} | {indeterminate} | \
                 **{lost}** | {duplicated} | {unexpected} | {seconds} s | {} |",
                report.remarks()
            )?;
        }
        Ok(())
    }
}
