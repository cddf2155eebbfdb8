//! Outages: a broker that is lost, and credentials that the broker refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvent, ConnectionRole, Credentials};
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, ErrorKind, Listener, Puller, Router, Server, Worker};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, both_restored};
use crate::endpoints::{client, serve, serve_gated};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node lost_broker_is_replaced_by_the_next_one,
        node changed_password_is_asked_for_again,
        node provider_of_credentials_that_panics_fails_an_attempt,
        node refused_user_is_not_retried_without_end,
        node refused_user_ends_serving_with_the_refusal,
        node server_that_cannot_reply_ends_with_the_refusal,
        node worker_without_rights_to_its_queue_ends_with_the_refusal,
        node calls_fail_at_once_when_their_replies_are_refused,
        node calls_fail_when_their_reply_queue_is_refused,
    ]
}

async fn lost_broker_is_replaced_by_the_next_one() {
    let (mut first, second) = (Node::start().unwrap(), Node::start().unwrap());
    let url = format!("amqp://guest:guest@127.0.0.1:{},127.0.0.1:{}", first.port(), second.port());
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "moving").await;
    let client = client(&amqp, "moving").await;
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
    assert!(
        second.ctl(&["list_connections"]).unwrap().trim().is_empty(),
        "the second broker is used already"
    );
    let first_port = first.port();
    first.kill().unwrap();
    let mut restored = Vec::new();
    while restored.len() < 2 {
        let ConnectionEvent { role, change, .. } = events.next().await.unwrap();
        match change {
            ConnectionChange::Lost(error) => assert_eq!(error.kind(), ErrorKind::Disconnected),
            ConnectionChange::Restored { port, .. } => {
                assert_eq!(port, second.port());
                restored.push(role);
            }
            ConnectionChange::Connected { port, .. } => assert_eq!(port, first_port),
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(restored[0], restored[1]);
    // The server declares the queue at the second broker when it consumes there.
    let answer = async {
        loop {
            match client.call::<u32>("double", &2).await {
                Ok(four) => return four,
                Err(error) => {
                    let expected =
                        [ErrorKind::Unroutable, ErrorKind::Disconnected, ErrorKind::RepliesLost]
                            .map(Some);
                    assert!(expected.contains(&error.kind()), "{error:?}");
                }
            }
        }
    };
    assert_eq!(answer.await, 4);
}

async fn changed_password_is_asked_for_again() {
    let node = Node::start().unwrap();
    let password = Arc::new(std::sync::Mutex::new("guest"));
    let shared = password.clone();
    let url = format!("amqp://nobody:nothing@127.0.0.1:{}", node.port());
    let builder = Amqp::builder(&url).unwrap().credentials(move || {
        let password = *shared.lock().unwrap();
        async move { Ok(Credentials::new("guest", password)) }
    });
    let amqp = builder.build().await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "rotated").await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    *password.lock().unwrap() = "changed";
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    both_restored(&mut events).await;
    assert_eq!(client(&amqp, "rotated").await.call::<u32>("double", &2).await.unwrap(), 4);
}

/// A payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

async fn provider_of_credentials_that_panics_fails_an_attempt() {
    let node = Node::start().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let builder = Amqp::builder(&node.url()).unwrap().credentials(move || {
        // Both connections ask once before they are lost.
        let number = counter.fetch_add(1, Ordering::SeqCst);
        assert!(number != 2, "no credentials");
        async move {
            if number == 3 {
                std::panic::panic_any(Bomb);
            }
            Ok(Credentials::new("guest", "guest"))
        }
    });
    let amqp = builder.build().await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "panicking").await;
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    timeout(PATIENCE, both_restored(&mut events)).await.expect("the transport reconnects");
    assert!(asked.load(Ordering::SeqCst) >= 6);
    assert_eq!(client(&amqp, "panicking").await.call::<u32>("double", &2).await.unwrap(), 4);
}

