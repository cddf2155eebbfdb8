//! Options of a single handler.

/// Options of a handler, as a [`Router`](crate::Router) reads them from it.
///
/// The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// The handler runs to its end once it has begun; see
    /// [`uncancelled`](crate::rpc::uncancelled).
    pub uncancelled: bool,
}

/// The marker of a handler with options: that of the handler, in a type that no function has.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "a marker, which is never created")]
pub struct Marked<M>(std::marker::PhantomData<fn() -> M>);
