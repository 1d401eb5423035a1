//! Workloads with a pod template: told, as Pod Security Admission does, what their pods will get.
//!
//! Denied is one whose template carries the label of held pods: lifting such a pod takes the label off, its controller
//! does not know it any more and makes another, without end (62 pods in 8 s when it was tried).

use serde::Deserialize;

use super::review::{Operation, Request};
use super::{Context, Decided, Decision, Reason};
use crate::config::{Pods, Treatment};
use crate::object::{ObjectMeta, nullable};
use crate::vocabulary::{HELD, Mode};

crate::object::from_map_only!(Object<'a>, Spec<'a>, Template<'a>, PodSpec);

/// What is needed of a Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job or CronJob.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Object<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    spec: Spec<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Spec<'a> {
    #[serde(borrow, deserialize_with = "nullable")]
    template: Template<'a>,
    /// Of a Job, in seconds.
    active_deadline_seconds: Option<i64>,
    /// Of a CronJob.
    #[serde(borrow)]
    job_template: Option<Box<Object<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Template<'a> {
    #[serde(borrow)]
    metadata: Option<ObjectMeta<'a>>,
    #[serde(deserialize_with = "nullable")]
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct PodSpec {
    #[serde(deserialize_with = "nullable")]
    host_network: bool,
}

pub(super) fn validate(request: &Request<'_>, context: &Context<'_>) -> Decided {
    request.expect_v1()?;
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || context.config.is_excluded(&request.namespace) {
        return Ok(Decision::allow(if writes { Reason::Excluded } else { Reason::NotOurs }));
    }
    let object: Object<'_> = request.new_as()?;
    let spec = match object.spec.job_template {
        Some(job) => job.spec,
        None => object.spec,
    };
    if spec.template.metadata.as_ref().is_some_and(|metadata| metadata.label(HELD).is_some()) {
        return Ok(Decision::deny(
            Reason::LabelTampered,
            format!(
                "a {} in namespace {:?} is refused: its template carries the label {HELD}, which Ringfence puts on pods that \
                 wait for their namespace to be isolated and takes off again, so its pods would be lost to it and made anew without end; leave the label out",
                request.resource_name(),
                request.namespace
            ),
        ));
    }
    if context.mode() != Some(Mode::Enforce) || context.is_effective() {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let mut decision = Decision::allow(Reason::Allowed).warn(match context.config.pods {
        Pods::Hold => format!(
            "the pods of this {} will be held until the deny-all baseline of namespace {:?} is effective",
            request.resource_name(),
            request.namespace
        ),
        Pods::Reject => format!(
            "the pods of this {} will be refused until the deny-all baseline of namespace {:?} is effective",
            request.resource_name(),
            request.namespace
        ),
    });
    if let Some(seconds) = spec.active_deadline_seconds
        && context.config.pods == Pods::Hold
    {
        decision = decision.warn(format!("activeDeadlineSeconds ({seconds}) runs while its pods are held"));
    }
    if spec.template.spec.host_network && context.config.host_network != Treatment::Allow {
        decision = decision
            .warn("its pods use their node's network, where NetworkPolicies do not hold them back in most CNIs");
    }
    Ok(decision)
}
