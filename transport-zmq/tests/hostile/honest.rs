//! Honest clients, which the server must serve during an attack.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polywire_zmq::Zmq;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::process::{ServerProcess, client};

/// A client that was connected before the attack, and a series of new clients.
pub(crate) struct HonestClients {
    stop: Arc<AtomicBool>,
    regular: JoinHandle<(Vec<Duration>, usize)>,
    fresh: JoinHandle<(Vec<Duration>, usize)>,
}

impl HonestClients {
    /// Starts to call the server.
    pub(crate) fn start(server: &ServerProcess, engine: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let url = format!("zmq+{}?engine={engine}", server.endpoints[0]);
        let regular = tokio::spawn(call(url.clone(), stop.clone(), usize::MAX));
        let fresh = tokio::spawn(call(url, stop.clone(), 1));
        Self { stop, regular, fresh }
    }

    /// Stops after a pause, and returns the results of the calls.
    pub(crate) async fn stop_after(self, pause: Duration) -> CallResults {
        sleep(pause).await;
        self.stop.store(true, Ordering::Release);
        let (mut times, failed) = self.regular.await.unwrap();
        let (fresh, fresh_failed) = self.fresh.await.unwrap();
        times.sort_unstable();
        let at = |share: f64| {
            times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default()
        };
        CallResults {
            calls: times.len(),
            median: at(0.5),
            late: at(0.99),
            fresh: fresh.len(),
            fresh_slowest: fresh.into_iter().max().unwrap_or_default(),
            failed: failed + fresh_failed,
        }
    }
}

/// Calls until `stop` is set, with a new client after that many calls. Returns the durations of the
/// calls, and the number of failures.
async fn call(
    url: String,
    stop: Arc<AtomicBool>,
    calls_per_client: usize,
) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    while !stop.load(Ordering::Acquire) {
        let transport = Zmq::connect(&url).await.unwrap();
        let begun = Instant::now();
        let client = client(&transport).await;
        for number in 0..calls_per_client as u64 {
            let begun = if calls_per_client == 1 { begun } else { Instant::now() };
            match client.call::<u64>("echo", &(number,)).await {
                Ok(answer) => {
                    assert_eq!(answer, number);
                    times.push(begun.elapsed());
                }
                Err(error) => {
                    println!("an honest call failed: {error}");
                    failed += 1;
                }
            }
            if stop.load(Ordering::Acquire) {
                break;
            }
            // Leaves processor time to the server and the attack.
            sleep(Duration::from_millis(1)).await;
        }
    }
    (times, failed)
}

/// The number of calls of honest clients, and their durations.
pub(crate) struct CallResults {
    calls: usize,
    median: Duration,
    late: Duration,
    pub(crate) fresh: usize,
    fresh_slowest: Duration,
    pub(crate) failed: usize,
}

impl fmt::Display for CallResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, median, late, fresh, fresh_slowest, failed } = self;
        write!(
            f,
            "{calls} calls, median {median:.1?}, 99 % within {late:.1?}; {fresh} new clients, the slowest {fresh_slowest:.1?}; {failed} failed"
        )
    }
}
