//! Deadlines and times to live of one-way calls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{CallError, Client, Context, DeadLetters, ErrorKind, Router, Window};
use tokio::sync::{Semaphore, mpsc};

use crate::cases::services::{gated, use_permit};
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// A one-way call that a handler sends inherits no deadline.
///
/// The handler that sends it ends at its own deadline of two seconds. The handler of the one-way
/// call sees no deadline, and runs to its end afterwards.
///
/// Catches backends that give a one-way call a deadline.
pub async fn no_deadline_is_inherited(context: &TestContext) -> Verdict {
    let gate = Arc::new(Semaphore::new(0));
    let (said, mut says) = mpsc::unbounded_channel();
    // Connected after the server is bound, so that the one-way call need not wait for it.
    let inner = Arc::new(OnceLock::<Client<MessagePack>>::new());
    let (client, note_gate) = (inner.clone(), gate.clone());
    let router = Router::new(MessagePack)
        .method("order", move |(): ()| {
            let client = client.clone();
            async move {
                if let Some(client) = client.get() {
                    client.request("note").send(&()).await?;
                }
                // Until its deadline.
                std::future::pending::<()>().await;
                Ok(())
            }
        })
        .method("note", move |context: Context, (): ()| {
            let (said, gate) = (said.clone(), note_gate.clone());
            async move {
                let _ = said.send(match context.deadline {
                    None => "no deadline",
                    Some(_) => "a deadline",
                });
                use_permit(&gate).await;
                let _ = said.send("the end");
                Ok(())
            }
        });
    let _server = context.serve(router).await?;
    let orders = context.client().await?;
    inner.get_or_init(|| orders.clone());
    let outcome = orders.request("order").timeout(Duration::from_secs(2)).call::<()>(&()).await;
    ensure!(
        matches!(outcome, Err(CallError::DeadlineExceeded(_))),
        "the call whose handler sends the one-way call ended with {outcome:?}"
    );
    let mut hear = async || {
        let heard = within(PATIENCE, "the handler of the one-way call runs", says.recv()).await;
        heard.map(Option::unwrap_or_default)
    };
    let heard = hear().await?;
    ensure!(heard == "no deadline", "the handler of the one-way call sees {heard}");
    gate.add_permits(1);
    let heard = hear().await?;
    ensure!(heard == "the end", "the handler of the one-way call came to {heard}");
    Ok(())
}

/// A one-way call that has not begun within its time to live never runs.
///
/// It waits behind a request that occupies the only place of the server, until its second has
/// passed. A one-way call without a time to live waits behind it, and runs.
///
/// The server is occupied for two seconds: the time to live, and a second for the transit.
///
/// Catches backends that lose the time to live, or count it anew when the call arrives.
pub async fn expired_one_never_runs(context: &TestContext) -> Verdict {
    let busy = BusyServer::open(context).await?;
    in_time(async { Ok(busy.send(13, Some(TTL), false).await) }).await?.or_fail("it is sent")?;
    in_time(async { Ok(busy.send(14, None, false).await) }).await?.or_fail("it is sent")?;
    tokio::time::sleep(TTL + TRANSIT_MAX).await;
    busy.gate.add_permits(1);
    eventually("the one-way call without a time to live runs", || {
        busy.runs_of_14.load(Ordering::SeqCst) == 1
    })
    .await?;
    let runs = busy.runs_of_13.load(Ordering::SeqCst);
    ensure!(runs == 0, "the expired one-way call ran {runs} times");
    Ok(())
}

/// A one-way call that asks for it becomes a dead letter when it expires, or is refused as
/// unsupported.
///
/// As [`expired_one_never_runs`], with `keep_expired`. The dead letter of the service has the
/// reason `expired`.
///
/// The dead letters are looked at every 20 ms, for up to 30 s.
///
/// Catches backends whose broker removes such a call.
pub async fn expired_one_is_kept_if_it_asks(context: &TestContext) -> Verdict {
    let busy = BusyServer::open(context).await?;
    let transport = context.calling().await?;
    let sent = in_time(async { Ok(busy.send(13, Some(TTL), true).await) }).await?;
    let Ok(dead_letters) = DeadLetters::of_service(&transport, SERVICE) else {
        let is_refused = matches!(&sent, Err(CallError::Failed(error)) if error.kind() == ErrorKind::Unsupported);
        ensure!(is_refused, "without dead letters, the call ended with {sent:?}");
        return Ok(());
    };
    sent.or_fail("a one-way call is sent")?;
    tokio::time::sleep(TTL + TRANSIT_MAX).await;
    busy.gate.add_permits(1);
    let found = async {
        loop {
            if let [letter, ..] = &*dead_letters.look(1).await? {
                return Ok(letter.clone());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let letter = in_time(found).await?;
    let reason = letter
        .message()
        .history
        .as_ref()
        .and_then(|history| history.dead_letter.as_ref().map(|record| record.reason));
    ensure!(
        reason == Some(DeadLetterReason::Expired),
        "the reason of the dead letter is {reason:?}"
    );
    let runs = busy.runs_of_13.load(Ordering::SeqCst);
    ensure!(runs == 0, "the expired one-way call ran {runs} times");
    Ok(())
}

/// The time to live of the calls that expire.
const TTL: Duration = Duration::from_secs(1);
/// The longest transit of a message, on a machine that is busy with something else.
const TRANSIT_MAX: Duration = Duration::from_secs(1);

/// A server with a window of one, which a call occupies until the gate gets a permit.
///
/// Calls of `note` with the number 13 expire in these cases, and those with the number 14 do not.
struct BusyServer {
    _server: RunningServer,
    client: Client<MessagePack>,
    /// One permit frees the server for good.
    gate: Arc<Semaphore>,
    runs_of_13: Arc<AtomicUsize>,
    runs_of_14: Arc<AtomicUsize>,
}

impl BusyServer {
    /// Binds the server, and returns when the call that occupies it runs.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`](crate::Failure::Failed), if an endpoint handle cannot be opened, or the
    /// call does not arrive.
    async fn open(context: &TestContext) -> Verdict<Self> {
        let gate = Arc::new(Semaphore::new(0));
        let (runs_of_13, runs_of_14) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (first, second) = (runs_of_13.clone(), runs_of_14.clone());
        let router = gated(&gate).method("note", move |n: u32| {
            if n == 13 { &first } else { &second }.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let server = context.serve_within(Window::new(1), router).await?;
        let client = context.client().await?;
        let occupying = client.request("wait").start::<u32>(&1).or_fail("a call starts")?;
        eventually("a call occupies the server", || server.handle.stats().running == 1).await?;
        // Its outcome does not matter.
        tokio::spawn(occupying);
        Ok(Self { _server: server, client, gate, runs_of_13, runs_of_14 })
    }

    /// Sends a one-way call of `note`, and returns when it was sent or refused.
    async fn send(
        &self,
        n: u32,
        ttl: Option<Duration>,
        keep_expired: bool,
    ) -> Result<(), CallError> {
        let mut request = self.client.request("note");
        if let Some(ttl) = ttl {
            request = request.ttl(ttl);
        }
        if keep_expired {
            request = request.keep_expired();
        }
        request.send(&n).await
    }
}
