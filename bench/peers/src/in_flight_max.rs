//! The bound of calls in flight.

/// Calls in flight at most: those of a client of polywire.
pub(crate) const IN_FLIGHT_MAX: usize = 1 << 17;
