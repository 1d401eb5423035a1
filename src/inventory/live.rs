//! What an API server stores, as an inventory. Only `list` is used, and `get` on single namespaces where they can't be
//! listed: of Namespaces, NetworkPolicies, Pods, and the seven kinds that make pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::future::{join, join_all};
use kube::Client;
use kube::api::{ListParams, Request};
use ringfence_core::inventory::{Inventory, Workload, Written, workload};
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{self, Notes, Source};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// How many objects are asked for at one time.
const PAGE: u32 = 500;

/// How often a list is begun anew whose next page the API server has given up meanwhile.
const ATTEMPTS: usize = 3;

const POLICIES: (&str, &str) = ("/apis/networking.k8s.io/v1", "networkpolicies");

/// How much of a cluster is read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'s> {
    /// All of it.
    Cluster,
    /// All Namespaces, or at least these, and what is in these.
    Namespaces(&'s BTreeSet<String>),
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// All that could be listed. Nothing is dropped: what a Deployment made is there as well.
    pub inventory: Inventory,
    /// The kinds of workloads that could not be listed, with what the API server said.
    pub unlisted: BTreeMap<&'static str, String>,
    /// What else has to be said about it.
    pub remarks: Vec<String>,
}

/// Why nothing can be said about the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A list without which every answer could be wrong.
    #[error("the {resource} of the cluster can't be listed, and without them every answer could be wrong: {said}")]
    Needed {
        /// What was to be listed.
        resource: &'static str,
        /// What the API server said.
        said: String,
    },
    /// A namespace that is not there.
    #[error("there is no namespace {0:?} in the cluster")]
    NoNamespace(String),
    /// An object that is not what its kind is known to be.
    #[error("{kind} {name} of the cluster can't be read: {problem}")]
    Object {
        /// Its kind.
        kind: &'static str,
        /// Its namespace and name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    metadata: PageMeta,
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    metadata: Names,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    name: String,
    namespace: String,
}

impl Named {
    fn of(object: &RawValue) -> Names {
        serde_json::from_str::<Self>(object.get()).map(|named| named.metadata).unwrap_or_default()
    }
}

/// An error as the API server words it.
#[must_use]
pub fn told(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403))
}

/// Lists, page by page, and reads each object while its page is there.
async fn list<T>(
    client: &Client,
    path: &str,
    params: &ListParams,
    read: impl Fn(&RawValue) -> T,
) -> kube::Result<Vec<T>> {
    let mut attempts = 1;
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let params = ListParams { limit: Some(PAGE), continue_token: next.take(), ..params.clone() };
        let request = Request::new(path).list(&params).map_err(kube::Error::BuildRequest)?;
        let page = match client.request::<Page>(request).await {
            // The API server keeps what a list began with for some minutes only.
            Err(kube::Error::Api(status)) if status.code == 410 && attempts < ATTEMPTS => {
                attempts += 1;
                found.clear();
                continue;
            }
            page => page?,
        };
        found.extend(page.items.unwrap_or_default().iter().map(|object| read(object)));
        match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => next = Some(token),
            None => return Ok(found),
        }
    }
}

/// Lists a kind in every namespace of a scope.
async fn list_in<T>(
    client: &Client,
    scope: Scope<'_>,
    (group, resource): (&str, &str),
    read: impl Fn(&RawValue) -> T + Copy,
) -> kube::Result<Vec<T>> {
    let params = ListParams::default();
    match scope {
        Scope::Cluster => list(client, &format!("{group}/{resource}"), &params, read).await,
        Scope::Namespaces(names) => {
            let mut found = Vec::new();
            for name in names {
                found.extend(list(client, &format!("{group}/namespaces/{name}/{resource}"), &params, read).await?);
            }
            Ok(found)
        }
    }
}

