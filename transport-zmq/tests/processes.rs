//! Servers that are frozen, and servers that are killed and started again, in processes of their
//! own.

#![cfg(all(unix, feature = "engine-omq"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use polywire_conformance::{OperationLog, OperationOutcome};
use polywire_core::CallError;
use polywire_zmq::Zmq;
use tokio::time::timeout;

use self::support::{Process, client};

const PATIENCE: Duration = Duration::from_secs(120);
const HEARTBEAT: Duration = Duration::from_millis(500);

#[test]
fn serves_in_a_process_of_its_own() {
    support::serve_if_told();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_passed_over_until_it_thaws() {
    let url = format!("zmq+tcp://127.0.0.1:*?heartbeat_ms={}", HEARTBEAT.as_millis());
    let [frozen, other] = [(); 2].map(|()| Process::start(&url));
    let addresses =
        [&frozen, &other].map(|server| server.endpoints[0].trim_start_matches("tcp://").to_owned());
    let url = format!("zmq+tcp://{}?heartbeat_ms={}", addresses.join(","), HEARTBEAT.as_millis());
    let transport = Zmq::from_url(&url).unwrap();
    let client = client(&transport).await;
    let who = async || client.with_timeout(PATIENCE).call::<u32>("process", &()).await;

    let both = [frozen.id(), other.id()];
    wait_for(&who, both[0]).await;
    wait_for(&who, both[1]).await;

    frozen.freeze();
    let begun = Instant::now();
    // Of two calls one goes to either, and what goes to the frozen one ends when that is given up.
    let (mut last_failure, mut in_a_row) = (Duration::ZERO, 0);
    while in_a_row < 100 {
        match who().await {
            Ok(answered) if answered == both[1] => in_a_row += 1,
            // A signal takes a moment to arrive.
            Ok(_) => in_a_row = 0,
            Err(CallError::Failed(error)) => {
                println!("after {:.1?}: {error}", begun.elapsed());
                (last_failure, in_a_row) = (begun.elapsed(), 0);
            }
            // Not by its deadline, above all.
            Err(other) => panic!("{other}"),
        }
    }
    println!("passed over after {last_failure:.1?}, with a heartbeat of {HEARTBEAT:?}");

    frozen.thaw();
    wait_for(&who, both[0]).await;
}

/// Calls until this process answers.
async fn wait_for(who: &impl AsyncFn() -> Result<u32, CallError>, process: u32) {
    let answers = async {
        while !matches!(who().await, Ok(answered) if answered == process) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, answers).await.expect("it is chosen again");
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Size {
    restarts: usize,
    callers: usize,
    calls: usize,
}

const QUICK: Size = Size { restarts: 5, callers: 50, calls: 2000 };
const FULL: Size = Size { restarts: 50, callers: 100, calls: 20_000 };

#[tokio::test(flavor = "multi_thread")]
async fn each_call_ends_while_the_server_is_killed_and_started_again() {
    kill_and_restart(QUICK).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn each_of_many_calls_ends_while_the_server_is_killed_and_started_again() {
    kill_and_restart(FULL).await;
}

/// Kills the server and starts it again at the same port, as often as said and for as long as there
/// are calls, and sees how the calls end, of which every second one is idempotent.
async fn kill_and_restart(size: Size) {
    const DEADLINE: Duration = Duration::from_secs(5);
    // Those may be sent again, as long as somebody waits.
    const IDEMPOTENT_DEADLINE: Duration = Duration::from_secs(100);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("zmq+tcp://127.0.0.1:{port}");
    let mut server = Process::start(&url);
    let (tally, done) = (Arc::new(OperationLog::new()), Arc::new(AtomicUsize::new(0)));
    let (ends, slowest) = (
        Arc::new(Mutex::new(BTreeMap::<String, usize>::new())),
        Arc::new(Mutex::new(Duration::ZERO)),
    );
    // The calls are spread over the restarts.
    let due = Arc::new(tokio::sync::Semaphore::new(0));

    let callers = (0..size.callers).map(|_| {
        let (tally, done, ends, slowest) =
            (tally.clone(), done.clone(), ends.clone(), slowest.clone());
        let (url, due) = (url.clone(), due.clone());
        tokio::spawn(async move {
            let transport = Zmq::from_url(&format!("{url}?connect_timeout_ms=100000")).unwrap();
            let client = client(&transport).await;
            for _ in 0..size.calls / size.callers {
                due.acquire().await.unwrap().forget();
                let id = tally.attempt();
                let is_idempotent = id % 2 == 0;
                let call = client.request("echo");
                let call = match is_idempotent {
                    true => call.idempotent().timeout(IDEMPOTENT_DEADLINE),
                    false => call.timeout(DEADLINE),
                };
                let begun = Instant::now();
                let outcome =
                    timeout(PATIENCE, call.call::<u64>(&(id,))).await.expect("the call ends");
                let took = begun.elapsed();
                tally.finish(id, OperationOutcome::of(&outcome));
                assert!(
                    outcome.is_ok() || !is_idempotent,
                    "an idempotent call ended with {outcome:?}"
                );
                let name = match &outcome {
                    Ok(answer) => {
                        assert_eq!(*answer, id);
                        tally.effect(id);
                        if is_idempotent { "ok, idempotent".to_owned() } else { "ok".to_owned() }
                    }
                    Err(CallError::Failed(error)) => format!("{:?}", error.kind()),
                    Err(fault) => format!("{fault:?}"),
                };
                *ends.lock().unwrap().entry(name).or_default() += 1;
                if !is_idempotent {
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = took.max(*slowest);
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let callers = tokio::spawn(join_all(callers));

    let share = size.calls / (size.restarts + 1);
    for restart in 0..size.restarts {
        due.add_permits(share);
        // In the midst of them.
        let target = share * restart + share / 2;
        timeout(PATIENCE, until(|| done.load(Ordering::Relaxed) >= target))
            .await
            .expect("calls go on");
        server.kill();
        let again = url.clone();
        server = tokio::task::spawn_blocking(move || Process::start(&again)).await.unwrap();
    }
    due.add_permits(size.calls);
    for caller in timeout(PATIENCE * 3, callers).await.expect("all calls end").unwrap() {
        caller.unwrap();
    }

    let (sum, ends, slowest) =
        (tally.summary(), ends.lock().unwrap().clone(), *slowest.lock().unwrap());
    println!("{size:?}: {sum:?}; {ends:?}; the slowest that is not idempotent took {slowest:.1?}");
    assert_eq!(sum.attempted, size.calls / size.callers * size.callers);
    assert_eq!((sum.lost, sum.unexpected, sum.duplicated), (0, 0, 0));
    assert!(sum.acknowledged > sum.attempted / 2);
    // The deadline is the caller's own, and a busy machine may be late.
    assert!(slowest < DEADLINE + Duration::from_secs(30), "{slowest:?}");
    for end in ends.keys() {
        let distinct = ["ok", "ok, idempotent", "Disconnected", "Unroutable", "DeadlineExceeded"];
        assert!(distinct.contains(&&**end), "a call ended as {end}");
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
