//! The examples run: the quickstart alone, those over memory, the other patterns over each carrier,
//! the calculator as two servers and a client in processes of their own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::broker;

pub(crate) fn run(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo run --locked --example quickstart").run()?;
    cmd!(shell, "cargo build --quiet --locked --features full --examples").run()?;
    // Those that need no carrier, and end by themselves.
    for example in ["cbor", "layers", "prometheus", "testing", "types", "validation"] {
        cmd!(shell, "cargo run --quiet --locked --features full --example {example}").run()?;
    }

    let (first, second) = (free_port()?, free_port()?);
    let servers = [format!("zmq+tcp://127.0.0.1:{first}"), format!("zmq+tcp://127.0.0.1:{second}")];
    calculate(shell, &servers, &format!("zmq+tcp://127.0.0.1:{first},127.0.0.1:{second}"))?;

    let node = broker::start(shell)?;
    // Their default is ZeroMQ.
    for url in [None, Some("mem://example".to_owned()), Some(node.url())] {
        let url: Vec<_> = url.into_iter().collect();
        for example in EVERYWHERE {
            let url = &url;
            cmd!(
                shell,
                "cargo run --quiet --locked --features full --example {example} -- {url...}"
            )
            .run()?;
        }
    }
    // One after the other in one program.
    let urls =
        ["mem://example".to_owned(), format!("zmq+tcp://127.0.0.1:{}", free_port()?), node.url()];
    cmd!(shell, "cargo run --quiet --locked --features full --example transports -- {urls...}")
        .run()?;
    // Nothing of this is in ZeroMQ; the default is memory.
    for url in [None, Some(node.url())] {
        let url: Vec<_> = url.into_iter().collect();
        cmd!(shell, "cargo run --quiet --locked --features full --example retries -- {url...}")
            .run()?;
    }
    calculate(shell, &[node.url(), node.url()], &node.url())
}

/// What runs over each carrier, unchanged.
const EVERYWHERE: [&str; 9] = [
    "bank",
    "cancel",
    "context",
    "decline",
    "early_reply",
    "faults",
    "router",
    "thumbnails",
    "weather",
];

/// Starts a server for each URL and a client, and checks that the calls were spread over the
/// servers.
fn calculate(shell: &Shell, servers: &[String], client: &str) -> Result<()> {
    println!(
        "{} servers and a client over {}",
        servers.len(),
        client.split(':').next().unwrap_or_default()
    );
    let _servers =
        servers.iter().map(|url| Server::start(shell, url)).collect::<Result<Vec<_>>>()?;
    let said = cmd!(
        shell,
        "cargo run --quiet --locked --features full --example calculator_client -- {client}"
    )
    .read()?;
    println!("{said}");
    ensure!(said.lines().count() == servers.len(), "not every server got a share");
    Ok(())
}

struct Server(Child);

impl Server {
    /// Starts a server, and waits until it says that it is ready.
    fn start(shell: &Shell, url: &str) -> Result<Self> {
        let mut command = Command::new("cargo");
        command.args([
            "run",
            "--quiet",
            "--locked",
            "--features",
            "full",
            "--example",
            "calculator_server",
            "--",
            url,
        ]);
        command.current_dir(shell.current_dir());
        let mut server = Self(command.stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().context("the server has an output")?)
            .read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the server said {line:?}, not that it is ready");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
