//! What is easily got wrong about Talos, one test each.

use std::time::Duration;

use tonic::Code;

use super::{ORDER, Site, last, options, outcome};
use crate::sim::{Cluster, Event, Fault, Kind, RegistryAnswer, Step, What};

fn modes(site: &Site, name: &str) -> Vec<String> {
    site.applies(name).into_iter().map(|apply| apply.mode).collect()
}

/// Modes are always set and never reboot, nothing is dry while a trial runs, each trial goes back to the original.
#[test]
fn a_rollout_tries_verifies_and_commits() {
    let site = Site::standard();
    let ran = site.rollout("");
    assert_eq!((ran.code, outcome(&ran)), (0, "5 nodes updated"), "{ran}");
    site.check_applies();
    for name in ORDER {
        assert!(site.is_new(name), "{name}");
        assert_eq!(modes(&site, name), ["TRY", "NO_REBOOT"]);
    }
    // One node after another, in the order of the plan.
    let events = site.cluster.events();
    let applies = |event: &&Event| matches!(&event.what, What::Call { apply: Some(_), .. });
    let mut order: Vec<&str> = events.iter().filter(applies).map(|event| event.node.as_str()).collect();
    order.dedup();
    assert_eq!(order, ORDER);
    let again = site.rollout("");
    assert_eq!((again.code, outcome(&again)), (0, "nothing to do: all 5 nodes are as the inventory has it"));
}

#[test]
fn every_version_takes_its_form() {
    for version in ["v1.8.4", "v1.9.5", "v1.10.0", "v1.11.6", "v1.12.1", "v1.12.7", "v1.13.9", "v1.14.1"] {
        let site = Site::new(1, 0, &[version]);
        let ran = site.rollout("");
        assert_eq!(ran.code, 0, "{version}: {ran}");
        assert!(site.is_new("cp-1"), "{version}");
        let documents = site.new["cp-1"].contains("kind: RegistryMirrorConfig");
        assert_eq!(
            documents,
            version >= "v1.12" && !version.starts_with("v1.8") && !version.starts_with("v1.9")
        );
        let back = site.place.run("rollback --yes --settle 1500ms").ran();
        assert_eq!((back.code, last(&back)), (0, "cp-1 back to the old config"), "{version}: {back}");
        assert!(site.is_old("cp-1"), "{version}");
    }
}

#[test]
fn a_mirror_that_does_not_serve_is_not_covered_by_the_fallback() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.mirror.answer(RegistryAnswer::Status(404));
    let ran = site.rollout("");
    assert_eq!(ran.code, 6, "{ran}");
    assert!(last(&ran).contains("pulling registry.k8s.io/pause:3.10 failed"), "{ran}");
    assert!(site.is_old("cp-1") && site.cluster.upstream.hits().is_empty());
    // Where that is not required, the upstream's answer is enough.
    let cluster = Cluster::start(1, 0, &["v1.13.9"], options()).unwrap();
    cluster.mirror.answer(RegistryAnswer::Status(404));
    let site = Site::of(cluster, "");
    let inventory = site.place.read("mirrors.yaml");
    let lenient = inventory.replace("verify:\n", "verify:\n    requireMirrorHit: false\n");
    site.place.write("mirrors.yaml", lenient);
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(modes(&site, "cp-1"), ["TRY", "NO_REBOOT"]);
}

#[test]
fn an_image_that_is_there_already_proves_nothing() {
    let had = |site: &Site| {
        for instance in ["system", "cri"] {
            let image = ("registry.k8s.io/pause:3.10".to_owned(), "sha256:0".to_owned());
            site.cluster.node("cp-1").state().images.entry(instance).or_default().push(image);
        }
    };
    let site = Site::new(1, 0, &["v1.13.9"]);
    had(&site);
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    let events = site.cluster.events_of("cp-1");
    let pulled = |event: &Event| matches!(&event.what, What::Pull { had: false, served: Some(_), .. });
    assert_eq!(events.iter().filter(|event| pulled(event)).count(), 2, "{events:#?}");
    assert_eq!(events.iter().filter(|event| matches!(event.what, What::Removed { .. })).count(), 2);
    let site = Site::new(1, 0, &["v1.12.7"]);
    had(&site);
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("is there already (cri): its pull proves nothing"), "{ran}");
    assert!(
        last(&ran).starts_with("cp-1 updated, not proven. cp-1: registry.k8s.io/pause:3.10 is there"),
        "{ran}"
    );
}

