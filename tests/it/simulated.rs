//! The simulated cluster behaves as Talos does, each version in its way; the calls of a rollout reach it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use talmirror::machineconfig::{Form, MachineConfig, Unlisted};
use talmirror::registries::{
    CRI_TOML, Endpoint, HostsToml, Mirror, Registries, TalosVersion, containerd_auth,
    containerd_auth_differences, hosts_path, read_containerd_auth,
};
use talmirror::secret::Secret;
use talmirror::talos::{
    Client, Config, DryRun, Instance, MACHINE_STATUS, Mode, NodeClient, Patience, Pending, TalosError,
};
use tonic::Code;

use crate::run::Place;
use crate::sim::{Cluster, Event, Fault, Kind, Options, RegistryAnswer, Step, What};

const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_mins(5);

fn start(control_planes: usize, workers: usize, version: &str) -> Cluster {
    Cluster::start(control_planes, workers, &[version], Options::default()).unwrap()
}

fn client(cluster: &Cluster, endpoints: &[String]) -> Client {
    let config = Config::parse(&cluster.talosconfig()).unwrap();
    let (name, context) = config.select(None).unwrap();
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    let patience = Patience { connect: Duration::from_secs(1), call: SHORT };
    Client::new(name, context, &endpoints, Box::new(|_| None), patience).unwrap()
}

fn node(cluster: &Cluster, name: &str) -> NodeClient {
    let address = cluster.node(name).address.clone();
    client(cluster, &cluster.endpoints()).node(&address.parse().unwrap())
}

/// The node's config with a mirror of Docker Hub, as text.
fn with_mirror(cluster: &Cluster, name: &str, url: &str, skip_fallback: bool) -> Secret<String> {
    let text = cluster.node(name).state().active.text.clone();
    let mut wanted = Registries::default();
    let mirror = Mirror { endpoints: vec![Endpoint::new(url, true)], skip_fallback };
    wanted.mirrors.insert("docker.io".to_owned(), mirror);
    let form = Form::Legacy;
    let replaced = MachineConfig::parse(&text).unwrap().replace(&wanted, form, Unlisted::Drop).unwrap();
    Secret::new(replaced.text)
}

fn active(cluster: &Cluster, name: &str) -> String {
    cluster.node(name).state().active.text.clone()
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    let kind = |event: &Event| match &event.what {
        What::Config { id, .. } => Some(*id),
        What::TryStarted { .. } => Some("try"),
        What::TryCancelled => Some("cancelled"),
        What::TryTimedOut { .. } => Some("timed out"),
        What::Booted => Some("booted"),
        _ => None,
    };
    events.iter().filter_map(kind).collect()
}

#[tokio::test]
async fn a_trial_ends_by_itself_or_is_committed() {
    let cluster = start(1, 1, "v1.13.9");
    let node = node(&cluster, "w-1");
    let (old, new) = (active(&cluster, "w-1"), with_mirror(&cluster, "w-1", "https://h/v2/p", false));
    let timeout = Duration::from_millis(300);
    node.apply(&new, Mode::Try { timeout }, DryRun::No).await.unwrap();
    assert_eq!(&active(&cluster, "w-1"), new.expose());
    // Nothing persists, and there is no id `persistent` since the node booted.
    assert!(node.persistent_config().await.unwrap().is_none());
    cluster.wait("the trial's end", |cluster| active(cluster, "w-1") == old);
    node.apply(&new, Mode::Try { timeout: LONG }, DryRun::No).await.unwrap();
    node.apply(&new, Mode::NoReboot, DryRun::No).await.unwrap();
    let want = ["try", "active", "timed out", "active", "try", "active", "cancelled", "persistent", "active"];
    assert_eq!(kinds(&cluster.events_of("w-1")), want);
    let (active, persistent) = (node.active_config().await.unwrap(), node.persistent_config().await.unwrap());
    assert_eq!(persistent.as_ref().map(|config| &config.text), Some(&active.text));
    assert_eq!(Pending::between(&active, persistent.as_ref()), Pending::Nothing);
}

