//! What a baseline would cut off in a namespace that runs without one: shown before the namespace is adopted.
//!
//! Nobody can see from objects which traffic flows. What can be seen is which pods no policy isolates today, so that
//! everything may flow; for these the baseline changes something.

use super::selectors::Labels;
use super::{Direction, NetworkPolicy};

/// A pod, by what a policy sees of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// A Service that selects pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its ports as people read them, such as `TCP 5432`.
    pub ports: Vec<String>,
    /// What it selects; a Service without a selector leads to no pods that are known, and is not asked about.
    pub selector: Labels,
}

/// What would be cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut<'a> {
    /// Services with pods that anything may reach today.
    pub services: Vec<&'a Service>,
    /// Pods that anything may reach today.
    pub reachable: Vec<&'a Pod>,
    /// Pods that may reach anything today.
    pub reaching: Vec<&'a Pod>,
}

fn is_open(pod: &Pod, policies: &[&NetworkPolicy], direction: Direction) -> bool {
    !policies.iter().any(|policy| policy.spec.rules(direction).is_some() && policy.spec.pods.matches(&pod.labels))
}

/// What a baseline would cut off in a namespace with these policies, pods and Services.
#[must_use]
pub fn cut<'a>(policies: &[&NetworkPolicy], pods: &'a [Pod], services: &'a [Service]) -> Cut<'a> {
    let open = |direction| pods.iter().filter(|pod| is_open(pod, policies, direction)).collect::<Vec<&Pod>>();
    let reachable = open(Direction::Ingress);
    let selects = |service: &Service, pod: &Pod| {
        !service.selector.is_empty()
            && service.selector.iter().all(|(key, value)| pod.labels.get(key).is_some_and(|other| other == value))
    };
    let services = services.iter().filter(|service| reachable.iter().any(|pod| selects(service, pod))).collect();
    Cut { services, reaching: open(Direction::Egress), reachable }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::parse::{Source, network_policy};

    fn labels(app: &str) -> Labels {
        [("app".to_owned(), app.to_owned())].into()
    }

    fn pod(app: &str) -> Pod {
        Pod { name: app.to_owned(), labels: labels(app) }
    }

    #[test]
    fn only_what_no_policy_isolates_today_is_cut() {
        let object = json!({ "metadata": { "name": "p" }, "spec": {
            "podSelector": { "matchLabels": { "app": "db" } }, "policyTypes": ["Ingress"] } });
        let policy = network_policy(&object, Source::Cluster).unwrap();
        let pods = [pod("web"), pod("db")];
        let service = |app: &str| Service {
            name: app.to_owned(),
            ports: vec!["TCP 80".to_owned()],
            selector: if app == "none" { Labels::new() } else { labels(app) },
        };
        let services = [service("web"), service("db"), service("none"), service("gone")];
        let cut = cut(&[&policy], &pods, &services);
        let names = |pods: &[&Pod]| pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
        assert_eq!(cut.services, [&services[0]]);
        assert_eq!(
            (names(&cut.reachable), names(&cut.reaching)),
            (vec!["web".into()], vec!["web".into(), "db".into()])
        );
    }
}
