//! Errors of messages that were not sent.

use std::sync::Arc;

use polywire_core::{Error, ErrorKind};

use crate::engine::Traffic;

/// Returns the error of a message that no peer can get: `Denied` if all peers denied access, and
/// `Unroutable` otherwise. The error is unsent.
///
/// - `endpoints` names all endpoints and remote addresses of the balancer.
///
/// - `causes` says why each endpoint is not connected, as far as is known. A sole cause becomes the
///   source of the error. Of several causes, the first four do, each with its endpoint. A `Denied`
///   error has no source.
pub(super) fn no_peer(
    traffic: &Traffic,
    is_denied: bool,
    endpoints: String,
    causes: &[(Arc<str>, String)],
) -> Error {
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
    let error = Error::new(kind, text).with("endpoints", endpoints).unsent();
    match causes {
        _ if is_denied => error,
        [] => error,
        [(_, cause)] => error.with_source(cause.clone()),
        several => {
            let named = several.iter().take(CAUSES_MAX);
            let named: Vec<_> = named.map(|(name, cause)| format!("{name}: {cause}")).collect();
            error.with_source(named.join("; "))
        }
    }
}

/// Returns the error of a message that is larger than each connected peer accepts: `TooLarge`,
/// unsent.
///
/// `size` counts 64 more bytes for each frame, as the bounds do. `max` is the largest bound among
/// the connected peers.
pub(super) fn beyond_bound(size: u64, max: u64, endpoints: String) -> Error {
    let text = "cannot send the request: it is larger than the connected servers accept \
                (`message_max`)";
    Error::new(ErrorKind::TooLarge, text)
        .with("size", size)
        .with("limit", max)
        .with("endpoints", endpoints)
        .unsent()
}

/// The number of endpoints whose causes an error names: 4. The others are left out.
const CAUSES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_why_no_peer_is_connected() {
        let text = |is_denied, causes: &[&str]| {
            let causes: Vec<_> = (0..)
                .zip(causes)
                .map(|(n, cause)| (format!("tcp://h:{n}").into(), (*cause).to_owned()))
                .collect();
            no_peer(&Traffic::Requests, is_denied, "all".to_owned(), &causes).to_string()
        };
        let plain = "cannot send the request: no server is connected (endpoints: all)";
        assert_eq!(text(false, &[]), plain);
        assert_eq!(text(false, &["refused"]), format!("{plain}: refused"));
        assert_eq!(
            text(false, &["refused", "no host"]),
            format!("{plain}: tcp://h:0: refused; tcp://h:1: no host")
        );
        assert!(text(true, &["refused"]).ends_with("(endpoints: all)"));
    }
}
