//! tarpc over TCP with bincode.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::context;
use tarpc::serde_transport::tcp;
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;

use crate::address;
use crate::echo::Echo;
use crate::in_flight_max::IN_FLIGHT_MAX;

#[tarpc::service]
trait Echoes {
    /// Returns the body.
    async fn echo(body: ByteBuf) -> ByteBuf;
}

/// Messages that may wait for the task of a connection.
///
/// Further senders wait.
const WAITING_MAX: usize = 1024;
/// The time of a call.
///
/// Held calls are measured within 20 s, so none ends before.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The server, which answers no call if `holds` is set.
#[derive(Clone)]
struct EchoServer {
    holds: bool,
}

impl Echoes for EchoServer {
    async fn echo(self, _: context::Context, body: ByteBuf) -> ByteBuf {
        if self.holds {
            std::future::pending::<()>().await;
        }
        body
    }
}

/// Listens on a free port, prints it, and echoes. With `holds`, answers no call.
///
/// Each connection has a task, and each call in it another one. Frames have no bound. Returns if a
/// connection cannot be accepted.
pub(crate) async fn serve(holds: bool) -> Result<()> {
    let mut listener = tcp::listen("127.0.0.1:0", Bincode::default).await?;
    listener.config_mut().max_frame_length(usize::MAX);
    address::print(listener.local_addr())?;
    while let Some(transport) = listener.next().await {
        let mut config = server::Config::default();
        config.pending_response_buffer = WAITING_MAX;
        let channel = BaseChannel::new(config, transport?);
        tokio::spawn(channel.execute(EchoServer { holds }.serve()).for_each(|response| async {
            tokio::spawn(response);
        }));
    }
    Ok(())
}

/// A client of the server.
///
/// All clones share one connection, which a task of tarpc drives.
#[derive(Clone)]
pub(crate) struct Caller(EchoesClient);

impl Caller {
    /// Connects to a server.
    ///
    /// Up to 131,072 calls may be in flight, and up to 1,024 may wait for the task of the
    /// connection.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let mut transport = tcp::connect(address, Bincode::default);
        transport.config_mut().max_frame_length(usize::MAX);
        let mut config = tarpc::client::Config::default();
        config.max_in_flight_requests = IN_FLIGHT_MAX;
        config.pending_request_buffer = WAITING_MAX;
        Ok(Self(EchoesClient::new(config, transport.await?).spawn()))
    }
}

impl Echo for Caller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let mut context = context::current();
        context.deadline = Instant::now() + TIMEOUT;
        let reply = self.0.echo(context, ByteBuf::from(body.to_vec())).await?;
        Ok(reply.into_vec().into())
    }
}
