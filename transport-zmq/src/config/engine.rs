//! The engine that moves the bytes.

use std::fmt;
use std::str::FromStr;

use polywire_core::{Error, ErrorKind, Result};

use crate::common_errors::config;

/// The crate that moves the bytes.
///
/// Its text is `omq` or `zeromq`, as in the URL option `engine`.
///
/// ```
/// use polywire_zmq::Engine;
///
/// assert_eq!("omq".parse::<Engine>()?, Engine::Omq);
/// assert_eq!(Engine::Zeromq.to_string(), "zeromq");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// `omq-tokio`, behind feature `engine-omq`: the default, and the choice for networks.
    Omq,
    /// `zeromq`, behind feature `engine-zeromq`: all patterns, sides and bounds of the other one,
    /// without its security.
    ///
    /// - CURVE and PLAIN are [`ErrorKind::Unsupported`]: use this engine among trusted peers.
    /// - Each connection is a socket of the crate behind a relay in this process, which adds what
    ///   the crate lacks. A message is copied twice more than with the other engine, and each
    ///   connection takes a local socket and its buffers besides.
    /// - A job that was written to a puller is lost with the puller, as with the other engine. Jobs
    ///   that were not written go to the next puller.
    Zeromq,
}

impl Engine {
    /// Returns the engine to use if none was chosen: omq, or the engine that is compiled in.
    ///
    /// # Errors
    ///
    /// `Unsupported` if no engine is compiled in. The error names the feature of omq.
    pub(super) fn default_one() -> Result<Self> {
        let any = Self::Omq.compiled_in().or_else(|_| Self::Zeromq.compiled_in());
        any.map_err(|_| not_compiled_in("engine-omq"))
    }

    /// Returns this engine.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the feature of the engine is off. The error names the feature.
    pub(super) fn compiled_in(self) -> Result<Self> {
        match self {
            Self::Omq if cfg!(feature = "engine-omq") => Ok(self),
            Self::Omq => Err(not_compiled_in("engine-omq")),
            Self::Zeromq if cfg!(feature = "engine-zeromq") => Ok(self),
            Self::Zeromq => Err(not_compiled_in("engine-zeromq")),
        }
    }
}

fn not_compiled_in(feature: &'static str) -> Error {
    let error = Error::new(
        ErrorKind::Unsupported,
        "cannot use this engine of ZeroMQ: it is not compiled in; turn on its feature",
    );
    error.with("feature", feature).unsent()
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Omq => "omq",
            Self::Zeromq => "zeromq",
        })
    }
}

impl FromStr for Engine {
    type Err = Error;

    /// Reads `omq` or `zeromq`, whether the engine is compiled in or not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other text.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "omq" => Ok(Self::Omq),
            "zeromq" => Ok(Self::Zeromq),
            _ => {
                let error = config("cannot read the engine: expected omq or zeromq");
                Err(error.with("engine", text.escape_debug()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_engine_is_read_back() {
        for engine in [Engine::Omq, Engine::Zeromq] {
            assert_eq!(engine.to_string().parse::<Engine>().unwrap(), engine);
        }
        let error = "libzmq".parse::<Engine>().unwrap_err();
        assert!(error.to_string().contains("libzmq"), "{error}");
    }
}
