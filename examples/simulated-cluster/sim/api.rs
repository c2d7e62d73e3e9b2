//! The services of a node's API, and apid in front of them, which passes calls on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::codegen::tokio_stream::{self, Stream};
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Request, Response, Status};

use super::event::{Apply, What, digest};
use super::fault::{Fault, Kind, Step};
use super::node::Node;
use super::proto::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace, Data};
use super::proto::cosi::resource as cosi;
use super::proto::machine::apply_configuration_request::Mode;
use super::proto::machine::image_service_pull_response::Response as PullStep;
use super::proto::machine::{self, ApplyConfigurationRequest};
use super::{pull, resources, verify};

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn items<T: Send + 'static>(items: Vec<T>) -> Items<T> {
    Box::pin(tokio_stream::iter(items.into_iter().map(Ok)))
}

/// Is another after each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

const READERS: &[&str] = &["os:admin", "os:operator", "os:reader"];
const OPERATORS: &[&str] = &["os:admin", "os:operator"];
const ADMINS: &[&str] = &["os:admin"];

/// The API of one endpoint.
#[derive(Clone)]
pub struct Service(pub Arc<Node>);

/// What is asked, for the log and for faults.
struct Ask {
    method: &'static str,
    steps: Vec<Step>,
    roles: &'static [&'static str],
    about: Option<String>,
    apply: Option<Apply>,
}

impl Ask {
    fn new(method: &'static str, step: Step, roles: &'static [&'static str]) -> Self {
        Self { method, steps: vec![step, Step::Any], roles, about: None, apply: None }
    }

    fn about(mut self, about: &str) -> Self {
        self.about = Some(about.to_owned());
        self
    }
}

/// A call on its way through a node.
struct Visit {
    node: Arc<Node>,
    method: &'static str,
    /// Whether the node is the endpoint itself.
    own: bool,
    admin: bool,
    fault: Option<Kind>,
}

/// Returns the role in the client's certificate.
fn role<T>(request: &Request<T>) -> String {
    let info = request.extensions().get::<TlsConnectInfo<()>>();
    let certificates = info.and_then(TlsConnectInfo::peer_certs);
    let Some(certificate) = certificates.as_ref().and_then(|all| all.first()) else { return String::new() };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate.as_ref()) else {
        return String::new();
    };
    let subject = certificate.subject().iter_organization().next();
    subject.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

impl Service {
    /// Finds the node that a call is for, as apid does, and lets the call fail there.
    async fn enter<T>(&self, ask: Ask, request: &Request<T>) -> Result<Visit, Status> {
        let Ask { method, steps, roles, about, apply } = ask;
        let metadata = request.metadata();
        assert_eq!(
            metadata.get("runtime").map(tonic::metadata::MetadataValue::as_bytes),
            Some(&b"Talos"[..]),
            "as talosctl has it"
        );
        assert!(
            metadata.get("nodes").is_none() && metadata.get_all("node").iter().count() < 2,
            "one node a call"
        );
        let named = metadata.get("node").map(|name| name.to_str().unwrap().to_owned());
        let (node, own) = match &named {
            None => (Arc::clone(&self.0), true),
            Some(name) if self.0.is_called(name) => (Arc::clone(&self.0), true),
            Some(_) if self.0.state().role != "controlplane" => {
                self.0.log(What::Call { method, named: named.clone(), about, apply });
                return Err(Status::permission_denied("no request forwarding"));
            }
            Some(name) => {
                let Some(node) = self.0.world.find(name) else {
                    self.0.log(What::Call { method, named: named.clone(), about, apply });
                    return Err(unreachable(name));
                };
                (node, false)
            }
        };
        node.log(What::Call { method, named, about, apply });
        let admin = role(request) == "os:admin";
        let mut visit = Visit { node, method, own, admin, fault: None };
        if visit.node.state().stage == "maintenance" {
            // Its server has a certificate of its own making, which apid does not take.
            return self.leave(&visit, Err(not_of_this_cluster(&visit.node.address))).await;
        }
        if visit.node.state().down {
            return self.leave(&visit, Err(unreachable(&visit.node.address))).await;
        }
        let delay = visit.node.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if !roles.contains(&role(request).as_str()) {
            return self.leave(&visit, Err(Status::permission_denied("not authorized"))).await;
        }
        // Before the fault is told of: a test that sees it may let the call go on at once.
        let mut released = self.0.world.released.subscribe();
        let Some(Fault { kind, .. }) = visit.node.take_fault(&steps) else { return Ok(visit) };
        let applies = method == "ApplyConfiguration";
        match kind {
            Kind::Slow(_) if applies => visit.fault = Some(kind),
            Kind::Slow(time) => tokio::time::sleep(time).await,
            Kind::Hang => std::future::pending::<()>().await,
            Kind::Refuse(code, message) => return self.leave(&visit, Err(Status::new(code, message))).await,
            Kind::Reject if applies => visit.fault = Some(kind),
            Kind::Reject => return self.leave(&visit, Err(Status::invalid_argument("rejected"))).await,
            Kind::NotFound => {
                let status = Status::not_found("error pulling image: failed to resolve image: not found");
                return self.leave(&visit, Err(status)).await;
            }
            Kind::Unreachable if visit.own => return Err(self.die(&visit).await),
            Kind::Unreachable => return self.leave(&visit, Err(unreachable(&visit.node.address))).await,
            Kind::DieBefore => return Err(self.die(&visit).await),
            Kind::EndpointDies => {
                self.0.go_down();
                std::future::pending::<()>().await;
            }
            Kind::Hold => {
                let _ = released.changed().await;
            }
            Kind::DieAfter | Kind::Down | Kind::Reboot => visit.fault = Some(kind),
            Kind::Upgrade(version) => visit.node.becomes(|state| state.version = version),
            Kind::Replace => visit.node.becomes(|state| state.machine.push_str("-another")),
            Kind::Stale | Kind::Missing | Kind::Broken | Kind::Wrong | Kind::Twice | Kind::Unhealthy => {}
        }
        Ok(visit)
    }

