//! Keeps both configurations as they are to be, while this replica leads.
//!
//! | stored | next |
//! |---|---|
//! | nothing | create it, with failure policies that block nothing |
//! | another object than it is to be | replace it, as a whole. One that blocks stays one that blocks |
//! | both as they are to be, one of them not armed | ask whether the API server reaches them, and arm them |
//!
//! Nothing here ever disarms an object. Only uninstalling takes them away.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use ringfence_core::vocabulary::RINGFENCE;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::probe::{Probe, probe};
use super::template::{Configuration, Templates, Wanted, desired, is_stored, reached_by};
use crate::certs::trust::{READ_EVERY, watch_one};
use crate::controller::lease::Leadership;
use crate::metrics::Metrics;
use crate::pace::Pace;

/// Until a step is tried again that failed or was overtaken.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two attempts to be reached, doubling to the longest.
const PROBE: Duration = Duration::from_millis(100);
const LONGEST_PROBE: Duration = Duration::from_secs(5);

/// How long an answer of the API server is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the API servers are to trust.
pub enum Bundle {
    /// What the rotation of Ringfence's own certificates says, while this replica leads.
    Own(watch::Receiver<Option<String>>),
    /// Somebody else's.
    Others,
}

/// Writes the configurations.
pub struct Registrar {
    client: Client,
    /// For watches, which last so many seconds.
    watching: (Client, u32),
    templates: Templates,
    bundle: Bundle,
    metrics: Arc<Metrics>,
}

/// What was seen of one configuration.
enum Seen {
    Mutating(Option<Box<MutatingWebhookConfiguration>>),
    Validating(Option<Box<ValidatingWebhookConfiguration>>),
}

/// What is stored of one configuration.
enum Stored<C> {
    /// It has not been looked for yet.
    Unknown,
    /// There is none.
    Absent,
    Is(C),
}

impl<C> From<Option<C>> for Stored<C> {
    fn from(found: Option<C>) -> Self {
        found.map_or(Self::Absent, Self::Is)
    }
}

impl<C> Stored<C> {
    fn get(&self) -> Option<&C> {
        if let Self::Is(stored) = self { Some(stored) } else { None }
    }
}

/// One configuration as this replica knows it.
struct Known<C> {
    stored: Stored<C>,
    wrote: Pace<C>,
}

struct View {
    mutating: Known<MutatingWebhookConfiguration>,
    validating: Known<ValidatingWebhookConfiguration>,
    /// The API server reached both as they are stored.
    proved: bool,
    /// Until it is tried again.
    pause: Duration,
    owner: Option<OwnerReference>,
    owner_at: Option<Instant>,
}

/// What became of one configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// It is as it is to be, and armed.
    Armed,
    /// It is as it is to be, and blocks nothing yet.
    Unarmed,
    /// It is not to be written again before that.
    Paused(Duration),
}

