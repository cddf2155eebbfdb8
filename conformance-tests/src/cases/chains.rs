//! Calls that are made to answer a call: what they take over, and how they end.

mod best;
mod noted;

use std::future::pending;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Context, Router, Server};
use tokio::time::Instant;

use self::best::Best;
use self::noted::Noted;
use super::calls::eventually;
use crate::stage::{PATIENCE, bound};
use crate::verdict::ensure;
use crate::{Failure, OrFail, Serving, Stage, Verdict};

/// A call that is made by a handler ends with the call that the handler answers, and takes its
/// context along.
pub async fn context_is_handed_on(stage: &Stage) -> Verdict {
    const TIMEOUT: Duration = Duration::from_secs(7);
    // What rounding and a pause between two looks at the clock may make.
    const SLACK_MS: u64 = 20;
    let chain = Chain::open(stage).await?;
    let request = chain.client.request("look").timeout(TIMEOUT).baggage("tenant", "zürich");
    let request = request.header("secret", "for the front").header("traceparent", TRACEPARENT);
    let seen: Seen = request.call(&()).await.or_fail("a call that makes another is answered")?;
    let Seen { before_ms, at_the_back: Looked { remaining_ms, headers, calls }, after_ms } = seen;
    let within = after_ms.saturating_sub(SLACK_MS)..=before_ms + SLACK_MS;
    ensure!(
        within.contains(&remaining_ms),
        "the back had {remaining_ms} ms left, and the front {before_ms} ms before and {after_ms} ms after"
    );
    let expected = [Some("zürich".to_owned()), None, Some(TRACEPARENT.to_owned())];
    ensure!(
        headers == expected,
        "baggage, a header for the front, and the trace came to the back as {headers:?}"
    );
    let names: Vec<_> =
        calls.iter().map(|call| call.rsplit_once('.').map_or("", |(name, _)| name)).collect();
    ensure!(names.len() == 2, "the stack of calls at the back is {calls:?}");
    ensure!(
        names[0].ends_with("look") && names[1].ends_with("look"),
        "the stack of calls is {calls:?}"
    );
    Ok(())
}

/// When a caller stops waiting, its handler stops, and so does all that the handler had called, and
/// nothing else.
pub async fn abandoned_call_stops_the_whole_chain(stage: &Stage) -> Verdict {
    stage.require("cancellation", |can| can.cancellation).await?;
    let chain = Chain::open(stage).await?;
    let bystander = stage.calling().await?;
    let bystander = bound(Client::connect(&bystander, FRONT, MessagePack)).await?;
    // Longer than all of this may take, so that none ends by its deadline.
    let start = |client: &Client<_>| {
        client.request("wait").timeout(20 * PATIENCE).start::<()>(&()).or_fail("a call starts")
    };
    let (abandoned, kept) = (start(&chain.client)?, start(&bystander)?);
    eventually("both calls reach the back", || chain.back.handle.stats().running == 2).await?;

    drop(abandoned);
    eventually("the back stops", || chain.back.handle.stats().running == 1).await?;
    eventually("the front stops", || chain.front.handle.stats().running == 1).await?;
    for (name, end) in [("front", &chain.front), ("back", &chain.back)] {
        let stats = end.handle.stats();
        ensure!(
            stats.cancelled == 1,
            "at the {name}, {} calls count as abandoned",
            stats.cancelled
        );
    }
    let looked = chain.client.call::<Seen>("look", &()).await;
    looked.or_fail("the next call of the same client is answered")?;

    let mut best = Best::within(STOPS_WITHIN);
    while best.is_sought() {
        chain.forget();
        let abandoned = start(&chain.client)?;
        eventually("the call reaches the back", || chain.back_noted.has_begun()).await?;
        let since = Instant::now();
        drop(abandoned);
        eventually("the whole chain stops", || chain.has_stopped()).await?;
        best.add(chain.stopped().and_then(|stopped| Some(stopped.into_iter().max()? - since)));
    }
    let took = best.least();
    stage.note(format_args!(
        "the last handler of the chain stopped {took:?} after its call was dropped"
    ));
    ensure!(best.is_good(), "the chain stopped {took:?} after its call was dropped, at best");
    ensure!(!kept.is_finished(), "another caller's call ended with it");
    Ok(())
}

