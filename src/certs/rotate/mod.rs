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

use anyhow::{Context, Result, bail};
use axum::http::{Request, header};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::client::Body;
use ringfence_core::config::Config;
use ringfence_core::vocabulary::RINGFENCE;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::pair::Pair;
use super::serving::{Serving, Source};
use super::trust::{self, READ_EVERY, Trust, Trusted, Webhook, server_name, watch_one};
use crate::cluster::live::watch::waits;
use crate::controller::lease::Leadership;
use crate::pace::Pace;
use state::{State, Stored};
use step::{Known, Rotation, Step, agreed};

/// Until a step is tried again that failed or was overtaken.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an answer of the API server is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where the certificates are, and how they are rotated.
pub struct Rotator {
    client: Client,
    /// For watches, which last so many seconds.
    watching: (Client, u32),
    secrets: Api<Secret>,
    secret: String,
    namespace: String,
    rotation: Rotation,
    /// For how long a replica that has nothing to serve waits for another one to put a Secret back: a follower may have to
    /// take the lead first.
    patience: Duration,
    /// What the API servers are to trust, as far as this replica is the one to say so.
    bundle: watch::Sender<Option<String>>,
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
    pub fn new(client: Client, watching: (Client, u32), namespace: &str, secret: &str, config: &Config) -> Self {
        let service = |suffix: &str| format!("{RINGFENCE}.{namespace}{suffix}");
        let rotation = Rotation {
            names: vec![server_name(namespace), service(""), service(".svc.cluster.local"), RINGFENCE.to_owned()],
            validity: config.certificates.validity.get(),
            overlap: config.certificates.overlap.to_std(),
        };
        let secrets = Api::namespaced(client.clone(), namespace);
        let (secret, namespace) = (secret.to_owned(), namespace.to_owned());
        let patience = 2 * config.lease_duration.to_std() + 2 * DEADLINE;
        Self { client, watching, secrets, secret, namespace, rotation, patience, bundle: watch::Sender::default() }
    }

