//! Where requests are dealt out to the services, and replies handed in.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::task::AtomicWaker;
use futures_util::{StreamExt, stream};
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{Abandoned, Delivery, LogThrottle, Sending};
use polywire_core::{Address, Code, Error, Fault, Limits, Message, Window};
use rustc_hash::FxHashMap;

use super::queue::{Item, Queue};
use crate::engine::{Peer, Ports, Router};
use crate::error::{caller_gone, lock};
use crate::slow::Mute;
use crate::wire::{self, DecodeFailure, Frames, Role};

/// Where requests are dealt out, and replies handed in.
pub(super) struct Desk {
    router: Arc<dyn Router>,
    limits: Limits,
    mute: Mute,
    services: Mutex<Services>,
    closed: AtomicBool,
    requests: Mutex<BoxStream<'static, (Peer, Frames)>>,
    /// The seat that reads the requests itself, because it is the only one; 0 if the pump reads
    /// them.
    ///
    /// A request that passes from task to task costs more than all the rest of it, and most
    /// sockets serve one service.
    reader: AtomicU64,
    /// Wakes the pump when it may be its turn to read.
    pump: AtomicWaker,
    rejected: LogThrottle,
}

/// The queues of the services that are served now.
#[derive(Default)]
struct Services {
    queues: FxHashMap<Address, Arc<Queue>>,
    /// The seats at all of them, and whether their responders have begun to take.
    seats: Vec<(u64, bool)>,
    last_seat: u64,
}

impl Desk {
    pub(super) fn new(router: Arc<dyn Router>, limits: Limits) -> Self {
        let requests = Mutex::new(router.requests());
        let (services, closed, mute) = (Mutex::default(), AtomicBool::new(false), Mute::default());
        let (reader, pump) = (AtomicU64::new(0), AtomicWaker::new());
        Self {
            router,
            limits,
            mute,
            services,
            closed,
            requests,
            reader,
            pump,
            rejected: LogThrottle::new(),
        }
    }

    /// The socket, to have its endpoints changed.
    pub(super) fn ports(&self) -> &dyn Ports {
        &*self.router
    }

    /// Deals out requests until the socket is closed.
    pub(super) async fn pump(self: Arc<Self>) {
        while let Some((peer, frames)) = poll_fn(|cx| self.poll_pump(cx)).await {
            if let Some(request) = self.sort(peer, frames) {
                self.deal(request).await;
            }
        }
    }

    fn poll_pump(&self, cx: &mut Context<'_>) -> Poll<Option<(Peer, Frames)>> {
        self.pump.register(cx.waker());
        self.poll_requests(0, cx)
    }

