//! Workloads with a pod template: told, as Pod Security Admission does, what their pods will get. Never denied.

use serde::Deserialize;

use super::review::{Operation, Request};
use super::{Context, Decided, Decision, Reason};
use crate::config::{Pods, Treatment};
use crate::object::nullable;
use crate::vocabulary::Mode;

crate::object::from_map_only!(Object, Spec, Template, PodSpec);

/// What is needed of a Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job or CronJob.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Object {
    #[serde(deserialize_with = "nullable")]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    template: Template,
    /// Of a Job, in seconds.
    active_deadline_seconds: Option<i64>,
    /// Of a CronJob.
    job_template: Option<Box<Object>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Template {
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
    if context.mode() != Some(Mode::Enforce) || context.is_effective() {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let object: Object = request.new_as()?;
    let spec = match object.spec.job_template {
        Some(job) => job.spec,
        None => object.spec,
    };
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