#[test]
fn a_staged_config_is_not_destroyed() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let staged = site.old["w-1"].replace("https://registry-1.docker.io", "https://staged.example");
    {
        let node = site.cluster.node("w-1");
        let mut state = node.state();
        state.persistent = Some(crate::sim::Text::new(&staged));
        state.disk = staged;
    }
    let ran = site.rollout("");
    assert_eq!((ran.code, last(&ran).starts_with("no node was touched, because of w-1")), (8, true), "{ran}");
    assert!(ran.stderr.contains("warning: w-1: another config is staged for the next boot"), "{ran}");
    assert!(ran.stderr.contains("https://staged.example → https://registry-1.docker.io"), "{ran}");
    assert!(site.applies("w-1").is_empty() && site.applies("cp-1").is_empty());
    // The other one can be worked on anyway.
    assert_eq!(site.rollout("-n cp-1").code, 0);
}

/// Up to Talos 1.13 a commit that is refused has ended the trial's clock: only the old config, sent again, ends it.
#[test]
fn a_refused_commit_leaves_no_trial_behind() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.fault("cp-1", Fault::once(Step::Commit, Kind::Reject));
    let ran = site.rollout("");
    assert_eq!(ran.code, 6, "{ran}");
    assert_eq!(modes(&site, "cp-1"), ["TRY", "NO_REBOOT", "NO_REBOOT"]);
    assert!(site.is_old("cp-1") && site.cluster.node("cp-1").state().trial.is_none());
}

/// A trial that ends before Talos has rendered its config is told as one, and not as a config that is rendered wrongly.
#[test]
fn a_trial_that_ends_before_its_time_is_told_as_one() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    site.cluster.fault("w-1", Fault::new(Step::Render, Kind::Slow(Duration::from_mins(5))));
    let child = super::interrupts::run(&site, &super::line("-n w-1"));
    // The trial is read back before it ends.
    super::interrupts::until("the trial", || {
        let events = site.cluster.events_of("w-1");
        let is_apply = |event: &Event| matches!(&event.what, What::Call { apply: Some(_), .. });
        let is_read = |event: &Event| matches!(&event.what, What::Call { method: "Read", .. });
        // What is rendered is read only once the config was seen to run.
        events.iter().skip_while(|event| !is_apply(event)).any(is_read)
    });
    site.cluster.node("w-1").end_trial();
    let (output, text) = super::interrupts::end(child);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(
        text.contains("w-1: the trial ended before its time: the node rebooted, or its time was up"),
        "{text}"
    );
    assert!(site.is_old("w-1"), "{text}");
}

/// What Talos makes of the desired config is seen after its commit: wrong, it is not kept.
#[test]
fn a_commit_that_is_rendered_wrongly_is_taken_back() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    // The strict variant is rendered well, what is committed is not.
    site.cluster.fault("w-1", Fault::once(Step::Render, Kind::Wrong).after(1));
    let ran = site.rollout("");
    assert_eq!(ran.code, 6, "{ran}");
    assert_eq!(modes(&site, "w-1"), ["TRY", "NO_REBOOT", "NO_REBOOT"]);
    assert!(site.is_old("w-1") && site.applies("cp-1").is_empty(), "{ran}");
    assert!(last(&ran).contains("w-1: hosts.toml of "), "{ran}");
    assert_eq!(site.rollout("--resume").code, 0);
}

