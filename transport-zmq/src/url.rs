//! The URL of a transport: `zmq+tcp://host:port,host:port?option=value`.
//!
//! Each endpoint becomes a [`ZmqBuilder::endpoint`], and each option a method of the builder.
//! Options of security go to [`security_options`], since several of them belong together.
//!
//! The text is taken as it is, without percent-decoding. So the path of a socket file in a URL has
//! neither a comma nor a question mark, and a value has no `&`.

#[cfg(feature = "engine-omq")]
mod curve_options;
#[cfg(feature = "engine-omq")]
mod numbered_lines;
#[cfg(feature = "engine-omq")]
mod security_options;

use std::str::FromStr;
use std::time::Duration;

use polywire_core::{Error, Result};

use crate::common_errors::config;
use crate::config::{Engine, ZmqBuilder};
use crate::endpoint::Side;

/// Parses a URL into a builder, and reads the secrets that its options name.
///
/// Endpoints and bounds are checked by [`ZmqBuilder::build`]. Empty options are skipped.
///
/// # Errors
///
/// `Config` for a malformed URL, with the part that is wrong; for an option that is given twice;
/// and for a secret that cannot be read. Secrets are left out of the error.
pub(crate) fn parse(url: &str) -> Result<ZmqBuilder> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("zmq+tcp", rest)) => ("tcp", rest),
        Some(("zmq+ipc", rest)) => ("ipc", rest),
        _ => return Err(refuse(url, "the scheme is neither zmq+tcp:// nor zmq+ipc://")),
    };
    let (endpoints, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut builder = ZmqBuilder::new();
    for endpoint in endpoints.split(',') {
        builder = builder.endpoint(format!("{scheme}://{endpoint}"));
    }
    #[cfg(feature = "engine-omq")]
    let mut credentials = security_options::SecurityOptions::default();
    // Bounded by the number of options, since an unknown one is refused at once.
    let mut names = Vec::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, _) = option.split_once('=').unwrap_or((option, ""));
        if names.contains(&name) {
            let error = refuse(url, "an option is given twice");
            return Err(error.with("option", name.escape_debug()));
        }
        names.push(name);
        #[cfg(feature = "engine-omq")]
        if credentials.note(option) {
            continue;
        }
        builder = set(builder, option)
            .map_err(|because| refuse(url, because).with("option", shown(option).escape_debug()))?;
    }
    #[cfg(feature = "engine-omq")]
    let builder = credentials.apply(builder)?;
    Ok(builder)
}

/// Returns an option without its value if that may be a secret. All names that begin with `curve_`
/// or `plain_` count, so that a misspelled option reveals nothing either.
fn shown(option: &str) -> String {
    match option.split_once('=') {
        Some((name, _)) if name.starts_with("curve_") || name.starts_with("plain_") => {
            format!("{name}=…")
        }
        _ => option.to_owned(),
    }
}

/// Applies one option to the builder. Fails with the cause.
fn set(builder: ZmqBuilder, option: &str) -> Result<ZmqBuilder, &'static str> {
    let (name, value) = option.split_once('=').ok_or("an option has no value")?;
    match (name, value) {
        ("serve", side) => {
            let side = side.parse::<Side>().map_err(|_| "serve is bind or connect")?;
            Ok(builder.server_side(side))
        }
        ("engine", engine) => {
            let engine = engine.parse::<Engine>().map_err(|_| "engine is omq or zeromq")?;
            Ok(builder.engine(engine))
        }
        ("connect_timeout_ms", ms) => {
            Ok(builder.connect_timeout(Duration::from_millis(number(ms)?)))
        }
        ("linger_ms", ms) => Ok(builder.linger(Duration::from_millis(number(ms)?))),
        ("heartbeat_ms", ms) => Ok(builder.heartbeat(Duration::from_millis(number(ms)?))),
        ("batch", batching) => {
            let batching = batching.parse().map_err(|_| "batch is auto or off")?;
            Ok(builder.batching(batching))
        }
        ("peer_bytes_max", bytes) => Ok(builder.peer_bytes_max(number(bytes)?)),
        (bound, value) => bound_to(builder, bound, value),
    }
}

