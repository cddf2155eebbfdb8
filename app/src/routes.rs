//! Transports by the names of services, queues and channels.

use polywire_core::{Address, AnyTransport, Error, ErrorKind, Result, Transport};

/// The transports of a component: one for most names, and others for single names.
pub(crate) struct Routes {
    /// Each with the [variable name](variable_name) that it is for; `None` for all other names.
    all: Vec<(Option<String>, AnyTransport)>,
}

impl Routes {
    /// Creates routes without a transport.
    pub(crate) const fn new() -> Self {
        Self { all: Vec::new() }
    }

    /// Adds the transport of a name, or that of all other names.
    pub(crate) fn add(&mut self, name: Option<String>, transport: AnyTransport) {
        self.all.push((name, transport));
    }

    /// Returns the transport of a service, a queue or a channel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] without one.
    pub(crate) fn of(&self, address: &Address) -> Result<&AnyTransport> {
        let name = variable_name(address.as_str());
        let is_it = |(route, _): &&(Option<String>, _)| route.as_ref() == Some(&name);
        let route = self.all.iter().find(is_it);
        let route = route.or_else(|| self.all.iter().find(|(name, _)| name.is_none()));
        route.map(|(_, transport)| transport).ok_or_else(|| {
            let error = Error::new(ErrorKind::Config, "cannot open the endpoint: it has no URL");
            error.with("name", address).with("variable", format!("POLYWIRE_URL_{name}")).unsent()
        })
    }

    /// Returns all transports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AnyTransport> {
        self.all.iter().map(|(_, transport)| transport)
    }

    /// Closes all transports. Returns the first error.
    pub(crate) async fn close(&self) -> Result<()> {
        let closed = futures_util::future::join_all(self.iter().map(Transport::close)).await;
        closed.into_iter().collect()
    }
}

/// Returns a name as it is written in variables: in upper case, with `_` for everything else than
/// letters and digits.
pub(crate) fn variable_name(name: &str) -> String {
    let upper = |character: char| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(upper).collect()
}

#[cfg(test)]
mod tests {
    use polywire_core::Memory;

    use super::*;

    #[test]
    fn name_has_its_own_transport_or_the_common_one() {
        let address = |name: &str| Address::new(name).unwrap();
        let memory = || AnyTransport::new(Memory::new());
        let mut routes = Routes::new();
        routes.add(Some("ORDERS_EU".to_owned()), memory());
        assert!(routes.of(&address("orders.eu")).is_ok());
        let error = routes.of(&address("payments")).unwrap_err();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_URL_PAYMENTS"));
        routes.add(None, memory());
        assert!(routes.of(&address("payments")).is_ok());
        assert_eq!(routes.iter().count(), 2);
    }
}
