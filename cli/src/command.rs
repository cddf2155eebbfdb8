//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Serves and calls services over RabbitMQ and ZeroMQ.
#[derive(Debug, Parser)]
#[command(name = "polywire", version)]
pub(crate) struct Program {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command of the program.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves add, echo, fail, sleep and whoami until SIGTERM or SIGINT; prints `ready` when bound
    ///
    /// With the dialect amqprpc, the methods are Demo.Add and so on, with one argument each:
    /// {"A": 2, "B": 3} for Demo.Add, and the milliseconds for Demo.Sleep.
    Demo(DemoOptions),
    /// Calls a method, and prints the result as one line of JSON
    ///
    /// The exit status is 0 for a result, 1 for a fault of the peer, which is JSON on standard
    /// error, 2 for wrong usage, and 3 if nothing came of the call.
    Call(CallOptions),
}

/// Options of both commands.
#[derive(Args, Debug)]
pub(crate) struct WireOptions {
    /// URL of the transport, such as amqp://guest:guest@localhost or zmq+tcp://127.0.0.1:5555
    #[arg(long)]
    pub(crate) url: String,
    /// Wire format of another system; without it the native one
    #[arg(long)]
    pub(crate) dialect: Option<DialectName>,
    /// Format of the bodies
    #[arg(long, default_value = "json")]
    pub(crate) codec: CodecName,
    /// Setting of the dialect; nameko: rpc_exchange; amqprpc: object, durable=true
    #[arg(long = "set", value_name = "K=V", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,
}

/// A wire format of another system.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DialectName {
    /// py-amqprpc and go-amqprpc, over RabbitMQ
    Amqprpc,
    /// nameko 2 and 3, over RabbitMQ
    Nameko,
}

/// A format of bodies.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CodecName {
    Json,
    Msgpack,
}

/// Options of `polywire demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    pub(crate) wire: WireOptions,
    /// Name of the service
    #[arg(long, default_value = "demo")]
    pub(crate) service: String,
}

/// Options of `polywire call`.
#[derive(Args, Debug)]
pub(crate) struct CallOptions {
    #[command(flatten)]
    pub(crate) wire: WireOptions,
    /// Name of the service
    pub(crate) service: String,
    /// Name of the method
    pub(crate) method: String,
    /// Positional arguments, each as JSON
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) arguments: Vec<String>,
    /// Named arguments, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) named: Option<String>,
    /// Longest time to connect and until the reply: a number with ms, s or m
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Parses `K=V`.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a setting has the form K=V")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses a time, such as `500ms`, `5s` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| "a time is a number with ms, s or m")?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(60) * number),
        _ => Err("a time is a number with ms, s or m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "s", "-5s", "1h", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
