//! TLS connections with rustls and ring.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lapin::tcp::RustlsConnector;
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
/// `None` without a certificate. A key without a certificate is an error, since the user has most
/// likely forgotten one of both.
fn identity(
    url: &ParsedUrl,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let Some(path) = &url.certificate_file else {
        return match &url.key_file {
            None => Ok(None),
            Some(path) => Err(config_error(
                "cannot use a client key without a certificate: set certfile as well",
            )
            .with("file", path.display())),
        };
    };
    let key_path = url.key_file.as_ref().unwrap_or(path);
    let key = PrivateKeyDer::from_pem_file(key_path)
        .map_err(|error| unreadable("the client's key", key_path).with_source(error))?;
    Ok(Some((certificates("the client's certificate", path)?, key)))
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
}
