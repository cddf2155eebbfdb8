//! Transports by the names of services, queues and channels.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use polywire_core::health::{ConnectionState, HealthReader};
use polywire_core::{Address, AnyTransport, Error, ErrorKind, Result, Transport};

use crate::url_variable::{url_variable, variable_name};

/// The transports of a component: one for most names, and others for single names.
pub(crate) struct Routes {
    /// In the order of the settings: the common one first, if there is one.
    all: Vec<Route>,
}

/// A transport, and the name that it is for.
pub(crate) struct Route {
    /// The [variable name](variable_name); `None` for all names without a route of their own.
    name: Option<String>,
    transport: AnyTransport,
    /// Set once a handle was opened. Over ZeroMQ, a transport is never connected before.
    is_used: AtomicBool,
}

impl Routes {
    /// Creates routes without a transport.
    pub(crate) const fn new() -> Self {
        Self { all: Vec::new() }
    }

    /// Adds the transport of a name, or that of all other names.
    pub(crate) fn add(&mut self, name: Option<String>, transport: AnyTransport) {
        self.all.push(Route { name, transport, is_used: AtomicBool::new(false) });
    }

    /// Returns the route of a service, a queue or a channel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] without one.
    pub(crate) fn of(&self, address: &Address) -> Result<&Route> {
        let name = variable_name(address.as_str());
        let route = self.all.iter().find(|route| route.name.as_ref() == Some(&name));
        let route = route.or_else(|| self.all.iter().find(|route| route.name.is_none()));
        route.ok_or_else(|| {
            let error = Error::new(ErrorKind::Config, "cannot open the endpoint: it has no URL");
            error.with("name", address).with("variable", url_variable(address.as_str())).unsent()
        })
    }

    /// Returns all transports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AnyTransport> {
        self.all.iter().map(|route| &route.transport)
    }

    /// Returns the variables of the routes on which no handle was opened.
    pub(crate) fn unused_variables(&self) -> impl Iterator<Item = String> {
        let is_unused = |route: &&Route| !route.is_used.load(Ordering::SeqCst);
        let names = self.all.iter().filter(is_unused).filter_map(|route| route.name.as_deref());
        names.map(url_variable)
    }

    /// Returns the transports on which handles were opened, or the first one if there are none.
    pub(crate) fn used(&self) -> Vec<&AnyTransport> {
        let is_used = |route: &&Route| route.is_used.load(Ordering::SeqCst);
        let used: Vec<_> = self.all.iter().filter(is_used).map(|route| &route.transport).collect();
        if used.is_empty() { self.iter().take(1).collect() } else { used }
    }

    /// Waits until a transport that is [used](Self::used) is refused for good.
    ///
    /// No handle can be opened on a transport that was refused for good, so one that was not in use
    /// then is never used. If the future is dropped, nothing is lost.
    pub(crate) async fn refused(&self) -> Error {
        let mut refusals = FuturesUnordered::new();
        for transport in self.iter() {
            refusals.push(refusal_of(transport));
        }
        while let Some(refused) = refusals.next().await {
            if let Some((transport, error)) = refused
                && self.used().into_iter().any(|used| std::ptr::eq(used, transport))
            {
                return error;
            }
        }
        pending().await
    }

    /// Closes all transports. Returns the first error.
    ///
    /// All of them are closed at the same time, and each close is awaited even after an error.
    pub(crate) async fn close(&self) -> Result<()> {
        let closed = futures_util::future::join_all(self.iter().map(Transport::close)).await;
        closed.into_iter().collect()
    }
}

/// Waits for the [refusal] of a transport, and returns both.
async fn refusal_of(transport: &AnyTransport) -> Option<(&AnyTransport, Error)> {
    Some((transport, refusal(&transport.health()).await?))
}

/// Waits until a transport is refused for good, as a [fatal](Error::is_fatal) error says. Returns
/// `None` if the transport is dropped before.
async fn refusal(health: &HealthReader) -> Option<Error> {
    let mut changes = health.changes();
    loop {
        if let ConnectionState::Refused { error } = changes.next().await?.connection
            && error.is_fatal()
        {
            return Some(error);
        }
    }
}

impl Route {
    /// Returns the transport.
    pub(crate) fn transport(&self) -> &AnyTransport {
        &self.transport
    }

    /// Notes that a handle was opened on the transport for `address`, and returns it.
    ///
    /// An error of the URL, such as a port that another endpoint has bound, gets the variable that
    /// sets the URL of this name alone.
    pub(crate) fn opened<T>(&self, address: &Address, handle: Result<T>) -> Result<T> {
        match handle {
            Ok(handle) => {
                self.is_used.store(true, Ordering::SeqCst);
                Ok(handle)
            }
            Err(error) if error.kind() == ErrorKind::Config => {
                let variable = url_variable(address.as_str());
                Err(error.with("name", address).with("variable", variable))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use polywire_core::Memory;
    use polywire_core::health::HealthReporter;

    use super::*;

    #[test]
    fn name_has_its_own_transport_or_the_common_one() {
        let address = |name: &str| Address::new(name).unwrap();
        let memory = || AnyTransport::new(Memory::new());
        let mut routes = Routes::new();
        routes.add(Some("ORDERS_EU".to_owned()), memory());
        assert!(routes.of(&address("orders.eu")).is_ok());
        let error = routes.of(&address("payments")).map(|_| ()).unwrap_err();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_URL_PAYMENTS"));
        routes.add(None, memory());
        assert!(routes.of(&address("payments")).is_ok());
        assert_eq!(routes.iter().count(), 2);
    }

    #[test]
    fn refusal_counts_once_it_is_final() {
        let reporter = HealthReporter::new(ConnectionState::Connected);
        let reader = reporter.reader();
        let mut waiting = Box::pin(refusal(&reader));
        let error = Error::new(ErrorKind::Denied, "wrong password");
        let mut after = |error: Error| {
            reporter.set_connection(ConnectionState::Refused { error });
            (&mut waiting).now_or_never()
        };
        assert!(after(error.clone()).is_none());
        let refused = after(error.fatal()).flatten();
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::Denied));

        let reporter = HealthReporter::new(ConnectionState::Connected);
        let reader = reporter.reader();
        drop(reporter);
        assert!(matches!(refusal(&reader).now_or_never(), Some(None)));
    }

    #[test]
    fn transports_count_once_a_handle_was_opened() {
        let mut routes = Routes::new();
        for name in ["A", "B", "C"] {
            routes.add(Some(name.to_owned()), AnyTransport::new(Memory::new()));
        }
        let first = routes.iter().next().unwrap();
        assert_eq!(routes.unused_variables().count(), 3);
        let address = Address::new("a").unwrap();
        let refused: Result<()> = Err(Error::new(ErrorKind::Config, "cannot bind"));
        let error = routes.of(&address).unwrap().opened(&address, refused).unwrap_err();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_URL_A"));
        assert!(matches!(&*routes.used(), [used] if std::ptr::eq(*used, first)));
        for name in ["b", "c"] {
            let address = Address::new(name).unwrap();
            routes.of(&address).unwrap().opened(&address, Ok(())).unwrap();
        }
        assert_eq!(routes.unused_variables().collect::<Vec<_>>(), ["POLYWIRE_URL_A"]);
        let used = routes.used();
        assert_eq!(used.len(), 2);
        assert!(!used.into_iter().any(|used| std::ptr::eq(used, first)));
    }
}
