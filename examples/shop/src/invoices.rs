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

/// Notes the order before the mail is sent, so that another delivery of the event sends none. If
/// the mail fails, the note is taken back, and the event is retried.
async fn invoice(seen: &Seen, mails: &Pusher<MessagePack>, placed: Placed) -> Result<(), Fault> {
    let Placed { order, cents } = placed;
    let number = order.number;
    if !seen.note(number, cents) {
        return Ok(());
    }
    let sent = mail(mails, order, cents).await;
    if sent.is_err() {
        seen.forget(number);
    }
    sent
}

async fn mail(mails: &Pusher<MessagePack>, order: Order, cents: u64) -> Result<(), Fault> {
    let text = format!("{} x {}: {cents} cents", order.pieces, order.article);
    let mail = Mail { order: order.number, to: order.customer, text };
    let pushed = mails.push(&mail).await;
    pushed.map_err(|error| Fault::new(Code::Unavailable, error.to_string()))
}
