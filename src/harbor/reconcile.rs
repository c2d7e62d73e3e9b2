use super::actual::{Actual, Kept, Project, Registry, RetentionPolicy};
use super::change::{Change, RegistryField};
use super::desired::{Desired, MARK, WantedProject};
use super::plan::{Notice, Options, Plan, Weight};
use super::robot;
use crate::inventory::Retention;

/// How long Harbor keeps what a new proxy project holds.
const DEFAULT_RETENTION: Retention = Retention::Days(7);

/// Returns what has to happen for a Harbor to be as it should.
///
/// What is not ours is used as it is where it fits, and never changed unless [`Options::adopt`] says so; nothing is deleted
/// unless [`Options::prune`] does.
pub fn reconcile(desired: &Desired, actual: &Actual, options: &Options) -> Plan {
    let mut work = Reconciler { desired, actual, options, plan: Plan::default(), short_lived: Vec::new() };
    work.system();
    for wanted in desired.projects.iter().filter(|wanted| !options.given_up.contains(&wanted.project)) {
        work.registry_and_project(wanted);
    }
    work.gc();
    work.tell_short_lived();
    robot::reconcile(desired, actual, options, &mut work.plan);
    work.leftovers();
    let mut plan = work.plan;
    plan.changes.sort_by_key(order);
    plan.notices.sort_by_key(|notice| notice.weight);
    plan
}

/// Registries come before the projects that use them, projects before the robot that pulls from them; deletions go the
/// other way round, and last.
fn order(change: &Change) -> u8 {
    match change {
        Change::CreateRegistry { .. } | Change::UpdateRegistry { .. } => 0,
        Change::CreateProject { .. } | Change::UpdateProject { .. } => 1,
        Change::SetRetention { .. } | Change::SetQuota { .. } => 2,
        Change::SetGc { .. } => 3,
        Change::WriteUsername { .. } => 4,
        Change::CreateRobot { .. } | Change::UpdateRobot { .. } => 5,
        Change::SetRobotSecret { .. } => 6,
        Change::DeleteRobot { .. } => 7,
        Change::DeleteProject { .. } => 8,
        Change::DeleteRegistry { .. } => 9,
    }
}

struct Reconciler<'a> {
    desired: &'a Desired,
    actual: &'a Actual,
    options: &'a Options,
    plan: Plan,
    /// Projects that keep what was pulled within a week, since Harbor does so by itself.
    short_lived: Vec<String>,
}

