//! The main function of a peer.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::rpc::Deduplication;
use polywire_core::{Code, Context, Fault, Retries, Router, Server, Window, Worker};
use tokio::time::sleep;

use super::role::{PeerRole, READY, is_poison};
use crate::calls::SERVICE;
use crate::jobs::QUEUE;

/// Runs the peer that the arguments describe, until the standard input ends.
///
/// The arguments are the role, the URL, and a time in milliseconds. The time is that of the work,
/// or for the retrying worker the delay. The first line on the standard output is `ready`. At the
/// end of the input, running work is dropped without a drain.
///
/// # Errors
///
/// If the arguments are wrong, or if the peer cannot connect or bind.
pub async fn run(arguments: &[String]) -> Result<()> {
    let [role, url, work_ms] = arguments else {
        anyhow::bail!("a peer takes a role, a URL and a time in milliseconds")
    };
    let work =
        Duration::from_millis(work_ms.parse().context("cannot parse the time in milliseconds")?);
    let mut builder = Amqp::builder(url)?;
    if matches!(PeerRole::named(role)?, PeerRole::RetryingWorker) && work < LONG_DELAY {
        builder = builder.retry_queue_expiry(SHORT_LEASE);
    }
    let amqp = builder.build().await?;
    let running = async {
        match PeerRole::named(role)? {
            PeerRole::Server => serve(Server::bind(&amqp, SERVICE).await?, work).await?,
            PeerRole::CarefulServer => {
                let server = Server::bind(&amqp, SERVICE).deduplicate(Deduplication::default());
                serve(server.await?, work).await?;
            }
            PeerRole::NarrowServer => serve_narrow(&amqp, work, |router| router).await?,
            PeerRole::OnceServer => serve_narrow(&amqp, work, Router::at_most_once).await?,
            PeerRole::Worker => work_off(&amqp, work).await?,
            PeerRole::FragileWorker => work_until_poisoned(&amqp, work).await?,
            PeerRole::RetryingWorker => work_at_the_second_attempt(&amqp, work).await?,
        }
        Ok(())
    };
    tokio::select! {
        ended = running => ended,
        () = input_ended() => Ok(()),
    }
}

/// Serves the method `add` with the default window. Each call is reported after its work, before
/// the reply.
async fn serve(server: Server, work: Duration) -> Result<()> {
    print(READY);
    let router =
        Router::new(MessagePack).method("add", move |(id, a, b): (u64, i64, i64)| async move {
            sleep(work).await;
            print(&format!("{id}."));
            Ok(a + b)
        });
    server.serve(router).await?;
    Ok(())
}

/// Serves a method that reports each call when it begins, and returns whether the request was
/// redelivered.
///
/// The window is 4. `mark` leaves the router as it is, or marks the method to run at most once.
async fn serve_narrow(
    amqp: &Amqp,
    work: Duration,
    mark: fn(Router<MessagePack>) -> Router<MessagePack>,
) -> Result<()> {
    let server = Server::bind(amqp, SERVICE).window(Window::new(4)).await?;
    print(READY);
    let add = move |context: Context, (id, a, b): (u64, i64, i64)| async move {
        print(&format!("{id}."));
        sleep(work).await;
        Ok((a + b, context.is_redelivered()))
    };
    server.serve(mark(Router::new(MessagePack).method("add", add))).await?;
    Ok(())
}

/// Works on jobs, 256 at a time, and reports each job after its work.
async fn work_off(amqp: &Amqp, work: Duration) -> Result<()> {
    let worker = Worker::bind(amqp, QUEUE, MessagePack).window(Window::new(256)).await?;
    print(READY);
    let working = worker.work(move |id: u64| async move {
        if !work.is_zero() {
            sleep(work).await;
        }
        print(&format!("{id}."));
        Ok(())
    });
    working.await?;
    Ok(())
}

/// Works on jobs, 16 at a time. After the report of a poison job, the process aborts with all jobs
/// beside it unsettled.
async fn work_until_poisoned(amqp: &Amqp, work: Duration) -> Result<()> {
    let worker = Worker::bind(amqp, QUEUE, MessagePack).window(Window::new(16));
    let worker = worker.retries(Retries::at_once(4)).await?;
    print(READY);
    let working = worker.work(move |id: u64| async move {
        sleep(work).await;
        print(&format!("{id}."));
        if is_poison(id) {
            std::process::abort();
        }
        Ok(())
    });
    working.await?;
    Ok(())
}

/// Fails the first attempt at each job, and reports the second one. The delay of the retry has no
/// jitter, and does not grow.
async fn work_at_the_second_attempt(amqp: &Amqp, delay: Duration) -> Result<()> {
    let retries = Retries::new(4).immediate(0).backoff(delay, delay).jitter(0.0);
    let worker = Worker::bind(amqp, QUEUE, MessagePack).window(Window::new(16)).retries(retries);
    let worker = worker.await?;
    print(READY);
    let working = worker.work(move |context: Context, id: u64| async move {
        if context.attempt < 2 {
            return Err(Fault::new(Code::Unavailable, "the first attempt"));
        }
        print(&format!("{id}."));
        Ok(())
    });
    working.await?;
    Ok(())
}

/// The delay of a retry from which on the lease of its queue is the default.
const LONG_DELAY: Duration = Duration::from_secs(10);
/// The shortest lease that a transport accepts.
const SHORT_LEASE: Duration = Duration::from_secs(1);

/// Prints and flushes a line: a kill afterwards does not take it back.
///
/// Blocks the thread while the pipe is full.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    // The reader is gone when the run has ended.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Waits for the end of the standard input, in a thread that the runtime does not wait for.
///
/// The thread stays blocked if the future is dropped, and ends with the process.
pub(crate) async fn input_ended() {
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // The scenario writes nothing there; an error counts as the end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _: Result<(), ()> = sender.send(());
    });
    let _ = ended.await;
}
