//! Connecting a client to a service.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use futures_core::future::BoxFuture;

use tokio::task::coop::consume_budget;

use super::client::Client;
use super::requester::Requester;
use super::slow_call_log::SLOW_AFTER;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::Address;
use crate::transport::Transport;

impl<D: Dialect> Client<D> {
    /// Connects to `service` on `transport`. Calls are encoded in `dialect`: a codec, or the
    /// convention of a foreign system.
    ///
    /// Set options on the returned builder, then await it. Connecting succeeds even if the service
    /// has no server; a call then fails.
    ///
    /// Dropping the future closes what was opened so far.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `service` is not an address, or the error
    /// of the transport if it cannot connect.
    pub fn connect<'t, T: Transport>(
        transport: &'t T,
        service: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> ClientConnect<'t, T, D> {
        let service = service.try_into().map_err(Into::into);
        let pending_max = Requester::DEFAULT_PENDING_MAX;
        ClientConnect {
            transport,
            service,
            dialect,
            timeout: None,
            pending_max,
            slow_after: Some(SLOW_AFTER),
            waits_for_service: false,
        }
    }
}

/// A builder that connects a client when it is awaited; made by [`Client::connect`].
#[must_use = "a client does not connect unless it is awaited"]
pub struct ClientConnect<'t, T, D> {
    transport: &'t T,
    service: Result<Address>,
    dialect: D,
    timeout: Option<Duration>,
    pending_max: usize,
    waits_for_service: bool,
    slow_after: Option<Duration>,
}

impl<T, D> ClientConnect<'_, T, D> {
    /// Sets the time after which a call times out. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets the maximum number of in-flight calls, at least 1. A further call fails with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded). The default is 131,072.
    pub fn pending_max(self, calls: usize) -> Self {
        Self { pending_max: calls, ..self }
    }

    /// Makes each call wait for the first server of the service; see
    /// [`CallBuilder::wait_for_service`](crate::rpc::CallBuilder::wait_for_service). By default a
    /// call without a server fails as [`Unroutable`](crate::ErrorKind::Unroutable).
    pub fn wait_for_service(self) -> Self {
        Self { waits_for_service: true, ..self }
    }

    /// Sets the time after which a call that waits for its reply is slow. The default is 5 seconds.
    ///
    /// While calls are slow, the client logs a warning each 10 seconds, with the service, the
    /// number of such calls, and the method and the age of the oldest. [`Duration::MAX`] turns the
    /// warning off. A service whose calls take long has a client of its own, with a longer time.
    pub fn slow_after(self, after: Duration) -> Self {
        Self { slow_after: (after != Duration::MAX).then_some(after), ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for ClientConnect<'t, T, D> {
    type Output = Result<Client<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            transport,
            service,
            dialect,
            timeout,
            pending_max,
            slow_after,
            waits_for_service,
        } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let open = Requester::open_watched(transport, service?, pending_max, slow_after);
            let service = open.await?;
            let name = Some(service.service().clone());
            Ok(Client {
                service,
                name,
                dialect,
                timeout,
                message_id: None,
                prefix: None,
                waits_for_service,
            })
        })
    }
}

impl<T, D> fmt::Debug for ClientConnect<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnect").field("service", &self.service).finish_non_exhaustive()
    }
}
