//! The kinds of encoded values.

/// Kind of an encoded value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Null,
    List,
    Map,
    /// A number, a text, a flag, bytes.
    Plain,
}