#[test]
fn one_apply_at_a_time() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    let busy = "another apply configuration is already in progress";
    let busy = Kind::Refuse(Code::FailedPrecondition, busy.to_owned());
    site.cluster.fault("cp-1", Fault { times: Some(2), ..Fault::new(Step::Try, busy) });
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    site.check_applies();
}

/// A config that is staged during a trial is on disk only, and what we would send would replace it.
#[test]
fn a_config_staged_during_a_trial_is_not_destroyed() {
    for (step, kind) in [(Step::Pull, Kind::Slow(Duration::from_millis(1500))), (Step::Render, Kind::Stale)] {
        let site = Site::new(1, 0, &["v1.13.9"]);
        site.cluster.fault("cp-1", Fault::new(step, kind.clone()));
        let staged = site.old["cp-1"].clone() + "# staged\n";
        let ran = std::thread::scope(|scope| {
            let ran = scope.spawn(|| site.rollout(""));
            site.cluster.wait("the trial", |cluster| cluster.node("cp-1").state().trial.is_some());
            let node = site.cluster.node("cp-1");
            let mut state = node.state();
            state.persistent = Some(crate::sim::Text::new(&staged));
            (state.disk, state.trial) = (staged.clone(), None);
            drop(state);
            ran.join().unwrap()
        });
        assert_eq!(ran.code, 7, "{kind:?}: {ran}");
        assert!(
            ran.stderr.contains("boots with what another operator or tool has staged"),
            "{kind:?}: {ran}"
        );
        assert_eq!(site.has("cp-1").1, staged, "{kind:?}: {ran}");
    }
}

/// The strict variant of a config with fallback is, byte for byte, the one without that the node has.
#[test]
fn a_fallback_comes_back() {
    let cluster = Cluster::start(1, 0, &["v1.13.9"], options()).unwrap();
    let site = Site::of(cluster, "");
    let inventory = site.place.read("mirrors.yaml");
    let never = inventory.replace("{via: [mirror]}", "{via: [mirror], fallback: never}");
    let always = inventory.replace("{via: [mirror]}", "{via: [mirror], fallback: upstream}");
    site.place.write("mirrors.yaml", never);
    assert_eq!(site.rollout("").code, 0);
    let strict = site.has("cp-1").0;
    assert!(strict.contains("skipFallback: true"), "{strict}");
    site.place.write("mirrors.yaml", &always);
    // A mirror that does not serve is found out before anything is sent.
    let before = site.applies("cp-1").len();
    site.cluster.mirror.answer(RegistryAnswer::Status(404));
    let ran = site.rollout("");
    assert_eq!((ran.code, site.applies("cp-1").len()), (8, before), "{ran}");
    site.cluster.mirror.answer(RegistryAnswer::All);
    let ran = site.rollout("");
    assert_eq!((ran.code, outcome(&ran)), (0, "cp-1 updated"), "{ran}");
    assert_eq!(modes(&site, "cp-1")[before..], ["TRY", "NO_REBOOT"]);
    assert!(!site.has("cp-1").1.contains("skipFallback: true"));
}

#[test]
fn what_is_not_proven_is_not_claimed() {
    // Nothing mirrors the image's registry.
    let site = Site::new(1, 0, &["v1.13.9"]);
    let inventory = site.place.read("mirrors.yaml").replace(", registry.k8s.io: {}", "");
    site.place.write("mirrors.yaml", inventory);
    let ran = site.rollout("");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        last(&ran).starts_with(
            "cp-1 updated, not proven. cp-1: registry.k8s.io/pause:3.10 comes from its upstream"
        ),
        "{ran}"
    );
    assert!(
        ran.stdout.contains("! cp-1: not proven: registry.k8s.io/pause:3.10 comes from its upstream"),
        "{ran}"
    );
    assert!(ran.stdout.contains("no image of verify.images goes through docker.io, ghcr.io"), "{ran}");
}

