//! The link of one end is cut, swallowed or delayed, for each role and each trouble: it recovers,
//! and nothing that was acknowledged is lost.

mod role;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use polywire_amqp::Amqp;
use polywire_conformance::Proxy;
use tokio::time::Instant;

use self::role::Role;
use self::trouble::Trouble;
use crate::Plan;
use crate::book::Book;
use crate::broker::Broker;
use crate::traffic::Traffic;

/// Both sides show this often that they live, and give up after twice the time.
const HEARTBEAT: Duration = Duration::from_secs(2);

pub(crate) async fn run(plan: &Plan, book: &Arc<Book>) -> Result<()> {
    let broker = Broker::start().await?;
    let rounds = plan.pick(1, 5);
    let cases = Role::ALL.into_iter().flat_map(|role| Trouble::ALL.map(|trouble| (role, trouble)));
    let cases: Vec<_> = cases.collect();
    let mut running = stream::iter(cases)
        .map(|(role, trouble)| {
            let case = Case { plan, broker: &broker, book, role, trouble };
            async move { (role, trouble, case.run(rounds).await) }
        })
        .buffer_unordered(AT_A_TIME);
    let mut all = BTreeMap::<_, Times>::new();
    while let Some((role, trouble, times)) = running.next().await {
        let times = times.with_context(|| format!("{trouble} at the {role}"))?;
        all.entry(trouble).or_default().add(times);
    }
    for (trouble, times) in all {
        book.figure(trouble.name(), times);
    }
    book.nothing_is_lost().await
}

/// Most of the time they wait.
const AT_A_TIME: usize = 12;

/// How long it took at the longest until a trouble was noticed, if it had to be, and from its end
/// until all was as before.
#[derive(Clone, Copy, Default)]
struct Times {
    noticed: Option<Duration>,
    recovered: Duration,
    rounds: u32,
    /// Those in which each of the two took no longer than twice the heartbeat.
    in_time: u32,
}

impl Times {
    fn of_round(noticed: Option<Duration>, recovered: Duration) -> Self {
        let slower = noticed.unwrap_or_default().max(recovered);
        Self { noticed, recovered, rounds: 1, in_time: u32::from(slower <= HEARTBEAT * 2) }
    }

    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.in_time += other.in_time;
        self.noticed = self.noticed.max(other.noticed);
        self.recovered = self.recovered.max(other.recovered);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(noticed) = self.noticed {
            write!(f, "noticed within {:.1} s, ", noticed.as_secs_f64())?;
        }
        write!(f, "recovered within {:.1} s, ", self.recovered.as_secs_f64())?;
        write!(f, "both within twice the heartbeat {} of {} times", self.in_time, self.rounds)
    }
}

/// One trouble at one role, with a proxy and names of its own.
struct Case<'a> {
    plan: &'a Plan,
    broker: &'a Broker,
    book: &'a Arc<Book>,
    role: Role,
    trouble: Trouble,
}

impl Case<'_> {
    /// How long it took.
    async fn run(&self, rounds: u32) -> Result<Times> {
        let proxy = Proxy::start(format!("127.0.0.1:{}", self.broker.port)).await?;
        let near = self.connect(&format!("amqp://guest:guest@{}", proxy.address())).await?;
        let far = self.connect(&self.broker.url).await?;
        let (sending, taking) = if self.role.is_sending() { (&near, &far) } else { (&far, &near) };
        let name = format!("{}-{}", self.role.name(), self.trouble.name());
        let traffic =
            Traffic::start(self.role.pattern(), &name, sending, taking, self.book).await?;
        traffic.until_it_flows().await?;
        let mut times = Times::default();
        for _ in 0..rounds {
            let noticed = self.trouble.pass(&proxy, &near).await?;
            let over = Instant::now();
            traffic.until_it_flows().await?;
            times.add(Times::of_round(noticed, over.elapsed()));
        }
        traffic.finish().await?;
        Ok(times)
    }

    async fn connect(&self, url: &str) -> Result<Amqp> {
        Amqp::builder(&self.plan.url(url))?
            .heartbeat(HEARTBEAT)
            .build()
            .await
            .context("a transport")
    }
}
