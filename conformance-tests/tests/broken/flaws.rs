//! The flaws, by the part of a backend that is broken.

pub(crate) mod abandoning;
pub(crate) mod broadcasts;
pub(crate) mod budget;
pub(crate) mod calls;
pub(crate) mod capabilities;
pub(crate) mod closing;
pub(crate) mod dead_letters;
pub(crate) mod declining;
pub(crate) mod deliveries;
pub(crate) mod endings;
pub(crate) mod events;
pub(crate) mod handlers;
pub(crate) mod health;
pub(crate) mod hoarding;
pub(crate) mod links;
pub(crate) mod messages;
pub(crate) mod names;
pub(crate) mod outages;
pub(crate) mod permissions;
pub(crate) mod send_options;
pub(crate) mod settling;
