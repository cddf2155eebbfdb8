//! The loop that receives deliveries, and what workers, listeners and servers share around it.

pub(crate) mod inline_policy;
pub(crate) mod receive_loop;
pub(crate) mod retries;
pub(crate) mod serving;
pub(crate) mod work_loop;

pub use self::retries::Retries;
pub use self::serving::Serving;
pub use self::work_loop::{WorkHandle, WorkStats};
