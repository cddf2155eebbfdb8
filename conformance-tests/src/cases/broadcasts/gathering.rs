//! The way of a broadcast to its instances, and of their outcomes back.

use polywire_codec::MessagePack;
use polywire_core::broadcast::{Broadcaster, GatherReason, Gathered, InstanceOutcome};
use polywire_core::{Code, Context, ErrorKind, Fault, Router, Server, Transport};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::running_instance::{RunningInstance, broadcaster};
use crate::context::TestContext;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time};

/// Each instance gets a broadcast, and its outcome arrives with its name: a reply, a fault with its
/// details, or that it declined.
///
/// Three instances and two broadcasts, the second one without arguments. The gathering ends as
/// complete, and names no instance as silent.
///
/// Catches backends that deliver an event to one subscriber alone, or change outcomes.
///
/// Needs the capability `pubsub`.
pub async fn every_instance_has_its_outcome(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let _replying = RunningInstance::start(context, "a", answering(|n| Ok(n + 1))).await?;
    let sold_out = |n: u32| {
        Err(Fault::new(Code::Application, "sold out")
            .with_kind("SoldOut")
            .with_value(n)
            .permanent())
    };
    let _failing = RunningInstance::start(context, "b", answering(sold_out)).await?;
    let declining = |_: u32| Err(Fault::declined("not here"));
    let _declining = RunningInstance::start(context, "c", answering(declining)).await?;
    let shops = broadcaster(context, 3).await?;
    for _ in 0..2 {
        let gathering = in_time(shops.request("ask").gather::<u32>(&41_u32)).await?;
        let (mut outcomes, end) = gathering.all().await;
        outcomes.sort_by(|one, other| one.instance.id().cmp(other.instance.id()));
        let is_as_expected = match outcomes.as_slice() {
            [a, b, c] => is_reply(a, ("a", 42)) && is_sold_out(b) && is_declined(c),
            _ => false,
        };
        ensure!(
            is_as_expected,
            "three instances were due to answer 42, fail and decline: {outcomes:?}"
        );
        ensure!(
            end.reason == GatherReason::Complete && end.silent.is_empty(),
            "the gathering ended as {end:?}"
        );
    }
    Ok(())
}

fn is_reply(gathered: &Gathered<u32>, (id, due): (&str, u32)) -> bool {
    gathered.instance.id() == id
        && matches!(gathered.outcome, InstanceOutcome::Reply(reply) if reply == due)
}

fn is_sold_out(gathered: &Gathered<u32>) -> bool {
    let InstanceOutcome::Fault(fault) = &gathered.outcome else { return false };
    let parts = (fault.code, &*fault.kind, &*fault.message, &*fault.details);
    // 41 is one byte in MessagePack.
    parts == (Code::Application, "SoldOut", "sold out", &[41]) && fault.is_permanent()
}

fn is_declined(gathered: &Gathered<u32>) -> bool {
    matches!(&gathered.outcome, InstanceOutcome::Declined(fault) if fault.message == "not here")
}

/// A one-way broadcast runs once in each instance, and answers nothing.
///
/// Catches backends that deliver an event to one subscriber alone.
///
/// Needs the capability `pubsub`.
pub async fn one_way_broadcast_reaches_each_instance(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let (ran, mut runs) = mpsc::unbounded_channel();
    let mut instances = Vec::new();
    for id in ["a", "b", "c"] {
        let ran = ran.clone();
        let router = answering(move |n| {
            let _ = ran.send((id, n));
            Err(Fault::new(Code::Application, "only for the log"))
        });
        instances.push(RunningInstance::start(context, id, router).await?);
    }
    let shops = broadcaster(context, 3).await?;
    in_time(shops.request("ask").send(&7_u32)).await?;
    let mut ran = Vec::new();
    for _ in &instances {
        let run = timeout(PATIENCE, runs.recv()).await;
        ran.push(run.or_fail("each instance runs the broadcast")?.or_fail("a run")?);
    }
    ran.sort_unstable();
    ensure!(ran == [("a", 7), ("b", 7), ("c", 7)], "the instances ran {ran:?}");
    // An answer would be counted by now, since the next broadcast went the same way.
    let gathering = in_time(shops.request("ask").gather::<u32>(&8_u32)).await?;
    let (outcomes, _) = gathering.all().await;
    ensure!(outcomes.len() == 3, "the next broadcast has {} outcomes", outcomes.len());
    let late = shops.stats().late_outcomes;
    ensure!(late == 0, "the one-way broadcast was answered {late} times");
    Ok(())
}

/// The header, the baggage and the deadline of a broadcast arrive at each handler, and the headers
/// by which it is laid out do not.
///
/// Catches backends that lose the headers or the deadline of an event.
///
/// Needs the capability `pubsub`.
pub async fn options_of_a_broadcast_reach_its_handlers(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let router = Router::new(MessagePack).method("see", async |context: Context, (): ()| {
        let language = context.baggage().get("language").map(str::to_owned);
        let headers = context.headers.iter().map(|(name, value)| format!("{name}={value}"));
        let is_limited = context.remaining().is_some_and(|left| left <= PATIENCE * 2);
        Ok((headers.collect::<Vec<_>>(), language, is_limited, context.topic.is_some()))
    });
    let _instance = RunningInstance::start(context, "a", router).await?;
    let shops = broadcaster(context, 1).await?;
    let request = shops.request("see").timeout(PATIENCE * 2);
    let request = request.header("tenant", "acme").baggage("language", "fr");
    let gathering = request.gather::<(Vec<String>, Option<String>, bool, bool)>(&());
    let (outcomes, _) = in_time(gathering).await?.all().await;
    let seen = outcomes.into_iter().next().and_then(|only| only.outcome.reply());
    let (mut headers, language, is_limited, has_topic) = seen.or_fail("an instance replies")?;
    headers.sort_unstable();
    ensure!(
        headers == ["baggage=language=fr", "tenant=acme"],
        "the headers of a broadcast came as {headers:?}"
    );
    ensure!(language.as_deref() == Some("fr"), "the baggage came as {language:?}");
    ensure!(is_limited, "the deadline of a broadcast did not arrive");
    ensure!(!has_topic, "the handler sees a topic");
    Ok(())
}

/// Broadcasts on a backend without publish-subscribe are refused as unsupported. On any other
/// backend, a server can be bound to them, and a broadcaster connected.
///
/// Catches backends whose capabilities promise too much.
pub async fn what_is_lacking_is_unsupported(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let has_pubsub = transport.capabilities().pubsub;
    let server = Server::bind_broadcast(&transport, SERVICE).await.map(drop);
    let calling = context.calling().await?;
    let broadcaster = Broadcaster::connect(&calling, SERVICE, MessagePack).await.map(drop);
    for (what, opened) in [("a server", server), ("a broadcaster", broadcaster)] {
        match opened {
            Ok(()) => ensure!(has_pubsub, "pubsub is lacking, and {what} of broadcasts was opened"),
            Err(error) => {
                ensure!(!has_pubsub, "pubsub is there, and {what} of broadcasts failed: {error:?}");
                ensure!(error.kind() == ErrorKind::Unsupported, "{what} failed as {error:?}");
            }
        }
    }
    Ok(())
}

/// A service whose method `ask` has this outcome.
fn answering(
    answer: impl Fn(u32) -> Result<u32, Fault> + Clone + Send + Sync + 'static,
) -> Router<MessagePack> {
    Router::new(MessagePack).method("ask", move |n: u32| {
        let answer = answer(n);
        async move { answer }
    })
}
