//! async-nats: requests over a NATS server of this process's own, without persistence.
//!
//! The processor time and the memory of that server do not count, as those of a broker do not.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use crate::address;
use crate::echo::Echo;

/// The subject of the requests.
///
/// No measurement shares a NATS server with another one, so the name may be fixed.
const SUBJECT: &str = "echo";
/// The time that the NATS server has to start.
const START_MAX: Duration = Duration::from_secs(30);

/// Starts a NATS server on a free port, prints its address, and echoes.
///
/// The subscription is flushed before the address is printed, so no request comes before it.
///
/// Another process may take the free port before the NATS server does. The measurement fails then.
pub(crate) async fn serve() -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    end_with_parent(&mut command);
    let mut process = command.spawn().context("cannot start nats-server")?;
    let server = format!("127.0.0.1:{port}");
    let connected = timeout(START_MAX, connect(&server, &mut process)).await;
    let client = connected.context("cannot connect to nats-server in time")??;
    let mut requests = client.subscribe(SUBJECT).await?;
    client.flush().await?;
    address::print(&server)?;
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(())
}

/// Connects to a NATS server that starts.
///
/// # Errors
///
/// If the process of the server ends before: `setpriv` does so where `nats-server` is missing.
async fn connect(address: &str, process: &mut Child) -> Result<Client> {
    loop {
        if let Ok(client) = async_nats::connect(address).await {
            return Ok(client);
        }
        if let Some(status) = process.try_wait()? {
            bail!("cannot start nats-server, which has to be installed: ended with {status}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Lets a child end with this process, which is killed.
///
/// The kernel sends SIGKILL at the end of the parent's thread that started the child.
fn end_with_parent(command: &mut Command) {
    // `setpriv` is in util-linux, as `kill` is.
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    *command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
}

/// A client of the server.
///
/// All clones share one connection.
#[derive(Clone)]
pub(crate) struct Caller(Client);

impl Caller {
    /// Connects to a server.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        Ok(Self(async_nats::connect(address).await?))
    }
}

impl Echo for Caller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        Ok(self.0.request(SUBJECT, body).await?.payload)
    }
}
