//! The client of the Talos API against an API of our own: what goes wrong has a name of its own.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use talmirror::secret::Secret;
use talmirror::talos::{
    ACTIVE_CONFIG, Client, Config, DryRun, Endpoint, Kind, Mode, NodeClient, Patience, Pending, TalosError,
    observe,
};
use tonic::Code;

use crate::sim::{
    Authority, Cluster, Fault, Kind as Wrong, Listeners, Options, Pair, Spec, State, Step, What,
};

const FAR: u64 = 4_000_000_000;
const PATIENCE: Patience =
    Patience { connect: Duration::from_millis(400), call: Duration::from_millis(1500) };
const CONFIG: &str = "version: v1alpha1\nmachine: {}\n";

/// A cluster of one authority.
pub struct Place {
    pub authority: Arc<Authority>,
    pub admin: Pair,
}

/// One endpoint, and the nodes behind it.
pub struct Api(pub Cluster);

impl Place {
    pub fn new() -> Self {
        let authority = Arc::new(Authority::new());
        let admin = authority.client("os:admin", 0, FAR);
        Self { authority, admin }
    }

    /// Starts an endpoint for nodes, whose names are their addresses.
    pub fn start(&self, nodes: &[(&str, State)]) -> Api {
        self.start_at(Options::default(), nodes).unwrap()
    }

    pub fn start_at(&self, options: Options, nodes: &[(&str, State)]) -> std::io::Result<Api> {
        let spec = |name: &str, state| Spec { name: name.to_owned(), address: name.to_owned(), state };
        let endpoint = spec(ENDPOINT, State::new("v1.13.9", "controlplane", CONFIG));
        let nodes = nodes.iter().map(|(name, state)| spec(name, state.clone()));
        let specs = std::iter::once(endpoint).chain(nodes).collect();
        let options = Options { listeners: Listeners::ControlPlanes, ..options };
        Cluster::of(Arc::clone(&self.authority), specs, options).map(Api)
    }

    fn client(&self, endpoints: &[&str]) -> Client {
        client(&self.authority.talosconfig(&[], Some(&self.admin)), endpoints)
    }

    fn node(&self, endpoints: &[&str], node: &str) -> NodeClient {
        self.client(endpoints).node(&node.parse().unwrap())
    }
}

impl Api {
    pub fn endpoint(&self) -> String {
        self.0.endpoint(ENDPOINT)
    }

    /// The nodes that calls named, in order.
    pub fn calls(&self) -> Vec<Option<String>> {
        let calls = self.0.events().into_iter().filter_map(|event| match event.what {
            What::Call { named, .. } => Some(named),
            _ => None,
        });
        calls.collect()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut State)) {
        change(&mut self.0.node(name).state());
    }
}

const ENDPOINT: &str = "endpoint";

pub fn worker() -> State {
    State::new("v1.13.9", "worker", CONFIG)
}

/// A node on which something goes wrong always.
fn wrong(step: Step, kind: Wrong) -> State {
    State { faults: vec![Fault::new(step, kind)], ..worker() }
}

pub fn refuses(step: Step, code: Code, message: &str) -> Fault {
    Fault::new(step, Wrong::Refuse(code, message.to_owned()))
}

fn client(talosconfig: &str, endpoints: &[&str]) -> Client {
    patient_client(talosconfig, endpoints, PATIENCE)
}

fn patient_client(talosconfig: &str, endpoints: &[&str], patience: Patience) -> Client {
    let config = Config::parse(talosconfig).unwrap();
    let (name, context) = config.select(None).unwrap();
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    Client::new(name, context, &endpoints, Box::new(|_| None), patience).unwrap()
}

/// An address where nothing listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn one_call_names_one_node() {
    let place = Place::new();
    let api = place.start(&[("n2", State::new("v1.14.1", "controlplane", CONFIG))]);
    let client = place.client(&[&api.endpoint()]);
    let n2 = client.node(&"n2".parse().unwrap());
    assert_eq!(n2.version().await.unwrap().tag, "v1.14.1");
    let services = n2.services().await.unwrap();
    let healthy = |id: &str| services.iter().find(|service| service.id == id).unwrap().healthy;
    assert_eq!([healthy("cri"), healthy("udevd")], [Some(true), None]);
    let kind = Kind { namespace: "runtime", kind: "Services.v1alpha1.talos.dev", id: "" };
    let ids: Vec<String> = n2.resources(kind).await.unwrap().into_iter().map(|service| service.id).collect();
    assert_eq!(ids, ["apid", "cri", "kubelet", "udevd", "etcd"]);
    // A node with a port is dialled itself, and asked about itself.
    let itself = client.node(&api.endpoint().parse().unwrap());
    assert_eq!(itself.version().await.unwrap().tag, "v1.13.9");
    let n2 = || Some("n2".to_owned());
    assert_eq!(api.calls(), [n2(), n2(), n2(), None]);
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
    hanging.set_nonblocking(true).unwrap();
    assert!(hanging.accept().is_ok());
    assert_eq!(node.active_config().await.unwrap().text.expose(), CONFIG);
    assert!(hanging.accept().is_err(), "it was dialled again");
    // What the node itself says counts, whatever went wrong before.
    let node = place.node(&[&nowhere(), &api.endpoint()], "n1");
    assert!(node.persistent_config().await.unwrap().is_none());
}

