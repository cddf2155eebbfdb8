//! Credentials that the URL names by their sources.

use lapin::uri::AMQPUserInfo;
use polywire_core::secret::{Secret, SecretSource};
use polywire_core::{Error, ErrorKind, Result};
use tokio::task::spawn_blocking;

use crate::connection::credentials::{Credentials, CredentialsProvider};

/// Sources of the user and of the password. A part without a source is stated in the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecretCredentials {
    /// `username`
    pub(crate) user: Option<SecretSource>,
    /// `password`
    pub(crate) password: Option<SecretSource>,
}

impl SecretCredentials {
    /// Returns the function that reads the sources for each new connection, or `None` without a
    /// source. `stated` has the parts without a source.
    ///
    /// The sources are read again for each connection, on a thread for blocking work. So a changed
    /// file takes effect without a restart.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a source cannot be read now, so that a wrong path is an error of
    /// the program's start and not of a later connection.
    pub(crate) fn provider(&self, stated: &AMQPUserInfo) -> Result<Option<CredentialsProvider>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let (sources, stated) = (self.clone(), stated.clone());
        sources.read(&stated)?;
        Ok(Some(CredentialsProvider::new(move || {
            let (sources, stated) = (sources.clone(), stated.clone());
            async move {
                // A file may be on a disk that does not answer.
                let read = spawn_blocking(move || sources.read(&stated)).await;
                read.map_err(|_| stopped())?
            }
        })))
    }

    fn read(&self, stated: &AMQPUserInfo) -> Result<Credentials> {
        let or = |source: &Option<SecretSource>, stated: &str| match source {
            None => Ok(Secret::new(stated)),
            Some(source) => source.read(),
        };
        let user = or(&self.user, &stated.username)?;
        let password = or(&self.password, &stated.password)?;
        Ok(Credentials::new(user.reveal(), password.reveal()))
    }
}

/// Returns the error of a runtime that ends while a file is read.
fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "cannot read the credentials: the runtime has ended").unsent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sources_are_read_again_for_each_connection() {
        let path = std::env::temp_dir().join(format!("polywire-amqp-{}", std::process::id()));
        std::fs::write(&path, "first\n").unwrap();
        let sources =
            SecretCredentials { user: None, password: Some(SecretSource::File(path.clone())) };
        let stated = AMQPUserInfo { username: "billing".to_owned(), password: "guest".to_owned() };
        let provider = sources.provider(&stated).unwrap().unwrap();
        for password in ["first", "second"] {
            std::fs::write(&path, password).unwrap();
            let read = AMQPUserInfo::from(provider.ask().await.unwrap());
            assert_eq!((&*read.username, &*read.password), ("billing", password));
        }
        std::fs::remove_file(&path).unwrap();
        let error = provider.ask().await.unwrap_err();
        assert_eq!(error.detail("file"), Some(&*path.display().to_string()));
        assert!(sources.provider(&stated).is_err());
    }
}