impl Reconciler<'_> {
    fn notice(
        &mut self,
        weight: Weight,
        object: impl Into<String>,
        message: impl Into<String>,
        help: Option<&str>,
    ) {
        self.plan.notices.push(Notice {
            weight,
            object: object.into(),
            message: message.into(),
            help: help.map(str::to_owned),
        });
    }

    /// Says what is true of the Harbor as a whole.
    fn system(&mut self) {
        if self.actual.system.read_only {
            let help = "switch read-only mode off in Harbor's settings";
            self.notice(Weight::Blocked, "harbor", "it is in read-only mode and refuses changes", Some(help));
        }
        let version = self.actual.version;
        if version.deletes_what_is_gone() && !self.desired.projects.is_empty() {
            let message = format!(
                "Harbor {version} deletes a cached image when its upstream answers 404 (goharbor/harbor#22428)"
            );
            self.notice(Weight::Warning, "harbor", message, Some("upgrade to 2.15.1 or later"));
        }
        let limits = |is: fn(&WantedProject) -> bool| self.desired.projects.iter().any(is);
        let speed = limits(|project| project.speed_kbps.is_some()) && !version.limits_speed();
        let connections =
            limits(|project| project.max_connections.is_some()) && !version.limits_connections();
        let ca = limits(|project| project.ca.is_some()) && !version.takes_ca();
        for (project, key) in &self.options.unkept {
            let message = format!("this Harbor does not keep `{key}`: it answers with success and drops it");
            self.notice(Weight::Warning, format!("project {project}"), message, None);
        }
        for (told, what, since) in [
            (speed, "`speedKbps`", "2.12"),
            (connections, "`maxConnections`", "2.14.1"),
            (ca, "a CA for a registry", "2.15"),
        ] {
            if told {
                let message = format!("Harbor {version} does not know {what}, which came with {since}");
                self.notice(Weight::Warning, "harbor", message, None);
            }
        }
    }

    /// Returns the registry behind a project that is there, or else the one of that name.
    fn find(&self, wanted: &WantedProject) -> (Option<&Project>, Option<&Registry>) {
        let project = self.actual.projects.iter().find(|project| project.name == wanted.project);
        let by_id = |id| self.actual.registries.iter().find(|registry| registry.id == id);
        let behind = project.and_then(Project::proxied).and_then(by_id);
        let named = || self.actual.registries.iter().find(|registry| registry.name == wanted.registry);
        (project, behind.or_else(named))
    }

    fn registry_and_project(&mut self, wanted: &WantedProject) {
        let (project, registry) = self.find(wanted);
        let (project, registry) = (project.cloned(), registry.cloned());
        if let Some(project) = &project
            && project.proxied().is_none()
        {
            let object = format!("project {}", wanted.project);
            let help = "name another with `projects`, or delete it in Harbor if it holds nothing of worth";
            let message = "it is there, and is not a proxy: Harbor never makes one of it";
            self.notice(Weight::Blocked, object, message, Some(help));
            return;
        }
        let ours = match &registry {
            None => {
                if !self.create_registry(wanted) {
                    return;
                }
                true
            }
            Some(registry) => match self.existing_registry(wanted, registry, project.is_some()) {
                Some(ours) => ours,
                None => return,
            },
        };
        if let Some(project) = project {
            self.existing_project(wanted, &project, ours);
            return;
        }
        if wanted.retention.is_none() {
            self.short_lived.push(wanted.project.clone());
        }
        self.plan.changes.push(Change::CreateProject {
            name: wanted.project.clone(),
            registry: registry.map_or_else(|| wanted.registry.clone(), |registry| registry.name),
            metadata: self.metadata(wanted),
            retention: wanted.retention,
            quota: wanted.quota,
        });
    }

    fn create_registry(&mut self, wanted: &WantedProject) -> bool {
        let object = format!("registry {}", wanted.registry);
        let Some(adapter) = wanted.adapter(self.actual.version) else {
            let message = format!("Harbor {} takes no proxy of its type", self.actual.version);
            self.notice(Weight::Blocked, object, message, Some("leave `harbor.adapter` of the registry out"));
            return false;
        };
        if wanted.registry.len() > 64 {
            self.notice(Weight::Blocked, object, "Harbor takes names of 64 characters at most", None);
            return false;
        }
        if adapter.kind == "docker-hub" && wanted.credentials.is_some() {
            let message =
                "with credentials, Harbor logs in to hub.docker.com for every check, which counts there";
            let help = format!(
                "`registries.\"{}\".harbor: {{adapter: docker-registry}}` asks registry-1.docker.io alone",
                wanted.registry
            );
            self.notice(Weight::Note, object, message, Some(&help));
        }
        self.plan.changes.push(Change::CreateRegistry {
            name: wanted.registry.clone(),
            adapter: adapter.clone(),
            user: wanted.credentials.as_ref().map(|(user, _)| user.clone()),
            has_ca: wanted.ca.is_some() && self.actual.version.takes_ca(),
        });
        true
    }

    /// Returns whether the registry is ours, or [`None`] where it cannot serve.
    fn existing_registry(&mut self, wanted: &WantedProject, found: &Registry, in_use: bool) -> Option<bool> {
        let object = format!("registry {}", found.name);
        let Some(adapter) = wanted.adapters.iter().find(|adapter| adapter.kind == found.kind) else {
            let needed = wanted.adapter(self.actual.version).map_or("another", |adapter| &adapter.kind);
            let message = format!(
                "it is of type {}, {} is needed, and Harbor never changes a type",
                found.kind, needed
            );
            let help = "delete it and its project in Harbor, then apply again";
            self.notice(Weight::Blocked, object, message, Some(help));
            return None;
        };
        if !in_use && !self.actual.version.proxies(&found.kind) {
            let message =
                format!("Harbor {} takes no new proxy project of type {}", self.actual.version, found.kind);
            self.notice(Weight::Blocked, object, message, Some("delete it in Harbor, then apply again"));
            return None;
        }
        let own = found.description == self.desired.mark;
        let mut fields = Vec::new();
        let url = found.url.trim_end_matches('/');
        if url != adapter.url {
            fields.push(RegistryField::Url { from: url.to_owned(), to: adapter.url.clone() });
        }
        let user = wanted.credentials.as_ref().map(|(user, _)| user.clone());
        let found_user = Some(found.credential.access_key.clone()).filter(|user| !user.is_empty());
        if user != found_user {
            fields.push(RegistryField::User { from: found_user, to: user });
        } else if user.is_some() && self.options.renew_secrets {
            fields.push(RegistryField::Secret);
        }
        if found.insecure != wanted.insecure {
            fields.push(RegistryField::Insecure(wanted.insecure));
        }
        if self.actual.version.takes_ca()
            && found.ca_certificate.trim() != wanted.ca.as_deref().unwrap_or_default().trim()
        {
            fields.push(RegistryField::Ca);
        }
        if !own && !self.options.adopt {
            if let Some(RegistryField::Url { from, to }) = fields.first() {
                let message = format!("it leads to {from} in place of {to}, and is not ours");
                self.notice(Weight::Blocked, object, message, Some("--adopt takes it over"));
                return None;
            }
            let whose = owner(&found.description);
            let differs =
                if fields.is_empty() { "" } else { "; its credentials or TLS are not the inventory's" };
            let message = format!("{whose}: used as it is, and left alone{differs}");
            self.notice(Weight::Note, object, message, Some("--adopt takes it over"));
            return Some(false);
        }
        if !own {
            fields.insert(0, RegistryField::Adopted);
        }
        if !fields.is_empty() {
            self.plan.changes.push(Change::UpdateRegistry {
                id: found.id,
                name: found.name.clone(),
                registry: wanted.registry.clone(),
                fields,
            });
        }
        Some(true)
    }

    /// Returns the settings of a project that this version knows and keeps.
    fn metadata(&self, wanted: &WantedProject) -> Vec<(&'static str, String)> {
        let version = self.actual.version;
        let speed = wanted.speed_kbps.filter(|_| version.limits_speed());
        let connections = wanted.max_connections.filter(|_| version.limits_connections());
        let all = [
            Some(("public", wanted.public.to_string())),
            version.serves_what_is_gone().then(|| ("proxy_cache_local_on_not_found", "true".to_owned())),
            speed.map(|speed| ("proxy_speed_kb", speed.to_string())),
            connections.map(|connections| ("max_upstream_conn", connections.to_string())),
        ];
        let kept = |(key, _): &(&'static str, String)| {
            !self.options.unkept.contains(&(wanted.project.clone(), (*key).to_owned()))
        };
        all.into_iter().flatten().filter(kept).collect()
    }

    fn existing_project(&mut self, wanted: &WantedProject, found: &Project, ours: bool) {
        let differs = |(key, to): (&'static str, String)| {
            let from = found.metadata(key).map(str::to_owned);
            // What is not there counts as Harbor's own default.
            let is = from.as_deref().unwrap_or(if key == "public" { "false" } else { "" });
            (is != to).then_some((key, from, to))
        };
        let metadata: Vec<_> = self.metadata(wanted).into_iter().filter_map(differs).collect();
        if ours && !metadata.is_empty() {
            self.plan.changes.push(Change::UpdateProject { name: found.name.clone(), metadata });
        }
        self.retention(wanted, found, ours);
        let quota = self.actual.quotas.as_ref().map(|quotas| quotas.get(&found.id));
        match (wanted.quota, quota) {
            (Some(to), Some(Some(quota))) if ours && quota.limit() != to => {
                self.plan.changes.push(Change::SetQuota {
                    project: found.name.clone(),
                    id: quota.id,
                    from: quota.limit(),
                    to,
                });
            }
            (Some(_), None) => {
                let object = format!("project {}", found.name);
                self.notice(
                    Weight::Warning,
                    object,
                    "the account may not read quotas, so it has none set",
                    None,
                );
            }
            (None | Some(_), _) => {}
        }
    }

    fn retention(&mut self, wanted: &WantedProject, found: &Project, ours: bool) {
        let policy = self.actual.retentions.get(&found.id);
        let kept = policy.map_or(Kept::NeverRuns, RetentionPolicy::kept);
        match wanted.retention {
            Some(Retention::Forever) if kept == Kept::NeverRuns => {}
            Some(to) if kept == Kept::Simple(to) => {}
            Some(to) if ours => self.plan.changes.push(Change::SetRetention {
                project: found.name.clone(),
                project_id: found.id,
                policy: found.retention_id(),
                from: kept.to_string(),
                to,
            }),
            Some(_) | None => {
                if kept == Kept::Simple(DEFAULT_RETENTION) {
                    self.short_lived.push(found.name.clone());
                }
            }
        }
    }

    fn tell_short_lived(&mut self) {
        if self.short_lived.is_empty() {
            return;
        }
        let message = format!(
            "Harbor deletes what was not pulled for 7 days, and a stable cluster pulls nothing: {}",
            self.short_lived.join(", ")
        );
        self.notice(Weight::Warning, "retention", message, Some("set `harbor.retention`, such as 90d"));
    }

    fn gc(&mut self) {
        let Some(cron) = &self.desired.gc else { return };
        let Some(found) = &self.actual.gc else {
            let message = "the account may not read the schedule of the garbage collection";
            self.notice(Weight::Warning, "gc", message, Some("use an administrator"));
            return;
        };
        let deletes_untagged = found.cron().is_some() && found.deletes_untagged();
        if found.cron() != Some(cron) || deletes_untagged {
            self.plan.changes.push(Change::SetGc {
                from: found.cron().map(str::to_owned),
                to: cron.clone(),
                deletes_untagged,
            });
        }
    }

    /// Finds what is ours and no longer in the inventory.
    fn leftovers(&mut self) {
        let actual = self.actual;
        for registry in actual.registries.iter().filter(|registry| registry.description == self.desired.mark)
        {
            let used = |wanted: &WantedProject| {
                let (_, found) = self.find(wanted);
                found.is_some_and(|found| found.id == registry.id)
            };
            if self.desired.projects.iter().any(used) {
                continue;
            }
            let projects: Vec<&Project> =
                actual.projects.iter().filter(|project| project.proxied() == Some(registry.id)).collect();
            let object = format!("registry {}", registry.name);
            if !self.options.prune {
                let message = "it is ours, and the inventory no longer has it";
                self.notice(Weight::Note, object, message, Some("--prune deletes it and its project"));
                continue;
            }
            let full: Vec<&&Project> = projects.iter().filter(|project| project.repo_count > 0).collect();
            if let Some(project) = full.first() {
                let message = format!(
                    "its project {} holds {} repositories, and Harbor deletes empty ones only",
                    project.name, project.repo_count
                );
                self.notice(
                    Weight::Blocked,
                    object,
                    message,
                    Some("delete the repositories in Harbor first"),
                );
                continue;
            }
            let projects =
                projects.iter().map(|project| Change::DeleteProject { name: project.name.clone() });
            self.plan.changes.extend(projects);
            self.plan.changes.push(Change::DeleteRegistry { id: registry.id, name: registry.name.clone() });
        }
    }
}

/// Returns whose an object is that is not ours.
fn owner(description: &str) -> String {
    match description.strip_prefix(MARK).map(|rest| rest.trim().trim_matches(['(', ')'])) {
        Some("") => "it is of an inventory without a `cluster`".to_owned(),
        Some(cluster) => format!("it is of cluster {cluster}"),
        None => "it is not ours".to_owned(),
    }
}
