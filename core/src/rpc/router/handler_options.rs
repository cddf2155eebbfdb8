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
