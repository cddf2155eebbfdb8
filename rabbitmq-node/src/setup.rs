//! What is particular to a node.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Cluster, Node};

/// What is particular to a node, before it is started.
///
/// ```no_run
/// use polywire_rabbitmq_node::Setup;
///
/// let node = Setup::new().config("consumer_timeout = 1000").plugin("rabbitmq_auth_mechanism_ssl").start()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is started until `start`"]
pub struct Setup {
    pub(crate) config: String,
    pub(crate) advanced: String,
    pub(crate) plugins: Vec<String>,
    pub(crate) certificates: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: String::new(),
            advanced: "[].".into(),
            plugins: Vec::new(),
            certificates: None,
        }
    }
}

impl Setup {
    /// Nothing particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds lines to its `rabbitmq.conf`.
    pub fn config(mut self, lines: &str) -> Self {
        self.config += lines;
        self.config.push('\n');
        self
    }

    /// Sets its `advanced.config`, which is a term of Erlang: for what the other file has no words
    /// for.
    pub fn advanced(mut self, term: &str) -> Self {
        self.advanced = term.into();
        self
    }

    /// Turns a plugin on that comes with RabbitMQ.
    pub fn plugin(mut self, name: &str) -> Self {
        self.plugins.push(name.into());
        self
    }

    /// Listens for TLS as well, with `server.pem` and `server.key` of this folder, and trusts what
    /// `ca.pem` has signed. Where it listens is told by [`Node::tls_port`].
    pub fn certificates(mut self, folder: impl AsRef<Path>) -> Self {
        self.certificates = Some(folder.as_ref().into());
        self
    }

    /// Starts a node, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start(self) -> io::Result<Node> {
        Node::start_set_up(&self)
    }

    /// Starts so many nodes, and joins them into a cluster.
    ///
    /// # Errors
    ///
    /// As [`Node::start`], and what `rabbitmqctl` said if they cannot be joined.
    pub fn start_cluster(self, nodes: usize) -> io::Result<Cluster> {
        Cluster::start_set_up(&self, nodes)
    }
}
