//! The folder and the ports of a node, and the environment of its programs.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::installation::{Installation, mount};
use crate::place::Place;
use crate::port_mapper::PortMapper;
use crate::ports;
use crate::setup::Setup;
use crate::trimmed::trimmed;

/// The folder and the ports of a node.
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) tls_port: Option<u16>,
    distribution_port: u16,
    /// Folder of the certificates for TLS.
    certificates: Option<PathBuf>,
    mapper: Arc<PortMapper>,
    installation: Installation,
    /// Folder with the applications that the node needs.
    home: PathBuf,
    place: Place,
}

static LAST: AtomicU32 = AtomicU32::new(0);

impl Settings {
    /// Creates a folder with all files that a node reads when it starts. The nodes of a cluster
    /// are counted from 0, and share their port mapper.
    pub(crate) fn create(setup: &Setup, node: usize, mapper: Arc<PortMapper>) -> io::Result<Self> {
        let name = format!("{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let installation = mapper.installation().clone();
        let folder = installation.data().join(name);
        let certificates = setup.certificates.clone();
        let tls_port = certificates.is_some().then(ports::free).transpose()?;
        let (port, distribution_port) = (ports::free()?, ports::free()?);
        let place = Place::of(node, setup.network.as_ref())?;
        let home = trimmed(&installation, &setup.plugins)?;
        let settings = Self {
            folder,
            port,
            tls_port,
            distribution_port,
            certificates,
            mapper,
            installation,
            home,
            place,
        };
        settings.write(setup)?;
        Ok(settings)
    }

    fn write(&self, setup: &Setup) -> io::Result<()> {
        for inner in ["home", "mnesia", "log", "config"] {
            fs::create_dir_all(self.folder.join(inner))?;
        }
        let cookie = self.folder.join("home/.erlang.cookie");
        fs::write(&cookie, "POLYWIRE")?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        fs::write(self.folder.join("env.conf"), "")?;
        fs::write(self.folder.join("enabled_plugins"), format!("[{}].", setup.plugins.join(",")))?;
        fs::write(self.folder.join("advanced.config"), &setup.advanced)?;
        if let Some(hosts) = self.place.hosts() {
            fs::write(self.folder.join(HOSTS), hosts)?;
        }
        let address = self.place.address();
        let mut config = format!("listeners.tcp.default = {address}:{}\n", self.port);
        config += denied_features(&self.home);
        if let (Some(port), Some(certificates)) = (self.tls_port, &self.certificates) {
            let place = self.folder.join(CERTIFICATES);
            fs::create_dir_all(&place)?;
            let inside = self.installation.path_of_mounted(certificates, &place);
            config += &encryption(address, port, &inside);
            if !setup.config.contains(DEMANDS_CERTIFICATES) {
                // The default of recent versions is to demand them.
                config += &format!("{DEMANDS_CERTIFICATES} = false\n");
            }
        }
        fs::write(self.folder.join("rabbitmq.conf"), config + &setup.config)
    }

    /// Returns the name of the node in a cluster.
    pub(crate) fn node_name(&self) -> String {
        format!("polywire{}@{}", self.port, self.place.host_name())
    }

    /// Returns the address at which the node listens.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.place.address()
    }

    /// Returns the command of one of RabbitMQ's programs for this node.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.place.enter(self.installation.rabbitmq(program));
        if let Some(certificates) = &self.certificates {
            mount(&mut command, certificates, &self.folder.join(CERTIFICATES));
        }
        let file = |name: &str| self.path_inside(name);
        let address = self.address();
        let [a, b, c, d] = address.octets();
        let name = self.node_name();
        let port = self.distribution_port;
        if self.place.hosts().is_some() {
            command.env("ERL_INETRC", file(HOSTS));
        }
        command
            // A database that fails writes its core file to the working directory.
            .current_dir(&self.folder)
            .env("HOME", file("home"))
            .env("RABBITMQ_SCRIPTS_DIR", self.installation.path_inside(&self.home.join("sbin")))
            .env("RABBITMQ_PLUGINS_DIR", self.installation.path_inside(&self.home.join("plugins")))
            .env("RABBITMQ_NODENAME", &name)
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_NODE_IP_ADDRESS", address.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.mapper.port().to_string())
            .env("ERL_EPMD_ADDRESS", address.to_string())
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", file("env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", file("config"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config"))
            .env("ERL_CRASH_DUMP", file("erl_crash.dump"))
            // The node has its name from the start: RabbitMQ would start another Erlang, which
            // takes a second, only to have a port mapper.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!(
                    "-sname {name} -kernel inet_dist_use_interface {{{a},{b},{c},{d}}} \
                     inet_dist_listen_min {port} inet_dist_listen_max {port}"
                ),
            )
            // The script becomes the node instead of starting a child: the process to kill is
            // known.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        command
    }

    /// Returns the path by which RabbitMQ's programs know a file of the folder.
    pub(crate) fn path_inside(&self, name: &str) -> PathBuf {
        self.installation.path_inside(&self.folder.join(name))
    }

    /// Removes the folder.
    pub(crate) fn clean_up(&self) {
        // A folder that stays is harmless below target/.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns lines that deny what later versions of RabbitMQ remove, and builds other than Debian's
/// may deny already: queues that are neither durable nor exclusive, and prefetch for a whole
/// channel.
///
/// Versions before 4 have no such settings. 4.0 permits both, and a node of 4.0 that denies the
/// queues and was killed under load did not start again: `failed_to_deny_deprecated_features`,
/// although all queues were durable or exclusive.
///
/// `home` is RabbitMQ's folder, whose name has the version, as `rabbitmq_server-4.3.6`.
fn denied_features(home: &Path) -> &'static str {
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix("rabbitmq_server-").unwrap_or_default();
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(4), Some(1..)) | (Some(5..), _) => {
            "deprecated_features.permit.transient_nonexcl_queues = false\n\
             deprecated_features.permit.global_qos = false\n"
        }
        _ => "",
    }
}

/// Name of the file with the hosts of a private network.
const HOSTS: &str = "hosts";

/// Name of the folder in which a node in a root of its own sees its certificates.
const CERTIFICATES: &str = "certificates";

/// Option by which a node demands a certificate of each client.
const DEMANDS_CERTIFICATES: &str = "ssl_options.fail_if_no_peer_cert";

/// Returns the lines for a second listener, for TLS. Clients may present a certificate, and must if
/// the node's own lines demand it.
fn encryption(address: Ipv4Addr, port: u16, certificates: &Path) -> String {
    let at = certificates.display();
    format!(
        "listeners.ssl.default = {address}:{port}\nssl_options.cacertfile = {at}/ca.pem\n\
         ssl_options.certfile = {at}/server.pem\nssl_options.keyfile = {at}/server.key\n\
         ssl_options.verify = verify_peer\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_denied_where_that_is_a_setting() {
        for (name, is_denied) in [
            ("rabbitmq_server-3.10.8", false),
            ("rabbitmq_server-4.0.5", false),
            ("rabbitmq_server-4.3.6+rabbitmq_auth_mechanism_ssl", true),
            ("rabbitmq", false),
        ] {
            let home = Path::new("/usr/lib/rabbitmq/lib").join(name);
            assert_eq!(!denied_features(&home).is_empty(), is_denied, "{name}");
        }
    }
}
