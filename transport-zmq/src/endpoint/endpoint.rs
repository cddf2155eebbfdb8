//! Where a socket listens, or whom it dials.

use std::fmt;
use std::path::{Path, PathBuf};

use polywire_core::{Error, Result};

use crate::error::config;

/// A valid endpoint: `tcp://host:port` or `ipc://path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host and its port; 0 is any free one. A host of IPv6 stands in brackets.
    Tcp { host: String, port: u16 },
    /// The path of a socket file, or a name after `@`.
    Ipc(String),
}

impl Endpoint {
    /// Reads `tcp://host:port`, where the host may be `*` for every interface and the port `*` or 0
    /// for a free one, or `ipc://path`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("tcp", address)) => Self::tcp(address).map_err(|because| refuse(text, because)),
            Some(("ipc", path)) => Self::ipc(path).map_err(|because| refuse(text, because)),
            Some(_) => Err(refuse(text, "its scheme is neither tcp nor ipc")),
            None => Err(refuse(text, "it has no scheme, such as tcp://")),
        }
    }

    fn tcp(address: &str) -> Result<Self, &'static str> {
        let (host, port) = address.rsplit_once(':').ok_or("it has no port, such as :5555")?;
        let port = match port {
            "*" => 0,
            digits => digits.parse().map_err(|_| "its port is not a number up to 65535, or *")?,
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        match host {
            "" => Err("it has no host; every interface is *"),
            "*" => Ok(Self::Tcp { host: "0.0.0.0".to_owned(), port }),
            host if host.contains(':') && !bracketed => Err("an IPv6 address stands in brackets"),
            host if !host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@,".contains(&b)) => {
                Err("its host holds a character that no host has")
            }
            host => Ok(Self::Tcp { host: host.to_owned(), port }),
        }
    }

    fn ipc(path: &str) -> Result<Self, &'static str> {
        match path {
            "" | "@" => Err("it has no path"),
            path if path.contains('\0') => Err("its path holds a zero byte"),
            // A socket address holds 108 bytes, one of them for the end.
            path if path.len() > 107 => Err("its path is longer than 107 bytes"),
            path => Ok(Self::Ipc(path.to_owned())),
        }
    }

    /// The same endpoint as something to dial.
    pub(crate) fn dialled(self) -> Result<Self> {
        match self {
            Self::Tcp { port: 0, .. } => {
                Err(refuse(&self.to_string(), "one cannot connect to port 0; say which"))
            }
            other => Ok(other),
        }
    }

    /// Whether each one that binds it gets a port of its own.
    pub(crate) fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp { port: 0, .. })
    }

    /// The path of its socket file, if it has one.
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

/// Makes way for a socket file: binding would take it from under a server that still uses it, which
/// engines do without asking. What a dead one left is removed.
pub(crate) async fn claim_socket_file(path: PathBuf) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;

        if tokio::net::UnixStream::connect(&path).await.is_ok() {
            let error = config("somebody else listens on this socket file");
            return Err(error.with("endpoint", Endpoint::Ipc(path.display().to_string())));
        }
        let is_socket =
            std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_socket());
        if is_socket {
            // If it stays, binding says so.
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

fn refuse(endpoint: &str, because: &'static str) -> Error {
    config("not an endpoint").with("endpoint", endpoint.escape_debug()).with("because", because)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_endpoints_are_read() {
        for (text, canonical) in [
            ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
            ("tcp://localhost:0", "tcp://localhost:0"),
            ("tcp://*:*", "tcp://0.0.0.0:0"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
            ("ipc:///tmp/x.sock", "ipc:///tmp/x.sock"),
            ("ipc://@name", "ipc://@name"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn invalid_endpoints_say_why() {
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
        assert!(Endpoint::parse("tcp://a:0").unwrap().dialled().is_err());
    }
}
