//! TLS connections with rustls and ring.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lapin::tcp::RustlsConnector;
use polywire_core::secret::SecretSource;
use polywire_core::{Error, ErrorKind, Result};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::url::ParsedUrl;

/// Returns a TLS connector. It trusts the authorities in the URL's file, or without one the trust
/// store of the operating system. It presents the URL's client certificate, if there is one.
///
/// The connector has its own crypto provider, independent of a provider that the process installs.
///
/// TLS 1.2 and 1.3 are offered, the defaults of rustls. The files are read at each call, which
/// blocks meanwhile.
///
/// # Errors
///
/// [`ErrorKind::Config`] if a file cannot be read, or no authority is trusted.
pub(crate) fn connector(url: &ParsedUrl) -> Result<RustlsConnector> {
    let roots = match &url.ca_file {
        Some(path) => private_roots(path)?,
        None => native_roots()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| config_error("cannot set up TLS").with_source(error))?
        .with_root_certificates(roots);
    let config = match identity(url)? {
        None => config.with_no_client_auth(),
        Some((certificates, key)) => {
            config.with_client_auth_cert(certificates, key).map_err(|error| {
                config_error("cannot use the client's certificate: the key does not match")
                    .with_source(error)
            })?
        }
    };
    Ok(RustlsConnector::from(Arc::new(config)))
}

/// Loads the client certificate and its key. Both may be in one file.
///
/// The key is a secret: a warning is logged for a file of a key that other users can read.
///
/// `None` without a certificate. A key without a certificate is an error, since the user has most
/// likely forgotten one of both.
fn identity(
    url: &ParsedUrl,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let Some(path) = &url.certificate_file else {
        return match &url.key {
            None => Ok(None),
            Some(key) => {
                let text = "cannot use a client key without a certificate: set certfile as well";
                Err(naming(config_error(text), key))
            }
        };
    };
    let source = url.key.clone().unwrap_or_else(|| SecretSource::File(path.clone()));
    let pem = source.read()?;
    let key = PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes()).map_err(|error| {
        naming(config_error("cannot read the client's key of TLS"), &source).with_source(error)
    })?;
    Ok(Some((certificates("the client's certificate", path)?, key)))
}

/// Adds the file or the variable of a key to an error.
fn naming(error: Error, source: &SecretSource) -> Error {
    match source {
        SecretSource::File(path) => error.with("file", path.display()),
        SecretSource::Env(name) => error.with("variable", name),
    }
}

/// Loads the authorities of a PEM file, the only ones to be trusted.
fn private_roots(path: &Path) -> Result<RootCertStore> {
    let what = "the file of certificate authorities";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, path)? {
        roots.add(certificate).map_err(|error| unreadable(what, path).with_source(error))?;
    }
    Ok(roots)
}

/// Loads the certificates of a PEM file, at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| unreadable(what, path).with_source(error))?;
    if certificates.is_empty() {
        return Err(unreadable(what, path)
            .with_source(io::Error::other("the file contains no certificate")));
    }
    Ok(certificates)
}

/// Returns the error of a file that cannot be read or parsed, which the details name.
fn unreadable(what: &'static str, path: &Path) -> Error {
    config_error("cannot read a TLS file").with("what", what).with("file", path.display())
}

/// Loads the trust store of the operating system. Certificates that cannot be parsed are skipped:
/// most trust stores contain some.
fn native_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(config_error(
            "cannot verify the broker: the trust store is empty; set cacertfile",
        ));
    }
    Ok(roots)
}

/// Returns a configuration error of TLS.
fn config_error(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_a_missing_or_empty_file() {
        let missing = "/does/not/exist.pem";
        for (options, path) in [
            (format!("cacertfile={missing}"), missing),
            ("cacertfile=/dev/null".to_owned(), "/dev/null"),
            (format!("certfile={missing}&keyfile=/dev/null"), "/dev/null"),
            (format!("keyfile={missing}"), missing),
        ] {
            let url = ParsedUrl::parse(&format!("amqps://localhost?{options}")).unwrap();
            let error = connector(&url).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert_eq!(error.detail("file"), Some(path));
        }
    }

    #[test]
    fn key_is_read_from_each_source() {
        let path = std::env::temp_dir().join(format!("polywire-key-{}.pem", std::process::id()));
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        std::fs::write(&path, pem("CERTIFICATE") + &pem("PRIVATE KEY")).unwrap();
        let at = path.display();
        let identity_of = |options: &str| {
            identity(
                &ParsedUrl::parse(&format!("amqps://localhost?certfile={at}{options}")).unwrap(),
            )
        };
        for options in [String::new(), format!("&keyfile={at}"), format!("&keyfile=file:{at}")] {
            let (certificates, key) = identity_of(&options).unwrap().unwrap();
            assert_eq!((certificates.len(), key.secret_der()), (1, &[0, 0, 0][..]), "{options}");
        }
        let error = identity_of("&keyfile=env:POLYWIRE_NO_SUCH_KEY").err().unwrap();
        assert_eq!(error.detail("variable"), Some("POLYWIRE_NO_SUCH_KEY"), "{error}");
        // A variable without a key.
        let error = identity_of("&keyfile=env:PATH").err().unwrap();
        assert_eq!(error.detail("variable"), Some("PATH"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
