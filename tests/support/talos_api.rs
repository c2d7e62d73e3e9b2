//! A Talos API to test against: one endpoint that answers for several nodes, as far as talmirror asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::authority::{Authority, Pair};

#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, dead_code, rust_2018_idioms)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/server/mod.rs"));
}

use proto::common::Data;
use proto::cosi::resource as cosi;
use proto::machine::{self, ApplyConfigurationRequest};

/// A node, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Node {
    pub version: String,
    pub role: String,
    pub stage: String,
    pub active: String,
    /// The config on disk, and whether it was set after the active one.
    pub persistent: Option<(String, bool)>,
    pub files: BTreeMap<String, String>,
    /// How long it takes to answer.
    pub delay: Duration,
    /// How many calls the endpoint loses before one reaches the node.
    pub flaky: usize,
    /// The gRPC status of every call of a method; `*`: of all.
    pub refuses: BTreeMap<String, (tonic::Code, String)>,
}

impl Node {
    pub fn new(version: &str, role: &str, config: &str) -> Self {
        Self {
            version: version.to_owned(),
            role: role.to_owned(),
            stage: "running".to_owned(),
            active: config.to_owned(),
            persistent: None,
            files: BTreeMap::new(),
            delay: Duration::ZERO,
            flaky: 0,
            refuses: BTreeMap::new(),
        }
    }

    pub fn refuses(mut self, method: &str, code: tonic::Code, message: &str) -> Self {
        self.refuses.insert(method.to_owned(), (code, message.to_owned()));
        self
    }
}

/// One call, as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: &'static str,
    /// The `node` metadata.
    pub node: Option<String>,
    /// The mode of an `ApplyConfiguration`, whether it is a dry run, and its timeout in seconds.
    pub apply: Option<(i32, bool, Option<i64>)>,
}

/// What the endpoint and the test share.
#[derive(Debug, Default)]
pub struct State {
    /// By what calls name them; an empty name is the endpoint's own node.
    pub nodes: BTreeMap<String, Node>,
    pub calls: Vec<Call>,
}

/// An endpoint that listens until it is dropped.
pub struct Api {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
    stop: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Whom the endpoint trusts, and what it shows.
pub struct Tls {
    pub server: Pair,
    pub client_ca: String,
}

impl Tls {
    pub fn of(authority: &Authority) -> Self {
        Self { server: authority.server("127.0.0.1"), client_ca: authority.pem.clone() }
    }
}

impl Api {
    pub fn start(tls: &Tls, nodes: &[(&str, Node)]) -> Self {
        Self::start_at(IpAddr::from([127, 0, 0, 1]), tls, nodes).unwrap()
    }

    /// Starts at an address, which may not be there: IPv6 is not everywhere.
    pub fn start_at(ip: IpAddr, tls: &Tls, nodes: &[(&str, Node)]) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((ip, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let nodes = nodes.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect();
        let state = Arc::new(Mutex::new(State { nodes, calls: Vec::new() }));
        let stop = Arc::new(Notify::new());
        let service = Service { state: Arc::clone(&state), stop: Arc::clone(&stop) };
        let identity = Identity::from_pem(&tls.server.crt, &tls.server.key);
        let tls =
            ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(&tls.client_ca));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serving = Server::builder()
                    .tls_config(tls)
                    .unwrap()
                    .add_service(
                        machine::machine_service_server::MachineServiceServer::new(service.clone())
                            .max_decoding_message_size(32 << 20),
                    )
                    .add_service(cosi::state_server::StateServer::new(service))
                    .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
                tokio::select! {
                    result = serving => result.unwrap(),
                    () = stopped.notified() => {}
                }
            });
            // Connections end with the runtime, whatever they are in the middle of.
        });
        Ok(Self { address, state, stop, thread: Some(thread) })
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Node)) {
        change(self.state.lock().unwrap().nodes.get_mut(name).unwrap());
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    stop: Arc<Notify>,
}

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn items<T: Send + 'static>(items: Vec<T>) -> Response<Items<T>> {
    Response::new(Box::pin(tokio_stream::iter(items.into_iter().map(Ok))))
}

