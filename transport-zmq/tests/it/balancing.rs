//! The choice of a server for a call.

use crate::support::context::{TestServer, connect_all, id, setups, start};
use crate::support::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn call_goes_to_the_server_with_the_fewest_calls() {
    for setup in setups() {
        let (served, client, _calling) = connect_all(&setup, 3, 128).await;
        // First one server is busy, then two.
        for busy in 1..3_u64 {
            let mut held = Vec::new();
            for _ in 0..busy {
                let mut call = start(&client, "hang", false);
                // The next call sees this one only once it is sent.
                call.handed_over().await;
                held.push(call);
            }
            until("the calls are in handlers", || {
                served.iter().map(TestServer::running).sum::<u64>() == busy
            })
            .await;
            let is_idle: Vec<_> = served.iter().map(|server| server.running() == 0).collect();
            assert_eq!(
                is_idle.iter().filter(|idle| **idle).count() as u64,
                3 - busy,
                "{setup:?}: each busy server has one call"
            );
            for _ in 0..20 {
                let number = id(&client).await;
                assert!(is_idle[number as usize], "{setup:?}: {number} is busy: {is_idle:?}");
            }
            drop(held);
            until("the calls are cancelled", || served.iter().all(|server| server.running() == 0))
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_equally_many_calls_take_turns() {
    for setup in setups() {
        let (_served, client, _calling) = connect_all(&setup, 3, 128).await;
        let mut counts = [0; 3];
        for _ in 0..60 {
            counts[id(&client).await as usize] += 1;
        }
        assert_eq!(counts, [20; 3], "{setup:?}");
    }
}
