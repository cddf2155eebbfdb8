//! Several handlers for one event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire_codec::MessagePack;
use polywire_core::pubsub::ListenerBind;
use polywire_core::worker::WorkHandle;
use polywire_core::{
    AnyTransport, Code, Context, Fault, Filter, Group, Listener, Publisher, Router, State,
};

use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::CHANNEL;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{eventually, in_time};

/// Every handler whose filter matches runs once for an event, even if one of them fails.
///
/// One listener has two filters that overlap, and four handlers. Of three events, each of which
/// matches three handlers, the last handler fails: the event counts as discarded. An event that
/// matches one handler counts as done.
///
/// Catches backends that deliver an event once for each filter that it matches.
///
/// Needs the capability `pubsub`.
pub async fn every_handler_of_an_event_runs(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let runs = Runs::default();
    let failing = async |State(runs): State<Runs>, _: u32| {
        runs.count(2);
        Err::<(), _>(Fault::new(Code::Application, "this handler fails"))
    };
    let router = Router::with_state(MessagePack, runs.clone())
        .on("a.*", counting::<0>)
        .on("#.x", counting::<1>)
        .on("#.x", failing)
        .on("b", counting::<3>);
    let listening = Listening::start(context, router, |listener| listener).await?;
    listening.publish("a.x", 3).await?;
    listening.publish("a.y", 1).await?;
    let handle = &listening.handle;
    eventually("every event is handled", || {
        let stats = handle.stats();
        (stats.discarded, stats.done) == (3, 1)
    })
    .await?;
    handle.drain().await;
    let runs = runs.counts();
    ensure!(runs == [4, 3, 3, 0], "four handlers were due to run [4, 3, 3, 0] times, not {runs:?}");
    Ok(())
}

/// An event succeeds when all its handlers succeed: a retry runs all of them again.
///
/// In a group, one of two handlers fails in the first attempt of each of four events.
///
/// Catches backends that lose a requeued event.
///
/// Needs the capabilities `pubsub`, `groups` and `attempts`.
pub async fn event_is_retried_for_all_its_handlers(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("groups", |can| can.groups).await?;
    context.require("attempts", |can| can.attempts).await?;
    let group = Group::new("handlers").or_fail("a group")?;
    let runs = Runs::default();
    let failing = async |State(runs): State<Runs>, context: Context, _: u32| {
        runs.count(1);
        match context.attempt {
            1 => Err(Fault::new(Code::Application, "the first attempt fails")),
            _ => Ok(()),
        }
    };
    let router =
        Router::with_state(MessagePack, runs.clone()).on("a.*", counting::<0>).on("#.x", failing);
    let listening = Listening::start(context, router, |listener| listener.group(group)).await?;
    listening.publish("a.x", 4).await?;
    let handle = &listening.handle;
    eventually("every event is done", || handle.stats().done == 4).await?;
    eventually("4 events were retried", || handle.stats().retried == 4).await?;
    handle.drain().await;
    let runs = runs.counts();
    ensure!(runs == [8, 8, 0, 0], "two handlers were due to run 8 times each, and ran {runs:?}");
    Ok(())
}

/// An event that is a call runs the method that it names. Its topic makes no difference.
///
/// A listener serves a router with two methods and an event handler. An event that names a method
/// runs it with its arguments, and one that names none runs the event handler.
///
/// Catches backends that lose the method of an event.
///
/// Needs the capability `pubsub`.
pub async fn published_call_runs_its_method(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let runs = Runs::default();
    let adding = async |State(runs): State<Runs>, (handler, times): (u32, u32)| {
        (0..times).for_each(|_| runs.count(handler as usize));
        Ok(())
    };
    let router = Router::with_state(MessagePack, runs.clone())
        .method("runs.add", adding)
        .method("runs.other", counting::<1>)
        .on("#", counting::<3>);
    let listening = Listening::start(context, router, |listener| listener).await?;
    for topic in ["a.x", "b"] {
        let published = listening.publisher.publish_call(topic, "runs.add", &(2_u32, 5_u32)).await;
        published.or_fail("publishing a call")?;
    }
    listening.publish("a.x", 1).await?;
    let handle = &listening.handle;
    eventually("every event is handled", || handle.stats().done + handle.stats().discarded == 3)
        .await?;
    let runs = runs.counts();
    ensure!(
        runs == [0, 0, 10, 1],
        "the handlers were due to run [0, 0, 10, 1] times, not {runs:?}"
    );
    Ok(())
}

/// The number of runs of each of four handlers.
#[derive(Clone, Default)]
struct Runs(Arc<[AtomicU32; 4]>);

impl Runs {
    /// Counts a run. Panics for a number over 3.
    fn count(&self, handler: usize) {
        self.0[handler].fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the counts so far, by the number of the handler.
    fn counts(&self) -> [u32; 4] {
        std::array::from_fn(|handler| self.0[handler].load(Ordering::SeqCst))
    }
}

/// A handler that counts its run and succeeds.
async fn counting<const HANDLER: usize>(State(runs): State<Runs>, _: u32) -> Result<(), Fault> {
    runs.count(HANDLER);
    Ok(())
}

/// A listener at work, and a publisher to it.
///
/// The listener ends when the value is dropped.
struct Listening {
    handle: WorkHandle,
    publisher: Publisher<MessagePack>,
    _task: AbortOnDrop,
}

impl Listening {
    /// Serves a router by a listener that subscribes to the filters of the router.
    ///
    /// The publisher is connected after the listener is bound, in a process of its own. `options`
    /// sets further options of the listener, such as a group.
    async fn start<F>(
        context: &TestContext,
        router: Router<MessagePack, Runs>,
        options: F,
    ) -> Verdict<Self>
    where
        F: for<'t> FnOnce(
            ListenerBind<'t, AnyTransport, MessagePack>,
        ) -> ListenerBind<'t, AnyTransport, MessagePack>,
    {
        let transport = context.serving().await?;
        let listener = Listener::bind(&transport, CHANNEL, MessagePack);
        let filters: Vec<Filter> = router.filters().cloned().collect();
        let listener = filters.into_iter().fold(listener, ListenerBind::filter);
        let listener = in_time(options(listener)).await?;
        let handle = listener.handle();
        let task = AbortOnDrop::new(tokio::spawn(listener.serve(router)));
        Ok(Self { handle, publisher: context.publisher().await?, _task: task })
    }

    /// Publishes some events under a topic.
    ///
    /// The events are the numbers from 0 on.
    async fn publish(&self, topic: &str, events: u32) -> Verdict {
        for n in 0..events {
            self.publisher.publish(topic, &n).await.or_fail("publishing")?;
        }
        Ok(())
    }
}
