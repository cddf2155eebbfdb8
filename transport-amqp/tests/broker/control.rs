//! What servers learn of callers that stop waiting, and what becomes of requests that are declined.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Client, Context, Fault, Router, Server, Transport, Window};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::stage::{
    PATIENCE, client, eventually_answered, killed_and_restarted, serve_gated, until,
};
use super::{broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        broker("request_that_is_abandoned_while_it_waits_is_not_begun", abandoned_while_it_waits),
        broker("direct_mode_does_not_say_that_it_can_tell", direct_mode),
        broker("declined_request_waits_for_who_is_busy_with_its_deadline", declined_while_busy),
        broker("declined_request_that_nobody_is_left_for_ends", declined_by_the_last),
        node("callers_are_heard_again_after_a_restart_of_the_broker", after_a_restart),
    ]
}

async fn abandoned_while_it_waits(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let server = serve_gated(&amqp, "control.queued", &gate).await;
    let client = client(&amqp, "control.queued").await;
    let first = client.request("wait").start::<u32>(&1_u32).unwrap();
    until(|| server.stats().running == 1).await;
    let mut second = client.request("wait").start::<u32>(&2_u32).unwrap();
    second.handed_over().await;
    drop(second);
    let third = client.request("wait").start::<u32>(&3_u32).unwrap();
    // The word of this goes the same way as that of the second, after it.
    drop(first);
    until(|| server.stats().abandoned == 2).await;
    // Were the second begun, it would take the permit.
    gate.add_permits(1);
    assert_eq!(third.await.unwrap(), 3);
    amqp.close().await.unwrap();
}

async fn direct_mode(url: String) {
    let direct = Amqp::builder(&url).unwrap().reply_mode(ReplyMode::Direct).build().await.unwrap();
    assert!(!direct.capabilities().cancellation && direct.capabilities().declining);
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let server = serve_gated(&amqp, "control.direct", &gate).await;
    let client = client(&direct, "control.direct").await;
    let call = client.request("wait").start::<u32>(&1_u32).unwrap();
    until(|| server.stats().running == 1).await;
    drop(call);
    gate.add_permits(1);
    // The line is as it was: nothing was said on it that the broker would not bear.
    eventually_answered(&client).await;
    assert_eq!(server.stats().abandoned, 0);
    direct.close().await.unwrap();
    amqp.close().await.unwrap();
}

/// A server of one request at a time, that declines all, or answers with what is left of the time
/// once it may.
async fn choosy(amqp: &Amqp, service: &'static str, gate: Option<Arc<Semaphore>>) -> ServerHandle {
    let server = Server::bind(amqp, service).window(Window::new(1)).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("film", move |context: Context, _: u32| {
        let gate = gate.clone();
        async move {
            let Some(gate) = gate else { return Err(Fault::declined("no lens")) };
            gate.acquire().await.unwrap().forget();
            Ok(context.remaining().unwrap().as_secs())
        }
    });
    tokio::spawn(server.serve(router));
    handle
}

async fn declined_while_busy(url: String) {
    let (amqp, other) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let busy = choosy(&amqp, "control.busy", Some(gate.clone())).await;
    let client: Client<MessagePack> = client(&amqp, "control.busy").await;
    let start =
        || client.request("film").timeout(Duration::from_mins(2)).start::<u64>(&1_u32).unwrap();
    let first = start();
    until(|| busy.stats().running == 1).await;
    let declining = choosy(&other, "control.busy", None).await;
    let second = start();
    until(|| declining.stats().declined == 1).await;
    // It comes to that one again and again, and is not run there again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    gate.add_permits(2);
    assert!(first.await.unwrap() <= 120);
    let left = second.await.unwrap();
    assert!((30..=120).contains(&left), "{left} s are left of 120");
    assert_eq!(declining.stats().declined, 1);
    amqp.close().await.unwrap();
    other.close().await.unwrap();
}

async fn declined_by_the_last(url: String) {
    let (amqp, other) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let busy = choosy(&amqp, "control.last", Some(gate.clone())).await;
    let client = client(&other, "control.last").await;
    let first = client.request("film").start::<u64>(&1_u32).unwrap();
    until(|| busy.stats().running == 1).await;
    let declining = choosy(&other, "control.last", None).await;
    let second = client.request("film").start::<u64>(&2_u32).unwrap();
    until(|| declining.stats().declined == 1).await;
    // The request that it works on goes to the one that is left, which declines that as well.
    amqp.close().await.unwrap();
    for call in [first, second] {
        let error = timeout(PATIENCE, call).await.unwrap().unwrap_err();
        assert_eq!((error.is_declined(), &*error.fault().unwrap().message), (true, "no lens"));
    }
    other.close().await.unwrap();
}

async fn after_a_restart() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let server = serve_gated(&amqp, "control.restart", &Arc::new(Semaphore::new(0))).await;
    let client = client(&amqp, "control.restart").await;
    let _node = killed_and_restarted(node).await;
    eventually_answered(&client).await;
    // Its ear comes back beside it, and maybe a moment later: so what is not heard ends soon.
    let abandoning = async {
        while server.stats().abandoned == 0 {
            let request = client.request("wait").timeout(Duration::from_secs(5));
            let mut call = request.start::<u32>(&1_u32).unwrap();
            call.handed_over().await;
            drop(call);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(2 * PATIENCE, abandoning).await.expect("the server hears of it");
    amqp.close().await.unwrap();
}
