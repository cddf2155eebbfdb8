//! The invoices: one for each order, and a mail with each.

use std::sync::Arc;

use polywire::app::{BoxError, Component};
use polywire::{Code, Fault, Group, MessagePack, Pusher, Transport};

use crate::contracts::{Mail, Order, Placed, ReportServer};
use crate::dashboard::Seen;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let (seen, group) = (Arc::new(Seen::default()), Group::new("invoices")?.durable());
    let mails = Pusher::connect(app.transport(), "mails", MessagePack).await?;
    app.serve("invoices", ReportServer::new(seen.clone(), MessagePack)).await?;
    // Events wait for the group while no invoices run, where the transport can keep them.
    let keeps = app.transport().capabilities().durable_groups;
    let handler = move |placed: Placed| {
        let (seen, mails) = (seen.clone(), mails.clone());
        async move { invoice(&seen, &mails, placed).await }
    };
    let listening = app.listen_with(
        "order_events",
        MessagePack,
        move |listener| match keeps {
            true => listener.filter("*.placed").group(group.clone()),
            false => listener.filter("*.placed"),
        },
        handler,
    );
    Ok(listening.await?)
}

/// Sends the mail first: if it fails, the event is retried and nothing is noted.
async fn invoice(seen: &Seen, mails: &Pusher<MessagePack>, placed: Placed) -> Result<(), Fault> {
    let Placed { order, cents } = placed;
    if !seen.contains(order.number) {
        mail(mails, order.clone(), cents).await?;
    }
    seen.note(order.number, cents);
    Ok(())
}

async fn mail(mails: &Pusher<MessagePack>, order: Order, cents: u64) -> Result<(), Fault> {
    let text = format!("{} x {}: {cents} cents", order.pieces, order.article);
    let mail = Mail { order: order.number, to: order.customer, text };
    let pushed = mails.push(&mail).await;
    pushed.map_err(|error| Fault::new(Code::Unavailable, error.to_string()))
}
