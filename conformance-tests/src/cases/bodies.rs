//! Bodies and headers of messages, and their limits.
//!
//! A message over a limit must fail alone: at its sender, without an effect on other messages or on
//! the connection.

use bytes::Bytes;
use polywire_core::rpc::Requester;
use polywire_core::{
    CallError, Code, ErrorKind, Headers, Reply, Request, Server, Service, Transport, service_fn,
};

use super::request::raw_request;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::in_time;

/// Bodies of every size arrive unchanged, in both directions, up to 8 MiB or the limit.
///
/// The limit is [`Capabilities::body_max`](polywire_core::Capabilities::body_max), which is 64 KiB
/// at least. Sizes around the bounds of one, two and three bytes of length are checked as well, as
/// far as the limit allows. Every byte is compared.
///
/// Catches lengths that overflow, frames that are not reassembled, and bytes that are recoded as
/// text.
pub async fn every_size_arrives(context: &TestContext) -> Verdict {
    let limit = context.calling().await?.capabilities().body_max;
    ensure!(limit >= BODY_MAX_LEAST, "bodies have {limit} bytes at most, not {BODY_MAX_LEAST}");
    let _server = context.serve(echo()).await?;
    let requester = context.requester().await?;
    let largest = limit.min(8 << 20);
    let sizes = [0, 1, 255, 256, 65_535, 65_536, 131_072].into_iter();
    for size in sizes.filter(|size| *size < largest).chain([largest]) {
        let body = pattern(size);
        let mut request = raw_request("echo")?;
        request.message.body = body.clone().into();
        let reply =
            requester.call(request).await.or_fail(&format!("a body of {size} bytes is echoed"))?;
        let came = reply.message.body.into_bytes();
        ensure!(came.len() == size, "a body of {size} bytes came back with {} bytes", came.len());
        ensure!(came == body, "a body of {size} bytes came back with other content");
    }
    Ok(())
}

/// The least limit of bodies that a backend may have, in bytes.
const BODY_MAX_LEAST: usize = 64 << 10;

/// A request over the limit fails at its sender, and the next one succeeds.
///
/// The limit is [`Capabilities::body_max`](polywire_core::Capabilities::body_max). The error is
/// [`ErrorKind::TooLarge`] and unsent.
///
/// Catches backends that close the connection, or fail all calls, because of one message.
pub async fn too_large_request_is_refused(context: &TestContext) -> Verdict {
    let _server = context.serve(echo()).await?;
    let limit = context.calling().await?.capabilities().body_max;
    let requester = context.requester().await?;
    let mut request = raw_request("echo")?;
    request.message.body = Bytes::from(vec![0; limit + 1]).into();
    let outcome = requester.call(request).await;
    let Err(CallError::Failed(error)) = outcome else {
        return Err(Failure::new("a body over the limit was not refused"));
    };
    ensure!(error.kind() == ErrorKind::TooLarge, "a body over the limit failed as {error:?}");
    ensure!(error.is_unsent(), "a body over the limit does not count as unsent: {error:?}");
    requester.call(raw_request("echo")?).await.or_fail("the next request is answered")?;
    Ok(())
}

/// A reply over the limit is a fault at its caller, and the server lives.
///
/// The code is [`Code::Internal`]. The server answers the next request.
///
/// Catches responders that drop such a reply in silence, so that its caller times out.
pub async fn too_large_reply_is_a_fault(context: &TestContext) -> Verdict {
    let limit = context.serving().await?.capabilities().body_max;
    let _server = context
        .serve(service_fn(move |request: Request| async move {
            let large = request.message.method.is_some_and(|method| method.as_str() == "large");
            Ok::<_, CallError>(Reply::new(vec![0; if large { limit + 1 } else { 1 }]))
        }))
        .await?;
    let requester = context.requester().await?;
    let reply = requester
        .call(raw_request("large")?)
        .await
        .or_fail("a call with a large result is answered")?;
    let fault = reply.message.fault.or_fail("a reply over the limit is a fault")?;
    ensure!(fault.code == Code::Internal, "a reply over the limit came as {fault:?}");
    requester.call(raw_request("small")?).await.or_fail("the server lives")?;
    Ok(())
}

/// Headers arrive unchanged, and names and values need not be ASCII.
///
/// The headers include an empty value, two names that differ in case only, and a value of 4,000
/// bytes. The names of the service and of the method are not ASCII.
///
/// Catches wires that fold the case of names, trim values, or encode names as ASCII.
pub async fn headers_and_names_survive(context: &TestContext) -> Verdict {
    let sent: Headers =
        [("tenant", "zürich"), ("größe", "目"), ("empty", ""), ("Case", "a"), ("case", "b")]
            .into_iter()
            .chain([("long", &*"x".repeat(4_000))])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    let transport = context.serving().await?;
    let server = in_time(Server::bind(&transport, "größen.服务")).await?;
    let _serving = RunningServer::start(
        transport,
        server,
        service_fn(|request: Request| async move {
            let method = request.message.method.map(|method| method.to_string());
            let mut reply = Reply::new(method.unwrap_or_default());
            reply.message.headers = request.message.headers;
            Ok::<_, CallError>(reply)
        }),
    );
    let transport = context.calling().await?;
    let service = "größen.服务".try_into().or_fail("the service has a name")?;
    let requester = Requester::open(&transport, service, 10).await.or_fail("a requester opens")?;
    let mut request = raw_request("prüfen.检查")?;
    request.message.headers = sent.clone();
    let reply = requester.call(request).await.or_fail("the call is answered")?.message;
    ensure!(
        reply.body.into_bytes() == "prüfen.检查",
        "the method's name did not arrive as it left"
    );
    for (name, value) in sent.iter() {
        let came = reply.headers.get(name);
        ensure!(came == Some(&**value), "the header {name:?} came back as {came:?}");
    }
    ensure!(
        reply.headers.len() == sent.len(),
        "more headers came back than left: {:?}",
        reply.headers
    );
    Ok(())
}

/// Headers over the limit fail at their sender, and the next request succeeds.
///
/// Checked with 1,000 headers, and with one header of 1 MiB. The error is [`ErrorKind::TooLarge`].
///
/// Catches backends that check the size of the body only.
pub async fn too_many_headers_are_refused(context: &TestContext) -> Verdict {
    let _server = context.serve(echo()).await?;
    let requester = context.requester().await?;
    let many: Headers = (0..1_000).map(|n| (format!("name-{n}"), String::new())).collect();
    let heavy: Headers = [("weight".to_owned(), "x".repeat(1 << 20))].into_iter().collect();
    for headers in [many, heavy] {
        let mut request = raw_request("echo")?;
        request.message.headers = headers;
        let Err(CallError::Failed(error)) = requester.call(request).await else {
            return Err(Failure::new("headers over the limit were not refused"));
        };
        ensure!(error.kind() == ErrorKind::TooLarge, "headers over the limit failed as {error:?}");
    }
    requester.call(raw_request("echo")?).await.or_fail("the next request is answered")?;
    Ok(())
}

/// A service that returns the body of each request.
fn echo() -> impl Service {
    service_fn(
        |request: Request| async move { Ok::<_, CallError>(Reply::new(request.message.body)) },
    )
}

/// Bytes that depend on their position, so that a shift or a swap shows.
fn pattern(size: usize) -> Bytes {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect()
}
