//! The decliners of a request, as the headers of a copy carry them.

/// The servers that declined a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declines {
    /// Names of the servers, in order.
    pub(crate) by: Vec<String>,
    /// Message of the last server's fault.
    pub(crate) because: String,
    /// Number of times that the request reached a server that had declined it before.
    pub(crate) passes: u32,
}