    /// The next request for the one responder that there is. Pending if there are others.
    pub(super) fn poll_read(
        &self,
        seat: u64,
        service: &Address,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Item>> {
        loop {
            let Some((peer, frames)) = ready!(self.poll_requests(seat, cx)) else {
                return Poll::Ready(None);
            };
            match self.sort(peer, frames) {
                Some(request) if request.service == *service => {
                    return Poll::Ready(Some(request.item));
                }
                Some(other) => self.hand_over(other),
                None => {}
            }
        }
    }

    /// Reads on while the one responder has no room, so that abandoned calls are heard of. Not
    /// beyond the first request, if nothing waits: whoever has room takes that one next.
    pub(super) fn poll_ahead(
        &self,
        seat: u64,
        service: &Address,
        queue: &Queue,
        cx: &mut Context<'_>,
    ) {
        let only_one = queue.is_empty();
        while queue.has_room() {
            let Poll::Ready(Some((peer, frames))) = self.poll_requests(seat, cx) else { return };
            let Some(request) = self.sort(peer, frames) else { continue };
            let is_own = request.service == *service;
            self.hand_over(request);
            if is_own && only_one {
                // Who has no room is woken by it, and comes back to read on.
                return;
            }
        }
    }

    /// What arrives, for the one whose turn it is to read.
    fn poll_requests(&self, reader: u64, cx: &mut Context<'_>) -> Poll<Option<(Peer, Frames)>> {
        let mut requests = lock(&self.requests);
        // Under the lock: the one who polls last is the one who is woken, and must not be one whose
        // turn is over.
        match self.reader.load(Ordering::Acquire) == reader {
            true => requests.poll_next_unpin(cx),
            false => Poll::Pending,
        }
    }

    /// Gives a request that the only responder has read to another one, who came meanwhile; or
    /// refuses it.
    fn hand_over(&self, Request { service, item }: Request) {
        let queue = lock(&self.services).queues.get(&service).cloned();
        let unserved = match queue {
            Some(queue) => queue.push_beyond(item).err(),
            None => Some(item),
        };
        if let Some(item) = unserved {
            self.refuse_item(item);
        }
    }

    /// The service that a message asks for, and what its responder gets; what asks for none is
    /// dealt with here.
    fn sort(&self, Peer { address, identity }: Peer, frames: Frames) -> Option<Request> {
        let peer = ReplyTo::new(address);
        match wire::decode(frames, &self.limits) {
            Ok((Role::Request(service), mut message)) => {
                message.reply_to = message.id.map(|_| peer);
                message.peer = identity;
                Some(Request { service, item: Ok(Delivery::settled(message)) })
            }
            Ok((Role::Cancel(service), Message { id: Some(call), .. })) => {
                let queue = lock(&self.services).queues.get(&service).cloned();
                if let Some(queue) = queue {
                    queue.abandon(&Abandoned::new(peer, call));
                }
                None
            }
            Ok((role, _)) => {
                tracing::debug!(?peer, ?role, "dropped what came where requests come");
                None
            }
            Err(DecodeFailure { service, call, error }) => {
                let item = unreadable(call, &peer, error);
                let Some(service) = service else {
                    self.complain(peer, call, item);
                    return None;
                };
                Some(Request { service, item })
            }
        }
    }

    async fn deal(&self, Request { service, item }: Request) {
        let queue = lock(&self.services).queues.get(&service).cloned();
        let unserved = match queue {
            Some(queue) => queue.push(item).await.err(),
            None => Some(item),
        };
        if let Some(item) = unserved {
            self.refuse_item(item);
        }
    }

    /// Answers a request that names no service, and so has no server to answer it.
    fn complain(&self, peer: ReplyTo, call: Option<CallId>, item: Item) {
        match item {
            Ok(Delivery { mut message, .. }) => {
                message.id = call;
                message.reply_to = Some(peer);
                // As with a refusal.
                drop(self.reply(message));
            }
            Err(error) => {
                if let Some(count) = self.rejected.note() {
                    tracing::warn!(?error, ?peer, count, "rejected requests that cannot be read");
                }
            }
        }
    }

    /// Says that nobody here serves what was asked for. It does not wait for the large replies
    /// before it, if there are any; but to a peer that has not taken as many messages as the
    /// engine holds, it is not said, because nobody could wait for it here. Its deadline says
    /// it.
    fn refuse(&self, peer: &ReplyTo, call: CallId) {
        let mut refusal = Message::default();
        refusal.id = Some(call);
        if let Ok(frames) = wire::encode(&Role::Refusal, refusal, &self.limits) {
            drop(self.router.send(peer.as_bytes().clone(), frames));
        }
    }

    pub(super) fn reply(&self, message: Message) -> Sending<'_> {
        let Some(peer) = message.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return Sending::ready(Err(caller_gone()));
        };
        let checked = self.limits.check(&message);
        match checked.and_then(|()| wire::encode(&Role::Reply, message, &self.limits)) {
            Ok(frames) => self.mute.send(&*self.router, peer, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Seats a responder at the queue of its service, which is a closed one if the desk is closed.
    pub(super) fn join(&self, service: &Address, window: Window) -> (Arc<Queue>, u64) {
        let mut services = lock(&self.services);
        services.last_seat += 1;
        let seat = services.last_seat;
        let queue = match self.is_closed() {
            true => Arc::new(Queue::closed()),
            false => services.queues.entry(service.clone()).or_default().clone(),
        };
        // Under the lock, so that the queue is not taken away for want of seats in between.
        queue.join(seat, window.messages());
        services.seats.push((seat, false));
        self.choose_reader(&services);
        (queue, seat)
    }

    /// Takes a seat away, and the queue with the last one.
    pub(super) fn leave(&self, service: &Address, queue: &Queue, seat: u64) {
        let orphans = {
            let mut services = lock(&self.services);
            let orphans = queue.leave(seat);
            if orphans.is_some() {
                services.queues.remove(service);
            }
            services.seats.retain(|(other, _)| *other != seat);
            self.choose_reader(&services);
            orphans
        };
        self.refuse_all(orphans.unwrap_or_default());
    }

    /// Notes that the responder of a seat has begun to take.
    pub(super) fn begin(&self, seat: u64) {
        let mut services = lock(&self.services);
        for (other, begun) in &mut services.seats {
            *begun |= *other == seat;
        }
        self.choose_reader(&services);
    }

    /// Lets the only responder read, or the pump; and wakes who may have become the one.
    ///
    /// One that is bound and has not begun does not read: the time of a request runs from when it
    /// is read.
    fn choose_reader(&self, services: &Services) {
        let reader = if let [(seat, true)] = *services.seats { seat } else { 0 };
        self.reader.store(reader, Ordering::Release);
        self.pump.wake();
        for queue in services.queues.values() {
            queue.wake();
        }
    }

    /// Ends every serving end; the future lasts as long as the socket lingers.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        let queues = {
            let mut services = lock(&self.services);
            // Under the lock, so that nobody joins after.
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut services.queues)
        };
        for queue in queues.into_values() {
            self.refuse_all(queue.close());
        }
        // Not every engine closes a socket that is still being read.
        *lock(&self.requests) = stream::empty().boxed();
        self.router.close()
    }

    fn refuse_all(&self, orphans: Vec<Item>) {
        for orphan in orphans {
            self.refuse_item(orphan);
        }
    }

    fn refuse_item(&self, item: Item) {
        let Ok(Delivery { message, .. }) = item else { return };
        if let (Some(call), Some(peer)) = (message.id, message.reply_to) {
            self.refuse(&peer, call);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A request on its way to a responder.
struct Request {
    service: Address,
    item: Item,
}

/// What a server gets of a request that cannot be read: a delivery to be answered with a fault, if
/// it can be answered.
fn unreadable(call: Option<CallId>, peer: &ReplyTo, error: Error) -> Item {
    let Some(call) = call else { return Err(error) };
    let fault = Fault::new(Code::InvalidArguments, format!("the request cannot be read: {error}"));
    let mut message = Message::failed(fault);
    message.id = Some(call);
    message.reply_to = Some(peer.clone());
    Ok(Delivery::settled(message))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::stream::poll_fn as stream_of;
    use polywire_core::Result;

    use super::super::queue::Taken;
    use super::*;
    use crate::endpoint::EndpointChange;

    type Arrivals = BoxStream<'static, (Peer, Frames)>;

    /// A socket that receives what it was given, and sends nothing.
    struct Scripted(Mutex<Option<Arrivals>>);

    impl Ports for Scripted {
        fn change<'a>(&'a self, _: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
            std::future::ready(Ok(None)).boxed()
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            std::future::ready(()).boxed()
        }
    }

    impl Router for Scripted {
        fn send(&self, _: Bytes, _: Frames) -> Sending<'_> {
            panic!("nothing is to be refused")
        }

        fn requests(&self) -> Arrivals {
            lock(&self.0).take().unwrap()
        }
    }

    fn desk(arrivals: Arrivals) -> Arc<Desk> {
        Arc::new(Desk::new(Arc::new(Scripted(Mutex::new(Some(arrivals)))), Limits::default()))
    }

    fn address(name: &str) -> Address {
        Address::new(name).unwrap()
    }

    #[test]
    fn a_request_for_who_joined_while_it_was_read_is_not_refused() {
        static DESK: OnceLock<Arc<Desk>> = OnceLock::new();
        static JOINED: OnceLock<(Arc<Queue>, u64)> = OnceLock::new();
        let mut request = Message::default();
        (request.id, request.method) = (Some(CallId(1)), Some(address("m")));
        let role = Role::Request(address("b"));
        let mut frames = Some(wire::encode(&role, request, &Limits::default()).unwrap());
        let arrivals = stream_of(move |_| {
            let Some(frames) = frames.take() else { return Poll::Pending };
            JOINED.get_or_init(|| DESK.get().unwrap().join(&address("b"), Window::new(1)));
            let peer = Peer { address: Bytes::from_static(b"peer"), identity: None };
            Poll::Ready(Some((peer, frames)))
        });
        let desk = DESK.get_or_init(|| desk(arrivals.boxed()));
        let (_, seat) = desk.join(&address("a"), Window::new(1));
        desk.begin(seat);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(desk.poll_read(seat, &address("a"), &mut cx).is_pending());
        let (queue, seat) = JOINED.get().unwrap();
        assert!(matches!(
            queue.poll_take(*seat, &cx),
            Poll::Ready(Some(Taken { item: Ok(_), .. }))
        ));
    }

    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_whose_turn_is_over_does_not_take_the_waker_away() {
        let polled = Arc::new(AtomicUsize::new(0));
        let polls = polled.clone();
        let arrivals = stream_of(move |_| {
            polls.fetch_add(1, Ordering::SeqCst);
            Poll::Pending
        });
        let desk = desk(arrivals.boxed());
        let waker = Arc::new(Counted(AtomicUsize::new(0)));
        // The pump gets as far as the lock, and then it is the turn of a responder.
        let requests = lock(&desk.requests);
        let pump = std::thread::spawn({
            let (desk, waker) = (desk.clone(), waker.clone());
            move || desk.poll_pump(&mut Context::from_waker(&Waker::from(waker))).is_pending()
        });
        // Ours, the thread's, and the one that is registered right before the lock is taken.
        while Arc::strong_count(&waker) < 3 {
            std::thread::yield_now();
        }
        // What the pump does between that and the lock takes no longer than this.
        (0..1000).for_each(|_| std::thread::yield_now());
        let (_, seat) = desk.join(&address("a"), Window::new(1));
        desk.begin(seat);
        drop(requests);
        assert!(pump.join().unwrap());
        assert_eq!(
            polled.load(Ordering::SeqCst),
            0,
            "the pump polled, and would be woken in the reader's place"
        );
    }
}
