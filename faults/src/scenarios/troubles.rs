//! Five troubles of a shop, one after the other: probes turn in time, or rightly stay on, and the
//! log names the cause within three lines.

mod reading;
mod row;
mod turning;
mod watch;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::pipeline::DeadLetter;
use polywire_core::{DeadLetters, Pusher};
use polywire_example_shop::contracts::Mail;
use tokio::time::Instant;

use self::reading::Reading;
use self::row::Row;
use self::turning::{Answer, Probe, Turn};
use self::watch::Watch;
use super::shop::ledger::Ledger;
use super::shop::log_lines::LogMark;
use super::shop::program::Program;
use super::shop::surroundings::{Shop, USER};
use super::shop::{PROGRAMS, count, more_orders, start_programs, stop_programs};
use crate::Plan;
use crate::broker::Broker;
use crate::recorder::Recorder;
use crate::shop_program::POISON;
use crate::wait::until_some;

/// Places in [`PROGRAMS`].
const PAYMENTS: usize = 1;
const ORDERS: usize = 2;
const MAILER: usize = 4;

/// The queue of the orders.
const ORDERS_QUEUE: &str = "polywire.orders";
/// The right to declare everything but that queue, as a pattern of the broker.
const ALL_BUT_ORDERS: &str = "^(?!polywire\\.orders$)";

/// Runs the scenario, in one size: the seven programs of `examples/shop`, as processes of their
/// own, go through a wrong password, a poison job, a deleted queue, a stopped program and a disk
/// alarm. The load is that of the scenario `shop`.
///
/// | trouble | `/ready` and `/canary` of | must |
/// |---|---|---|
/// | wrong password | all programs | turn off, and on again |
/// | poison job | its worker | be gone while no process runs, and on again |
/// | | all others | stay ready: one job fails, and each other job is done |
/// | deleted queue | the service | be on again: it declares the queue at once |
/// | deleted queue that the service may not declare | the service | turn off, and on again |
/// | | all others | stay ready: their own queues are consumed |
/// | slow service | the service, which is stopped | be silent, and on again |
/// | | all others | stay ready, its callers too: their own queues are consumed |
/// | disk alarm | all programs | turn off, and on again |
///
/// Each turn has twice the heartbeat, from the end of the action that causes the turn, plus ten
/// times the longest time in which a program has answered `/live` meanwhile. The log line of a
/// trouble that leaves probes on is what shows the trouble: a dead letter with its message id, and
/// calls that wait for a service. In each trouble, a line at `warn` or `error` must name the cause,
/// and is one of the first three that an operator reads.
///
/// After each trouble, all probes are on again, and each order that was placed is answered. In the
/// end, charges, invoices and mails equal the answered orders.
///
/// # Errors
///
/// If a probe turns too late, or although it must not; if the cause is named too late or never; if
/// the books disagree.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let shop = Shop::create(plan, &broker, folder.path()).await?;
    let programs = start_programs(&shop).await?;
    let load = Program::start(&shop, "load")?.ready().await?;
    let mut run = Troubles { shop: &shop, broker, programs, load, recorder };

    run.recovered().await?;
    run.wrong_password().await.context("a wrong password")?;
    run.poison_job().await.context("a poison job")?;
    run.deleted_queue().await.context("a deleted queue")?;
    run.missing_queue().await.context("a deleted queue that may not be declared")?;
    run.slow_service().await.context("a slow service")?;
    run.disk_alarm().await.context("a disk alarm")?;

    let Troubles { programs, load, broker, .. } = run;
    load.finish().await?;
    count(&shop.books, recorder).await?;
    stop_programs(programs).await?;
    drop(broker);
    recorder.check_nothing_lost().await
}

/// The troubles, one at a time. After each, the shop must recover.
struct Troubles<'a> {
    /// Surroundings of all programs.
    shop: &'a Shop<'a>,
    broker: Broker,
    /// The programs in the order of [`PROGRAMS`].
    programs: Vec<Program>,
    /// The program that places the orders. It has no endpoint, so its canary is the state of its
    /// connection.
    load: Program,
    recorder: &'a Recorder,
}

