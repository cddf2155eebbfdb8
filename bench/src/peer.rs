//! Subjects that are other libraries: two processes of the program in `bench/peers`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::latency::Latency;
use crate::load::{Figures, Load};
use crate::process::{Server, cpu_time, cpu_time_of_children, peak_memory};
use crate::subject::Subject;

/// Starts a server of `program`, lets another process of it put load on that, and kills it.
///
/// The processor time of a broker between them does not count, as that of RabbitMQ does not.
///
/// The calling process prints one JSON object: `calls`, `took_us`, and `latency_us` with three
/// quantiles in microseconds. The CPU time of the calling process is that of an ended child.
pub(crate) fn measure(
    program: &Path,
    subject: Subject,
    load: Load,
    duration: Duration,
) -> Result<Figures> {
    let mut command = Command::new(program);
    command.args(["--serve", subject.name()]);
    let mut server = Server::start(&mut command)?;
    let at = server.address()?;
    let server_cpu = || cpu_time(&server.id().to_string());
    let before = (server_cpu()?, cpu_time_of_children()?);
    let numbers = [load.in_flight as u128, load.body as u128, duration.as_millis()];
    let calling = Command::new(program)
        .args(["--call", subject.name(), &at])
        .args(numbers.map(|number| number.to_string()))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(calling.status.success(), "{} failed", subject.name());
    let cpu = server_cpu()? - before.0 + cpu_time_of_children()? - before.1;
    let line: Value = serde_json::from_slice(&calling.stdout).context("cannot read the figures")?;
    let number = |name: &str| line[name].as_u64().with_context(|| format!("no {name}"));
    let latency = line["latency_us"].as_array().and_then(|quantiles| {
        let at = |n: usize| quantiles.get(n)?.as_f64();
        Some(Latency { p50: at(0)?, p99: at(1)?, p999: at(2)? })
    });
    Ok(Figures {
        calls: number("calls")?,
        took: Duration::from_micros(number("took_us")?),
        cpu,
        latency,
        server_peak: peak_memory(server.id())?,
    })
}
