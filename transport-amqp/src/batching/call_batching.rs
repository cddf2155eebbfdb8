//! Batches of calls: under load, or never.

use std::fmt;
use std::str::FromStr;

use polywire_core::{Error, ErrorKind, Result};

/// Batches of the calls of a client, and of the replies to one client: under load, or never.
///
/// Each call keeps its own deadline, cancellation and outcome, and a lone call never waits. Batches
/// go through a queue of their own, `polywire.SERVICE..batches`, and only while all servers of the
/// service read them. The text is `auto` or `off`, as in the URL parameter `batch`.
///
/// ```
/// use polywire_amqp::CallBatching;
///
/// assert_eq!("off".parse::<CallBatching>()?, CallBatching::Off);
/// assert_eq!(CallBatching::Auto.to_string(), "auto");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallBatching {
    /// Messages of up to 4 KiB are collected until the tasks that are ready have run, and for two
    /// milliseconds at most, into batches of up to 32 KiB and 64 calls.
    ///
    /// A client collects while 4 calls or more are in flight. Calls with a priority, one-way calls,
    /// transient calls, calls that run at most once, and calls with more than four minutes left
    /// leave alone. So do all calls with direct replies, and those to a queue with options other
    /// than its name and its kind.
    Auto,
    /// Each call and each reply is a message of its own. This is the default.
    #[default]
    Off,
}

impl fmt::Display for CallBatching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
        })
    }
}

impl FromStr for CallBatching {
    type Err = Error;

    /// Reads `auto` or `off`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other text.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => {
                let cause = "cannot read the way of batching: expected `auto` or `off`";
                Err(Error::new(ErrorKind::Config, cause).with("value", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_parsed_and_displayed_with_the_same_words() {
        for (text, batching) in [("auto", CallBatching::Auto), ("off", CallBatching::Off)] {
            assert_eq!(text.parse::<CallBatching>().unwrap(), batching);
            assert_eq!(batching.to_string(), text);
        }
        for text in ["", "Auto", "on"] {
            let error = text.parse::<CallBatching>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        }
        assert_eq!(CallBatching::default(), CallBatching::Off);
    }
}