    /// Breaks the connection in the middle of a call.
    async fn die(&self, visit: &Visit) -> Status {
        let lost = Status::unavailable("error reading from server: EOF");
        visit.node.log(What::Answer { method: visit.method, code: "lost".to_owned() });
        if visit.own {
            visit.node.line.cut();
            std::future::pending::<()>().await;
        }
        lost
    }

    /// Answers a call, unless the answer gets lost.
    async fn leave<T>(&self, visit: &Visit, result: Result<T, Status>) -> Result<T, Status> {
        match &visit.fault {
            Some(Kind::DieAfter) => return Err(self.die(visit).await),
            Some(Kind::Down) => {
                visit.node.go_down();
                return Err(self.die(visit).await);
            }
            Some(Kind::Reboot) => visit.node.reboot(),
            Some(_) | None => {}
        }
        let code = result.as_ref().err().map_or(Code::Ok, Status::code);
        visit.node.log(What::Answer { method: visit.method, code: format!("{code:?}") });
        result
    }

    async fn answer<T>(&self, visit: &Visit, result: Result<T, Status>) -> Answer<T> {
        self.leave(visit, result).await.map(Response::new)
    }

    async fn etcd<T>(&self, request: &Request<T>, method: &'static str, what: &str) -> Result<Visit, Status> {
        let visit = self.enter(Ask::new(method, Step::Etcd, READERS), request).await?;
        if visit.node.state().role != "controlplane" {
            let text = format!("{what} is only available on control plane nodes");
            return self.leave(&visit, Err(Status::unimplemented(text))).await;
        }
        Ok(visit)
    }
}

fn not_of_this_cluster(name: &str) -> Status {
    let why = "authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority";
    Status::unavailable(format!("connection error: desc = \"transport: {why}\", while dialing {name}:50000"))
}

fn unreachable(name: &str) -> Status {
    let why = format!("dial tcp {name}:50000: connect: connection refused");
    Status::unavailable(format!("connection error: desc = \"transport: Error while dialing: {why}\""))
}

/// Returns the control plane nodes with their members' numbers.
fn etcd_members(node: &Node) -> Vec<(u64, Arc<Node>)> {
    let nodes = node.world.nodes.lock().unwrap().clone();
    let members = nodes.into_iter().filter(|node| node.state().role == "controlplane");
    (1..).zip(members).collect()
}

#[tonic::async_trait]
impl machine::machine_service_server::MachineService for Service {
    async fn apply_configuration(
        &self,
        request: Request<ApplyConfigurationRequest>,
    ) -> Answer<machine::ApplyConfigurationResponse> {
        let message = request.get_ref();
        let mode = Mode::try_from(message.mode);
        let step = match (message.dry_run, mode) {
            (true, _) => Step::DryRun,
            (false, Ok(Mode::Try)) => Step::Try,
            (false, Ok(Mode::Staged)) => Step::Staged,
            (false, _) => Step::Commit,
        };
        let apply = Apply {
            mode: mode.map_or_else(|_| message.mode.to_string(), |mode| mode.as_str_name().to_owned()),
            dry_run: message.dry_run,
            try_seconds: message.try_mode_timeout.as_ref().map(|timeout| timeout.seconds),
            config: digest(&String::from_utf8_lossy(&message.data)),
        };
        let mut ask = Ask::new("ApplyConfiguration", step, &["os:admin", "os:reader"]);
        ask.steps.push(Step::Apply);
        ask.apply = Some(apply);
        let visit = self.enter(ask, &request).await?;
        let slow = if let Some(Kind::Slow(time)) = visit.fault { time } else { Duration::ZERO };
        let reject = visit.fault == Some(Kind::Reject);
        let result = visit.node.apply(message, visit.admin, reject, slow).await;
        let result = result.map(|message| machine::ApplyConfigurationResponse { messages: vec![message] });
        self.answer(&visit, result).await
    }

