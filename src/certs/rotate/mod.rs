//! Certificates that Ringfence issues and rotates itself, without a failed call: one Secret, which every replica watches
//! and the leader alone writes.
//!
//! [`state`] is what the Secret says, [`step`] what comes next, and this file carries it out. Each certificate has a CA of
//! its own, whose key is thrown away once it has signed: no key exists that could sign another.

pub mod state;
pub mod step;
#[cfg(test)]
mod story;

use std::time::Duration;

use axum::http::{Request, header};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::client::Body;
use ringfence_core::vocabulary::RINGFENCE;
use tokio::time::Instant;

use super::serving::{Serving, Source};
use super::trust::{self, Trust, Trusted, Webhook, watch_one};
use crate::cluster::live::watch::waits;
use crate::controller::lease::Leadership;
use state::{State, Stored};
use step::{Known, Rotation, Step};

/// Until a step is tried again that failed, or was overtaken.
const AGAIN: Duration = Duration::from_secs(1);

/// For how long a replica that has nothing to serve waits for a leader to put back a Secret that is missing, and one that
/// can't be used. If it made another one before, nobody would accept what the others serve.
const MISSING: Duration = Duration::from_millis(500);
const BROKEN: Duration = Duration::from_secs(10);

/// Where the certificates are, and how they are rotated.
pub struct Rotator {
    client: Client,
    /// For watches, which last so many seconds.
    watching: (Client, u32),
    secrets: Api<Secret>,
    secret: String,
    namespace: String,
    rotation: Rotation,
}

/// What is watched.
enum Seen {
    Secret(Box<Option<Secret>>),
    Trusted(Webhook, Option<Trusted>),
}

impl Rotator {
    /// For the Secret of this name in this namespace, which is also that of the Service `ringfence`. `watching` is a
    /// client for watches, and for how many seconds they are asked for.
    #[must_use]
    pub fn new(
        client: Client,
        watching: (Client, u32),
        namespace: &str,
        secret: &str,
        config: &ringfence_core::config::Certificates,
    ) -> Self {
        let service = |suffix: &str| format!("{RINGFENCE}.{namespace}{suffix}");
        let rotation = Rotation {
            names: vec![service(".svc"), service(""), service(".svc.cluster.local"), RINGFENCE.to_owned()],
            validity: config.validity.get(),
            overlap: config.overlap.to_std(),
        };
        let secrets = Api::namespaced(client.clone(), namespace);
        let (secret, namespace) = (secret.to_owned(), namespace.to_owned());
        Self { client, watching, secrets, secret, namespace, rotation }
    }

    /// What the Secret says, once it can be used. Where there is none, it is made: by whichever replica comes first.
    pub async fn begin(&self) -> State {
        let (mut waits, begun) = (waits(), Instant::now());
        loop {
            match self.read_or_make(begun.elapsed()).await {
                Ok(Some(state)) => return state,
                Ok(None) => tokio::time::sleep(MISSING).await,
                Err(error) => {
                    let problem = format!("{error:#}");
                    tracing::warn!(problem, secret = self.secret, "there is no certificate to serve yet; trying again");
                    tokio::time::sleep(waits.next().unwrap_or(AGAIN)).await;
                }
            }
        }
    }

    /// `None` where somebody else was faster, or may be.
    async fn read_or_make(&self, waited: Duration) -> anyhow::Result<Option<State>> {
        let secret = self.secrets.get_opt(&self.secret).await?;
        match Stored::of(secret.as_ref()) {
            Stored::Good(state) => return Ok(Some(*state)),
            Stored::Missing if waited < MISSING => return Ok(None),
            Stored::Broken(problem) if waited < BROKEN => anyhow::bail!("the Secret can't be used: {problem}"),
            Stored::Missing | Stored::Broken(_) => {}
        }
        let fresh = State::fresh(self.rotation.issue(self.time().await?)?);
        let made = self.store(secret.as_ref(), &fresh).await?;
        if made {
            tracing::info!(secret = self.secret, "made a certificate: there was none");
        }
        Ok(made.then_some(fresh))
    }

