//! Filters, and subscribers that miss no event once they are open.

use polywire_codec::MessagePack;
use polywire_core::{Publisher, Subscriber};
use polywire_zmq::Side;

use crate::support::events::{next, publisher, subscriber};
use crate::support::jobs::{bound, builder, connected};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_subscriber_misses_nothing_once_it_is_open() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    for round in 0..1000 {
        let subscribing = connected(&[&publishing]);
        let mut events = subscriber(&subscribing, "a.#").await;
        publish.publish("a.b", &round).await.unwrap();
        assert_eq!(*next(&mut events).await.unwrap(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_publisher_reaches_its_subscriber_once_it_is_open() {
    let subscribing = bound();
    let mut events = subscriber(&subscribing, "a.#").await;
    for round in 0..1000 {
        let publishing = connected(&[&subscribing]);
        let publish = publisher(&publishing).await;
        publish.publish("a.b", &round).await.unwrap();
        assert_eq!(*next(&mut events).await.unwrap(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_filter_misses_nothing_whichever_side_binds() {
    let subscribing = bound();
    let mut events = subscriber(&subscribing, "nothing").await;
    let [first, second] = [(); 2].map(|()| connected(&[&subscribing]));
    let publish = [publisher(&first).await, publisher(&second).await];
    let [third, fourth] = [bound(), bound()];
    let others = [publisher(&third).await, publisher(&fourth).await];
    let connecting = connected(&[&third, &fourth]);
    let mut connected_events = subscriber(&connecting, "nothing").await;
    for round in 0..100 {
        let topic = format!("a.{round}");
        events.filters().add(topic.as_str()).await.unwrap();
        connected_events.filters().add(topic.as_str()).await.unwrap();
        for (publishers, events) in [(&publish, &mut events), (&others, &mut connected_events)] {
            for publish in publishers {
                publish.publish(topic.as_str(), &round).await.unwrap();
                let event = next(events).await.unwrap();
                assert_eq!((event.topic().as_str(), *event), (&*topic, round));
            }
        }
        events.filters().remove(topic.as_str()).await.unwrap();
        connected_events.filters().remove(topic.as_str()).await.unwrap();
    }
}

#[tokio::test]
async fn filters_select_and_channels_share_an_endpoint() {
    let subscribing = bound();
    let mut one = subscriber(&subscribing, "a.*").await;
    one.filters().add("a.#.z").await.unwrap();
    let mut other: Subscriber<u32> =
        Subscriber::bind(&subscribing, "weather2", MessagePack).await.unwrap();
    let publishing = connected(&[&subscribing]);
    let publish = publisher(&publishing).await;
    let publish2 = Publisher::connect(&publishing, "weather2", MessagePack).await.unwrap();
    for (topic, value) in [("a", 1), ("a.b", 2), ("a.b.c", 3), ("a.b.z", 4), ("b.z", 5), ("a.c", 6)]
    {
        publish.publish(topic, &value).await.unwrap();
        publish2.publish(topic, &(value + 100)).await.unwrap();
    }
    for expected in [2, 4, 6] {
        assert_eq!(*next(&mut one).await.unwrap(), expected);
    }
    for expected in 101..107 {
        assert_eq!(*next(&mut other).await.unwrap(), expected);
    }
    // Both filters have one prefix, which is unsubscribed with the last of them only.
    one.filters().remove("a.*").await.unwrap();
    publish.publish("a.b", &7).await.unwrap();
    publish.publish("a.z", &8).await.unwrap();
    assert_eq!(*next(&mut one).await.unwrap(), 8);
}

#[tokio::test]
async fn publishers_bind_by_default_and_server_side_swaps_the_sides() {
    let publishing = builder().endpoint("tcp://127.0.0.1:*").build().unwrap();
    let publish = publisher(&publishing).await;
    let subscribing = builder().endpoint(&publishing.local_endpoints()[0]).build().unwrap();
    let mut events = subscriber(&subscribing, "#").await;
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);

    let subscribing =
        builder().endpoint("tcp://127.0.0.1:*").server_side(Side::Connect).build().unwrap();
    let mut events = subscriber(&subscribing, "#").await;
    let publishing = builder()
        .endpoint(&subscribing.local_endpoints()[0])
        .server_side(Side::Connect)
        .build()
        .unwrap();
    publisher(&publishing).await.publish("a", &2).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 2);
}