    async fn etcd_alarm_list(&self, request: Request<()>) -> Answer<machine::EtcdAlarmListResponse> {
        let visit = self.etcd(&request, "EtcdAlarmList", "etcd alarm list").await?;
        let messages = vec![machine::EtcdAlarm::default()];
        self.answer(&visit, Ok(machine::EtcdAlarmListResponse { messages })).await
    }

    async fn etcd_member_list(
        &self,
        request: Request<machine::EtcdMemberListRequest>,
    ) -> Answer<machine::EtcdMemberListResponse> {
        let visit = self.etcd(&request, "EtcdMemberList", "member list").await?;
        let members = etcd_members(&visit.node).into_iter().map(|(id, node)| machine::EtcdMember {
            id,
            hostname: node.name.clone(),
            peer_urls: vec![format!("https://{}:2380", node.address)],
            client_urls: vec![format!("https://{}:2379", node.address)],
            is_learner: node.state().learner,
        });
        let members = members.collect();
        let messages = vec![machine::EtcdMembers { members, ..machine::EtcdMembers::default() }];
        self.answer(&visit, Ok(machine::EtcdMemberListResponse { messages })).await
    }

    async fn etcd_status(&self, request: Request<()>) -> Answer<machine::EtcdStatusResponse> {
        let visit = self.etcd(&request, "EtcdStatus", "etcd status").await?;
        let members = etcd_members(&visit.node);
        let voters: Vec<_> = members.iter().filter(|(_, node)| !node.state().learner).collect();
        let up: Vec<u64> = voters.iter().filter(|(_, node)| !node.state().down).map(|(id, _)| *id).collect();
        let quorum = up.len() * 2 > voters.len();
        let ill = visit.node.state().has_fault(Step::Etcd, &Kind::Unhealthy);
        let own = members.iter().find(|(_, node)| Arc::ptr_eq(node, &visit.node)).map_or(0, |(id, _)| *id);
        let status = machine::EtcdMemberStatus {
            protocol_version: "3.6.4".to_owned(),
            db_size: 1 << 20,
            leader: if quorum && !ill { up.first().copied().unwrap_or(0) } else { 0 },
            raft_index: 100,
            raft_term: 2,
            raft_applied_index: 100,
            member_id: own,
            is_learner: visit.node.state().learner,
            ..machine::EtcdMemberStatus::default()
        };
        let messages =
            vec![machine::EtcdStatus { member_status: Some(status), ..machine::EtcdStatus::default() }];
        self.answer(&visit, Ok(machine::EtcdStatusResponse { messages })).await
    }