impl Registrar {
    /// Nothing is written before [`Self::run`].
    #[must_use]
    pub fn new(
        client: Client,
        watching: (Client, u32),
        templates: Templates,
        bundle: Bundle,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, watching, templates, bundle, metrics }
    }

    /// Keeps the configurations while this replica leads. It never returns.
    pub async fn run(mut self, mut leadership: Leadership) {
        let (client, seconds) = self.watching.clone();
        let mutating =
            watch_one(Api::all(client.clone()), RINGFENCE, seconds).map(|it| Seen::Mutating(it.map(Box::new)));
        let validating = watch_one(Api::all(client), RINGFENCE, seconds).map(|it| Seen::Validating(it.map(Box::new)));
        let mut seen: BoxStream<'_, Seen> = futures::stream::select(mutating, validating).boxed();
        let mut view = View::default();
        let (mut step_at, mut read_at) = (Instant::now(), Instant::now() + READ_EVERY);
        let mut led = false;
        loop {
            let mut news = true;
            tokio::select! {
                Some(seen) = seen.next() => view.see(seen),
                // It is told of each renewal, which is no news.
                () = leadership.changed() => news = false,
                () = self.bundle.changed() => {}
                () = tokio::time::sleep_until(step_at) => {}
                () = tokio::time::sleep_until(read_at) => {
                    read_at = Instant::now() + READ_EVERY;
                    match timeout(DEADLINE, self.read(&mut view)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => warn("the webhook configurations can't be read", &error),
                        Err(_) => warn("the webhook configurations can't be read", &"no answer"),
                    }
                }
            }
            view.record(&self.metrics);
            let left = leadership.left();
            news |= led != left.is_some();
            led = left.is_some();
            if !news {
                continue;
            }
            let wait = match left {
                // For no longer than it leads.
                Some(left) => match timeout(left.min(DEADLINE), self.step(&mut view)).await {
                    Ok(Ok(wait)) => wait,
                    Ok(Err(error)) => {
                        warn("the webhook configurations can't be written; trying again", &format!("{error:#}"));
                        AGAIN
                    }
                    Err(_) => AGAIN,
                },
                None => READ_EVERY,
            };
            view.record(&self.metrics);
            step_at = Instant::now() + wait;
        }
    }

    /// Reads what is watched: a watch may be silent for another reason than that nothing happens.
    async fn read(&self, view: &mut View) -> kube::Result<()> {
        // A list by name: for that the right to watch is enough, which is needed anyway.
        let one = ListParams::default().fields(&format!("metadata.name={RINGFENCE}"));
        let (mutating, validating) = (Api::all(self.client.clone()), Api::all(self.client.clone()));
        let (mutating, validating) = tokio::try_join!(mutating.list(&one), validating.list(&one))?;
        view.mutating.stored = mutating.items.into_iter().next().into();
        view.validating.stored = validating.items.into_iter().next().into();
        Ok(())
    }

    /// Does what is to be done next, and says for how long nothing is after it.
    async fn step(&mut self, view: &mut View) -> Result<Duration> {
        let bundle = match &self.bundle {
            Bundle::Others => None,
            Bundle::Own(bundle) => match &*bundle.borrow() {
                None => return Ok(AGAIN),
                Some(bundle) => Some(bundle.clone()),
            },
        };
        let absent = match (&view.mutating.stored, &view.validating.stored) {
            (Stored::Unknown, _) | (_, Stored::Unknown) => return Ok(AGAIN),
            (Stored::Is(_), Stored::Is(_)) => false,
            (Stored::Absent, _) | (_, Stored::Absent) => true,
        };
        // What is made anew has to be reached anew.
        view.proved &= !absent;
        if absent || view.owner_at.is_none_or(|at| at.elapsed() > READ_EVERY) {
            view.owner = self.owner().await?;
            view.owner_at = Some(Instant::now());
        }
        let (owner, proved) = (view.owner.clone(), view.proved);
        let wanted = Wanted { bundle: bundle.as_deref(), armed: proved, owner: owner.as_ref() };
        let validating = view.validating.keep(&self.client, &self.templates.validating, wanted).await;
        let mutating = view.mutating.keep(&self.client, &self.templates.mutating, wanted).await;
        // Neither is to wait for the other one.
        match (validating?, mutating?) {
            (Kept::Armed, Kept::Armed) => Ok(READ_EVERY),
            (Kept::Paused(wait), _) | (_, Kept::Paused(wait)) => Ok(wait),
            (Kept::Unarmed, _) | (_, Kept::Unarmed) => match view.probe(&self.client).await? {
                Probe::Reached => {
                    view.proved = true;
                    view.pause = PROBE;
                    Ok(Duration::ZERO)
                }
                Probe::NotReached(why) => {
                    let wait = view.pause;
                    tracing::info!(why, "the API server does not reach the webhooks yet; they block nothing");
                    view.pause = (wait * 2).min(LONGEST_PROBE);
                    Ok(wait)
                }
            },
        }
    }

    /// The chart's `ClusterRole`. Where there is none the configurations belong to nobody.
    async fn owner(&self) -> Result<Option<OwnerReference>> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let role = match roles.get_opt(RINGFENCE).await {
            Ok(role) => role,
            Err(kube::Error::Api(status)) if status.code == 403 => None,
            Err(error) => {
                return Err(error).context("failed to read the ClusterRole that owns the webhook configurations");
            }
        };
        if role.is_none() {
            tracing::warn!("there is no ClusterRole to own the webhook configurations: they stay when it is deleted");
        }
        Ok(role.and_then(|role| {
            Some(OwnerReference {
                api_version: "rbac.authorization.k8s.io/v1".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: RINGFENCE.to_owned(),
                uid: role.metadata.uid?,
                ..OwnerReference::default()
            })
        }))
    }
}

