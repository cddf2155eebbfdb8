//! Servers in separate processes that are frozen, or killed and started again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_conformance::{OperationLog, OperationOutcome};
use polywire_core::{CallError, Client, Code, ErrorKind, Window};
use polywire_zmq::Zmq;
use tokio::time::timeout;

use crate::support::address::free_address;
use crate::support::engine::ENGINE;
use crate::support::folder::TempFolder;
use crate::support::process::{ServerProcess, client, recorded_calls};

const PATIENCE: Duration = Duration::from_secs(120);
const HEARTBEAT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn frozen_server_gets_no_calls_until_it_thaws() {
    let url =
        format!("zmq+tcp://127.0.0.1:*?engine={ENGINE}&heartbeat_ms={}", HEARTBEAT.as_millis());
    let [frozen, other] = [(); 2].map(|()| ServerProcess::start(&url));
    let addresses =
        [&frozen, &other].map(|server| server.endpoints[0].trim_start_matches("tcp://").to_owned());
    let url = format!(
        "zmq+tcp://{}?engine={ENGINE}&heartbeat_ms={}",
        addresses.join(","),
        HEARTBEAT.as_millis()
    );
    let transport = Zmq::connect(&url).await.unwrap();
    let client = client(&transport).await;
    let process_id = async || client.with_timeout(PATIENCE).call::<u32>("process", &()).await;

    let both = [frozen.id(), other.id()];
    wait_for(&process_id, both[0]).await;
    wait_for(&process_id, both[1]).await;

    frozen.freeze();
    let begun = Instant::now();
    // Calls go to both servers in turn. Those at the frozen server fail when its heartbeats stop.
    let (mut last_failure, mut in_a_row) = (Duration::ZERO, 0);
    while in_a_row < 100 {
        match process_id().await {
            Ok(answered) if answered == both[1] => in_a_row += 1,
            // The signal takes a moment to arrive.
            Ok(_) => in_a_row = 0,
            Err(CallError::Failed(error)) => {
                println!("after {:.1?}: {error}", begun.elapsed());
                (last_failure, in_a_row) = (begun.elapsed(), 0);
            }
            // A call must not wait for its deadline.
            Err(other) => panic!("{other}"),
        }
    }
    println!("no calls after {last_failure:.1?}, with a heartbeat of {HEARTBEAT:?}");
    // Two heartbeats pass without an answer. A busy machine may be late.
    assert!(last_failure < 2 * HEARTBEAT + Duration::from_secs(4), "{last_failure:?}");

    frozen.thaw();
    wait_for(&process_id, both[0]).await;
}

/// Calls until this process replies.
async fn wait_for(process_id: &impl AsyncFn() -> Result<u32, CallError>, process: u32) {
    let answers = async {
        while !matches!(process_id().await, Ok(answered) if answered == process) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, answers).await.expect("the server gets calls again");
}

/// A call whose server is killed fails at once: as interrupted if it runs at most once, else as
/// disconnected. The client does not know which of the calls had begun, and some had not.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_killed_server_fail_at_once_by_their_mark() {
    const CALLS: u64 = 200;
    let folder = TempFolder::new();
    let record = folder.file("begun");
    let url = format!("zmq+tcp://127.0.0.1:*?engine={ENGINE}");
    let server = ServerProcess::start_recording(&url, Some(&record));
    let address = server.endpoints[0].trim_start_matches("tcp://");
    let transport = Zmq::connect(&format!("zmq+tcp://{address}?engine={ENGINE}")).await.unwrap();
    let client = client(&transport).await.with_timeout(PATIENCE);
    let runs_at_most_once = |number: u64| number % 2 == 1;
    let mut calls = Vec::new();
    for number in 0..CALLS {
        let call = client.request("hang");
        let call = if runs_at_most_once(number) { call.at_most_once() } else { call };
        let mut call = call.start::<u64>(&(number,)).unwrap();
        call.sent().await;
        calls.push(call);
    }
    // As many as the window of the server.
    let begun = || recorded_calls(&record).len();
    let all_begun = wait_until(|| begun() >= Window::default().messages());
    timeout(PATIENCE, all_begun).await.expect("the server begins a window of calls");
    server.kill();
    let killed = Instant::now();
    for (number, call) in (0..).zip(calls) {
        let outcome = timeout(PATIENCE, call).await.expect("the call ends");
        match outcome {
            Err(CallError::Fault(fault)) if runs_at_most_once(number) => {
                assert_eq!(fault.code, Code::Interrupted, "{fault}");
            }
            Err(CallError::Failed(error)) if !runs_at_most_once(number) => {
                assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
            }
            other => panic!("call {number} ended with {other:?}"),
        }
    }
    // The end of the connection shows the death. Two heartbeats would take ten seconds.
    assert!(killed.elapsed() < Duration::from_secs(8), "{:?}", killed.elapsed());
    assert!((begun() as u64) < CALLS, "all calls had begun");
}

/// The size of a run.
#[derive(Clone, Copy, Debug)]
struct Size {
    restarts: usize,
    callers: usize,
    calls: usize,
}

const QUICK: Size = Size { restarts: 5, callers: 50, calls: 2000 };
const FULL: Size = Size { restarts: 50, callers: 100, calls: 20_000 };