    type ImageListStream = Items<machine::ImageListResponse>;

    async fn image_list(&self, request: Request<machine::ImageListRequest>) -> Answer<Self::ImageListStream> {
        let visit = self.enter(Ask::new("ImageList", Step::Images, READERS), &request).await?;
        let images = images(&visit, request.get_ref().namespace()).map(|images| {
            let image = |(name, digest)| machine::ImageListResponse {
                name,
                digest,
                size: 1 << 20,
                ..Default::default()
            };
            items(images.into_iter().map(image).collect())
        });
        self.answer(&visit, images).await
    }

    async fn image_pull(
        &self,
        request: Request<machine::ImagePullRequest>,
    ) -> Answer<machine::ImagePullResponse> {
        let message = request.get_ref();
        let ask = Ask::new("ImagePull", Step::Pull, OPERATORS).about(&message.reference);
        let visit = self.enter(ask, &request).await?;
        let result = match instance(message.namespace()) {
            Ok(instance) => pull::pull(&visit.node, instance, &message.reference).await,
            Err(status) => Err(status),
        };
        let response = machine::ImagePullResponse { messages: vec![machine::ImagePull::default()] };
        self.answer(&visit, result.map(|_| response)).await
    }

    type LogsStream = Items<Data>;

    async fn logs(&self, request: Request<machine::LogsRequest>) -> Answer<Self::LogsStream> {
        let ask = Ask::new("Logs", Step::Logs, READERS).about(&request.get_ref().id);
        let visit = self.enter(ask, &request).await?;
        let line = Data { bytes: visit.node.state().log.clone().into_bytes(), ..Data::default() };
        self.answer(&visit, Ok(items(vec![line]))).await
    }

    type ReadStream = Items<Data>;

    async fn read(&self, request: Request<machine::ReadRequest>) -> Answer<Self::ReadStream> {
        let path = &request.get_ref().path;
        let visit = self.enter(Ask::new("Read", Step::Read, ADMINS).about(path), &request).await?;
        let text = {
            let state = visit.node.state();
            let file = state.files.get(path).or_else(|| state.rendered.get(path)).cloned();
            file.or_else(|| (path == BOOT_ID).then(|| format!("{}-{}\n", state.machine, state.boots)))
        };
        let chunks = text.map(|text| {
            let chunk = |bytes: &[u8]| Data { bytes: bytes.to_vec(), ..Data::default() };
            items(text.as_bytes().chunks(1024).map(chunk).collect())
        });
        let absent = || Status::not_found(format!("stat {path}: no such file or directory"));
        self.answer(&visit, chunks.ok_or_else(absent)).await
    }

    async fn reboot(&self, request: Request<machine::RebootRequest>) -> Answer<machine::RebootResponse> {
        let visit = self.enter(Ask::new("Reboot", Step::Reboot, OPERATORS), &request).await?;
        visit.node.reboot();
        let messages = vec![machine::Reboot { actor_id: "1".to_owned(), ..machine::Reboot::default() }];
        self.answer(&visit, Ok(machine::RebootResponse { messages })).await
    }

