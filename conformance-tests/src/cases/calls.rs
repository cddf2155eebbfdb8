//! A call and its reply.

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, ErrorKind, Router, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use crate::stage::{PATIENCE, SERVICE, bound};
use crate::verdict::ensure;
use crate::{End, OrFail, Serving, Stage, Tally, Verdict};

/// Of 10,000 calls at once, each gets its own reply, whatever the order of finishing.
pub async fn replies_reach_their_calls(stage: &Stage) -> Verdict {
    const CALLS: u64 = 10_000;
    let _server = stage
        .serve(Router::new(MessagePack).method("square", |n: u64| async move {
            for _ in 0..shuffled(n) % 16 {
                tokio::task::yield_now().await;
            }
            Ok((n, n * n))
        }))
        .await?;
    let client = stage.client().await?;
    let numbers: Vec<u64> = (0..CALLS).collect();
    let replies = join_all(numbers.iter().map(|n| client.call::<(u64, u64)>("square", n))).await;
    for (n, reply) in numbers.into_iter().zip(replies) {
        let (asked, square) = reply.or_fail(&format!("call {n} is answered"))?;
        ensure!(asked == n, "call {n} got the reply to call {asked}");
        ensure!(square == n * n, "call {n} got {square}");
    }
    let stats = client.stats();
    ensure!(stats.in_flight == 0, "{} calls are still in flight", stats.in_flight);
    ensure!(stats.late_replies == 0, "{} replies came twice", stats.late_replies);
    Ok(())
}

/// Replies go to the client that asked, although the calls of each client have the same numbers.
pub async fn replies_reach_their_callers(stage: &Stage) -> Verdict {
    let _server = stage
        .serve(Router::new(MessagePack).method("echo", |name: String| async { Ok(name) }))
        .await?;
    let clients = [stage.client().await?, stage.client().await?];
    let call = |n: usize| {
        let client = &clients[n % 2];
        async move { client.call::<String>("echo", &format!("caller {}", n % 2)).await }
    };
    for (n, reply) in join_all((0..200).map(call)).await.into_iter().enumerate() {
        let reply = reply.or_fail("each call is answered")?;
        ensure!(reply == format!("caller {}", n % 2), "caller {} got the reply to {reply}", n % 2);
    }
    Ok(())
}

/// A request whose server lives and whose link holds is carried out once.
pub async fn each_request_runs_once(stage: &Stage) -> Verdict {
    let tally = Arc::new(Tally::new());
    let runs = tally.clone();
    let _server = stage
        .serve(Router::new(MessagePack).method("run", move |id: u64| {
            runs.effect(id);
            async { Ok(()) }
        }))
        .await?;
    let client = stage.client().await?;
    let calls = (0..1_000).map(|_| async {
        let id = tally.attempt();
        tally.end(id, End::of(&client.call::<()>("run", &id).await));
    });
    join_all(calls).await;
    let sum = tally.sum();
    ensure!(sum.acknowledged == sum.attempted, "not every call was answered: {sum}");
    ensure!(sum.lost + sum.duplicated + sum.unexpected == 0, "not every request ran once: {sum}");
    Ok(())
}

/// A method whose name has dots is found.
pub async fn nested_methods_are_found(stage: &Stage) -> Verdict {
    let inner =
        Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
    let _server = stage.serve(Router::new(MessagePack).nest("math.simple", inner)).await?;
    let sum: i64 = stage
        .client()
        .await?
        .call("math.simple.add", &(2, 3))
        .await
        .or_fail("the call is answered")?;
    ensure!(sum == 5, "2 + 3 gave {sum}");
    Ok(())
}

/// A call in flight is a handle that can be awaited later.
pub async fn calls_in_flight_can_be_awaited_later(stage: &Stage) -> Verdict {
    let gate = Arc::new(Semaphore::new(0));
    let _server = stage.serve(gated(&gate)).await?;
    let client = stage.client().await?;
    let mut first = client.request("wait").start::<u32>(&1).or_fail("the first call starts")?;
    let second = client.request("wait").start::<u32>(&2).or_fail("the second call starts")?;
    bound(async {
        first.sent().await;
        Ok(())
    })
    .await?;
    ensure!(!first.is_finished(), "the call finished before its handler did");
    gate.add_permits(2);
    let (second, first) =
        (second.await.or_fail("the second call")?, first.await.or_fail("the first call")?);
    ensure!((first, second) == (1, 2), "the handles gave {first} and {second}");
    Ok(())
}

