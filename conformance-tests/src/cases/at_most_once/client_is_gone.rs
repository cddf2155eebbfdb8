//! Calls whose client is gone before they begin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Router, Server, Transport, Window, at_most_once};

use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// The time within which a request of a client that is gone leaves the window: half of the time
/// that a server waits for the answer of a client.
const FREE_MAX: Duration = Duration::from_secs(5);

/// A call whose client is gone before it begins does not begin, and takes no place in the window
/// of its server.
///
/// The client closes its transport, which cancels no call. The server asks a client that is gone.
/// Its window has one place, so the call of the next client waits for the end of the first one.
///
/// Catches servers that wait for the answer of a client that is gone.
///
/// Needs the capabilities `interruption` and `settlement`.
pub async fn call_whose_client_is_gone_does_not_begin(context: &TestContext) -> Verdict {
    context.require("interruption", |can| can.interruption).await?;
    context.require("settlement", |can| can.settlement).await?;
    let transport = context.serving().await?;
    let server = in_time(Server::bind(&transport, SERVICE).window(Window::new(1))).await?;
    let calling = context.calling().await?;
    let client = context.client_on(&calling).await?;
    let mut call = client.request("wait").start::<u64>(&0).or_fail("a call starts")?;
    within(PATIENCE, "the request is sent", call.sent()).await?;
    in_time(calling.close()).await?;
    let ended = within(PATIENCE, "the call of a closed client ends", call).await?;
    ensure!(ended.is_err(), "a call that no server ran ended with {ended:?}");
    let begun = Arc::<Mutex<Vec<u64>>>::default();
    let log = begun.clone();
    let wait = move |n: u64| {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(n);
        async move { Ok(n) }
    };
    let router = Router::new(MessagePack).method("wait", at_most_once(wait));
    let server = RunningServer::start(transport, server, router);
    let next = context.client().await?;
    let what = "the place of a call whose client is gone is free in time";
    let answered = within(FREE_MAX, what, next.call::<u64>("wait", &1)).await?;
    answered.or_fail("the next call is answered")?;
    in_time(server.transport.close()).await?;
    let begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(*begun == [1], "the calls {begun:?} began, and the client of 0 was gone");
    Ok(())
}
