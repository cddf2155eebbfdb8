//! The client of any service, by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio::task::coop::consume_budget;

use super::client::Client;
use crate::dialect::Dialect;
use crate::error::{CallError, Error, Result};
use crate::message::Address;
use crate::transport::{AnyTransport, Transport};

impl<D: Dialect> Client<D> {
    /// Creates a client of any service on `transport`, which is chosen by its name for each call.
    ///
    /// Nothing is opened before the first call of a service; see [`AnyClient`].
    pub fn any<T: Transport + Clone>(transport: &T, dialect: D) -> AnyClient<D> {
        let transport = AnyTransport::new(transport.clone());
        AnyClient {
            shared: Arc::new(Shared { transport, dialect, opened: Mutex::default() }),
            timeout: None,
            services_max: AnyClient::<D>::DEFAULT_SERVICES_MAX,
        }
    }
}

/// A client of any service by name, over one transport; made by [`Client::any`].
///
/// The first call of a service connects a [`Client`] to it, which later calls use again. Clones
/// share these clients.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Memory, Router, Server};
/// use polywire_core::Client;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// # for service in ["billing", "stock"] {
/// #     let server = Server::bind(&transport, service).await?;
/// #     let router = Router::new(MessagePack);
/// #     let router = router.method("version", move |(): ()| async move { Ok(service) });
/// #     tokio::spawn(server.serve(router));
/// # }
/// let any = Client::any(&transport, MessagePack);
/// for service in ["billing", "stock"] {
///     let version: String = any.call(service, "version", &()).await?;
///     println!("{service}: {version}");
/// #   assert_eq!(version, service);
/// }
/// // For options of a call, a handle of the client of one service:
/// let billing = any.service("billing").await?;
/// let version = billing.request("version").idempotent().call::<String>(&()).await?;
/// # assert_eq!(version, "billing");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AnyClient<D> {
    shared: Arc<Shared<D>>,
    timeout: Option<Duration>,
    services_max: usize,
}

struct Shared<D> {
    transport: AnyTransport,
    dialect: D,
    opened: Mutex<OpenedClients<D>>,
}

/// The clients that are open or being opened.
struct OpenedClients<D> {
    clients: HashMap<Address, OpenedClient<D>>,
    /// The number of uses so far.
    uses: u64,
}

struct OpenedClient<D> {
    client: Arc<OnceCell<Client<D>>>,
    /// The number of the latest use.
    used: u64,
}

impl<D: Dialect> AnyClient<D> {
    /// The default maximum number of services: 1,024.
    pub const DEFAULT_SERVICES_MAX: usize = 1_024;

    /// Returns a client on the same transport whose calls time out after `timeout`. The default is
    /// 30 seconds.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self.clone() }
    }

    /// Returns a client on the same transport that keeps at most this number of services, at least
    /// 1, so that names from outside cannot fill the memory. The default is 1,024.
    ///
    /// When one more service is called, the client of the one that was not called for the longest
    /// time is dropped. Its calls in flight go on.
    #[must_use]
    pub fn with_services_max(&self, services: usize) -> Self {
        Self { services_max: services.max(1), ..self.clone() }
    }

    /// Returns the client of `service`. Connects it if that was not done before.
    ///
    /// Connecting succeeds even if the service has no server; a call then fails. If the future is
    /// dropped, the next call of the service connects.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    pub async fn service(
        &self,
        service: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Client<D>> {
        let service: Result<Address> = service.try_into().map_err(Into::into);
        if service.is_err() {
            // A loop over names that are refused leaves other tasks their turns.
            consume_budget().await;
        }
        let service = service?;
        let Shared { transport, dialect, .. } = &*self.shared;
        let client = self.opened().client(&service, self.services_max);
        let connect = async || Client::connect(transport, service, dialect.clone()).await;
        let client = client.get_or_try_init(connect).await?;
        Ok(match self.timeout {
            Some(timeout) => client.with_timeout(timeout),
            None => client.clone(),
        })
    }

    /// Calls `method` of `service` and waits for its result.
    ///
    /// Dropping the future cancels the call, as that of [`Client::call`].
    ///
    /// # Errors
    ///
    /// As [`Client::call`], and [`CallError::Failed`] if the client cannot
    /// [connect](Client::connect).
    pub async fn call<T: DeserializeOwned>(
        &self,
        service: impl TryInto<Address, Error: Into<Error>>,
        method: impl TryInto<Address, Error: Into<Error>>,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.service(service).await?.call(method, args).await
    }

    fn opened(&self) -> MutexGuard<'_, OpenedClients<D>> {
        self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> OpenedClients<D> {
    /// Returns the client of a service, which may have to be connected. Makes room for it.
    fn client(&mut self, service: &Address, most: usize) -> Arc<OnceCell<Client<D>>> {
        self.uses += 1;
        if let Some(open) = self.clients.get_mut(service) {
            open.used = self.uses;
            return open.client.clone();
        }
        while self.clients.len() >= most {
            let oldest = self.clients.iter().min_by_key(|(_, open)| open.used);
            let Some(oldest) = oldest.map(|(service, _)| service.clone()) else { break };
            self.clients.remove(&oldest);
        }
        let client = Arc::<OnceCell<_>>::default();
        let open = OpenedClient { client: client.clone(), used: self.uses };
        self.clients.insert(service.clone(), open);
        client
    }
}

impl<D> Default for OpenedClients<D> {
    fn default() -> Self {
        Self { clients: HashMap::new(), uses: 0 }
    }
}

impl<D> fmt::Debug for AnyClient<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyClient")
            .field("timeout", &self.timeout)
            .field("services_max", &self.services_max)
            .finish_non_exhaustive()
    }
}