    async fn service_list(&self, request: Request<()>) -> Answer<machine::ServiceListResponse> {
        let visit = self.enter(Ask::new("ServiceList", Step::Services, READERS), &request).await?;
        let services = resources::services(&visit.node.state()).into_iter().map(|(id, running)| {
            let unknown = id == "udevd";
            let health =
                machine::ServiceHealth { unknown, healthy: running && !unknown, ..Default::default() };
            let state = if running { "Running" } else { "Stopping" };
            machine::ServiceInfo { id: id.to_owned(), state: state.to_owned(), health: Some(health) }
        });
        let messages = vec![machine::ServiceList { services: services.collect(), ..Default::default() }];
        self.answer(&visit, Ok(machine::ServiceListResponse { messages })).await
    }

    async fn version(&self, request: Request<()>) -> Answer<machine::VersionResponse> {
        let visit = self.enter(Ask::new("Version", Step::Version, READERS), &request).await?;
        let tag = visit.node.state().version.clone();
        let version = machine::VersionInfo { tag, arch: "amd64".to_owned(), ..Default::default() };
        let platform = machine::PlatformInfo { name: "metal".to_owned(), mode: "metal".to_owned() };
        let message =
            machine::Version { version: Some(version), platform: Some(platform), ..Default::default() };
        self.answer(&visit, Ok(machine::VersionResponse { messages: vec![message] })).await
    }
}

fn instance(namespace: ContainerdNamespace) -> Result<&'static str, Status> {
    match namespace {
        ContainerdNamespace::NsCri => Ok("cri"),
        ContainerdNamespace::NsSystem => Ok("system"),
        ContainerdNamespace::NsTaloscontainers => Ok("taloscontainers"),
        ContainerdNamespace::NsUnknown => Err(Status::invalid_argument("invalid namespace NS_UNKNOWN")),
    }
}

fn images(visit: &Visit, namespace: ContainerdNamespace) -> Result<Vec<(String, String)>, Status> {
    let instance = instance(namespace)?;
    Ok(visit.node.state().images.get(instance).cloned().unwrap_or_default())
}

fn namespace(instance: Option<&ContainerdInstance>) -> Result<ContainerdNamespace, Status> {
    let (driver, namespace) = instance.map(|it| (it.driver(), it.namespace())).unwrap_or_default();
    if driver == ContainerDriver::Containerd && namespace == ContainerdNamespace::NsCri {
        return Err(Status::invalid_argument("cannot use CRI namespace with containerd driver"));
    }
    Ok(namespace)
}

/// Finds out that a node is too old.
fn since_113(visit: &Visit) -> Result<(), Status> {
    let known = visit.node.state().rules().image_service();
    if known { Ok(()) } else { Err(Status::unimplemented("unknown service machine.ImageService")) }
}

#[tonic::async_trait]
impl machine::image_service_server::ImageService for Service {
    type ListStream = Items<machine::ImageServiceListResponse>;

    async fn list(&self, request: Request<machine::ImageServiceListRequest>) -> Answer<Self::ListStream> {
        let visit = self.enter(Ask::new("ImageService/List", Step::Images, READERS), &request).await?;
        let namespace = since_113(&visit).and_then(|()| namespace(request.get_ref().containerd.as_ref()));
        let images = namespace.and_then(|namespace| images(&visit, namespace)).map(|images| {
            let image = |(name, digest)| machine::ImageServiceListResponse {
                name,
                digest,
                size: 1 << 20,
                ..Default::default()
            };
            items(images.into_iter().map(image).collect())
        });
        self.answer(&visit, images).await
    }

    type PullStream = Items<machine::ImageServicePullResponse>;

