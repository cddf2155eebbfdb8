//! Tests of the module `testing`.

#![cfg(feature = "testing")]

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use polywire_codec::MessagePack;
use polywire_core::testing::{self, FlakyTransport, Mock};
use polywire_core::{CallError, Client, Error, ErrorKind, Memory, Puller, Pusher};

/// Calls `method`, and returns the message of the panic.
async fn panic_of(client: &Client<MessagePack, Mock<MessagePack>>, method: &'static str) -> String {
    let call = AssertUnwindSafe(client.call::<i64>(method, &())).catch_unwind();
    *call.await.unwrap_err().downcast::<String>().unwrap()
}

#[tokio::test]
async fn unexpected_call_of_a_mock_panics_with_the_expected_methods() {
    let client = Client::new(Mock::new(MessagePack).answer("add", 5), MessagePack);
    let message = panic_of(&client, "divide").await;
    assert_eq!(message, r#"unexpected call of "divide": the mock has replies for ["add"]"#);
    client.call::<i64>("add", &()).await.unwrap();
    let message = panic_of(&client, "add").await;
    assert!(message.contains("has used all its replies"), "{message}");
}

#[tokio::test]
#[should_panic(expected = "unused replies for [\"add\"]")]
async fn mock_with_unused_replies_fails_its_test() {
    Mock::new(MessagePack).answer("add", 5).assert_used_up();
}

#[tokio::test(start_paused = true)]
async fn served_mock_replies_fails_and_hangs_as_scripted() {
    let mock = Mock::new(MessagePack)
        .answer("add", 5)
        .error("add", Error::new(ErrorKind::Disconnected, "lost"))
        .hang("add");
    let client = testing::client(mock.clone(), MessagePack).await.unwrap();
    assert_eq!(client.request("add").header("tenant", "a").call::<i64>(&(2, 3)).await.unwrap(), 5);
    assert!(client.call::<i64>("add", &(2, 3)).await.unwrap_err().fault().is_some());
    let outcome = client.call::<i64>("add", &(2, 3)).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    assert_eq!(mock.calls()[0].headers.get("tenant"), Some("a"));
    assert_eq!(mock.methods().len(), 3);
    mock.assert_used_up();
    // A panic of the mock is a fault, since it is served.
    assert_eq!(client.call::<i64>("add", &()).await.unwrap_err().fault().unwrap().kind, "Panic");
}

#[tokio::test(start_paused = true)]
async fn sends_fail_are_lost_and_are_delayed_as_scripted() {
    let memory = Memory::new();
    let flaky = FlakyTransport::over(memory.peer());
    let mut jobs: Puller<i64> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    let pusher = Pusher::connect(&flaky, "jobs", MessagePack).await.unwrap();
    flaky.fail_next(1);
    flaky.lose_next(1);
    flaky.delay_next(1, Duration::from_secs(3));

    let error = pusher.push(&1).await.unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Disconnected, true));
    pusher.push(&2).await.unwrap();
    let start = tokio::time::Instant::now();
    pusher.push(&3).await.unwrap();
    assert_eq!((start.elapsed().as_secs(), flaky.left()), (3, 0));
    pusher.push(&4).await.unwrap();
    for expected in [3, 4] {
        let job = jobs.next().await.unwrap().unwrap();
        assert_eq!(*job, expected);
        job.ack();
    }
}