/// When the deadline of a call has passed, all that was called to answer it stops: it has the same
/// one, to within what the way takes, and stops in the same moment.
pub async fn deadline_stops_the_whole_chain(stage: &Stage) -> Verdict {
    let chain = Chain::open(stage).await?;
    let mut best = Best::within(SAME_DEADLINE);
    while best.is_sought() {
        chain.forget();
        let call = chain.client.request("look").timeout(PATIENCE);
        let begun = Instant::now();
        call.call::<Seen>(&()).await.or_fail("a call that makes another is answered")?;
        let deadlines = [chain.front_noted.take().deadline, chain.back_noted.take().deadline];
        let [Some(front), Some(back)] = deadlines else {
            return Err(Failure::new(format!("the deadlines along the chain are {deadlines:?}")));
        };
        let deadline = begun + PATIENCE;
        let apart =
            [front, back].map(|seen| seen.max(deadline) - seen.min(deadline)).into_iter().max();
        // A disk that each request waits for would spoil them all; they were on their way no longer
        // than this took.
        let on_the_way = begun.elapsed().saturating_sub(SAME_DEADLINE);
        best.add(apart.map(|apart| apart.saturating_sub(on_the_way)));
    }
    let apart = best.least();
    stage.note(format_args!("the deadline at the end of the chain was off by {apart:?}"));
    ensure!(best.is_good(), "the deadlines along the chain are {apart:?} apart, at best");

    let mut best = Best::within(STOPS_WITHIN);
    while best.is_sought() {
        chain.forget();
        let call =
            chain.client.request("wait").timeout(Duration::from_millis(500)).start::<()>(&());
        let outcome = call.or_fail("a call starts")?.await;
        let given_up = Instant::now();
        ensure!(outcome.is_err(), "a call whose deadline has passed is answered");
        eventually("the front stops", || chain.front.handle.stats().running == 0).await?;
        eventually("the back stops", || chain.back.handle.stats().running == 0).await?;
        // On a busy machine it may be over before it has reached the back.
        let stopped = chain.stopped().map(|[front, back]| [given_up, front, back]);
        best.add(stopped.and_then(|all| Some(*all.iter().max()? - *all.iter().min()?)));
    }
    let apart = best.least();
    ensure!(
        best.is_good(),
        "what was called to answer it stopped {apart:?} after the rest, at best"
    );
    Ok(())
}

/// Within what the handlers of a chain stop together, and when nobody waits any more.
const STOPS_WITHIN: Duration = Duration::from_millis(100);
/// How far apart the deadlines along a chain may be, which are longer by the time that each request
/// was on its way.
const SAME_DEADLINE: Duration = Duration::from_millis(20);

const FRONT: &str = "front";
const BACK: &str = "back";
/// As the W3C's text has it.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the back saw: the time that is left, some headers, and the calls that led to it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Looked {
    remaining_ms: u64,
    headers: [Option<String>; 3],
    calls: Vec<String>,
}

/// What the front saw before and after it called the back.
#[derive(serde::Serialize, serde::Deserialize)]
struct Seen {
    before_ms: u64,
    at_the_back: Looked,
    after_ms: u64,
}

/// A client that calls a front that calls a back.
struct Chain {
    client: Client<MessagePack>,
    front: Serving,
    back: Serving,
    front_noted: Noted,
    back_noted: Noted,
}

impl Chain {
    async fn open(stage: &Stage) -> Verdict<Self> {
        let transport = stage.serving().await?;
        let (front, back) = (
            bound(Server::bind(&transport, FRONT)).await?,
            bound(Server::bind(&transport, BACK)).await?,
        );
        let (front_noted, back_noted) = (Noted::default(), Noted::default());
        let back = Serving::start(transport.clone(), back, the_back(back_noted.clone()));
        let inner = stage.calling().await?;
        // It would wait for longer than its own caller.
        let inner =
            bound(Client::connect(&inner, BACK, MessagePack).timeout(40 * PATIENCE)).await?;
        let front = Serving::start(transport, front, the_front(front_noted.clone(), inner));
        let outer = stage.calling().await?;
        let client = bound(Client::connect(&outer, FRONT, MessagePack).timeout(PATIENCE)).await?;
        Ok(Self { client, front, back, front_noted, back_noted })
    }

    /// Forgets what was noted.
    fn forget(&self) {
        let _ = (self.front_noted.take(), self.back_noted.take());
    }

    fn has_stopped(&self) -> bool {
        self.front_noted.has_stopped() && self.back_noted.has_stopped()
    }

    /// When the handlers at the front and at the back have stopped, if both were there.
    fn stopped(&self) -> Option<[Instant; 2]> {
        Some([self.front_noted.take().stopped?, self.back_noted.take().stopped?])
    }
}

fn the_back(noted: Noted) -> Router<MessagePack> {
    let waiting = noted.clone();
    let look = move |context: Context, (): ()| {
        let _running = noted.begin(&context);
        async move {
            let headers = [
                context.baggage().get("tenant").map(str::to_owned),
                context.headers.get("secret").map(str::to_owned),
                context.headers.get("traceparent").map(str::to_owned),
            ];
            let calls = context.call_stack().iter().map(str::to_owned).collect();
            Ok(Looked { remaining_ms: remaining_ms(&context), headers, calls })
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

fn the_front(noted: Noted, back: Client<MessagePack>) -> Router<MessagePack> {
    let (noted_waiting, waiting) = (noted.clone(), back.clone());
    let look = move |context: Context, (): ()| {
        let (_running, back) = (noted.begin(&context), back.clone());
        async move {
            let before_ms = remaining_ms(&context);
            let at_the_back = back.call("look", &()).await?;
            Ok(Seen { before_ms, at_the_back, after_ms: remaining_ms(&context) })
        }
    };
    let wait = move |context: Context, (): ()| {
        let (running, back) = (noted_waiting.begin(&context), waiting.clone());
        async move {
            let _running = running;
            back.call::<()>("wait", &()).await?;
            Ok(())
        }
    };
    Router::new(MessagePack).method("look", look).method("wait", wait)
}

fn remaining_ms(context: &Context) -> u64 {
    context.deadline.map_or(0, polywire_core::Deadline::remaining_ms)
}
