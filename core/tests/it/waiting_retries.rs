//! The count of deliveries that wait for their retries, over the in-memory transport.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::pipeline::WaitingRetries;
use polywire_core::transport::DeadLetterSource;
use polywire_core::{
    Address, Code, ErrorKind, Fault, Group, Listener, Memory, Publisher, Puller, Pusher, Retries,
    Transport, Window,
};
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_are_counted_until_their_pauses_have_passed() {
    let memory = Memory::new();
    let binding = Puller::bind(&memory, "jobs", MessagePack).window(Window::new(3));
    let mut jobs: Puller<u32> = binding.await.unwrap();
    let pusher = Pusher::connect(&memory, "jobs", MessagePack).await.unwrap();
    let waiting = WaitingRetries::of_queue(&memory, "jobs").unwrap();
    for minutes in 1..=3_u32 {
        pusher.push(&minutes).await.unwrap();
        let job = jobs.next().await.unwrap().unwrap();
        job.retry_after(Duration::from_mins(minutes.into()), "busy").unwrap();
        assert_eq!(waiting.count().await.unwrap(), u64::from(minutes));
    }
    // No handle receives the first job meanwhile, which is ready all the same.
    advance(Duration::from_secs(61)).await;
    assert_eq!(waiting.count().await.unwrap(), 2);
    let peer = memory.peer();
    assert_eq!(WaitingRetries::of_queue(&peer, "jobs").unwrap().count().await.unwrap(), 2);
    assert_eq!(*jobs.next().await.unwrap().unwrap(), 1);
    assert_eq!(WaitingRetries::of_queue(&memory, "unused").unwrap().count().await.unwrap(), 0);
    memory.close().await.unwrap();
    assert_eq!(waiting.count().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_group_that_wait_are_counted_for_this_group() {
    let memory = Memory::new();
    let minute = Duration::from_mins(1);
    let listener = Listener::bind(&memory, "orders", MessagePack)
        .group(Group::new("billing").unwrap())
        .retries(Retries::new(2).immediate(0).backoff(minute, minute))
        .await
        .unwrap();
    let handle = listener.handle();
    tokio::spawn(
        listener.listen(async |_: u32| {
            Err::<(), _>(Fault::new(Code::Application, "the bank is closed"))
        }),
    );
    let orders = Publisher::connect(&memory, "orders", MessagePack).await.unwrap();
    orders.publish("7.placed", &7).await.unwrap();
    while handle.stats().retried == 0 {
        tokio::task::yield_now().await;
    }
    let count = async |group: &str| {
        let (channel, group) = (Address::new("orders").unwrap(), Address::new(group).unwrap());
        let source = DeadLetterSource::Group { channel, group };
        WaitingRetries::of(&memory, source).count().await.unwrap()
    };
    assert_eq!((count("billing").await, count("shipping").await), (1, 0));
    while handle.stats().dead_lettered == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(count("billing").await, 0);
}
