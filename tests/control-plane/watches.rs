//! Watches that break: what they cost, and what is believed meanwhile.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::direct::{Over, ask, asked, changes, creation_of_a_namespace, decide, deletion_of_the_baseline, relists};
use crate::harness::{ADMIN, Bed, Installation, Options, Replica, Ringfence, eventually};
use crate::steps::{
    configuration, create_namespace, is_isolated, isolated_namespace, opens_ingress, policies, policy, until_isolated,
    until_isolated_and_logged,
};

crate::tests![
    cases_42_43_and_65_a_watch_that_breaks_costs_no_write_and_a_relist_only_where_it_must,
    case_43_after_a_compaction_the_watches_list_anew_and_no_namespace_is_judged_by_half_of_it,
    cases_44_and_46_what_is_not_heard_any_more_is_not_believed,
    cases_45_and_47_a_replica_is_ready_once_every_watch_has_delivered,
];

const SILENCE: &str = "ringfence_watch_silence_seconds";
const WATCHED: [&str; 3] = ["namespaces", "networkpolicies", "pods"];

/// How often an API server was asked in this way since, by each of the watches at least.
fn relisted(bed: &Bed, mark: &crate::harness::Mark) -> usize {
    let events = asked(bed, mark);
    WATCHED.iter().map(|resource| relists(&events, resource)).min().unwrap_or_default()
}