/// A node that reboots during a trial has its old config, and the trial must not be committed on top of it.
#[test]
fn a_reboot_ends_a_trial() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.fault("cp-1", Fault::once(Step::Pull, Kind::Hold));
    let child = super::interrupts::run(&site, &super::line(""));
    super::interrupts::until("the pull", || {
        let events = site.cluster.events_of("cp-1");
        events.iter().any(|event| format!("{event:?}").contains("Pull"))
    });
    // The boot ends the trial, and the pull with it.
    let boots = site.cluster.node("cp-1").state().boots;
    site.cluster.node("cp-1").reboot();
    site.cluster.wait("the boot", |cluster| cluster.node("cp-1").state().boots > boots);
    site.cluster.release();
    let (output, text) = super::interrupts::end(child);
    assert!([Some(6), Some(7)].contains(&output.status.code()), "{text}");
    assert!(site.is_old("cp-1"), "{text}");
    assert_eq!(site.rollout("--resume").code, 0);
}

/// A node that has booted again is told as one that did, and not as one whose trial was over before its time.
#[test]
fn a_reboot_during_a_trial_is_told_as_a_reboot() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.cluster.fault("cp-1", Fault::once(Step::Pull, Kind::Upgrade("v1.13.9".to_owned())));
    let ran = site.rollout("");
    assert_eq!(ran.code, 6, "{ran}");
    assert!(last(&ran).contains("cp-1: the node has rebooted in the middle of it"), "{ran}");
    assert!(!ran.to_string().contains("or its time was up"), "{ran}");
    assert!(site.is_old("cp-1"), "{ran}");
    assert_eq!(site.rollout("--resume").code, 0);
}

/// A trial of another operator on top of ours is told for what it is, with what the node falls back to.
#[test]
fn a_trial_of_another_operator_is_told_with_what_the_node_falls_back_to() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    // It shows what is on its disk once something was applied for good.
    site.set("cp-1", &site.old["cp-1"]);
    site.cluster.fault("cp-1", Fault::new(Step::Pull, Kind::Slow(Duration::from_millis(400))));
    let other = site.old["cp-1"].replace("registry-1.docker.io", "other.example");
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| site.rollout(""));
        site.cluster.wait("the trial", |cluster| {
            let node = cluster.node("cp-1");
            let state = node.state();
            // Its timer runs before the config is there.
            state.trial.is_some() && state.active.text != site.old["cp-1"]
        });
        // Its timer goes back to what ran before: to what we have on trial.
        let node = site.cluster.node("cp-1");
        let mut state = node.state();
        let ours = state.active.text.clone();
        state.trials += 1;
        state.trial = Some(crate::sim::Trial { back: ours, number: state.trials });
        state.active.set(&other);
        drop(state);
        ran.join().unwrap()
    });
    assert_eq!(ran.code, 7, "{ran}");
    assert!(last(&ran).contains("has put another config on trial meanwhile; it is left alone"), "{ran}");
    assert!(
        ran.stderr.contains(
            "when the time of the other operator's or tool's trial is up, it goes back to what was on trial here before"
        ),
        "{ran}"
    );
    assert!(
        ran.stderr.contains("against what it falls back to, the other operator's or tool's config has: "),
        "{ran}"
    );
    assert!(ran.stderr.contains("other.example"), "{ran}");
    assert_eq!(site.has("cp-1").0, other, "{ran}");
    // Until its time is up, `nodes` shows it, and a resumed rollout leaves it alone.
    let nodes = site.place.run("nodes").ran();
    assert!(nodes.stdout.contains(" trial ") && nodes.stderr.contains("other.example"), "{nodes}");
    let waits = site.rollout("--resume");
    assert!(waits.code == 7 && waits.stderr.contains("tool's trial is up, it goes back to"), "{waits}");
    site.cluster.node("cp-1").end_trial();
    site.cluster.clear_faults();
    let resumed = site.rollout("--resume");
    assert!(resumed.stdout.contains("cp-1 was left in between: its old config is sent again"), "{resumed}");
    assert!(resumed.code == 0 && site.is_new("cp-1"), "{resumed}");
}

