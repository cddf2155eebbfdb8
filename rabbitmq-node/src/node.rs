//! A single node.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::installation::Installation;
use crate::port_mapper::PortMapper;
use crate::settings::Settings;
use crate::setup::Setup;
use crate::thread_states::wait_until_stopped;

/// A private broker. Dropping the node ends it and removes its data.
pub struct Node {
    settings: Settings,
    process: Option<Child>,
}

/// The bound of a start, which takes about 4 s; a busy machine may need many times that.
const START_MAX: Duration = Duration::from_mins(3);

/// Last lines of the log in the error of a node that does not start.
const LOG_LINES: usize = 30;

impl Node {
    /// Returns true if RabbitMQ is installed on this machine.
    #[must_use]
    pub fn is_installed() -> bool {
        Installation::is_on_machine()
    }

    /// Starts a node, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if RabbitMQ is not installed, with the command that installs it;
    /// or the output and the log of the node if it does not start.
    pub fn start() -> io::Result<Self> {
        Setup::new().start()
    }

    /// Starts a node with additional lines in `rabbitmq.conf`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(config: &str) -> io::Result<Self> {
        Setup::new().config(config).start()
    }

    /// Starts a node with more lines for its `rabbitmq.conf`, and an `advanced.config`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with_advanced(config: &str, advanced: &str) -> io::Result<Self> {
        Setup::new().config(config).advanced(advanced).start()
    }

    pub(crate) fn start_set_up(setup: &Setup) -> io::Result<Self> {
        let mapper = Arc::new(PortMapper::new(setup)?);
        let mut node = Self::not_started(Settings::create(setup, 0, mapper)?);
        node.restart()?;
        Ok(node)
    }

    pub(crate) fn not_started(settings: Settings) -> Self {
        Self { settings, process: None }
    }

    /// Returns the URL of the default virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// Returns the URL of a virtual host, whose name is percent-encoded.
    #[must_use]
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@{}/{vhost}", self.address())
    }

    /// Returns the address and the port for AMQP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (self.settings.address(), self.settings.port).into()
    }

    /// Returns the port for AMQP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Returns the port for AMQP over TLS, if the node has [certificates](Setup::certificates).
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.settings.tls_port
    }

    /// Returns the name of the node in a cluster.
    #[must_use]
    pub fn name(&self) -> String {
        self.settings.node_name()
    }

    /// Reads the log of the node.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        let name = format!("log/{}.log", self.name());
        Ok(String::from_utf8_lossy(&std::fs::read(self.settings.folder.join(name))?).into_owned())
    }

    /// Writes the list of queues to disk. The node does so some time after a declaration: a kill
    /// before that may lose the queue, a quorum queue for longer than a classic one.
    ///
    /// # Errors
    ///
    /// The output of `rabbitmqctl`, if it fails.
    pub fn remember_queues(&self) -> io::Result<()> {
        self.ctl(&["eval", "mnesia:sync_log(), [dets:sync(Table) || Table <- dets:all()]."])
            .map(drop)
    }

    /// Runs `rabbitmqctl`, and returns its output.
    ///
    /// # Errors
    ///
    /// The output of `rabbitmqctl`, if it fails.
    pub fn ctl(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = self.settings.command("rabbitmqctl");
        let output = command.arg("--quiet").args(arguments).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(io::Error::other(format!("{text}{}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Adds the users, permissions, queues and so on of a JSON document in RabbitMQ's format of
    /// definitions.
    ///
    /// # Errors
    ///
    /// If the file for it cannot be written, or the output of `rabbitmqctl`.
    pub fn import_definitions(&self, definitions: &str) -> io::Result<()> {
        std::fs::write(self.settings.folder.join(DEFINITIONS), definitions)?;
        let file = self.settings.path_inside(DEFINITIONS);
        self.ctl(&["import_definitions", &file.to_string_lossy()]).map(drop)
    }

    /// Sets the disk alarm, by a limit for the free space that exceeds every disk. The node blocks
    /// each connection that publishes, until [`clear_disk_alarm`](Self::clear_disk_alarm).
    ///
    /// # Errors
    ///
    /// The output of `rabbitmqctl`, if it fails.
    pub fn set_disk_alarm(&self) -> io::Result<()> {
        self.ctl(&["set_disk_free_limit", DISK_FREE_UNREACHABLE]).map(drop)
    }

    /// Clears the disk alarm, by the default limit for the free space.
    ///
    /// # Errors
    ///
    /// The output of `rabbitmqctl`, if it fails.
    pub fn clear_disk_alarm(&self) -> io::Result<()> {
        self.ctl(&["set_disk_free_limit", DISK_FREE_DEFAULT]).map(drop)
    }

    /// Kills the node with SIGKILL, as in a crash, and waits for its end.
    ///
    /// # Errors
    ///
    /// If the process cannot be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Starts the node again with its data, and waits until it is ready. Does nothing if the node
    /// runs.
    ///
    /// # Errors
    ///
    /// The output and the log of the node, if it does not start.
    pub fn restart(&mut self) -> io::Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let log = std::fs::File::create(self.settings.folder.join("out"))?;
        let mut command = self.settings.command("rabbitmq-server");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn()?);
        self.until_ready()
    }

    /// Freezes the process with SIGSTOP, and waits until all its threads are stopped: connections
    /// stay open, and nothing answers. Does nothing if the node was killed.
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent, or a thread still runs after ten seconds.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal("-STOP")?;
        self.process.as_ref().map_or(Ok(()), |process| wait_until_stopped(process.id()))
    }

    /// Continues a frozen process with SIGCONT.
    ///
    /// # Errors
    ///
    /// If the signal cannot be sent.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let status = Command::new("kill").arg(signal).arg(process.id().to_string()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill {signal} failed")))
        }
    }

    /// Waits until the node answers. The listener is the last step of the boot.
    fn until_ready(&mut self) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            if self.answers() && self.accepts_tls() {
                return Ok(());
            }
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten()
            {
                self.process = None;
                return Err(self.failed(&format!("the node ended with {status}")));
            }
            sleep(Duration::from_millis(50));
        }
        Err(self.failed("the node did not answer within three minutes"))
    }

    /// Returns true if the node answers a protocol header with a method frame, whose first byte is
    /// 1. Waits up to five seconds for the answer.
    #[must_use]
    pub fn answers(&self) -> bool {
        let greet = || -> io::Result<bool> {
            let timeout = Duration::from_secs(1);
            let mut stream = TcpStream::connect_timeout(&self.address(), timeout)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"AMQP\x00\x00\x09\x01")?;
            let mut first = [0];
            stream.read_exact(&mut first)?;
            Ok(first == [1])
        };
        greet().unwrap_or(false)
    }

    /// Returns true if the listener for TLS accepts connections, or if there is none. It comes
    /// after the other one.
    fn accepts_tls(&self) -> bool {
        let connects = |port| {
            let address = (self.settings.address(), port).into();
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        };
        self.settings.tls_port.is_none_or(connects)
    }

    fn failed(&self, cause: &str) -> io::Error {
        let output = std::fs::read_to_string(self.settings.folder.join("out")).unwrap_or_default();
        let log = self.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        io::Error::other(format!("{cause}:\n{output}\nlast lines of the log:\n{last}"))
    }
}

/// Limit for the free space that sets the disk alarm. RabbitMQ 3.10 knows no larger unit.
const DISK_FREE_UNREACHABLE: &str = "1000000GB";
/// Limit for the free space of a node that is not configured.
const DISK_FREE_DEFAULT: &str = "50MB";
/// Name of the file for imported definitions.
const DEFINITIONS: &str = "definitions.json";

impl Setup {
    /// Starts a node, and waits until it is ready: about four seconds.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start(self) -> io::Result<Node> {
        Node::start_set_up(&self)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A frozen process must continue before it can end. The process may have ended already.
        let _ = self.thaw();
        let _ = self.kill();
        self.settings.clean_up();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("port", &self.settings.port).finish_non_exhaustive()
    }
}
