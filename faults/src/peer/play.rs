//! What a peer does.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::rpc::Deduplication;
use polywire_core::{Router, Server, Window, Worker};

use tokio::time::sleep;

use super::{READY, Role};
use crate::calls::SERVICE;
use crate::jobs::QUEUE;

/// Plays the peer that the arguments after the first name, until its input ends.
///
/// # Errors
///
/// If it cannot connect, or cannot bind.
pub async fn play(arguments: &[String]) -> Result<()> {
    let [role, url, work_ms] = arguments else {
        anyhow::bail!("a peer takes a role, a URL, and a time")
    };
    let work =
        Duration::from_millis(work_ms.parse().context("the time is a number of milliseconds")?);
    let amqp = Amqp::connect(url).await?;
    let playing = async {
        match Role::named(role)? {
            Role::Server => serve(Server::bind(&amqp, SERVICE).await?, work).await,
            Role::CarefulServer => {
                let server = Server::bind(&amqp, SERVICE).deduplicate(Deduplication::default());
                serve(server.await?, work).await;
            }
            Role::Worker => labour(&amqp, work).await?,
        }
        Ok(())
    };
    tokio::select! {
        ended = playing => ended,
        // Nothing is ever written there.
        _ = input_ended() => Ok(()),
    }
}

async fn serve(server: Server, work: Duration) {
    say(READY);
    let router =
        Router::new(MessagePack).method("add", move |(id, a, b): (u64, i64, i64)| async move {
            sleep(work).await;
            say(&format!("{id}."));
            Ok(a + b)
        });
    server.serve(router).await;
}

async fn labour(amqp: &Amqp, work: Duration) -> Result<()> {
    let worker = Worker::bind(amqp, QUEUE, MessagePack).window(Window::new(256)).await?;
    say(READY);
    let working = worker.work(move |id: u64| async move {
        if !work.is_zero() {
            sleep(work).await;
        }
        say(&format!("{id}."));
        Ok(())
    });
    working.await;
    Ok(())
}

/// Says something at once: what was written before a kill has been said.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more when the run is over.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Waits for the end of the input, in a thread that nobody has to wait for.
async fn input_ended() {
    let (tell, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nothing is ever written there; an error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _: Result<(), ()> = tell.send(());
    });
    let _ = ended.await;
}