    /// What the API servers are to trust, while this replica leads: for whoever writes the webhook configurations.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Option<String>> {
        self.bundle.subscribe()
    }

    /// What the Secret says, once it can be used. Where there is none, it is made: by whichever replica comes first.
    pub async fn begin(&self) -> State {
        let (mut waits, begun) = (waits(), Instant::now());
        loop {
            let read = timeout(DEADLINE, self.read_or_make(begun.elapsed())).await;
            match read.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", DEADLINE.as_secs()))) {
                Ok(state) => return state,
                Err(error) => {
                    let problem = format!("{error:#}");
                    tracing::warn!(problem, secret = self.secret, "there is no certificate to serve yet; trying again");
                    tokio::time::sleep(waits.next().unwrap_or(AGAIN)).await;
                }
            }
        }
    }

    async fn read_or_make(&self, waited: Duration) -> Result<State> {
        let secret = self.secrets.get_opt(&self.secret).await.context("failed to read the Secret")?;
        let why = match Stored::of(secret.as_ref()) {
            Stored::Good(state) => return Ok(*state),
            Stored::Broken(problem) => format!("the Secret can't be used: {problem}"),
            Stored::Missing => "there is no Secret, or nothing in it".to_owned(),
        };
        let trust = self.trust().await?;
        // Where API servers trust something already, somebody serves it, and would be refused for what is made here.
        if !trust.cas().is_empty() && waited < self.patience {
            bail!("{why}, and the API servers trust another one: waiting for whoever has it to put it back");
        }
        let fresh = State::fresh(self.issue().await?, trust.cas());
        if !self.store(secret.as_ref(), &fresh).await.context("failed to write the Secret")? {
            bail!("another replica was faster");
        }
        tracing::info!(secret = self.secret, why, "made a certificate");
        Ok(fresh)
    }

    /// What the API servers are told to trust, read afresh.
    async fn trust(&self) -> Result<Trust> {
        let mut trust = Trust::default();
        let all = trust::read(&self.client).await.context("failed to read what the API servers trust")?;
        for (webhook, trusted) in all {
            trust.see(webhook, trusted);
        }
        Ok(trust)
    }

    /// Writes the Secret over the one that was read; `false` where it is another by now.
    async fn store(&self, over: Option<&Secret>, state: &State) -> kube::Result<bool> {
        let params = PostParams { field_manager: Some(RINGFENCE.to_owned()), ..PostParams::default() };
        let mut secret = over.cloned().unwrap_or_default();
        secret.data = Some(state.to_data());
        let (written, overtaken) = if over.is_some() {
            (self.secrets.replace(&self.secret, &params, &secret).await, [404, 409])
        } else {
            secret.metadata.name = Some(self.secret.clone());
            // 404 would be the namespace.
            (self.secrets.create(&params, &secret).await, [409, 409])
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if overtaken.contains(&status.code) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn issue(&self) -> Result<Pair> {
        let response = self.client.send(Request::get("/version").body(Body::empty())?).await?;
        let date = response.headers().get(header::DATE).context("an answer of the API server has no Date")?;
        let date = jiff::fmt::rfc2822::parse(date.to_str()?).context("the Date of the API server can't be read")?;
        let now = agreed(date.timestamp(), Timestamp::now())?;
        self.rotation.issue(now).context("failed to issue a certificate")
    }

    /// Serves what the Secret says, and while this replica leads, takes the steps of rotations. It never returns.
    pub async fn run(&self, begun: State, serving: &Serving, mut leadership: Leadership) {
        let (client, seconds) = &self.watching;
        let secret = watch_one(Api::namespaced(client.clone(), &self.namespace), &self.secret, *seconds)
            .map(|secret| Seen::Secret(Box::new(secret)))
            .boxed();
        let trusted = trust::watch(client, *seconds).map(|(webhook, trusted)| Seen::Trusted(webhook, trusted)).boxed();
        let mut seen: BoxStream<'_, Seen> = futures::stream::select(secret, trusted).boxed();
        let mut view = View::new(begun, server_name(&self.namespace));
        let (mut step_at, mut read_at) = (Instant::now(), Instant::now() + READ_EVERY);
        loop {
            let mut news = false;
            tokio::select! {
                Some(seen) = seen.next() => {
                    view.see(seen, serving);
                    news = true;
                }
                // It is told of each renewal, which is no news.
                () = leadership.changed() => {}
                () = tokio::time::sleep_until(step_at) => news = true,
                () = tokio::time::sleep_until(read_at) => {
                    read_at = Instant::now() + READ_EVERY;
                    self.read(&mut view, serving).await;
                    news = true;
                }
            }
            let left = leadership.left();
            news |= view.led.is_some() != left.is_some();
            view.led = left.map(|_| view.led.unwrap_or_else(Instant::now));
            if left.is_none() {
                self.bundle.send_if_modified(|bundle| bundle.take().is_some());
            }
            if !news {
                continue;
            }
            view.trust.record(serving, &view.name);
            let wait = match left {
                // For no longer than it leads.
                Some(left) => match timeout(left.min(DEADLINE), self.step(&mut view)).await {
                    Ok(Ok(wait)) => wait,
                    Ok(Err(error)) => {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "a step of the certificate's rotation failed; trying again");
                        AGAIN
                    }
                    Err(_) => AGAIN,
                },
                None => READ_EVERY,
            };
            step_at = Instant::now() + wait;
        }
    }

    /// Reads what is watched: a watch may be silent for another reason than that nothing happens.
    async fn read(&self, view: &mut View, serving: &Serving) {
        let read = async {
            let secret = self.secrets.get_opt(&self.secret).await?;
            Ok::<_, kube::Error>((secret, trust::read(&self.client).await?))
        };
        match timeout(DEADLINE, read).await {
            Ok(Ok((secret, trusted))) => {
                for (webhook, trusted) in trusted {
                    view.see(Seen::Trusted(webhook, trusted), serving);
                }
                view.see(Seen::Secret(Box::new(secret)), serving);
            }
            Ok(Err(error)) => serving.note_source(Source::Secret, &Err::<(), _>(error)),
            Err(_) => serving.note_source(Source::Secret, &Err::<(), _>("no answer of the API server")),
        }
    }

    /// Takes the next step, and says for how long nothing is to be done after it.
    async fn step(&self, view: &mut View) -> Result<Duration> {
        let (Some(stored), Some(led)) = (&view.stored, view.led) else { return Ok(AGAIN) };
        let bundle = match stored {
            Stored::Good(state) => {
                let bundle = state.bundle();
                self.bundle.send_if_modified(|said| {
                    let differs = said.as_ref() != Some(&bundle);
                    *said = Some(bundle.clone());
                    differs
                });
                bundle
            }
            Stored::Missing | Stored::Broken(_) => String::new(),
        };
        let Some(trusted) = view.trust.is_exactly(&bundle) else { return Ok(AGAIN) };
        let known = Known {
            stored,
            last: view.last.as_ref(),
            trusted,
            unchanged: led.max(view.changed.unwrap_or(led)).elapsed(),
        };
        let step = self.rotation.next(&known, Timestamp::now())?;
        let what = match &step {
            Step::Wait(wait) => return Ok(*wait),
            // The registrar has been told which.
            Step::Trust => return Ok(AGAIN),
            Step::Store(state, _) => Written::Secret(state.bundle(), state.next.is_some()),
            Step::Announce(..) | Step::Begin(_) => Written::Issued,
        };
        if let Some(left) = view.wrote.left(&what, PartialEq::eq) {
            return Ok(left);
        }
        let (state, why) = match step {
            Step::Wait(wait) => return Ok(wait),
            Step::Trust => return Ok(AGAIN),
            Step::Store(state, why) => (*state, why),
            Step::Announce(state, why) => (state.announcing(self.issue().await?), why),
            Step::Begin(why) => (State::fresh(self.issue().await?, view.trust.cas()), why),
        };
        // What a step takes away is not wanted by the API servers any more: as they are told now, and not as a watch said.
        if known.trusted && self.trust().await?.is_exactly(&bundle) != Some(true) {
            return Ok(AGAIN);
        }
        if self.store(view.secret.as_ref(), &state).await? {
            tracing::info!(secret = self.secret, why, "wrote the certificates");
            // Where it is lost before the watch tells of it.
            view.last = Some(state);
        }
        view.wrote.note(what, PartialEq::eq);
        // The watch tells what came of it.
        Ok(AGAIN)
    }
}