impl Troubles<'_> {
    /// Changes the password, and closes all connections: the programs are refused until their file
    /// has the new password.
    ///
    /// Open connections do not notice the change itself, so the clock starts with their end.
    async fn wrong_password(&mut self) -> Result<()> {
        let password = "password-1";
        self.broker.ctl(["change_password", USER, password]).await?;
        let (mark, all) = (LogMark::now(), self.all());
        let watch = Watch::begin(&[], &self.load);
        // The broker passes the reason on to the programs, so the reason must not name the cause.
        let closing = self.ctl(["close_all_user_connections", USER, "by an operator"]);
        let off = Turn::by(closing, Answer::Off, &all).await?;
        let named = |line: &str| line.contains("the password was refused");
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        let repair = async { self.shop.set_password(password) };
        let on = Turn::by(repair, Answer::On, &all).await?;
        let (turns, seen) = ([("off", off), ("on again", on)], watch.end());
        let row = Row { turns: &turns, seen: &seen, reading: &reading };
        self.record("wrong password", &row)?;
        self.recovered().await
    }

    /// Pushes a mail that aborts the mailer, and starts the mailer again after each end. In the end
    /// the mail is a dead letter.
    ///
    /// The probes of the mailer cannot be reached after its first end, and are on after its last
    /// start. The other programs stay ready.
    async fn poison_job(&mut self) -> Result<()> {
        let shop = self.shop;
        let amqp = Amqp::connect(&shop.plan.url(&self.broker.url)).await?;
        let pusher = Pusher::connect(&amqp, "mails", MessagePack).await?.with_message_id(POISON)?;
        // No order has this number.
        let mail = Mail { order: u64::MAX, to: "a".to_owned(), text: String::new() };
        let watch = Watch::begin(&self.all_but(MAILER), &self.load);
        let mark = LogMark::now();
        pusher.push(&mail).await?;
        let named = |line: &str| {
            line.contains("name=mails")
                && line.contains(POISON)
                && line.contains("delivery limit exceeded with no recorded outcome")
        };
        let (mut ends, mut off) = (0_usize, None);
        let reading = loop {
            // Each mailer has the time of a wait.
            let status = tokio::select! {
                named = Reading::once_named(&shop.lines, &mark, named) => break named?,
                ended = self.programs[MAILER].ended() => ended?,
            };
            // A process that a signal has ended has no code.
            ensure!(status.code().is_none(), "the mailer ended with {status}");
            ends += 1;
            ensure!(ends <= ENDS_MAX, "the mailer ended {ends} times, and its job goes on");
            if off.is_none() {
                let mailer = [&self.programs[MAILER]];
                off = Some(Turn::by(async { Ok(()) }, Answer::Gone, &mailer).await?);
            }
            self.programs[MAILER] = Program::start(shop, PROGRAMS[MAILER])?;
        };
        let off = off.context("the mailer has not ended")?;
        let mailer = [&self.programs[MAILER]];
        let on = Turn::by(async { Ok(()) }, Answer::On, &mailer).await?;
        let seen = watch.end();
        self.recorder.figure("ends of the mailer", ends);
        let turns = [("gone after an end", off), ("on after the last start", on)];
        let row = Row { turns: &turns, seen: &seen, reading: &reading };
        self.record("poison job", &row)?;
        seen.check_ready()?;
        let letters = DeadLetters::of_queue(&amqp, "mails")?;
        let dead = until_some("the poison job is a dead letter", || async {
            letters.look(DEAD_MAX).await.ok().filter(|dead| !dead.is_empty())
        });
        let dead = dead.await?;
        let is_poison = |letter: &DeadLetter| {
            letter.reason() == DeadLetterReason::Crashed
                && letter.message_id().is_some_and(|id| id.as_str() == POISON)
        };
        ensure!(dead.iter().all(is_poison), "the dead letters are {dead:?}");
        self.recovered().await
    }

    /// Deletes the queue of the orders, with the requests in it. The program declares the queue
    /// again.
    ///
    /// Readiness is off for a moment, which a probe may miss: the row has the number of answers
    /// that did not. So the times are those until both probes are on after the deletion.
    async fn deleted_queue(&mut self) -> Result<()> {
        let orders = [&self.programs[ORDERS]];
        let watch = Watch::begin(&orders, &self.load);
        let (mark, begun) = (LogMark::now(), Instant::now());
        self.ctl(["delete_queue", ORDERS_QUEUE]).await?;
        let done = Instant::now();
        let named = |line: &str| {
            line.contains("queue=polywire.orders") && line.contains("the queue was deleted")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        let on = Turn::after((begun, done), Answer::On, &orders).await?;
        let (turns, seen) = ([("on again", on)], watch.end());
        self.record("deleted queue", &Row { turns: &turns, seen: &seen, reading: &reading })?;
        self.recovered().await
    }

    /// Deletes the queue of the orders, whose user may not declare it until the probes are off.
    async fn missing_queue(&mut self) -> Result<()> {
        self.ctl(["set_permissions", USER, ALL_BUT_ORDERS, ".*", ".*"]).await?;
        let orders = [&self.programs[ORDERS]];
        let watch = Watch::begin(&self.all_but(ORDERS), &self.load);
        let mark = LogMark::now();
        let deleting = self.ctl(["delete_queue", ORDERS_QUEUE]);
        let off = Turn::by(deleting, Answer::Off, &orders).await?;
        let named = |line: &str| {
            line.contains("queue=polywire.orders") && line.contains("cannot consume; retrying")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        let repair = self.ctl(["set_permissions", USER, ".*", ".*", ".*"]);
        let on = Turn::by(repair, Answer::On, &orders).await?;
        let seen = watch.end();
        seen.check_ready()?;
        let turns = [("off", off), ("on again", on)];
        let row = Row { turns: &turns, seen: &seen, reading: &reading };
        self.record("deleted queue that may not be declared", &row)?;
        self.recovered().await
    }

    /// Stops the payments with SIGSTOP: their connections stay open, and nothing answers.
    ///
    /// The other programs stay ready, since their own queues are consumed. Their canaries wait
    /// behind the calls that wait for the payments, so the row has the canary of the orders, and
    /// the scenario asks nothing of it.
    async fn slow_service(&mut self) -> Result<()> {
        let payments = [&self.programs[PAYMENTS]];
        let watch = Watch::begin(&self.all_but(PAYMENTS), &self.load);
        let mark = LogMark::now();
        let stop = payments[0].signal("-STOP");
        let off = Turn::by(stop, Answer::Silent, &payments).await?;
        let named = |line: &str| {
            line.contains("calls wait for replies") && line.contains("service=payments")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        let canary = Probe::Canary.ask(&self.programs[ORDERS].prober()).await;
        let on = Turn::by(payments[0].signal("-CONT"), Answer::On, &payments).await?;
        let seen = watch.end();
        seen.check_ready()?;
        let canary = canary.map_or_else(|| "busy".to_owned(), |answer| format!("{answer:?}"));
        self.recorder.figure("canary of the orders beside the slow service", canary);
        let turns = [("silent", off), ("on again", on)];
        let row = Row { turns: &turns, seen: &seen, reading: &reading };
        self.record("slow service", &row)?;
        self.recovered().await
    }

    /// Sets the disk alarm: the broker blocks each connection that publishes.
    ///
    /// A program that sends nothing else notices by its canary.
    async fn disk_alarm(&mut self) -> Result<()> {
        let (mark, all) = (LogMark::now(), self.all());
        let watch = Watch::begin(&[], &self.load);
        let alarm = self.broker.with(|node| node.set_disk_alarm());
        let off = Turn::by(alarm, Answer::Off, &all).await?;
        let named = |line: &str| {
            line.contains("the broker has stopped accepting messages") && line.contains("disk")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        let repair = self.broker.with(|node| node.clear_disk_alarm());
        let on = Turn::by(repair, Answer::On, &all).await?;
        let (turns, seen) = ([("off", off), ("on again", on)], watch.end());
        let row = Row { turns: &turns, seen: &seen, reading: &reading };
        self.record("disk alarm", &row)?;
        self.recovered().await
    }

    /// Records the row of a trouble, and checks its bounds.
    fn record(&self, trouble: &'static str, row: &Row<'_>) -> Result<()> {
        self.recorder.figure(trouble, row);
        row.check(trouble)
    }

    /// Runs `rabbitmqctl`.
    async fn ctl<const N: usize>(&self, arguments: [&str; N]) -> Result<()> {
        self.broker.ctl(arguments).await.map(drop)
    }

    /// Waits until all probes are on, and until each order that was placed before is answered.
    ///
    /// The next trouble then finds no line of the last one. Each wait has two minutes.
    async fn recovered(&mut self) -> Result<()> {
        let all = self.all();
        Turn::by(async { Ok(()) }, Answer::On, &all).await?;
        let books = &self.shop.books;
        more_orders(books, &mut self.load).await?;
        let answered = Ledger::read(books, "customers")?;
        let latest = *answered.amounts.keys().next_back().context("no order is answered")?;
        // Orders are numbered from 0 without a gap.
        until_some("each order before the latest is answered", || async {
            let answered = Ledger::read(books, "customers").ok()?;
            (answered.amounts.range(..latest).count() as u64 == latest).then_some(())
        })
        .await
    }

    /// Returns all programs but the one at this place in [`PROGRAMS`].
    fn all_but(&self, at: usize) -> Vec<&Program> {
        let mut programs = self.all();
        programs.remove(at);
        programs
    }

    /// Returns all programs.
    fn all(&self) -> Vec<&Program> {
        self.programs.iter().chain([&self.load]).collect()
    }
}

/// Ends of the mailer within which its job has to become a dead letter: three times its attempts.
const ENDS_MAX: usize = 15;
/// Dead letters that are looked at.
const DEAD_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_programs() {
        let names = [PAYMENTS, ORDERS, MAILER].map(|at| PROGRAMS[at]);
        assert_eq!(names, ["payments", "orders", "mailer"]);
    }
}
