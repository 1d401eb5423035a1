//! Policies of Cilium, Calico and Antrea: unions with, or above, NetworkPolicy, and not judged.

use super::review::{Operation, Request};
use super::{Context, Decision, Reason};
use crate::config::Treatment;
use crate::vocabulary::Mode;

pub(super) fn validate(request: &Request<'_>, context: &Context<'_>) -> Decision {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Decision::allow(Reason::NotOurs);
    }
    if context.config.is_excluded(&request.namespace) {
        return Decision::allow(Reason::Excluded);
    }
    let mode = match context.mode() {
        None => return Decision::allow(Reason::NotAdopted),
        Some(Mode::Exempt) => return Decision::allow(Reason::Exempt),
        Some(mode) => mode,
    };
    let name = if request.name.is_empty() { "with a generated name".to_owned() } else { format!("{:?}", request.name) };
    let effect = format!(
        "can allow traffic that the deny-all baseline of namespace {:?} denies, and Ringfence does not judge it",
        request.namespace
    );
    let what = format!("{} {name}", request.resource_name());
    match context.config.vendor_policies {
        Treatment::Allow => Decision::allow(Reason::Allowed),
        Treatment::Warn => Decision::allow(Reason::VendorPolicy).warn(format!("{what} {effect}")),
        Treatment::Deny => {
            let message = format!("{what} is refused: it {effect}; write a NetworkPolicy instead");
            Decision::deny(Reason::VendorPolicy, message).in_mode(mode)
        }
    }
}
