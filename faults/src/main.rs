//! The program `polywire-faults`: runs scenarios, and is the peers in them.
//!
//! ```text
//! polywire-faults [A B …] [--quick|--full] [--seed N]
//! polywire-faults soak [--minutes N]
//! ```

mod options;

use std::path::Path;
use std::process::{ExitCode, Termination};

use anyhow::Result;
use clap::Parser;
use polywire_faults::{Plan, Report, Table, peer, shop_program};

use self::options::Options;

/// Runs a peer, a program of the shop, or the scenarios, by the first argument.
fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.split_first() {
        Some((first, rest)) if first == peer::ARGUMENT => {
            runtime.block_on(peer::run(rest))?;
            Ok(ExitCode::SUCCESS)
        }
        Some((first, rest)) if first == shop_program::ARGUMENT => {
            Ok(runtime.block_on(shop_program::run(rest))?.report())
        }
        _ => runtime.block_on(run(&Options::parse())),
    }
}

/// Runs the scenarios one after the other, and prints the counts side by side.
///
/// Writes each report to `target/faults`, also that of a failed run. The exit code is a failure if
/// one of the scenarios has failed. A scenario that cannot run on this machine does not count.
async fn run(options: &Options) -> Result<ExitCode> {
    let program = std::env::current_exe()?;
    let mut table = Table::default();
    let mut has_failed = false;
    let (size, seed, soak) = (options.size(), options.seed, options.soak());
    for scenario in options.scenarios() {
        for &mode in scenario.modes_of(size) {
            let plan = Plan { size, mode, seed, soak, program: program.clone() };
            println!("{} {mode}: {} …", scenario.id, scenario.about);
            let report: Report = scenario.run(&plan).await;
            println!("{report}");
            report.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/faults"))?;
            has_failed |= report.failure.is_some();
            table.add(report);
        }
    }
    print!("\n{table}");
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
