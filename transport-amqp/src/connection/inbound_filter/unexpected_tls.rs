//! Peers that answer in TLS where plain AMQP was expected, recognized by their first byte.

use std::fmt;
use std::io;

/// The error of a peer that answers in TLS where plain AMQP was expected.
///
/// The description of a failed handshake recognizes this type inside the [`io::Error`].
#[derive(Debug)]
pub(crate) struct UnexpectedTls;

impl fmt::Display for UnexpectedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer speaks TLS")
    }
}

impl std::error::Error for UnexpectedTls {}

/// Checks the first byte from a peer. A broker sends a frame, or its protocol header.
///
/// A broker's first byte is 1 for a method frame, or `A` for a protocol header. The types of TLS
/// records are those of RFC 8446, section 5.1.
///
/// # Errors
///
/// [`UnexpectedTls`] for an alert or a handshake of TLS.
pub(super) fn check_first(byte: u8) -> io::Result<()> {
    match byte {
        TLS_ALERT | TLS_HANDSHAKE => Err(io::Error::new(io::ErrorKind::InvalidData, UnexpectedTls)),
        _ => Ok(()),
    }
}

/// The type of a TLS record that ends a connection.
const TLS_ALERT: u8 = 21;
/// The type of a TLS record of the handshake.
const TLS_HANDSHAKE: u8 = 22;
