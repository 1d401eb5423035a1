//! The API servers' audit logs: who asked for what, and what the webhooks said to it.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value;

use super::Bed;

/// One event. A request has one at `ResponseComplete`; a watch also has one at `ResponseStarted`.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Which API server logged it.
    pub(crate) server: usize,
    pub(crate) stage: String,
    pub(crate) user: String,
    /// Whom the user impersonated.
    pub(crate) impersonated: Option<String>,
    pub(crate) user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub(crate) verb: String,
    /// Empty for what is no resource, such as /readyz.
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The HTTP status; 0 where there is none.
    pub(crate) code: u64,
    /// Those of the audit event, such as which webhooks patched the object.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The whole, for what is not above: `requestURI`, and with `audit_bodies` `requestObject` and `responseObject`.
    pub(crate) whole: Value,
}

/// A place in the logs.
#[derive(Debug, Clone)]
pub(crate) struct Mark(Vec<u64>);

impl Bed {
    /// All events from the start. An event may be logged a moment after the client has its answer: count
    /// [`super::eventually`].
    pub(crate) fn audit(&self) -> Vec<Event> {
        self.audit_since(&Mark(vec![0; self.servers().len()]))
    }

    /// Where the logs end now, for [`Self::audit_since`].
    pub(crate) fn audit_mark(&self) -> Mark {
        let length = |index| std::fs::metadata(self.audit_log(index)).map_or(0, |about| about.len());
        Mark((0..self.servers().len()).map(length).collect())
    }

    /// The events after a place.
    pub(crate) fn audit_since(&self, mark: &Mark) -> Vec<Event> {
        let mut events = Vec::new();
        for (server, start) in mark.0.iter().enumerate() {
            let Ok(mut file) = std::fs::File::open(self.audit_log(server)) else { continue };
            file.seek(SeekFrom::Start(*start)).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            // What has no line end yet is still being written.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            events.extend(whole.lines().filter_map(|line| event(server, line)));
        }
        events
    }
}

fn event(server: usize, line: &str) -> Option<Event> {
    let mut whole: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| whole.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Event {
        server,
        stage: text("/stage"),
        user: text("/user/username"),
        impersonated: Some(text("/impersonatedUser/username")).filter(|user| !user.is_empty()),
        user_agent: text("/userAgent"),
        verb: text("/verb"),
        resource: text("/objectRef/resource"),
        subresource: text("/objectRef/subresource"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: whole.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        annotations: serde_json::from_value(whole["annotations"].take()).unwrap_or_default(),
        whole,
    })
}
