//! Handlers and services of jobs and events.

use polywire_core::rpc::Handler;
use polywire_core::worker::HandlerService;
use polywire_core::{Dialect, Service};

/// A handler or a service for jobs or events.
///
/// An async function that takes the job or the event is one, and so is a [`Service`], such as a
/// router with one method per kind of job. Programs do not implement this trait. `M` is a marker.
#[diagnostic::on_unimplemented(
    message = "this is neither a handler nor a service",
    label = "neither a handler nor a service",
    note = "a handler is async, takes what implements `Extract`, such as `Context`, then the job or the event, and \
            answers `Result<_, Fault>`"
)]
pub trait IntoService<D, M> {
    /// Makes a service whose arguments are encoded in `dialect`.
    ///
    /// A handler decodes its job or event in `dialect`. A service is returned as it is, with the
    /// dialects that it was built with.
    fn into_service(self, dialect: D) -> impl Service;
}

/// Marker of services.
#[derive(Debug)]
#[doc(hidden)]
pub struct OfService;

/// Marker of handlers.
#[derive(Debug)]
#[doc(hidden)]
pub struct OfHandler<M>(std::marker::PhantomData<M>);

impl<D, S: Service> IntoService<D, OfService> for S {
    fn into_service(self, _: D) -> impl Service {
        self
    }
}

impl<D: Dialect, H: Handler<M>, M: 'static> IntoService<D, OfHandler<M>> for H {
    fn into_service(self, dialect: D) -> impl Service {
        HandlerService::new(dialect, self)
    }
}
