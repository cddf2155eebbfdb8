//! A node, to be disturbed while others use it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use polywire_rabbitmq_node::{Cluster, Node, Setup};
use tokio::task::spawn_blocking;

/// A node. What is done to it takes its time, and holds up no thread of the runtime.
#[derive(Clone)]
pub(crate) struct Broker {
    node: Arc<Mutex<Node>>,
    pub(crate) url: String,
    pub(crate) port: u16,
    pub(crate) tls_port: Option<u16>,
}

impl Broker {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(Setup::new()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Result<Self> {
        let node = spawn_blocking(|| setup.start()).await??;
        let (url, port, tls_port) = (node.url(), node.port(), node.tls_port());
        Ok(Self { node: Arc::new(Mutex::new(node)), url, port, tls_port })
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.with(Node::kill).await.context("the broker cannot be killed")
    }

    /// Starts it again.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.with(Node::restart).await.context("the broker does not start again")
    }

    /// What `rabbitmqctl` says.
    pub(crate) async fn ctl<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        let arguments = arguments.map(str::to_owned);
        self.with(move |node| node.ctl(&arguments.each_ref().map(String::as_str))).await
    }

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

/// A cluster of nodes.
#[derive(Clone)]
pub(crate) struct Brokers {
    cluster: Arc<Mutex<Cluster>>,
    pub(crate) url: String,
}

impl Brokers {
    pub(crate) async fn start(nodes: usize) -> Result<Self> {
        let cluster = spawn_blocking(move || Cluster::start(nodes)).await??;
        let url = cluster.url();
        Ok(Self { cluster: Arc::new(Mutex::new(cluster)), url })
    }

    /// Does something to one of them.
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
