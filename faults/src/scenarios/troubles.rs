//! Five troubles of a shop, one after the other: probes turn in time, and the log names the cause
//! within three lines.

mod reading;
mod turning;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::pipeline::DeadLetter;
use polywire_core::{DeadLetters, Pusher};
use polywire_example_shop::contracts::Mail;
use tokio::time::Instant;

use self::reading::Reading;
use self::turning::{Answer, Probe};
use super::shop::ledger::Ledger;
use super::shop::log_lines::LogMark;
use super::shop::program::Program;
use super::shop::surroundings::{Shop, USER};
use super::shop::{PROGRAMS, count, more_orders, seconds, start_programs, stop_programs};
use crate::Plan;
use crate::broker::Broker;
use crate::recorder::Recorder;
use crate::shop_program::POISON;
use crate::wait::until_some;

/// Places in [`PROGRAMS`].
const PAYMENTS: usize = 1;
const ORDERS: usize = 2;
const MAILER: usize = 4;

/// The default heartbeat of a URL, which the programs have.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The bound of the times in which probes turn.
const TURN_MAX: Duration = Duration::from_secs(2 * HEARTBEAT.as_secs());
/// Lines of the log that an operator reads until one names the cause, at most.
const LINES_MAX: usize = 3;

/// Runs the scenario, in one size: the seven programs of `examples/shop`, as processes of their
/// own, go through a wrong password, a poison job, a deleted queue, a stopped program and a disk
/// alarm.
///
/// The load is that of the scenario `shop`. For each trouble, the clock starts before the
/// injection. The probes that the trouble concerns must turn within twice the heartbeat. A line at
/// `warn` or `error` must name the cause, and is one of the first three that an operator reads.
///
/// After each trouble, all probes are on again, and each order that was placed is answered. In the
/// end, charges, invoices and mails equal the answered orders.
///
/// # Errors
///
/// If a probe turns too late, if the cause is named too late or never, or if the books disagree.
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
    /// The program that places the orders. It has no endpoint, and thus no canary.
    load: Program,
    recorder: &'a Recorder,
}

