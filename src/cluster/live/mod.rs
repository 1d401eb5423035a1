//! A live cluster: watches fill the index ([`watch`]), and where the index is not believed ([`heard`]) the API server
//! itself is asked ([`read`]).

mod heard;
mod read;
mod store;
pub mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::Client;
use ringfence_core::admission::permission::{Answer, Use};
use ringfence_core::admission::review::UserInfo;
use tokio::sync::Semaphore;

use super::authz::{self, Remembered};
use heard::Heard;

pub(crate) use store::StoredPolicy;

/// How many requests are answered by asking the API server at one time.
const READS: usize = 32;

/// The longest time for which an answer is waited for, watches aside, in the middle of one too. More than any request
/// has: each has a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left between the end of a watch that the server was asked for, and giving it up.
const MARGIN: Duration = Duration::from_secs(6);

/// A kind of object that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Namespaces, their metadata alone.
    Namespaces,
    /// NetworkPolicies.
    NetworkPolicies,
    /// Pods that carry the label of held pods, their metadata alone.
    HeldPods,
}

impl Kind {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Namespaces, Self::NetworkPolicies, Self::HeldPods];

    /// The word for it, as metrics and logs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::NetworkPolicies => "networkpolicies",
            Self::HeldPods => "held_pods",
        }
    }
}

/// What a live cluster has that an embedded one has not.
pub struct Live {
    /// For everything but watches.
    client: Client,
    /// A client for each watch, so that what is heard on it is known to be the watch.
    watches: [(Client, Arc<Heard>); 3],
    /// For watches by which nothing is decided.
    watching: Client,
    staleness: Duration,
    remembered: Remembered,
    reads: Semaphore,
    /// How often a watch began anew from nothing: what was read before may be gone since.
    relists: AtomicU64,
}

/// For how many seconds a watch is asked for: half of what is believed leaves time to begin a new one. kube's watcher
/// gives it up 5 s later.
fn lasts(staleness: Duration) -> u32 {
    u32::try_from(staleness.as_secs() / 2).unwrap_or(u32::MAX).clamp(1, 290)
}

impl Live {
    pub(super) fn new(config: &kube::Config, staleness: Duration) -> Result<Self, kube::Error> {
        let watch = || heard::client(config.clone(), Duration::from_secs(lasts(staleness).into()) + MARGIN);
        let mut bounded = config.clone();
        heard::bound(&mut bounded, PATIENCE);
        Ok(Self {
            client: Client::try_from(bounded)?,
            watches: [watch()?, watch()?, watch()?],
            watching: watch()?.0,
            staleness,
            remembered: Remembered::default(),
            reads: Semaphore::new(READS),
            relists: AtomicU64::new(0),
        })
    }

    /// The client for everything but watches.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client for other watches than those that fill the index, and for how many seconds each is to be asked for.
    #[must_use]
    pub fn watching(&self) -> (Client, u32) {
        (self.watching.clone(), lasts(self.staleness))
    }

    /// Whether every watch has been heard within the time for which silence is believed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.watches.iter().all(|(_, heard)| heard.silence() < self.staleness)
    }

    /// For how long each watch has not been heard.
    pub fn silences(&self) -> impl Iterator<Item = (Kind, Duration)> {
        Kind::ALL.into_iter().zip(self.watches.iter().map(|(_, heard)| heard.silence()))
    }

    pub(super) async fn may(&self, user: &UserInfo<'_>, peer: Option<IpAddr>, asked: &Use) -> Answer {
        authz::review(&self.client, &self.remembered, user, peer, asked).await
    }

    /// Whether a namespace may be read once more because of a review that this peer has sent.
    pub(super) fn may_read_for(&self, peer: Option<IpAddr>) -> bool {
        self.remembered.may_read_for(peer)
    }

    /// How often a watch began anew from nothing.
    #[must_use]
    pub fn relists(&self) -> u64 {
        self.relists.load(Ordering::Acquire)
    }

    fn watch(&self, kind: Kind) -> &(Client, Arc<Heard>) {
        let [namespaces, policies, pods] = &self.watches;
        match kind {
            Kind::Namespaces => namespaces,
            Kind::NetworkPolicies => policies,
            Kind::HeldPods => pods,
        }
    }

    fn watch_client(&self, kind: Kind) -> Client {
        self.watch(kind).0.clone()
    }

    fn heard(&self, kind: Kind) -> &Heard {
        &self.watch(kind).1
    }
}
