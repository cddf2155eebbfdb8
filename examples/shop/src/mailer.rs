//! The mailer: sends each mail once, by the number of its order.

use std::sync::Arc;

use polywire::MessagePack;
use polywire::app::{BoxError, Component};

use crate::book::{Book, failed};
use crate::contracts::{Mail, ReportServer};

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport and of the book.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let sent = Arc::new(Book::open("mails")?);
    app.serve("mailer", ReportServer::new(sent.clone(), MessagePack)).await?;
    let handler = move |mail: Mail| {
        // A real mailer hands the mail to a server here. A mail costs nothing.
        let entered = sent.enter(mail.order, |_| Ok(0));
        async { entered.map(drop).map_err(failed) }
    };
    Ok(app.work("mails", MessagePack, handler).await?)
}