/// What another operator applies in the middle of it is not overwritten, whether what we do would go well or not.
#[test]
fn another_hand_is_left_alone() {
    for (step, kind) in [(Step::Pull, Kind::Slow(Duration::from_millis(400))), (Step::Render, Kind::Stale)] {
        let site = Site::new(1, 0, &["v1.13.9"]);
        site.cluster.fault("cp-1", Fault::new(step, kind.clone()));
        // It has what the inventory gives, or what was there before, and more.
        let is_new = kind != Kind::Stale;
        let registries = if is_new { &site.new } else { &site.old };
        let other = registries["cp-1"].clone() + "# another operator's\n";
        let ran = std::thread::scope(|scope| {
            let ran = scope.spawn(|| site.rollout(""));
            site.cluster.wait("the trial", |cluster| cluster.node("cp-1").state().trial.is_some());
            site.set("cp-1", &other);
            ran.join().unwrap()
        });
        assert_eq!(ran.code, 7, "{kind:?}: {ran}");
        assert!(ran.stderr.contains("it keeps what another operator or tool has applied"), "{kind:?}: {ran}");
        assert_eq!(site.has("cp-1"), (other.clone(), other), "{kind:?}: {ran}");
        // It is the node's own config by now: what is named next works, and keeps what the other one has changed.
        assert!(super::last(&ran).contains("then: talmirror rollout --resume"), "{ran}");
        site.cluster.clear_faults();
        let resumed = site.rollout("--resume");
        let done = if is_new { "nothing to do: the node is as the inventory has it" } else { "cp-1 updated" };
        assert_eq!((resumed.code, super::outcome(&resumed)), (0, done), "{kind:?}: {resumed}");
        assert!(
            resumed.stderr.contains("note: another operator or tool has applied another config"),
            "{resumed}"
        );
        assert!(site.has("cp-1").1.contains("# another operator's\n"), "{resumed}");
    }
}

/// Before Talos 1.10 a node hides whether what another operator has applied is on trial: what is named next works there, too.
#[test]
fn another_hand_on_a_talos_that_hides_its_disk_is_no_dead_end() {
    let site = Site::new(1, 0, &["v1.9.5"]);
    site.cluster.fault("cp-1", Fault::new(Step::Pull, Kind::Slow(Duration::from_millis(400))));
    let other = site.old["cp-1"].clone() + "# another operator's\n";
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| site.rollout(""));
        site.cluster.wait("the trial", |cluster| cluster.node("cp-1").state().trial.is_some());
        site.set("cp-1", &other);
        ran.join().unwrap()
    });
    assert_eq!(ran.code, 7, "{ran}");
    site.cluster.clear_faults();
    let resumed = site.rollout("--resume");
    assert_eq!((resumed.code, site.has("cp-1").1), (7, other), "{resumed}");
    assert!(super::last(&resumed).contains("look at cp-1, then: talmirror rollout -n cp-1"), "{resumed}");
    let plain = site.rollout("-n cp-1");
    assert_eq!((plain.code, super::outcome(&plain)), (0, "cp-1 updated"), "{plain}");
}

#[test]
fn credentials_before_1_14_want_a_reboot() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let plan = site.place.run("rollout --dry-run --reboot if-needed").ends(1);
    assert!(
        plan.stdout.contains("the node is rebooted after the commit; cordon and drain it first"),
        "{plan}"
    );
    let before = site.cluster.node("w-1").state().boots;
    let ran = site.rollout("--reboot if-needed -n w-1");
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(site.cluster.node("w-1").state().boots, before + 1);
    assert!(site.is_new("w-1"));
    let site = Site::new(1, 0, &["v1.14.1"]);
    let before = site.cluster.node("cp-1").state().boots;
    let ran = site.rollout("--reboot if-needed");
    assert_eq!((ran.code, site.cluster.node("cp-1").state().boots), (0, before), "{ran}");
    assert!(ran.stdout.contains("new credentials restart containerd"), "{ran}");
}

