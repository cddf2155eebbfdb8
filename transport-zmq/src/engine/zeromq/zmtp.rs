//! ZMTP 3.1, as far as a relay reads it: greetings, frame headers and commands. No I/O.
//!
//! The layouts are those of [ZMTP 3.1](https://rfc.zeromq.org/spec/37/) with the NULL mechanism.
//! All numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};

/// The size of a greeting in bytes.
pub(super) const GREETING: usize = 64;
/// The position of the minor version in a greeting.
///
/// The major version is at 10, and the name of the mechanism follows in 20 bytes.
pub(super) const MINOR_AT: usize = 11;
/// The flag of a frame that another frame of its message follows.
const MORE: u8 = 1;
/// The flag of a frame with a length of 8 bytes.
const LONG: u8 = 2;
/// The flag of a command.
const COMMAND: u8 = 4;

/// The rule that a peer has broken, for the log.
pub(super) type Violation = &'static str;

/// The violation of a message beyond the bound of the socket.
pub(super) const TOO_LARGE: Violation = "a message is too large";

/// The first byte, the signature or the version of the greeting is not that of ZMTP 3.
pub(super) const NOT_ZMTP_3: Violation = "the greeting is not that of ZMTP 3";
/// The greeting names another security mechanism than NULL.
pub(super) const OTHER_MECHANISM: Violation =
    "the peer asks for a security mechanism, which this engine lacks";
/// The peer has answered with ERROR.
pub(super) const REFUSED: Violation = "the peer has refused the handshake";
/// The pattern of the peer's socket is another one.
pub(super) const OTHER_SOCKET_TYPE: Violation = "the peer is a socket of a type that does not fit";

/// Returns whether a handshake with this reason of its failure fails until one of the two sides is
/// configured anew.
pub(super) fn is_lasting(reason: &str) -> bool {
    [NOT_ZMTP_3, OTHER_MECHANISM, REFUSED, OTHER_SOCKET_TYPE].contains(&reason)
}

/// The header of a frame.
///
/// A byte of flags, then the length of the body in one byte or, with the flag `LONG`, in eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The bits `MORE`, `LONG` and `COMMAND`. All others are reserved.
    flags: u8,
    /// The size of the header itself: 2 or 9 bytes.
    pub(super) size: usize,
    /// The size of the body.
    ///
    /// Announced by the sender, so it has no bound before a check.
    pub(super) len: u64,
}

impl Header {
    /// Reads a header, or returns `None` if bytes are missing.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        if flags & LONG == 0 {
            return Some(Self { flags, size: 2, len: u64::from(*rest.first()?) });
        }
        let len = u64::from_be_bytes(*rest.first_chunk()?);
        Some(Self { flags, size: 9, len })
    }

    /// Returns whether the frame is a command.
    pub(super) fn is_command(self) -> bool {
        self.flags & COMMAND != 0
    }

    /// Returns whether another frame of the message follows.
    pub(super) fn has_more(self) -> bool {
        self.flags & MORE != 0
    }

    /// Fails for flags that no frame may have.
    ///
    /// Reserved bits must be 0, and a command is a single frame.
    pub(super) fn check(self) -> Result<(), Violation> {
        if self.flags & !(MORE | LONG | COMMAND) != 0 {
            return Err("a frame has reserved flags");
        }
        match self.is_command() && self.has_more() {
            true => Err("a command has more frames"),
            false => Ok(()),
        }
    }
}

/// Checks the greeting of a peer, and returns its minor version.
///
/// A later major version than 3 counts as version 3.1, since a peer of a later version has to
/// accept the older one.
///
/// # Errors
///
/// A signature or a version that is not of ZMTP 3, and a mechanism other than NULL.
pub(super) fn read_greeting(greeting: &[u8; GREETING]) -> Result<u8, Violation> {
    if greeting[0] != 0xFF || greeting[9] & 1 == 0 || greeting[10] < 3 {
        return Err(NOT_ZMTP_3);
    }
    let mechanism = greeting[12..32].split(|byte| *byte == 0).next();
    if mechanism != Some(b"NULL") {
        return Err(OTHER_MECHANISM);
    }
    Ok(if greeting[10] > 3 { 1 } else { greeting[MINOR_AT] })
}

/// The properties of a READY command that matter here.
///
/// A property that the peer does not send is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    /// The value of `Socket-Type`, such as `DEALER`.
    pub(super) socket_type: Bytes,
    /// The value of `Identity`, the routing id, of up to 255 bytes.
    pub(super) identity: Bytes,
}

/// The longest identity of a peer in bytes.
const IDENTITY_MAX: usize = 255;

/// Reads the data of a READY command.
///
/// The names of properties are compared without regard to case. Unknown properties are skipped, and
/// the last of two equal ones counts.
///
/// # Errors
///
/// A property that is cut off or has no name, and an identity of more than 255 bytes.
pub(super) fn read_ready(mut data: &[u8]) -> Result<Ready, Violation> {
    let malformed = "the READY command is malformed";
    let mut ready = Ready::default();
    while let Some((&name_len, rest)) = data.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(name_len)).ok_or(malformed)?;
        let (len, rest) = rest.split_first_chunk().ok_or(malformed)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| malformed)?;
        let (value, rest) = rest.split_at_checked(len).ok_or(malformed)?;
        match name.to_ascii_lowercase().as_slice() {
            b"" => return Err(malformed),
            b"socket-type" => ready.socket_type = Bytes::copy_from_slice(value),
            b"identity" if value.len() > IDENTITY_MAX => return Err("the identity is too long"),
            b"identity" => ready.identity = Bytes::copy_from_slice(value),
            _ => {}
        }
        data = rest;
    }
    Ok(ready)
}

/// Writes a READY command.
pub(super) fn write_ready(out: &mut BytesMut, socket_type: &[u8], identity: &[u8]) {
    let mut body = BytesMut::new();
    for (name, value) in [(&b"Socket-Type"[..], socket_type), (b"Identity", identity)] {
        // Neither is longer than 255 bytes.
        body.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        body.put_slice(name);
        body.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        body.put_slice(value);
    }
    write_command(out, b"READY", &body);
}

/// Splits the body of a command into its name and its data.
pub(super) fn read_command(body: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let (&len, rest) = body.split_first().ok_or("a command has no name")?;
    rest.split_at_checked(usize::from(len)).ok_or("the name of a command is cut off")
}

/// Writes a command.
pub(super) fn write_command(out: &mut BytesMut, name: &[u8], data: &[u8]) {
    write_header(out, COMMAND, 1 + name.len() + data.len());
    // No name is longer than 255 bytes.
    out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.put_slice(name);
    out.put_slice(data);
}

/// Writes a message of one frame, from two parts.
pub(super) fn write_message(out: &mut BytesMut, first: u8, rest: &[u8]) {
    write_header(out, 0, 1 + rest.len());
    out.put_u8(first);
    out.put_slice(rest);
}

/// Writes a header in its short form if the length fits into a byte.
fn write_header(out: &mut BytesMut, flags: u8, len: usize) {
    match u8::try_from(len) {
        Ok(len) => out.put_slice(&[flags, len]),
        Err(_) => {
            out.put_u8(flags | LONG);
            out.put_u64(len as u64);
        }
    }
}
