//! The client of the Talos API against an API of our own: what goes wrong has a name of its own.

use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use talmirror::secret::Secret;
use talmirror::talos::{
    ACTIVE_CONFIG, Client, Config, DryRun, Endpoint, Instance, Kind, Mode, NodeClient, Patience, Pending,
    TalosError, observe,
};
use tonic::Code;

use crate::authority::{Authority, Pair};
use crate::talos_api::{Api, Node, Tls};

const FAR: u64 = 4_000_000_000;
const PATIENCE: Patience =
    Patience { connect: Duration::from_millis(400), call: Duration::from_millis(1500) };
const CONFIG: &str = "version: v1alpha1\nmachine: {}\n";

/// A cluster of one authority.
pub struct Place {
    pub authority: Authority,
    pub admin: Pair,
}

impl Place {
    pub fn new() -> Self {
        let authority = Authority::new();
        let admin = authority.client("os:admin", 0, FAR);
        Self { authority, admin }
    }

    pub fn start(&self, nodes: &[(&str, Node)]) -> Api {
        Api::start(&Tls::of(&self.authority), nodes)
    }

    fn client(&self, endpoints: &[&str]) -> Client {
        client(&self.authority.talosconfig(&[], Some(&self.admin)), endpoints)
    }

    fn node(&self, endpoints: &[&str], node: &str) -> NodeClient {
        self.client(endpoints).node(&node.parse().unwrap())
    }
}

pub fn worker() -> Node {
    Node::new("v1.13.9", "worker", CONFIG)
}

fn client(talosconfig: &str, endpoints: &[&str]) -> Client {
    let config = Config::parse(talosconfig).unwrap();
    let (name, context) = config.select(None).unwrap();
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    Client::new(name, context, &endpoints, Box::new(|_| None), PATIENCE).unwrap()
}

/// An address where nobody listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn one_call_names_one_node() {
    let place = Place::new();
    let api = place.start(&[("", worker()), ("n2", Node::new("v1.14.1", "controlplane", CONFIG))]);
    let client = place.client(&[&api.endpoint()]);
    let n2 = client.node(&"n2".parse().unwrap());
    assert_eq!(n2.version().await.unwrap().tag, "v1.14.1");
    let services = n2.services().await.unwrap();
    assert_eq!(services.iter().map(|service| service.healthy).collect::<Vec<_>>(), [Some(true), None]);
    let kind = Kind { namespace: "runtime", kind: "Services.v1alpha1.talos.dev", id: "" };
    let ids: Vec<String> = n2.resources(kind).await.unwrap().into_iter().map(|service| service.id).collect();
    assert_eq!(ids, ["cri", "kubelet"]);
    // A node with a port is dialled itself, and asked about itself.
    let itself = client.node(&api.endpoint().parse().unwrap());
    assert_eq!(itself.version().await.unwrap().tag, "v1.13.9");
    let named: Vec<Option<String>> = api.calls().into_iter().map(|call| call.node).collect();
    let n2 = || Some("n2".to_owned());
    assert_eq!(named, [n2(), n2(), n2(), None]);
}

#[tokio::test]
async fn another_endpoint_is_tried_when_one_is_down() {
    let place = Place::new();
    let api = place.start(&[("n1", worker())]);
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_address = hanging.local_addr().unwrap().to_string();
    let node = place.node(&[&nowhere(), &hanging_address, &api.endpoint()], "n1");
    assert_eq!(node.version().await.unwrap().tag, "v1.13.9");
    // The endpoint that answered comes first from then on.
    let start = Instant::now();
    assert_eq!(node.active_config().await.unwrap().text.expose(), CONFIG);
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    // What the node itself says counts, whatever went wrong before.
    let node = place.node(&[&nowhere(), &api.endpoint()], "n1");
    assert!(node.persistent_config().await.unwrap().is_none());
}