/// A node that does not reboot keeps what was committed and verified, and is not done: the resume sees to it.
#[test]
fn a_reboot_that_does_not_come_is_not_forgotten() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    let before = site.cluster.node("w-1").state().boots;
    site.cluster
        .fault("w-1", Fault::new(Step::Reboot, Kind::Refuse(Code::PermissionDenied, "no".to_owned())));
    let ran = site.rollout("--reboot if-needed --canary w-1");
    assert_eq!(ran.code, 8, "{ran}");
    assert!(
        last(&ran).starts_with("w-1 updated, not rebooted; cp-1 untouched. w-1: it has the new config"),
        "{ran}"
    );
    assert!(site.is_new("w-1") && site.cluster.node("w-1").state().boots == before);
    let again = site.rollout("--resume --reboot if-needed");
    assert_eq!((again.code, last(&again).contains("w-1 updated, not rebooted")), (8, true), "{again}");
    site.cluster.clear_faults();
    let resumed = site.rollout("--resume --reboot if-needed");
    assert_eq!(resumed.code, 0, "{resumed}");
    assert_eq!(site.cluster.node("w-1").state().boots, before + 1, "{resumed}");
    assert!(site.is_new("cp-1"), "{resumed}");
}

#[test]
fn the_plan_shows_what_is_done_and_to_whom() {
    let site = Site::new(2, 3, &["v1.13.9", "v1.11.6"]);
    let mirror = site.cluster.mirror.address.to_string();
    let plan = site.place.run("rollout --dry-run --canary w-2 --max-parallel 2").ends(1);
    insta::assert_snapshot!(plan.to_string().replace(&mirror, "MIRROR"), @r"
    5 nodes of 5 to change; a trial lasts 300 s; stops after 1 failure
    WAVE   STAGE          NODE   ROLE           VERSION   CHANGES
    1      canary         w-2    worker         v1.11.6   ~ 1 changed, + 3 added
    2      workers        w-1    worker         v1.13.9   ~ 1 changed, + 3 added
    2      workers        w-3    worker         v1.13.9   ~ 1 changed, + 3 added
    3      controlplane   cp-1   controlplane   v1.13.9   ~ 1 changed, + 3 added
    4      controlplane   cp-2   controlplane   v1.11.6   ~ 1 changed, + 3 added
    cp-1, cp-2, w-1, w-2, w-3
      ~ docker.io  endpoints[0]  https://registry-1.docker.io → http://MIRROR/v2/docker.io, endpoints[0].overridePath  (none) → true
      + ghcr.io  endpoints[0] http://MIRROR/v2/ghcr.io, endpoints[0].overridePath true
      + registry.k8s.io  endpoints[0] http://MIRROR/v2/registry.k8s.io, endpoints[0].overridePath true
      + auth MIRROR  username robot$talos, password <redacted>
    ! cp-1, cp-2, w-1, w-2, w-3: credentials reach pods' pulls only after a reboot
    ! cp-1, w-1, w-3: removed and pulled again where it is there already: registry.k8s.io/pause:3.10
    ! cp-1, cp-2, w-1, w-2, w-3: no image of verify.images goes through docker.io, ghcr.io: that they serve is not proven
    ! cp-2, w-2: this Talos removes no images: one that is there already proves nothing
    --- stderr
    next: talmirror rollout --canary w-2 --max-parallel 2
    --- exit 1
    ");
    let json = site.place.run("rollout --dry-run -o json --role worker --match=-[12]$").ends(1);
    let (plan, end) = json.stdout.trim_end().split_once('\n').unwrap();
    let json: serde_json::Value = serde_json::from_str(plan).unwrap();
    assert!(end.contains("\"event\":\"end\"") && end.contains("\"exitCode\":1"), "{end}");
    assert_eq!(json["waves"][0], serde_json::json!({"stage": "canary", "nodes": ["w-1"]}));
    assert_eq!(json["nodes"].as_array().unwrap().len(), 2);
    let asked = site.place.run("rollout").ends(2);
    assert!(asked.stderr.contains("--yes carries the plan out without asking"), "{asked}");
    for name in site.cluster.names() {
        assert!(site.applies(&name).is_empty());
    }
}

#[test]
fn workers_go_together_and_events_are_lines() {
    let site = Site::new(1, 3, &["v1.13.9"]);
    let ran = site.rollout("--max-parallel 2 --canary w-1 -o json");
    assert_eq!(ran.code, 0, "{ran}");
    let events: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "plan");
    assert_eq!(events[0]["waves"][1]["nodes"], serde_json::json!(["w-2", "w-3"]));
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["exitCode"]), (&"end".into(), &0.into()));
    assert_eq!(end["nodes"].as_array().unwrap().len(), 4);
    assert!(events.iter().any(|event| event["event"] == "ends" && event["step"] == "commit"));
}

