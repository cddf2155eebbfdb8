//! Handles whose runtime has ended.

use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_core::ErrorKind;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{client, publisher, pusher, serve};

pub(crate) fn trials() -> Vec<Trial> {
    trials![broker calls_after_the_end_of_their_runtime_fail_as_closed]
}

async fn calls_after_the_end_of_their_runtime_fail_as_closed(url: String) {
    let serving = Amqp::connect(&url).await.unwrap();
    let _server = serve(&serving, "orphans").await;
    let first = Runtime::new().unwrap();
    let connecting = first.spawn(async move {
        let amqp = Amqp::connect(&url).await.unwrap();
        let client = client(&amqp, "orphans").await;
        assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
        (client, pusher(&amqp, "orphans").await, publisher(&amqp, "orphans").await)
    });
    let (client, pusher, publisher) = connecting.await.unwrap();
    // A runtime must not be dropped where it would block another one.
    tokio::task::spawn_blocking(move || drop(first)).await.unwrap();
    let calling = timeout(PATIENCE, client.call::<u32>("double", &2)).await.unwrap();
    assert_eq!(calling.unwrap_err().kind(), Some(ErrorKind::Closed));
    let pushed = timeout(PATIENCE, pusher.push(&1_u32)).await.unwrap();
    assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Closed);
    let published = timeout(PATIENCE, publisher.publish("a", &1_u32)).await.unwrap();
    assert_eq!(published.unwrap_err().kind(), ErrorKind::Closed);
}
