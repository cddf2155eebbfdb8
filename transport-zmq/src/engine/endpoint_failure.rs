//! Causes for which an endpoint cannot be bound or connected, each with a sentence of its own.
//!
//! Both engines share the sentences. Errors of handles and log lines show the sentences, so a
//! sentence names the remedy where there is one.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use crate::endpoint::Endpoint;

/// Describes the failure to bind an endpoint.
///
/// Known causes are an address in use, a missing permission, a missing folder, and an address of
/// another machine. Any other error keeps its own text, as does an error that is not of the
/// operating system.
pub(super) fn bind_cause(endpoint: &Endpoint, error: &(dyn StdError + 'static)) -> String {
    let Some(error) = io_error(error) else { return error.to_string() };
    let is_tcp = matches!(endpoint, Endpoint::Tcp { .. });
    let cause = match error.kind() {
        // Two endpoint handles of a transport cannot share a fixed port; with port `*` each gets
        // its own.
        ErrorKind::AddrInUse | ErrorKind::AlreadyExists => {
            "the address is in use, perhaps by another endpoint handle; port * binds a free one"
        }
        ErrorKind::PermissionDenied if is_tcp => "this user may not listen on the port",
        ErrorKind::PermissionDenied => "this user may not create the socket file",
        ErrorKind::NotFound if !is_tcp => "the folder of the socket file does not exist",
        ErrorKind::AddrNotAvailable => "no interface of this machine has the address",
        _ => return other_cause(error),
    };
    cause.to_owned()
}

/// Describes the failure to connect to an endpoint.
pub(super) fn connect_cause(endpoint: &Endpoint, error: &(dyn StdError + 'static)) -> String {
    let Some(error) = io_error(error) else { return error.to_string() };
    let is_tcp = matches!(endpoint, Endpoint::Tcp { .. });
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused if is_tcp => "no peer listens there: connection refused",
        ErrorKind::ConnectionRefused => "no process listens on the socket file",
        ErrorKind::NotFound if !is_tcp => "there is no such socket file",
        ErrorKind::PermissionDenied if !is_tcp => "this user may not connect to the socket file",
        ErrorKind::TimedOut => "the host did not answer",
        _ => return other_cause(error),
    };
    cause.to_owned()
}

/// Describes an error without a sentence of its own.
fn other_cause(error: &io::Error) -> String {
    let text = error.to_string();
    // The standard library has no kind for this error.
    match text.starts_with("failed to lookup address information") {
        true => format!("there is no such host: {text}"),
        false => text,
    }
}

/// Returns the error of the operating system in a chain of sources.
fn io_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_differ() {
        let tcp = Endpoint::parse("tcp://127.0.0.1:80").unwrap();
        let ipc = Endpoint::parse("ipc:///run/a.sock").unwrap();
        let lookup = || io::Error::other("failed to lookup address information: no such name");
        let texts = [
            bind_cause(&tcp, &io::Error::from(ErrorKind::AddrInUse)),
            bind_cause(&tcp, &io::Error::from(ErrorKind::PermissionDenied)),
            bind_cause(&ipc, &io::Error::from(ErrorKind::PermissionDenied)),
            bind_cause(&ipc, &io::Error::from(ErrorKind::NotFound)),
            bind_cause(&tcp, &io::Error::from(ErrorKind::AddrNotAvailable)),
            connect_cause(&tcp, &io::Error::from(ErrorKind::ConnectionRefused)),
            connect_cause(&ipc, &io::Error::from(ErrorKind::ConnectionRefused)),
            connect_cause(&ipc, &io::Error::from(ErrorKind::NotFound)),
            connect_cause(&ipc, &io::Error::from(ErrorKind::PermissionDenied)),
            connect_cause(&tcp, &io::Error::from(ErrorKind::TimedOut)),
            connect_cause(&tcp, &lookup()),
        ];
        for (at, text) in texts.iter().enumerate() {
            assert!(!texts[..at].contains(text), "{text}");
        }
        assert!(texts[10].starts_with("there is no such host: "), "{}", texts[10]);
    }
}
