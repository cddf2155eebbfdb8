//! The subjects that use polywire.

use anyhow::{Context, Result};
use bytes::Bytes;
use polywire::rpc::Requester;
use polywire::{
    CallError, Client, Deadline, Message, MessagePack, Reply, Request, Router, Server, Service,
    Window, service_fn,
};
use serde_bytes::ByteBuf;

use crate::echo::Echo;
use crate::polywire_serving::Serving;

/// The method.
const ECHO: &str = "echo";

/// Serves bytes without encoding. With `holds`, answers none.
///
/// The body of the reply is that of the request, without a copy.
pub(crate) async fn serve_raw(url: &str, holds: bool) -> Result<()> {
    let service = service_fn(move |request: Request| async move {
        if holds {
            std::future::pending::<()>().await;
        }
        Ok::<_, CallError>(Reply::new(request.message.body))
    });
    serve(url, holds, service).await
}

/// Serves a typed method in MessagePack. With `holds`, answers no call.
///
/// The argument and the result are binary data, not arrays of numbers.
pub(crate) async fn serve_typed(url: &str, holds: bool) -> Result<()> {
    let echo = move |body: ByteBuf| async move {
        if holds {
            std::future::pending::<()>().await;
        }
        Ok(body)
    };
    serve(url, holds, Router::new(MessagePack).method(ECHO, echo)).await
}

/// Serves calls with a window of 1,024, or with the largest one if the calls are held.
///
/// The server is bound before the address is printed.
///
/// Calls beyond the window wait in the socket or at the broker.
async fn serve(url: &str, holds: bool, service: impl Service) -> Result<()> {
    let serving = Serving::open(url).await?;
    let window = Window::new(if holds { Window::MAX } else { 1024 });
    let server = Server::bind(&serving.transport, serving.name.as_str()).window(window).await?;
    serving.print_address()?;
    server.serve(service).await?;
    Ok(())
}

/// Splits the address of a server into the URL and the name of the service.
fn parts(at: &str) -> Result<(&str, &str)> {
    at.split_once(' ').context("the address has no service")
}

/// A caller without encoding.
///
/// Each call has a deadline of 30 s. All clones together have at most 131,072 calls in flight.
#[derive(Clone)]
pub(crate) struct RawCaller(Requester);

impl RawCaller {
    /// Connects a requester to the server.
    pub(crate) async fn connect(at: &str) -> Result<Self> {
        let (url, service) = parts(at)?;
        let transport = polywire::connect(url).await?;
        let pending_max = Requester::DEFAULT_PENDING_MAX;
        Ok(Self(Requester::open(&transport, service.try_into()?, pending_max).await?))
    }
}

impl Echo for RawCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let mut message = Message::request(ECHO.try_into()?, Deadline::after_ms(30_000));
        message.body = body.into();
        Ok(self.0.call(Request::new(message)).await?.message.body.into_bytes())
    }
}

/// A caller with typed arguments and results.
///
/// Each call has the default timeout of a client, which is 30 s. Clones share the connection.
#[derive(Clone)]
pub(crate) struct TypedCaller(Client<MessagePack>);

impl TypedCaller {
    /// Connects a client of MessagePack to the server.
    pub(crate) async fn connect(at: &str) -> Result<Self> {
        let (url, service) = parts(at)?;
        let transport = polywire::connect(url).await?;
        Ok(Self(Client::connect(&transport, service, MessagePack).await?))
    }
}

impl Echo for TypedCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let reply: ByteBuf = self.0.call(ECHO, serde_bytes::Bytes::new(&body)).await?;
        Ok(reply.into_vec().into())
    }
}
