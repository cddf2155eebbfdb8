//! Routers that change while they serve.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use super::router::{Handler, Router, Table};
use crate::dialect::Dialect;
use crate::error::{CallError, Error, Result};
use crate::message::{Address, Filter};
use crate::service::{Reply, Request, Service};

impl<D, S> Router<D, S> {
    /// Makes a router whose handlers can be added and removed while it serves.
    #[must_use]
    pub fn live(self) -> LiveRouter<D, S> {
        LiveRouter(Arc::new(RwLock::new(Arc::new(self))))
    }
}

/// A router whose handlers can be added and removed while it serves; made by [`Router::live`].
///
/// Clones are handles of the same router: a program serves one and keeps another.
///
/// A request runs the handler that the router has when the request begins. So:
///
/// - A method that was added serves every request that begins from then on. Until then, callers get
///   a fault of [`Code::MethodNotFound`](crate::Code::MethodNotFound).
/// - A method that was removed gets no further request. Its running handlers go on to their end.
///
/// A change copies the table of the router, not the handlers.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Code, Memory, Server};
/// use polywire_core::Router;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let plugins = Router::new(MessagePack).method("ping", async |(): ()| Ok("pong")).live();
/// let server = Server::bind(&transport, "plugins").await?;
/// tokio::spawn(server.serve(plugins.clone()));
///
/// plugins.add_method("double", async |n: i64| Ok(2 * n))?;
/// # let client = Client::connect(&transport, "plugins", MessagePack).await?;
/// assert_eq!(client.call::<i64>("double", &4).await?, 8);
///
/// assert!(plugins.remove_method("double"));
/// let error = client.call::<i64>("double", &4).await.unwrap_err();
/// assert_eq!(error.fault().map(|fault| fault.code), Some(Code::MethodNotFound));
/// # Ok(())
/// # }
/// ```
///
/// A [`Listener`](crate::Listener) that serves such a router subscribes to its own filters: add the
/// handler first, and then its filter to [`Listener::filters`](crate::Listener::filters).
pub struct LiveRouter<D, S = ()>(Arc<RwLock<Arc<Router<D, S>>>>);

impl<D: Dialect, S: Clone + Send + Sync + 'static> LiveRouter<D, S> {
    /// Adds a method, as [`Router::method`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `name` is not an address, or the router
    /// has a method of that name. The router is then unchanged.
    pub fn add_method<H, M>(&self, name: &str, handler: H) -> Result<()>
    where
        H: Handler<M, S>,
        M: 'static,
    {
        let name = Address::new(name)?;
        // A clone for the table: a handler that is refused is dropped after the lock.
        let method = self.current().method_of(handler);
        self.change(|table| table.add(name, method.clone()))
    }

    /// Removes a method. Returns `false` if the router has none of that name.
    ///
    /// Methods of a nested router have their full names, such as `math.add`.
    pub fn remove_method(&self, name: &str) -> bool {
        self.change(|table| table.remove(name))
    }

    /// Adds a handler of events, as [`Router::on`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `filter` is not a filter.
    pub fn add_event<H, M>(
        &self,
        filter: impl TryInto<Filter, Error: Into<Error>>,
        handler: H,
    ) -> Result<()>
    where
        H: Handler<M, S>,
        M: 'static,
    {
        let filter = filter.try_into().map_err(Into::into)?;
        let handler = self.current().method_of(handler);
        self.change(|table| table.add_event(filter, handler));
        Ok(())
    }

    /// Removes all handlers of events that were added with this filter. Returns their number.
    ///
    /// An event that no handler is left for succeeds, as one that matches no filter does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `filter` is not a filter.
    pub fn remove_events(&self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Result<usize> {
        let filter = filter.try_into().map_err(Into::into)?;
        Ok(self.change(|table| table.remove_events(&filter)))
    }

    /// Adds all methods and event handlers of `inner`, as [`Router::nest`] does: all of them at
    /// once, or none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `word` is not an address, or a name is in
    /// use. The router is then unchanged.
    #[expect(clippy::needless_pass_by_value, reason = "the parts of a router are given to it")]
    pub fn nest<T>(&self, word: &str, inner: Router<D, T>) -> Result<()> {
        let word = Address::new(word)?;
        self.change(|table| {
            let mut nested = table.clone();
            nested.nest(&word, &inner.table)?;
            *table = nested;
            Ok(())
        })
    }

    /// Returns the names of all methods, sorted.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        self.current().methods().into_iter().map(str::to_owned).collect()
    }

    /// Replaces the router by one whose table `change` has changed.
    fn change<T>(&self, change: impl FnOnce(&mut Table<D>) -> T) -> T {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Router::clone(&current);
        let changed = change(&mut next.table);
        let last = std::mem::replace(&mut *current, Arc::new(next));
        drop(current);
        // After the lock: a handler of the program is dropped, and may use the router.
        drop(last);
        changed
    }
}

impl<D, S> LiveRouter<D, S> {
    fn current(&self) -> Arc<Router<D, S>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<D: Dialect, S: Send + Sync + 'static> Service for LiveRouter<D, S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        let router = self.current();
        async move { router.call(request).await }
    }
}

impl<D, S> Clone for LiveRouter<D, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D, S> fmt::Debug for LiveRouter<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveRouter").field(&self.current()).finish()
    }
}
