//! Calls whose server is gone.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{CallError, ErrorKind, Router, Server, Transport};
use polywire_zmq::Side;
use tokio::time::timeout;

use crate::support::context::{builder, connect_all, kind, setups, start};
use crate::support::wait::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_calls_of_a_lost_server_are_retried_and_others_fail_at_once() {
    for setup in setups() {
        let (served, client, _calling) = connect_all(&setup, 2, 128).await;
        served.iter().for_each(|server| server.server.hang(true));
        let calls: Vec<_> = (0..20).map(|number| start(&client, "id", number % 2 == 0)).collect();
        until("all calls are in handlers", || {
            served.iter().map(|server| server.server.hanging()).sum::<u64>() == 20
        })
        .await;
        let affected = served[0].server.hanging() as usize;
        assert!((1..20).contains(&affected), "{setup:?}: {affected} of 20 calls are at one server");
        // Calls that reach the other server from now on get a reply.
        served[1].server.hang(false);
        served[0].transport.close().await.unwrap();

        let (mut failed, mut answered, mut open) = (0, 0, Vec::new());
        for (number, call) in calls.into_iter().enumerate() {
            open.push((number, Box::pin(call)));
        }
        let ends = async {
            while failed + answered < affected {
                for at in (0..open.len()).rev() {
                    let (number, call) = &mut open[at];
                    if !call.is_finished() {
                        continue;
                    }
                    match (*number % 2, call.await) {
                        (0, outcome) => {
                            assert_eq!(outcome.unwrap(), 1, "{setup:?}");
                            answered += 1;
                        }
                        (_, outcome) => {
                            assert_eq!(kind(outcome), ErrorKind::Disconnected, "{setup:?}");
                            failed += 1;
                        }
                    }
                    drop(open.swap_remove(at));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Long before the deadline of the calls.
        timeout(PATIENCE, ends).await.expect("the calls of the lost server end");
        assert_eq!(open.len(), 20 - affected, "{setup:?}: the other calls are at the other server");
        assert!(open.iter().all(|(_, call)| !call.is_finished()), "{setup:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_call_waits_for_the_next_server() {
    for setup in setups() {
        let (mut served, client, calling) = connect_all(&setup, 1, 128).await;
        served[0].server.hang(true);
        let endpoint = match setup.1 {
            Side::Connect => served[0].transport.local_endpoints()[0].clone(),
            Side::Bind => calling.local_endpoints()[0].clone(),
        };
        let [call, dropped] = [(); 2].map(|()| start(&client, "id", true));
        until("both calls are in handlers", || served[0].server.hanging() == 2).await;
        served.remove(0).transport.close().await.unwrap();
        // An abandoned call is not sent again. Its task ends some time after its handle.
        drop(dropped);
        until("the call is abandoned", || client.stats().in_flight == 1).await;
        let next = async {
            loop {
                let next = match setup.1 {
                    Side::Connect => builder(&setup).bind(&endpoint),
                    Side::Bind => builder(&setup).connect(&endpoint),
                };
                let transport = next.build().unwrap();
                if let Ok(server) = Server::bind(&transport, "a").await {
                    break (transport, server);
                }
                tokio::task::yield_now().await;
            }
        };
        let (_next, server) = timeout(PATIENCE, next).await.expect("the endpoint is free again");
        let handle = server.handle();
        tokio::spawn(
            server.serve(Router::new(MessagePack).method("id", |(): ()| async move { Ok(7) })),
        );
        assert_eq!(
            timeout(PATIENCE, call).await.expect("the call has a reply").unwrap(),
            7,
            "{setup:?}"
        );
        // The server counts after it has sent the reply, which may reach the client first.
        until("the server counts its reply", || handle.stats().answered == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_lost_and_then_refused_counts_as_sent() {
    for setup in setups() {
        let (served, client, calling) = connect_all(&setup, 1, 128).await;
        let call = start(&client, "hang", true);
        until("the call is in a handler", || served[0].running() == 1).await;
        // The next server at the endpoint serves another service.
        let endpoint = match setup.1 {
            Side::Connect => served[0].transport.local_endpoints()[0].clone(),
            Side::Bind => calling.local_endpoints()[0].clone(),
        };
        served[0].transport.close().await.unwrap();
        let other = async {
            loop {
                let other = match setup.1 {
                    Side::Connect => builder(&setup).bind(&endpoint),
                    Side::Bind => builder(&setup).connect(&endpoint),
                };
                let transport = other.build().unwrap();
                if let Ok(server) = Server::bind(&transport, "b").await {
                    break (transport, server);
                }
                tokio::task::yield_now().await;
            }
        };
        let (_other, server) = timeout(PATIENCE, other).await.expect("the endpoint is free again");
        tokio::spawn(server.serve(Router::new(MessagePack)));
        match timeout(PATIENCE, call).await.expect("the call is refused") {
            Err(CallError::Failed(error)) => {
                assert_eq!(
                    (error.kind(), error.is_unsent()),
                    (ErrorKind::Unroutable, false),
                    "{setup:?}"
                );
            }
            other => panic!("the call ended with {other:?}"),
        }
    }
}
