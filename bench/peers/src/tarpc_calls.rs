//! tarpc over TCP with bincode.

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::context;
use tarpc::serde_transport::tcp;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;

use crate::address;
use crate::load::Echo;

#[tarpc::service]
trait Echoes {
    /// Returns the body.
    async fn echo(body: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct EchoServer;

impl Echoes for EchoServer {
    async fn echo(self, _: context::Context, body: ByteBuf) -> ByteBuf {
        body
    }
}

/// Listens on a free port, prints it, and echoes.
pub(crate) async fn serve() -> Result<()> {
    let mut listener = tcp::listen("127.0.0.1:0", Bincode::default).await?;
    listener.config_mut().max_frame_length(usize::MAX);
    address::print(listener.local_addr())?;
    while let Some(transport) = listener.next().await {
        let channel = BaseChannel::with_defaults(transport?);
        tokio::spawn(channel.execute(EchoServer.serve()).for_each(|response| async {
            tokio::spawn(response);
        }));
    }
    Ok(())
}

/// A client of the server.
#[derive(Clone)]
pub(crate) struct Caller(EchoesClient);

impl Caller {
    /// Connects to a server.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let mut transport = tcp::connect(address, Bincode::default);
        transport.config_mut().max_frame_length(usize::MAX);
        let config = tarpc::client::Config::default();
        Ok(Self(EchoesClient::new(config, transport.await?).spawn()))
    }
}

impl Echo for Caller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let reply = self.0.echo(context::current(), ByteBuf::from(body.to_vec())).await?;
        Ok(reply.into_vec().into())
    }
}
