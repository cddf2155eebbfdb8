//! Peers that are no brokers, recognized by their first byte.

use std::fmt;
use std::io;

/// The error of a peer that answers in TLS where plain AMQP was expected.
#[derive(Debug)]
pub(crate) struct SpeaksTls;

impl fmt::Display for SpeaksTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer speaks TLS")
    }
}

impl std::error::Error for SpeaksTls {}

/// Checks the first byte from a peer. A broker sends a frame, or its protocol header.
///
/// # Errors
///
/// [`SpeaksTls`] for an alert or a handshake of TLS.
pub(super) fn check_first(byte: u8) -> io::Result<()> {
    match byte {
        TLS_ALERT | TLS_HANDSHAKE => Err(io::Error::new(io::ErrorKind::InvalidData, SpeaksTls)),
        _ => Ok(()),
    }
}

/// The type of a TLS record that ends a connection.
const TLS_ALERT: u8 = 21;
/// The type of a TLS record of the handshake.
const TLS_HANDSHAKE: u8 = 22;
