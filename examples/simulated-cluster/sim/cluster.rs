//! A cluster: its nodes, their endpoints, a mirror, and the internet behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::api::Service;
use super::authority::{Authority, Pair};
use super::config::{machine_config, old_registries};
use super::event::{Event, Log};
use super::fault::Fault;
use super::node::{Node, State, World};
use super::proto::cosi::resource::state_server::StateServer;
use super::proto::machine::image_service_server::ImageServiceServer;
use super::proto::machine::machine_service_server::MachineServiceServer;
use super::registry::{Answer, Registry};

const MAX_MESSAGE: usize = 32 << 20;
const FAR: u64 = 4_000_000_000;

/// Which nodes listen themselves; all are reached through those that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    All,
    ControlPlanes,
}

/// A node to start with.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub address: String,
    pub state: State,
}

/// What a cluster is like.
pub struct Options {
    pub render_delay: Duration,
    pub reboot_time: Duration,
    pub listeners: Listeners,
    /// Where events go beside memory.
    pub events: Option<std::fs::File>,
    /// Where nodes listen, each at a port of its own.
    pub ip: IpAddr,
    /// The servers' certificate; the authority's for that address where there is none.
    pub server: Option<Pair>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            render_delay: Duration::from_millis(40),
            reboot_time: Duration::from_millis(500),
            listeners: Listeners::All,
            events: None,
            ip: IpAddr::from([127, 0, 0, 1]),
            server: None,
        }
    }
}