impl Service {
    /// Finds the node that a call is for, as apid does, and lets it refuse.
    async fn node<T>(&self, method: &'static str, request: &Request<T>) -> Result<Node, Status> {
        self.node_for(method, request, None).await
    }

    async fn node_for<T>(
        &self,
        method: &'static str,
        request: &Request<T>,
        apply: Option<(i32, bool, Option<i64>)>,
    ) -> Result<Node, Status> {
        let metadata = request.metadata();
        assert_eq!(metadata.get("runtime").unwrap(), "Talos");
        assert!(metadata.get("nodes").is_none() && metadata.get_all("node").iter().count() < 2);
        let name = metadata.get("node").map(|name| name.to_str().unwrap().to_owned());
        let node = {
            let mut state = self.state.lock().unwrap();
            state.calls.push(Call { method, node: name.clone(), apply });
            let name = name.unwrap_or_default();
            let dialing = || format!("dial tcp {name}:50000: connect: connection refused");
            let node = state.nodes.get_mut(&name).ok_or_else(|| Status::unavailable(dialing()))?;
            if node.flaky > 0 {
                node.flaky -= 1;
                return Err(Status::unavailable("the connection is draining"));
            }
            node.clone()
        };
        tokio::time::sleep(node.delay).await;
        match node.refuses.get(method).or(node.refuses.get("*")) {
            // No gRPC code: the endpoint goes down in the middle of the call.
            Some((tonic::Code::Ok, _)) => {
                self.stop.notify_one();
                std::future::pending().await
            }
            Some((code, message)) => Err(Status::new(*code, message.clone())),
            None => Ok(node),
        }
    }
}

#[tonic::async_trait]
impl machine::machine_service_server::MachineService for Service {
    async fn apply_configuration(
        &self,
        request: Request<ApplyConfigurationRequest>,
    ) -> Answer<machine::ApplyConfigurationResponse> {
        let message = request.get_ref();
        let timeout = message.try_mode_timeout.as_ref().map(|timeout| timeout.seconds);
        let apply = Some((message.mode, message.dry_run, timeout));
        self.node_for("ApplyConfiguration", &request, apply).await?;
        let message = machine::ApplyConfiguration {
            warnings: vec!["a warning".to_owned()],
            mode: request.get_ref().mode,
            mode_details: "Applied configuration without a reboot\nConfig diff:\n+ s3cr3t-d".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(machine::ApplyConfigurationResponse { messages: vec![message] }))
    }

    async fn etcd_alarm_list(&self, _: Request<()>) -> Answer<machine::EtcdAlarmListResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn etcd_member_list(
        &self,
        _: Request<machine::EtcdMemberListRequest>,
    ) -> Answer<machine::EtcdMemberListResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn etcd_status(&self, _: Request<()>) -> Answer<machine::EtcdStatusResponse> {
        Err(Status::unimplemented("etcd status is only available on control plane nodes"))
    }

    type ImageListStream = Items<machine::ImageListResponse>;

    async fn image_list(&self, request: Request<machine::ImageListRequest>) -> Answer<Self::ImageListStream> {
        self.node("ImageList", &request).await?;
        Ok(items(Vec::new()))
    }

    async fn image_pull(
        &self,
        request: Request<machine::ImagePullRequest>,
    ) -> Answer<machine::ImagePullResponse> {
        self.node("ImagePull", &request).await?;
        Ok(Response::new(machine::ImagePullResponse::default()))
    }

    type LogsStream = Items<Data>;

    async fn logs(&self, request: Request<machine::LogsRequest>) -> Answer<Self::LogsStream> {
        self.node("Logs", &request).await?;
        Ok(items(vec![Data { bytes: b"PullImage\n".to_vec(), ..Data::default() }]))
    }

    async fn reboot(&self, request: Request<machine::RebootRequest>) -> Answer<machine::RebootResponse> {
        self.node("Reboot", &request).await?;
        Ok(Response::new(machine::RebootResponse { messages: vec![machine::Reboot::default()] }))
    }

