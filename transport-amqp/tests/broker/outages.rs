//! Connections that are lost or refused, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, Change, ConnectionEvent, Credentials};
use polywire_core::{ErrorKind, Server};
use polywire_rabbitmq_node::Node;

use crate::node;
use crate::stage::{client, serve};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        node("lost_broker_is_replaced_by_the_next_one", lost_broker_is_replaced_by_the_next_one),
        node("changed_password_is_asked_for_again", changed_password_is_asked_for_again),
        node("refused_user_is_not_retried_for_ever", refused_user_is_not_retried_for_ever),
    ]
}

async fn lost_broker_is_replaced_by_the_next_one() {
    let (mut first, second) = (Node::start().unwrap(), Node::start().unwrap());
    let url = format!("amqp://guest:guest@127.0.0.1:{},127.0.0.1:{}", first.port(), second.port());
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "moving").await;
    let client = client(&amqp, "moving").await;
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap(), 2);
    assert!(
        second.ctl(&["list_connections"]).unwrap().trim().is_empty(),
        "the second broker is used already"
    );
    first.kill().unwrap();
    let mut restored = Vec::new();
    while restored.len() < 2 {
        let ConnectionEvent { purpose, change, .. } = events.next().await.unwrap();
        match change {
            Change::Lost(error) => assert_eq!(error.kind(), ErrorKind::Disconnected),
            Change::Restored { port, .. } => {
                assert_eq!(port, second.port());
                restored.push(purpose);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(restored[0], restored[1]);
    // The queue of the service is made at the second broker as soon as its consumer is there.
    let answer = async {
        loop {
            match client.call::<_, u32>("double", &2).await {
                Ok(four) => return four,
                Err(error) => {
                    let expected =
                        [ErrorKind::Unroutable, ErrorKind::Disconnected, ErrorKind::RepliesLost].map(Some);
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
    let amqp = builder.connect().await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "rotated").await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    *password.lock().unwrap() = "changed";
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let mut restored = 0;
    while restored < 2 {
        restored += u32::from(matches!(events.next().await.unwrap().change, Change::Restored { .. }));
    }
    assert_eq!(client(&amqp, "rotated").await.call::<_, u32>("double", &2).await.unwrap(), 4);
}

async fn refused_user_is_not_retried_for_ever() {
    let node = Node::start().unwrap();
    let builder = Amqp::builder(&node.url()).unwrap().give_up_after(Duration::from_secs(1));
    let amqp = builder.connect().await.unwrap();
    let mut events = amqp.events();
    let client = client(&amqp, "nobody").await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let mut refused = 0;
    while refused < 2 {
        if let Change::Refused(error) = events.next().await.unwrap().change {
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert_eq!(error.detail("port"), Some(node.port().to_string().as_str()));
            refused += 1;
        }
    }
    let outcome = client.call::<_, u32>("double", &2).await;
    assert_eq!(outcome.unwrap_err().kind(), Some(ErrorKind::Denied));
    let error = Server::bind(&amqp, "late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}
