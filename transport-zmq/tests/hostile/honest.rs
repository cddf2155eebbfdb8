//! Those who are to be served, whatever strangers do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polywire_zmq::Zmq;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::{Process, client};

/// A client that was there before, and clients that come anew again and again.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    regular: JoinHandle<(Vec<Duration>, usize)>,
    fresh: JoinHandle<(Vec<Duration>, usize)>,
}

impl Honest {
    pub(crate) fn start(server: &Process) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let engine = if server.endpoints.len() > 1 { "omq" } else { "zeromq" };
        let url = format!("zmq+{}?engine={engine}", server.endpoints[0]);
        let regular = tokio::spawn(call(url.clone(), stop.clone(), usize::MAX));
        let fresh = tokio::spawn(call(url, stop.clone(), 1));
        Self { stop, regular, fresh }
    }

    pub(crate) async fn stop_after(self, pause: Duration) -> Served {
        sleep(pause).await;
        self.stop.store(true, Ordering::Release);
        let (mut times, failed) = self.regular.await.unwrap();
        let (fresh, fresh_failed) = self.fresh.await.unwrap();
        times.sort_unstable();
        let at = |share: f64| {
            times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default()
        };
        Served {
            calls: times.len(),
            median: at(0.5),
            late: at(0.99),
            fresh: fresh.len(),
            fresh_slowest: fresh.into_iter().max().unwrap_or_default(),
            failed: failed + fresh_failed,
        }
    }
}

/// Calls until it is told to stop, with a new client after so many calls. How long each took, and
/// how many failed.
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
            // So that the others have the processor, too.
            sleep(Duration::from_millis(1)).await;
        }
    }
    (times, failed)
}

pub(crate) struct Served {
    calls: usize,
    median: Duration,
    late: Duration,
    pub(crate) fresh: usize,
    fresh_slowest: Duration,
    pub(crate) failed: usize,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, median, late, fresh, fresh_slowest, failed } = self;
        write!(
            f,
            "{calls} calls, median {median:.1?}, 99 % within {late:.1?}; {fresh} new clients, the slowest {fresh_slowest:.1?}; {failed} failed"
        )
    }
}
