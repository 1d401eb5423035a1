//! Cases 28, 35, 37 and 40: certificates in files, replaced while the process serves, and those of clients.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use ringfence::certs::dev;
use ringfence::certs::pair::Pair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::harness::*;
use crate::run::{NAMESPACE, serve_with};

/// A directory as the kubelet makes it of a Secret: links by way of `..data`, which is replaced as a whole.
fn mount(directory: &Path, generation: usize, pair: &Pair) {
    let contents = directory.join(format!("..generation-{generation}"));
    dev::write(pair, &contents).unwrap();
    let next = directory.join("..data_tmp");
    symlink(contents.file_name().unwrap(), &next).unwrap();
    std::fs::rename(&next, directory.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        let link = directory.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
}

fn a_review() -> Value {
    review(&json!({ "name": "team-b", "namespace": "team-b", "object": adopted("team-b") }))
}

/// Whether whoever trusts these CAs gets an answer on a new connection, if only that it came too late.
fn is_accepted(address: SocketAddr, ca: &str) -> bool {
    is_answered(&mut connect_to(address, ca))
}

fn is_answered(connection: &mut Connection) -> bool {
    let body = serde_json::to_vec(&a_review()).unwrap();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    let sent = connection.send(head("/validate", &headers).as_bytes()).and_then(|()| connection.send(&body));
    sent.is_ok() && connection.reply().is_some_and(|reply| reply.status == 200 || reply.is_late())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it did not happen that {what}")
}

/// Further flags of `serve`.
fn with(flags: &[&str]) -> impl FnOnce(&mut Command) {
    move |command| {
        command.args(flags);
    }
}

const FILES: [&str; 2] = ["--certificates", "files"];

#[test]
fn cases_35_and_40_what_the_kubelet_swaps_in_is_served_and_no_connection_fails_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = directory.path().join("certs");
    let pairs: Vec<Pair> = (0..4).map(|_| dev::issue().unwrap()).collect();
    mount(&certificates, 0, &pairs[0]);
    let process = serve_with(directory.path(), "{}", NAMESPACE, with(&FILES));
    let address = process.address;
    let all: String = pairs.iter().map(|pair| pair.ca.as_str()).collect();
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // One connection that lives through all of it, and new ones.
                let mut kept = connect_to(address, &all);
                while !over.load(Ordering::Relaxed) {
                    assert!(is_accepted(address, &all));
                    assert_eq!(kept.post("/validate", &a_review()).status, 200);
                    asked.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&over);
        for (generation, pair) in pairs.iter().enumerate().skip(1) {
            assert!(!is_accepted(address, &pair.ca));
            mount(&certificates, generation, pair);
            until("the next one is served", || is_accepted(address, &pair.ca));
            assert!(!is_accepted(address, &pairs[generation - 1].ca), "the one before is served on");
        }
    });
    assert!(asked.load(Ordering::Relaxed) > 100);
}

/// Says at the end of a scope that it is over, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn case_37_a_pair_that_can_not_be_served_raises_an_alarm_and_the_one_before_is_served_on() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = directory.path().join("certs");
    let [first, second] = [dev::issue().unwrap(), dev::issue().unwrap()];
    mount(&certificates, 0, &first);
    let process = serve_with(directory.path(), "{}", NAMESPACE, with(&FILES));
    let address = process.address;
    let alarm = |value: u8| {
        let line = format!("ringfence_certificate_source_refused{{source=\"files\"}} {value}\n");
        process.get("/metrics").1.contains(&line)
    };
    let broken = [
        Pair { key: second.key.clone(), ..first.clone() },
        Pair { certificate: second.certificate.clone(), ..first.clone() },
        Pair { certificate: "nonsense".to_owned(), ..first.clone() },
        Pair { key: String::new(), ..first.clone() },
        Pair { certificate: first.certificate[..first.certificate.len() / 2].to_owned(), ..first.clone() },
    ];
    let mut generation = 0;
    for pair in &broken {
        generation += 2;
        mount(&certificates, generation - 1, pair);
        until("there is an alarm", || alarm(1));
        assert!(is_accepted(address, &first.ca));
        mount(&certificates, generation, &first);
        until("the alarm is over", || alarm(0));
    }
    mount(&certificates, generation + 1, &second);
    until("the next one is served", || is_accepted(address, &second.ca));
    std::fs::remove_file(certificates.join("..data")).unwrap();
    until("there is an alarm", || alarm(1));
    assert!(is_accepted(address, &second.ca));
}

/// A CA of clients, and a certificate that it signed, as PEM: CA, certificate, key.
fn client() -> [String; 3] {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let mut leaf = CertificateParams::new(vec!["kube-apiserver".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    [ca_pem, certificate.pem(), key.serialize_pem()]
}

#[test]
fn case_28_clients_need_a_certificate_of_the_right_ca_where_one_is_required() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, other] = [client(), client()];
    let file = directory.path().join("client-ca.crt");
    std::fs::write(&file, &ours[0]).unwrap();
    let process = serve_with(directory.path(), "{}", NAMESPACE, with(&["--client-ca", "client-ca.crt"]));
    let answered = |identity: Option<&[String; 3]>| {
        let mut config = client_config(&process.ca, &[b"http/1.1"]);
        if let Some([_, certificate, key]) = identity {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots(&process.ca))
                .with_client_auth_cert(chain, key)
                .unwrap();
        }
        is_answered(&mut connect_with(process.address, config))
    };
    assert!(answered(Some(&ours)));
    assert!(!answered(None), "without a certificate");
    assert!(!answered(Some(&other)), "with one of another CA");
    // Health and metrics are elsewhere, and need none.
    assert_eq!(process.get("/livez").0, 200);
    // The CA may be replaced, too.
    std::fs::write(&file, format!("{}{}", ours[0], other[0])).unwrap();
    until("the other one is accepted", || answered(Some(&other)));
    assert!(answered(Some(&ours)));
    std::fs::write(&file, "nonsense").unwrap();
    let alarm = "ringfence_certificate_source_refused{source=\"client_ca\"} 1\n";
    until("there is an alarm", || process.get("/metrics").1.contains(alarm));
    assert!(answered(Some(&other)) && !answered(None));
}
