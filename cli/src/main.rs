//! The program `polywire`: serves and calls services from a shell.
//!
//! ```text
//! polywire demo --url amqp://guest:guest@localhost --dialect nameko
//! polywire call --url amqp://guest:guest@localhost --dialect nameko demo add 2 3
//!
//! polywire demo --url amqp://guest:guest@localhost --dialect amqprpc
//! polywire call --url amqp://guest:guest@localhost --dialect amqprpc demo Demo.Add '{"A":2,"B":3}'
//! ```
//!
//! Standard output has the result alone, and standard error the log and the failures.

mod arguments;
mod call;
mod command;
mod demo;
mod demo_methods;
mod dialect;
mod failure;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use tracing_subscriber::filter::LevelFilter;

use self::command::{Command, Program};

/// Runs the command of the line. The runtime has one thread: no command has more to do.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let program = Program::parse();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_max_level(LevelFilter::WARN).init();
    let ended = match &program.command {
        Command::Demo(options) => demo::run(options).await,
        Command::Call(options) => call::run(options).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.code())
        }
    }
}
