//! A server that replies with its number, or with nothing.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Router, Server, Window};
use polywire_zmq::Zmq;

/// A server of service `a` whose method `id` returns its number.
pub(crate) struct IdentifiedServer {
    pub(crate) handle: ServerHandle,
    hangs: Arc<AtomicBool>,
}

impl IdentifiedServer {
    /// Serves `id`, besides the methods of the router.
    pub(crate) async fn serve(
        zmq: &Zmq,
        number: u32,
        window: Window,
        router: Router<MessagePack>,
    ) -> Self {
        let server = Server::bind(zmq, "a").window(window).await.unwrap();
        let (handle, hangs) = (server.handle(), Arc::new(AtomicBool::new(false)));
        let hangs_now = hangs.clone();
        let router = router.method("id", move |(): ()| {
            let hangs = hangs_now.load(Ordering::Acquire);
            async move {
                if hangs {
                    pending::<()>().await;
                }
                Ok(number)
            }
        });
        tokio::spawn(server.serve(router));
        Self { handle, hangs }
    }

    /// Sets whether later calls of `id` stay without a reply.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Release);
    }

    /// Returns the number of requests in handlers.
    pub(crate) fn running(&self) -> u64 {
        self.handle.stats().running
    }
}
