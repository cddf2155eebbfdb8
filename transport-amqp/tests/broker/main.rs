//! Tests of the AMQP transport against RabbitMQ.
//!
//! The conformance suite covers what all transports have in common. These tests cover the rest:
//! connections, confirms, returned messages, queue options, and brokers that are killed.
//!
//! Most tests need a broker: `cargo xtask test` starts one and sets `POLYWIRE_AMQP_URL`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

/// Lists tests with the kind of broker that each of them needs.
macro_rules! trials {
    ($($(#[$attribute:meta])* $kind:ident $test:ident),* $(,)?) => {
        vec![$($(#[$attribute])* $crate::$kind(stringify!($test), $test)),*]
    };
}

mod alarms;
mod at_most_once;
mod batch_peer;
mod batched_servers;
mod batches;
mod calls;
mod cancellation;
#[cfg(feature = "tls")]
mod certificates;
mod client_names;
mod connecting;
mod context;
mod dead_letters;
mod declines;
mod direct;
mod ended_runtime;
mod endpoints;
mod engine;
mod error_texts;
mod events;
mod fatal_messages;
mod health;
mod jobs;
mod lasting;
mod lost_servers;
mod malformed;
mod message_ids;
mod one_connection;
mod outages;
mod outbound;
mod own_topology;
mod peer;
mod permissions;
mod poison;
mod program_connections;
mod python;
mod queue_limits;
mod queues;
mod raw;
mod reconnects;
mod requeues;
mod retries;
mod roles;
mod send_options;
mod settings;
mod suspects;
mod topology;
mod unparsable;
mod user_ids;

use std::future::Future;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Trial};
use tokio::time::timeout;

fn main() {
    if peer::run_if_asked() {
        return;
    }
    let mut arguments = Arguments::from_args();
    // Tests spend most of their time waiting for a broker.
    arguments.test_threads.get_or_insert(3);
    let trials = [
        connecting::trials(),
        error_texts::trials(),
        calls::trials(),
        client_names::trials(),
        at_most_once::trials(),
        batches::trials(),
        batched_servers::trials(),
        malformed::trials(),
        unparsable::trials(),
        fatal_messages::trials(),
        cancellation::trials(),
        declines::trials(),
        direct::trials(),
        ended_runtime::trials(),
        jobs::trials(),
        requeues::trials(),
        queues::trials(),
        queue_limits::trials(),
        retries::trials(),
        dead_letters::trials(),
        message_ids::trials(),
        send_options::trials(),
        poison::trials(),
        suspects::trials(),
        events::trials(),
        reconnects::trials(),
        one_connection::trials(),
        program_connections::trials(),
        python::trials(),
        outages::trials(),
        outbound::trials(),
        alarms::trials(),
        health::trials(),
        settings::trials(),
        user_ids::trials(),
        permissions::trials(),
        roles::trials(),
        lasting::trials(),
        lost_servers::trials(),
        topology::trials(),
        own_topology::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// A test without a broker.
fn alone<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        run(test());
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
        Err(_) => Ok(skipped()),
    })
}

/// A test that starts nodes of its own. It is skipped where there is no shared broker either.
fn node<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::ignorable_test(name, move || {
        if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
            return Ok(skipped());
        }
        run(test());
        Ok(Completion::Completed)
    })
}

fn skipped() -> Completion {
    Completion::ignored_with("no broker; `cargo xtask test` starts one")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { timeout(TEST_MAX, test).await.expect("the test ends") });
}

/// Time limit of a test. Some tests start two nodes, each of which may take a minute on a busy
/// machine.
const TEST_MAX: Duration = Duration::from_mins(5);
