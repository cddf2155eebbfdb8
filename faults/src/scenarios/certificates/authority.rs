//! A certificate authority.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// A certificate authority with its key.
///
/// The key is a new one for each authority, and is never written to a file.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// The validity of a certificate.
#[derive(Clone, Copy)]
pub(super) enum Validity {
    /// From 1975 to 4096, the default of `rcgen`.
    Now,
    /// The year 2001.
    Expired,
}

impl Authority {
    /// Generates an authority.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Issues a certificate for a host or a user.
    ///
    /// The name is the common name, and the only alternative name.
    pub(super) fn issue(&self, name: &str, validity: Validity) -> Result<Certificate> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        if matches!(validity, Validity::Expired) {
            (params.not_before, params.not_after) =
                (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { pem, key: key.serialize_pem() })
    }

    /// Writes the certificate of the authority into a folder, as `NAME.pem`.
    pub(super) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        Ok(fs::write(folder.join(format!("{name}.pem")), &self.pem)?)
    }
}

/// A certificate and its key.
pub(super) struct Certificate {
    pem: String,
    key: String,
}

impl Certificate {
    /// Writes the certificate and its key into a folder, as `NAME.pem` and `NAME.key`. Files of
    /// these names are replaced one after the other.
    pub(super) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        fs::write(folder.join(format!("{name}.pem")), &self.pem)?;
        Ok(fs::write(folder.join(format!("{name}.key")), &self.key)?)
    }
}
