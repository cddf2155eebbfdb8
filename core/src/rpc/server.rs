//! Servers: bind, serve, drain.

use std::fmt;
use std::sync::Arc;

use super::reply_sender::ReplySender;
use super::request_admission::RequestPolicy;
use super::request_processor::RequestProcessor;
use super::server_handle::ServerHandle;
use crate::message::Address;
use crate::service::Service;
use crate::transport::{Receiver, Sender, Window};
use crate::worker::{EndpointLabel, Serving, StopGuard, receive};

/// A server, which processes the requests of a service.
///
/// The transport queues requests from the moment that the server is bound.
/// [`serve`](Self::serve) processes at most a [`Window`] of them at once.
///
/// # Delivery
///
/// A request is settled after its reply was sent. Where the transport can settle, the requests of
/// a server that dies are redelivered to another server, so each request runs at least once, and
/// **may run twice**. A handler that is marked as [`at_most_once`](crate::at_most_once) never
/// begins a call twice.
/// [`ServerBind::at_most_once`](crate::rpc::ServerBind::at_most_once) marks all requests.
/// [`deduplicate`](crate::rpc::ServerBind::deduplicate) answers duplicates with the first reply.
///
/// # Failures
///
/// - A handler that panics, or whose result cannot be encoded, replies with a fault.
/// - A handler that runs until its caller's deadline is dropped, unless it is uncancelled.
/// - A handler whose caller cancels is dropped, where the transport [reports
///   it](crate::Capabilities::cancellation).
/// - A request that arrives after its deadline does not run.
/// - An [uncancelled](crate::rpc::uncancelled) handler that has begun runs to its end.
///
/// [`docs/handlers.md`] lists all of these, for each backend, with the tests that show them.
///
/// [`docs/handlers.md`]: https://github.com/polywire/polywire/blob/main/docs/handlers.md
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Memory, Router, Server, Window};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let server = Server::bind(&transport, "greeter").window(Window::new(16)).await?;
/// let handle = server.handle();
/// let serving = tokio::spawn(
///     server.serve(
///         Router::new(MessagePack)
///             .method("greet", |name: String| async move { Ok(format!("Hello, {name}!")) }),
///     ),
/// );
/// // Later, or by a signal: see `Serving::with_graceful_shutdown`.
/// handle.drain().await;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    name: Address,
    sender: Sender,
    receiver: Receiver,
    window: Window,
    policy: RequestPolicy,
    handle: ServerHandle,
    /// The last field, so that it is dropped last.
    stop: StopGuard,
}

impl Server {
    /// Creates a server from the two halves that the transport opened.
    pub(super) fn new(
        name: Address,
        (sender, mut receiver): (Sender, Receiver),
        window: Window,
        policy: RequestPolicy,
    ) -> Self {
        let handle = ServerHandle::new(receiver.health());
        let stop = StopGuard::new(handle.lifecycle());
        Self { name, sender, receiver, window, policy, handle, stop }
    }

    /// Returns the name of the service.
    #[must_use]
    pub fn name(&self) -> &Address {
        &self.name
    }

    /// Returns a handle to drain the server and to read its counters.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves requests until the server is [drained](ServerHandle::drain), its
    /// [shutdown signal](Serving::with_graceful_shutdown) resolves, or the transport is closed. The
    /// output is the reason, or the error of a transport that refuses for good; see [`Serving`].
    ///
    /// A handler is first polled in the receiving task, and continues in a task of its own if it is
    /// not done at once. A handler that blocks its thread delays other requests, in either task.
    /// Long computations belong in [`spawn_blocking`](tokio::task::spawn_blocking).
    ///
    /// Dropping the future stops at once. Running handlers are dropped, and their requests are
    /// redelivered to other servers where the transport can settle.
    pub fn serve<S: Service>(self, service: S) -> Serving {
        let Self { name, sender, receiver, window, policy, handle, stop } = self;
        stop.begin_serving();
        let label = EndpointLabel { role: "server", name };
        let counters = handle.counters().clone();
        let replies = ReplySender::new(label.clone(), sender, counters.clone());
        let processor = RequestProcessor::new(label, service, replies, policy, counters);
        let lifecycle = handle.lifecycle().clone();
        Serving::new(lifecycle, receive(Arc::new(processor), receiver, window, stop))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
