//! Direct replies, which arrive without a reply queue.

use std::sync::Arc;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_core::ErrorKind;
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, restored, through_proxy, until};
use crate::endpoints::{client, eventually_answered, serve, serve_gated};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node direct_replies_need_no_queue,
        broker direct_calls_fail_at_once_on_a_cut_and_later_ones_succeed,
        broker unroutable_direct_calls_fail_at_once,
    ]
}

async fn direct_replies_need_no_queue() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&format!("{}?reply_mode=direct", node.url())).await.unwrap();
    let _server = serve(&amqp, "direct").await;
    let client = client(&amqp, "direct").await;
    for n in 0..100 {
        assert_eq!(client.call::<u32>("double", &n).await.unwrap(), 2 * n);
    }
    let queues = node.ctl(&["list_queues", "name"]).unwrap();
    assert!(queues.contains("polywire.direct") && !queues.contains("polywire.reply"), "{queues}");
}

async fn direct_calls_fail_at_once_on_a_cut_and_later_ones_succeed(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let calling = builder.reply_mode(ReplyMode::Direct).build().await.unwrap();
    let serving = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let server = serve_gated(&serving, "cut.off", &gate).await;
    let client = client(&calling, "cut.off").await;
    let mut events = calling.events();
    let mut pending = client.request("wait").timeout(PATIENCE * 2).start::<u32>(&1).unwrap();
    pending.sent().await;
    until(|| server.stats().running == 1).await;
    proxy.sever();
    let error = timeout(PATIENCE, pending).await.expect("before its deadline").unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::RepliesLost), "{error:?}");
    restored(&mut events).await;
    // The late reply is unroutable, which must not affect later calls.
    gate.add_permits(1);
    eventually_answered(&client).await;
}

async fn unroutable_direct_calls_fail_at_once(url: String) {
    let amqp = Amqp::builder(&url).unwrap().reply_mode(ReplyMode::Direct).build().await.unwrap();
    let outcome = client(&amqp, "unserved.direct").await.call::<u32>("double", &1).await;
    assert_eq!(outcome.unwrap_err().kind(), Some(ErrorKind::Unroutable));
}