    type ReadStream = Items<Data>;

    async fn read(&self, request: Request<machine::ReadRequest>) -> Answer<Self::ReadStream> {
        let node = self.node("Read", &request).await?;
        let path = &request.get_ref().path;
        let text =
            node.files.get(path).ok_or_else(|| Status::not_found(format!("stat {path}: no such file")))?;
        let chunks = text.as_bytes().chunks(1024);
        Ok(items(chunks.map(|bytes| Data { bytes: bytes.to_vec(), ..Data::default() }).collect()))
    }

    async fn service_list(&self, request: Request<()>) -> Answer<machine::ServiceListResponse> {
        self.node("ServiceList", &request).await?;
        let service = |id: &str, unknown, healthy| machine::ServiceInfo {
            id: id.to_owned(),
            state: "Running".to_owned(),
            health: Some(machine::ServiceHealth { unknown, healthy, ..Default::default() }),
        };
        let services = vec![service("cri", false, true), service("udevd", true, false)];
        let message = machine::ServiceList { services, ..Default::default() };
        Ok(Response::new(machine::ServiceListResponse { messages: vec![message] }))
    }

    async fn version(&self, request: Request<()>) -> Answer<machine::VersionResponse> {
        let node = self.node("Version", &request).await?;
        let version =
            machine::VersionInfo { tag: node.version, arch: "amd64".to_owned(), ..Default::default() };
        let message = machine::Version { version: Some(version), ..Default::default() };
        Ok(Response::new(machine::VersionResponse { messages: vec![message] }))
    }
}

#[tonic::async_trait]
impl cosi::state_server::State for Service {
    async fn get(&self, request: Request<cosi::GetRequest>) -> Answer<cosi::GetResponse> {
        use prost::Message as _;
        let node = self.node("Get", &request).await?;
        let asked = request.get_ref();
        let config = |text: &str| {
            let spec = proto::definitions::MachineConfigSpec { yaml_marshalled: text.as_bytes().to_vec() };
            (spec.encode_to_vec(), String::new())
        };
        let yaml = |text: String| (Vec::new(), text);
        let kind = asked.r#type.split('.').next().unwrap_or_default();
        let (found, second) = match (kind, asked.id.as_str()) {
            ("MachineConfigs", "v1alpha1") => (Some(config(&node.active)), 10),
            ("MachineConfigs", "persistent") => match &node.persistent {
                Some((text, later)) => (Some(config(text)), if *later { 20 } else { 5 }),
                None => (None, 0),
            },
            ("MachineTypes", "machine-type") => (Some(yaml(node.role)), 1),
            ("MachineStatuses", "machine") => (
                Some(yaml(format!(
                    "stage: {}\nstatus:\n    ready: true\n    unmetConditions: []\n",
                    node.stage
                ))),
                1,
            ),
            ("ImageCacheConfigs", _) => (None, 0),
            (kind, _) => {
                return Err(Status::permission_denied(format!("resource type \"{kind}\" is not supported")));
            }
        };
        let Some((proto_spec, yaml_spec)) = found else {
            return Err(Status::not_found(format!("resource {kind}/{} doesn't exist", asked.id)));
        };
        let metadata = cosi::Metadata {
            id: asked.id.clone(),
            version: "1".to_owned(),
            updated: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
            ..Default::default()
        };
        let spec = cosi::Spec { proto_spec, yaml_spec };
        let resource = Some(cosi::Resource { metadata: Some(metadata), spec: Some(spec) });
        Ok(Response::new(cosi::GetResponse { resource }))
    }

    type ListStream = Items<cosi::ListResponse>;

    async fn list(&self, request: Request<cosi::ListRequest>) -> Answer<Self::ListStream> {
        self.node("List", &request).await?;
        let resource = |id: &str| cosi::Resource {
            metadata: Some(cosi::Metadata { id: id.to_owned(), ..Default::default() }),
            spec: None,
        };
        let resources = ["cri", "kubelet"].map(|id| cosi::ListResponse { resource: Some(resource(id)) });
        Ok(items(resources.to_vec()))
    }
}
