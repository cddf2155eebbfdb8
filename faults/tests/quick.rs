//! The scenarios in their quick size.
//!
//! `cargo xtask test` installs RabbitMQ if need be, and sets `POLYWIRE_AMQP_URL`.

use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use polywire_faults::{Mode, Plan, Scenario, Size};

fn main() {
    let mut arguments = Arguments::from_args();
    // A scenario spends half of its time waiting for nodes that start.
    arguments.test_threads.get_or_insert(2);
    let modes = |scenario: &Scenario| scenario.modes_of(Size::Quick).iter();
    let trials = Scenario::ALL
        .iter()
        .filter(|scenario| !LEFT_OUT.contains(&scenario.id))
        .flat_map(|scenario| modes(scenario).map(|mode| trial(*scenario, *mode)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Scenarios that the tests leave out: O takes minutes in its quick size, too, and M restarts the
/// broker under jobs as F does.
const LEFT_OUT: &[char] = &['F', 'O'];

fn trial(scenario: Scenario, mode: Mode) -> Trial {
    let name = format!("{}_{mode}::{}", scenario.id, scenario.about.replace([' ', ','], "_"));
    Trial::ignorable_test(name, move || {
        if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
            return Ok(Completion::ignored_with("no broker; `cargo xtask test` starts one"));
        }
        let program = env!("CARGO_BIN_EXE_polywire-faults").into();
        let plan = Plan { size: Size::Quick, mode, seed: 1, soak: Duration::ZERO, program };
        let report = tokio::runtime::Runtime::new()?.block_on(scenario.run(&plan));
        println!("{report}");
        match (&report.failure, &report.not_run) {
            (Some(_), _) => Err(Failed::from(report.to_string())),
            (None, Some(reason)) => Ok(Completion::ignored_with(reason)),
            (None, None) => Ok(Completion::Completed),
        }
    })
}
