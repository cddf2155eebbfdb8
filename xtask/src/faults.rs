//! Fault scenarios: `polywire-faults` for RabbitMQ, long tests of polywire-zmq for ZeroMQ.

use anyhow::Result;
use clap::{Args, Subcommand};
use xshell::{Shell, cmd};

use crate::broker::{Broker, BrokerVersion};

/// Options of `cargo xtask faults`.
#[derive(Args, Debug)]
pub(crate) struct FaultOptions {
    /// Version of RabbitMQ.
    #[arg(long, value_enum, default_value_t)]
    broker: BrokerVersion,
    /// `amqp` (the default) or `zmq`; then letters of scenarios and options of `polywire-faults`,
    /// or filters of tests.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Options of `cargo xtask soak`.
#[derive(Args, Debug)]
pub(crate) struct SoakOptions {
    /// Version of RabbitMQ.
    #[arg(long, value_enum, default_value_t)]
    broker: BrokerVersion,
    #[command(subcommand)]
    transport: SoakTransport,
}

#[derive(Debug, Subcommand)]
enum SoakTransport {
    /// RabbitMQ: restarts under load.
    Amqp {
        /// Duration in minutes.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
}

/// Runs the named scenarios of AMQP, or all; or the tests of ZeroMQ that take minutes.
///
/// The tests of ZeroMQ are ignored ones of `polywire-zmq`, which need no broker.
///
/// The first word `amqp` may be left out. The program starts nodes of the chosen version itself;
/// the tests of ZeroMQ ignore the version.
pub(crate) fn run(shell: &Shell, options: &FaultOptions) -> Result<()> {
    if let [first, arguments @ ..] = options.arguments.as_slice()
        && first == "zmq"
    {
        let tests = ["--test", "hostile", "--test", "it", "--test", "it_zeromq"];
        let run = cmd!(shell, "cargo test --locked -p polywire-zmq --all-features {tests...}");
        return Ok(run.args(["--", "--ignored", "--nocapture"]).args(arguments).run()?);
    }
    let arguments = match options.arguments.as_slice() {
        [first, arguments @ ..] if first == "amqp" => arguments,
        arguments => arguments,
    };
    let broker = Broker::prepare(shell, options.broker)?;
    let _environment = broker.push_environment(shell);
    Ok(cmd!(shell, "cargo run --locked --quiet -p polywire-faults -- {arguments...}").run()?)
}

/// Runs the scenario without an end of its own.
///
/// The program starts and restarts its own nodes of the version.
///
/// # Errors
///
/// If the version cannot be prepared, if an operation is lost, or if memory grows.
pub(crate) fn soak(shell: &Shell, options: &SoakOptions) -> Result<()> {
    let SoakTransport::Amqp { minutes } = &options.transport;
    let minutes = minutes.to_string();
    let broker = Broker::prepare(shell, options.broker)?;
    let _environment = broker.push_environment(shell);
    let soak = ["soak", "--minutes", &minutes];
    Ok(cmd!(shell, "cargo run --locked --quiet -p polywire-faults -- {soak...}").run()?)
}
