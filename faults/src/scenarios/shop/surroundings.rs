//! The surroundings that all programs of the shop share.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::log_lines::LogLines;
use crate::broker::Broker;
use crate::plan::Plan;

/// The user of the broker that all programs share.
pub(crate) const USER: &str = "shop";

/// The surroundings that all programs share.
pub(crate) struct Shop<'a> {
    pub(crate) plan: &'a Plan,
    /// The URL, which names the file of the password.
    pub(crate) url: String,
    /// The folder of the books.
    pub(crate) books: PathBuf,
    /// The warnings and the errors of all programs.
    pub(crate) lines: LogLines,
    /// The file of the password, which the programs read for each connection.
    password: PathBuf,
}

impl<'a> Shop<'a> {
    /// Adds the [`USER`] to the broker, and creates the books and the file of the password in a
    /// folder.
    ///
    /// # Errors
    ///
    /// If the user, the file or the books cannot be created.
    pub(crate) async fn create(plan: &'a Plan, broker: &Broker, folder: &Path) -> Result<Self> {
        let (books, password) = (folder.join("books"), folder.join("password"));
        fs::create_dir(&books)?;
        broker.ctl(["add_user", USER, "password-0"]).await?;
        broker.ctl(["set_permissions", USER, ".*", ".*", ".*"]).await?;
        let url = plan.url(&format!("amqp://{USER}@127.0.0.1:{}/", broker.port));
        let url = format!("{url}&password=file:{}", password.display());
        let shop = Self { plan, url, books, lines: LogLines::default(), password };
        shop.set_password("password-0")?;
        Ok(shop)
    }

    /// Replaces the file of the password in one step. Other users cannot read it.
    pub(crate) fn set_password(&self, password: &str) -> Result<()> {
        let new = self.password.with_extension("new");
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::io::Write::write_all(&mut options.open(&new)?, password.as_bytes())?;
        Ok(fs::rename(new, &self.password)?)
    }
}
