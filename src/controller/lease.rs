//! Which replica writes: the holder of a Lease (`coordination.k8s.io/v1`). The webhook never depends on it.
//!
//! The clocks of replicas are not compared. A replica counts from when it last saw the Lease change, and takes it over
//! once that is longer ago than the Lease lasts; the holder counts from before it asked for its last renewal, and stops
//! well before that.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;

/// Until when this replica leads, as whoever writes sees it.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// For how long this replica leads for certain; `None` where it does not.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.0.borrow().and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Waits until leadership is gained, prolonged or lost.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody renews any more: it stays as it is until it ends.
            std::future::pending::<()>().await;
        }
    }
}

/// Where the Lease is, and who asks for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The Lease's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What this replica writes as its holder: no two replicas may write the same.
    pub identity: String,
    /// How long a Lease lasts that is not renewed.
    pub duration: Duration,
}

/// Asks for the Lease and renews it, until it is dropped.
pub struct Elector {
    api: Api<Lease>,
    candidate: Candidate,
    /// The Lease as it was seen last, and when it was first seen like that.
    seen: Option<(Lease, Instant)>,
    leads: watch::Sender<Option<Instant>>,
}

impl Candidate {
    /// Between two attempts.
    fn interval(&self) -> Duration {
        self.duration / 8
    }

    /// For how long after a renewal was asked for the holder goes on: a third is left for what is on its way.
    fn trusted(&self) -> Duration {
        self.duration * 2 / 3
    }
}

impl Elector {
    /// Nothing is asked for before [`Self::run`].
    #[must_use]
    pub fn new(client: Client, candidate: Candidate) -> (Self, Leadership) {
        let (leads, leadership) = watch::channel(None);
        let api = Api::namespaced(client, &candidate.namespace);
        (Self { api, candidate, seen: None, leads }, Leadership(leadership))
    }

    /// Runs until it is dropped.
    pub async fn run(&mut self) {
        loop {
            let attempt = tokio::time::timeout(self.candidate.trusted() / 2, self.attempt());
            let problem = match attempt.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            if let Some(problem) = problem {
                tracing::warn!(problem, lease = self.candidate.name, "the Lease could not be had or renewed");
            }
            self.expire();
            tokio::time::sleep(self.candidate.interval()).await;
        }
    }

    /// Gives the Lease back, so that the next replica need not wait for its end.
    ///
    /// # Errors
    /// Where the API server can't be reached or refuses; the Lease then ends by itself.
    pub async fn release(&mut self) -> kube::Result<()> {
        // A renewal that was on its way when the replica was asked to end may have come first.
        const ATTEMPTS: usize = 3;
        let led = self.leads.send_replace(None);
        let Some((mut lease, _)) = self.seen.take().filter(|_| led.is_some()) else { return Ok(()) };
        for attempt in 1..=ATTEMPTS {
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.candidate.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            match self.api.replace(&self.candidate.name, &PostParams::default(), &lease).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
            let Some(now) = self.api.get_opt(&self.candidate.name).await? else { return Ok(()) };
            lease = now;
        }
        tracing::info!(lease = self.candidate.name, "released the Lease");
        Ok(())
    }

    fn expire(&self) {
        self.leads.send_if_modified(|until| {
            let over = until.is_some_and(|until| until <= Instant::now());
            if over {
                *until = None;
                tracing::warn!(lease = self.candidate.name, "the Lease was not renewed in time: another may lead");
            }
            over
        });
    }