/// A request that is sent after the server was bound is served, even if serving starts later.
pub async fn requests_sent_after_bind_are_served(stage: &Stage) -> Verdict {
    let transport = stage.serving().await?;
    let server = bound(Server::bind(&transport, SERVICE)).await?;
    let client = stage.client().await?;
    let mut early = client.request("wait").start::<u32>(&7).or_fail("the call starts")?;
    bound(async {
        early.sent().await;
        Ok(())
    })
    .await?;
    let _serving = Serving::start(transport, server, gated(&Arc::new(Semaphore::new(1))));
    let reply = early.await.or_fail("the early call is answered")?;
    ensure!(reply == 7, "the early call got {reply}");
    Ok(())
}

/// A call to a service that nobody serves fails as unroutable, and says that nobody has it.
pub async fn unknown_service_is_unroutable(stage: &Stage) -> Verdict {
    let _server = stage.serve(gated(&Arc::new(Semaphore::new(9)))).await?;
    let transport = stage.calling().await?;
    let client =
        bound(Client::connect(&transport, "nobody", MessagePack).timeout(PATIENCE)).await?;
    let outcome = client.call::<u32>("wait", &1).await;
    let Err(CallError::Failed(error)) = outcome else {
        return Err(crate::Failure::new(format!("a call to nobody ended with {outcome:?}")));
    };
    ensure!(error.kind() == ErrorKind::Unroutable, "a call to nobody failed as {error:?}");
    ensure!(
        error.is_unsent(),
        "nobody could have taken it, yet it does not count as unsent: {error:?}"
    );
    let reply: u32 = stage.client().await?.call("wait", &1).await.or_fail("a call to somebody")?;
    ensure!(reply == 1, "a call to somebody got {reply}");
    Ok(())
}

/// A call that is dropped leaves nothing behind; its late reply is dropped and counted, if there is
/// one.
pub async fn abandoned_call_leaves_nothing_behind(stage: &Stage) -> Verdict {
    let gate = Arc::new(Semaphore::new(0));
    let server = stage.serve(gated(&gate)).await?;
    let client = stage.client().await?;
    let abandoned = client.request("wait").start::<u32>(&1).or_fail("the call starts")?;
    eventually("the request arrives", || server.handle.stats().running == 1).await?;
    ensure!(
        client.stats().in_flight == 1,
        "{} calls are in flight, not one",
        client.stats().in_flight
    );
    drop(abandoned);
    eventually("the abandoned call is forgotten", || client.stats().in_flight == 0).await?;
    gate.add_permits(2);
    let reply: u32 = client.call("wait", &2).await.or_fail("the next call is answered")?;
    ensure!(reply == 2, "the next call got the reply {reply}: that of the abandoned one");
    // Where the server learned of it, there is no reply.
    let is_dealt_with = || client.stats().late_replies + server.handle.stats().cancelled == 1;
    eventually("the late reply is counted", is_dealt_with).await?;
    ensure!(
        client.stats().in_flight == 0,
        "{} calls are in flight in the end",
        client.stats().in_flight
    );
    Ok(())
}

/// A service whose method `wait` gives back its argument once a permit is there.
pub(crate) fn gated(gate: &Arc<Semaphore>) -> Router<MessagePack> {
    let gate = gate.clone();
    Router::new(MessagePack).method("wait", move |n: u32| {
        let gate = gate.clone();
        async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            Ok(n)
        }
    })
}

/// Waits until something is so, looking now and then.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Verdict {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.or_fail(&format!("{what} within {PATIENCE:?}"))
}

/// Waits until so many are counted, for as long as there are more every now and then: how fast it
/// goes is not the question.
pub(crate) async fn reaches<N: Copy + PartialOrd>(
    what: &str,
    target: N,
    count: impl Fn() -> N,
) -> Verdict {
    loop {
        let counted = count();
        if counted >= target {
            return Ok(());
        }
        eventually(what, || count() > counted).await?;
    }
}

/// A number that follows from `n` in no visible way (Knuth's multiplicative hash).
fn shuffled(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}
