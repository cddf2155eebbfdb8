//! Private RabbitMQ nodes for tests: on free ports of the loopback interface or in a private
//! [`Network`], with their data below `target/`, ended when dropped.
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
mod installation;
mod network;
mod node;
mod place;
mod port_mapper;
mod ports;
mod settings;
mod setup;
mod thread_states;
mod trimmed;

pub use self::cluster::Cluster;
pub use self::installation::ROOT;
pub use self::network::{Host, Network};
pub use self::node::Node;
pub use self::setup::Setup;
