//! tonic: gRPC over HTTP/2, without TLS.

use anyhow::Result;
use bytes::Bytes;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::address;
use crate::echo::Echo;
use crate::in_flight_max::IN_FLIGHT_MAX;

/// The client and the server that `build.rs` has generated.
mod echoes {
    #![allow(clippy::all, clippy::pedantic, missing_docs, reason = "tonic writes this code")]

    include!(concat!(env!("OUT_DIR"), "/bench.Echoes.rs"));
}

use self::echoes::echoes_client::EchoesClient;
use self::echoes::echoes_server::{Echoes, EchoesServer};

/// The message in both directions.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Body {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) bytes: Bytes,
}

/// Bytes that a peer may send before the receiver has read them. The default of 64 KiB delays large
/// bodies.
///
/// The bound of one call.
const STREAM_WINDOW: u32 = 1 << 20;
/// The bound of all calls of a connection together.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The server, which answers no call if `holds` is set.
///
/// A held call stays a stream of HTTP/2.
struct EchoServer {
    holds: bool,
}

#[tonic::async_trait]
impl Echoes for EchoServer {
    async fn echo(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        if self.holds {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(request.into_inner()))
    }
}

/// Listens on a free port, prints it, and echoes. With `holds`, answers no call.
///
/// Returns only by an error. Nagle's algorithm is off, as in `bare_tcp`.
pub(crate) async fn serve(holds: bool) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    address::print(listener.local_addr()?)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = EchoesServer::new(EchoServer { holds }).max_decoding_message_size(usize::MAX);
    let mut server = Server::builder()
        // The default is 200.
        .max_concurrent_streams(u32::try_from(IN_FLIGHT_MAX)?)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(server.add_service(service).serve_with_incoming(incoming).await?)
}

/// A client of the server.
///
/// All clones share one connection.
#[derive(Clone)]
pub(crate) struct Caller(EchoesClient<Channel>);

impl Caller {
    /// Connects to a server.
    ///
    /// The windows are those of the server. The size of a reply has no bound.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let channel = Channel::from_shared(format!("http://{address}"))?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect()
            .await?;
        Ok(Self(EchoesClient::new(channel).max_decoding_message_size(usize::MAX)))
    }
}

impl Echo for Caller {
    async fn echo(&self, bytes: Bytes) -> Result<Bytes> {
        Ok(self.0.clone().echo(Body { bytes }).await?.into_inner().bytes)
    }
}