#[test]
fn failures_up_to_a_number_do_not_stop_it() {
    let site = Site::standard();
    site.cluster.fault("w-1", Fault::new(Step::Render, Kind::Stale));
    let ran = site.rollout("--max-failures 1 --canary w-1");
    assert_eq!(ran.code, 6, "{ran}");
    assert!(last(&ran).starts_with("4 nodes updated; w-1 back to the old config. w-1: "), "{ran}");
    assert!(site.is_old("w-1") && ORDER[1..].iter().all(|name| site.is_new(name)));
}

#[test]
fn a_rollback_puts_back_what_a_rollout_changed_and_nothing_else() {
    let site = Site::standard();
    assert_eq!(site.rollout("").code, 0);
    // An operator has changed one since.
    site.set("w-2", &(site.new["w-2"].clone() + "# since\n"));
    let one = site.place.run("rollback --yes --settle 1500ms -n cp-3").ran();
    assert_eq!((one.code, last(&one)), (0, "cp-3 back to the old config"), "{one}");
    assert!(site.is_old("cp-3") && site.is_new("cp-2"));
    let all = site.place.run("rollback --yes --settle 1500ms").ran();
    assert_eq!(all.code, 8, "{all}");
    assert!(
        last(&all).starts_with("cp-3 unchanged; cp-2, cp-1, w-1 back to the old config; w-2 untouched"),
        "{all}"
    );
    assert!(
        last(&all).ends_with("Next: fix the cause, then: talmirror rollback -n w-2 --settle 1500ms"),
        "{all}"
    );
    assert!(all.stderr.contains("it was changed since"), "{all}");
    assert!(site.is_old("w-1"));
    assert!(
        site.place.run("rollback --yes -n w-9").ends(2).stderr.contains("did not change the config of `w-9`")
    );
    site.place.run("rollback --yes --journal gone").ends(3);
}

#[test]
fn originals_are_encrypted_for_those_who_may_read_the_inventory() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    let keys = std::fs::read(crate::run::repository("tests/vectors/sops/keys.txt")).unwrap();
    site.place.write("keys.txt", keys);
    let age = "age1g5ysx9zvguw9lnrda3uqewfpufyhae22nge2udx75mfjckejhcvsmsz0fl";
    site.place.write(".sops.yaml", format!("creation_rules: [{{age: {age}}}]\n"));
    // Without a key there would be no way back.
    let none = site.rollout("");
    assert_eq!(none.code, 4, "{none}");
    assert!(none.stderr.contains("no key for that is at hand"), "{none}");
    assert!(site.applies("cp-1").is_empty());
    let ran = site.rollout("--journal j --age-key-file keys.txt");
    assert_eq!(ran.code, 0, "{ran}");
    assert!(!ran.stderr.contains("in clear"), "{ran}");
    for name in site.place.files().iter().filter(|name| name.starts_with("j/")) {
        assert!(!site.place.read(name).contains("s3cr3t-"), "{name}");
    }
    let back = site.place.run("rollback --yes --settle 1500ms --journal j --age-key-file keys.txt").ran();
    assert_eq!(back.code, 0, "{back}");
    assert!(site.is_old("cp-1"));
    let taken = site.place.run("rollout --yes --journal j").ends(2);
    assert!(taken.stderr.contains("holds the journal of another rollout"), "{taken}");
}

