//! Opens a transport by its URL.

use polywire_core::{AnyTransport, Error, ErrorKind, Memory, Result};

/// Opens the transport of `url`.
///
/// | URL | transport | feature |
/// |---|---|---|
/// | `mem://name` | [`Memory`], in the namespace of that name | always there |
/// | `zmq+tcp://host:port`, `zmq+ipc:///path` | ZeroMQ | `zmq` (default) |
/// | `amqp://user:password@host:port/vhost`, `amqps://…` | RabbitMQ | `amqp` |
///
/// A password in the URL is percent-encoded. No error and no log line contains the password.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire::Result<()> {
/// use polywire::Transport;
///
/// let transport = polywire::connect("mem://demo").await?;
/// assert!(transport.capabilities().settlement);
///
/// let error = polywire::connect("carrier-pigeon://roof").await.unwrap_err();
/// assert_eq!(error.kind(), polywire::ErrorKind::Config);
/// # Ok(())
/// # }
/// ```
///
/// If the future is dropped, the attempt to connect is abandoned and leaves nothing behind.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the URL is malformed or its scheme unknown; [`ErrorKind::Unsupported`]
/// if its scheme is known but not compiled in, with the feature to turn on; or the error of the
/// transport if it cannot connect.
pub async fn connect(url: &str) -> Result<AnyTransport> {
    let Some((scheme, rest)) = url.split_once("://") else {
        let error = Error::new(
            ErrorKind::Config,
            "cannot open a transport: the URL has no scheme, such as amqp:// or zmq+tcp://",
        );
        return Err(error.unsent());
    };
    match scheme {
        "mem" if rest.is_empty() => Err(Error::new(
            ErrorKind::Config,
            "cannot open a memory transport: the URL has no name, as in mem://name",
        )),
        "mem" => Ok(AnyTransport::new(Memory::named(rest))),
        "amqp" | "amqps" => amqp(url).await,
        "zmq+tcp" | "zmq+ipc" => zmq(url).await,
        _ => {
            let error = Error::new(ErrorKind::Config, "cannot open a transport: unknown scheme")
                .with("scheme", scheme.escape_debug());
            Err(error.with("known", "amqp, amqps, mem, zmq+ipc, zmq+tcp"))
        }
    }
}

#[cfg(feature = "amqp")]
async fn amqp(url: &str) -> Result<AnyTransport> {
    polywire_amqp::Amqp::connect(url).await.map(AnyTransport::new)
}

#[cfg(not(feature = "amqp"))]
#[allow(clippy::unused_async, reason = "the variant with the feature awaits the broker")]
async fn amqp(_: &str) -> Result<AnyTransport> {
    Err(off("amqp"))
}

#[cfg(feature = "zmq")]
async fn zmq(url: &str) -> Result<AnyTransport> {
    polywire_zmq::Zmq::connect(url).await.map(AnyTransport::new)
}

#[cfg(not(feature = "zmq"))]
#[allow(clippy::unused_async, reason = "the twin with the feature on is async")]
async fn zmq(_: &str) -> Result<AnyTransport> {
    Err(off("zmq"))
}

#[cfg(not(all(feature = "amqp", feature = "zmq")))]
fn off(feature: &'static str) -> Error {
    let error = Error::new(
        ErrorKind::Unsupported,
        "cannot open a transport: it is not compiled in; turn on its feature",
    );
    error.with("feature", feature)
}