#[tokio::test]
async fn a_call_that_got_lost_is_repeated_once() {
    let place = Place::new();
    let flaky = |flaky| Node { flaky, ..worker() };
    let api = place.start(&[("once", flaky(1)), ("twice", flaky(2)), ("apply", flaky(1))]);
    let client = place.client(&[&api.endpoint()]);
    let node = |name: &str| client.node(&name.parse().unwrap());
    assert!(node("once").version().await.is_ok());
    assert_eq!(node("twice").version().await.unwrap_err().as_str(), "unreachable");
    assert!(node("apply").apply(&Secret::from(CONFIG), Mode::NoReboot, DryRun::No).await.is_err());
    assert_eq!(api.calls().len(), 5);
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let place = Place::new();
    let reason = async |endpoints: &[&str]| place.node(endpoints, "n1").version().await.unwrap_err();
    let error = reason(&[&nowhere()]).await;
    assert_eq!(error.as_str(), "unreachable");
    // Accepted and never answered.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = reason(&[&hanging.local_addr().unwrap().to_string()]).await;
    assert!(error.to_string().starts_with("connecting to 127.0.0.1:"), "{error}");
    assert_eq!(error.as_str(), "timeout");
    // Not TLS at all.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert_eq!(reason(&[&address]).await.as_str(), "tls");
    // The endpoint is up, the node is not.
    let api = place.start(&[]);
    let error = reason(&[&api.endpoint()]).await;
    assert_eq!(
        error.to_string(),
        format!("{} does not reach n1: dial tcp n1:50000: connect: connection refused", api.endpoint())
    );
}

#[tokio::test]
async fn a_slow_node_is_not_waited_for() {
    let place = Place::new();
    let slow = Node { delay: Duration::from_secs(30), ..worker() };
    let api = place.start(&[("n1", slow), ("n2", worker())]);
    let client = place.client(&[&api.endpoint()]);
    let start = Instant::now();
    let error = client.node(&"n1".parse().unwrap()).version().await.unwrap_err();
    assert_eq!(error.to_string(), "Version of n1: no answer within 1.5 s");
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(client.node(&"n2".parse().unwrap()).version().await.is_ok());
}

#[tokio::test]
async fn certificates_that_do_not_fit_have_names() {
    let (place, other) = (Place::new(), Place::new());
    let api = place.start(&[("n1", worker())]);
    let endpoint = api.endpoint();
    let error = async |text: &str| {
        let node = client(text, &[&endpoint]).node(&"n1".parse().unwrap());
        node.version().await.unwrap_err()
    };
    // The whole talosconfig of another cluster.
    let error_of = error(&other.authority.talosconfig(&[], Some(&other.admin))).await;
    assert!(matches!(error_of, TalosError::OtherCluster { .. }), "{error_of:?}");
    // Only the client's part is of another cluster.
    let error_of = error(&place.authority.talosconfig(&[], Some(&other.admin))).await;
    assert!(matches!(error_of, TalosError::CertificateRefused { .. }), "{error_of:?}");
    // Expired, for those whose clock is wrong.
    let expired = place.authority.client("os:admin", 0, 1000);
    let error_of = error(&place.authority.talosconfig(&[], Some(&expired))).await;
    assert!(matches!(error_of, TalosError::CertificateRefused { alert: "expired", .. }), "{error_of:?}");
    // None.
    let none = place.authority.talosconfig(&[], None) + "        auth: {basic: {username: u, password: p}}\n";
    let error_of = error(&none).await;
    assert!(matches!(error_of, TalosError::CertificateWanted { .. }), "{error_of:?}");
    // The server's certificate names another address.
    let tls = Tls { server: place.authority.server("10.0.0.1"), client_ca: place.authority.pem.clone() };
    let api = Api::start(&tls, &[("n1", worker())]);
    let error_of = place.node(&[&api.endpoint()], "n1").version().await.unwrap_err();
    assert!(matches!(error_of, TalosError::Untrusted { .. }), "{error_of:?}");
    assert!(error_of.help().unwrap().contains("certSANs"), "{error_of:?}");
}

#[tokio::test]
async fn what_a_node_refuses_has_a_name() {
    let place = Place::new();
    let api = place.start(&[
        ("reader", worker().refuses("Get", Code::PermissionDenied, "not authorized")),
        ("old", worker().refuses("*", Code::Unimplemented, "unknown service")),
        ("worker", worker().refuses("*", Code::PermissionDenied, "no request forwarding")),
        ("odd", worker().refuses("*", Code::InvalidArgument, "x\ndiff:\n+ s3cr3t-d")),
        ("n1", worker()),
    ]);
    let client = place.client(&[&api.endpoint()]);
    let node = |name: &str| client.node(&name.parse().unwrap());
    let error = node("reader").active_config().await.unwrap_err();
    assert_eq!(error.to_string(), "MachineConfigs.config.talos.dev/v1alpha1 is not allowed: not authorized");
    assert_eq!(node("old").version().await.unwrap_err().as_str(), "unimplemented");
    assert_eq!(node("worker").version().await.unwrap_err().as_str(), "no-forwarding");
    let error = node("odd").version().await.unwrap_err();
    assert_eq!(error.to_string(), "Version failed (InvalidArgument): x");
    assert!(node("n1").read("/nothing").await.unwrap().is_none());
    let kind = Kind { id: "nothing", ..ACTIVE_CONFIG };
    assert_eq!(node("n1").resource(kind).await.unwrap_err().as_str(), "denied");
    // A role that may not read configs still sees the rest.
    let seen = observe(&node("n1")).await.unwrap();
    assert_eq!((seen.role.as_deref(), seen.pending()), (Some("worker"), Some(Pending::Nothing)));
}

