//! Connections that the program makes: handed in, or made by its function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lapin::{Connection, ConnectionProperties};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::health::ConnectionState;
use polywire_core::{Code, ErrorKind, Fault, Router, Server, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, both_restored, until};
use crate::endpoints::{
    acked_job, builder, client, eventually_answered, next_event, next_job, publisher, puller, push,
    serve, subscriber,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker handed_in_connection_carries_every_pattern_and_stays_open,
        broker end_of_a_handed_in_connection_ends_the_transport,
        node function_of_the_program_makes_each_connection,
        broker failures_of_the_function_fail_the_attempt,
    ]
}

async fn connection(url: &str) -> Arc<Connection> {
    Arc::new(Connection::connect(url, ConnectionProperties::default()).await.unwrap())
}

async fn handed_in_connection_carries_every_pattern_and_stays_open(url: String) {
    let connection = connection(&url).await;
    let amqp = Amqp::from_connection(connection.clone()).build().await.unwrap();
    let _server = serve(&amqp, "handed.in").await;
    let client = client(&amqp, "handed.in").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    push(&amqp, "handed.in", [1]).await;
    let mut jobs = puller(&amqp, "handed.in", 1).await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(64), "once").unwrap();
    assert_eq!(acked_job(&mut jobs).await, 1);
    let mut subscriber = subscriber(&amqp, "handed.in", &["#"]).await;
    publisher(&amqp, "handed.in").await.publish("topic", &3).await.unwrap();
    assert_eq!(*next_event(&mut subscriber).await, 3);
    assert!(matches!(amqp.health().current().connection, ConnectionState::Connected));

    amqp.close().await.unwrap();
    assert!(connection.status().connected(), "closing the transport has closed the connection");
    connection.create_channel().await.unwrap();
    // Its consumers are gone: another transport gets the jobs.
    let other = Amqp::from_connection(connection).build().await.unwrap();
    push(&other, "handed.in", [2]).await;
    assert_eq!(acked_job(&mut puller(&other, "handed.in", 1).await).await, 2);
}

async fn end_of_a_handed_in_connection_ends_the_transport(url: String) {
    let connection = connection(&url).await;
    let amqp = Amqp::from_connection(connection.clone()).build().await.unwrap();
    let server = Server::bind(&amqp, "ended").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("hang", |(): ()| async {
        std::future::pending::<()>().await;
        Err::<(), _>(Fault::new(Code::Internal, "never"))
    });
    let serving = tokio::spawn(server.serve(router));
    let client = client(&amqp, "ended").await;
    // The server waits for its handler, until this deadline.
    let mut hanging =
        client.request("hang").timeout(Duration::from_secs(15)).start::<()>(&()).unwrap();
    // A request that the broker has not confirmed fails with `Disconnected`.
    hanging.sent().await;
    until(|| handle.stats().running == 1).await;

    connection.close(200, "the program ends it".into()).await.unwrap();
    let lost = timeout(PATIENCE, hanging).await.unwrap().unwrap_err();
    assert_eq!(lost.kind(), Some(ErrorKind::RepliesLost), "{lost:?}");
    let error = timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    assert!(error.to_string().contains("handed in has ended"), "{error}");
    until(|| matches!(amqp.health().current().connection, ConnectionState::Refused { .. })).await;
    assert!(!amqp.health().current().is_ready());
    let error = timeout(PATIENCE, client.call::<()>("hang", &())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Closed), "{error:?}");

    let error = Amqp::from_connection(connection).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

async fn function_of_the_program_makes_each_connection() {
    let node = Node::start().unwrap();
    let made = Arc::new(AtomicU32::new(0));
    let (url, count) = (node.url(), made.clone());
    let amqp = builder(&url)
        .connections_from({
            let url = url.clone();
            move || {
                count.fetch_add(1, Ordering::SeqCst);
                let url = url.clone();
                async move { Connection::connect(&url, ConnectionProperties::default()).await }
            }
        })
        .build()
        .await
        .unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2, "one connection to publish, one to consume");
    let mut events = amqp.events();
    let _server = serve(&amqp, "made").await;
    let client = client(&amqp, "made").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    node.ctl(&["close_all_connections", "maintenance"]).unwrap();
    both_restored(&mut events).await;
    eventually_answered(&client).await;
    assert_eq!(made.load(Ordering::SeqCst), 4);
    amqp.close().await.unwrap();
}

async fn failures_of_the_function_fail_the_attempt(url: String) {
    let fails = || async { Err::<Connection, _>("the tunnel is down") };
    let error = builder(&url).connections_from(fails).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("the tunnel is down"), "{error}");

    let panics = || async { panic!("on purpose") };
    let panics = builder(&url).connections_from::<_, _, lapin::Error>(panics);
    let error = panics.build().await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");

    let hangs = || std::future::pending::<Result<Connection, lapin::Error>>();
    let hangs = builder(&url).connections_from(hangs).connect_timeout(Duration::from_millis(50));
    let error = timeout(PATIENCE, hangs.build()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("connect timeout of 50ms"), "{error}");

    let refused = url.replace("guest:guest", "guest:wrong");
    let refused = move || {
        let url = refused.clone();
        async move { Connection::connect(&url, ConnectionProperties::default()).await }
    };
    let error = builder(&url).connections_from(refused).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}
