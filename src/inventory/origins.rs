//! Where the objects of an inventory came from.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use ringfence_core::inventory::workload;
use ringfence_core::policy::lint::{self, Finding};

use crate::manifests::{Object, Origin, Position, Sources};

/// The origins of objects, by what a finding says that it is about.
#[derive(Debug, Default)]
pub struct Origins {
    /// What made a namespace appear: the Namespace itself where it is there.
    pub namespaces: BTreeMap<String, Origin>,
    objects: HashMap<lint::Object, (bool, Origin)>,
}

impl Origins {
    /// Takes note of an object. Of two with one name, the first counts, unless only the second is of a kind that is
    /// judged: others have kinds of the same names.
    pub fn add(&mut self, object: &Object, default_namespace: &str) {
        let Some(name) = object.namespace(default_namespace) else { return };
        let origin = object.origin();
        let is_namespace = object.is("v1", "Namespace");
        if is_namespace || !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), origin.clone());
        }
        let judged =
            is_namespace || object.is_network_policy() || workload::is_workload(&object.api_version, &object.kind);
        let (kind, namespace, name) = (object.kind.clone(), name.to_owned(), object.name().to_owned());
        match self.objects.entry(lint::Object { kind, namespace, name }) {
            Entry::Vacant(place) => {
                place.insert((judged, origin));
            }
            Entry::Occupied(mut place) if judged && !place.get().0 => {
                place.insert((judged, origin));
            }
            Entry::Occupied(_) => {}
        }
    }

    /// Where an object came from; of one that is not there, what made its namespace appear.
    #[must_use]
    pub fn of(&self, object: &lint::Object) -> Option<&Origin> {
        let known = self.objects.get(object).map(|(_, origin)| origin);
        known.or_else(|| self.namespaces.get(&object.namespace))
    }

    /// The file of each finding, and where in it the field is that it is about.
    #[must_use]
    pub fn locate(&self, sources: &Sources, findings: &[Finding]) -> Vec<(String, Position)> {
        let known: Vec<Option<&Origin>> = findings.iter().map(|finding| self.of(&finding.object)).collect();
        let fields =
            known.iter().zip(findings).filter_map(|(origin, finding)| Some(((*origin)?, finding.path.as_str())));
        let mut found = sources.locate(fields).into_iter();
        let place = |origin: Option<&Origin>| {
            let origin = origin?;
            Some((origin.file().to_owned(), found.next()?))
        };
        // What is nowhere is about the whole.
        known
            .iter()
            .copied()
            .map(place)
            .map(|place| place.unwrap_or_else(|| ("-".to_owned(), Position::default())))
            .collect()
    }
}
