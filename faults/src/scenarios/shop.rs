//! A whole system goes through the life of a production: each order that is answered is charged
//! once, invoiced and mailed.

pub(super) mod ledger;
pub(super) mod log_lines;
pub(super) mod program;
pub(super) mod surroundings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use futures_util::future::try_join_all;
use polywire_conformance::OperationOutcome;
use tokio::time::Instant;

use self::ledger::Ledger;
use self::program::Program;
use self::surroundings::{Shop, USER};
use crate::Plan;
use crate::broker::Broker;
use crate::recorder::Recorder;
use crate::wait::until_some;

/// The programs that serve.
pub(super) const PROGRAMS: [&str; 6] =
    ["inventory", "payments", "orders", "invoices", "mailer", "dashboard"];

/// Orders that are answered between two disturbances.
const ORDERS: usize = 20;

/// Runs the scenario: the seven programs of `examples/shop`, as processes of their own, share a
/// user of the broker, whose password is in a file.
///
/// The load places one order each 20 ms, twice at the same time, and repeats an order until it is
/// answered. Meanwhile programs are killed (6 in a quick run, 60 in a full one) and started again;
/// the broker is killed and restarted (once, five times); all programs are replaced with SIGTERM
/// one after the other, by turns before and after the new one is ready (once, five times); and the
/// password changes under all connections (once, three times). The programs keep their books in
/// files, which outlive them.
///
/// At least 20 orders are answered after each disturbance. In the end, charges and invoices equal
/// the answered orders, by number and amount. There are as many mails, and no book has an order
/// twice.
///
/// # Errors
///
/// If an order is not answered; if an answered order is not charged with its amount, not invoiced
/// or not mailed; if an order is charged twice; if a program does not drain, or does not come back.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let shop = Shop::create(plan, &broker, folder.path()).await?;
    let programs = start_programs(&shop).await?;
    let load = Program::start(&shop, "load")?.ready().await?;
    let rng = Rng::with_seed(plan.seed);
    let mut run = Disturbances { shop: &shop, broker, programs, load, rng };

    run.more_orders().await?;
    for _ in 0..plan.pick(6, 60) {
        run.kill_one().await?;
    }
    for _ in 0..plan.pick(1, 5) {
        let took = run.restart_broker().await?;
        recorder.figure("orders answered again after a restart within", seconds(took));
        run.replace_all().await?;
    }
    for change in 0..plan.pick(1, 3) {
        run.change_password(change + 1).await?;
    }
    let Disturbances { programs, load, broker, .. } = run;
    load.finish().await?;
    count(&shop.books, recorder).await?;
    stop_programs(programs).await?;
    drop(broker);
    recorder.check_nothing_lost().await
}

/// Starts the programs that serve, in the order of [`PROGRAMS`], and waits until each is ready.
pub(super) async fn start_programs(shop: &Shop<'_>) -> Result<Vec<Program>> {
    let starting = PROGRAMS.map(|name| async move { Program::start(shop, name)?.ready().await });
    try_join_all(starting).await
}

/// Stops the programs that serve, and fails unless each drains.
///
/// The caller first: an order that a lost connection has delivered again may still run, and needs
/// the programs that it calls.
pub(super) async fn stop_programs(mut programs: Vec<Program>) -> Result<()> {
    let orders = PROGRAMS.iter().position(|name| *name == "orders").context("orders is there")?;
    let orders = programs.remove(orders);
    orders.exports("polywire_server_answered_total{service=\"orders\"}").await?;
    orders.stop().await?;
    try_join_all(programs.into_iter().map(Program::stop)).await?;
    Ok(())
}

/// The disturbances, one at a time. After each, orders must be answered.
struct Disturbances<'a> {
    /// Surroundings of all programs.
    shop: &'a Shop<'a>,
    broker: Broker,
    /// The programs in the order of [`PROGRAMS`].
    programs: Vec<Program>,
    /// The program that places the orders, and ends with its standard input.
    load: Program,
    rng: Rng,
}

