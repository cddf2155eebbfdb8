//! A server that says which one it is, or never comes to an end.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Router, Server, Window};
use polywire_zmq::Zmq;

/// A server of service `a` with the method `who`.
pub struct Who {
    pub handle: ServerHandle,
    hangs: Arc<AtomicBool>,
}

impl Who {
    /// Serves `who`, and what the router has beside it.
    pub async fn serve(zmq: &Zmq, name: u32, window: Window, router: Router<MessagePack>) -> Self {
        let server = Server::bind(zmq, "a").window(window).await.unwrap();
        let (handle, hangs) = (server.handle(), Arc::new(AtomicBool::new(false)));
        let asked = hangs.clone();
        let router = router.method("who", move |(): ()| {
            let hangs = asked.load(Ordering::Acquire);
            async move {
                if hangs {
                    pending::<()>().await;
                }
                Ok(name)
            }
        });
        tokio::spawn(server.serve(router));
        Self { handle, hangs }
    }

    /// What is asked from now on gets no answer, or gets one.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Release);
    }

    /// How many requests it works on.
    pub fn running(&self) -> u64 {
        self.handle.stats().running
    }
}
