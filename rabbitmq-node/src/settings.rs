//! Where a node keeps its things, and how its programs learn of that.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::{PROGRAMS, ports};

/// The folder and the ports of a node.
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    distribution_port: u16,
    mapper_port: u16,
}

static LAST: AtomicU32 = AtomicU32::new(0);

impl Settings {
    /// Makes a folder with all that a node reads when it starts; `config` goes into its `rabbitmq.conf`, and `advanced` is
    /// its `advanced.config`.
    pub(crate) fn create(config: &str, advanced: &str) -> io::Result<Self> {
        let name = format!("{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rabbitmq").join(name);
        let settings = Self {
            folder,
            port: ports::free()?,
            distribution_port: ports::free()?,
            mapper_port: ports::free()?,
        };
        settings.write(config, advanced)?;
        Ok(settings)
    }

    fn write(&self, config: &str, advanced: &str) -> io::Result<()> {
        for inner in ["home", "mnesia", "log", "config"] {
            fs::create_dir_all(self.folder.join(inner))?;
        }
        let cookie = self.folder.join("home/.erlang.cookie");
        fs::write(&cookie, "POLYWIRE")?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        fs::write(self.folder.join("env.conf"), "")?;
        fs::write(self.folder.join("enabled_plugins"), "[].")?;
        fs::write(self.folder.join("advanced.config"), advanced)?;
        let listener = format!("listeners.tcp.default = 127.0.0.1:{}\n", self.port);
        fs::write(self.folder.join("rabbitmq.conf"), listener + config)
    }

    /// One of RabbitMQ's programs, about this node.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        let file = |name: &str| self.folder.join(name);
        command
            .env("HOME", file("home"))
            .env("RABBITMQ_NODENAME", format!("polywire{}@localhost", self.port))
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", file("env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", file("config"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            // Lets the script become the node, instead of starting it: the process that we know is the one to kill.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        command
    }

    /// Ends the port mapper that the node had started, and takes the folder away.
    pub(crate) fn clean_up(&self) {
        for _ in 0..20 {
            let mut mapper = Command::new("epmd");
            mapper.env("ERL_EPMD_PORT", self.mapper_port.to_string()).arg("-kill");
            let ended = mapper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            // It refuses while it believes that the node lives, which it does for a moment.
            if ended.is_ok_and(|status| status.success()) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        // What cannot be removed is only clutter under target/.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