impl Troubles<'_> {
    /// Changes the password, and closes all connections: the programs are refused until their file
    /// has the new password.
    ///
    /// Open connections do not notice the change itself, so the clock starts before their end.
    async fn wrong_password(&mut self) -> Result<()> {
        let password = "password-1";
        self.broker.ctl(["change_password", USER, password]).await?;
        let (mark, start) = (LogMark::now(), Instant::now());
        let (all, serving) = (self.all(), self.serving());
        // The broker passes the reason on to the programs, so the reason must not name the cause.
        let closing = self.broker.ctl(["close_all_user_connections", USER, "by an operator"]);
        let (_, ready, canary) = tokio::try_join!(
            closing,
            Probe::Ready.until(Answer::Off, &all, start),
            Probe::Canary.until(Answer::Off, &serving, start),
        )?;
        let named = |line: &str| line.contains("the password was refused");
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        self.record("wrong password", &reading, [ready, canary])?;
        self.shop.set_password(password)?;
        self.recovered().await
    }

    /// Pushes a mail that aborts the mailer, and starts the mailer again after each end. In the end
    /// the mail is a dead letter.
    ///
    /// The probes of the mailer give no answer from its first end on, and its readiness is on again
    /// after its last start. The other programs stay ready.
    async fn poison_job(&mut self) -> Result<()> {
        let shop = self.shop;
        let amqp = Amqp::connect(&shop.plan.url(&self.broker.url)).await?;
        let pusher = Pusher::connect(&amqp, "mails", MessagePack).await?.with_message_id(POISON)?;
        // No order has this number.
        let mail = Mail { order: u64::MAX, to: "a".to_owned(), text: String::new() };
        let (mark, start) = (LogMark::now(), Instant::now());
        pusher.push(&mail).await?;
        let named = |line: &str| {
            line.contains("name=mails")
                && line.contains(POISON)
                && line.contains("delivery limit exceeded with no recorded outcome")
        };
        let (mut ends, mut off, mut started) = (0_usize, None, start);
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
            off.get_or_insert_with(|| start.elapsed());
            started = Instant::now();
            self.programs[MAILER] = Program::start(shop, PROGRAMS[MAILER])?;
        };
        let off = off.context("the mailer has not ended")?;
        let on = Probe::Ready.until(Answer::On, &[&self.programs[MAILER]], started).await?;
        self.recorder.figure("ends of the mailer", ends);
        self.recorder.figure("last mailer ready in", seconds(on));
        self.record("poison job", &reading, [off, off])?;
        self.check_others_ready(MAILER).await?;
        let dead = DeadLetters::of_queue(&amqp, "mails")?.look(DEAD_MAX).await?;
        let is_poison = |letter: &DeadLetter| {
            letter.reason() == DeadLetterReason::Crashed
                && letter.message_id().is_some_and(|id| id.as_str() == POISON)
        };
        ensure!(!dead.is_empty() && dead.iter().all(is_poison), "the dead letters are {dead:?}");
        self.recovered().await
    }

    /// Deletes the queue of the orders, with the requests in it. The program declares the queue
    /// again.
    ///
    /// Readiness is off for a moment, which a probe may miss. So the times are those until both
    /// probes are on after the deletion.
    async fn deleted_queue(&mut self) -> Result<()> {
        let (mark, start) = (LogMark::now(), Instant::now());
        self.broker.ctl(["delete_queue", "polywire.orders"]).await?;
        let named = |line: &str| {
            line.contains("queue=polywire.orders") && line.contains("the queue was deleted")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        let orders = [&self.programs[ORDERS]];
        let (ready, canary) = tokio::try_join!(
            Probe::Ready.until(Answer::On, &orders, start),
            Probe::Canary.until(Answer::On, &orders, start),
        )?;
        self.record("deleted queue", &reading, [ready, canary])?;
        self.recovered().await
    }

    /// Stops the payments with SIGSTOP: their connections stay open, and nothing answers.
    ///
    /// The other programs stay ready, since their own queues are consumed.
    async fn slow_service(&mut self) -> Result<()> {
        let (mark, start) = (LogMark::now(), Instant::now());
        let payments = [&self.programs[PAYMENTS]];
        let (_, ready, canary) = tokio::try_join!(
            self.programs[PAYMENTS].signal("-STOP"),
            Probe::Ready.until(Answer::Silent, &payments, start),
            Probe::Canary.until(Answer::Silent, &payments, start),
        )?;
        let named = |line: &str| {
            line.contains("calls wait for replies") && line.contains("service=payments")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        self.check_others_ready(PAYMENTS).await?;
        self.programs[PAYMENTS].signal("-CONT").await?;
        self.record("slow service", &reading, [ready, canary])?;
        self.recovered().await
    }

    /// Sets the disk alarm: the broker blocks each connection that publishes.
    ///
    /// A program that sends nothing else notices by its canary.
    async fn disk_alarm(&mut self) -> Result<()> {
        let (mark, start) = (LogMark::now(), Instant::now());
        let (all, serving) = (self.all(), self.serving());
        let (_, ready, canary) = tokio::try_join!(
            self.broker.with(|node| node.set_disk_alarm()),
            Probe::Ready.until(Answer::Off, &all, start),
            Probe::Canary.until(Answer::Off, &serving, start),
        )?;
        let named = |line: &str| {
            line.contains("the broker has stopped accepting messages") && line.contains("disk")
        };
        let reading = Reading::once_named(&self.shop.lines, &mark, named).await?;
        self.broker.with(|node| node.clear_disk_alarm()).await?;
        self.record("disk alarm", &reading, [ready, canary])?;
        self.recovered().await
    }

    /// Records the figures of a trouble, and checks their bounds. `turned` has the times of
    /// readiness and canary.
    fn record(
        &self,
        trouble: &'static str,
        reading: &Reading,
        turned: [Duration; 2],
    ) -> Result<()> {
        let [ready, canary] = turned;
        let times = format!("/ready in {}, /canary in {}, ", seconds(ready), seconds(canary));
        self.recorder.figure(trouble, format!("{times}{reading}"));
        let lines = reading.lines();
        ensure!(lines <= LINES_MAX, "the cause is named in line {lines}:\n{}", reading.text());
        // No demand: warnings about the end of the trouble before come later on a busy machine.
        if reading.lines_of_program() > LINES_MAX {
            eprintln!("lines of one program before {trouble}:\n{}", reading.text_of_program());
        }
        let is_late = turned.into_iter().any(|time| time > TURN_MAX);
        ensure!(!is_late, "a probe turned too late: {times}the bound is {}", seconds(TURN_MAX));
        Ok(())
    }

    /// Fails unless all serving programs but one are ready.
    async fn check_others_ready(&self, at: usize) -> Result<()> {
        let mut others = self.serving();
        others.remove(at);
        for program in others {
            let status = program.status("/ready", TURN_MAX).await;
            let is_ready = matches!(status, Ok(Some(200)));
            ensure!(is_ready, "{} answers {status:?}, and not that it is ready", program.name);
        }
        Ok(())
    }

    /// Waits until all probes are on, and until each order that was placed before is answered.
    ///
    /// The next trouble then finds no line of the last one. Each wait has two minutes.
    async fn recovered(&mut self) -> Result<()> {
        let (all, serving, now) = (self.all(), self.serving(), Instant::now());
        tokio::try_join!(
            Probe::Ready.until(Answer::On, &all, now),
            Probe::Canary.until(Answer::On, &serving, now),
        )?;
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

    /// Returns the programs that serve, in the order of [`PROGRAMS`].
    fn serving(&self) -> Vec<&Program> {
        self.programs.iter().collect()
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
