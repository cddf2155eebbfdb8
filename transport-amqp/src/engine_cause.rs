//! Errors of the engine, as causes in the text of an error.
//!
//! The engine's own texts name its layers ("protocol error: AMQP soft error: …"). Here, a cause is
//! the broker's text, or a sentence in its place if the text is that of a missing permission.

use std::fmt;

/// The cause of a failed operation, as one line.
#[derive(Debug)]
pub(crate) struct EngineCause(String);

impl EngineCause {
    /// Returns whether the broker found no queue or exchange of the name.
    pub(crate) fn is_not_found(&self) -> bool {
        self.0.starts_with("NOT_FOUND")
    }

    /// Describes an error of the engine.
    pub(crate) fn of(error: &lapin::Error) -> Self {
        Self(match error.kind() {
            lapin::ErrorKind::ProtocolError(error) => match error.get_message().as_str() {
                "" => error.to_string(),
                text => missing_permission(text).unwrap_or_else(|| text.to_owned()),
            },
            lapin::ErrorKind::IOError(error) | lapin::ErrorKind::RuntimeShutdownError(error) => {
                error.to_string()
            }
            lapin::ErrorKind::InvalidChannelState(..) => "the channel is closed".to_owned(),
            lapin::ErrorKind::InvalidConnectionState(_) => "the connection is closed".to_owned(),
            lapin::ErrorKind::MissingHeartbeatError => {
                "the broker was silent for two heartbeats, or this process did not run".to_owned()
            }
            _ => error.to_string(),
        })
    }
}

impl fmt::Display for EngineCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineCause {}

/// Rewrites `ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'u'`.
/// Brokers before 3.13 do not name the permission, and long texts are cut.
fn missing_permission(text: &str) -> Option<String> {
    let text = text.strip_prefix("ACCESS_REFUSED - ")?;
    let (permission, rest) = text.split_once("access to ")?;
    let (object, user) = rest.split_once(" refused for user ")?;
    Some(match permission.trim() {
        "" => format!("the user {user} lacks a permission for the {object}"),
        permission => {
            format!("the user {user} lacks the permission `{permission}` for the {object}")
        }
    })
}

#[cfg(test)]
mod tests {
    use lapin::ErrorKind;
    use lapin::protocol::{AMQPError, AMQPHardError, AMQPSoftError};

    use super::*;

    fn text(error: impl Into<lapin::Error>) -> String {
        EngineCause::of(&error.into()).to_string()
    }

    #[test]
    fn texts_of_the_broker_are_kept_and_those_of_permissions_rewritten() {
        let soft = |kind: AMQPSoftError, text: &str| {
            ErrorKind::ProtocolError(AMQPError::new(kind.into(), text.into()))
        };
        for (answered, shown) in [
            (
                "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'u'",
                "the user 'u' lacks the permission `configure` for the queue 'q' in vhost '/'",
            ),
            (
                "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused for user 'u'",
                "the user 'u' lacks a permission for the exchange 'e' in vhost '/'",
            ),
            (
                "ACCESS_REFUSED - write access to topic 'aaaa...",
                "ACCESS_REFUSED - write access to topic 'aaaa...",
            ),
        ] {
            assert_eq!(text(soft(AMQPSoftError::ACCESSREFUSED, answered)), shown);
        }
        let gone = "NOT_FOUND - no queue 'q' in vhost '/'";
        assert_eq!(text(soft(AMQPSoftError::NOTFOUND, gone)), gone);
        let forced = AMQPError::new(AMQPHardError::CONNECTIONFORCED.into(), "".into());
        assert!(text(ErrorKind::ProtocolError(forced)).contains("FORCED"));
        assert_eq!(text(std::io::Error::other("the network is down")), "the network is down");
    }
}
