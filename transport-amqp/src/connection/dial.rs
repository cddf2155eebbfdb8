//! A single attempt to connect.
//!
//! Name resolution and TCP are done here and not by the engine, for two reasons. The engine leaks
//! memory for each failed attempt, and its lookup panics if the runtime ends meanwhile. The engine
//! gets the open stream and runs the AMQP handshake.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use async_rs::traits::Reactor;
use async_rs::{Runtime, Tokio};
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use polywire_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::config::Config;
use crate::connection::broker_version::CurrentVersion;
use crate::connection::confirm_listeners::ConfirmListeners;
use crate::connection::connect_error::{
    Stage, cannot_connect, no_handshake, no_tls, timed_out, unreachable, unresolvable,
};
use crate::connection::engine_connection::OpenConnection;
use crate::connection::engine_log_silencer::EngineLog;
use crate::connection::inbound_filter::fatal_message_search::FatalMessageSearch;
use crate::connection::inbound_filter::filtered_stream::FilteredStream;
use crate::connection::inbound_filter::filtering_reactor::current_runtime;
use crate::connection_events::ConnectionRole;
use crate::lock::lock;
use crate::url::BrokerAddress;

/// Connects to a broker. The broker lists the connection under a name that contains the role.
/// Its version goes to `version`. The stream takes part in `search`.
///
/// The provider of the credentials and the attempt itself have the connect timeout each. The files
/// for TLS are read for each attempt, so a renewed certificate takes effect with the next
/// connection.
///
/// # Errors
///
/// [`ErrorKind::Disconnected`] if the broker does not answer within the connect timeout,
/// [`ErrorKind::Denied`] if the broker refuses the user or the virtual host. The text names the
/// broker and the cause. Dropping the future closes the socket.
pub(crate) async fn connect(
    config: &Config,
    broker: &BrokerAddress,
    role: ConnectionRole,
    version: &CurrentVersion,
    search: &FatalMessageSearch,
) -> Result<OpenConnection> {
    let name = match &config.connection_name {
        Some(name) => format!("{name} {role}"),
        None => format!("polywire {role}, process {}", std::process::id()),
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let tls = tls_connector(config)?;
    let limit = config.connect_timeout;
    let mut uri = config.url.uri.clone();
    (uri.authority.host, uri.authority.port) = (broker.host.clone(), broker.port);
    if let Some(provider) = &config.credentials {
        let asked = timeout(limit, provider.ask()).await;
        uri.authority.userinfo = asked.map_err(|_| no_credentials())??.into();
    }
    uri.query.heartbeat = Some(config.heartbeat().negotiated());
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    let progress = Progress::default();
    let frame_max = uri.query.frame_max.unwrap_or_default();
    let confirms = ConfirmListeners::default();
    let filter = |stream| {
        FilteredStream::new(stream, frame_max)
            .with_version(version.clone())
            .with_confirms(confirms.clone())
            .with_search(search)
            .unchecked(config.unchecked_headers)
    };
    let connecting = establish(uri, tls, properties, &progress, filter);
    let connected = match timeout(limit, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err((ErrorKind::Disconnected, timed_out(progress.stage(), limit))),
    };
    match connected {
        Ok(connection) => Ok(OpenConnection::filtered(connection, confirms)),
        Err((kind, cause)) => Err(cannot_connect(broker, kind, cause)),
    }
}

/// The kind and the description of a failed attempt.
type Failure = (ErrorKind, String);

/// Connects over TCP, then TLS, then AMQP. Dropping the future shuts the socket down.
///
/// `filter` wraps the stream behind TLS, so that the engine reads checked frames only. `progress`
/// holds the stage that has begun.
async fn establish(
    uri: AMQPUri,
    tls: Option<TlsConnector>,
    properties: ConnectionProperties,
    progress: &Progress,
    filter: impl FnOnce(Stream) -> FilteredStream<Stream>,
) -> Result<Connection, Failure> {
    let disconnected = |cause: String| (ErrorKind::Disconnected, cause);
    // The engine is not asked to dial: it leaks about 10 KB for each failed attempt.
    let runtime = Runtime::tokio_current();
    let tcp = connect_tcp(&uri, &runtime).await.map_err(disconnected)?;
    progress.enter(Stage::Tls);
    let socket = duplicate(tcp.get_ref()).map_err(|error| disconnected(unreachable(&error)))?;
    let guard = ShutdownOnDrop(Some(socket));
    let stream = encrypt(AsyncTcpStream::Plain(tcp), tls, &uri).await;
    let stream = stream.map_err(|error| disconnected(no_tls(&error)))?;
    progress.enter(Stage::Amqp);
    let stream = Mutex::new(Some(AsyncTcpStream::Plain(filter(stream))));
    let log = EngineLog::current();
    // The engine dials again after the guard has shut the socket down; the second dial fails.
    let dial = async move |_, _| {
        log.set_for_engine_thread();
        lock(&stream).take().ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut).into())
    };
    let connecting = Connection::connector(uri.clone(), current_runtime(log), dial, properties);
    let connection = log.around(connecting).await.map_err(|error| no_handshake(&error, &uri))?;
    guard.disarm();
    Ok(connection)
}

