//! Policies of Cilium, Calico and Antrea: unions with, or above, NetworkPolicy, and not judged.

use super::review::{Operation, Request};
use super::{Context, Decision, Reason};
use crate::config::Treatment;

pub(super) fn validate(request: &Request<'_>, context: &Context<'_>) -> Decision {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Decision::allow(Reason::NotOurs);
    }
    if context.config.is_excluded(&request.namespace) {
        return Decision::allow(Reason::Excluded);
    }
    let Some(mode) = context.mode() else {
        return Decision::allow(Reason::NotAdopted);
    };
    let effect = format!(
        "{} {:?} in namespace {:?} can allow traffic that the deny-all baseline denies, and Ringfence does not judge it",
        request.resource_name(),
        request.name,
        request.namespace
    );
    match context.config.vendor_policies {
        Treatment::Allow => Decision::allow(Reason::Allowed),
        Treatment::Warn => Decision::allow(Reason::VendorPolicy).warn(effect),
        Treatment::Deny => {
            let fix = "this cluster refuses such policies; write a NetworkPolicy instead";
            Decision::deny(Reason::VendorPolicy, format!("{effect}; {fix}")).in_mode(mode)
        }
    }
}
