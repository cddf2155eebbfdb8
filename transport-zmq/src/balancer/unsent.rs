//! Errors of messages that were not sent.

use polywire_core::{Error, ErrorKind};

use crate::engine::Traffic;

/// Returns the error of a message that no peer can get: `Denied` if all peers denied access, and
/// `Unroutable` otherwise.
pub(super) fn no_peer(traffic: &Traffic, is_denied: bool, endpoints: String) -> Error {
    let (kind, text) = match traffic {
        _ if is_denied => (
            ErrorKind::Denied,
            "cannot connect: the peers denied access, check the credentials and their allow \
             lists",
        ),
        Traffic::Requests => {
            (ErrorKind::Unroutable, "cannot send the request: no server is connected")
        }
        Traffic::Jobs(_) | Traffic::AnyJobs => {
            (ErrorKind::Unroutable, "cannot send the job: no puller is connected")
        }
    };
    Error::new(kind, text).with("endpoints", endpoints).unsent()
}
