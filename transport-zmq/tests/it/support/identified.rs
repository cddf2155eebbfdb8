//! A server that replies with its number, or with nothing.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Router, Server, Window};
use polywire_zmq::Zmq;

/// A server of service `a` whose method `id` returns its number. Its method `hang` never ends.
pub(crate) struct IdentifiedServer {
    pub(crate) handle: ServerHandle,
    hangs: Arc<AtomicBool>,
    hanging: Arc<AtomicU64>,
}

/// Counts a handler that stays without a reply, until it is dropped.
struct Hanging(Arc<AtomicU64>);

impl Hanging {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl IdentifiedServer {
    /// Serves `id` and `hang`, besides the methods of the router.
    pub(crate) async fn serve(
        zmq: &Zmq,
        number: u32,
        window: Window,
        router: Router<MessagePack>,
    ) -> Self {
        let server = Server::bind(zmq, "a").window(window).await.unwrap();
        let (handle, hangs) = (server.handle(), Arc::new(AtomicBool::new(false)));
        let hanging = Arc::new(AtomicU64::new(0));
        let (hangs_now, count) = (hangs.clone(), hanging.clone());
        let router = router.method("id", move |(): ()| {
            let hanging = hangs_now.load(Ordering::Acquire).then(|| Hanging::new(&count));
            async move {
                if hanging.is_some() {
                    pending::<()>().await;
                }
                Ok(number)
            }
        });
        let count = hanging.clone();
        let router = router.method("hang", move |(): ()| {
            let hanging = Hanging::new(&count);
            async move {
                let _hanging = hanging;
                Ok(pending::<u32>().await)
            }
        });
        tokio::spawn(server.serve(router));
        Self { handle, hangs, hanging }
    }

    /// Sets whether later calls of `id` stay without a reply.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Release);
    }

    /// Returns the number of handlers that have begun, and stay without a reply. The statistics of
    /// the server also count a request for a moment after its reply has arrived.
    pub(crate) fn hanging(&self) -> u64 {
        self.hanging.load(Ordering::Acquire)
    }
}