#[tokio::test]
async fn large_messages_and_files_come_whole() {
    let place = Place::new();
    let config = format!("{CONFIG}# {}\n", "x".repeat(9 << 20));
    let mut node = Node::new("v1.13.9", "worker", &config);
    node.files.insert("/f".to_owned(), "0123456789".repeat(1000));
    let api = place.start(&[("n1", node)]);
    let node = place.node(&[&api.endpoint()], "n1");
    assert_eq!(node.active_config().await.unwrap().text.expose(), &config);
    assert_eq!(node.read("/f").await.unwrap().unwrap().expose(), "0123456789".repeat(1000).as_bytes());
    let config = Secret::new(config);
    assert!(node.apply(&config, Mode::Staged, DryRun::No).await.is_ok());
}

#[tokio::test]
async fn an_apply_has_a_mode_and_is_sent_once() {
    let place = Place::new();
    let dies = worker().refuses("ApplyConfiguration", Code::Ok, "");
    let unsure = worker().refuses("ApplyConfiguration", Code::Unavailable, "backend flushed");
    let api = place.start(&[("n1", worker()), ("unsure", unsure), ("dies", dies)]);
    let second = place.start(&[("unsure", worker()), ("dies", worker())]);
    let client = place.client(&[&api.endpoint(), &second.endpoint()]);
    let node = |name: &str| client.node(&name.parse().unwrap());
    let config = Secret::from(CONFIG);
    let timeout = Duration::from_mins(5);
    let applied = node("n1").apply(&config, Mode::Try { timeout }, DryRun::No).await.unwrap();
    assert_eq!(applied.details, "Applied configuration without a reboot");
    assert_eq!(applied.warnings, ["a warning"]);
    node("n1").apply(&config, Mode::NoReboot, DryRun::No).await.unwrap();
    node("n1").apply(&config, Mode::Staged, DryRun::Yes).await.unwrap();
    let sent: Vec<_> = api.calls().into_iter().filter_map(|call| call.apply).collect();
    assert_eq!(sent, [(4, false, Some(300)), (2, false, None), (3, true, None)]);
    let error = node("unsure").apply(&config, Mode::NoReboot, DryRun::No).await.unwrap_err();
    assert_eq!(error.as_str(), "unreachable");
    let error = node("dies").apply(&config, Mode::NoReboot, DryRun::No).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the connection to {} broke during ApplyConfiguration", api.endpoint())
    );
    assert!(second.calls().is_empty(), "an apply is not repeated elsewhere: {:?}", second.calls());
    // Once it is known that the endpoint is down, the other one takes the call.
    node("dies").apply(&config, Mode::NoReboot, DryRun::No).await.unwrap();
    assert_eq!(second.calls().len(), 1);
}

#[tokio::test]
async fn calls_of_a_rollout_reach_old_nodes() {
    let place = Place::new();
    let api = place.start(&[("n1", worker())]);
    let node = place.node(&[&api.endpoint()], "n1");
    // There is no image service: the old calls do.
    let second = Duration::from_secs(1);
    let pulled = node.pull("registry.k8s.io/pause:3.10", Instance::Cri, second, &|_| {}).await.unwrap();
    assert_eq!(pulled.name, None);
    assert!(node.images(Instance::System).await.unwrap().is_empty());
    assert_eq!(node.remove_image("x", Instance::Cri).await.unwrap_err().as_str(), "unimplemented");
    assert_eq!(node.logs("cri", 10).await.unwrap().expose(), b"PullImage\n");
    node.reboot().await.unwrap();
    // Not a sign of an old node: etcd is not for workers.
    let error = node.etcd().await.unwrap_err();
    assert!(error.to_string().ends_with("etcd status is only available on control plane nodes"), "{error}");
}

#[tokio::test]
async fn ipv6_addresses_are_endpoints() {
    let place = Place::new();
    let tls = Tls { server: place.authority.server("::1"), client_ca: place.authority.pem.clone() };
    let Ok(api) = Api::start_at(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), &tls, &[("", worker())]) else {
        return; // a machine without IPv6
    };
    assert!(place.node(&[], &api.endpoint()).version().await.is_ok());
}
