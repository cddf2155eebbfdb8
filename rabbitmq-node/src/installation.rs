//! The installation of RabbitMQ that nodes run from: that of this machine, or one in a folder of
//! its own.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable with the folder of another system, whose RabbitMQ is used instead of the
/// machine's own. The folder is the root of the programs' file system, which needs the rights to
/// change the root.
pub const ROOT: &str = "POLYWIRE_RABBITMQ_ROOT";

/// The folder of the programs in Debian's package. The programs in `/usr/sbin` are wrappers that
/// insist on their own user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// Folder for the data of nodes inside of a root.
const DATA: &str = "var/polywire";

/// Mounts the process table and one more folder inside of the root, where no other process sees the
/// mounts, and becomes the program. The process keeps its number.
const ENTER: &str = r#"mount --bind /proc "$0/proc" || exit
if [ -n "$POLYWIRE_MOUNTED" ]; then mount --bind "$POLYWIRE_MOUNTED" "$POLYWIRE_MOUNT" || exit; fi
exec chroot "$0" "$@""#;

/// Lets a command in a root of its own see the folder `mounted` in place of the folder `place`,
/// which is inside of that root. Other commands ignore that.
pub(crate) fn mount(command: &mut Command, mounted: &Path, place: &Path) {
    command.env("POLYWIRE_MOUNTED", mounted).env("POLYWIRE_MOUNT", place);
}

/// Place of RabbitMQ's programs and of the nodes' data.
#[derive(Clone, Debug)]
pub(crate) enum Installation {
    /// The machine's own package.
    Machine,
    /// The folder that is the root of another system.
    Root(PathBuf),
}

impl Installation {
    /// Returns the installation below `root`, or without one that which the environment selects.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed there, with the command that installs it.
    pub(crate) fn find(root: Option<&Path>) -> io::Result<Self> {
        let selected = || std::env::var_os(ROOT).map(PathBuf::from);
        let installation =
            root.map(Path::to_owned).or_else(selected).map_or(Self::Machine, Self::Root);
        if installation.is_there() {
            return installation.canonical();
        }
        let missing = match installation {
            Self::Machine => {
                "RabbitMQ is not installed: install it (on Debian: apt-get install rabbitmq-server)"
                    .to_owned()
            }
            Self::Root(root) => format!(
                "RabbitMQ is not installed below {}: prepare it with `cargo xtask broker`",
                root.display()
            ),
        };
        Err(io::Error::new(io::ErrorKind::NotFound, missing))
    }

    /// Returns the same installation with a path that has no links.
    fn canonical(self) -> io::Result<Self> {
        match self {
            Self::Machine => Ok(self),
            Self::Root(root) => Ok(Self::Root(root.canonicalize()?)),
        }
    }

    /// Returns true if the machine has RabbitMQ.
    pub(crate) fn is_on_machine() -> bool {
        Self::Machine.is_there()
    }

    fn is_there(&self) -> bool {
        self.server().exists()
    }

    /// Returns the path of the server's program on this machine.
    fn server(&self) -> PathBuf {
        let server = Path::new(PROGRAMS).join("rabbitmq-server");
        match self {
            Self::Machine => server,
            Self::Root(root) => below(root, &server),
        }
    }

    /// Returns RabbitMQ's own folder, which has its programs and applications.
    ///
    /// # Errors
    ///
    /// If the program of the server is not in a folder of RabbitMQ's own.
    pub(crate) fn home(&self) -> io::Result<PathBuf> {
        let server = self.server().canonicalize()?;
        let home = server.parent().and_then(Path::parent);
        home.map(Path::to_owned).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Returns the folder for the data of nodes.
    pub(crate) fn data(&self) -> PathBuf {
        match self {
            Self::Machine => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rabbitmq"),
            Self::Root(root) => root.join(DATA),
        }
    }

    /// Returns the path by which the programs know a file of a node.
    pub(crate) fn path_inside(&self, path: &Path) -> PathBuf {
        match self {
            Self::Machine => path.to_owned(),
            Self::Root(root) => match path.strip_prefix(root) {
                Ok(inside) => Path::new("/").join(inside),
                Err(_) => path.to_owned(),
            },
        }
    }

    /// Returns the path by which the programs know a folder of the machine that is
    /// [mounted](mount) at `place`.
    pub(crate) fn path_of_mounted(&self, mounted: &Path, place: &Path) -> PathBuf {
        match self {
            Self::Machine => mounted.to_owned(),
            Self::Root(_) => self.path_inside(place),
        }
    }

    /// Returns the command of one of RabbitMQ's programs.
    pub(crate) fn rabbitmq(&self, program: &str) -> Command {
        self.command(Path::new(PROGRAMS).join(program).into())
    }

    /// Returns the command of a program, which finds only the files of the installation.
    pub(crate) fn command(&self, program: OsString) -> Command {
        match self {
            Self::Machine => Command::new(program),
            Self::Root(root) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--", "sh", "-c", ENTER]).arg(root).arg(program);
                command
            }
        }
    }
}

/// Returns an absolute path below a root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
