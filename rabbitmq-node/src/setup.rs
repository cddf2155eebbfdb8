//! The configuration of a node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::network::Network;

/// The configuration of a node or a cluster before it starts.
///
/// ```no_run
/// use polywire_rabbitmq_node::Setup;
///
/// let setup = Setup::new().config("consumer_timeout = 1000");
/// let node = setup.plugin("rabbitmq_auth_mechanism_ssl").start()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is started until `start`"]
pub struct Setup {
    pub(crate) config: String,
    pub(crate) advanced: String,
    pub(crate) plugins: Vec<String>,
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) network: Option<Arc<Network>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: String::new(),
            advanced: "[].".into(),
            plugins: Vec::new(),
            certificates: None,
            root: None,
            network: None,
        }
    }
}

impl Setup {
    /// Returns the default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds lines to `rabbitmq.conf`.
    pub fn config(mut self, lines: &str) -> Self {
        self.config += lines;
        self.config.push('\n');
        self
    }

    /// Sets `advanced.config`, an Erlang term, for settings that `rabbitmq.conf` cannot express.
    pub fn advanced(mut self, term: &str) -> Self {
        self.advanced = term.into();
        self
    }

    /// Enables a plugin that comes with RabbitMQ.
    pub fn plugin(mut self, name: &str) -> Self {
        self.plugins.push(name.into());
        self
    }

    /// Runs the RabbitMQ of another system, whose root is this folder, in place of the machine's or
    /// that of the environment variable [`ROOT`](crate::ROOT). Needs the rights to change the root.
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.root = Some(folder.into());
        self
    }

    /// Runs each node of a cluster in a namespace of a network, in place of the loopback interface.
    /// The user `guest` may log in from there.
    pub fn network(mut self, network: &Arc<Network>) -> Self {
        self.network = Some(network.clone());
        self.config("loopback_users = none")
    }

    /// Adds a listener for TLS, with `server.pem` and `server.key` of a folder. The node trusts the
    /// certificates that `ca.pem` has signed. [`Node::tls_port`](crate::Node::tls_port) returns the
    /// port.
    pub fn certificates(mut self, folder: impl AsRef<Path>) -> Self {
        self.certificates = Some(folder.as_ref().into());
        self
    }
}
