//! Tests of components: in this process, and in child processes that get real signals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

/// Lists tests with the kind of each of them.
macro_rules! trials {
    ($($kind:ident $test:ident),* $(,)?) => {
        vec![$($crate::$kind(stringify!($test), $test)),*]
    };
}

mod broker;
mod exits;
mod gates;
mod http;
mod instances;
mod layers;
mod probes;
mod program;
mod restarts;
mod settings;
mod shop;
mod signals;
mod starts;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::Builder;
use tokio::time::timeout;

fn main() -> ExitCode {
    if let Some(code) = program::run_if_asked() {
        return code;
    }
    let trials = [
        broker::trials(),
        exits::trials(),
        gates::trials(),
        instances::trials(),
        layers::trials(),
        probes::trials(),
        restarts::trials(),
        settings::trials(),
        signals::trials(),
        starts::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit()
}

/// A test on a runtime of its own.
fn alone<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        run(test());
        Ok(())
    })
}

/// A test on a clock that is paused, and goes forward when nothing else can go on.
fn paused<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(test());
        Ok(())
    })
}

/// A test on the shared broker, whose URL it gets.
fn broker<F: Future<Output = ()> + 'static>(name: &str, test: fn(String) -> F) -> Trial {
    Trial::ignorable_test(name, move || match std::env::var("POLYWIRE_AMQP_URL") {
        Ok(url) => {
            run(test(url));
            Ok(Completion::Completed)
        }
        Err(_) => Ok(Completion::ignored_with("no broker; `cargo xtask test` starts one")),
    })
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(TEST_MAX, test).await.expect("the test ends") });
}

/// Time limit of a test, on a busy machine.
const TEST_MAX: Duration = Duration::from_mins(2);
