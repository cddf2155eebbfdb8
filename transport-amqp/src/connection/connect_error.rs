//! Causes of a failed attempt to connect, each with a sentence of its own.

use std::io;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::uri::{AMQPScheme, AMQPUri};
use polywire_core::{Error, ErrorKind};

use crate::connection::inbound_filter::unexpected_tls::UnexpectedTls;
use crate::connection::tls_cause::tls_cause;
use crate::engine_cause::EngineCause;
use crate::engine_error::{kind_of, reply_text};
use crate::url::BrokerAddress;

/// The part of an attempt that has begun.
///
/// The stages follow one another in this order. A plain connection leaves the stage of TLS at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The host is resolved and connected.
    Tcp,
    /// The TLS handshake runs.
    Tls,
    /// The AMQP handshake runs.
    Amqp,
}

/// Returns the error of an attempt to connect. It is unsent, and its details name the host and the
/// port.
pub(super) fn cannot_connect(broker: &BrokerAddress, kind: ErrorKind, cause: String) -> Error {
    Error::new(kind, format!("cannot connect to the broker at {broker}"))
        .with_named("host", &broker.host)
        .with_named("port", broker.port)
        .with_source(cause)
        .unsent()
}

/// Describes the failure to resolve a host.
pub(super) fn unresolvable(error: &io::Error) -> String {
    format!("the host name cannot be resolved: {error}")
}

/// Describes the failure to open a TCP connection.
pub(super) fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "no broker listens there: connection refused".to_owned()
        }
        _ => format!("the host cannot be reached: {error}"),
    }
}

/// Describes a failed TLS handshake.
pub(super) fn no_tls(error: &io::Error) -> String {
    tls_cause(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the peer closed the connection during the TLS handshake; the port may be one for \
             amqp://"
                .to_owned()
        }
        _ => format!("the TLS handshake failed: {error}"),
    })
}

/// Describes an attempt that exceeded the connect timeout.
pub(super) fn timed_out(stage: Stage, limit: Duration) -> String {
    let what = match stage {
        Stage::Tcp => "the host did not answer",
        Stage::Tls => "the TLS handshake was not complete",
        Stage::Amqp => "the peer accepted the connection, but sent no greeting of a broker",
    };
    format!("{what} within the connect timeout of {limit:?}")
}

/// Returns the kind and the description of a failed AMQP handshake.
///
/// Only the kind `Denied` counts towards [`give_up_after`](crate::AmqpBuilder::give_up_after). The
/// supervisor retries after any other kind without a limit.
pub(super) fn no_handshake(error: &lapin::Error, uri: &AMQPUri) -> (ErrorKind, String) {
    (kind_of(error), handshake_cause(error, uri))
}

/// Describes a failed AMQP handshake in terms of the broker's reply or of the socket's error.
///
/// RabbitMQ refuses a login with the reply code 403, and a virtual host with 530. The two cases of
/// a virtual host differ by their texts alone. An unknown text is passed on unchanged.
fn handshake_cause(error: &lapin::Error, uri: &AMQPUri) -> String {
    let (user, vhost) = (&uri.authority.userinfo.username, &uri.vhost);
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refusal) => match refusal.kind() {
            // The broker does not say which of the two is wrong.
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                format!("the user name or the password was refused (user: {user})")
            }
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => match reply_text(error) {
                text if text.ends_with("not found") => {
                    format!("the virtual host does not exist (vhost: {vhost})")
                }
                text if text.contains("refused for user") && !text.contains("limit") => {
                    format!("the user may not use the virtual host (user: {user}, vhost: {vhost})")
                }
                text => text.to_owned(),
            },
            _ => EngineCause::of(error).to_string(),
        },
        lapin::ErrorKind::IOError(failed) => {
            if let Some(inner) = failed.get_ref()
                && inner.is::<UnexpectedTls>()
            {
                return "the port speaks TLS: use amqps://".to_owned();
            }
            tls_cause(failed).unwrap_or_else(|| match failed.kind() {
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof => match uri.scheme {
                    AMQPScheme::AMQP => {
                        "the peer closed the connection during the handshake; the \
                                         port may be one for amqps://, or of another service"
                    }
                    // With TLS 1.3, a refused client learns of it after its own handshake.
                    AMQPScheme::AMQPS => {
                        "the broker closed the connection during the handshake; \
                                          it may require a certificate of the client: set \
                                          certfile and keyfile"
                    }
                }
                .to_owned(),
                _ => failed.to_string(),
            })
        }
        lapin::ErrorKind::ParsingError(_) => "the peer does not speak AMQP 0-9-1".to_owned(),
        lapin::ErrorKind::InvalidProtocolVersion(version) => {
            format!("the peer speaks AMQP {version}, and not 0-9-1")
        }
        _ => EngineCause::of(error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    #[test]
    fn refusals_of_a_handshake_differ() {
        let uri: AMQPUri = "amqp://alice:secret@rabbit/orders".parse().unwrap();
        let cause = |kind: AMQPErrorKind, text: &str| {
            let error = lapin::ErrorKind::ProtocolError(AMQPError::new(kind, text.into()));
            no_handshake(&error.into(), &uri).1
        };
        let hard = || AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED);
        for (kind, text, shown) in [
            (
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED),
                "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.",
                "the user name or the password was refused (user: alice)",
            ),
            (
                hard(),
                "NOT_ALLOWED - vhost orders not found",
                "the virtual host does not exist (vhost: orders)",
            ),
            (
                hard(),
                "NOT_ALLOWED - access to vhost 'orders' refused for user 'alice'",
                "the user may not use the virtual host (user: alice, vhost: orders)",
            ),
            (
                hard(),
                "NOT_ALLOWED - access to vhost 'orders' refused for user 'alice': connection \
                 limit (5) is reached",
                "NOT_ALLOWED - access to vhost 'orders' refused for user 'alice': connection \
                 limit (5) is reached",
            ),
        ] {
            assert_eq!(cause(kind, text), shown);
        }
    }

    #[test]
    fn failures_before_the_handshake_differ() {
        let limit = Duration::from_millis(500);
        let texts = [
            unresolvable(&io::Error::other("no such name")),
            unreachable(&io::ErrorKind::ConnectionRefused.into()),
            unreachable(&io::ErrorKind::HostUnreachable.into()),
            no_tls(&io::ErrorKind::UnexpectedEof.into()),
            timed_out(Stage::Tcp, limit),
            timed_out(Stage::Tls, limit),
            timed_out(Stage::Amqp, limit),
        ];
        for (at, text) in texts.iter().enumerate() {
            assert!(!texts[..at].contains(text), "{text}");
        }
        assert_eq!(texts[4], "the host did not answer within the connect timeout of 500ms");
    }
}