    async fn pull(&self, request: Request<machine::ImageServicePullRequest>) -> Answer<Self::PullStream> {
        let message = request.get_ref();
        // A fault is for the call that does it: not for the one that an old node does not know.
        let known = self.target(&request).is_none_or(|node| node.state().rules().image_service());
        let step = if known { Step::Pull } else { Step::Version };
        let mut ask = Ask::new("ImageService/Pull", step, OPERATORS).about(&message.image_ref);
        if !known {
            ask.steps.clear();
        }
        let visit = self.enter(ask, &request).await?;
        let instance =
            since_113(&visit).and_then(|()| namespace(message.containerd.as_ref())).and_then(instance);
        let result = match instance {
            Ok(instance) => pull::pull(&visit.node, instance, &message.image_ref).await,
            Err(status) => Err(status),
        };
        let steps = result.map(|name| {
            let layer = machine::ImageServicePullLayerProgress {
                status: 3,
                offset: 1 << 20,
                total: 1 << 20,
                ..Default::default()
            };
            let progress =
                machine::ImageServicePullProgress { layer_id: "sha256:1".to_owned(), progress: Some(layer) };
            let steps = [PullStep::PullProgress(progress), PullStep::Name(name)];
            let step = |step| machine::ImageServicePullResponse { response: Some(step) };
            items(steps.into_iter().map(step).collect())
        });
        self.answer(&visit, steps).await
    }

    async fn remove(&self, request: Request<machine::ImageServiceRemoveRequest>) -> Answer<()> {
        let message = request.get_ref();
        let ask = Ask::new("ImageService/Remove", Step::Remove, ADMINS).about(&message.image_ref);
        let visit = self.enter(ask, &request).await?;
        let instance =
            since_113(&visit).and_then(|()| namespace(message.containerd.as_ref())).and_then(instance);
        let removed = instance.and_then(|instance| {
            let name = message
                .image_ref
                .parse()
                .map_or_else(|_| message.image_ref.clone(), |image| pull::name(&image));
            let mut state = visit.node.state();
            let images = state.images.entry(instance).or_default();
            let before = images.len();
            images.retain(|(have, _)| *have != name);
            if images.len() == before {
                return Err(Status::not_found(format!("image {name} not found")));
            }
            visit.node.log(What::Removed { image: name, instance });
            Ok(())
        });
        self.answer(&visit, removed).await
    }

    async fn verify(
        &self,
        request: Request<machine::ImageServiceVerifyRequest>,
    ) -> Answer<machine::ImageServiceVerifyResponse> {
        let reference = &request.get_ref().image_ref;
        let ask = Ask::new("ImageService/Verify", Step::Verify, READERS).about(reference);
        let visit = self.enter(ask, &request).await?;
        let result = match since_113(&visit) {
            Ok(()) => verify::verify(&visit.node, reference).await,
            Err(status) => Err(status),
        };
        self.answer(&visit, result).await
    }
}

impl Service {
    fn target<T>(&self, request: &Request<T>) -> Option<Arc<Node>> {
        match request.metadata().get("node") {
            Some(name) => self.0.world.find(name.to_str().ok()?),
            None => Some(Arc::clone(&self.0)),
        }
    }
}

fn step_of(kind: &str) -> Step {
    match kind.split('.').next() {
        Some("MachineConfigs") => Step::Config,
        Some("RegistryConfigs") => Step::RegistryConfigs,
        Some(_) | None => Step::Resource,
    }
}

#[tonic::async_trait]
impl cosi::state_server::State for Service {
    async fn get(&self, request: Request<cosi::GetRequest>) -> Answer<cosi::GetResponse> {
        let cosi::GetRequest { r#type: kind, id, .. } = request.get_ref();
        let mut ask = Ask::new("Get", step_of(kind), READERS);
        ask.about = Some(format!("{kind}/{id}"));
        let visit = self.enter(ask, &request).await?;
        let found = resources::get(&visit.node, kind, id, visit.admin);
        self.answer(&visit, found.map(|resource| cosi::GetResponse { resource: Some(resource) })).await
    }

    type ListStream = Items<cosi::ListResponse>;

    async fn list(&self, request: Request<cosi::ListRequest>) -> Answer<Self::ListStream> {
        let kind = &request.get_ref().r#type;
        let visit = self.enter(Ask::new("List", step_of(kind), READERS).about(kind), &request).await?;
        let found = resources::list(&visit.node, kind, visit.admin).map(|found| {
            let answer = |resource| cosi::ListResponse { resource: Some(resource) };
            items(found.into_iter().map(answer).collect())
        });
        self.answer(&visit, found).await
    }
}
