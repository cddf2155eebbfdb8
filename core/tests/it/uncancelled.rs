//! Handlers that run to their end, even if their callers leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::middleware::{Deadlines, Layer};
use polywire_core::rpc::{ServerHandle, uncancelled};
use polywire_core::{
    CallError, Client, Context, Fault, Memory, Replier, Reply, Request, Router, Server, Service,
    at_most_once,
};
use tokio::time::sleep;

/// The time of the handlers; the callers wait for a tenth of it.
const LONG: Duration = Duration::from_secs(60);
const BRIEF: Duration = Duration::from_secs(6);

/// Counts the handlers that ended.
#[derive(Clone, Default)]
struct Ended(Arc<AtomicU32>);

impl Ended {
    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// A service with the slow methods `ordinary`, `whole` and `replies`.
    fn router(&self) -> Router<MessagePack> {
        let slow = |ended: Self| {
            move |(): ()| {
                let ended = ended.clone();
                async move {
                    sleep(LONG).await;
                    ended.0.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            }
        };
        let (ordinary, whole, ended) = (slow(self.clone()), slow(self.clone()), self.clone());
        let replies = move |replier: Replier<u32>, (): ()| {
            let ended = ended.clone();
            async move {
                replier.reply(&7).await?;
                sleep(LONG).await;
                ended.0.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        Router::new(MessagePack)
            .method("ordinary", ordinary)
            .method("whole", uncancelled(whole))
            .method("replies", replies)
    }
}

async fn serve(service: impl Service) -> (Client<MessagePack>, ServerHandle) {
    let transport = Memory::new();
    let server = Server::bind(&transport, "bank").await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(service));
    (Client::connect(&transport, "bank", MessagePack).await.unwrap(), handle)
}

#[tokio::test(start_paused = true)]
async fn one_way_call_runs_to_its_end() {
    let ended = Ended::default();
    let (client, handle) = serve(ended.router()).await;
    for method in ["whole", "ordinary"] {
        client.request(method).timeout(BRIEF).ttl(BRIEF).send(&()).await.unwrap();
    }
    sleep(2 * LONG).await;
    // A one-way call has no deadline, so each of them does.
    assert_eq!((ended.count(), handle.stats().expired), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn deadline_of_the_caller_does_not_pass_by_way_of_a_layer() {
    let ended = Ended::default();
    let (client, handle) = serve(Deadlines::new().fallback(LONG).layer(ended.router())).await;
    let late = client.request("whole").timeout(BRIEF).call::<()>(&()).await;
    assert!(matches!(late, Err(CallError::DeadlineExceeded(_))));
    let replied: u32 = client.request("replies").timeout(BRIEF).call(&()).await.unwrap();
    sleep(2 * LONG).await;
    assert_eq!((replied, ended.count(), handle.stats().running), (7, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn cap_of_the_server_bounds_uncancelled_handlers_too() {
    let ended = Ended::default();
    let (client, handle) = serve(Deadlines::new().cap(2 * BRIEF).layer(ended.router())).await;
    assert!(client.request("whole").timeout(BRIEF).call::<()>(&()).await.is_err());
    assert_eq!(handle.stats().running, 1);
    sleep(BRIEF).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((ended.count(), handle.stats().running), (0, 0));
}

/// A layer that runs each request in a task of its own, without the handler's context.
#[derive(Clone)]
struct InTask<S>(Arc<S>);

impl<S: Service> Service for InTask<S> {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let next = self.0.clone();
        tokio::spawn(async move { next.call(request).await }).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn layers_need_forward_nothing() {
    let ended = Ended::default();
    let (client, handle) = serve(InTask(Arc::new(ended.router()))).await;
    assert!(client.request("whole").timeout(BRIEF).call::<()>(&()).await.is_err());
    assert_eq!(handle.stats().running, 1, "the server waits for the handler");
    sleep(2 * LONG).await;
    assert_eq!((ended.count(), handle.stats().running), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_of_an_uncancelled_handler_have_deadlines_of_their_own() {
    let (inner, _) = serve(Ended::default().router()).await;
    let remaining = move |context: Context, (): ()| {
        let inner = inner.clone();
        async move {
            let outcome = inner.request("ordinary").timeout(2 * LONG).call::<()>(&()).await;
            assert_eq!(context.remaining(), Some(Duration::ZERO), "the caller has gone");
            outcome.map_err(Fault::from)
        }
    };
    let (client, handle) =
        serve(Router::new(MessagePack).method("pay", uncancelled(remaining))).await;
    let late = client.request("pay").timeout(BRIEF).call::<()>(&()).await;
    assert!(matches!(late, Err(CallError::DeadlineExceeded(_))));
    sleep(2 * LONG).await;
    let stats = handle.stats();
    assert_eq!((stats.answered, stats.expired, stats.running), (1, 0, 0));
    assert_eq!(client.stats().late_replies, 1);
}

#[tokio::test(start_paused = true)]
async fn request_that_comes_too_late_does_not_begin() {
    let ended = Ended::default();
    let transport = Memory::new();
    let server = Server::bind(&transport, "bank").await.unwrap();
    let client = Client::connect(&transport, "bank", MessagePack).await.unwrap();
    client.request("whole").ttl(BRIEF).send(&()).await.unwrap();
    sleep(2 * BRIEF).await;
    let handle = server.handle();
    tokio::spawn(server.serve(ended.router()));
    sleep(2 * LONG).await;
    assert_eq!((ended.count(), handle.stats().expired), (0, 1));
}

/// The request is settled when the call begins, so that no consumer holds it any more.
#[tokio::test(start_paused = true)]
async fn begun_call_that_runs_at_most_once_is_cancelled_also_while_its_server_drains() {
    for drains in [false, true] {
        let ended = Ended::default();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let router = at_most_once_router(&ended, begun);
        let (client, server) = serve(router).await;
        let call = client.request("once").timeout(LONG * 2).start::<()>(&()).unwrap();
        begins.recv().await.unwrap();
        let draining = drains.then(|| {
            tokio::spawn({
                let server = server.clone();
                async move { server.drain().await }
            })
        });
        tokio::task::yield_now().await;
        drop(call);
        while server.stats().cancelled == 0 {
            sleep(Duration::from_millis(10)).await;
            assert!(ended.count() == 0, "the handler ran to its end, drains: {drains}");
        }
        if let Some(draining) = draining {
            draining.await.unwrap();
        }
        assert_eq!((ended.count(), server.stats().running), (0, 0));
    }
}

fn at_most_once_router(
    ended: &Ended,
    begun: tokio::sync::mpsc::UnboundedSender<()>,
) -> Router<MessagePack> {
    let ended = ended.clone();
    let once = move |(): ()| {
        let (ended, begun) = (ended.clone(), begun.clone());
        async move {
            begun.send(()).unwrap();
            sleep(LONG).await;
            ended.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    };
    Router::new(MessagePack).method("once", at_most_once(once))
}
