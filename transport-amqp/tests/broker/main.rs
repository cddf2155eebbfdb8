//! What is AMQP's own: connecting and failing to, returned messages, queues that go, a broker that
//! dies.
//!
//! Most of it needs a broker: `cargo xtask test` starts one and says where in `POLYWIRE_AMQP_URL`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

mod calls;
mod connecting;
mod control;
mod direct;
mod events;
mod flow;
mod identity;
mod jobs;
mod outages;
mod outbound;
mod queues;
mod retries;
mod stage;

use std::future::Future;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Trial};
use tokio::time::timeout;

fn main() {
    let mut arguments = Arguments::from_args();
    // Most of the time they wait for a broker.
    arguments.test_threads.get_or_insert(3);
    let trials = [
        connecting::trials(),
        calls::trials(),
        control::trials(),
        direct::trials(),
        jobs::trials(),
        queues::trials(),
        retries::trials(),
        events::trials(),
        outages::trials(),
        outbound::trials(),
        flow::trials(),
        identity::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// A test that needs no broker.
pub(crate) fn alone<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        run(test());
        Ok(())
    })
}

/// A test that needs a broker, given by its URL.
pub(crate) fn broker<F: Future<Output = ()> + 'static>(name: &str, test: fn(String) -> F) -> Trial {
    Trial::ignorable_test(name, move || match std::env::var("POLYWIRE_AMQP_URL") {
        Ok(url) => {
            run(test(url));
            Ok(Completion::Completed)
        }
        Err(_) => Ok(not_run()),
    })
}

/// A test that starts a node of its own; where it may is told by the same variable.
pub(crate) fn node<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::ignorable_test(name, move || {
        if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
            return Ok(not_run());
        }
        run(test());
        Ok(Completion::Completed)
    })
}

fn not_run() -> Completion {
    Completion::ignored_with("for want of a broker; `cargo xtask test` starts one")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { timeout(TEST_MAX, test).await.expect("the test ends") });
}

/// A test that hangs ends. Some start two nodes, each of which may take a minute on a machine that
/// is busy.
const TEST_MAX: Duration = Duration::from_mins(5);
