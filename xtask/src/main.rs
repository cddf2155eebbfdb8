//! The tasks of the workspace: `cargo xtask --help`.
//!
//! Each task is a module with a function `run`, and its options are a type of the same module. All
//! tasks share one shell, whose folder is the root of the workspace.
//!
//! A task ends with its first error. Checks that are independent of one another, such as those of
//! style, all run before the task fails.

mod bench;
mod broker;
mod conformance;
mod costs;
mod examples;
mod faults;
mod features;
mod new_backend;
mod programs;
mod public_api;
mod release;
mod source;
mod style;
mod temporary;
mod test;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use xshell::Shell;

/// The tasks of the polywire workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Runs the tests, with a private RabbitMQ node.
    Test(test::TestOptions),
    /// Runs the conformance suite on every backend, and prints the results side by side.
    Conformance(conformance::ConformanceOptions),
    /// Writes the crate of a new backend, which supports nothing yet, and its conformance suite.
    NewBackend(new_backend::NewBackendOptions),
    /// Checks every set of features, and the dependencies that each brings along.
    Features,
    /// Runs the examples on each transport, and checks their output.
    Examples(examples::ExampleOptions),
    /// Counts instructions and allocations of a call over memory, with valgrind.
    Costs(costs::CostsOptions),
    /// Measures calls beside the bare engines: a table, figures as JSON, and a page with plots.
    Bench(bench::BenchOptions),
    /// Prepares a version of RabbitMQ for the tests, and starts a node of it once.
    Broker(broker::BrokerOptions),
    /// Runs the fault scenarios in full: minutes.
    Faults(faults::FaultOptions),
    /// Runs the fault scenario without an end of its own, and watches memory.
    Soak(faults::SoakOptions),
    /// Checks prose, sizes, import cycles, type names, manifests and the public surface.
    Style,
    /// Prints the public surface of the published crates.
    PublicApi(public_api::PublicApiOptions),
    /// Runs the checks before a release.
    ReleaseCheck,
}

/// Runs the task of the command line.
///
/// An error goes to standard error with all its causes. Wrong arguments end the process with code
/// 2, before a task starts.
fn main() -> ExitCode {
    match run(&Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a task in the root of the workspace, wherever cargo was called. An error ends the process
/// with code 1.
///
/// Only the shell changes its folder, and the process keeps that of the caller. So a path that a
/// task opens without the shell has to be absolute.
fn run(task: &Task) -> Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    match task {
        Task::Test(options) => test::run(&shell, options),
        Task::Conformance(options) => conformance::run(&shell, options),
        Task::NewBackend(options) => new_backend::run(&shell, options),
        Task::Features => features::run(&shell),
        Task::Examples(options) => examples::run(&shell, options),
        Task::Costs(options) => costs::run(&shell, options),
        Task::Bench(options) => bench::run(&shell, options),
        Task::Broker(options) => broker::run(&shell, options),
        Task::Faults(options) => faults::run(&shell, options),
        Task::Soak(options) => faults::soak(&shell, options),
        Task::Style => style::run(&shell),
        Task::PublicApi(options) => public_api::run(&shell, options),
        Task::ReleaseCheck => release::run(&shell),
    }
}
