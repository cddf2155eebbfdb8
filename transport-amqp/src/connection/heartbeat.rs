//! How often both sides of a connection show that they live.

use std::time::Duration;

/// The heartbeat that a user asked for. Twice that time without a sign of life, and the connection
/// is lost.
#[derive(Clone, Copy)]
pub(crate) struct Heartbeat {
    /// What the broker wants, if 0.
    seconds: u16,
}

impl Heartbeat {
    pub(crate) fn seconds(seconds: u16) -> Self {
        Self { seconds }
    }

    /// What is agreed with the broker, in seconds; 0 leaves it to the broker.
    ///
    /// RabbitMQ looks once in this time, and has to find twice that nothing came: so it takes up to
    /// three of them to notice a silent peer, of which the engine at this end takes two and a
    /// half. Three of these are less than two of those that were asked for, so that there is
    /// time left to connect again. Less than a second cannot be said.
    pub(crate) fn agreed(self) -> u16 {
        match self.seconds {
            0 => 0,
            asked => u16::try_from((u32::from(asked) * 2 - 1) / 3).unwrap_or(u16::MAX).max(1),
        }
    }

    /// The longest pause between two attempts to connect: who wants to hear soon of a loss wants to
    /// be back soon.
    pub(crate) fn pause_max(self) -> Duration {
        match self.seconds {
            0 => Duration::MAX,
            asked => Duration::from_secs(asked.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_that_are_agreed_are_less_than_two_that_are_asked_for() {
        for asked in 2..=u16::MAX {
            let agreed = Heartbeat::seconds(asked).agreed();
            assert!(
                agreed >= 1 && u32::from(agreed) * 3 < u32::from(asked) * 2,
                "{agreed} of {asked}"
            );
        }
        assert_eq!([0, 1].map(|asked| Heartbeat::seconds(asked).agreed()), [0, 1]);
    }
}