/// The stage that an attempt has reached, for the error of one that takes too long.
///
/// The value outlives the attempt, whose future the timeout has dropped by then.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    fn enter(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            tls if tls == Stage::Tls as u8 => Stage::Tls,
            amqp if amqp == Stage::Amqp as u8 => Stage::Amqp,
            _ => Stage::Tcp,
        }
    }
}

/// Returns the error of a credentials provider that did not answer in time.
fn no_credentials() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "cannot connect: the credentials did not arrive within the connect timeout",
    )
    .unsent()
}

/// Largest frame in bytes, as RabbitMQ proposes. The engine has buffers for 64 frames a connection.
///
/// A smaller frame would do for bodies. But the headers of a message are one frame, which the
/// broker delivers regardless of the negotiated size. A message whose headers exceed the size is
/// undecodable.
const FRAME_MAX: u32 = 131_072;

/// Connector for `amqps`; without the feature `tls`, no value of the type exists.
#[cfg(feature = "tls")]
type TlsConnector = lapin::tcp::RustlsConnector;
#[cfg(not(feature = "tls"))]
type TlsConnector = std::convert::Infallible;

/// Returns the connector for `amqps`, and none for `amqp`.
#[cfg(feature = "tls")]
fn tls_connector(config: &Config) -> Result<Option<TlsConnector>> {
    let wanted = config.url.is_encrypted();
    wanted.then(|| crate::connection::tls::connector(&config.url)).transpose()
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "the variant with the feature may fail")]
fn tls_connector(_: &Config) -> Result<Option<TlsConnector>> {
    Ok(None)
}

/// Resolves the host and connects to the first address that accepts. Fails with a description.
///
/// The addresses are tried one after the other. No address has a time limit of its own: the connect
/// timeout bounds all of them.
async fn connect_tcp(
    uri: &AMQPUri,
    runtime: &Runtime<Tokio>,
) -> Result<<Tokio as Reactor>::TcpStream, String> {
    // The engine's own lookup panics on its thread if the runtime ends meanwhile; this one fails.
    let looking_up =
        tokio::net::lookup_host((uri.authority.host.as_str(), uri.authority.port)).await;
    let addresses = looking_up.map_err(|error| unresolvable(&error))?.collect::<Vec<_>>();
    runtime.tcp_connect(addresses).await.map_err(|error| unreachable(&error))
}

/// Runs the TLS handshake, if there is a connector.
#[cfg(feature = "tls")]
async fn encrypt(stream: Stream, tls: Option<TlsConnector>, uri: &AMQPUri) -> io::Result<Stream> {
    match tls {
        None => Ok(stream),
        Some(tls) => stream.into_rustls(&tls, &uri.authority.host).await,
    }
}

#[cfg(not(feature = "tls"))]
#[allow(
    clippy::unused_async,
    clippy::unnecessary_wraps,
    reason = "the variant with the feature awaits and may fail"
)]
async fn encrypt(stream: Stream, _: Option<TlsConnector>, _: &AMQPUri) -> io::Result<Stream> {
    Ok(stream)
}

/// A TCP stream, plain or with TLS.
type Stream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Shuts the socket down on drop, unless the connection was established. Before that there are no
/// heartbeats, so a silent peer would occupy the engine's thread and buffers without a limit.
struct ShutdownOnDrop(Option<TcpStream>);

impl ShutdownOnDrop {
    /// Leaves the socket to the engine.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // Fails if the peer closed the socket first.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Duplicates the socket's handle, since the engine takes the first one.
#[cfg(unix)]
fn duplicate(socket: &tokio::net::TcpStream) -> io::Result<TcpStream> {
    use std::os::fd::AsFd;
    Ok(socket.as_fd().try_clone_to_owned()?.into())
}

/// Duplicates the socket's handle, since the engine takes the first one.
#[cfg(windows)]
fn duplicate(socket: &tokio::net::TcpStream) -> io::Result<TcpStream> {
    use std::os::windows::io::AsSocket;
    Ok(socket.as_socket().try_clone_to_owned()?.into())
}
