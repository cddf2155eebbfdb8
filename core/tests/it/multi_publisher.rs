//! Events for several destinations.

use polywire_codec::MessagePack;
use polywire_core::pubsub::{Destination, MultiPublisher};
use polywire_core::{ErrorKind, Headers, Memory, Transport};

#[tokio::test]
async fn destination_that_fails_holds_up_no_other() {
    let max = MultiPublisher::<MessagePack>::CHANNELS_MAX;
    let destinations = (0..=max).map(|n| Destination::new(format!("channel-{n}"), "a").unwrap());
    let publisher = MultiPublisher::connect(&Memory::new(), [], MessagePack).await.unwrap();
    let published = publisher.publish_to(destinations, &1, Headers::new()).await.unwrap();
    let failed: Vec<_> = published.iter().filter(|published| published.result.is_err()).collect();
    assert_eq!((published.len(), failed.len()), (max + 1, 1));
    assert_eq!(failed[0].destination.channel.as_str(), format!("channel-{max}"));
    assert_eq!(failed[0].result.as_ref().unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn channel_that_cannot_be_opened_leaves_its_place() {
    let transport = Memory::new();
    let publisher = MultiPublisher::connect(&transport, [], MessagePack).await.unwrap();
    transport.close().await.unwrap();
    for n in 0..=MultiPublisher::<MessagePack>::CHANNELS_MAX {
        let one = [Destination::new(format!("channel-{n}"), "a").unwrap()];
        let published = publisher.publish_to(one, &1, Headers::new()).await.unwrap();
        let error = published[0].result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "channel {n}: {error}");
    }
}
