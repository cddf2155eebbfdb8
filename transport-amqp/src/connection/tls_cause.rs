//! Causes of a failed TLS handshake.

use std::io;

/// Describes an error of TLS in a broker's or a user's terms; `None` for any other error.
///
/// The error of rustls is within the `io::Error`. An error of the operating system has none within,
/// and so no cause here.
#[cfg(feature = "tls")]
pub(super) fn tls_cause(error: &io::Error) -> Option<String> {
    use rustls::{AlertDescription, CertificateError, Error};

    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(invalid) => match invalid {
            CertificateError::UnknownIssuer => {
                "no trusted authority has signed the broker's certificate; cacertfile names the \
                 file of an authority"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the broker's certificate is for another host name: {invalid}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the broker's certificate has expired".to_owned()
            }
            other => format!("the broker's certificate is invalid: {other}"),
        },
        Error::InvalidMessage(_) => {
            "the port does not speak TLS: use amqp://, or the port for amqps://".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the broker requires a certificate of the client; set certfile and keyfile".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the broker ended the TLS handshake with the alert {alert:?}")
        }
        other => format!("the TLS handshake failed: {other}"),
    })
}

/// Returns `None`: without the feature `tls`, no error is one of TLS.
#[cfg(not(feature = "tls"))]
pub(super) fn tls_cause(_: &io::Error) -> Option<String> {
    None
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn causes_differ() {
        let cause = |error: Error| tls_cause(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, part) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "trusted authority"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "another host name"),
            (Error::InvalidCertificate(CertificateError::Expired), "expired"),
            (Error::InvalidCertificate(CertificateError::Revoked), "invalid"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "of the client"),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), "HandshakeFailure"),
        ] {
            let text = cause(error).unwrap();
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(tls_cause(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
