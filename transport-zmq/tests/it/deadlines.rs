//! Deadlines of requests that wait in a socket that is not read.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Context, Deadline, Router, Server, Transport};
use polywire_zmq::proxy::{Pattern, Proxy};
use polywire_zmq::{Side, Zmq};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::support::context::{Setup, builder, free_endpoint, setups};
use crate::support::engine::zmq;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which a request waits in the socket.
const WAIT: Duration = Duration::from_millis(500);
/// The largest error of the estimate of that time.
const ERROR_MAX: Duration = Duration::from_millis(100);

/// A runtime with one thread, which can be held so that it reads no socket.
struct OwnThread {
    handle: Handle,
    /// The runtime ends with this sender.
    _running: oneshot::Sender<()>,
}

impl OwnThread {
    fn start() -> Self {
        let (running, ended) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || drop(runtime.block_on(ended)));
        Self { handle, _running: running }
    }

    async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.handle.spawn(future).await.unwrap()
    }

    /// Holds the thread until the sender is dropped.
    async fn hold(&self) -> mpsc::Sender<()> {
        let ((sender, held), (begins, begun)) = (mpsc::channel(), oneshot::channel());
        self.handle.spawn(async move {
            begins.send(()).unwrap();
            let _ = held.recv();
        });
        begun.await.unwrap();
        sender
    }
}

/// Serves a method that returns the milliseconds which its caller has left.
async fn serve(transport: &Zmq) {
    let router = Router::new(MessagePack).method("left", |context: Context, (): ()| async move {
        Ok(u64::try_from(context.deadline.unwrap().remaining().as_millis()).unwrap())
    });
    tokio::spawn(Server::bind(transport, "a").await.unwrap().serve(router));
}

/// Calls the method while `reader`, which reads the request on its way, is held.
async fn check(calling: &Zmq, reader: &OwnThread, what: &str) {
    let client = Client::connect(calling, "a", MessagePack).await.unwrap();
    // The quickest of these shows how the clocks differ.
    for _ in 0..20 {
        client.call::<u64>("left", &()).await.unwrap();
    }
    let held = reader.hold().await;
    let deadline = Deadline::after(TIMEOUT);
    let mut call = client.request("left").deadline(deadline).start::<u64>(&()).unwrap();
    call.sent().await;
    // The wait is what the test is about.
    tokio::time::sleep(WAIT).await;
    drop(held);
    let left = Duration::from_millis(call.await.unwrap());
    assert!(left <= TIMEOUT - WAIT + ERROR_MAX, "{what}: {left:?} left at the server");
    // The caller had at least as much time left as when it has the reply.
    assert!(left + ERROR_MAX >= deadline.remaining(), "{what}: {left:?} left at the server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_in_the_socket_of_a_server_counts() {
    for setup in setups().into_iter().filter(|Setup(_, side, _)| *side == Side::Connect) {
        let (thread, binding) = (OwnThread::start(), builder(&setup).bind(free_endpoint(&setup)));
        let serving = thread.run(async move {
            let serving = binding.build().unwrap();
            serve(&serving).await;
            serving
        });
        let serving = serving.await;
        let calling = builder(&setup).connect(&serving.local_endpoints()[0]).build().unwrap();
        check(&calling, &thread, &format!("{setup:?}")).await;
        calling.close().await.unwrap();
        thread.run(async move { serving.close().await.unwrap() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(feature = "engine-omq")]
async fn time_in_the_socket_of_a_proxy_counts() {
    const ANY: &str = "tcp://127.0.0.1:*";
    let thread = OwnThread::start();
    let proxy =
        thread.run(async { Proxy::start(Pattern::RequestReply, ANY, ANY).await.unwrap() }).await;
    let [serving, calling] = [proxy.backend(), proxy.frontend()]
        .map(|endpoint| zmq().connect(endpoint).connect_timeout(TIMEOUT).build().unwrap());
    serve(&serving).await;
    check(&calling, &thread, "proxy").await;
    calling.close().await.unwrap();
    serving.close().await.unwrap();
    thread.run(async move { proxy.stop().await }).await;
}
