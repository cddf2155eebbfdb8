//! The part of an installation that a node needs.
//!
//! Erlang searches the folders of all applications for each module that it loads. RabbitMQ comes
//! with seventy of them and more, nearly all of them plugins that no node here enables: the search
//! takes half of the time of a start, and of each `rabbitmqctl`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::installation::Installation;

/// The application of the node itself.
const SERVER: &str = "rabbit";

static LAST: AtomicU32 = AtomicU32::new(0);

/// Returns a folder that looks like RabbitMQ's own and has links to the applications that a node
/// with `plugins` needs. The folder is made once for all nodes, and stays.
///
/// Returns RabbitMQ's own folder if its applications are not folders with the names that Debian's
/// packages give them.
///
/// # Errors
///
/// If files cannot be read, or links cannot be made.
pub(crate) fn trimmed(installation: &Installation, plugins: &[String]) -> io::Result<PathBuf> {
    let home = installation.home()?;
    let version = home.file_name().unwrap_or_default().to_string_lossy();
    let name = [&[version.into_owned()], plugins].concat().join("+");
    let folder = installation.data().join(name);
    if folder.exists() {
        return Ok(folder);
    }
    let all = Applications::below(&home.join("plugins"))?;
    let Some(needed) = all.needed_by(plugins)? else { return Ok(home) };
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let unfinished = installation.data().join(format!("trimmed-{}-{number}", std::process::id()));
    fs::create_dir_all(unfinished.join("plugins"))?;
    let link =
        |name: &Path| symlink(installation.path_inside(&home.join(name)), unfinished.join(name));
    link(Path::new("sbin"))?;
    link(Path::new("escript"))?;
    needed.iter().try_for_each(|folder| link(&Path::new("plugins").join(folder)))?;
    if let Err(error) = fs::rename(&unfinished, &folder) {
        // Another process may have been faster.
        fs::remove_dir_all(&unfinished)?;
        if !folder.exists() {
            return Err(error);
        }
    }
    Ok(folder)
}

/// The applications in a folder. Each has a folder of its own, as `rabbit-3.10.8`.
struct Applications {
    folder: PathBuf,
    names: Vec<String>,
}

impl Applications {
    fn below(folder: &Path) -> io::Result<Self> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
        let names = fs::read_dir(folder)?.map(name).filter_map(io::Result::transpose);
        Ok(Self { folder: folder.to_owned(), names: names.collect::<io::Result<_>>()? })
    }

    /// Returns the folders of the server, of plugins, and of all that they depend on. `None` if one
    /// of the former has no folder.
    fn needed_by(&self, plugins: &[String]) -> io::Result<Option<BTreeSet<&str>>> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<_> = plugins.iter().cloned().chain([SERVER.to_owned()]).collect();
        if open.iter().any(|name| self.folder_of(name).is_none()) {
            return Ok(None);
        }
        while let Some(name) = open.pop() {
            // Erlang's own applications are elsewhere.
            if let Some(folder) = self.folder_of(&name)
                && needed.insert(folder)
            {
                let file = self.folder.join(folder).join(format!("ebin/{name}.app"));
                open.extend(dependencies(&fs::read_to_string(file)?));
            }
        }
        Ok(Some(needed))
    }

    fn folder_of(&self, name: &str) -> Option<&str> {
        let is_it = |folder: &&String| {
            let version = folder.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        };
        self.names.iter().find(is_it).map(String::as_str)
    }
}

/// Returns the names in the lists `applications`, `included_applications` and
/// `optional_applications` of an application's description, which is an Erlang term.
fn dependencies(description: &str) -> Vec<String> {
    let lists = description.split("applications").skip(1).filter_map(|rest| {
        let list = rest.trim_start().strip_prefix(',')?.trim_start().strip_prefix('[')?;
        list.split_once(']')
    });
    let names = lists.flat_map(|(list, _)| list.split(','));
    names.map(|name| name.trim().trim_matches('\'').to_owned()).filter(|n| !n.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_all_lists() {
        let description = "{application, 'ra', [\n\t{applications, [kernel,\n  'gen_batch_server']},\
            {optional_applications,[seshat]}, {included_applications, []}, {vsn, \"2\"}]}.";
        assert_eq!(dependencies(description), ["kernel", "gen_batch_server", "seshat"]);
    }

    #[test]
    fn applications_with_common_prefixes_are_distinguished() {
        let names = ["rabbit_common-3.10.8", "rabbit-3.10.8", "README"].map(str::to_owned);
        let all = Applications { folder: PathBuf::new(), names: names.to_vec() };
        assert_eq!(all.folder_of("rabbit"), Some("rabbit-3.10.8"));
        assert_eq!(all.folder_of("rabbit_common"), Some("rabbit_common-3.10.8"));
        assert_eq!(all.folder_of("READ"), None);
    }
}
