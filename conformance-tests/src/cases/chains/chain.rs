//! A client that calls a front server that calls a back server.

use std::future::pending;

use polywire_codec::MessagePack;
use polywire_core::{Client, Context, Deadline, Router, Server};
use tokio::time::Instant;

use super::handler_log::HandlerLog;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::verdict::Verdict;
use crate::wait::{PATIENCE, in_time};

/// The name of the front service.
pub(super) const FRONT: &str = "front";

/// The name of the back service.
const BACK: &str = "back";

/// The context that the back server saw.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct SeenByBack {
    /// The time until the deadline.
    pub(super) remaining_ms: u64,
    /// The baggage `tenant`, and the headers `secret` and `traceparent`.
    pub(super) headers: [Option<String>; 3],
    /// The stack of the calls that led to it.
    pub(super) calls: Vec<String>,
}

/// The contexts that both servers saw. The front server measures the time until its deadline before
/// and after it calls the back server.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Seen {
    /// The time until the deadline when the call to the back server begins.
    pub(super) before_ms: u64,
    pub(super) at_the_back: SeenByBack,
    /// The time until the deadline when the reply of the back server is there.
    pub(super) after_ms: u64,
}

/// A client that calls a front server that calls a back server.
///
/// Both servers share a transport, and each client has one of its own.
pub(super) struct Chain {
    /// The client of the front service.
    pub(super) client: Client<MessagePack>,
    pub(super) front: RunningServer,
    pub(super) back: RunningServer,
    /// The times of the latest handler of the front server. `back_log` has those of the back
    /// server.
    pub(super) front_log: HandlerLog,
    pub(super) back_log: HandlerLog,
}

impl Chain {
    /// Opens all of the chain.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`](crate::Failure::Failed), if an endpoint handle cannot be opened.
    pub(super) async fn open(context: &TestContext) -> Verdict<Self> {
        let transport = context.serving().await?;
        let (front, back) = (
            in_time(Server::bind(&transport, FRONT)).await?,
            in_time(Server::bind(&transport, BACK)).await?,
        );
        let (front_log, back_log) = (HandlerLog::default(), HandlerLog::default());
        let back = RunningServer::start(transport.clone(), back, the_back(back_log.clone()));
        let inner = context.calling().await?;
        // Longer than the timeout of the calls to the front server.
        let inner =
            in_time(Client::connect(&inner, BACK, MessagePack).timeout(40 * PATIENCE)).await?;
        let front = RunningServer::start(transport, front, the_front(front_log.clone(), inner));
        let outer = context.calling().await?;
        let client = in_time(Client::connect(&outer, FRONT, MessagePack).timeout(PATIENCE)).await?;
        Ok(Self { client, front, back, front_log, back_log })
    }

    /// Clears both logs.
    ///
    /// Called before each attempt, so that the times are those of one call.
    pub(super) fn clear(&self) {
        let _ = (self.front_log.take(), self.back_log.take());
    }

    /// Returns true once the handlers of both servers have stopped.
    pub(super) fn has_stopped(&self) -> bool {
        self.front_log.has_stopped() && self.back_log.has_stopped()
    }

    /// Returns the times at which the handlers of the front and of the back server stopped, if both
    /// ran.
    ///
    /// Clears the logs of the handlers that it looks at.
    pub(super) fn stopped(&self) -> Option<[Instant; 2]> {
        Some([self.front_log.take().stopped?, self.back_log.take().stopped?])
    }
}

/// The back service: `look` returns its context, and `wait` never ends.
fn the_back(log: HandlerLog) -> Router<MessagePack> {
    let waiting = log.clone();
    let look = move |context: Context, (): ()| {
        let _running = log.begin(&context);
        async move {
            let headers = [
                context.baggage().get("tenant").map(str::to_owned),
                context.headers.get("secret").map(str::to_owned),
                context.headers.get("traceparent").map(str::to_owned),
            ];
            let calls = context.call_stack().iter().map(str::to_owned).collect();
            Ok(SeenByBack { remaining_ms: remaining_ms(&context), headers, calls })
        }
    };
    let wait = move |context: Context, (): ()| {
        let running = waiting.begin(&context);
        async move {
            let _running = running;
            pending::<()>().await;
            Ok(())
        }
    };
    Router::new(MessagePack).method("look", look).method("wait", wait)
}

/// The front service: each method calls the same one of the back service.
fn the_front(log: HandlerLog, back: Client<MessagePack>) -> Router<MessagePack> {
    let (log_of_wait, waiting) = (log.clone(), back.clone());
    let look = move |context: Context, (): ()| {
        let (_running, back) = (log.begin(&context), back.clone());
        async move {
            let before_ms = remaining_ms(&context);
            let at_the_back = back.call("look", &()).await?;
            Ok(Seen { before_ms, at_the_back, after_ms: remaining_ms(&context) })
        }
    };
    let wait = move |context: Context, (): ()| {
        let (running, back) = (log_of_wait.begin(&context), waiting.clone());
        async move {
            let _running = running;
            back.call::<()>("wait", &()).await?;
            Ok(())
        }
    };
    Router::new(MessagePack).method("look", look).method("wait", wait)
}

/// Returns the time until the deadline of a handler; 0 without a deadline.
fn remaining_ms(context: &Context) -> u64 {
    context.deadline.map_or(0, Deadline::remaining_ms)
}