fn cases_42_43_and_65_a_watch_that_breaks_costs_no_write_and_a_relist_only_where_it_must() {
    const NAMESPACES: usize = 12;
    let bed = Bed::start(&Options { api_servers: 2, ..Options::default() });
    let installation = bed.install(&[]);
    let network = bed.front(&[bed.server(0).address()]);
    let through = Replica { via: Some(network.url()), ..Replica::named("through") };
    let ringfence = bed.start_ringfence(&installation, &through);
    let steady: Vec<String> = (0..NAMESPACES).map(|index| format!("steady-{index}")).collect();
    let mark = bed.audit_mark();
    for namespace in &steady {
        create_namespace(&bed, namespace);
    }
    for namespace in &steady {
        until_isolated_and_logged(&bed, &mark, namespace);
    }
    let create = |name: &str| bed.kubectl_at(1, ADMIN, &["create", "namespace", name], "").expect_ok();

    // Dropped, again and again: they go on where they were.
    let mark = bed.audit_mark();
    for round in 0..4 {
        let name = format!("after-cut-{round}");
        network.cut();
        create(&name);
        until_isolated(&bed, &name);
    }
    let events = asked(&bed, &mark);
    assert_eq!(WATCHED.map(|resource| relists(&events, resource)), [0, 0, 0], "{events:#?}");
    let touched: BTreeSet<&str> = changes(&events).iter().map(|event| event.namespace.as_str()).collect();
    assert!(touched.iter().all(|namespace| namespace.starts_with("after-cut-")), "{touched:?}");
    let watches = events.iter().filter(|event| event.verb == "watch").count();
    assert!((12..=100).contains(&watches), "{watches} watches");

    // Forgotten: an API server that has started anew knows nothing of what was before. What was done meanwhile by way of
    // the other one is noticed: a namespace that was made, and a policy that was taken away while nobody judged.
    network.refuse();
    bed.server(0).stop();
    create("meanwhile");
    let webhooks = "validatingwebhookconfiguration/ringfence";
    let saved = bed.kubectl_at(1, ADMIN, &["get", webhooks, "-o", "json"], "").expect_ok();
    bed.kubectl_at(1, ADMIN, &["delete", webhooks], "").expect_ok();
    let delete = ["delete", "networkpolicy", "default-deny-all", "-n", "steady-0"];
    eventually("the policy is deleted", || bed.kubectl_at(1, ADMIN, &delete, "").ok);
    bed.kubectl_at(1, ADMIN, &["create", "-f", "-"], &saved).expect_ok();
    let mark = bed.audit_mark();
    bed.server(0).start();
    network.resume();
    until_isolated(&bed, "meanwhile");
    eventually("what was deleted is there again", || {
        policies(&bed, "steady-0").len() == 3 && is_isolated(&bed, "steady-0")
    });
    eventually("each watch has listed anew", || relisted(&bed, &mark) > 0);
    let events = asked(&bed, &mark);
    let touched: BTreeSet<&str> = changes(&events)
        .into_iter()
        .map(|event| if event.resource == "namespaces" { event.name.as_str() } else { event.namespace.as_str() })
        .collect();
    // Had a namespace been judged while only a part of it was there again, it would have lost its label.
    assert_eq!(touched, BTreeSet::from(["meanwhile", "steady-0"]), "{events:#?}");

    // Restarted while it is in use: a few requests for each watch and the Lease, and no write.
    let mark = bed.audit_mark();
    bed.server(0).stop();
    bed.server(0).start();
    eventually("the watches are there again", || {
        let events = asked(&bed, &mark);
        WATCHED.iter().all(|resource| {
            events.iter().any(|event| event.verb == "watch" && event.resource == *resource && event.code == 200)
        })
    });
    let events = asked(&bed, &mark);
    let changed = changes(&events);
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(events.len() <= 150, "{} requests: {events:#?}", events.len());

    // Ringfence itself, started anew: it looks at everything and writes nothing.
    assert_eq!(ringfence.stop(), Some(0));
    let mark = bed.audit_mark();
    let again = bed.start_ringfence(&installation, &Replica::named("again"));
    eventually("it leads and has looked at everything", || {
        again.counters().is_some_and(|counters| counters.sum("ringfence_reconciles_total", &[]) >= 12.0)
    });
    // A write that was begun is logged before one that is begun later.
    create("afterwards");
    until_isolated(&bed, "afterwards");
    let events = asked(&bed, &mark);
    let mine = |event: &&&crate::harness::Event| event.name != "afterwards" && event.namespace != "afterwards";
    let changed: Vec<_> = changes(&events);
    let changed: Vec<_> = changed.iter().filter(mine).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

fn case_43_after_a_compaction_the_watches_list_anew_and_no_namespace_is_judged_by_half_of_it() {
    // Without a cache of its own the API server goes on from what etcd has. It then has no streaming lists either.
    let flags = vec!["--watch-cache=false".to_owned()];
    let bed = Bed::start(&Options { api_server_flags: flags, ..Options::default() });
    let installation = bed.install(&[]);
    let network = bed.front(&[bed.server(0).address()]);
    let through = Replica { via: Some(network.url()), ..Replica::named("through") };
    let ringfence = bed.start_ringfence(&installation, &through);
    for index in 0..8 {
        isolated_namespace(&bed, &format!("steady-{index}"));
    }
    let cut_off = |compacts: bool, name: &str| {
        network.refuse();
        create_namespace(&bed, name);
        if compacts {
            bed.compact();
        }
        let mark = bed.audit_mark();
        network.resume();
        until_isolated(&bed, name);
        mark
    };
    // It goes on where it was as long as that is known.
    let mark = cut_off(false, "known");
    assert_eq!(WATCHED.map(|resource| relists(&asked(&bed, &mark), resource)), [0, 0, 0]);
    let mark = cut_off(true, "forgotten");
    eventually("each watch has listed anew", || relisted(&bed, &mark) > 0);
    let events = asked(&bed, &mark);
    let touched: BTreeSet<&str> = changes(&events)
        .into_iter()
        .map(|event| if event.resource == "namespaces" { event.name.as_str() } else { event.namespace.as_str() })
        .collect();
    assert_eq!(touched, BTreeSet::from(["forgotten"]), "{events:#?}");
    assert!(ringfence.is_ready());
}

/// A configuration with the shortest time for which silence is believed.
pub(crate) fn impatient(bed: &Bed, installation: &Installation) -> PathBuf {
    configuration(bed, installation, "staleness: 3s")
}

pub(crate) fn silence(ringfence: &Ringfence) -> f64 {
    ringfence.counters().map_or(0.0, |counters| {
        ["namespaces", "networkpolicies", "held_pods"]
            .map(|watch| counters.sum(SILENCE, &[("watch", watch)]))
            .into_iter()
            .fold(0.0, f64::max)
    })
}

fn cases_44_and_46_what_is_not_heard_any_more_is_not_believed() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let network = bed.front(&[bed.server(0).address()]);
    let config = Some(impatient(&bed, &installation));
    let through = Replica { via: Some(network.url()), config, ..Replica::named("through") };
    let mut ringfence = bed.start_ringfence(&installation, &through);
    isolated_namespace(&bed, "known");
    let judge = || ask(&installation, &ringfence, &deletion_of_the_baseline("known"));
    let heard = || eventually("it hears again, and decides", || silence(&ringfence) < 3.0 && judge().denies());
    let put_off = || {
        eventually("it does not decide any more", || judge().puts_off() && silence(&ringfence) >= 3.0);
        // What hangs on no object is decided as ever, and what hangs on a permission is not.
        assert!(decide(&installation, &ringfence, &creation_of_a_namespace("enforce")).allows());
        let reply = ask(&installation, &ringfence, &creation_of_a_namespace("warn"));
        assert!(reply.puts_off(), "{reply:?}");
        assert!(ringfence.is_ready(), "one that is not ready answers nobody");
    };
    heard();

    // A network that swallows everything, without a word.
    network.stall();
    put_off();
    // By way of the API server it is an error of the call and no denial, and says why.
    let allows = policy("known", "open", &opens_ingress());
    let refused = bed.kubectl_stdin(&["apply", "-f", "-"], &allows).expect_error();
    assert!(refused.contains("InternalError") && !refused.contains("denied the request"), "{refused}");
    network.resume();
    heard();

    // Connections that the network has forgotten, those in the pool too: what is asked next is asked on new ones.
    network.stall();
    put_off();
    network.cut();
    network.resume();
    heard();

    // An API server that has stopped in its tracks, and one that is gone.
    bed.server(0).pause();
    put_off();
    bed.server(0).resume();
    heard();
    // For as long as silence is believed it answers from what it knows. A machine that stands still meanwhile shows nothing.
    eventually("it answers from what it knows", || {
        eventually("it has just heard something", || silence(&ringfence) < 1.0);
        bed.server(0).kill();
        let before = Instant::now();
        let known = silence(&ringfence) < 1.5;
        let reply = judge();
        let shown = known && before.elapsed() < Duration::from_secs(1);
        assert!(!shown || reply.denies(), "{reply:?}");
        if !shown {
            bed.server(0).start();
            heard();
        }
        shown
    });
    put_off();
    bed.server(0).start();
    heard();
    assert!(ringfence.process.is_running());
    assert!(is_isolated(&bed, "known"));
}

