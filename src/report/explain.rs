//! What a lint is about, for people: printed by `ringfence explain`, and the beginning of its page in `docs/lints/`.

use std::fmt::Write;

use ringfence_core::policy::lint::{Lint, catalogue};
use ringfence_core::vocabulary::IGNORE;

/// What is found, what that does to traffic, and what to do, as Markdown.
#[must_use]
pub fn lint(lint: &Lint) -> String {
    let Lint { id, severity, summary, effect, fix } = lint;
    format!("# {id}\n\n**{severity}**: {summary}\n\n{effect}\n\n**To mend it**, {fix}.\n")
}

/// How to give a lint another severity, or switch it off, as Markdown.
#[must_use]
pub fn switching_off(lint: &Lint) -> String {
    let id = lint.id;
    format!(
        "## Where it is meant so\n\nOn one object, an annotation switches it off, with a reason:\n\n    metadata:\n      \
         annotations:\n        {IGNORE}{id}: why it is meant so\n\nFor all objects, the configuration gives it another \
         severity (`info`, `warning`, `medium`, `high`, `error`), or none:\n\n    lints:\n      {id}: off\n"
    )
}

/// Every lint with its severity, a line each.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for lint in catalogue::ALL {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{:<24} {:<8} {}", lint.id, lint.severity.as_str(), lint.summary);
    }
    text
}
