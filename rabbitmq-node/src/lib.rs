//! Private RabbitMQ nodes for tests: on free ports of the loopback, with their data under
//! `target/`, ended when dropped.
//!
//! ```no_run
//! use polywire_rabbitmq_node::Node;
//!
//! let mut node = Node::start()?;
//! println!("{}", node.url());
//! node.kill()?;
//! node.restart()?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod cluster;
mod mapper;
mod ports;
mod settings;
mod setup;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use self::cluster::Cluster;
use self::mapper::Mapper;
use self::settings::Settings;
pub use self::setup::Setup;

/// A broker of its own, which ends when it is dropped.
pub struct Node {
    settings: Settings,
    process: Option<Child>,
}

/// Where Debian's package keeps the programs. The ones in `/usr/sbin` are wrappers that insist on
/// their own user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// From nothing to ready it takes about 4 s; a busy machine may need many times that.
const START_MAX: Duration = Duration::from_mins(3);

/// Of the log, in the error of a node that does not start.
const LOG_LINES: usize = 30;

impl Node {
    /// Whether RabbitMQ is on this machine.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(PROGRAMS).join("rabbitmq-server").exists()
    }

    /// Starts a node, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if RabbitMQ is not installed, saying what to install; or what
    /// the node said when it did not start.
    pub fn start() -> io::Result<Self> {
        Setup::new().start()
    }

    /// Starts a node with more lines for its `rabbitmq.conf`.
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
        Self::check_installed()?;
        let mut node = Self::not_started(Settings::create(setup, Arc::new(Mapper::new()?))?);
        node.restart()?;
        Ok(node)
    }

    pub(crate) fn not_started(settings: Settings) -> Self {
        Self { settings, process: None }
    }

    pub(crate) fn check_installed() -> io::Result<()> {
        if Self::is_installed() {
            return Ok(());
        }
        let what = "RabbitMQ is not installed (on Debian: apt-get install rabbitmq-server)";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }

    /// Where its default virtual host is.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// Where a virtual host is, named as URLs name it.
    #[must_use]
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.settings.port)
    }

    /// The port that it serves AMQP on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// The port that it serves TLS on, if it was given [certificates](Setup::certificates).
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.settings.tls_port
    }

    /// What it is called in a cluster.
    #[must_use]
    pub fn name(&self) -> String {
        self.settings.node_name()
    }

    /// What it has written into its log so far.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn log(&self) -> io::Result<String> {
        let name = format!("log/{}.log", self.name());
        Ok(String::from_utf8_lossy(&std::fs::read(self.settings.folder.join(name))?).into_owned())
    }

    /// Lets the node write down which queues there are, which it does a while after they were made:
    /// one that is killed before may forget them, quorum queues for longer than classic ones.
    ///
    /// # Errors
    ///
    /// What it said, if it failed.
    pub fn remember_queues(&self) -> io::Result<()> {
        self.ctl(&["eval", "mnesia:sync_log(), [dets:sync(Table) || Table <- dets:all()]."])
            .map(drop)
    }

    /// Runs `rabbitmqctl`, and gives back what it said.
    ///
    /// # Errors
    ///
    /// What it said, if it failed.
    pub fn ctl(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = self.settings.command("rabbitmqctl");
        let output = command.arg("--quiet").args(arguments).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(io::Error::other(format!("{said}{}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Ends the node as a crash would, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// If it cannot be ended.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Starts the node again with its data, and waits until it is ready. One that runs is left
    /// alone.
    ///
    /// # Errors
    ///
    /// What the node said when it did not start.
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

    /// Lets the node neither run nor die.
    ///
    /// # Errors
    ///
    /// If it cannot be stopped.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets a frozen node run on.
    ///
    /// # Errors
    ///
    /// If it cannot be continued.
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

    /// The listener comes last in the boot, so a node that answers is ready.
    fn until_ready(&mut self) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            if self.answers() {
                return Ok(());
            }
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten()
            {
                self.process = None;
                return Err(self.failed(&format!("the node ended with {status}")));
            }
            sleep(Duration::from_millis(50));
        }
        Err(self.failed("the node did not answer in time"))
    }

    /// A broker answers the protocol's header with a method frame, whose first byte is 1.
    fn answers(&self) -> bool {
        let greet = || -> io::Result<bool> {
            let address = SocketAddr::from(([127, 0, 0, 1], self.settings.port));
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"AMQP\x00\x00\x09\x01")?;
            let mut first = [0];
            stream.read_exact(&mut first)?;
            Ok(first == [1])
        };
        greet().unwrap_or(false)
    }

    fn failed(&self, why: &str) -> io::Error {
        let said = std::fs::read_to_string(self.settings.folder.join("out")).unwrap_or_default();
        let log = self.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        io::Error::other(format!("{why}:\n{said}\nand in its log in the end:\n{last}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A frozen process takes the signal only when it runs on; it may be gone already.
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