impl Disturbances<'_> {
    /// Kills a program with SIGKILL, and starts it again.
    ///
    /// The program is a random one, and keeps its place in the list.
    async fn kill_one(&mut self) -> Result<()> {
        let at = self.rng.usize(..PROGRAMS.len());
        let killed = self.programs.swap_remove(at);
        killed.kill().await?;
        self.programs.push(Program::start(self.shop, PROGRAMS[at])?.ready().await?);
        let last = self.programs.len() - 1;
        self.programs.swap(at, last);
        self.more_orders().await
    }

    /// Kills the broker, starts it again, and returns the time from there to the next orders.
    ///
    /// The broker writes its list of queues to disk before the kill.
    async fn restart_broker(&mut self) -> Result<Duration> {
        self.broker.with(|node| node.remember_queues()).await?;
        self.broker.kill().await?;
        self.broker.restart().await?;
        let start = Instant::now();
        self.more_orders().await?;
        Ok(start.elapsed())
    }

    /// Replaces each program, by turns before and after the new process is ready.
    ///
    /// The new process is started first in any case. At an even place, the old one stops when the
    /// new one is ready; at an odd place, at once.
    async fn replace_all(&mut self) -> Result<()> {
        for (at, name) in PROGRAMS.into_iter().enumerate() {
            let new = Program::start(self.shop, name)?;
            let old = if at % 2 == 0 {
                let new = new.ready().await?;
                std::mem::replace(&mut self.programs[at], new).stop().await
            } else {
                let old = std::mem::replace(&mut self.programs[at], new);
                old.stop().await
            };
            old?;
            self.programs[at].readiness(true).await?;
            self.more_orders().await?;
        }
        Ok(())
    }

    /// Changes the password, and closes all connections. The programs are refused until their file
    /// has the new password.
    async fn change_password(&mut self, number: usize) -> Result<()> {
        let new = format!("password-{number}");
        self.broker.ctl(["change_password", USER, &new]).await?;
        self.broker.ctl(["close_all_user_connections", USER, "a new password"]).await?;
        try_join_all(self.programs.iter().map(|program| program.readiness(false))).await?;
        self.shop.set_password(&new)?;
        try_join_all(self.programs.iter().map(|program| program.readiness(true))).await?;
        self.more_orders().await
    }

    async fn more_orders(&mut self) -> Result<()> {
        more_orders(&self.shop.books, &mut self.load).await
    }
}

/// Waits until more orders are answered.
///
/// # Errors
///
/// If that takes longer than two minutes, or if the load has ended.
pub(super) async fn more_orders(books: &Path, load: &mut Program) -> Result<()> {
    let enough = Ledger::count(books, "customers") + ORDERS;
    let answered = until_some("more orders are answered", || async {
        (Ledger::count(books, "customers") >= enough).then_some(())
    });
    let answered = answered.await;
    // A load that has ended says why.
    load.check().and(answered)
}

/// Waits until the books agree, and counts: an operation is an order, its effect is the charge.
///
/// The amounts are compared once payments, invoices and mails have each answered order, within two
/// minutes. The figures are recorded in any case, for the report of a failure.
///
/// Orders are numbered from 0 without a gap, since the load ends only when each is answered. So the
/// numbers of orders are also those of operations.
pub(super) async fn count(books: &Path, recorder: &Recorder) -> Result<()> {
    let answered = Ledger::read(books, "customers")?;
    let agree = || async {
        let has_all = |name| {
            let book = Ledger::read(books, name).ok();
            book.is_some_and(|book| {
                answered.amounts.keys().all(|order| book.amounts.contains_key(order))
            })
        };
        ["payments", "invoices", "mails"].into_iter().all(has_all).then_some(())
    };
    let agreed = until_some("each order is charged, invoiced and mailed", agree).await;
    let read = |name| Ledger::read(books, name);
    let (charged, invoiced, mailed) = (read("payments")?, read("invoices")?, read("mails")?);
    for _ in &answered.amounts {
        let order = recorder.attempt();
        recorder.end(order, OperationOutcome::Acknowledged);
    }
    for order in &charged.entries {
        recorder.effect(1, *order);
    }
    recorder.figure("charged", charged.amounts.len());
    recorder.figure("invoiced", invoiced.amounts.len());
    recorder.figure("mailed", mailed.amounts.len());
    recorder.figure("seen by the dashboard", read("dashboard")?.amounts.len());
    agreed?;
    let again: usize = [&answered, &charged, &invoiced, &mailed].map(Ledger::repeated).iter().sum();
    ensure!(again == 0, "{again} orders are in a book twice");
    ensure!(is_same(&answered.amounts, &charged.amounts), "the charges are not those answered");
    ensure!(is_same(&answered.amounts, &invoiced.amounts), "the invoices are not those answered");
    ensure!(mailed.amounts.len() == answered.amounts.len(), "there are mails without an order");
    Ok(())
}

/// Returns true if two books have the same orders with the same amounts.
fn is_same(one: &BTreeMap<u64, u64>, other: &BTreeMap<u64, u64>) -> bool {
    one.len() == other.len() && one.iter().all(|(number, cents)| other.get(number) == Some(cents))
}

/// Formats a duration for the report.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
