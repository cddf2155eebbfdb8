//! The conformance suite on this backend.
//!
//! Each case gets a space of its own, in which nothing of another case is visible: a virtual host,
//! a free port, or a prefix for names. Each transport stands for a process of its own.

#[allow(unreachable_pub, reason = "the transport is the library of a crate of its own")]
mod transport;

use polywire_conformance::{Backend, Space, Suite};
use polywire_core::{AnyTransport, Result};

use self::transport::Template;

fn main() {
    polywire_conformance::main(|| vec![Suite::of(TemplateBackend)]);
}

struct TemplateBackend;

impl Backend for TemplateBackend {
    type Space = TemplateSpace;

    fn name(&self) -> String {
        "template".to_owned()
    }

    async fn space(&self) -> Result<TemplateSpace> {
        Ok(TemplateSpace)
    }
}

struct TemplateSpace;

impl Space for TemplateSpace {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Template::new()))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Template::new()))
    }
}
