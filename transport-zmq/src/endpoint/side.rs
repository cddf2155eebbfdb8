//! The side of a connection that an endpoint handle takes.

use std::fmt;
use std::str::FromStr;

use polywire_core::{Error, Result};

use crate::common_errors::config;

/// The side of a connection: the one that listens, or the one that dials.
///
/// Its text is `bind` or `connect`, as in the URL option `serve`.
///
/// ```
/// use polywire_zmq::Side;
///
/// assert_eq!("bind".parse::<Side>()?, Side::Bind);
/// assert_eq!(Side::Connect.to_string(), "connect");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Side {
    /// The side that listens for peers.
    Bind,
    /// The side that dials its peer, again and again until the peer listens.
    Connect,
}

impl Side {
    /// Returns the opposite side.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Bind => Self::Connect,
            Self::Connect => Self::Bind,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bind => "bind",
            Self::Connect => "connect",
        })
    }
}

impl FromStr for Side {
    type Err = Error;

    /// Reads `bind` or `connect`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bind" => Ok(Self::Bind),
            "connect" => Ok(Self::Connect),
            _ => Err(config("cannot read the side: expected bind or connect")
                .with("side", text.escape_debug())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_side_is_read_back() {
        for side in [Side::Bind, Side::Connect] {
            assert_eq!(side.to_string().parse::<Side>().unwrap(), side);
        }
        let error = "both".parse::<Side>().unwrap_err();
        assert!(error.to_string().contains("both"), "{error}");
    }
}
