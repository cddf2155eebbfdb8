//! The ways of a serving process.
//!
//! A mode travels as three arguments of the command line. A client has none: its order has the kind
//! of the trial.

use anyhow::{Result, bail};

use crate::trial::{Kind, Trial};

/// A way of a serving process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Answers each call with its body.
    Answer,
    /// Keeps all calls, and answers none.
    ///
    /// The trial reads by how much the memory of both processes grows.
    Hold,
    /// Sends numbered messages of this size. `number` is that of the trial.
    ///
    /// Jobs take `number` as the largest number of unconfirmed ones. Events ignore the number. A
    /// body has eight bytes at least.
    Produce { body: usize, number: usize },
    /// Publishes to a channel, and sends nothing.
    Quiet,
}

impl Mode {
    /// Returns the way that a trial needs.
    pub(crate) fn of(trial: &Trial) -> Self {
        match trial.kind {
            Kind::Held => Self::Hold,
            Kind::Jobs | Kind::Events => Self::Produce { body: trial.body, number: trial.number },
            Kind::Subscriptions => Self::Quiet,
            Kind::Calls | Kind::Open | Kind::Rate | Kind::Idle | Kind::First => Self::Answer,
        }
    }

    /// Returns the arguments `MODE BODY NUMBER`.
    ///
    /// Body and number are 0 where a mode has none, so there are always three arguments.
    pub(crate) fn arguments(self) -> [String; 3] {
        let (name, body, number) = match self {
            Self::Answer => ("answer", 0, 0),
            Self::Hold => ("hold", 0, 0),
            Self::Produce { body, number } => ("produce", body, number),
            Self::Quiet => ("quiet", 0, 0),
        };
        [name.to_owned(), body.to_string(), number.to_string()]
    }

    /// Reads the arguments that [`arguments`](Self::arguments) returns.
    ///
    /// The modes without a number ignore the arguments after the name.
    ///
    /// # Errors
    ///
    /// If the name is unknown, or a number is none.
    pub(crate) fn read(arguments: &[&str]) -> Result<Self> {
        match *arguments {
            ["answer", ..] => Ok(Self::Answer),
            ["hold", ..] => Ok(Self::Hold),
            ["produce", body, number] => {
                Ok(Self::Produce { body: body.parse()?, number: number.parse()? })
            }
            ["quiet", ..] => Ok(Self::Quiet),
            _ => bail!("expected MODE BODY NUMBER: answer, hold, produce or quiet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_read_as_it_was_written() -> Result<()> {
        for mode in [Mode::Answer, Mode::Hold, Mode::Produce { body: 64, number: 256 }, Mode::Quiet]
        {
            let arguments = mode.arguments();
            assert_eq!(Mode::read(&arguments.each_ref().map(String::as_str))?, mode);
        }
        Mode::read(&["sing", "0", "0"]).unwrap_err();
        Ok(())
    }
}
