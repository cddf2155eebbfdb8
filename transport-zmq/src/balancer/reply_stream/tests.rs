//! Tests of replies that are read after their call has left its peer, with peers that only record.

use std::future::{pending, ready};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use polywire_core::{Address, Deadline, Fault, Limits, Message};

use super::*;
use crate::balancer::in_flight_call::InFlightCall;
use crate::config::ZmqBuilder;
use crate::endpoint::EndpointChange;
use crate::engine::{Dealer, SocketControl};
use crate::lock::lock;
use crate::wire::MessageRole;

/// The call of each test.
const ID: CallId = CallId(1);

/// A socket that records what is sent, and receives nothing.
#[derive(Default)]
struct RecordingDealer(Mutex<Vec<Frames>>);

impl RecordingDealer {
    /// Returns the number of requests so far. A balancer sends other messages as well.
    fn requests(&self) -> usize {
        let is_request =
            |frames: &&Frames| wire::peek(frames).is_some_and(|peek| peek.kind == Kind::Request);
        lock(&self.0).iter().filter(is_request).count()
    }
}

#[async_trait]
impl SocketControl for RecordingDealer {
    async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
        Ok(None)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

#[async_trait]
impl Dealer for RecordingDealer {
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        lock(&self.0).push(frames);
        Ok(())
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    async fn tried(&self) {}

    async fn up(&self) -> Result<()> {
        pending().await
    }

    async fn down(&self) {}

    fn replies(&self) -> BoxStream<'static, Frames> {
        futures_util::stream::pending().boxed()
    }
}

/// Opens a reply stream without peers.
async fn open() -> ReplyStream {
    let (settings, endpoints) = ZmqBuilder::new().bind("tcp://127.0.0.1:*").settings().unwrap();
    let bound = BoundEndpoints::default();
    ReplyStream::open(&settings, &endpoints.calling, &bound).await.unwrap().1
}

/// Adds a connected peer.
fn connect(stream: &ReplyStream) -> (Arc<PeerConnection>, Arc<RecordingDealer>) {
    let dealer = Arc::new(RecordingDealer::default());
    let peers = stream.balancer.peers();
    let peer = peers.add("server".to_owned(), PeerKind::Connecting, dealer.clone());
    peer.set_connected();
    (peer, dealer)
}

/// Opens a reply stream with an idempotent call in flight at its only peer.
async fn open_with_a_call() -> (ReplyStream, Arc<PeerConnection>) {
    let stream = open().await;
    let (peer, sent) = connect(&stream);
    let call = InFlightCall::new(Some(ID), Some(Deadline::after(Duration::from_secs(60))), true);
    assert!(stream.balancer.send_now(&call, request()).is_ok());
    assert_eq!(sent.requests(), 1);
    (stream, peer)
}

/// Polls the stream until the stream waits. Returns the number of its events.
fn events(stream: &mut ReplyStream) -> usize {
    let mut count = 0;
    while poll_fn(|cx| stream.poll_next(cx)).now_or_never().flatten().is_some() {
        count += 1;
    }
    count
}

/// Returns a message of the call.
fn message(role: &MessageRole, fault: Option<Fault>) -> Frames {
    let mut message = Message::default();
    (message.id, message.fault) = (Some(ID), fault.map(Box::new));
    wire::encode(role, message, &Limits::default()).unwrap()
}

fn request() -> Frames {
    message(&MessageRole::Request(Address::new("a").unwrap()), None)
}

fn reply() -> Frames {
    message(&MessageRole::Reply, None)
}

fn declined() -> Frames {
    message(&MessageRole::Reply, Some(Fault::declined("no lens")))
}

#[tokio::test]
async fn reply_of_a_server_that_has_left_the_set_ends_the_resend() {
    let (mut stream, peer) = open_with_a_call().await;
    peer.set_lost();
    // The set does not have the peer any more.
    let event = stream.process(None, reply());
    assert!(matches!(event, Some(ReplyEvent::Message { .. })));
    let (_, sent) = connect(&stream);
    assert_eq!((events(&mut stream), sent.requests()), (0, 0), "the caller has its reply");
}

#[tokio::test]
async fn declined_reply_that_is_read_after_the_loss_does_not_end_the_resend() {
    for is_in_the_set in [true, false] {
        let (mut stream, lost) = open_with_a_call().await;
        lost.set_lost();
        let lost = is_in_the_set.then_some(&lost);
        assert!(stream.process(lost, declined()).is_none(), "the call is to be sent again");
        let (other, sent) = connect(&stream);
        assert_eq!((events(&mut stream), sent.requests()), (0, 1));
        assert!(stream.process(lost, declined()).is_none(), "the call was sent again");
        assert!(other.has(ID));
        let event = stream.process(Some(&other), reply());
        assert!(matches!(event, Some(ReplyEvent::Message { .. })));
        // As after a call that its caller has given up.
        let event = stream.process(lost, declined());
        assert!(matches!(event, Some(ReplyEvent::Message { .. })));
    }
}

#[tokio::test]
async fn message_of_another_kind_does_not_end_a_call() {
    let (stream, peer) = open_with_a_call().await;
    let event = stream.process(Some(&peer), request());
    assert!(matches!(event, Some(ReplyEvent::Message { .. })));
    assert!(peer.has(ID));
}

#[tokio::test]
async fn notice_of_a_loss_from_a_proxy_that_is_gone_is_no_reply() {
    let (stream, peer) = open_with_a_call().await;
    peer.set_lost();
    assert!(stream.process(None, message(&MessageRole::Loss, None)).is_none());
    assert!(stream.balancer.resends().holds(ID, || false));
}
