//! Tests of the dispatcher with a scripted socket.

use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::stream::poll_fn as stream_of;
use polywire_core::message::CallId;
use polywire_core::transport::Sending;
use polywire_core::{Message, Result, Window};

use super::*;
use crate::config::ZmqBuilder;
use crate::endpoint::EndpointChange;
use crate::responder::service_queue::TakenRequest;
use crate::responder::services::AddedConsumer;

type Requests = BoxStream<'static, (RequestOrigin, Frames)>;

/// A socket that receives scripted requests, and sends nothing.
struct ScriptedRouter(Mutex<Option<Requests>>);

#[async_trait]
impl SocketControl for ScriptedRouter {
    async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
        Ok(None)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

impl Router for ScriptedRouter {
    fn send(&self, _: Bytes, _: Frames) -> Sending<'_> {
        panic!("no request may be refused")
    }

    fn requests(&self) -> Requests {
        lock(&self.0).take().unwrap()
    }
}

fn dispatcher(requests: Requests) -> Arc<Dispatcher> {
    let (settings, _) = ZmqBuilder::new().bind("tcp://127.0.0.1:*").settings().unwrap();
    Arc::new(Dispatcher::new(Arc::new(ScriptedRouter(Mutex::new(Some(requests)))), &settings))
}

fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

#[test]
fn a_request_for_a_consumer_added_while_it_is_read_is_not_refused() {
    static DISPATCHER: OnceLock<Arc<Dispatcher>> = OnceLock::new();
    static ADDED: OnceLock<AddedConsumer> = OnceLock::new();
    let mut request = Message::default();
    (request.id, request.method) = (Some(CallId(1)), Some(address("m")));
    let role = MessageRole::Request(address("b"));
    let mut frames = Some(wire::encode(&role, request, &Limits::default()).unwrap());
    let requests = stream_of(move |_| {
        let Some(frames) = frames.take() else { return Poll::Pending };
        ADDED.get_or_init(|| DISPATCHER.get().unwrap().add_consumer(&address("b"), Window::new(1)));
        let origin = RequestOrigin { address: Bytes::from_static(b"peer"), identity: None };
        Poll::Ready(Some((origin, frames)))
    });
    let dispatcher = DISPATCHER.get_or_init(|| dispatcher(requests.boxed()));
    let AddedConsumer { consumer, .. } = dispatcher.add_consumer(&address("a"), Window::new(1));
    dispatcher.begin_consuming(consumer);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(dispatcher.poll_read(consumer, &address("a"), &mut cx).is_pending());
    let AddedConsumer { queue, consumer, .. } = ADDED.get().unwrap();
    assert!(matches!(
        queue.poll_take(*consumer, &cx),
        Poll::Ready(Some(TakenRequest { request: Ok(_), .. }))
    ));
}

struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_former_reader_does_not_take_the_waker_of_the_stream() {
    let polled = Arc::new(AtomicUsize::new(0));
    let polls = polled.clone();
    let requests = stream_of(move |_| {
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    });
    let dispatcher = dispatcher(requests.boxed());
    let waker = Arc::new(CountingWaker(AtomicUsize::new(0)));
    // As after a consumer that has gone.
    dispatcher.is_serving.store(true, Ordering::Release);
    // The task gets as far as the lock. Then a consumer becomes the reader.
    let requests = lock(&dispatcher.requests);
    let task = std::thread::spawn({
        let (dispatcher, waker) = (dispatcher.clone(), waker.clone());
        move || dispatcher.poll_task(&mut Context::from_waker(&Waker::from(waker))).is_pending()
    });
    // The test's own, the thread's, and the one that the task registers before it locks.
    while Arc::strong_count(&waker) < 3 {
        std::thread::yield_now();
    }
    // Time for the task to get from there to the lock.
    (0..1000).for_each(|_| std::thread::yield_now());
    let AddedConsumer { consumer, .. } = dispatcher.add_consumer(&address("a"), Window::new(1));
    dispatcher.begin_consuming(consumer);
    drop(requests);
    assert!(task.join().unwrap());
    assert_eq!(
        polled.load(Ordering::SeqCst),
        0,
        "the task polled the stream, which would wake it instead of the reader"
    );
}
