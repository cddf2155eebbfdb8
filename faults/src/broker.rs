//! A node that a scenario disturbs while other processes use the node.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use polywire_rabbitmq_node::{Cluster, Node, Setup};
use tokio::task::spawn_blocking;

/// A shared node. Its operations block, and run on threads of their own.
///
/// Clones share the node. The last clone ends the node and removes its data. An operation that
/// still runs counts as a clone.
#[derive(Clone)]
pub(crate) struct Broker {
    node: Arc<Mutex<Node>>,
    /// The URL of the default virtual host. The user is `guest`.
    pub(crate) url: String,
    /// The port for AMQP.
    pub(crate) port: u16,
    /// The port for AMQP over TLS, if the node has certificates.
    pub(crate) tls_port: Option<u16>,
}

impl Broker {
    /// Starts a node with the default configuration.
    ///
    /// A start takes about 4 seconds, and at most three minutes.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(Setup::new()).await
    }

    /// Starts a node with a configuration.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed, or if the node does not start.
    pub(crate) async fn start_with(setup: Setup) -> Result<Self> {
        let node = spawn_blocking(|| setup.start()).await??;
        let (url, port, tls_port) = (node.url(), node.port(), node.tls_port());
        Ok(Self { node: Arc::new(Mutex::new(node)), url, port, tls_port })
    }

    /// Kills the node with SIGKILL, as in a crash.
    ///
    /// Returns when the process has ended. The node gets no chance to write to its disk.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.with(Node::kill).await.context("cannot kill the broker")
    }

    /// Starts the node again.
    ///
    /// Returns when the node answers, after three minutes at most. Does nothing if the node runs.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.with(Node::restart).await.context("cannot start the broker again")
    }

    /// Runs `rabbitmqctl`, and returns its output.
    ///
    /// # Errors
    ///
    /// The output of the command, if it fails.
    pub(crate) async fn ctl<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        let arguments = arguments.map(str::to_owned);
        self.with(move |node| node.ctl(&arguments.each_ref().map(String::as_str))).await
    }

    /// Runs a blocking operation on the node, which waits for other operations on the same node.
    ///
    /// The operation completes even if the future is dropped.
    ///
    /// # Errors
    ///
    /// The error of the operation.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Node) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = self.node.clone();
        let acting =
            spawn_blocking(move || act(&mut node.lock().unwrap_or_else(PoisonError::into_inner)));
        Ok(acting.await??)
    }
}

/// A shared cluster of nodes.
///
/// One lock covers all nodes, so operations on different nodes take turns.
#[derive(Clone)]
pub(crate) struct Brokers {
    cluster: Arc<Mutex<Cluster>>,
    /// The URL of the default virtual host, with all nodes.
    pub(crate) url: String,
}

impl Brokers {
    /// Starts the nodes, and joins them.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed, or if a node does not start or join.
    pub(crate) async fn start(nodes: usize) -> Result<Self> {
        Self::start_with(Setup::new(), nodes).await
    }

    /// Starts nodes with a configuration, and joins them.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(crate) async fn start_with(setup: Setup, nodes: usize) -> Result<Self> {
        let cluster = spawn_blocking(move || setup.start_cluster(nodes)).await??;
        let url = cluster.url();
        Ok(Self { cluster: Arc::new(Mutex::new(cluster)), url })
    }

    /// Returns the URL with another node first.
    ///
    /// Blocks while an operation on a node runs.
    pub(crate) fn url_from(&self, first: usize) -> String {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner).url_from(first)
    }

    /// Runs a blocking operation on one node.
    ///
    /// Nodes count from 0. The operation completes even if the future is dropped.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        node: usize,
        act: impl FnOnce(&mut Node) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let cluster = self.cluster.clone();
        let acting = spawn_blocking(move || {
            act(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner).nodes_mut()[node])
        });
        Ok(acting.await??)
    }
}