/// Of the traps: any call but a trial ends a trial up to 1.13, dry or not, understood or not.
#[tokio::test]
async fn what_ends_a_trial_depends_on_the_version() {
    for (version, dry_ends, broken_ends) in [("v1.13.9", true, true), ("v1.14.1", false, false)] {
        let cluster = start(1, 0, version);
        let node = node(&cluster, "cp-1");
        let new = with_mirror(&cluster, "cp-1", "https://h/v2/p", false);
        let runs = || cluster.node("cp-1").state().trial.is_some();
        let trial = Mode::Try { timeout: LONG };
        node.apply(&new, trial, DryRun::No).await.unwrap();
        node.apply(&new, trial, DryRun::Yes).await.unwrap();
        assert!(runs(), "a dry trial ends no trial");
        node.apply(&new, Mode::NoReboot, DryRun::Yes).await.unwrap();
        assert_eq!(runs(), !dry_ends, "{version}");
        node.apply(&new, trial, DryRun::No).await.unwrap();
        let broken = Secret::from("machine: {registries: {mirror: {}}}");
        let error = node.apply(&broken, Mode::NoReboot, DryRun::No).await.unwrap_err();
        assert!(error.to_string().contains("unknown keys found during decoding"), "{error}");
        assert_eq!(runs(), !broken_ends, "{version}");
    }
}

#[tokio::test]
async fn a_second_trial_goes_back_to_the_first() {
    let cluster = start(1, 0, "v1.13.9");
    let node = node(&cluster, "cp-1");
    let first = with_mirror(&cluster, "cp-1", "https://first/v2/p", false);
    node.apply(&first, Mode::Try { timeout: LONG }, DryRun::No).await.unwrap();
    let second = with_mirror(&cluster, "cp-1", "https://second/v2/p", false);
    let timeout = Duration::from_millis(100);
    node.apply(&second, Mode::Try { timeout }, DryRun::No).await.unwrap();
    cluster.wait("the trial's end", |cluster| cluster.node("cp-1").state().trial.is_none());
    cluster.wait("the first trial's config", |cluster| &active(cluster, "cp-1") == first.expose());
}

#[tokio::test]
async fn versions_refuse_what_they_do_not_know() {
    let mirror = "---\napiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: docker.io\nendpoints: [{url: 'https://h'}]\n";
    let skip = "version: v1alpha1\nmachine: {registries: {mirrors: {docker.io: {endpoints: [], skipFallback: true}}}}\n";
    for (version, text, want) in [
        ("v1.11.6", mirror, Some("\"RegistryMirrorConfig\" \"v1alpha1\": not registered")),
        ("v1.12.7", mirror, None),
        ("v1.8.4", skip, Some("skipFallback")),
        ("v1.9.5", skip, None),
    ] {
        let cluster = start(1, 0, version);
        let text = if text == mirror { active(&cluster, "cp-1") + mirror } else { text.to_owned() };
        // A smaller config than before is a wider change, which is not what is asked for here.
        let answer = node(&cluster, "cp-1").apply(&Secret::new(text), Mode::Staged, DryRun::No).await;
        match want {
            None => drop(answer.unwrap()),
            Some(want) => {
                let error = answer.unwrap_err().to_string();
                assert!(error.contains("InvalidArgument") && error.contains(want), "{version}: {error}");
            }
        }
    }
    // A wider change needs a reboot up to 1.13; the diff with its secrets is not shown.
    for (version, refused) in [("v1.13.9", true), ("v1.14.1", false)] {
        let cluster = start(1, 0, version);
        let wider = active(&cluster, "cp-1")
            .replace("    token: s3cr3t-machine-token\n", "    token: s3cr3t-other\n");
        let answer = node(&cluster, "cp-1").apply(&Secret::new(wider), Mode::NoReboot, DryRun::No).await;
        assert_eq!(answer.is_err(), refused, "{version}");
        if let Err(error) = answer {
            assert!(error.to_string().ends_with("can't be applied in immediate mode"), "{error}");
        }
    }
}

