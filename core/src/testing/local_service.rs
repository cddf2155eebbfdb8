//! A service that is served over memory, and its client.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::dialect::Dialect;
use crate::error::{CallError, Result};
use crate::message::Address;
use crate::rpc::{Client, Requester, Server, ServerHandle};
use crate::service::{Reply, Request, Service};
use crate::transport::Memory;

/// Serves `service` over a memory transport of its own, and returns its client.
///
/// The service is served until the client and its clones are dropped.
///
/// # Errors
///
/// None in practice: the memory transport always connects.
pub async fn client<S: Service, D: Dialect>(service: S, dialect: D) -> Result<Client<D, Local>> {
    Ok(Client::new(Local::serve(service).await?, dialect))
}

/// A service that is served over a memory transport of its own, and a requester to it.
///
/// Clones share the server. Dropping the last clone stops the server at once.
///
/// ```
/// # use polywire_codec::Json;
/// # use polywire_core::{Client, Result, Router};
/// use polywire_core::testing::Local;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let local = Local::serve(Router::new(Json)).await?;
/// let client = Client::connect(local.transport(), Local::NAME, Json).await?;
/// local.handle().drain().await;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Local {
    requester: Requester,
    transport: Memory,
    handle: ServerHandle,
    _serving: Arc<AbortOnDrop>,
}

impl Local {
    /// The name of the service on the transport.
    pub const NAME: &str = "local";

    /// Serves `service` over a new memory transport.
    ///
    /// # Errors
    ///
    /// As [`client`].
    pub async fn serve<S: Service>(service: S) -> Result<Self> {
        let transport = Memory::new();
        let server = Server::bind(&transport, Self::NAME).await?;
        let handle = server.handle();
        let serving = Arc::new(AbortOnDrop(tokio::spawn(server.serve(service)).abort_handle()));
        let address = Address::from_static(Self::NAME)?;
        let requester =
            Requester::open(&transport, address, Requester::DEFAULT_PENDING_MAX).await?;
        Ok(Self { requester, transport, handle, _serving: serving })
    }

    /// Returns the transport, to open further endpoint handles.
    #[must_use]
    pub fn transport(&self) -> &Memory {
        &self.transport
    }

    /// Returns the handle of the server, to drain it and to read its counters.
    #[must_use]
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }
}

impl Service for Local {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.requester.call(request)
    }

    fn keeps_deadlines(&self) -> bool {
        true
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The task of the server, which is aborted with the last clone.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::service_fn;

    #[tokio::test]
    async fn server_stops_with_the_last_clone() {
        let held = Arc::new(());
        let inside = held.clone();
        let local = Local::serve(service_fn(move |request: Request| {
            let _inside = inside.clone();
            async move { Ok(Reply::new(request.message.body)) }
        }));
        let local = local.await.unwrap();
        let clone = local.clone();
        drop(local);
        let request = crate::message::Message::request(
            Address::from_static("any").unwrap(),
            crate::message::Deadline::after_ms(30_000),
        );
        clone.call(Request::new(request)).await.unwrap();
        drop(clone);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
