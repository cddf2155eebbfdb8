//! One connection to the broker.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;

use async_rs::traits::Reactor;
use async_rs::{Runtime, Tokio};
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use polywire_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::config::Config;
use crate::error::{failed, lock};
use crate::events::ConnectionRole;
use crate::url::BrokerAddress;

/// Connects, for a role that the broker's list of connections will show.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] if nobody answers within the connect time, [`ErrorKind::Denied`] if
/// the broker refuses the user or the virtual host. Each names the host and the port.
pub(crate) async fn connect(
    config: &Config,
    broker: &BrokerAddress,
    role: ConnectionRole,
) -> Result<Connection> {
    let name = format!("polywire {role}, process {}", std::process::id());
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let tls = tls_connector(config)?;
    let limit = config.connect_timeout;
    let mut uri = config.url.uri.clone();
    (uri.authority.host, uri.authority.port) = (broker.host.clone(), broker.port);
    if let Some(provider) = &config.credentials {
        let asked = timeout(limit, provider.ask()).await;
        uri.authority.userinfo = asked.map_err(|_| no_credentials())??.into();
    }
    uri.query.heartbeat = Some(config.heartbeat().agreed());
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    let connected = match timeout(limit, shake_hands(uri, tls, properties)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failed("cannot connect to the broker", error)),
        Err(_) => Err(Error::new(
            ErrorKind::Disconnected,
            "the broker did not answer within the connect time",
        )),
    };
    connected.map_err(|error| error.with("host", &broker.host).with("port", broker.port).unsent())
}

/// Connects, as far as it takes. Dropped half-way, it hangs up.
async fn shake_hands(
    uri: AMQPUri,
    tls: Option<TlsConnector>,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    // Here and not by the engine, which keeps some 10 KB for good of each attempt that it makes in
    // vain.
    let runtime = Runtime::tokio_current();
    let tcp = reach(&uri, &runtime).await?;
    let hang_up = HangUp(Some(duplicate(tcp.get_ref())?));
    let stream = Mutex::new(Some(encrypted(AsyncTcpStream::Plain(tcp), tls, &uri).await?));
    // It would dial again what was hung up on it.
    let dial = async move |_, _| {
        lock(&stream).take().ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut).into())
    };
    let connection = Connection::connector(uri, runtime, dial, properties).await?;
    hang_up.disarm();
    Ok(connection)
}

fn no_credentials() -> Error {
    Error::new(ErrorKind::Disconnected, "the credentials were not there within the connect time")
        .unsent()
}

/// What RabbitMQ proposes, in bytes. The engine has buffers for 64 of them a connection. Less would
/// do for bodies; but the headers of a message are one frame, which the broker delivers whatever
/// was agreed, and the engine gives up the connection over it: somebody else's message would come
/// again and again, and take all down that is consumed there.
const FRAME_MAX: u32 = 131_072;

#[cfg(feature = "tls")]
type TlsConnector = lapin::tcp::RustlsConnector;
#[cfg(not(feature = "tls"))]
type TlsConnector = std::convert::Infallible;

#[cfg(feature = "tls")]
fn tls_connector(config: &Config) -> Result<Option<TlsConnector>> {
    let wanted = config.url.is_encrypted();
    wanted.then(|| crate::connection::tls::connector(&config.url)).transpose()
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "the twin with the feature on may fail")]
fn tls_connector(_: &Config) -> Result<Option<TlsConnector>> {
    Ok(None)
}

async fn reach(
    uri: &AMQPUri,
    runtime: &Runtime<Tokio>,
) -> io::Result<<Tokio as Reactor>::TcpStream> {
    // The engine's own look-up panics on its thread when the runtime ends meanwhile; this one
    // fails.
    let addresses =
        tokio::net::lookup_host((uri.authority.host.as_str(), uri.authority.port)).await?;
    runtime.tcp_connect(addresses.collect::<Vec<_>>()).await
}

#[cfg(feature = "tls")]
async fn encrypted(stream: Stream, tls: Option<TlsConnector>, uri: &AMQPUri) -> io::Result<Stream> {
    match tls {
        None => Ok(stream),
        Some(tls) => stream.into_rustls(&tls, &uri.authority.host).await,
    }
}

#[cfg(not(feature = "tls"))]
#[allow(
    clippy::unused_async,
    clippy::unnecessary_wraps,
    reason = "the twin with the feature on awaits and may fail"
)]
async fn encrypted(stream: Stream, _: Option<TlsConnector>, _: &AMQPUri) -> io::Result<Stream> {
    Ok(stream)
}

type Stream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Hangs up when it is dropped, unless the connection was made. A peer that was reached and says
/// nothing would keep the engine's thread and its buffers for ever, since there are no heartbeats
/// yet.
struct HangUp(Option<TcpStream>);

impl HangUp {
    /// Does not hang up: the socket is the engine's alone from now on.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // It fails if the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
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
