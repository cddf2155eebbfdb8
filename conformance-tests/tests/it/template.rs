//! The template of a backend compiles, and fails only the cases that are not written yet.

#[allow(unreachable_pub, reason = "the transport is the library of a crate of its own")]
#[path = "../../examples/template/transport.rs"]
mod transport;

use polywire_conformance::{Backend, CaseOutcome, Space, Suite};
use polywire_core::{AnyTransport, Result};

use self::transport::Template;

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
        self.serving().await
    }
}

#[tokio::test(start_paused = true)]
async fn template_fails_only_what_is_not_written() {
    let report = Suite::of(TemplateBackend).run(|_| true).await;
    let mut failed = 0;
    for entry in &report.entries {
        match &entry.outcome {
            CaseOutcome::Failed(sentence) => {
                failed += 1;
                assert!(entry.minimum, "{}: {sentence}", entry.case);
                let is_refused = sentence.contains("Unsupported");
                assert!(is_refused, "{} fails otherwise: {sentence}", entry.case);
            }
            CaseOutcome::NotRun(_) => assert!(!entry.minimum, "{}", entry.case),
            CaseOutcome::Passed => {}
        }
    }
    assert!(failed > 40, "{failed} cases failed:\n{report}");
}
