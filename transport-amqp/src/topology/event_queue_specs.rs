//! Specs of the queues of subscribers: names, options and expiry.

use std::time::Duration;

use polywire_core::transport::Group;
use polywire_core::{Address, Result};

use crate::topology::options_by_queue::QueueSettings;
use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_spec::QueueSpec;
use crate::unique_number::unique;
use crate::wire::native;

/// Returns the queue of a group, which expires unless the group is durable.
///
/// The expiry is 60 seconds, unless the options of the queue set another one.
pub(crate) fn of_group(
    queues: &QueueSettings,
    channel: &Address,
    group: &Group,
) -> Result<QueueSpec> {
    let name = native::group_queue(channel, group.name())?;
    Ok(if group.is_durable() { queues.queue(name) } else { queues.expiring_queue(name, EXPIRES) })
}

/// Returns the queue of a subscriber without a group, with a random name.
pub(crate) fn own(channel: &Address) -> Result<QueueSpec> {
    let name = native::subscriber_queue(channel, unique())?;
    Ok(QueueSpec::expiring(name, QueueKind::Classic, EXPIRES))
}

/// Expiry of a queue without its subscribers, unless the group is durable.
const EXPIRES: Duration = Duration::from_secs(60);
