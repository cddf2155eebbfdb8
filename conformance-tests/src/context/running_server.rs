//! A server at work in a process of its own.

use polywire_core::rpc::ServerHandle;
use polywire_core::worker::Ended;
use polywire_core::{AnyTransport, Result, Server, Service};
use tokio::task::JoinHandle;

/// A server at work in a process of its own. Dropping it is the death of that process: its task is
/// aborted, with every handler that runs.
#[derive(Debug)]
pub struct RunningServer {
    /// The transport that it serves on.
    pub transport: AnyTransport,
    /// Its handle.
    pub handle: ServerHandle,
    task: JoinHandle<Result<Ended>>,
}

impl RunningServer {
    /// Starts serving in a task of its own.
    pub(crate) fn start(transport: AnyTransport, server: Server, service: impl Service) -> Self {
        let handle = server.handle();
        Self { transport, handle, task: tokio::spawn(server.serve(service)) }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