/// A cluster that runs until it is dropped.
pub struct Cluster {
    pub authority: Arc<Authority>,
    /// A certificate of the role os:admin.
    pub admin: Pair,
    /// The mirror: `http://ADDRESS/v2/PROJECT`, and `harbor.example` for nodes.
    pub mirror: Registry,
    /// Every registry of the internet.
    pub upstream: Registry,
    world: Arc<World>,
    endpoints: BTreeMap<String, std::net::SocketAddr>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Cluster {
    /// Starts control plane nodes `cp-1` and so on and workers `w-1` and so on, of versions in turn.
    pub fn start(
        control_planes: usize,
        workers: usize,
        versions: &[&str],
        options: Options,
    ) -> std::io::Result<Self> {
        let names = (1..=control_planes).map(|number| (format!("cp-{number}"), "controlplane"));
        let names = names.chain((1..=workers).map(|number| (format!("w-{number}"), "worker")));
        let specs = names.enumerate().map(|(at, (name, role))| {
            let version = versions[at % versions.len()];
            let config = machine_config(&name, role, version, old_registries());
            let address = format!("10.5.{}.{}", at / 250, at % 250 + 2);
            Spec { name, address, state: State::new(version, role, &config) }
        });
        Self::of(Arc::new(Authority::new()), specs.collect(), options)
    }

    /// Starts these nodes.
    pub fn of(authority: Arc<Authority>, specs: Vec<Spec>, options: Options) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mirror = Registry::start(runtime.handle(), Answer::All)?;
        let upstream = Registry::start(runtime.handle(), Answer::All)?;
        let hosts =
            ["registry-1.docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "factory.talos.dev"];
        let mut names: BTreeMap<String, std::net::SocketAddr> =
            hosts.iter().map(|host| ((*host).to_owned(), upstream.address)).collect();
        names.insert("harbor.example".to_owned(), mirror.address);
        let world = Arc::new(World {
            log: Log::new(options.events),
            runtime: runtime.handle().clone(),
            nodes: Mutex::default(),
            names: Mutex::new(names),
            render_delay: options.render_delay,
            reboot_time: options.reboot_time,
            released: tokio::sync::watch::Sender::new(0),
        });
        let server = options.server.unwrap_or_else(|| authority.server(&options.ip.to_string()));
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&server.crt, &server.key))
            .client_ca_root(Certificate::from_pem(&authority.pem));
        let mut endpoints = BTreeMap::new();
        for spec in specs {
            let listens = options.listeners == Listeners::All || spec.state.role == "controlplane";
            let node = Node::new(&spec.name, &spec.address, &world, spec.state);
            world.nodes.lock().unwrap().push(Arc::clone(&node));
            if listens {
                let listener = std::net::TcpListener::bind((options.ip, 0))?;
                listener.set_nonblocking(true)?;
                endpoints.insert(spec.name, listener.local_addr()?);
                runtime.spawn(serve(node, listener, tls.clone()));
            }
        }
        let admin = authority.client("os:admin", 0, FAR);
        Ok(Self { authority, admin, mirror, upstream, world, endpoints, runtime: Some(runtime) })
    }

    pub fn names(&self) -> Vec<String> {
        self.world.nodes.lock().unwrap().iter().map(|node| node.name.clone()).collect()
    }

    /// Returns a node, by name or address.
    pub fn node(&self, name: &str) -> Arc<Node> {
        self.world.find(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// Adds a node that is reached through the others.
    pub fn add(&self, name: &str, address: &str, state: State) {
        self.world.nodes.lock().unwrap().push(Node::new(name, address, &self.world, state));
    }

    pub fn remove(&self, name: &str) {
        self.world.nodes.lock().unwrap().retain(|node| node.name != name && node.address != name);
    }

    pub fn fault(&self, name: &str, fault: Fault) {
        self.node(name).state().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        for node in self.world.nodes.lock().unwrap().iter() {
            node.state().faults.clear();
        }
    }

    /// Lets calls that are held go on.
    pub fn release(&self) {
        self.world.released.send_modify(|count| *count += 1);
    }

    /// Lets nodes find a registry by a host's name.
    pub fn name(&self, host: &str, registry: &Registry) {
        self.world.names.lock().unwrap().insert(host.to_owned(), registry.address);
    }

    /// Starts another registry.
    pub fn registry(&self, answer: Answer) -> Registry {
        Registry::start(&self.world.runtime, answer).unwrap()
    }

    pub fn events(&self) -> Vec<Event> {
        self.world.log.all()
    }

    /// Returns what happened on one node.
    pub fn events_of(&self, name: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.node == name).collect()
    }

    /// Waits until something is so, for at most ten seconds.
    pub fn wait(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is(self) {
            assert!(start.elapsed() < Duration::from_secs(10), "waited for {what}: {:#?}", self.events());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns where a node listens itself.
    pub fn endpoint(&self, name: &str) -> String {
        self.endpoints[name].to_string()
    }

    /// Returns where control plane nodes listen.
    pub fn endpoints(&self) -> Vec<String> {
        let nodes = self.world.nodes.lock().unwrap();
        let planes = nodes.iter().filter(|node| node.state().role == "controlplane");
        planes.filter_map(|node| self.endpoints.get(&node.name)).map(ToString::to_string).collect()
    }

    /// Returns a talosconfig of the role os:admin.
    pub fn talosconfig(&self) -> String {
        self.authority.talosconfig(&self.endpoints(), Some(&self.admin))
    }

    /// Returns an inventory for all of the nodes: a few registries through the mirror.
    pub fn inventory(&self) -> String {
        let mirror = self.mirror.address;
        let nodes = self.world.nodes.lock().unwrap();
        let nodes = nodes.iter().map(|node| format!("    {}: {{address: {}}}\n", node.name, node.address));
        let nodes: String = nodes.collect();
        format!(
            "# The simulated cluster: its nodes, and a mirror that listens here.\nlint: {{allow: [W204, W210]}}\nmirrors:\n    mirror:\n        kind: \
             harbor\n        url: http://{mirror}\n        credentials: {{username: robot$talos, password: \
             s3cr3t-mirror}}\nregistries: {{docker.io: {{}}, ghcr.io: {{}}, registry.k8s.io: {{}}}}\ndefaults: {{via: \
             [mirror]}}\nverify:\n    images: [registry.k8s.io/pause:3.10]\nnodes:\n{nodes}"
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.world.nodes.lock().unwrap().clear();
        if let Some(runtime) = self.runtime.take() {
            // Ports are free when this returns; a runtime waits for no thread of another.
            let end = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(1)));
            let _ = end.join();
        }
    }
}

async fn serve(node: Arc<Node>, listener: std::net::TcpListener, tls: ServerTlsConfig) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let incoming = node.line.accept(listener);
    let service = Service(node);
    let machine = MachineServiceServer::new(service.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let images = ImageServiceServer::new(service.clone());
    let state = StateServer::new(service).max_encoding_message_size(MAX_MESSAGE);
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(machine)
        .add_service(images)
        .add_service(state);
    server.serve_with_incoming(incoming).await.unwrap();
}
