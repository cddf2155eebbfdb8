//! The part of a peer in a scenario, and the words between a scenario and its peers.

use anyhow::{Context, Result};

/// The first argument of a program that is to [`run`](crate::peer::run()) as a peer.
pub const ARGUMENT: &str = "--peer";

/// The line that a peer prints when it is ready. Each later line is the number of an operation that
/// the peer has carried out. A dot ends each number.
pub(super) const READY: &str = "ready";

/// Returns whether a job ends the process of each [fragile worker](PeerRole::FragileWorker) that
/// begins the job: one in a hundred.
pub(crate) fn is_poison(id: u64) -> bool {
    id % 100 == 50
}

/// The part of a peer in a scenario.
#[derive(Clone, Copy)]
pub(crate) enum PeerRole {
    /// A server of the service. Reports a call after its work and before the reply.
    Server,
    /// A server that suppresses duplicates. Each call is reported as by the plain server.
    CarefulServer,
    /// A server with a narrow window, which counts a call when the call begins. The window is 4.
    NarrowServer,
    /// A server as the narrow one, which begins no call twice.
    OnceServer,
    /// A worker on the queue. The window is 256. A job is reported after its work and before it is
    /// acknowledged.
    Worker,
    /// A worker whose process some jobs end. The window is 16. A job has four attempts, without a
    /// pause.
    FragileWorker,
    /// A worker that fails at each job once. Its time is the delay of the retry. A delay below ten
    /// seconds comes with a short lease of the queue for the waiting jobs. The window is 16, and a
    /// job has four attempts.
    RetryingWorker,
}

impl PeerRole {
    /// Returns the name on the command line of a peer.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::CarefulServer => "careful-server",
            Self::NarrowServer => "narrow-server",
            Self::OnceServer => "once-server",
            Self::Worker => "worker",
            Self::FragileWorker => "fragile-worker",
            Self::RetryingWorker => "retrying-worker",
        }
    }

    /// Finds a role by name.
    pub(super) fn named(name: &str) -> Result<Self> {
        let all = [
            Self::Server,
            Self::CarefulServer,
            Self::NarrowServer,
            Self::OnceServer,
            Self::Worker,
            Self::FragileWorker,
            Self::RetryingWorker,
        ];
        all.into_iter()
            .find(|role| role.name() == name)
            .with_context(|| format!("no role {name:?}"))
    }
}
