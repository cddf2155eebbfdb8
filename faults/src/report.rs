//! The report of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_conformance::Summary;
use serde::Serialize;

use crate::not_run::NotRun;
use crate::plan::Plan;
use crate::recorder::Recorder;

/// The report of a scenario in one mode.
///
/// The report of a failed run has all counts up to the failure.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The scenario's id.
    pub scenario: char,
    /// The disturbance, in a phrase.
    pub about: &'static str,
    /// The kind of the queues.
    pub mode: String,
    /// The seed of random times.
    pub seed: u64,
    /// Operations by outcome.
    pub counts: Summary,
    /// Effects beyond the first of an operation at the same process. The soak does not count them.
    pub repeated: usize,
    /// Failures by kind. A job that is pushed several times counts with each failed push.
    pub failures: BTreeMap<String, usize>,
    /// Measured figures by name.
    pub figures: BTreeMap<&'static str, String>,
    /// The duration of the run in whole seconds, rounded down.
    pub seconds: u64,
    /// The error of a failed run.
    pub failure: Option<String>,
    /// The reason why the scenario cannot run on this machine.
    pub not_run: Option<String>,
}

impl Report {
    /// Creates the report of a run from its recorder and its outcome.
    ///
    /// The reason for which a scenario was not run is no failure.
    pub(crate) fn new(
        scenario: char,
        about: &'static str,
        plan: &Plan,
        recorder: &Recorder,
        took: Duration,
        outcome: Result<()>,
    ) -> Self {
        let (failure, not_run) = match outcome {
            Ok(()) => (None, None),
            Err(error) if error.is::<NotRun>() => (None, Some(error.to_string())),
            Err(error) => (Some(format!("{error:#}")), None),
        };
        Self {
            scenario,
            about,
            mode: plan.mode.to_string(),
            seed: plan.seed,
            counts: recorder.summary(),
            repeated: recorder.repeated(),
            failures: recorder.failures(),
            figures: recorder.figures(),
            seconds: took.as_secs(),
            failure,
            not_run,
        }
    }

    /// Writes the report into a folder, as JSON.
    ///
    /// The file is `SCENARIO-MODE.json`, and replaces that of an earlier run. A folder that is
    /// missing is created. The result is the path of the file.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).context("cannot create the folder of the reports")?;
        let path = folder.join(format!("{}-{}.json", self.scenario, self.mode));
        std::fs::write(&path, serde_json::to_string_pretty(self)?)
            .context("cannot write a report")?;
        Ok(path)
    }
}

impl fmt::Display for Report {
    /// Formats the report as one line, and a second one with the error. A scenario that was not run
    /// has its reason instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, mode, seconds, .. } = self;
        if let Some(reason) = &self.not_run {
            return write!(f, "not run: {scenario}_{mode}: {reason}");
        }
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
    /// Returns the figures, and the failures with their counts, as one line.
    ///
    /// Both are sorted by name.
    fn remarks(&self) -> String {
        let figures = self.figures.iter().map(|(name, value)| format!("{name}: {value}"));
        let failures = self.failures.iter().map(|(kind, count)| format!("{count} × {kind}"));
        figures.chain(failures).collect::<Vec<_>>().join("; ")
    }
}

/// Reports side by side, as Markdown.
///
/// The rows have the order in which the reports were added. A failed scenario is marked behind its
/// id, and its error is not shown.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Report>);

impl Table {
    /// Adds a report, unless its scenario was not run.
    pub fn add(&mut self, report: Report) {
        if report.not_run.is_none() {
            self.0.push(report);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Mode, Size};

    fn report(outcome: Result<()>) -> Report {
        let (size, mode, soak) = (Size::Quick, Mode::Quorum, Duration::ZERO);
        let plan = Plan { size, mode, seed: 1, soak, program: PathBuf::new() };
        Report::new('X', "test", &plan, &Recorder::default(), Duration::ZERO, outcome)
    }

    #[test]
    fn scenario_that_cannot_run_is_neither_a_failure_nor_a_row_of_the_table() {
        let not_run = report(Err(NotRun("no namespaces".into()).into()));
        assert_eq!(not_run.failure, None);
        assert_eq!(not_run.to_string(), "not run: X_quorum: no namespaces");
        let failed = report(Err(anyhow::anyhow!("boom").context("cannot start")));
        assert!(failed.to_string().ends_with("\n  FAILED: cannot start: boom"), "{failed}");
        let mut table = Table::default();
        table.add(not_run);
        let empty = table.to_string();
        table.add(failed);
        assert!(!empty.contains("| X") && table.to_string().contains("| X **FAILED** |"));
    }
}
