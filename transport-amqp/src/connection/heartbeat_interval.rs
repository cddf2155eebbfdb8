//! The heartbeat interval of a connection: as asked for, and as negotiated.

use std::time::Duration;

/// The heartbeat interval that the user asked for. A connection that is silent for two intervals
/// counts as lost.
#[derive(Clone, Copy)]
pub(crate) struct HeartbeatInterval {
    /// Zero leaves the interval to the broker.
    seconds: u16,
}

impl HeartbeatInterval {
    /// Creates an interval of whole seconds.
    pub(crate) fn seconds(seconds: u16) -> Self {
        Self { seconds }
    }

    /// Returns the interval to negotiate with the broker, in seconds; 0 leaves it to the broker.
    ///
    /// RabbitMQ checks once per interval, and closes the connection at the second silent check. So
    /// RabbitMQ needs up to three intervals to notice a silent peer, and the engine two and a half.
    /// Three negotiated intervals are shorter than two requested ones, which leaves time to
    /// reconnect. AMQP has no interval below one second.
    ///
    /// Ten requested seconds become 6, and sixty become 39.
    pub(crate) fn negotiated(self) -> u16 {
        match self.seconds {
            0 => 0,
            requested => {
                u16::try_from((u32::from(requested) * 2 - 1) / 3).unwrap_or(u16::MAX).max(1)
            }
        }
    }

    /// Returns the longest pause between two attempts to reconnect. A short heartbeat asks for a
    /// fast reaction to a lost connection, and so for a fast reconnect.
    ///
    /// `ReconnectBackoff::up_to` limits the result to 5 seconds at most. So a heartbeat that is
    /// left to the broker has no influence.
    pub(crate) fn pause_max(self) -> Duration {
        match self.seconds {
            0 => Duration::MAX,
            requested => Duration::from_secs(requested.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_negotiated_intervals_are_shorter_than_two_requested_ones() {
        for requested in 2..=u16::MAX {
            let negotiated = HeartbeatInterval::seconds(requested).negotiated();
            assert!(
                negotiated >= 1 && u32::from(negotiated) * 3 < u32::from(requested) * 2,
                "{negotiated} of {requested}"
            );
        }
        assert_eq!(
            [0, 1].map(|requested| HeartbeatInterval::seconds(requested).negotiated()),
            [0, 1]
        );
    }
}
