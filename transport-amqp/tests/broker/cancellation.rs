//! Cancellation: servers stop requests whose clients no longer wait.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_core::Transport;
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, killed_and_restarted, until};
use crate::endpoints::{client, eventually_answered, serve_gated};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker request_that_is_cancelled_while_it_waits_is_not_begun,
        broker direct_mode_has_no_cancellation,
        node cancels_arrive_again_after_a_restart_of_the_broker,
    ]
}

async fn request_that_is_cancelled_while_it_waits_is_not_begun(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let server = serve_gated(&amqp, "cancelled.queued", &gate).await;
    let client = client(&amqp, "cancelled.queued").await;
    let first = client.request("wait").start::<u32>(&1_u32).unwrap();
    until(|| server.stats().running == 1).await;
    let mut second = client.request("wait").start::<u32>(&2_u32).unwrap();
    second.sent().await;
    drop(second);
    let third = client.request("wait").start::<u32>(&3_u32).unwrap();
    // Its cancel arrives after that of the second call.
    drop(first);
    until(|| server.stats().cancelled == 2).await;
    // If the second request began, it would use up the permit.
    gate.add_permits(1);
    assert_eq!(third.await.unwrap(), 3);
    amqp.close().await.unwrap();
}

async fn direct_mode_has_no_cancellation(url: String) {
    let direct = Amqp::builder(&url).unwrap().reply_mode(ReplyMode::Direct).build().await.unwrap();
    assert!(!direct.capabilities().cancellation && direct.capabilities().declining);
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let server = serve_gated(&amqp, "cancelled.direct", &gate).await;
    let client = client(&direct, "cancelled.direct").await;
    let call = client.request("wait").start::<u32>(&1_u32).unwrap();
    until(|| server.stats().running == 1).await;
    drop(call);
    gate.add_permits(1);
    // No cancel was published that would have closed the channel.
    eventually_answered(&client).await;
    assert_eq!(server.stats().cancelled, 0);
    direct.close().await.unwrap();
    amqp.close().await.unwrap();
}

async fn cancels_arrive_again_after_a_restart_of_the_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let server = serve_gated(&amqp, "cancelled.restart", &Arc::new(Semaphore::new(0))).await;
    let client = client(&amqp, "cancelled.restart").await;
    let _node = killed_and_restarted(node).await;
    eventually_answered(&client).await;
    // The server consumes cancels again a moment after requests. A request whose cancel is lost
    // ends by its short deadline.
    let cancelling = async {
        while server.stats().cancelled == 0 {
            let request = client.request("wait").timeout(Duration::from_secs(5));
            let mut call = request.start::<u32>(&1_u32).unwrap();
            call.sent().await;
            drop(call);
            let cancelled = until(|| server.stats().cancelled > 0);
            let _ = timeout(Duration::from_millis(100), cancelled).await;
        }
    };
    timeout(2 * PATIENCE, cancelling).await.expect("a cancel arrives in the end");
    amqp.close().await.unwrap();
}