#[tokio::test]
async fn what_is_rendered_is_what_we_would_render() {
    for version in ["v1.9.6", "v1.11.6", "v1.12.7", "v1.13.9", "v1.14.1"] {
        let cluster = start(1, 0, version);
        let node = node(&cluster, "cp-1");
        let text = active(&cluster, "cp-1");
        let registries = "    registries:\n        mirrors:\n            docker.io: {endpoints: ['https://h:5000/v2/p'], \
                          overridePath: true, skipFallback: true}\n        config:\n            h:5000: {auth: {username: \
                          u, password: s3cr3t-p}, tls: {ca: Y2E=}}\n";
        let new = text.replace(crate::sim::old_registries(), registries);
        assert_ne!(new, text);
        let new = Secret::new(new);
        node.apply(&new, Mode::NoReboot, DryRun::No).await.unwrap();
        cluster.wait("rendering", |cluster| {
            cluster.events().iter().any(|event| event.what == What::Rendered { wrong: false })
        });
        let parsed = MachineConfig::parse(new.expose()).unwrap();
        let wanted = parsed.registries(&mut talmirror::finding::Problems::new("", new.expose()));
        assert_eq!(node.registry_configs().await.unwrap().unwrap(), wanted, "{version}");
        let version: TalosVersion = version.parse().unwrap();
        let read = async |path: &str| {
            String::from_utf8(node.read(path).await.unwrap().unwrap().expose().clone()).unwrap()
        };
        let hosts = HostsToml::parse(&read(&hosts_path("docker.io")).await).unwrap();
        let expected = HostsToml::of(&wanted, "docker.io", &version, false).unwrap();
        assert!(expected.differences(&hosts).is_empty(), "{version}");
        let auth = read_containerd_auth(&read(CRI_TOML).await).unwrap();
        assert!(
            containerd_auth_differences(
                &auth,
                &containerd_auth(&wanted, &version),
                &std::collections::BTreeMap::default(),
                &auth
            )
            .is_empty()
        );
        // Only 1.14 restarts containerd for credentials.
        let restarts = cluster.events().iter().any(|event| matches!(event.what, What::Service { .. }));
        assert_eq!(restarts, version.reloads_auth(), "{version}");
    }
}

