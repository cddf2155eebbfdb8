//! The rounds of a run.
//!
//! A round makes each step once, so a machine that slows down affects all subjects of a round
//! alike.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polywire_rabbitmq_node::Node;

use crate::figures::Figures;
use crate::options::Options;
use crate::plan::{Step, limit_trial, steps};
use crate::process::measure;
use crate::programs::Programs;
use crate::progress::Progress;
use crate::table::Table;
use crate::trial::{Kind, Trial};

/// Measures all steps, round by round.
///
/// A measurement that fails is kept as a failure, and the run goes on.
///
/// One broker serves the whole run, and ends when the table is returned. The figures are in memory
/// until then, so a run that is killed leaves none.
///
/// # Errors
///
/// If there is nothing to measure, or if a broker is needed and cannot be started.
pub(crate) fn run(options: &Options) -> Result<Table> {
    let programs = options.programs();
    let subjects = options.subjects(|subject| programs.missing(subject))?;
    let steps = steps(options, &subjects);
    ensure!(!steps.is_empty(), "none of these subjects has a measurement in these parts");
    let needs_broker = steps.iter().any(|step| step.subject.needs_broker());
    let broker = needs_broker.then(Node::start).transpose()?;
    let broker_url = broker.as_ref().map_or("none".to_owned(), Node::url);
    let rounds = options.rounds();
    let in_round = |round| move |step: &&Step| round == 1 || !step.is_once;
    let expected = (1..=rounds).flat_map(|round| steps.iter().filter(in_round(round)));
    let mut progress = Progress::new(expected.map(Step::expected).sum::<Duration>());
    let mut table = Table::new(options.against);
    for round in 1..=rounds {
        for step in steps.iter().filter(in_round(round)) {
            let name = format!("{round} of {rounds}");
            progress.begin(&name, step);
            match measure_step(&programs, &broker_url, &mut table, round, step) {
                Ok(figures) => {
                    progress.end(&name, step, &figures);
                    table.add(round, step.subject, step.trial, figures);
                }
                Err(error) => {
                    progress.fail(&name, step, &error);
                    table.failures.push((step.subject, step.trial, format!("{error:#}")));
                }
            }
        }
    }
    progress.finish();
    Ok(table)
}

/// Makes the measurement of a step. One at a share of the limit needs the limit of the same round,
/// which is measured before if it is not in the table.
///
/// The measured limit becomes a row of the table as well. If the limit cannot be measured, the step
/// fails.
fn measure_step(
    programs: &Programs,
    broker: &str,
    table: &mut Table,
    round: u32,
    step: &Step,
) -> Result<Figures> {
    let Step { subject, trial, times, .. } = *step;
    let program = || programs.command(subject);
    let make = |trial: Trial, rate: u64| measure(program, subject, broker, trial, rate, times);
    let rate = match trial.kind {
        Kind::Rate => trial.number as u64,
        Kind::Open => {
            // The rate of another number of calls in flight is not the limit.
            let limit = limit_trial(trial.body);
            if table.rate(round, subject, limit).is_none() {
                table.add(round, subject, limit, make(limit, 0)?);
            }
            let limit = table.rate(round, subject, limit).context("no limit")?;
            (limit * trial.number as f64 / 100.0) as u64
        }
        _ => 0,
    };
    make(trial, rate)
}
