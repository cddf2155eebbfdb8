//! Counters of endpoints as metrics, which go on where an endpoint is bound again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use polywire_core::rpc::ServerStats;
use polywire_core::worker::WorkStats;

/// Counts of the endpoints with one name: as servers, and as workers or listeners.
#[derive(Default)]
pub(super) struct Counts(BTreeMap<String, (Option<ServerStats>, Option<WorkStats>)>);

/// Counts of all endpoints of this process that have ended. The metrics outlive a component: a
/// counter would stand still otherwise, until its endpoint has counted as far as the one before.
///
/// Grows with the number of different names alone. The lock is taken inside of that of a list of
/// endpoints, and never around it.
static ENDED: Mutex<Counts> = Mutex::new(Counts(BTreeMap::new()));

impl Counts {
    /// Adds the counts of a server.
    pub(super) fn add_server(&mut self, name: &str, stats: ServerStats) {
        let (server, _) = self.0.entry(name.to_owned()).or_default();
        *server = Some(server.unwrap_or_default() + stats);
    }

    /// Adds the counts of a worker or a listener.
    pub(super) fn add_work(&mut self, name: &str, stats: WorkStats) {
        let (_, work) = self.0.entry(name.to_owned()).or_default();
        *work = Some(work.unwrap_or_default() + stats);
    }

    /// Records the counts, together with those of endpoints that have ended.
    pub(super) fn record(mut self) {
        let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, (server, work)) in &ended.0 {
            server.inspect(|server| self.add_server(name, *server));
            work.inspect(|work| self.add_work(name, *work));
        }
        drop(ended);
        for (name, (server, work)) in self.0 {
            server.inspect(|server| server.record(&name));
            work.inspect(|work| work.record(&name));
        }
    }
}

/// Keeps the counts of an endpoint that has ended.
pub(super) fn keep(add: impl FnOnce(&mut Counts)) {
    add(&mut ENDED.lock().unwrap_or_else(PoisonError::into_inner));
}