async fn refused_user_is_not_retried_without_end() {
    let node = Node::start().unwrap();
    let builder = Amqp::builder(&node.url()).unwrap().give_up_after(Duration::from_secs(1));
    let amqp = builder.build().await.unwrap();
    let mut events = amqp.events();
    let client = client(&amqp, "unserved").await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let mut refused = 0;
    while refused < 2 {
        if let ConnectionChange::Refused(error) = events.next().await.unwrap().change {
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert_eq!(error.detail("port"), Some(node.port().to_string().as_str()));
            refused += 1;
        }
    }
    let outcome = client.call::<u32>("double", &2).await;
    assert_eq!(outcome.unwrap_err().kind(), Some(ErrorKind::Denied));
    let error = Server::bind(&amqp, "late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

/// A server, a worker, a listener and a puller of a user whose password was changed.
async fn refused_user_ends_serving_with_the_refusal() {
    let node = Node::start().unwrap();
    let builder = Amqp::builder(&node.url()).unwrap().give_up_after(Duration::from_millis(100));
    let amqp = builder.build().await.unwrap();
    let server = Server::bind(&amqp, "refused.service").await.unwrap();
    let worker = Worker::bind(&amqp, "refused.jobs", MessagePack).await.unwrap();
    let listener = Listener::bind(&amqp, "refused.events", MessagePack).await.unwrap();
    let mut puller: Puller<u32> = Puller::bind(&amqp, "refused.jobs", MessagePack).await.unwrap();
    let serving = [
        tokio::spawn(server.serve(Router::new(MessagePack))),
        tokio::spawn(worker.work(async |_: u32| Ok(()))),
        tokio::spawn(listener.listen(async |_: u32| Ok(()))),
    ];
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    for serving in serving {
        let ended = timeout(PATIENCE, serving).await.expect("serving ends").unwrap();
        let error = ended.expect_err("serving ends with the refusal");
        assert_eq!((error.kind(), error.is_fatal()), (ErrorKind::Denied, true), "{error:?}");
    }
    let last = timeout(PATIENCE, puller.next()).await.unwrap().unwrap();
    assert!(last.is_err_and(|error| error.is_fatal()));
    assert!(timeout(PATIENCE, puller.next()).await.unwrap().is_none());
}

/// The broker refuses the publishing connection for good, and the consuming connection stays.
async fn server_that_cannot_reply_ends_with_the_refusal() {
    let node = Node::start().unwrap();
    let builder = Amqp::builder(&node.url()).unwrap().give_up_after(Duration::from_millis(100));
    let amqp = builder.build().await.unwrap();
    let server = Server::bind(&amqp, "mute").await.unwrap();
    let serving = tokio::spawn(server.serve(Router::new(MessagePack)));
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    let consuming = consuming_connection(&node, "polywire.mute");
    let all = node.ctl(&["list_connections", "pid"]).unwrap();
    for process in all.lines().filter(|line| line.starts_with('<') && *line != consuming) {
        node.ctl(&["close_connection", process, "rotation"]).unwrap();
    }
    let ended = timeout(PATIENCE, serving).await.expect("serving ends").unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Denied);
}

/// A user who loses the right to consume, and then the connection.
async fn worker_without_rights_to_its_queue_ends_with_the_refusal() {
    let node = Node::start().unwrap();
    let builder = Amqp::builder(&node.url()).unwrap().give_up_after(Duration::from_millis(100));
    let amqp = builder.build().await.unwrap();
    let worker = Worker::bind(&amqp, "withdrawn", MessagePack).await.unwrap();
    let working = tokio::spawn(worker.work(async |_: u32| Ok(())));
    node.ctl(&["set_permissions", "guest", ".*", ".*", "none"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let ended = timeout(PATIENCE, working).await.expect("the worker ends").unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Denied);
}

/// The broker refuses the consuming connection for good, and the publishing connection stays.
async fn calls_fail_at_once_when_their_replies_are_refused() {
    let node = Node::start().unwrap();
    let builder = Amqp::builder(&node.url()).unwrap().give_up_after(Duration::from_millis(100));
    let amqp = builder.build().await.unwrap();
    let mut events = amqp.events();
    let gate = Arc::new(Semaphore::new(0));
    let servers = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve_gated(&servers, "refused.replies", &gate).await;
    let client = client(&amqp, "refused.replies").await;
    // Its deadline comes after the commands, which are slow on a busy machine.
    let call = client.request("wait").timeout(Duration::from_hours(1));
    let mut begun = call.start::<u32>(&1).unwrap();
    begun.sent().await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    let process = reply_connection(&node);
    node.ctl(&["close_connection", &process, "rotation"]).unwrap();
    let refusal = loop {
        let ConnectionEvent { role, change, .. } = events.next().await.unwrap();
        assert!(
            role == ConnectionRole::Consuming
                || matches!(change, ConnectionChange::Connected { .. }),
            "{change:?}"
        );
        if let ConnectionChange::Refused(error) = change {
            break error;
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::Denied);
    let ended = timeout(PATIENCE, begun).await.expect("the call ends").unwrap_err();
    assert_eq!(ended.kind(), Some(ErrorKind::RepliesLost), "{ended:?}");
    let outcome = client.request("double").timeout(PATIENCE).call::<u32>(&2).await;
    let Err(CallError::Failed(error)) = outcome else { panic!("the call ended with {outcome:?}") };
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Denied, true), "{error:?}");
    let error = Client::connect(&amqp, "late", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

/// A client that loses the right to read its reply queue, and then the connection.
async fn calls_fail_when_their_reply_queue_is_refused() {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    node.ctl(&["set_permissions", "alice", ".*", ".*", ".*"]).unwrap();
    let url = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    let builder = Amqp::builder(&url).unwrap().give_up_after(Duration::from_millis(100));
    let amqp = builder.build().await.unwrap();
    let servers = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve_gated(&servers, "unread", &Arc::new(Semaphore::new(0))).await;
    let client = client(&amqp, "unread").await;
    let call = client.request("wait").timeout(Duration::from_hours(1));
    let mut begun = call.start::<u32>(&1).unwrap();
    begun.sent().await;
    node.ctl(&["set_permissions", "alice", ".*", ".*", "none"]).unwrap();
    node.ctl(&["close_connection", &reply_connection(&node), "rotation"]).unwrap();
    let ended = timeout(PATIENCE, begun).await.expect("the call ends").unwrap_err();
    assert_eq!(ended.kind(), Some(ErrorKind::RepliesLost), "{ended:?}");
    let outcome = client.request("double").timeout(PATIENCE).call::<u32>(&2).await;
    let Err(CallError::Failed(error)) = outcome else { panic!("the call ended with {outcome:?}") };
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Denied, true), "{error:?}");
}

/// Returns the pid of the connection that consumes a reply queue.
fn reply_connection(node: &Node) -> String {
    consuming_connection(node, "polywire.reply.")
}

/// Returns the pid of the connection that consumes the queue whose name begins so.
fn consuming_connection(node: &Node, queue: &str) -> String {
    let channels = node.ctl(&["list_consumers", "queue_name", "channel_pid"]).unwrap();
    let channel = channels.lines().find(|line| line.starts_with(queue)).unwrap().split('\t').nth(1);
    let all = node.ctl(&["list_channels", "pid", "connection"]).unwrap();
    let line = all.lines().find(|line| line.split('\t').next() == channel).unwrap();
    line.split('\t').nth(1).unwrap().to_owned()
}
