//! Batches of messages: under load, or never.

use std::fmt;
use std::str::FromStr;

use polywire_core::{Error, Result};

use crate::common_errors::config;

/// Batches of calls to one peer, and of replies to one: under load, or never.
///
/// Each call keeps its own deadline, cancellation and outcome, and a lone call never waits. Peers
/// of earlier versions, and programs in other languages, get single messages. Jobs and events are
/// never joined. The text is `auto` or `off`, as in the URL option `batch`.
///
/// ```
/// use polywire_zmq::Batching;
///
/// assert_eq!("off".parse::<Batching>()?, Batching::Off);
/// assert_eq!(Batching::Auto.to_string(), "auto");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Batching {
    /// Messages of up to 2 KiB are collected until the tasks that are ready have run, into batches
    /// of up to 16 KiB.
    ///
    /// A client collects while more than 4 calls are in flight at the server. A server collects
    /// replies to a client whose last message was a batch. A batch is always smaller than a
    /// thousandth of [`peer_bytes_max`](crate::ZmqBuilder::peer_bytes_max).
    Auto,
    /// Each message leaves alone, and peers are asked to send none joined.
    Off,
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
        })
    }
}

impl FromStr for Batching {
    type Err = Error;

    /// Reads `auto` or `off`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for any other text.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => {
                let error = config("cannot read the way of batching: expected auto or off");
                Err(error.with("batch", text.escape_debug()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back() {
        for batching in [Batching::Auto, Batching::Off] {
            assert_eq!(batching.to_string().parse::<Batching>().unwrap(), batching);
        }
        let error = "on".parse::<Batching>().unwrap_err();
        assert!(error.to_string().contains("on"), "{error}");
    }
}