fn warn(what: &'static str, error: &dyn Display) {
    tracing::warn!(error = %error, "{what}");
}

impl Bundle {
    async fn changed(&mut self) {
        if let Self::Own(bundle) = self
            && bundle.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Default for View {
    fn default() -> Self {
        Self {
            mutating: Known::default(),
            validating: Known::default(),
            proved: false,
            pause: PROBE,
            owner: None,
            owner_at: None,
        }
    }
}

impl View {
    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Mutating(stored) => self.mutating.stored = stored.map(|it| *it).into(),
            Seen::Validating(stored) => self.validating.stored = stored.map(|it| *it).into(),
        }
    }

    /// Asks whether the API server reaches all entries of both. What it does with one holds for all that trust the same:
    /// somebody else may be writing the CAs, one configuration after the other.
    async fn probe(&self, client: &Client) -> Result<Probe> {
        let (Some(mutating), Some(validating)) = (self.mutating.stored.get(), self.validating.stored.get()) else {
            return Ok(Probe::NotReached("there are none".to_owned()));
        };
        let client_of_all = reached_by(mutating);
        if client_of_all.is_none() || client_of_all != reached_by(validating) {
            return Ok(Probe::NotReached("their entries do not trust the same CAs".to_owned()));
        }
        probe(client).await
    }

    fn record(&self, metrics: &Metrics) {
        self.mutating.record(metrics);
        self.validating.record(metrics);
    }
}

impl<C> Default for Known<C> {
    fn default() -> Self {
        Self { stored: Stored::Unknown, wrote: Pace::default() }
    }
}

impl<C: Configuration> Known<C> {
    fn record(&self, metrics: &Metrics) {
        if !matches!(self.stored, Stored::Unknown) {
            metrics.webhooks_armed(C::WEBHOOK, self.stored.get().is_some_and(C::is_armed));
        }
    }

    /// Writes it where it is not as it is to be.
    async fn keep(&mut self, client: &Client, template: &C, wanted: Wanted<'_>) -> Result<Kept> {
        let stored = self.stored.get();
        let armed = stored.is_some_and(C::is_armed);
        let desired = desired(template, stored, Wanted { armed: wanted.armed || armed, ..wanted });
        let kept = || if desired.is_armed() { Kept::Armed } else { Kept::Unarmed };
        if stored.is_some_and(|stored| is_stored(&desired, stored)) {
            return Ok(kept());
        }
        if let Some(left) = self.wrote.left(&desired, is_stored) {
            return Ok(Kept::Paused(left));
        }
        let api: Api<C> = Api::all(client.clone());
        let params = PostParams { field_manager: Some(RINGFENCE.to_owned()), ..PostParams::default() };
        let (what, written) = match stored {
            Some(_) => ("wrote a webhook configuration", api.replace(RINGFENCE, &params, &desired).await),
            None => ("created a webhook configuration", api.create(&params, &desired).await),
        };
        match written {
            Ok(written) => {
                tracing::info!(configuration = C::WEBHOOK.as_str(), armed = written.is_armed(), "{what}");
                self.stored = Stored::Is(written);
            }
            // The watch tells what it is by now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(Kept::Paused(AGAIN)),
            Err(error) => return Err(error).context("failed to write a webhook configuration"),
        }
        let kept = kept();
        self.wrote.note(desired, is_stored);
        Ok(kept)
    }
}
