//! Claims to deviate in manifests, as the webhook judges them when they are applied.

use jiff::Timestamp;
use ringfence_core::admission::claims::{self, Refused};
use ringfence_core::config::Config;
use ringfence_core::inventory::Inventory;
use ringfence_core::object::Exception;
use ringfence_core::policy::lint::Object;

use crate::inventory::Origins;
use crate::manifests::{Problem, Sources};

/// Takes claims out that the webhook would refuse, so that nothing is judged as if they were in force, and tells of them. What is
/// over by now was accepted once, as a dump of a cluster shows it: it excuses nothing any more, and is no problem.
pub(super) fn refused(
    inventory: &mut Inventory,
    (origins, sources): (&Origins, &Sources),
    config: &Config,
    now: Timestamp,
) -> Vec<Problem> {
    let longest = &config.longest_exemption;
    let is_over = |claim: &Exception| claim.end().is_ok_and(|end| end <= now);
    let mut refused: Vec<(Object, Refused)> = Vec::new();
    for (name, namespace) in inventory.namespaces.iter_mut().filter(|(name, _)| !config.is_excluded(name)) {
        let isolation = &mut namespace.isolation;
        if !is_over(&isolation.exemption())
            && let Err(wrong) = claims::exemption(&format!("{name:?}"), isolation, now, longest)
        {
            (isolation.exempt_reason, isolation.exempt_until) = (None, None);
            refused.push((Object::namespace(name), wrong));
        }
        for written in &mut namespace.policies {
            let policy = &mut written.policy;
            let what = format!("creating NetworkPolicy {:?}", policy.name);
            if let Some(claim) = policy.exception.as_ref().filter(|claim| !is_over(claim))
                && let Err(wrong) = claims::exception(&what, claim, now, longest)
            {
                policy.exception = None;
                refused.push((Object::policy(name, &policy.name), wrong));
            }
        }
    }
    let written = refused.into_iter().filter_map(|(object, wrong)| Some((origins.of(&object)?, wrong)));
    let (known, refused): (Vec<_>, Vec<Refused>) = written.unzip();
    let paths: Vec<String> = refused.iter().map(|wrong| format!("metadata.annotations.{}", wrong.annotation)).collect();
    let places = sources.locate(known.iter().copied().zip(paths.iter().map(String::as_str)));
    let problems = known.iter().zip(refused).zip(places);
    problems
        .map(|((origin, wrong), at)| Problem { file: origin.file().to_owned(), at: Some(at), message: wrong.message })
        .collect()
}
