//! Versions and kinds that look like those that are judged and are none: of an API that is served no more, or misspelt. What
//! is passed over as a stranger's could be the policy or the pod that decides.

use super::workload;

/// The version and kind that is meant, where an object has others that no API server serves
/// (<https://kubernetes.io/docs/reference/using-api/deprecation-guide/>); `None` where it is right, or of a group that
/// Kubernetes does not own, where kinds of the same name are others.
#[must_use]
pub fn meant(api_version: &str, kind: &str) -> Option<(&'static str, &'static str)> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group).to_ascii_lowercase();
    if group.contains('.') && !group.ends_with(".k8s.io") {
        return None;
    }
    let mut judged =
        workload::KINDS.into_iter().chain([("networking.k8s.io/v1", "NetworkPolicy"), ("v1", "Namespace")]);
    judged.find(|(_, known)| known.eq_ignore_ascii_case(kind)).filter(|known| *known != (api_version, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_no_more_or_misspelt_is_told_from_what_is_right_and_what_is_others() {
        let policy = Some(("networking.k8s.io/v1", "NetworkPolicy"));
        for (api_version, kind, expected) in [
            ("networking.k8s.io/v1", "NetworkPolicy", None),
            ("extensions/v1beta1", "NetworkPolicy", policy),
            ("networking.k8s.io/v1beta1", "NetworkPolicy", policy),
            ("networking.k8s.io/v1", "networkpolicy", policy),
            ("Networking.k8s.io/v1", "NetworkPolicy", policy),
            ("v1", "NetworkPolicy", policy),
            ("projectcalico.org/v3", "NetworkPolicy", None),
            ("crd.antrea.io/v1beta1", "NetworkPolicy", None),
            ("apps/v1beta2", "Deployment", Some(("apps/v1", "Deployment"))),
            ("batch/v1beta1", "CronJob", Some(("batch/v1", "CronJob"))),
            ("batch.volcano.sh/v1alpha1", "Job", None),
            ("apps/v1", "Pod", Some(("v1", "Pod"))),
            ("v1", "namespace", Some(("v1", "Namespace"))),
            ("networking.k8s.io/v1", "Ingress", None),
        ] {
            assert_eq!(meant(api_version, kind), expected, "{api_version} {kind}");
        }
    }
}
