//! `ringfence connect`: whether one end reaches a port of another, and which policy decides.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use ringfence_core::inventory::Inventory;
use ringfence_core::policy::reach::{self, Port};
use ringfence_core::text::sanitised;

use super::endpoint::{self, End};
use super::source::{self, SourceArgs};
use crate::inventory::live::{self, Read, Scope};
use crate::manifests::quoted;
use crate::report::reach::{json, text};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the traffic comes from: NAMESPACE/POD, NAMESPACE/KIND/NAME (as team-a/Deployment/web), or an IP address
    /// outside of the cluster.
    #[arg(long, value_name = "END")]
    from: End,
    /// Where it goes to, in the same forms.
    #[arg(long, value_name = "END")]
    to: End,
    /// The port: a number, with /tcp (which is meant without), /udp or /sctp behind it, or the name of a container port.
    #[arg(long, value_name = "PORT", value_parser = endpoint::port)]
    port: Port,
    #[command(flatten)]
    source: SourceArgs,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.from.namespace().is_none() && args.to.namespace().is_none() {
        bail!("--from {} --to {}: both are outside of the cluster, where no NetworkPolicy reaches", args.from, args.to);
    }
    let inventory = if args.source.manifests.is_empty() {
        super::serve::runtime()?.block_on(of_cluster(args))?
    } else {
        let [from, to] = [&args.from, &args.to].map(|end| quoted(&end.to_string()));
        let port = endpoint::written(&args.port);
        args.source.read_manifests(&format!("connect --from {from} --to {to} --port {port}"))?
    };
    answer(args, &inventory)
}

fn answer(args: &Args, inventory: &Inventory) -> Result<ExitCode> {
    let from = endpoint::find("--from", &args.from, inventory)?;
    let to = endpoint::find("--to", &args.to, inventory)?;
    source::say_unknown_labels(inventory, |namespace| {
        [&args.from, &args.to].iter().any(|end| end.namespace() == Some(namespace))
    });
    source::say_labels_of_controllers(inventory);
    let answer = reach::connect(inventory, &from, &to, &args.port).map_err(|unresolved| {
        anyhow!("--port {}: {}", endpoint::written(&args.port), sanitised(&unresolved.to_string()))
    })?;
    super::print(|out| match args.output {
        Output::Text => text::answer(out, &from, &to, &answer),
        Output::Json => json::answer(out, &answer),
    })?;
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the answer hangs on: the two namespaces, and whether an address is a pod's.
async fn of_cluster(args: &Args) -> Result<Inventory> {
    let client = source::client(&args.source.kube).await?;
    let ends = [("--from", &args.from), ("--to", &args.to)];
    for (flag, end) in ends {
        let End::Address(address) = end else { continue };
        match live::pod_with_address(&client, *address).await {
            Ok(None) => {}
            Ok(Some((namespace, pod))) => bail!("{flag} {}", endpoint::is_a_pods(*address, &namespace, "Pod", &pod)),
            Err(error) => {
                source::say(&format!(
                    "{flag} {address} is taken for no pod's address: nobody could look: {}",
                    live::told(error)
                ));
            }
        }
    }
    let names: BTreeSet<String> = ends.iter().filter_map(|(_, end)| end.namespace()).map(str::to_owned).collect();
    let Read { inventory, unlisted, remarks } = live::read(&client, Scope::Namespaces(&names)).await?;
    source::say_all(&remarks);
    for (flag, end) in ends {
        if let Err(error) = endpoint::find(flag, end, &inventory) {
            let unlisted: Vec<String> =
                unlisted.iter().map(|(kind, said)| format!("no {kind} can be listed: {said}")).collect();
            return Err(if unlisted.is_empty() {
                error
            } else {
                anyhow!("{error}; {}", sanitised(&unlisted.join("; ")))
            });
        }
    }
    Ok(inventory)
}
