//! The mailer: sends each mail once, by the number of its order.

use std::sync::Arc;

use polywire::MessagePack;
use polywire::app::{BoxError, Component};

use crate::contracts::{Mail, ReportServer};
use crate::dashboard::Seen;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let sent = Arc::new(Seen::default());
    app.serve("mailer", ReportServer::new(sent.clone(), MessagePack)).await?;
    let handler = move |mail: Mail| {
        let sent = sent.clone();
        async move {
            // A real mailer hands the mail to a server here.
            sent.note(mail.order, 0);
            Ok(())
        }
    };
    Ok(app.work("mails", MessagePack, handler).await?)
}
