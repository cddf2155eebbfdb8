//! The address that a socket binds or connects to.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use polywire_core::{Error, Result};

use crate::common_errors::config;

/// A valid endpoint: `tcp://host:port` or `ipc://path`.
///
/// Two endpoints are equal if their texts are. Names of hosts are not resolved. One address has one
/// text, as the engines write it: so the text is a key for what is known of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host and its port; port 0 is any free one. An IPv6 address is in brackets.
    Tcp { host: String, port: u16 },
    /// The path of a socket file, or a name after `@`.
    Ipc(String),
}

impl Endpoint {
    /// Parses `tcp://host:port` or `ipc://path`. The host may be `*` for every interface. The port
    /// may be `*` or 0 for any free one.
    ///
    /// `*` stands for `0.0.0.0`, which is every IPv4 interface. Every IPv6 interface is `[::]`.
    ///
    /// # Errors
    ///
    /// `Config` for a malformed endpoint, with the endpoint and the cause.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("tcp", address)) => Self::tcp(address).map_err(|because| refuse(text, because)),
            Some(("ipc", path)) => Self::ipc(path).map_err(|because| refuse(text, because)),
            Some(_) => Err(refuse(text, "the scheme is neither tcp nor ipc")),
            None => Err(refuse(text, "no scheme, such as tcp://")),
        }
    }

    /// Parses the part after `tcp://`. Fails with the cause.
    ///
    /// The host may be a name, an IPv4 address, or an IPv6 address in brackets.
    fn tcp(address: &str) -> Result<Self, &'static str> {
        let (host, port) = address.rsplit_once(':').ok_or("no port, such as :5555")?;
        let port = match port {
            "*" => 0,
            digits => digits.parse().map_err(|_| "the port is not a number up to 65535, or *")?,
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        match host {
            "" => Err("no host; use * for every interface"),
            "*" => Ok(Self::Tcp { host: "0.0.0.0".to_owned(), port }),
            host if host.contains(':') && !bracketed => Err("an IPv6 address needs brackets"),
            host if !host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@,".contains(&b)) => {
                Err("the host has an invalid character")
            }
            host => Ok(Self::Tcp { host: canonical(host), port }),
        }
    }

    /// Parses the part after `ipc://`. Fails with the cause.
    fn ipc(path: &str) -> Result<Self, &'static str> {
        match path {
            "" | "@" => Err("no path"),
            path if path.contains('\0') => Err("the path has a zero byte"),
            // A socket address has 108 bytes, including the terminating zero.
            path if path.len() > 107 => Err("the path is longer than 107 bytes"),
            path => Ok(Self::Ipc(path.to_owned())),
        }
    }

    /// Returns the endpoint if a socket can connect to it.
    ///
    /// # Errors
    ///
    /// `Config` for port 0, which only a socket that binds can have.
    pub(crate) fn dialed(self) -> Result<Self> {
        match self {
            Self::Tcp { port: 0, .. } => {
                Err(refuse(&self.to_string(), "cannot connect to port 0; name the port"))
            }
            other => Ok(other),
        }
    }

    /// Returns whether each socket that binds the endpoint gets another port.
    pub(crate) fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp { port: 0, .. })
    }

    /// Returns the path of the socket file, if there is one.
    ///
    /// `None` for TCP, and for a name after `@`, which has no file.
    pub(crate) fn socket_file(&self) -> Option<&Path> {
        match self {
            Self::Ipc(path) if !path.starts_with('@') => Some(Path::new(path)),
            _ => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ipc(path) => write!(f, "ipc://{path}"),
        }
    }
}

/// Returns the one text of a host: the shortest of an IPv6 address, and small letters of a name.
///
/// An IPv4 address in brackets loses them. Brackets around any other text stay, as around an
/// address with a zone.
fn canonical(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare.map(str::parse::<IpAddr>) {
        Some(Ok(IpAddr::V4(address))) => address.to_string(),
        Some(Ok(IpAddr::V6(address))) => format!("[{address}]"),
        Some(Err(_)) => host.to_owned(),
        None => host.to_ascii_lowercase(),
    }
}

/// Returns the error of a malformed endpoint.
fn refuse(endpoint: &str, because: &'static str) -> Error {
    config("cannot parse the endpoint")
        .with("endpoint", endpoint.escape_debug())
        .with("because", because)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_endpoints_are_parsed() {
        for (text, canonical) in [
            ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
            ("tcp://localhost:0", "tcp://localhost:0"),
            ("tcp://*:*", "tcp://0.0.0.0:0"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
            ("tcp://[0:0:0:0:0:0:0:1]:080", "tcp://[::1]:80"),
            ("tcp://[FE80::00AB]:80", "tcp://[fe80::ab]:80"),
            ("tcp://[127.0.0.1]:80", "tcp://127.0.0.1:80"),
            ("tcp://[fe80::1%1]:80", "tcp://[fe80::1%1]:80"),
            ("tcp://LocalHost:80", "tcp://localhost:80"),
            ("ipc:///tmp/x.sock", "ipc:///tmp/x.sock"),
            ("ipc://@name", "ipc://@name"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), canonical);
        }
    }

    #[cfg(feature = "engine-omq")]
    #[test]
    fn text_of_an_endpoint_is_that_of_the_engine() {
        for text in [
            "tcp://[0:0:0:0:0:0:0:1]:5000",
            "tcp://[0:0::FFFF:1.2.3.4]:5000",
            "tcp://[127.0.0.1]:5000",
            "tcp://Some.Host:5000",
            "tcp://*:*",
            "ipc:///tmp/../tmp//x.sock",
            "ipc://@name",
        ] {
            let text = Endpoint::parse(text).unwrap().to_string();
            let read: omq_tokio::Endpoint = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(Endpoint::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_endpoints_name_the_cause() {
        let long = format!("ipc:///{}", "x".repeat(120));
        for (text, why) in [
            ("127.0.0.1:5555", "no scheme"),
            ("udp://127.0.0.1:5555", "neither tcp nor ipc"),
            ("tcp://127.0.0.1", "no port"),
            ("tcp://127.0.0.1:", "not a number"),
            ("tcp://127.0.0.1:65536", "not a number"),
            ("tcp://:5555", "no host"),
            ("tcp://::1:5555", "brackets"),
            ("tcp://a b:5555", "character"),
            ("ipc://", "no path"),
            (long.as_str(), "longer"),
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert!(
                error.to_string().contains(&*text.escape_debug().to_string()),
                "{text}: {error}"
            );
        }
        assert!(Endpoint::parse("tcp://a:0").unwrap().dialed().is_err());
    }
}
