//! Several nodes that form one broker.

use std::io;
use std::sync::Arc;
use std::thread;

use crate::node::Node;
use crate::port_mapper::PortMapper;
use crate::settings::Settings;
use crate::setup::Setup;

/// A cluster on this machine: each node has its own ports and folder, and all share a cookie.
///
/// ```no_run
/// use polywire_rabbitmq_node::Cluster;
///
/// let mut cluster = Cluster::start(3)?;
/// println!("{}", cluster.url());
/// cluster.nodes_mut()[0].kill()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Cluster(Vec<Node>);

impl Cluster {
    /// Starts at least one node, and joins the nodes: about ten seconds for three.
    ///
    /// # Errors
    ///
    /// As [`Node::start`], and the output of `rabbitmqctl` if the nodes cannot be joined.
    pub fn start(nodes: usize) -> io::Result<Self> {
        Setup::new().start_cluster(nodes)
    }

    pub(crate) fn start_set_up(setup: &Setup, nodes: usize) -> io::Result<Self> {
        let mapper = Arc::new(PortMapper::new(setup)?);
        let settings = |node| Settings::create(setup, node, mapper.clone());
        let mut nodes = (0..nodes.max(1))
            .map(|node| Ok(Node::not_started(settings(node)?)))
            .collect::<io::Result<Vec<_>>>()?;
        // The first node starts the port mapper.
        nodes[0].restart()?;
        thread::scope(|scope| {
            let starting: Vec<_> =
                nodes[1..].iter_mut().map(|node| scope.spawn(|| node.restart())).collect();
            starting.into_iter().try_for_each(|started| {
                started.join().unwrap_or_else(|_| {
                    Err(io::Error::other("the thread that starts a node panicked"))
                })
            })
        })?;
        let cluster = Self(nodes);
        cluster.join()?;
        Ok(cluster)
    }

    /// Joins the other nodes to the first, one after the other: two that join at once may each wait
    /// for the other.
    fn join(&self) -> io::Result<()> {
        let first = self.0[0].name();
        for node in &self.0[1..] {
            node.ctl(&["stop_app"])?;
            node.ctl(&["join_cluster", &first])?;
            node.ctl(&["start_app"])?;
        }
        Ok(())
    }

    /// Returns the URL of the default virtual host, with all nodes in their order.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_from(0)
    }

    /// Returns the same URL with another node first, which programs prefer. The others follow in
    /// their order.
    #[must_use]
    pub fn url_from(&self, first: usize) -> String {
        let in_turn = self.0.iter().cycle().skip(first % self.0.len()).take(self.0.len());
        let nodes: Vec<_> = in_turn.map(|node| node.address().to_string()).collect();
        format!("amqp://guest:guest@{}/%2f", nodes.join(","))
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// Returns the nodes, to kill and restart them.
    #[must_use]
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.0
    }
}

impl Setup {
    /// Starts several nodes, and joins them into a cluster.
    ///
    /// # Errors
    ///
    /// As [`Node::start`], and the output of `rabbitmqctl` if the nodes cannot be joined.
    pub fn start_cluster(self, nodes: usize) -> io::Result<Cluster> {
        Cluster::start_set_up(&self, nodes)
    }
}
