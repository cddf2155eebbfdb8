//! One connection to the broker.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use async_rs::traits::Reactor;
use async_rs::{Runtime, Tokio};
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use polywire_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::config::Config;
use crate::error::{failed, lock};
use crate::events::Purpose;
use crate::url::Broker;

/// Connects, for a purpose that the broker's list of connections will show.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] if nobody answers within the connect time, [`ErrorKind::Denied`] if the broker refuses
/// the user or the virtual host. Each names the host and the port.
pub(crate) async fn connect(config: &Config, broker: &Broker, purpose: Purpose) -> Result<Connection> {
    let name = format!("polywire {purpose}, process {}", std::process::id());
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let tls = tls_connector(config)?;
    let limit = config.connect_timeout;
    let attempt = Arc::new(Attempt::default());
    let abandon_on_return = Abandon(attempt.clone());
    // The engine bounds neither the name look-up nor TLS, and its thread would go on after a time-out out here.
    let dial = async move |uri: AMQPUri, runtime: Runtime<Tokio>| match timeout(
        limit,
        dial(uri, runtime, tls.as_ref(), &attempt),
    )
    .await
    {
        Ok(stream) => stream.map_err(lapin::Error::from),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    };
    let mut uri = config.target.uri.clone();
    (uri.authority.host, uri.authority.port) = (broker.host.clone(), broker.port);
    if let Some(provider) = &config.credentials {
        let asked = timeout(limit, provider.ask()).await;
        uri.authority.userinfo = asked.map_err(|_| no_credentials())??.into();
    }
    // Without a bound of ours the engine takes some 7 MB for its buffers.
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    let connecting = Connection::connector(uri, Runtime::tokio_current(), dial, properties);
    let connected = match timeout(limit, connecting).await {
        Ok(Ok(connection)) => {
            abandon_on_return.0.succeeded();
            Ok(connection)
        }
        Ok(Err(error)) => Err(failed("cannot connect to the broker", error)),
        Err(_) => {
            Err(Error::new(ErrorKind::Disconnected, "the broker did not answer within the connect time"))
        }
    };
    connected.map_err(|error| error.with("host", &broker.host).with("port", broker.port).unsent())
}

fn no_credentials() -> Error {
    Error::new(ErrorKind::Disconnected, "the credentials were not there within the connect time").unsent()
}

/// What RabbitMQ proposes, in bytes.
const FRAME_MAX: u32 = 131_072;

#[cfg(feature = "tls")]
type TlsConnector = lapin::tcp::RustlsConnector;
#[cfg(not(feature = "tls"))]
type TlsConnector = std::convert::Infallible;

#[cfg(feature = "tls")]
fn tls_connector(config: &Config) -> Result<Option<TlsConnector>> {
    let wanted = config.target.is_encrypted();
    wanted.then(|| crate::tls::connector(&config.target)).transpose()
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "the twin with the feature on may fail")]
fn tls_connector(_: &Config) -> Result<Option<TlsConnector>> {
    Ok(None)
}

async fn dial(
    uri: AMQPUri,
    runtime: Runtime<Tokio>,
    tls: Option<&TlsConnector>,
    attempt: &Attempt,
) -> io::Result<Stream> {
    let (host, port) = (uri.authority.host, uri.authority.port);
    // The engine's own look-up panics on its thread when the runtime ends meanwhile; this one fails.
    let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
    let tcp = runtime.tcp_connect(addresses).await?;
    attempt.reached(duplicate(tcp.get_ref())?)?;
    let stream = AsyncTcpStream::Plain(tcp);
    match tls {
        None => Ok(stream),
        #[cfg(feature = "tls")]
        Some(tls) => stream.into_rustls(tls, &host).await,
        #[cfg(not(feature = "tls"))]
        Some(never) => match *never {},
    }
}

type Stream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// An attempt to connect. A peer that was reached and says nothing would keep the engine's thread and its buffers for
/// ever, since there are no heartbeats yet: so what was given up is hung up from here.
#[derive(Default)]
struct Attempt(Mutex<Progress>);

#[derive(Default)]
enum Progress {
    #[default]
    Dialling,
    Reached(TcpStream),
    Over,
}

impl Attempt {
    fn reached(&self, socket: TcpStream) -> io::Result<()> {
        let mut progress = lock(&self.0);
        if matches!(*progress, Progress::Over) {
            // The engine dials again what was hung up on it.
            return Err(io::ErrorKind::TimedOut.into());
        }
        *progress = Progress::Reached(socket);
        Ok(())
    }

    /// Lets go of the socket, which is the engine's alone from now on.
    fn succeeded(&self) {
        *lock(&self.0) = Progress::Over;
    }

    fn abandon(&self) {
        if let Progress::Reached(socket) = std::mem::replace(&mut *lock(&self.0), Progress::Over) {
            // It fails if the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Abandons an attempt that has not succeeded, also when the future is dropped.
struct Abandon(Arc<Attempt>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A second handle, since the engine takes the first.
#[cfg(unix)]
fn duplicate(socket: &tokio::net::TcpStream) -> io::Result<TcpStream> {
    use std::os::fd::AsFd;
    Ok(socket.as_fd().try_clone_to_owned()?.into())
}

/// A second handle, since the engine takes the first.
#[cfg(windows)]
fn duplicate(socket: &tokio::net::TcpStream) -> io::Result<TcpStream> {
    use std::os::windows::io::AsSocket;
    Ok(socket.as_socket().try_clone_to_owned()?.into())
}
