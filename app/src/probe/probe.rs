//! The port that answers probes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use polywire_core::transport::LogThrottle;
use polywire_core::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep, timeout};

use super::answers::{Subject, answer, busy, canary};
use super::render::Render;

/// A port that answers probes about a component. Dropping it closes the port.
///
/// One task accepts connections, and each connection has a task of its own. All of them end with
/// the port.
pub(crate) struct Probe {
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// State that the port and its connections share.
struct State {
    subject: Mutex<Subject>,
    render: Option<Render>,
    /// Held while a canary is on its way, so that a client cannot flood the queues.
    canary: tokio::sync::Mutex<()>,
}

/// Connections at a time. Further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 16;
/// Time for a connection, which has one request: longer than a slow reader of metrics takes.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Time for the head of the request.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Bytes of the head, and of the buffer for it.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Interval at which the recorder of metrics is tidied up.
const UPKEEP: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which mostly means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Probe {
    /// Binds the port, and answers from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the address cannot be bound.
    pub(crate) async fn bind(address: SocketAddr, render: Option<Render>) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let text = "cannot listen for probes: the address cannot be bound";
            Error::new(ErrorKind::Config, text).with("address", address).with_source(error).unsent()
        })?;
        let local = listener.local_addr().map_or(address, |local| local);
        if !local.ip().is_loopback() {
            tracing::info!(address = %local, "probes are answered beyond the loopback interface");
        }
        tracing::info!(address = %local, "answering probes");
        let state = Arc::new(State {
            subject: Mutex::new(Err("waiting for the broker".to_owned())),
            render,
            canary: tokio::sync::Mutex::new(()),
        });
        let task = tokio::spawn(serve(listener, state.clone()));
        Ok(Self { state, task })
    }

    /// Answers about this component from now on, or with the reason for which there is none.
    ///
    /// Replaces the component of the attempt to start before. The probe keeps the component alive
    /// until the next one, or until the port is closed.
    pub(crate) fn watch(&self, subject: Subject) {
        let before = std::mem::replace(&mut *self.state.lock(), subject);
        // Outside of the lock: the probe may be the last owner.
        drop(before);
    }

    /// Closes the port, which is free when the future resolves. If the future is dropped, the port
    /// is closed a little later.
    pub(crate) async fn close(mut self) {
        self.task.abort();
        // The error says that the task was aborted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    // No code panics while it holds the lock.
    /// Locks the subject. The lock is never held across an await.
    fn lock(&self) -> std::sync::MutexGuard<'_, Subject> {
        self.subject.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts connections, and tidies up. Aborting the task drops all connections.
///
/// Never returns. After a failed accept, accepting and upkeep pause for 100 ms.
async fn serve(listener: TcpListener, state: Arc<State>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut upkeep = interval(UPKEEP);
    let failures = LogThrottle::new();
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => {
                    let state = state.clone();
                    connections.spawn(async move {
                        let _permit = permit;
                        converse(stream, state).await;
                    });
                }
                Err(error) => {
                    if let Some(count) = failures.note() {
                        tracing::warn!(?error, count, "cannot accept probes");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = upkeep.tick() => {
                if let Some(render) = &state.render {
                    render.upkeep();
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers the one request of a connection.
///
/// Closes the connection after the answer, or after 10 s. The subject is the one of the moment at
/// which the request arrives.
async fn converse(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (state, subject) = (state.clone(), state.lock().clone());
        async move {
            let (method, path) = (request.method(), request.uri().path());
            let answer = match (method, path) {
                (&(Method::GET | Method::HEAD), "/canary") => match state.canary.try_lock() {
                    Ok(_turn) => canary(subject.as_ref()).await,
                    Err(_) => busy(),
                },
                _ => answer(method, path, subject.as_ref(), state.render.as_ref()),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Neither a malformed request nor a lost connection concerns the component.
    match timeout(CONNECTION_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a probe failed"),
        Err(_) => tracing::debug!("a probe took too long"),
    }
}
