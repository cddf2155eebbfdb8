//! A transport in one line: `zmq+tcp://host:port,host:port?option=value`.

use std::time::Duration;

use polywire_core::{Error, Limits, Result};

use crate::config::{Engine, Side, ZmqBuilder};
use crate::error::config;

/// Sets up what the URL says.
pub(crate) fn parse(url: &str) -> Result<ZmqBuilder> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("zmq+tcp", rest)) => ("tcp", rest),
        Some(("zmq+ipc", rest)) => ("ipc", rest),
        _ => return Err(refuse(url, "it begins with neither zmq+tcp:// nor zmq+ipc://")),
    };
    let (endpoints, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut builder = ZmqBuilder::new();
    for endpoint in endpoints.split(',') {
        builder = builder.endpoint(format!("{scheme}://{endpoint}"));
    }
    for option in query.split('&').filter(|option| !option.is_empty()) {
        builder = set(builder, option)
            .map_err(|because| refuse(url, because).with("option", option.escape_debug()))?;
    }
    Ok(builder)
}

fn set(builder: ZmqBuilder, option: &str) -> Result<ZmqBuilder, &'static str> {
    let (name, value) = option.split_once('=').ok_or("an option has no value")?;
    match (name, value) {
        ("serve", "bind") => Ok(builder.serve(Side::Bind)),
        ("serve", "connect") => Ok(builder.serve(Side::Connect)),
        ("serve", _) => Err("serve is bind or connect"),
        ("engine", "omq") => Ok(builder.engine(Engine::Omq)),
        ("engine", "zeromq") => Ok(builder.engine(Engine::Zeromq)),
        ("engine", _) => Err("engine is omq or zeromq"),
        ("connect_timeout_ms", ms) => {
            let ms = ms.parse().map_err(|_| "connect_timeout_ms is a number of milliseconds")?;
            Ok(builder.connect_timeout(Duration::from_millis(ms)))
        }
        ("body_max", bytes) => {
            let body_max = bytes.parse().map_err(|_| "body_max is a number of bytes")?;
            Ok(builder.limits(Limits { body_max, ..Limits::default() }))
        }
        _ => Err("no option has this name; there are serve, engine, connect_timeout_ms and body_max"),
    }
}

fn refuse(url: &str, because: &'static str) -> Error {
    config("not a URL of ZeroMQ").with("url", url.escape_debug()).with("because", because)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zmq;

    #[test]
    fn malformed_urls_say_what_and_where() {
        for (url, why) in [
            ("127.0.0.1:5555", "neither zmq+tcp"),
            ("zmq+udp://127.0.0.1:5555", "neither zmq+tcp"),
            ("zmq+tcp://", "no port"),
            ("zmq+tcp://a:1,,b:2", "no port"),
            ("zmq+tcp://a:1,b:two", "tcp://b:two"),
            ("zmq+tcp://a:1?serve=both", "serve is bind or connect"),
            ("zmq+tcp://a:1?engine=libzmq", "engine is omq or zeromq"),
            ("zmq+tcp://a:1?connect_timeout_ms=2s", "option: connect_timeout_ms=2s"),
            ("zmq+tcp://a:1?body_max=-1", "number of bytes"),
            ("zmq+tcp://a:1?serve", "no value"),
            ("zmq+tcp://a:1?color=red", "no option has this name"),
            ("zmq+ipc://", "no path"),
        ] {
            let error = parse(url).and_then(ZmqBuilder::build).unwrap_err();
            assert_eq!(error.kind(), polywire_core::ErrorKind::Config, "{url}");
            assert!(error.to_string().contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn well_formed_urls_are_read() {
        for url in [
            "zmq+tcp://127.0.0.1:5555",
            "zmq+tcp://a:1,b:2?serve=connect&connect_timeout_ms=2000",
            "zmq+tcp://*:*?body_max=1000",
            "zmq+ipc:///tmp/a.sock,/tmp/b.sock",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
    }

    #[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
    #[test]
    fn options_reach_the_transport() {
        use polywire_core::Transport;

        let zmq = Zmq::from_url("zmq+tcp://a:1?body_max=1000").unwrap();
        assert_eq!(zmq.capabilities().body_max, 1000);
    }

    #[cfg(not(any(feature = "engine-omq", feature = "engine-zeromq")))]
    #[test]
    fn without_an_engine_the_feature_is_named() {
        let error = Zmq::from_url("zmq+tcp://a:1").unwrap_err();
        assert!(error.to_string().contains("engine-omq"), "{error}");
    }
}
