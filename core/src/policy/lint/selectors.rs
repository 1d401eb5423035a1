//! Selectors that can't select anything.

use super::catalogue::UNSATISFIABLE_SELECTOR;
use super::{Finding, Object, is_full, words};
use crate::policy::selectors::{KeySet, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer};

/// `unsatisfiable-selector`.
pub(super) fn policy(policy: &NetworkPolicy, namespace: &str, found: &mut Vec<Finding>) {
    let mut look = |selector: &Selector, of_namespaces: bool, path: String, effect: &str| {
        let nameless =
            |(key, set): (&str, KeySet<'_>)| of_namespaces && key == NAMESPACE_NAME_LABEL && !set.admits_a_name();
        let key = selector.contradictions().next().map(str::to_owned);
        let (key, why) = match (key, selector.keys().any(nameless)) {
            (Some(key), _) => (key, "contradict each other"),
            (None, true) => {
                (NAMESPACE_NAME_LABEL.to_owned(), "leave out every namespace, since each carries its name there")
            }
            (None, false) => return,
        };
        if is_full(found, &UNSATISFIABLE_SELECTOR) {
            return;
        }
        found.push(
            Finding::new(
                &UNSATISFIABLE_SELECTOR,
                Object::policy(namespace, &policy.name),
                format!("the requirements on {key} {why}, so {effect}, now and later"),
            )
            .at(path)
            .help(format!("take away the requirement on {key} that is not meant")),
        );
    };
    look(
        &policy.spec.pods,
        false,
        "spec.podSelector".to_owned(),
        "the policy isolates no pod and lets nothing through",
    );
    for direction in Direction::BOTH {
        let effect = match direction {
            Direction::Ingress => "this item lets nobody in",
            Direction::Egress => "this item lets nothing out",
        };
        for (i, rule) in policy.spec.rules(direction).into_iter().flatten().enumerate() {
            for (j, peer) in rule.peers.iter().flatten().enumerate() {
                let Peer::Pods { namespaces, pods } = peer else { continue };
                for (selector, field) in [(namespaces, "namespaceSelector"), (pods, "podSelector")] {
                    if let Some(selector) = selector {
                        let path = format!("{}.{field}", words::peer(direction, i, j));
                        look(selector, field == "namespaceSelector", path, effect);
                    }
                }
            }
        }
    }
}