    /// Writes the Secret over the one that was read; `false` where it is another by now.
    async fn store(&self, over: Option<&Secret>, state: &State) -> kube::Result<bool> {
        let params = PostParams { field_manager: Some(RINGFENCE.to_owned()), ..PostParams::default() };
        let mut secret = over.cloned().unwrap_or_default();
        secret.data = Some(state.to_data());
        let written = if over.is_some() {
            self.secrets.replace(&self.secret, &params, &secret).await
        } else {
            secret.metadata.name = Some(self.secret.clone());
            self.secrets.create(&params, &secret).await
        };
        match written {
            Ok(_) => Ok(true),
            // 404 where it was deleted meanwhile.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The API server's time. Certificates are dated by it, since it is the API server that checks the dates: a node whose
    /// clock is off would otherwise issue what nobody accepts.
    async fn time(&self) -> anyhow::Result<Timestamp> {
        use anyhow::Context;
        let response = self.client.send(Request::get("/version").body(Body::empty())?).await?;
        let date = response.headers().get(header::DATE).context("an answer of the API server has no Date")?;
        let date = jiff::fmt::rfc2822::parse(date.to_str()?).context("the Date of the API server can't be read")?;
        Ok(date.timestamp())
    }

    /// The name by which the API servers call.
    #[must_use]
    pub fn server_name(&self) -> String {
        format!("{RINGFENCE}.{}.svc", self.namespace)
    }

    /// Serves what the Secret says, and while this replica leads, takes the steps of rotations. It never returns.
    pub async fn run(&self, serving: &Serving, mut leadership: Leadership) {
        let (client, seconds) = &self.watching;
        let secret = watch_one(Api::namespaced(client.clone(), &self.namespace), &self.secret, *seconds)
            .map(|secret| Seen::Secret(Box::new(secret)))
            .boxed();
        let trusted = trust::watch(client, *seconds).map(|(webhook, trusted)| Seen::Trusted(webhook, trusted)).boxed();
        let mut seen: BoxStream<'_, Seen> = futures::stream::select(secret, trusted).boxed();
        let mut view = View::default();
        let mut wait = AGAIN;
        loop {
            tokio::select! {
                Some(seen) = seen.next() => view.see(seen, serving),
                () = leadership.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            view.trust.record(serving, &self.server_name());
            let leads = leadership.left().is_some();
            view.led = leads.then(|| view.led.unwrap_or_else(Instant::now));
            wait = if leads {
                self.step(&mut view).await.unwrap_or_else(|error| {
                    tracing::warn!(error = format!("{error:#}"), "a step of the certificate's rotation failed");
                    AGAIN
                })
            } else {
                // Only changes matter, and certificates that end.
                Duration::from_secs(60)
            };
        }
    }

    /// Takes the next step, and says how long nothing is to be done after it.
    async fn step(&self, view: &mut View) -> anyhow::Result<Duration> {
        let (Some((secret, stored)), Some(led)) = (&view.secret, view.led) else { return Ok(AGAIN) };
        let bundle = match stored {
            Stored::Good(state) => state.bundle(),
            Stored::Missing | Stored::Broken(_) => String::new(),
        };
        let Some(lacking) = view.trust.lacking(&bundle) else { return Ok(AGAIN) };
        // Where somebody else writes the same, and otherwise: no faster than this.
        if let Some(left) = view.wrote.and_then(|wrote| AGAIN.checked_sub(wrote.elapsed())) {
            return Ok(left);
        }
        let known = Known {
            stored,
            last: view.last.as_ref(),
            trusted: lacking.is_empty(),
            unchanged: led.max(view.changed.unwrap_or(led)).elapsed(),
        };
        match self.rotation.next(&known, self.time().await?)? {
            Step::Wait(wait) => return Ok(wait),
            Step::Trust => {
                view.wrote = Some(Instant::now());
                for (webhook, trusted) in lacking {
                    match trust::write(&self.client, webhook, trusted, &bundle).await {
                        Ok(()) => tracing::info!(configuration = webhook.as_str(), "wrote the CA bundle"),
                        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Step::Store(state, why) => {
                view.wrote = Some(Instant::now());
                if self.store(secret.as_ref(), &state).await? {
                    tracing::info!(secret = self.secret, why, "wrote the certificates");
                    // Where it is lost before the watch tells of it.
                    view.last = Some(*state);
                }
            }
        }
        // The watch tells what came of it.
        Ok(AGAIN)
    }
}

/// What a replica has seen.
#[derive(Default)]
struct View {
    secret: Option<(Option<Secret>, Stored)>,
    /// What the Secret said when it could last be used.
    last: Option<State>,
    trust: Trust,
    /// Since when everything is as it is.
    changed: Option<Instant>,
    /// Since when this replica leads.
    led: Option<Instant>,
    /// When it wrote last.
    wrote: Option<Instant>,
}

impl View {
    fn see(&mut self, seen: Seen, serving: &Serving) {
        match seen {
            Seen::Secret(secret) => {
                let stored = Stored::of(secret.as_ref().as_ref());
                let same = self.secret.as_ref().is_some_and(|(_, before)| *before == stored);
                if !same {
                    self.changed = Some(Instant::now());
                }
                serving.note_source(Source::Secret, &self.take_in(&stored, serving));
                self.secret = Some((*secret, stored));
            }
            Seen::Trusted(webhook, trusted) => {
                if self.trust.see(webhook, trusted) {
                    self.changed = Some(Instant::now());
                }
            }
        }
    }

    fn take_in(&mut self, stored: &Stored, serving: &Serving) -> Result<(), String> {
        match stored {
            Stored::Good(state) => {
                serving.offer(state.serving.clone()).map_err(|error| error.to_string())?;
                self.last = Some((**state).clone());
                Ok(())
            }
            Stored::Broken(problem) => Err(problem.clone()),
            Stored::Missing => Err("there is no Secret, or nothing in it".to_owned()),
        }
    }
}