fn cases_45_and_47_a_replica_is_ready_once_every_watch_has_delivered() {
    let bed = Bed::start(&Options::default());
    // A replica whose certificates are in a Secret does not even listen before it has heard the API server.
    let installation = bed.install(&[("tls.mode", "files")]);
    let first = bed.start_ringfence(&installation, &Replica::named("first"));
    for index in 0..20 {
        create_namespace(&bed, &format!("there-{index}"));
    }
    until_isolated(&bed, "there-19");

    // An API server that takes connections and closes them, and one that answers nothing.
    let network = bed.front(&[]);
    let late = Replica { via: Some(network.url()), wait: false, ..Replica::named("late") };
    let mut late = bed.start_ringfence(&installation, &late);
    eventually("it has tried several times", || {
        assert!(late.process.is_running() && !late.is_ready());
        network.accepted() >= 5
    });
    let tried = late.log().matches("asking again").count();
    assert!(tried <= 20, "{tried} attempts");
    let reply = ask(&installation, &late, &deletion_of_the_baseline("there-1"));
    assert!(reply.puts_off(), "{reply:?}");
    network.stall();
    network.point_at(&[bed.server(0).address()]);

    // Two of the three watches are allowed, the third one is not.
    let rule = rule_with(&bed, "pods");
    let set = |verbs: &[&str]| {
        let patch = json!([{ "op": "replace", "path": format!("/rules/{rule}/verbs"), "value": verbs }]).to_string();
        bed.kubectl(&["patch", "clusterrole", "ringfence", "--type=json", "-p", &patch]).expect_ok();
    };
    set(&["get", "patch"]);
    let can = |verb: &str| bed.kubectl(&["auth", "can-i", verb, "pods", "--as", crate::steps::CONTROLLER]).ok;
    eventually("the right is gone", || !can("watch"));
    network.resume();
    let known = |ringfence: &Ringfence| ringfence.counters().map_or(0.0, |all| all.sum("ringfence_namespaces", &[]));
    eventually("the other watches have delivered", || known(&late) >= 20.0);
    eventually("it says what it may not", || late.log().matches("a watch failed; trying again").count() >= 2);
    assert!(!late.is_ready() && late.process.is_running());
    set(&["get", "list", "watch", "patch"]);
    late.wait_until_ready();
    assert!(known(&late) >= known(&first));

    // Under load: whatever it knows when it says that it is ready is everything.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                create_namespace(&bed, &format!("load-{index}"));
            }
        });
        let _over = Over(&done);
        let there = bed.kubectl(&["get", "namespaces", "-o", "name"]).expect_ok().lines().count();
        let third = Replica { wait: false, ..Replica::named("third") };
        let third = bed.start_ringfence(&installation, &third);
        eventually("it is ready", || third.is_ready());
        #[allow(clippy::cast_precision_loss, reason = "there are few")]
        let there = there as f64;
        assert!(known(&third) >= there, "{} of {there}", known(&third));
        let reply = decide(&installation, &third, &deletion_of_the_baseline("there-1"));
        assert!(reply.denies(), "{reply:?}");
    });
}

/// Which rule of the controller's role is about a resource.
pub(crate) fn rule_with(bed: &Bed, resource: &str) -> usize {
    let role = bed.kubectl(&["get", "clusterrole", "ringfence", "-o", "json"]).expect_ok();
    let role: serde_json::Value = serde_json::from_str(&role).unwrap();
    let rules = role["rules"].as_array().unwrap();
    rules.iter().position(|rule| rule["resources"].as_array().unwrap().contains(&json!(resource))).unwrap()
}