/// That a node is ill may be what its rollback is for.
#[test]
fn an_ill_node_is_rolled_back() {
    let site = Site::new(1, 1, &["v1.13.9"]);
    assert_eq!(site.rollout("").code, 0);
    for name in ["w-1", "cp-1"] {
        site.cluster.fault(name, Fault::new(Step::Resource, Kind::Unhealthy));
    }
    let back = site.place.run("rollback --yes --settle 500ms").ran();
    assert_eq!((back.code, last(&back)), (0, "cp-1, w-1 back to the old config"), "{back}");
    assert!(back.stderr.contains("the old config is sent anyway"), "{back}");
    assert!(site.is_old("w-1") && site.is_old("cp-1"));
}

/// A second attempt that fails leaves the config of the first: the rollout's own, too.
#[test]
fn a_rollback_knows_the_configs_of_every_attempt() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    assert_eq!(site.rollout("--journal j").code, 0);
    site.place.write("mirrors.yaml", site.place.read("mirrors.yaml").replace("ghcr.io: {}, ", ""));
    site.cluster.fault("cp-1", Fault::new(Step::Render, Kind::Stale));
    let second = site.rollout("--resume --journal j");
    assert_eq!(second.code, 6, "{second}");
    assert!(site.is_new("cp-1"));
    site.cluster.clear_faults();
    let back = site.place.run("rollback --yes --settle 1500ms --journal j").ran();
    assert_eq!((back.code, last(&back)), (0, "cp-1 back to the old config"), "{back}");
    assert!(site.is_old("cp-1"));
}

#[test]
fn the_journal_of_another_cluster_is_refused() {
    let site = Site::new(1, 0, &["v1.13.9"]);
    site.place.write("other.yaml", site.place.read("mirrors.yaml"));
    site.cluster.fault("cp-1", Fault::new(Step::Render, Kind::Stale));
    let ran = site.rollout("-f other.yaml --journal j");
    assert_eq!(ran.code, 6, "{ran}");
    let next = format!("talmirror rollout --resume -f other.yaml --journal j {}", super::TIMES);
    assert!(last(&ran).ends_with(&next), "{ran}");
    site.cluster.clear_faults();
    let applies = site.applies("cp-1").len();
    // The authority is another, and neither machines nor configs prove that the cluster is the same.
    let mut text = site.place.read("j/journal.ndjson");
    for key in ["cluster", "before", "strict", "wanted", "machine"] {
        let key = format!("\"{key}\":\"");
        assert!(text.contains(&key), "{key}");
        text = text
            .split(&key)
            .enumerate()
            .map(|(at, part)| if at == 0 { part.to_owned() } else { format!("{key}0123{}", &part[4..]) })
            .collect();
    }
    site.place.write("j/journal.ndjson", text);
    for line in [super::line("--resume --journal j"), "rollback --yes --journal j".to_owned()] {
        let refused = site.place.run(&line).ends(2);
        assert!(refused.stderr.contains("is of another cluster"), "{refused}");
    }
    assert_eq!(site.applies("cp-1").len(), applies);
}

/// A trial that is over before the node may have rendered could only fail.
#[test]
fn a_trial_is_longer_than_what_a_node_may_take() {
    let site = Site::standard();
    let short = site.place.run("rollout --yes --try-timeout 30s").ends(2);
    assert!(short.stderr.contains("a trial of 30 s ends before a node has had its 60 s"), "{short}");
    assert!(short.stderr.contains("help: a longer --try-timeout"), "{short}");
    assert!(site.applies("w-1").is_empty());
}