/// Reads a cluster.
///
/// # Errors
/// Where Namespaces or NetworkPolicies can't be listed: nothing that is said without them holds. A kind of workload
/// that the user may not list is in [`Read::unlisted`].
pub async fn read(client: &Client, scope: Scope<'_>) -> Result<Read, Error> {
    let mut into = Read::default();
    for metadata in namespaces(client, scope).await? {
        let name = metadata["name"].as_str().unwrap_or_default();
        super::state(&mut into.inventory, name, &metadata).map_err(|error| Error::Object {
            kind: "Namespace",
            name: name.to_owned(),
            problem: error.to_string(),
        })?;
    }
    if let Scope::Namespaces(names) = scope
        && let Some(missing) = names.iter().find(|name| !into.inventory.namespaces.contains_key(*name))
    {
        return Err(Error::NoNamespace(missing.clone()));
    }
    let kinds = workload::KINDS.map(|(version, kind)| async move {
        let root = if version.contains('/') { "/apis" } else { "/api" };
        let (group, resource) = (format!("{root}/{version}"), format!("{}s", kind.to_lowercase()));
        (kind, list_in(client, scope, (&group, &resource), |object| a_workload(kind, object)).await)
    });
    let (policies, workloads) = join(list_in(client, scope, POLICIES, policy), join_all(kinds)).await;
    let policies = policies.map_err(|error| Error::Needed { resource: "NetworkPolicies", said: told(error) })?;
    for (namespace, written, problem) in policies {
        into.remarks.extend(problem);
        into.inventory.namespace_mut(&namespace).policies.push(written);
    }
    for (kind, found) in workloads {
        match found {
            Ok(found) => {
                for read in found {
                    let (names, workload) = read?;
                    let namespace = into.inventory.namespace_mut(&names.namespace);
                    match workload {
                        Some(workload) => namespace.workloads.push(workload),
                        None => {
                            namespace.ended.insert((kind.to_owned(), names.name));
                        }
                    }
                }
            }
            Err(error) if is_refused(&error) => {
                into.unlisted.insert(kind, told(error));
            }
            Err(error) => return Err(Error::Needed { resource: kind, said: told(error) }),
        }
    }
    Ok(into)
}

/// The metadata of all namespaces; of those of the scope alone where the user may not list them.
async fn namespaces(client: &Client, scope: Scope<'_>) -> Result<Vec<Value>, Error> {
    fn metadata(object: &RawValue) -> Value {
        let object: Value = serde_json::from_str(object.get()).unwrap_or_default();
        object.get("metadata").cloned().unwrap_or_default()
    }
    let needed = |error| Error::Needed { resource: "Namespaces", said: told(error) };
    match (list(client, "/api/v1/namespaces", &ListParams::default(), metadata).await, scope) {
        (Ok(all), _) => Ok(all),
        (Err(error), Scope::Namespaces(names)) if is_refused(&error) => {
            let mut found = Vec::new();
            for name in names {
                let request = Request::new("/api/v1/namespaces").get(name, &kube::api::GetParams::default());
                let request = request.map_err(kube::Error::BuildRequest).map_err(needed)?;
                match client.request::<Box<RawValue>>(request).await {
                    Ok(object) => found.push(metadata(&object)),
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(needed(error)),
                }
            }
            Ok(found)
        }
        (Err(error), _) => Err(needed(error)),
    }
}

fn a_workload(kind: &'static str, object: &RawValue) -> Result<(Names, Option<Workload>), Error> {
    let names = Named::of(object);
    match workload::read(kind, &mut serde_json::Deserializer::from_str(object.get())) {
        Ok(workload) => Ok((names, workload)),
        Err(error) => {
            Err(Error::Object { kind, name: format!("{}/{}", names.namespace, names.name), problem: error.to_string() })
        }
    }
}

/// A policy, with what has to be said where it can't be read.
fn policy(object: &RawValue) -> (String, Written, Option<String>) {
    let names = Named::of(object);
    match parse::noted(&mut serde_json::Deserializer::from_str(object.get()), Source::Cluster) {
        Ok((policy, notes)) => (names.namespace, Written { policy, notes }, None),
        // As the webhook and the controller take it.
        Err(error) => {
            let remark = format!(
                "NetworkPolicy {}/{} of the cluster can't be read, so it is taken to let everything through: {error}",
                names.namespace, names.name
            );
            let written = Written { policy: NetworkPolicy::opening_everything(names.name, 0), notes: Notes::default() };
            (names.namespace, written, Some(remark))
        }
    }
}

/// The pod that has an address of its own, as its namespace and name. One that uses its node's network has not.
///
/// # Errors
/// Where the user may not list the pods of all namespaces.
pub async fn pod_with_address(client: &Client, address: IpAddr) -> kube::Result<Option<(String, String)>> {
    let params = ListParams::default().fields(&format!("status.podIP={address}"));
    let found = list(client, "/api/v1/pods", &params, |object| a_workload("Pod", object)).await?;
    let own = found.into_iter().flatten().find_map(|(names, pod)| {
        pod.filter(|pod| !pod.host_network)?;
        Some((names.namespace, names.name))
    });
    Ok(own)
}
