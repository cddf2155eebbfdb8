//! The subjects that use polywire.

use std::io::Write;

use anyhow::{Context, Result};
use bytes::Bytes;
use polywire::rpc::Requester;
use polywire::zmq::Zmq;
use polywire::{
    AnyTransport, CallError, Client, Deadline, Message, MessagePack, Reply, Request, Router,
    Server, Service, Window, service_fn,
};
use serde_bytes::ByteBuf;

use crate::load::Echo;

/// Serves bytes without encoding.
///
/// The body of the reply is that of the request, without a copy.
pub(crate) async fn serve_raw(url: &str) -> Result<()> {
    serve(
        url,
        service_fn(|request: Request| async move {
            Ok::<_, CallError>(Reply::new(request.message.body))
        }),
    )
    .await
}

/// Serves a typed method in MessagePack.
pub(crate) async fn serve_typed(url: &str) -> Result<()> {
    serve(url, Router::new(MessagePack).method("echo", |body: ByteBuf| async move { Ok(body) }))
        .await
}

/// Serves `echo` with a window of 1,024, and prints the address for clients: an endpoint of ZeroMQ,
/// or `url`.
async fn serve(url: &str, service: impl Service) -> Result<()> {
    let (transport, zmq) = if url.starts_with("zmq") {
        let zmq = Zmq::connect(url).await?;
        (AnyTransport::new(zmq.clone()), Some(zmq))
    } else {
        (polywire::connect(url).await?, None)
    };
    let server = Server::bind(&transport, "echo").window(Window::new(1024)).await?;
    let at = match zmq {
        Some(zmq) => {
            format!("zmq+{}", zmq.local_endpoints().first().context("the server has no endpoint")?)
        }
        None => url.to_owned(),
    };
    println!("{at}");
    std::io::stdout().flush()?;
    server.serve(service).await?;
    Ok(())
}

/// A caller without encoding.
///
/// Each call has a deadline of 30 s.
#[derive(Clone)]
pub(crate) struct RawCaller(Requester);

impl RawCaller {
    /// Connects a requester to the server.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let transport = polywire::connect(url).await?;
        Ok(Self(
            Requester::open(&transport, "echo".try_into()?, Requester::DEFAULT_PENDING_MAX).await?,
        ))
    }
}

impl Echo for RawCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let mut message = Message::request("echo".try_into()?, Deadline::after_ms(30_000));
        message.body = body.into();
        Ok(self.0.call(Request::new(message)).await?.message.body.into_bytes())
    }
}

/// A caller with typed arguments and results.
#[derive(Clone)]
pub(crate) struct TypedCaller(Client<MessagePack>);

impl TypedCaller {
    /// Connects a client of MessagePack to the server.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let transport = polywire::connect(url).await?;
        Ok(Self(Client::connect(&transport, "echo", MessagePack).await?))
    }
}

impl Echo for TypedCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let reply: ByteBuf = self.0.call("echo", serde_bytes::Bytes::new(&body)).await?;
        Ok(reply.into_vec().into())
    }
}
