//! The publishing side: one line after the other for all ends of a transport, and what is held
//! between them.

mod exchanges;
mod held;
mod parcel;
mod ticket;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::transport::Sending;
use polywire_core::{Deadline, Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(crate) use self::exchanges::Exchange;
use self::exchanges::Exchanges;
use self::held::Held;
pub(crate) use self::parcel::Parcel;
use self::parcel::Told;
use self::ticket::{Outlook, Ticket, until};
use crate::bounds::Bounds;
use crate::config::Config;
use crate::connection::backoff::Backoff;
use crate::connection::supervised::SupervisedConnection;
use crate::consuming::replies::ReplyConsumer;
use crate::error::{closed, lock, lost_unconfirmed};
use crate::line::signature::Signature;
use crate::line::{Line, Readiness};
use crate::wire::Publishing;

/// Publishes on one line after the other, and waits for confirms.
///
/// While there is no line, or the broker takes nothing, messages are held: in order, also in
/// relation to those that come later, and each no longer than its sender waits for it.
pub(crate) struct Lines {
    shared: Arc<Shared>,
    keeper: AbortHandle,
}

/// What the senders share with the keeper of the lines.
struct Shared {
    state: Mutex<State>,
    exchanges: Exchanges,
    /// Tells that there may be room on the line.
    room: Arc<Notify>,
    connect_timeout: Duration,
    confirm_timeout: Duration,
}

struct State {
    line: Option<Arc<Line>>,
    held: Held,
    /// Why nothing is published any more.
    end: Option<Error>,
}

impl Lines {
    /// Opens a line, and keeps one open from then on. With a mailroom, replies come in over it,
    /// too.
    pub(crate) async fn open(
        session: Arc<SupervisedConnection>,
        config: &Config,
        mailroom: Option<Arc<ReplyConsumer>>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                line: None,
                held: Held::new(config.publish_buffer),
                end: None,
            }),
            exchanges: Exchanges::default(),
            room: Arc::default(),
            connect_timeout: config.connect_timeout,
            confirm_timeout: config.confirm_timeout,
        });
        let identifies = config.sends_user_id().then_some(config.confirm_timeout);
        let unconfirmed = config.unconfirmed_max;
        let keeper = Keeper { session, shared: shared.clone(), mailroom, identifies, unconfirmed };
        let first = keeper.open().await?;
        shared.use_line(&first);
        Ok(Self { shared, keeper: tokio::spawn(keeper.keep(first)).abort_handle() })
    }

    /// Publishes. Resolves when the broker has confirmed, or returned, or refused the message.
    ///
    /// It goes out at once, or after all that is held already. It is held until its deadline, or
    /// for the confirm time if it has none; and while there is no connection, no longer than
    /// the connect time. Dropped meanwhile, it is not sent.
    ///
    /// # Errors
    ///
    /// Unsent: [`ErrorKind::Disconnected`] if there was no connection,
    /// [`ErrorKind::DeadlineExceeded`] if the broker took nothing in time,
    /// [`ErrorKind::Unroutable`] if it came back, [`ErrorKind::TooLarge`] if it does not fit into a
    /// frame, [`ErrorKind::Closed`] or [`ErrorKind::Denied`] if nothing is published any more.
    /// And where nobody knows: [`ErrorKind::Disconnected`] if the connection was lost before it
    /// was confirmed, [`ErrorKind::DeadlineExceeded`] if it was not confirmed in time,
    /// [`ErrorKind::Rejected`] if the broker said that it could not take it everywhere.
    pub(crate) fn publish(&self, message: Publishing, deadline: Option<Deadline>) -> Sending<'_> {
        let (parcel, told) = Parcel::new(message, deadline);
        match self.shared.accept(parcel) {
            Ok(ticket) => {
                Sending::later(self.shared.outcome(ticket, told, deadline, Instant::now()))
            }
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// An exchange to publish to, which is made again with each line, while somebody holds on to
    /// it.
    pub(crate) fn exchange(&self, name: ShortString) -> Arc<Exchange> {
        self.shared.exchanges.add(name)
    }

    /// Publishes no more, and says so to those whose messages are held.
    pub(crate) fn close(&self) {
        self.keeper.abort();
        self.shared.end(&closed());
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    /// Sends a message on its way, or takes it in; with a ticket, if it has to wait.
    fn accept(&self, parcel: Parcel) -> Result<Option<Ticket<'_>>> {
        let mut state = lock(&self.state);
        if let Some(error) = &state.end {
            return Err(error.clone());
        }
        if state.held.is_empty()
            && let Some(line) = state.line_for(parcel.size())
        {
            line.write(parcel);
            return Ok(None);
        }
        let place = state.held.put(parcel);
        Ok(Some(Ticket { shared: self, place }))
    }

    /// Sends what is held on its way, as far as the line takes it.
    fn send_held(&self) {
        let mut state = lock(&self.state);
        while let Some(size) = state.held.next_size() {
            let Some(line) = state.line_for(size).cloned() else { return };
            match state.held.take() {
                Some(parcel) if parcel.is_expired() => parcel.refuse(state.too_late()),
                Some(parcel) => line.write(parcel),
                None => return,
            }
        }
    }

    fn use_line(&self, line: &Arc<Line>) {
        lock(&self.state).line = Some(line.clone());
        self.send_held();
    }

    fn end(&self, why: &Error) {
        let mut state = lock(&self.state);
        state.end = Some(why.clone());
        for parcel in state.held.drain() {
            parcel.refuse(why.clone());
        }
    }

    async fn outcome(
        &self,
        ticket: Option<Ticket<'_>>,
        mut told: Told,
        deadline: Option<Deadline>,
        mut since: Instant,
    ) -> Result<()> {
        if let Some(ticket) = ticket {
            if let Some(outcome) = self.while_held(&ticket, &mut told, deadline, since).await {
                return outcome;
            }
            since = Instant::now();
        }
        match until(since + self.confirm_timeout, &mut told).await {
            Some(outcome) => outcome.unwrap_or_else(|_| Err(lost_unconfirmed())),
            None => Err(unconfirmed().with("seconds", self.confirm_timeout.as_secs())),
        }
    }

    /// What becomes of a message while it is held; nothing, if it goes on its way.
    async fn while_held(
        &self,
        ticket: &Ticket<'_>,
        told: &mut Told,
        deadline: Option<Deadline>,
        since: Instant,
    ) -> Option<Result<()>> {
        let over = deadline.map_or(since + self.confirm_timeout, Deadline::instant);
        for limit in [over.min(since + self.connect_timeout), over] {
            if let Some(outcome) = until(limit, &mut *told).await {
                return Some(outcome.unwrap_or_else(|_| Err(lost_unconfirmed())));
            }
            match ticket.look(limit == over) {
                Outlook::Held => {}
                Outlook::OnItsWay => return None,
                Outlook::Withdrawn(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl State {
    /// The line, if it would take so many bytes now.
    fn line_for(&self, size: usize) -> Option<&Arc<Line>> {
        let line = self.line.as_ref()?;
        match line.readiness(size) {
            Readiness::Ready => Some(line),
            Readiness::Stopped(_) => None,
            Readiness::Lost => {
                // Its keeper need not find out by itself.
                line.lose();
                None
            }
        }
    }

    /// What is said to those who do not wait any longer.
    fn too_late(&self) -> Error {
        let because = match self.line.as_ref().map(|line| line.readiness(0)) {
            None | Some(Readiness::Lost) => {
                return Error::new(ErrorKind::Disconnected, "there is no connection to the broker")
                    .unsent();
            }
            Some(Readiness::Stopped(because)) => because,
            Some(Readiness::Ready) => "others were first",
        };
        let error = Error::new(ErrorKind::DeadlineExceeded, "the broker took no message in time");
        error.with("because", because).unsent()
    }
}

fn unconfirmed() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the broker did not confirm the message in time")
}

/// Opens a line whenever the last one is lost, until the broker refuses us for good.
struct Keeper {
    session: Arc<SupervisedConnection>,
    shared: Arc<Shared>,
    /// Whose replies come in over the line.
    mailroom: Option<Arc<ReplyConsumer>>,
    /// How long to wait until the broker says whether it takes our name; `None` if nothing says
    /// it.
    identifies: Option<Duration>,
    unconfirmed: Bounds,
}

impl Keeper {
    async fn keep(self, mut line: Arc<Line>) {
        loop {
            self.feed(&line).await;
            tracing::debug!("nothing more can be published on this channel");
            lock(&self.shared.state).line = None;
            if let Some(mailroom) = &self.mailroom {
                mailroom.fail_direct_calls();
            }
            drop(line);
            self.session.check_now();
            let mut backoff = Backoff::new();
            line = loop {
                match self.session.unless_lost(self.open()).await {
                    Ok(line) => break line,
                    Err(error) => tracing::debug!(?error, "no channel to publish on yet"),
                }
                if let Some(refusal) = self.session.refusal() {
                    return self.shared.end(&refusal);
                }
                backoff.wait().await;
            };
            self.shared.use_line(&line);
        }
    }

    async fn open(&self) -> Result<Arc<Line>> {
        let (room, unconfirmed) = (self.shared.room.clone(), self.unconfirmed);
        let line = Line::open(&self.session, unconfirmed, room.clone()).await?;
        // Publishing to an exchange that is not there would cost the line, and whatever is on its
        // way.
        self.shared.exchanges.declare(&self.session).await?;
        if let Some(mailroom) = &self.mailroom {
            let reading = mailroom.consume_direct(line.channel()).await?;
            let served = Arc::downgrade(&line);
            let reader = tokio::spawn(async move {
                reading.await;
                if let Some(line) = served.upgrade() {
                    line.lose();
                }
            });
            line.own(reader.abort_handle());
        }
        // Last, for a broker that runs out of memory takes nothing more of a connection once
        // something was published.
        line.sign_with(match self.identifies {
            Some(limit) => Signature::ask_for(self.session.clone(), limit, room),
            None => Signature::none(),
        });
        Ok(line)
    }

    /// Sends what is held on its way when there is room, until the line is lost.
    async fn feed(&self, line: &Line) {
        let mut flow = self.session.flow_changes();
        let lost = line.lost();
        tokio::pin!(lost);
        loop {
            tokio::select! {
                () = &mut lost => return,
                () = self.shared.room.notified() => {}
                // It fails when the session is closed, and then nothing flows any more.
                Ok(()) = flow.changed() => {}
            }
            self.shared.send_held();
        }
    }
}