    async fn attempt(&mut self) -> kube::Result<()> {
        let asked = Instant::now();
        let identity = self.candidate.identity.clone();
        let ours =
            |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&identity);
        // The holder renews what it wrote last; who else wrote meanwhile makes that fail.
        if let Some((lease, _)) = self.seen.clone()
            && self.leads.borrow().is_some()
            && ours(&lease)
        {
            match self.write(&lease, asked).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                written => return written,
            }
        }
        let Some(lease) = self.api.get_opt(&self.candidate.name).await? else {
            // Somebody deleted it. Whoever holds it does not know yet, writes on, and will make it anew.
            if self.seen.as_ref().is_some_and(|(lease, since)| !ours(lease) && self.is_held(lease, *since)) {
                return Ok(());
            }
            return self.write(&none_yet(&self.candidate.name), asked).await;
        };
        self.see(&lease, asked);
        let since = self.seen.as_ref().map_or(asked, |(_, since)| *since);
        if !self.is_held(&lease, since) || ours(&lease) {
            return self.write(&lease, asked).await;
        }
        // Somebody else holds it.
        self.leads.send_if_modified(|until| until.take().is_some());
        Ok(())
    }

    /// Whether somebody holds a Lease that was first seen as it is at this time.
    fn is_held(&self, lease: &Lease, since: Instant) -> bool {
        lease.spec.as_ref().is_some_and(|spec| {
            let lasts = lasts(spec).unwrap_or(self.candidate.duration);
            spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty() && since.elapsed() < lasts)
        })
    }

    fn see(&mut self, lease: &Lease, now: Instant) {
        let same = self.seen.as_ref().is_some_and(|(seen, _)| {
            seen.metadata.resource_version == lease.metadata.resource_version && seen.metadata.uid == lease.metadata.uid
        });
        if !same {
            self.seen = Some((lease.clone(), now));
        }
    }

    /// Writes this replica's claim over the Lease as it was read: the API server refuses it where it has changed since.
    async fn write(&mut self, over: &Lease, asked: Instant) -> kube::Result<()> {
        let identity = &self.candidate.identity;
        let before = over.spec.clone().unwrap_or_default();
        let is_renewal = before.holder_identity.as_ref() == Some(identity);
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let transitions = before.lease_transitions.unwrap_or_default();
        let mut lease = over.clone();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(identity.clone()),
            lease_duration_seconds: i32::try_from(self.candidate.duration.as_secs().max(1)).ok(),
            acquire_time: before.acquire_time.filter(|_| is_renewal).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if is_renewal { transitions } else { transitions.saturating_add(1) }),
            ..before
        });
        let written = put(&self.api, &self.candidate.name, &lease).await?;
        self.seen = Some((written, asked));
        let until = asked + self.candidate.trusted();
        if self.leads.send_replace(Some(until)).is_none() {
            tracing::info!(lease = self.candidate.name, ?identity, "this replica leads");
        }
        Ok(())
    }
}

/// A Lease that is not there yet.
fn none_yet(name: &str) -> Lease {
    Lease { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, spec: None }
}

/// How long a Lease lasts that is not renewed, where it says so.
fn lasts(spec: &LeaseSpec) -> Option<Duration> {
    u64::try_from(spec.lease_duration_seconds?).ok().map(Duration::from_secs)
}

/// Writes a Lease over the one that was read, or makes it where none was: the API server refuses either where that is not
/// so any more.
async fn put(api: &Api<Lease>, name: &str, lease: &Lease) -> kube::Result<Lease> {
    let params = PostParams::default();
    if lease.metadata.resource_version.is_none() {
        api.create(&params, lease).await
    } else {
        api.replace(name, &params, lease).await
    }
}

/// Takes a Lease from whoever holds it, for a time in which nobody else is to write, and waits until the holder has
/// certainly noticed.
///
/// # Errors
/// Where the API server can't be reached or refuses.
pub async fn seize(client: Client, namespace: &str, name: &str, holder: &str, kept: Duration) -> kube::Result<()> {
    // Each refusal is a renewal that came in between.
    const ATTEMPTS: usize = 20;
    let api: Api<Lease> = Api::namespaced(client, namespace);
    for attempt in 1..=ATTEMPTS {
        // Where there is none, a controller that runs would make it and write on.
        let mut lease = api.get_opt(name).await?.unwrap_or_else(|| none_yet(name));
        let spec = lease.spec.get_or_insert_default();
        let held = spec.holder_identity.as_deref().is_some_and(|other| !other.is_empty() && other != holder);
        let lasts = lasts(spec).unwrap_or_default();
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds = i32::try_from(kept.as_secs()).ok();
        spec.acquire_time = Some(now.clone());
        spec.renew_time = Some(now);
        match put(&api, name, &lease).await {
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
            Ok(_) => {
                if held {
                    tokio::time::sleep(lasts).await;
                }
                return Ok(());
            }
        }
    }
    Ok(())
}
