//! Stops, closes, losses and the health of a queue of deliveries.

use std::sync::{Arc, Mutex};

use super::*;
use crate::health::{ConnectionState, EndpointHealth, EndpointRole, HealthReporter};
use crate::message::{Address, Message};
use crate::transport::{Outcome, Receipt, Receiver, Settle};

/// The frames that a backend would write, in their order.
#[derive(Default)]
struct Frames(Mutex<Vec<String>>);

impl Frames {
    fn push(&self, frame: String) {
        self.0.lock().unwrap().push(frame);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Settle for Frames {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.push(format!("{outcome:?} {tag}"));
    }
}

fn open(monitor: &LinkMonitor) -> (Arc<Frames>, DeliveryFeed, DeliveryQueue) {
    let frames = Arc::<Frames>::default();
    let written = frames.clone();
    let (feed, queue) = DeliveryQueue::new(monitor, move || written.push("Stop".to_owned()));
    (frames, feed, queue)
}

fn delivery(frames: &Arc<Frames>, tag: u64) -> Result<Delivery> {
    Ok(Delivery::new(Message::default(), Receipt::new(frames.clone(), tag)))
}

#[tokio::test]
async fn consumer_is_stopped_before_its_deliveries_are_requeued() {
    for drops in [false, true] {
        let (frames, feed, queue) = open(&LinkMonitor::new());
        let mut receiver = Receiver::new(queue);
        (1..4).for_each(|tag| feed.push(delivery(&frames, tag)));
        receiver.next().await.unwrap().unwrap().receipt.ack();
        if drops {
            drop(receiver);
        } else {
            receiver.stop();
            assert!(receiver.next().await.is_none());
            receiver.stop();
        }
        assert_eq!(frames.take(), ["Ack 1", "Stop", "Requeue 2", "Requeue 3"]);
        feed.push(delivery(&frames, 4));
        assert_eq!(frames.take(), ["Requeue 4"]);
    }
}

#[tokio::test]
async fn lost_connection_drops_what_its_source_delivers_again() {
    let (frames, feed, queue) = open(&LinkMonitor::new());
    let mut receiver = Receiver::new(queue);
    feed.push(delivery(&frames, 1));
    feed.push(Ok(Delivery::settled(Message::new("reply"))));
    feed.lost();
    assert_eq!(frames.take(), ["Requeue 1"]);
    feed.push(delivery(&frames, 2));
    assert_eq!(receiver.next().await.unwrap().unwrap().message.body.len(), 5);
    receiver.next().await.unwrap().unwrap().receipt.ack();
    assert_eq!(frames.take(), ["Ack 2"]);
}

#[tokio::test]
async fn end_of_the_reading_task_is_a_fatal_error() {
    let (_frames, feed, queue) = open(&LinkMonitor::new());
    let mut receiver = Receiver::new(queue);
    let other = feed.clone();
    drop(feed);
    let waiting = tokio::spawn(async move {
        let error = receiver.next().await.unwrap().unwrap_err();
        (error.is_fatal() && error.kind() == ErrorKind::Closed, receiver.next().await.is_none())
    });
    tokio::task::yield_now().await;
    drop(other);
    assert_eq!(waiting.await.unwrap(), (true, true));
}

#[tokio::test]
async fn close_ends_the_stream_although_deliveries_wait() {
    let monitor = LinkMonitor::new();
    let (frames, feed, queue) = open(&monitor);
    let mut receiver = Receiver::new(queue);
    feed.push(delivery(&frames, 1));
    monitor.close();
    assert!(receiver.next().await.is_none());
    drop(receiver);
    assert_eq!(frames.take(), ["Stop", "Requeue 1"]);
}

#[tokio::test]
async fn close_wakes_a_reader_that_waits() {
    let monitor = LinkMonitor::new();
    let (_frames, _feed, queue) = open(&monitor);
    let mut receiver = Receiver::new(queue);
    let waiting = tokio::spawn(async move { receiver.next().await.is_none() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    monitor.close();
    // The tasks of the connection are awaited, and not the readers of its deliveries.
    monitor.unwatched().await;
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn health_counts_deliveries_and_learns_of_the_stop() {
    let health = HealthReporter::new(ConnectionState::Connected);
    let name: Address = "calculator".parse().unwrap();
    let reporter = health.endpoint(EndpointRole::Responder, &name, None);
    reporter.set_consuming(true);
    let (frames, feed, queue) = open(&LinkMonitor::new());
    let mut receiver = Receiver::new(queue.with_health(reporter));
    feed.push(delivery(&frames, 1));
    drop(receiver.next().await);
    assert!(receiver.health().is_some());
    let bound = health.reader().current().endpoints;
    assert_eq!(bound.iter().map(EndpointHealth::received).sum::<u64>(), 1);
    receiver.stop();
    assert_eq!(health.reader().current().bound(), 0);
}
