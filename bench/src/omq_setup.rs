//! The ways to run the sockets of the ZeroMQ engine.

use std::sync::OnceLock;

use anyhow::Result;
use omq_tokio::options::WorkloadProfile;
use omq_tokio::{Context, Options, Socket, SocketType};

/// A way to run sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OmqSetup {
    /// On the threads of the program, with the default profile of the engine. polywire does the
    /// same.
    Shared,
    /// On a thread of the engine's own, with its profile for throughput. The best set-up for many
    /// calls in flight, and not for a lone one.
    OwnThread,
}

impl OmqSetup {
    /// Opens a socket, which neither binds nor connects yet.
    ///
    /// Must be called within a runtime. The thread of the engine runs until the process ends.
    ///
    /// All sockets of `OwnThread` share one context.
    ///
    /// # Errors
    ///
    /// If the engine rejects an option.
    pub(crate) fn open(self, kind: SocketType, options: Options) -> Result<Socket> {
        static CONTEXT: OnceLock<Context> = OnceLock::new();
        match self {
            Self::Shared => Ok(Socket::try_new(kind, options)?),
            Self::OwnThread => {
                let options = options.workload_profile(WorkloadProfile::Throughput);
                Ok(CONTEXT.get_or_init(Context::new).socket(kind, options))
            }
        }
    }
}