#[tokio::test(flavor = "multi_thread")]
async fn each_call_ends_while_the_server_is_killed_and_restarted() {
    kill_and_restart(QUICK).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn each_of_many_calls_ends_while_the_server_is_killed_and_restarted() {
    kill_and_restart(FULL).await;
}

/// The deadline of a call that is not idempotent.
const DEADLINE: Duration = Duration::from_secs(5);
/// The deadline of an idempotent call, which is sent again after each restart.
const IDEMPOTENT_DEADLINE: Duration = Duration::from_secs(100);

/// The calls of a run, by the time of their end, and their outcomes.
///
/// The server numbers are `2 * id` for ordinary and `2 * id + 1` for idempotent calls.
#[derive(Default)]
struct Calls {
    ordinary: OperationLog,
    idempotent: OperationLog,
    done: AtomicUsize,
    outcomes: Mutex<BTreeMap<String, usize>>,
    /// The duration of the slowest call that is not idempotent.
    slowest: Mutex<Duration>,
}

impl Calls {
    /// Makes a call, and logs its outcome.
    async fn call(&self, client: &Client<MessagePack>, is_idempotent: bool) {
        let log = if is_idempotent { &self.idempotent } else { &self.ordinary };
        let id = log.attempt();
        let number = 2 * id + u64::from(is_idempotent);
        let call = client.request("echo");
        let call = match is_idempotent {
            true => call.idempotent().timeout(IDEMPOTENT_DEADLINE),
            false => call.timeout(DEADLINE),
        };
        let begun = Instant::now();
        let outcome = timeout(PATIENCE, call.call::<u64>(&(number,))).await.expect("the call ends");
        let took = begun.elapsed();
        log.finish(id, OperationOutcome::of(&outcome));
        assert!(outcome.is_ok() || !is_idempotent, "an idempotent call ended with {outcome:?}");
        let name = match &outcome {
            Ok(reply) => {
                assert_eq!(*reply, number);
                if is_idempotent { "ok, idempotent".to_owned() } else { "ok".to_owned() }
            }
            Err(CallError::Failed(error)) => format!("{:?}", error.kind()),
            Err(fault) => format!("{fault:?}"),
        };
        *self.outcomes.lock().unwrap().entry(name).or_default() += 1;
        if !is_idempotent {
            let mut slowest = self.slowest.lock().unwrap();
            *slowest = took.max(*slowest);
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs the calls that the servers have handled.
    fn log_effects(&self, numbers: &[u64]) {
        for number in numbers {
            let log = if number % 2 == 1 { &self.idempotent } else { &self.ordinary };
            log.effect(number / 2);
        }
    }
}

/// Kills the server and starts it again at the same port while clients call it. Every second call
/// is idempotent.
///
/// The server records each call in a file before it replies. A reply without a record is a lost
/// effect. A record of a call that failed as unsent is unexpected, and so are two records of a call
/// that is not idempotent.
async fn kill_and_restart(size: Size) {
    let url = format!("zmq+tcp://{}?engine={ENGINE}", free_address());
    let folder = TempFolder::new();
    let record = folder.file("calls");
    let mut server = ServerProcess::start_recording(&url, Some(&record));
    let calls = Arc::new(Calls::default());
    // The calls are spread over the restarts.
    let due = Arc::new(tokio::sync::Semaphore::new(0));

    let callers = (0..size.callers).map(|_| {
        let (calls, url, due) = (calls.clone(), url.clone(), due.clone());
        tokio::spawn(async move {
            let url = format!("{url}&connect_timeout_ms=100000");
            let transport = Zmq::connect(&url).await.unwrap();
            let client = client(&transport).await;
            for number in 0..size.calls / size.callers {
                due.acquire().await.unwrap().forget();
                calls.call(&client, number % 2 == 0).await;
            }
        })
    });
    let callers = tokio::spawn(join_all(callers));

    let share = size.calls / (size.restarts + 1);
    for restart in 0..size.restarts {
        due.add_permits(share);
        // The server is killed in the middle of the share.
        let target = share * restart + share / 2;
        timeout(PATIENCE, wait_until(|| calls.done.load(Ordering::Relaxed) >= target))
            .await
            .expect("calls go on");
        server.kill();
        let (url, record) = (url.clone(), record.clone());
        let restarted = move || ServerProcess::start_recording(&url, Some(&record));
        server = tokio::task::spawn_blocking(restarted).await.unwrap();
    }
    due.add_permits(size.calls);
    for caller in timeout(PATIENCE * 3, callers).await.expect("all calls end").unwrap() {
        caller.unwrap();
    }
    server.kill();
    calls.log_effects(&recorded_calls(&record));
    check(size, &calls);
}

fn check(size: Size, calls: &Calls) {
    let (ordinary, idempotent) = (calls.ordinary.summary(), calls.idempotent.summary());
    let (outcomes, slowest) =
        (calls.outcomes.lock().unwrap().clone(), *calls.slowest.lock().unwrap());
    println!("{size:?}: ordinary: {ordinary:?}; idempotent: {idempotent:?}; {outcomes:?}");
    println!("the slowest call that is not idempotent took {slowest:.1?}");
    assert_eq!(ordinary.attempted + idempotent.attempted, size.calls / size.callers * size.callers);
    assert_eq!((ordinary.lost, ordinary.unexpected, ordinary.duplicated), (0, 0, 0));
    // An idempotent call that is sent again may have two effects.
    assert_eq!((idempotent.lost, idempotent.unexpected), (0, 0));
    let acknowledged = ordinary.acknowledged + idempotent.acknowledged;
    assert!(acknowledged > size.calls / 2, "{acknowledged}");
    // The deadline is that of the client, and a busy machine may be late.
    assert!(slowest < DEADLINE + Duration::from_secs(5), "{slowest:?}");
    for outcome in outcomes.keys() {
        let expected = ["ok", "ok, idempotent", "Disconnected", "Unroutable", "DeadlineExceeded"];
        assert!(expected.contains(&&**outcome), "a call ended as {outcome}");
    }
}

async fn wait_until(is_met: impl Fn() -> bool) {
    while !is_met() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
