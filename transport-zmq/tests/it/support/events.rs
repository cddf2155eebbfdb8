//! Publishers and subscribers of numbers.

use polywire_codec::MessagePack;
use polywire_core::{Error, Event, Publisher, Subscriber};
use polywire_zmq::Zmq;
use tokio::time::timeout;

use super::wait::PATIENCE;

/// Opens a publisher of the channel `weather`.
pub(crate) async fn publisher(zmq: &Zmq) -> Publisher<MessagePack> {
    Publisher::connect(zmq, "weather", MessagePack).timeout(PATIENCE).await.unwrap()
}

/// Opens a subscriber of the channel `weather`.
pub(crate) async fn subscriber(zmq: &Zmq, filter: &str) -> Subscriber<u32> {
    Subscriber::bind(zmq, "weather", MessagePack).filter(filter).await.unwrap()
}

/// Waits for the next event.
pub(crate) async fn next(events: &mut Subscriber<u32>) -> Result<Event<u32>, Error> {
    timeout(PATIENCE, events.next())
        .await
        .expect("an event arrives")
        .expect("the stream has not ended")
}