/// Applies an option that is one of the [`Limits`](polywire_core::Limits), or a bound of
/// [`Admission`](crate::Admission).
fn bound_to(builder: ZmqBuilder, bound: &str, value: &str) -> Result<ZmqBuilder, &'static str> {
    let (mut limits, mut admission) = builder.bounds();
    match bound {
        "body_max" => limits.body_max = number(value)?,
        "frames_max" => limits.frames_max = number(value)?,
        "headers_max" => limits.headers_max = number(value)?,
        "header_bytes_max" => limits.header_bytes_max = number(value)?,
        "handshake_timeout_ms" => {
            admission.handshake_timeout = Duration::from_millis(number(value)?);
        }
        "pending_handshakes_max" => admission.pending_handshakes_max = number(value)?,
        "connections_max" => admission.connections_max = number(value)?,
        "host_connections_max" => admission.host_connections_max = number(value)?,
        "subscriptions_max" => admission.subscriptions_max = number(value)?,
        "message_max" => admission.message_max = Some(number(value)?),
        _ => return Err("unknown option; see the documentation of Zmq::connect"),
    }
    Ok(builder.limits(limits).admission(admission))
}

/// Parses the value of a numeric option.
fn number<T: FromStr>(value: &str) -> Result<T, &'static str> {
    value.parse().map_err(|_| "the value is not a whole number")
}

/// Returns the error of a malformed URL, without the values of secret options.
fn refuse(url: &str, because: &'static str) -> Error {
    let (endpoints, query) = url.split_once('?').unwrap_or((url, ""));
    let options: Vec<_> = query.split('&').map(shown).collect();
    let mark = if url.contains('?') { "?" } else { "" };
    let url = format!("{endpoints}{mark}{}", options.join("&"));
    config("cannot parse the ZeroMQ URL").with("url", url.escape_debug()).with("because", because)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_urls_name_the_cause() {
        for (url, why) in [
            ("127.0.0.1:5555", "neither zmq+tcp"),
            ("zmq+udp://127.0.0.1:5555", "neither zmq+tcp"),
            ("zmq+tcp://", "no port"),
            ("zmq+tcp://a:1,,b:2", "no port"),
            ("zmq+tcp://a:1,b:two", "tcp://b:two"),
            ("zmq+tcp://a:1?serve=both", "serve is bind or connect"),
            ("zmq+tcp://a:1?engine=libzmq", "engine is omq or zeromq"),
            ("zmq+tcp://a:1?batch=on", "batch is auto or off"),
            ("zmq+tcp://a:1?connect_timeout_ms=2s", "option: connect_timeout_ms=2s"),
            ("zmq+tcp://a:1?body_max=-1", "whole number"),
            ("zmq+tcp://a:1?connections_max=0", "connections_max"),
            ("zmq+tcp://a:1?peer_bytes_max=0", "peer_bytes_max"),
            ("zmq+tcp://a:1?serve", "no value"),
            ("zmq+tcp://a:1?color=red", "unknown option"),
            ("zmq+tcp://a:1?linger_ms=1&body_max=9&linger_ms=1", "option: linger_ms"),
            ("zmq+ipc://", "no path"),
        ] {
            let error = parse(url).and_then(ZmqBuilder::build).unwrap_err();
            assert_eq!(error.kind(), polywire_core::ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn well_formed_urls_are_parsed() {
        for url in [
            "zmq+tcp://127.0.0.1:5555",
            "zmq+tcp://a:1,b:2?serve=connect&connect_timeout_ms=2000",
            "zmq+tcp://*:*?body_max=1000&frames_max=2&headers_max=3&header_bytes_max=100",
            "zmq+tcp://*:*?handshake_timeout_ms=900&pending_handshakes_max=8&connections_max=9",
            "zmq+tcp://*:*?host_connections_max=3&subscriptions_max=4&message_max=5000",
            "zmq+tcp://*:*?batch=off",
            "zmq+tcp://*:*?linger_ms=10&heartbeat_ms=500&peer_bytes_max=1000000",
            "zmq+ipc:///tmp/a.sock,/tmp/b.sock",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
    }

    #[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
    #[test]
    fn options_reach_the_transport() {
        use polywire_core::Transport;

        let zmq = parse("zmq+tcp://a:1?body_max=1000").and_then(ZmqBuilder::build).unwrap();
        assert_eq!(zmq.capabilities().body_max, 1000);
    }

    #[cfg(not(any(feature = "engine-omq", feature = "engine-zeromq")))]
    #[test]
    fn without_an_engine_the_error_names_the_feature() {
        let error = parse("zmq+tcp://a:1").and_then(ZmqBuilder::build).unwrap_err();
        assert!(error.to_string().contains("engine-omq"), "{error}");
    }
}
