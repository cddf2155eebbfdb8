//! Encrypted connections, by rustls and ring.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lapin::tcp::RustlsConnector;
use polywire_core::{Error, ErrorKind, Result};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A connector that trusts the authorities in `ca_file` alone, or those that the machine trusts.
///
/// It brings its provider along, so that it depends on nothing that is installed for the whole process.
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<RustlsConnector> {
    let roots = match ca_file {
        Some(path) => private_roots(path)?,
        None => native_roots()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("TLS cannot be set up").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(RustlsConnector::from(Arc::new(config)))
}

fn private_roots(path: &Path) -> Result<RootCertStore> {
    let unreadable =
        || refused("the file of certificate authorities cannot be read").with("file", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| unreadable().with_source(error))?;
    if certificates.is_empty() {
        return Err(unreadable().with_source(io::Error::other("it holds no certificate")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| unreadable().with_source(error))?;
    }
    Ok(roots)
}

/// Those of the machine's authorities that can be read: there is always an odd one among them.
fn native_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(refused("this machine trusts no certificate authority; name one with cacertfile"));
    }
    Ok(roots)
}

fn refused(what: &'static str) -> Error {
    Error::new(ErrorKind::Config, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_file_is_named() {
        for path in ["/does/not/exist.pem", "/dev/null"] {
            let error = connector(Some(Path::new(path))).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert_eq!(error.detail("file"), Some(path));
        }
    }
}
