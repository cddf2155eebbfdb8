//! The arguments of an order to a measuring process.
//!
//! Their order is the protocol with the programs in `bench/peers` and `bench/python`.

use crate::trial::{Order, Trial};

/// Returns the arguments that [`Order::read`] reads.
///
/// The times are rounded down to whole milliseconds.
pub(crate) fn order_arguments(order: &Order) -> [String; 7] {
    let Order { trial: Trial { kind, body, number }, rate, warm_up, duration, server } = order;
    [
        kind.name().to_owned(),
        body.to_string(),
        number.to_string(),
        rate.to_string(),
        warm_up.as_millis().to_string(),
        duration.as_millis().to_string(),
        server.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Result;

    use super::*;
    use crate::trial::Kind;

    #[test]
    fn order_is_read_as_it_was_written() -> Result<()> {
        for kind in Kind::ALL {
            let order = Order {
                trial: Trial { kind, body: 64, number: 512 },
                rate: 1_000,
                warm_up: Duration::from_millis(200),
                duration: Duration::from_secs(2),
                server: 4711,
            };
            let arguments = order_arguments(&order);
            let read = Order::read(&arguments.each_ref().map(String::as_str))?;
            assert_eq!(format!("{read:?}"), format!("{order:?}"));
        }
        Order::read(&["calls", "64"]).unwrap_err();
        Order::read(&["no", "1", "1", "1", "1", "1", "1"]).unwrap_err();
        Ok(())
    }
}
