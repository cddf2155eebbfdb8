//! Child processes that get signals.

use std::time::Instant;

use libtest_mimic::Trial;
use polywire::{Client, MessagePack};
use tokio::task::JoinHandle;

use crate::http::{free_address, get};
use crate::program::Program;
use crate::shop::PATIENCE;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone readiness_turns_off_before_the_handlers_have_ended,
        alone interrupted_program_without_work_ends_at_once,
        alone grace_period_counts_from_the_signal,
        alone second_signal_ends_the_grace_period,
        alone signal_during_the_setup_drains_the_handlers,
        alone signals_during_the_setup_end_the_grace_period,
        alone signal_ends_the_wait_for_the_broker,
        alone shutdown_signal_resolves_on_each_signal,
    ]
}

/// Starts a sleeper over ZeroMQ, and a call to it that has begun.
async fn napping(variables: &[(&str, &str)]) -> (Program, JoinHandle<Option<String>>) {
    napping_in("sleeper", variables).await
}

/// Starts a sleeper in another role.
async fn napping_in(
    role: &str,
    variables: &[(&str, &str)],
) -> (Program, JoinHandle<Option<String>>) {
    let url = format!("zmq+tcp://{}", free_address());
    let mut all = vec![("POLYWIRE_URL", &*url)];
    all.extend(variables);
    let mut program = Program::start(role, &all);
    program.line("bound").await;
    let call = tokio::spawn(async move {
        let transport = polywire::connect(&url).await.unwrap();
        let client = Client::connect(&transport, "sleeper", MessagePack).await.unwrap();
        client.with_timeout(PATIENCE).call("nap", &()).await.ok()
    });
    program.line("begun").await;
    (program, call)
}

async fn readiness_turns_off_before_the_handlers_have_ended() {
    let probe = free_address();
    let (mut program, call) = napping(&[("POLYWIRE_PROBE", &probe.to_string())]).await;
    assert_eq!(get(probe, "/ready").await, (200, "ready\n".to_owned()));
    program.signal("TERM");
    program.line("stopping").await;
    assert_eq!(get(probe, "/ready").await, (503, "stopping\n".to_owned()));
    assert_eq!(get(probe, "/live").await.0, 200);
    assert!(program.is_running());
    program.release();
    assert_eq!(program.exit().await, (0, String::new()));
    assert_eq!(call.await.unwrap().as_deref(), Some("rested"));
}

async fn interrupted_program_without_work_ends_at_once() {
    let url = format!("zmq+tcp://{}", free_address());
    let mut program = Program::start("sleeper", &[("POLYWIRE_URL", &url)]);
    program.line("bound").await;
    program.signal("INT");
    assert_eq!(program.exit().await, (0, String::new()));
}

async fn grace_period_counts_from_the_signal() {
    let (program, call) = napping(&[("POLYWIRE_GRACE", "300ms")]).await;
    let signaled = Instant::now();
    program.signal("TERM");
    let (code, text) = program.exit().await;
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("sleeper"), "{text}");
    assert!(signaled.elapsed().as_millis() >= 300, "{:?}", signaled.elapsed());
    assert_eq!(call.await.unwrap(), None);
}

async fn second_signal_ends_the_grace_period() {
    let (mut program, call) = napping(&[("POLYWIRE_GRACE", "1h")]).await;
    program.signal("TERM");
    program.line("stopping").await;
    program.signal("TERM");
    let (code, text) = program.exit().await;
    assert_eq!(code, 75, "{text}");
    assert_eq!(call.await.unwrap(), None);
}

async fn signal_during_the_setup_drains_the_handlers() {
    let probe = free_address();
    let variables = [("POLYWIRE_PROBE", &*probe.to_string())];
    let (mut program, call) = napping_in("sleeper-in-setup", &variables).await;
    assert_eq!(get(probe, "/ready").await, (503, "starting\n".to_owned()));
    program.signal("TERM");
    program.line("stopping").await;
    assert_eq!(get(probe, "/ready").await, (503, "stopping\n".to_owned()));
    assert!(program.is_running());
    program.release();
    assert_eq!(program.exit().await, (0, String::new()));
    assert_eq!(call.await.unwrap().as_deref(), Some("rested"));
}

async fn signals_during_the_setup_end_the_grace_period() {
    let (mut program, call) = napping_in("sleeper-in-setup", &[("POLYWIRE_GRACE", "1h")]).await;
    program.signal("TERM");
    program.line("stopping").await;
    program.signal("TERM");
    let (code, text) = program.exit().await;
    assert_eq!(code, 75, "{text}");
    assert_eq!(call.await.unwrap(), None);
}

async fn shutdown_signal_resolves_on_each_signal() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start("without-app", &[]);
        program.line("bound").await;
        program.signal(signal);
        assert_eq!(program.exit().await, (0, String::new()));
    }
}

async fn signal_ends_the_wait_for_the_broker() {
    let (broker, probe) = (free_address(), free_address());
    let listener = tokio::net::TcpListener::bind(broker).await.unwrap();
    let program = Program::start(
        "sleeper",
        &[
            ("POLYWIRE_URL", &format!("amqp://{broker}")),
            ("POLYWIRE_START_WAIT", "forever"),
            ("POLYWIRE_PROBE", &probe.to_string()),
        ],
    );
    // The program tries to connect to a broker that says nothing, so it listens for signals by now.
    let silent = listener.accept().await.unwrap();
    assert_eq!(get(probe, "/ready").await, (503, format!("waiting for the broker at {broker}\n")));
    assert_eq!(get(probe, "/live").await.0, 200);
    program.signal("TERM");
    assert_eq!(program.exit().await, (0, String::new()));
    drop(silent);
}
