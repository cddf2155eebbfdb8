//! All tests, with a private RabbitMQ node: test programs and the examples of the documentation.

mod job;
mod pool;
mod summary;

use anyhow::Result;
use clap::Args;
use xshell::{Shell, cmd};

use self::job::Job;
use crate::broker::{Broker, BrokerVersion};
use crate::programs::Program;
use crate::temporary::TemporaryFolder;
use crate::{conformance, programs};

/// Options of `cargo xtask test`.
#[derive(Args, Debug)]
pub(crate) struct TestOptions {
    /// Leave out the tests that need RabbitMQ or take long, and say which.
    #[arg(long, conflicts_with = "arguments")]
    quick: bool,
    /// Version of RabbitMQ.
    #[arg(long, value_enum, default_value_t)]
    broker: BrokerVersion,
    /// Run the suite on this version of RabbitMQ as well. It is not run, with a line that says so,
    /// where the version cannot be prepared.
    #[arg(long, value_enum, value_name = "VERSION", conflicts_with_all = ["arguments", "quick"])]
    also: Option<BrokerVersion>,
    /// Test programs to run at a time. Most of their time they wait.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Arguments for `cargo test`, instead of all tests.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds all tests, runs them a few at a time, and prints the counts.
///
/// One node serves all test programs, and ends with the task. Test programs get a folder for
/// temporary files of their own, which must be empty when they have ended. With `--quick`, no node
/// is started, and the programs that need one are left out by name.
///
/// # Errors
///
/// If a test fails, leaves files in the temporary folder, or if the conformance matrix in
/// docs/conformance.md is stale.
pub(crate) fn run(shell: &Shell, options: &TestOptions) -> Result<()> {
    if !options.arguments.is_empty() {
        return run_some(shell, options);
    }
    let mut jobs = vec![Job::docs()];
    let programs = programs::build_tests(shell)?;
    let also = options.also.map(|version| suite_on(shell, version, &programs));
    let also_not_run = match also.transpose() {
        Ok(job) => {
            jobs.extend(job.flatten());
            None
        }
        Err(error) => Some(format!("not run: the suite on another RabbitMQ: {error:#}")),
    };
    jobs.extend(programs.into_iter().filter(|program| program.is_test).map(Job::program));
    let (node, mut environment) = match options.quick {
        true => (None, Vec::new()),
        false => {
            let broker = Broker::prepare(shell, options.broker)?;
            (Some(broker.start()?), broker.environment())
        }
    };
    let left_out: Vec<_> = match &node {
        Some(_) => Vec::new(),
        None => jobs.extract_if(.., |job| job.is_slow()).map(|job| job.name).collect(),
    };
    let temporary = TemporaryFolder::create("tests")?;
    environment.push(("TMPDIR".into(), temporary.path().into()));
    if let Some(node) = &node {
        println!("a private node of RabbitMQ {} serves the tests", node.ctl(&["version"])?.trim());
        environment.push(("POLYWIRE_AMQP_URL".into(), node.url().into()));
        let reports = conformance::fresh_reports(shell, options.broker)?;
        environment.push((conformance::REPORTS.into(), reports.into()));
    }
    let summary = pool::run(shell, jobs, options.jobs, &environment)?;
    println!("\n{summary}");
    summary.check()?;
    temporary.check_empty()?;
    if options.quick {
        println!("left out by --quick: {}", left_out.join(", "));
        return Ok(());
    }
    if options.broker == BrokerVersion::default() {
        conformance::check_reports(shell)?;
    } else {
        println!("not run: the comparison with docs/conformance.md, which has the default version");
    }
    if let Some(line) = also_not_run {
        println!("{line}");
    }
    println!("everything ran: units, documentation, and the suite on memory, ZeroMQ and RabbitMQ");
    Ok(())
}

/// Prepares a version, and returns the job of the suite on it.
///
/// A node of the version runs briefly here: it proves that the version starts, and states its
/// number. `None` if the suite is not among the programs.
fn suite_on(shell: &Shell, version: BrokerVersion, programs: &[Program]) -> Result<Option<Job>> {
    let broker = Broker::prepare(shell, version)?;
    let stated = broker.start()?.ctl(&["version"])?;
    let stated = stated.trim();
    println!("the suite runs on RabbitMQ {stated} as well");
    // Its reports are no part of the matrix. All other jobs may have another version.
    let reports = shell.create_dir(format!("target/conformance-{stated}"))?;
    let environment = vec![broker.selection(), (conformance::REPORTS.into(), Some(reports.into()))];
    let suite = |program| Job::suite_on(program, stated, environment.clone());
    Ok(programs.iter().find_map(suite))
}

/// Runs `cargo test` with some arguments, and with a node.
///
/// Neither the reports of the suite nor the temporary folder are checked.
fn run_some(shell: &Shell, options: &TestOptions) -> Result<()> {
    let arguments = &options.arguments;
    let broker = Broker::prepare(shell, options.broker)?;
    let _environment = broker.push_environment(shell);
    let node = broker.start()?;
    println!("a private node of RabbitMQ {} serves the tests", node.ctl(&["version"])?.trim());
    let _url = shell.push_env("POLYWIRE_AMQP_URL", node.url());
    Ok(cmd!(shell, "cargo test --locked {arguments...}").run()?)
}
