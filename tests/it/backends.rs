//! The backends on which tests of the facade run. `polywire::connect` opens each by its URL.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use polywire::{AnyTransport, Result, Transport};

/// A backend for one test.
pub(crate) struct Backend {
    kind: Kind,
    /// Part of the names of this test, which shares the process and the broker with others.
    id: String,
    opened: Mutex<Vec<AnyTransport>>,
}

enum Kind {
    Memory,
    Zmq(TempFolder),
    Amqp(String),
}

impl Backend {
    /// Returns memory, ZeroMQ, and the broker of `POLYWIRE_AMQP_URL`.
    ///
    /// Without a broker, AMQP is reported as not run.
    pub(crate) fn all() -> Vec<Self> {
        let zmq = cfg!(feature = "zmq").then(|| Kind::Zmq(TempFolder::new()));
        let kinds = [Some(Kind::Memory), zmq, amqp_url().map(Kind::Amqp)];
        kinds.into_iter().flatten().map(Self::new).collect()
    }

    /// Returns memory.
    pub(crate) fn memory() -> Self {
        Self::new(Kind::Memory)
    }

    fn new(kind: Kind) -> Self {
        Self { kind, id: unique(), opened: Mutex::default() }
    }

    /// Opens a transport, which lives until [`close`](Self::close) at least.
    ///
    /// `socket` names a file: over ZeroMQ, only one endpoint handle of a backend can bind it.
    pub(crate) async fn open(&self, socket: &str) -> Result<AnyTransport> {
        let url = match &self.kind {
            Kind::Memory => format!("mem://{}", self.id),
            Kind::Zmq(folder) => format!("zmq+ipc://{}", folder.0.join(socket).display()),
            Kind::Amqp(url) => url.clone(),
        };
        let transport = polywire::connect(&url).await?;
        self.opened.lock().unwrap().push(transport.clone());
        Ok(transport)
    }

    /// Returns the name of a service, a queue or a channel, which no other test on the broker has.
    pub(crate) fn name(&self, name: &str) -> String {
        match &self.kind {
            Kind::Amqp(_) => format!("{name}-{}", self.id),
            Kind::Memory | Kind::Zmq(_) => name.to_owned(),
        }
    }

    /// Closes all transports.
    pub(crate) async fn close(self) -> Result<()> {
        for transport in self.opened.into_inner().unwrap() {
            transport.close().await?;
        }
        Ok(())
    }
}

/// Returns the URL of a broker, if there is one and the feature `amqp` is on.
///
/// Otherwise the first call writes the line `not run: NAME: REASON` to the standard error, past the
/// capture of libtest.
fn amqp_url() -> Option<String> {
    static REPORT: Once = Once::new();
    let reason = match std::env::var("POLYWIRE_AMQP_URL") {
        Ok(url) if cfg!(feature = "amqp") => return Some(url),
        Ok(_) => "the feature `amqp` is off",
        Err(_) => "no broker; `cargo xtask test` starts one",
    };
    REPORT.call_once(|| {
        // A line that cannot be written is missed in the list of tests that were not run only.
        let _ = writeln!(std::io::stderr(), "not run: backends::amqp: {reason}");
    });
    None
}

/// Returns a short text that no other test of this or another process gets.
fn unique() -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    format!("{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed))
}

/// An empty folder in the system's temporary folder, removed when dropped.
///
/// By hand: `cargo run --example quickstart` would build a crate for temporary folders, too. The
/// path is short, since the path of a socket file has at most 107 bytes.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("polywire-it-{}", unique()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