#[tokio::test]
async fn a_call_that_got_lost_is_repeated_once() {
    let place = Place::new();
    let flaky = |times| {
        let fault = refuses(Step::Any, Code::Unavailable, "the connection is draining");
        State { faults: vec![Fault { times: Some(times), ..fault }], ..worker() }
    };
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
    assert!(error.to_string().starts_with("cannot connect to 127.0.0.1:"), "{error}");
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
    let slow = State { delay: Duration::from_secs(30), ..worker() };
    let api = place.start(&[("n1", slow), ("n2", worker())]);
    let client = place.client(&[&api.endpoint()]);
    let start = Instant::now();
    let error = client.node(&"n1".parse().unwrap()).version().await.unwrap_err();
    assert_eq!(error.to_string(), "Version of n1: no answer within 1.5 s");
    assert!(start.elapsed() < Duration::from_secs(15));
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
    let options = Options { server: Some(place.authority.server("10.0.0.1")), ..Options::default() };
    let api = place.start_at(options, &[("n1", worker())]).unwrap();
    let error_of = place.node(&[&api.endpoint()], "n1").version().await.unwrap_err();
    assert!(matches!(error_of, TalosError::Untrusted { .. }), "{error_of:?}");
    assert!(error_of.help().unwrap().contains("certSANs"), "{error_of:?}");
}

#[tokio::test]
async fn what_a_node_refuses_has_a_name() {
    let place = Place::new();
    let refuses =
        |step, code, message: &str| State { faults: vec![refuses(step, code, message)], ..worker() };
    let api = place.start(&[
        ("reader", refuses(Step::Config, Code::PermissionDenied, "not authorized")),
        ("old", refuses(Step::Any, Code::Unimplemented, "unknown service")),
        ("worker", refuses(Step::Any, Code::PermissionDenied, "no request forwarding")),
        ("odd", refuses(Step::Any, Code::InvalidArgument, "x\ndiff:\n+ s3cr3t-d")),
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
    let kind = Kind { kind: "Nothing.talos.dev", ..ACTIVE_CONFIG };
    assert_eq!(node("n1").resource(kind).await.unwrap_err().as_str(), "denied");
    // A role that may not read configs still sees the rest.
    let seen = observe(&node("n1")).await.unwrap();
    assert_eq!((seen.role.as_deref(), seen.pending()), (Some("worker"), Some(Pending::Nothing)));
}

#[tokio::test]
async fn large_messages_and_files_come_whole() {
    let place = Place::new();
    let config = format!("{CONFIG}# {}\n", "x".repeat(9 << 20));
    let mut node = State::new("v1.13.9", "worker", &config);
    node.files.insert("/f".to_owned(), "0123456789".repeat(1000));
    let api = place.start(&[("n1", node)]);
    // Nine megabytes take their time on a busy machine.
    let patience = Patience { connect: Duration::from_secs(30), call: Duration::from_mins(1) };
    let talosconfig = place.authority.talosconfig(&[], Some(&place.admin));
    let client = patient_client(&talosconfig, &[&api.endpoint()], patience);
    let node = client.node(&"n1".parse().unwrap());
    assert_eq!(node.active_config().await.unwrap().text.expose(), &config);
    assert_eq!(node.read("/f").await.unwrap().unwrap().expose(), "0123456789".repeat(1000).as_bytes());
    let config = Secret::new(config);
    assert!(node.apply(&config, Mode::Staged, DryRun::No).await.is_ok());
}

#[tokio::test]
async fn an_apply_has_a_mode_and_is_sent_once() {
    let place = Place::new();
    let dies = wrong(Step::Apply, Wrong::EndpointDies);
    let unsure =
        State { faults: vec![refuses(Step::Apply, Code::Unavailable, "backend flushed")], ..worker() };
    let api = place.start(&[("n1", worker()), ("unsure", unsure), ("dies", dies)]);
    let second = place.start(&[("unsure", worker()), ("dies", worker())]);
    let client = place.client(&[&api.endpoint(), &second.endpoint()]);
    let node = |name: &str| client.node(&name.parse().unwrap());
    let config = Secret::from(CONFIG);
    let timeout = Duration::from_mins(5);
    let applied = node("n1").apply(&config, Mode::Try { timeout }, DryRun::No).await.unwrap();
    assert_eq!(
        applied.details,
        "Applied configuration without a reboot\nThe config is applied in 'try' mode and will be automatically reverted \
         back in 5m0s"
    );
    assert!(applied.warnings.is_empty());
    node("n1").apply(&config, Mode::NoReboot, DryRun::No).await.unwrap();
    let dry = node("n1").apply(&config, Mode::Staged, DryRun::Yes).await.unwrap();
    assert!(dry.details.ends_with("(skipped in dry-run)."), "{}", dry.details);
    let sent = api.0.events().into_iter().filter_map(|event| match event.what {
        What::Call { apply: Some(apply), .. } => Some((apply.mode, apply.dry_run, apply.try_seconds)),
        _ => None,
    });
    let mode = str::to_owned;
    let want =
        [(mode("TRY"), false, Some(300)), (mode("NO_REBOOT"), false, None), (mode("STAGED"), true, None)];
    assert_eq!(sent.collect::<Vec<_>>(), want);
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
async fn ipv6_addresses_are_endpoints() {
    let place = Place::new();
    let options = Options { ip: IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), ..Options::default() };
    let Ok(api) = place.start_at(options, &[]) else {
        return; // a machine without IPv6
    };
    assert!(place.node(&[], &api.endpoint()).version().await.is_ok());
}