#[tokio::test]
async fn a_pull_tells_who_served() {
    for version in ["v1.11.6", "v1.13.9", "v1.14.1"] {
        let cluster = start(1, 1, version);
        let node = node(&cluster, "w-1");
        let url = format!("http://{}/v2/hub", cluster.mirror.address);
        let apply = async |skip: bool| {
            let config = with_mirror(&cluster, "w-1", &url, skip);
            node.apply(&config, Mode::NoReboot, DryRun::No).await.unwrap();
            cluster.wait("rendering", |cluster| {
                let mirror = cluster.node("w-1").state().registries.mirrors["docker.io"].clone();
                mirror.skip_fallback == skip && mirror.endpoints[0].url == url
            });
        };
        apply(false).await;
        let steps = Mutex::new(Vec::new());
        let progress = |step| steps.lock().unwrap().push(step);
        let pulled = node.pull("nginx:1.27", Instance::Cri, SHORT, &progress).await.unwrap();
        let image_service = version != "v1.11.6";
        assert_eq!(
            (pulled.name.is_some(), !steps.lock().unwrap().is_empty()),
            (image_service, image_service)
        );
        let hits = cluster.mirror.served();
        assert_eq!((hits.len(), hits[0].path.as_str()), (1, "/v2/hub/library/nginx/manifests/1.27"));
        assert_eq!(hits[0].ns.as_deref(), Some("docker.io"));
        // It is there, so that a second pull proves nothing; the other instance has not got it.
        node.pull("docker.io/library/nginx:1.27", Instance::Cri, SHORT, &|_| {}).await.unwrap();
        assert_eq!(cluster.mirror.hits().len(), 1);
        node.pull("nginx:1.27", Instance::System, SHORT, &|_| {}).await.unwrap();
        assert_eq!(cluster.mirror.hits().len(), 2);
        assert_eq!(node.images(Instance::Cri).await.unwrap().len(), 1);
        match node.remove_image("nginx:1.27", Instance::Cri).await {
            Ok(removed) => assert!(removed && image_service),
            Err(error) => assert_eq!((error.as_str(), image_service), ("unimplemented", false)),
        }
        // A mirror that does not serve is passed over, unless there is no falling back.
        cluster.mirror.answer(RegistryAnswer::Status(404));
        node.pull("nginx:1.28", Instance::Cri, SHORT, &|_| {}).await.unwrap();
        assert_eq!(cluster.upstream.served().len(), 1);
        apply(true).await;
        let error = node.pull("nginx:1.29", Instance::Cri, SHORT, &|_| {}).await.unwrap_err();
        assert!(
            error.to_string().starts_with("pulling nginx:1.29 failed (NotFound): error pulling image"),
            "{error}"
        );
        assert_eq!(cluster.upstream.served().len(), 1);
        // 200 and a web page is taken at its word; before 1.14 the node tries it again until the deadline.
        cluster.mirror.answer(RegistryAnswer::Html);
        let start = Instant::now();
        let deadline = Duration::from_millis(700);
        let error = node.pull("nginx:1.30", Instance::Cri, deadline, &|_| {}).await.unwrap_err();
        assert_eq!(error.as_str(), if version == "v1.14.1" { "failed" } else { "timeout" }, "{error}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn roles_and_routes_are_apids() {
    let cluster = start(1, 2, "v1.13.9");
    let worker = [cluster.endpoint("w-1")];
    let other = cluster.node("w-2").address.clone();
    // A worker passes nothing on; the node itself is tried then, which cannot be reached here.
    let error = client(&cluster, &worker).node(&other.parse().unwrap()).version().await.unwrap_err();
    assert!(matches!(error, TalosError::NoForwarding { .. }), "{error:?}");
    let own = client(&cluster, &[]).node(&worker[0].parse().unwrap());
    assert_eq!(own.version().await.unwrap().tag, "v1.13.9");
    assert_eq!(own.etcd().await.unwrap_err().as_str(), "unimplemented");
    let etcd = node(&cluster, "cp-1").etcd().await.unwrap();
    assert!(etcd.flaws().is_empty() && etcd.members.len() == 1, "{etcd:?}");
    cluster.fault("cp-1", Fault::new(Step::Etcd, Kind::Unhealthy));
    assert_eq!(node(&cluster, "cp-1").etcd().await.unwrap().flaws(), ["etcd has no leader"]);
    let reader = cluster.authority.client("os:reader", 0, 4_000_000_000);
    let config = Config::parse(&cluster.authority.talosconfig(&[], Some(&reader))).unwrap();
    let (name, context) = config.select(None).unwrap();
    let endpoints = [cluster.endpoint("cp-1").parse().unwrap()];
    let reader = Client::new(name, context, &endpoints, Box::new(|_| None), Patience::default()).unwrap();
    let reader = reader.node(&other.parse().unwrap());
    assert!(reader.version().await.is_ok());
    for error in [
        reader.active_config().await.unwrap_err(),
        reader.read("/etc/hosts").await.unwrap_err(),
        reader.registry_configs().await.unwrap_err(),
        reader.reboot().await.unwrap_err(),
    ] {
        assert_eq!(error.as_str(), "denied");
    }
}

#[tokio::test]
async fn a_reboot_forgets_a_trial_and_keeps_what_is_staged() {
    let cluster = start(1, 1, "v1.13.9");
    let node = node(&cluster, "w-1");
    let staged = with_mirror(&cluster, "w-1", "https://staged/v2/p", false);
    node.apply(&staged, Mode::Staged, DryRun::No).await.unwrap();
    let tried = with_mirror(&cluster, "w-1", "https://tried/v2/p", false);
    node.apply(&tried, Mode::Try { timeout: LONG }, DryRun::No).await.unwrap();
    node.reboot().await.unwrap();
    cluster.wait("the node going down", |cluster| cluster.node("w-1").state().down);
    assert_eq!(node.version().await.unwrap_err().as_str(), "unreachable");
    cluster.wait("the node's boot", |cluster| !cluster.node("w-1").state().down);
    assert_eq!(node.active_config().await.unwrap().text, staged);
    assert!(node.persistent_config().await.unwrap().is_none());
}

#[tokio::test]
async fn an_answer_may_be_lost_before_or_after_the_config_takes_effect() {
    for (kind, takes_effect) in [(Kind::DieBefore, false), (Kind::DieAfter, true), (Kind::Down, true)] {
        for through in [true, false] {
            let cluster = start(1, 1, "v1.13.9");
            let node = if through {
                node(&cluster, "w-1")
            } else {
                client(&cluster, &[]).node(&cluster.endpoint("w-1").parse().unwrap())
            };
            cluster.fault("w-1", Fault::once(Step::Commit, kind.clone()));
            let (old, new) = (active(&cluster, "w-1"), with_mirror(&cluster, "w-1", "https://h/v2/p", false));
            let error = node.apply(&new, Mode::NoReboot, DryRun::No).await.unwrap_err();
            assert_eq!(error.as_str(), if through { "unreachable" } else { "lost" }, "{error:?}");
            let now = active(&cluster, "w-1");
            assert_eq!(now == *new.expose(), takes_effect);
            assert_eq!(now == old, !takes_effect);
            assert_eq!(node.version().await.is_ok(), kind != Kind::Down, "{kind:?} {through}");
        }
    }
}

#[tokio::test]
async fn faults_strike_where_they_are_told_to() {
    let cluster = start(1, 1, "v1.13.9");
    let node = node(&cluster, "w-1");
    let fault = |text: &str| cluster.fault("w-1", text.parse().unwrap());
    let new = with_mirror(&cluster, "w-1", "https://h/v2/p", false);
    fault("try:rejectx1");
    let error = node.apply(&new, Mode::Try { timeout: LONG }, DryRun::No).await.unwrap_err();
    assert!(error.to_string().contains("InvalidArgument"), "{error}");
    node.apply(&new, Mode::Try { timeout: LONG }, DryRun::No).await.unwrap();
    fault("version:unreachablex2");
    assert_eq!(node.version().await.unwrap_err().as_str(), "unreachable");
    assert!(node.version().await.is_ok());
    fault("pull:not-foundx1");
    assert!(node.pull("nginx", Instance::Cri, SHORT, &|_| {}).await.is_err());
    fault("pull:hangx1");
    let deadline = Duration::from_millis(200);
    assert_eq!(node.pull("nginx", Instance::Cri, deadline, &|_| {}).await.unwrap_err().as_str(), "timeout");
    cluster.fault("w-1", Fault::once(Step::Services, Kind::Refuse(Code::Internal, "x".to_owned())).after(1));
    assert!(node.services().await.is_ok() && node.services().await.is_err() && node.services().await.is_ok());
    for (kind, wrong) in
        [("stale", true), ("missing", true), ("broken", true), ("wrong", true), ("late=0.1s", false)]
    {
        fault(&format!("render:{kind}x1"));
        let before = cluster.events().len();
        node.apply(&new, Mode::NoReboot, DryRun::No).await.unwrap();
        cluster.wait("rendering", |cluster| {
            cluster.events()[before..].iter().any(|event| event.what == What::Rendered { wrong })
        });
    }
    // One apply at a time, since 1.13.3.
    fault("apply:slow=0.4sx1");
    let (first, second) = tokio::join!(node.apply(&new, Mode::NoReboot, DryRun::No), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.apply(&new, Mode::NoReboot, DryRun::No).await
    });
    assert!(first.is_ok());
    assert!(second.unwrap_err().to_string().contains("already in progress"));
    // A call that is held goes on when it is let.
    cluster.fault("w-1", Fault::once(Step::Version, Kind::Hold));
    let (held, ()) = tokio::join!(node.version(), async {
        while !cluster
            .events()
            .iter()
            .any(|event| matches!(&event.what, What::Fault { kind, .. } if kind == "Hold"))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.release();
    });
    assert!(held.is_ok());
}

/// What the example writes is what the commands that it prints need.
#[test]
fn the_binary_runs_on_what_the_cluster_writes() {
    let cluster = Cluster::start(3, 2, &["v1.13.9", "v1.14.1", "v1.11.6"], Options::default()).unwrap();
    let place = Place::new();
    place.write("mirrors.yaml", cluster.inventory()).write("talosconfig", cluster.talosconfig());
    place.run("validate --deny warnings").ok();
    let nodes = place.run("nodes -q --talosconfig talosconfig").ok();
    assert!(nodes.lines().skip(1).map(|line| line.split(' ').next().unwrap()).eq(cluster.names()), "{nodes}");
    let diff = place.run("diff --talosconfig talosconfig").ends(1);
    assert!(diff.stdout.contains("auth 127.0.0.1:") && diff.stderr.contains("5 to change"), "{diff}");
    // A node is reached at its own port as well.
    let own = format!("nodes -q --talosconfig talosconfig -n {}", cluster.endpoint("w-2"));
    assert!(place.run(&own).ok().contains("v1.14.1"));
    // Nothing but reading was done.
    let applied =
        cluster.events().into_iter().any(|event| matches!(event.what, What::Call { apply: Some(_), .. }));
    assert!(!applied);
}

/// A trial goes on while the node cannot be reached.
#[tokio::test]
async fn a_node_that_is_cut_off_ends_its_trial_by_itself() {
    let cluster = start(1, 1, "v1.13.9");
    let node = node(&cluster, "w-1");
    let (old, new) = (active(&cluster, "w-1"), with_mirror(&cluster, "w-1", "https://h/v2/p", false));
    cluster.fault("w-1", Fault::once(Step::Try, Kind::Down));
    let trial = Mode::Try { timeout: Duration::from_millis(200) };
    assert!(node.apply(&new, trial, DryRun::No).await.is_err());
    assert_eq!(&active(&cluster, "w-1"), new.expose());
    cluster.wait("the trial's end", |cluster| active(cluster, "w-1") == old);
    assert_eq!(node.version().await.unwrap_err().as_str(), "unreachable");
    cluster.node("w-1").come_back();
    assert_eq!(node.active_config().await.unwrap().text.expose(), &old);
    // Not ready, until the fault is cleared.
    cluster.fault("w-1", Fault::new(Step::Resource, Kind::Unhealthy));
    let status = async || node.resource(MACHINE_STATUS).await.unwrap().unwrap().machine_status().unwrap();
    assert!(!status().await.ready);
    assert!(!status().await.ready);
    cluster.clear_faults();
    assert!(status().await.ready);
}
