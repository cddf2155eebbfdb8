//! Values that a handler can ask for before its arguments.

use std::ops::Deref;

use crate::context::Context;
use crate::error::Fault;
use crate::message::{Deadline, Headers};
use crate::service::Request;

/// A value that a handler can ask for before its arguments.
///
/// Implemented for the [`Context`], the [`Headers`], `Option<`[`Deadline`]`>`, the [`State`] of the
/// router, and the [`Replier`](crate::Replier). Implement it for types of yours:
///
/// ```
/// use polywire_core::rpc::Extract;
/// use polywire_core::{Code, Fault, Request};
///
/// struct User(String);
///
/// impl<S> Extract<S> for User {
///     fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
///         let user = request.message.headers.get("user");
///         let user = user.ok_or_else(|| {
///             Fault::new(Code::Application, "no user in the headers").with_kind("Anonymous")
///         })?;
///         Ok(Self(user.to_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot ask for `{Self}` before its arguments",
    label = "not something that is found in a request, or in a state of type `{S}`",
    note = "arguments come last, as one value: a tuple of them, for instance; a job, an event or an argument implements `serde::Deserialize`",
    note = "for a part of a router's state, give the router one: `Router::with_state`, and `FromState` for the part"
)]
pub trait Extract<S>: Sized + Send {
    /// Extracts the value from a request or from the state of the router.
    ///
    /// # Errors
    ///
    /// The fault that the caller gets; the handler then does not run.
    fn extract(request: &Request, state: &S) -> Result<Self, Fault>;
}

impl<S> Extract<S> for Context {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        Ok(request.context())
    }
}

impl<S> Extract<S> for Headers {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        Ok(request.message.headers.clone())
    }
}

/// Extracts the time at which the caller stops waiting.
impl<S> Extract<S> for Option<Deadline> {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        Ok(request.message.deadline)
    }
}

/// The state that all handlers of a [`Router`](crate::Router) share, or a part of that state; see
/// [`Router::with_state`](crate::Router::with_state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "it is taken apart in the parameters of handlers")]
pub struct State<T>(pub T);

impl<T: FromState<S> + Send, S> Extract<S> for State<T> {
    fn extract(_: &Request, state: &S) -> Result<Self, Fault> {
        Ok(Self(T::from_state(state)))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A part of a router's state.
///
/// The whole state is a part of itself, if it implements `Clone`. It is cloned for each request, so
/// make that cheap, for instance by an [`Arc`](std::sync::Arc).
///
/// ```
/// use std::sync::Arc;
///
/// use polywire_core::rpc::FromState;
///
/// #[derive(Clone)]
/// struct Shop {
///     name: Arc<str>,
/// }
///
/// impl FromState<Shop> for Arc<str> {
///     fn from_state(shop: &Shop) -> Self {
///         shop.name.clone()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the router has no state of type `{Self}`",
    label = "its state is of type `{S}`",
    note = "give it one: `Router::with_state(dialect, state)`; or implement `FromState<{S}>`, if it is a part of the state"
)]
pub trait FromState<S> {
    /// Returns the part, usually as a clone.
    fn from_state(state: &S) -> Self;
}

impl<S: Clone> FromState<S> for S {
    fn from_state(state: &S) -> Self {
        state.clone()
    }
}
