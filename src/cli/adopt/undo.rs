//! `ringfence adopt --undo`: out of enforce first, so that the controller lets go; then the labels, which shows whether the
//! user may; Ringfence's policies last. Interrupted in between, it can be run again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use ringfence_core::vocabulary::{
    CONFLICT, EXEMPT_REASON, EXEMPT_UNTIL, ISOLATED, MANAGED_BY, MODE, Mode, PROFILE, RINGFENCE,
};
use serde_json::json;

use super::{Adoption, Object, Outcome, told};

/// How long the controller is given to let go.
const PATIENCE: Duration = Duration::from_secs(30);

impl Adoption<'_> {
    pub(super) async fn undo(&self, name: &str, object: &Object) -> Result<Outcome> {
        let labels = object.labels();
        let adopted = [PROFILE, MODE, ISOLATED].iter().any(|label| labels.contains_key(*label));
        let policies: Api<ApiPolicy> = Api::namespaced(self.client.clone(), name);
        let managed = ListParams::default().labels(&format!("{MANAGED_BY}={RINGFENCE}"));
        let found = policies.list(&managed).await.map_err(told)?;
        let count = found.items.len();
        if !adopted && count == 0 {
            return Ok(Outcome::Nothing("not adopted".to_owned()));
        }
        if self.args.dry_run {
            // Each step is judged as the one before has left it, so only the first can be tried.
            self.patch(object, json!({ "labels": { (MODE): adopted.then_some(Mode::Warn) } })).await?;
            return Ok(Outcome::Done(format!("would be given up, with {count} policies of Ringfence's removed")));
        }
        if adopted {
            self.unlabel(name, object).await?;
        }
        for policy in &found.items {
            match policies.delete(&policy.name_any(), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(told(error)),
                Ok(_) => {}
            }
        }
        Ok(Outcome::Done(format!("given up; {count} policies of Ringfence's removed")))
    }

    async fn unlabel(&self, name: &str, object: &Object) -> Result<()> {
        if object.labels().get(MODE).map(String::as_str) == Some(Mode::Enforce.as_str()) {
            self.patch(object, json!({ "labels": { (MODE): Mode::Warn } })).await?;
        }
        self.wait_until_let_go(name).await?;
        let stripped = json!({
            "labels": { (PROFILE): null, (MODE): null },
            "annotations": { (EXEMPT_REASON): null, (EXEMPT_UNTIL): null, (CONFLICT): null },
        });
        let after = self.patch(object, stripped).await?;
        if after.labels().contains_key(MODE) {
            bail!(
                "its labels were put back: giving a namespace up takes the verb \"use\" on profiles.ringfence.dev/none and \
                 modes.ringfence.dev/none; it is in mode warn now"
            );
        }
        Ok(())
    }

    async fn wait_until_let_go(&self, name: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let object = self.namespaces.get_metadata(name).await.map_err(told)?;
            if !object.labels().contains_key(ISOLATED) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!(
                    "the controller has not removed the label {ISOLATED} for {} s; is Ringfence running? The namespace is in \
                     mode warn now; run this again",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