/// What a replica has seen.
struct View {
    /// By which name API servers call.
    name: String,
    secret: Option<Secret>,
    /// What the Secret says, once it was seen; one by which calls would fail that do not fail now can't be used.
    stored: Option<Stored>,
    /// What it said when it could last be used.
    last: Option<State>,
    trust: Trust,
    /// Since when everything is as it is.
    changed: Option<Instant>,
    /// Since when this replica leads.
    led: Option<Instant>,
    wrote: Pace<Written>,
}

/// What a step writes.
#[derive(PartialEq, Eq)]
enum Written {
    /// With these CAs, and whether there is a next certificate.
    Secret(String, bool),
    Issued,
}

impl View {
    fn new(begun: State, name: String) -> Self {
        Self {
            name,
            secret: None,
            stored: None,
            last: Some(begun),
            trust: Trust::default(),
            changed: None,
            led: None,
            wrote: Pace::default(),
        }
    }

    fn see(&mut self, seen: Seen, serving: &Serving) {
        let changed = match seen {
            Seen::Secret(secret) => {
                self.secret = *secret;
                self.judge(serving)
            }
            Seen::Trusted(webhook, trusted) => {
                let changed = self.trust.see(webhook, trusted);
                if changed && self.stored.is_some() {
                    self.judge(serving);
                }
                changed
            }
        };
        if changed {
            self.changed = Some(Instant::now());
        }
    }

    /// Takes in what the Secret says, and says whether it says something else than before.
    fn judge(&mut self, serving: &Serving) -> bool {
        let stored = match Stored::of(self.secret.as_ref()) {
            // Somebody may have put an old one back.
            Stored::Good(state) if self.trust.refuses(&state.serving, &serving.pair(), &self.name) => Stored::Broken(
                "the API servers would refuse its certificate, and accept the one that is served".to_owned(),
            ),
            stored => stored,
        };
        let taken = match &stored {
            Stored::Good(state) => {
                let offered = serving.offer(state.serving.clone()).map_err(|error| error.to_string());
                self.last = Some((**state).clone());
                offered
            }
            Stored::Broken(problem) => Err(problem.clone()),
            Stored::Missing => Err("there is no Secret, or nothing in it".to_owned()),
        };
        serving.note_source(Source::Secret, &taken);
        self.stored.replace(stored) != self.stored
    }
}
