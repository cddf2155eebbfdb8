//! The calls that a client has permitted servers to begin. No I/O.

use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use crate::message::CallId;
use crate::transport::{Asked, ServerAddress};

/// The in-flight calls that a server may have begun, and must not be begun by another one.
#[derive(Default)]
pub(super) struct BeginPermits(FxHashMap<CallId, Permit>);

/// The delivery of a call that may begin.
struct Permit {
    server: ServerAddress,
    delivery: u64,
    /// The time at which the server was first found to be gone.
    gone_since: Option<Instant>,
}

/// The answer to a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Permit,
    Deny,
    /// Denied, because this other server was permitted to begin the call. The broker has taken the
    /// request from that server, which may be gone.
    DenyAndCheck(ServerAddress),
}

impl BeginPermits {
    /// Decides about a call that is in flight. The first delivery that asks is permitted, however
    /// often it repeats the question.
    pub(super) fn decide(&mut self, asked: &Asked) -> Decision {
        let Some(permit) = self.0.get(&asked.id) else {
            let (server, delivery) = (asked.server.clone(), asked.delivery);
            self.0.insert(asked.id, Permit { server, delivery, gone_since: None });
            return Decision::Permit;
        };
        match (permit.server == asked.server, permit.delivery == asked.delivery) {
            (true, true) => Decision::Permit,
            // The server got the request again, and still runs it.
            (true, false) => Decision::Deny,
            (false, _) => Decision::DenyAndCheck(permit.server.clone()),
        }
    }

    /// Returns whether a server may have begun the call.
    pub(super) fn contains(&self, id: CallId) -> bool {
        self.0.contains_key(&id)
    }

    /// Removes a call that has ended.
    pub(super) fn remove(&mut self, id: CallId) {
        // Most clients have no permitted calls at all.
        if !self.0.is_empty() {
            self.0.remove(&id);
        }
    }

    /// Removes all calls.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns each server that may have begun a call.
    pub(super) fn servers(&self) -> FxHashSet<ServerAddress> {
        self.0.values().map(|permit| permit.server.clone()).collect()
    }

    /// Notes that a server is gone. Returns its calls that get no reply any more.
    ///
    /// A call ends when its server is found to be gone again after [`GRACE`], since a reply may
    /// have been on its way.
    pub(super) fn gone(&mut self, server: &ServerAddress, now: Instant) -> Vec<CallId> {
        let permits = self.0.iter_mut().filter(|(_, permit)| permit.server == *server);
        let over = permits.filter_map(|(id, permit)| {
            let since = *permit.gone_since.get_or_insert(now);
            (now.duration_since(since) >= GRACE).then_some(*id)
        });
        over.collect()
    }
}

/// The time for which a reply of a server that is gone may still arrive.
const GRACE: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: u64, server: &'static str, delivery: u64) -> Asked {
        Asked::new(CallId(id), ServerAddress::new(server), delivery)
    }

    #[test]
    fn one_delivery_of_a_call_is_permitted_however_often_it_asks() {
        let mut calls = BeginPermits::default();
        for _ in 0..2 {
            assert_eq!(calls.decide(&asked(1, "ann", 7)), Decision::Permit);
        }
        assert_eq!(calls.decide(&asked(1, "ann", 8)), Decision::Deny);
        let check = Decision::DenyAndCheck(ServerAddress::new("ann"));
        assert_eq!(calls.decide(&asked(1, "bob", 7)), check);
        assert_eq!(calls.decide(&asked(2, "bob", 8)), Decision::Permit);
        assert_eq!(calls.servers().len(), 2);
        calls.remove(CallId(1));
        assert!(!calls.contains(CallId(1)) && calls.contains(CallId(2)));
    }

    #[test]
    fn calls_of_a_server_that_is_gone_end_after_a_grace() {
        let mut calls = BeginPermits::default();
        for call in [asked(1, "ann", 1), asked(2, "ann", 2), asked(3, "bob", 1)] {
            calls.decide(&call);
        }
        let (ann, now) = (ServerAddress::new("ann"), Instant::now());
        assert!(calls.gone(&ann, now).is_empty());
        assert!(calls.gone(&ann, now + GRACE / 2).is_empty());
        let mut over = calls.gone(&ann, now + GRACE);
        over.sort_unstable();
        assert_eq!(over, [CallId(1), CallId(2)]);
    }
}
