use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::json;

use super::actual::{Actual, Project, RetentionPolicy};
use super::body;
use super::change::{Change, ChangeView, SecretFrom};
use super::client::{Account, Harbor};
use super::desired::Desired;
use super::error::{HarborError, Refused};
use super::observe::observe;
use super::plan::{Notice, Options, Plan, Weight};
use super::reconcile::reconcile;
use super::robot::make_secret;
use crate::inventory::Retention;
use crate::secret::{Random, Secret, SecretRef};

/// How often Harbor is read again before a run gives up: enough for two runs that meet at every object.
const ROUNDS: usize = 12;

/// Where the robot's secret is kept, and where other secrets come from: the inventory.
pub trait CredentialStore {
    /// Why it cannot.
    type Error;

    /// Returns the credentials of the mirror as the inventory has them at this moment.
    fn current(&mut self) -> Result<Option<Account>, Self::Error>;

    /// Puts credentials of the mirror into the inventory, sealed.
    fn seal(&mut self, account: &Account) -> Result<(), Self::Error>;

    /// Returns the secret that a reference names.
    fn secret(&mut self, reference: &SecretRef) -> Result<Secret<String>, Self::Error>;
}

/// What a run tells while it works.
#[derive(Debug)]
pub enum Event<'a> {
    /// A change was made.
    Done(&'a Change),
    /// A change cannot be made; the others are.
    Failed(&'a Change, &'a HarborError),
    /// Another process was faster.
    Raced(&'a Change),
}

/// A change that was not made.
#[derive(Debug)]
pub struct Failure {
    /// The change.
    pub change: ChangeView,
    /// Why.
    pub error: HarborError,
}

/// What a run has done.
#[derive(Debug)]
pub struct Applied {
    /// How many changes were made.
    pub made: usize,
    /// Those that were not.
    pub failures: Vec<Failure>,
    /// What is left to be said.
    pub plan: Plan,
    /// Whether the inventory has other credentials than before.
    pub sealed: bool,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    /// Harbor does not do what it is asked for.
    #[error(transparent)]
    Harbor(Box<HarborError>),
    /// A secret cannot be had or kept.
    #[error("the inventory cannot be used")]
    CredentialStore(E),
    /// Harbor answers with success and changes nothing, or another process changes it back.
    #[error("Harbor does not keep {0}")]
    NotKept(String),
}

impl<E> From<HarborError> for ApplyError<E> {
    fn from(error: HarborError) -> Self {
        Self::Harbor(Box::new(error))
    }
}

/// Makes a Harbor what it should be, beginning with a plan that was made of `actual`.
///
/// Fails at the first error that concerns all of it. A change that fails by itself is put down, what depends on it is left
/// out, and the rest is done.
pub async fn apply<K: CredentialStore>(
    harbor: &mut Harbor,
    desired: Desired,
    options: Options,
    start: (Actual, Plan),
    store: &mut K,
    random: &mut Random<'_>,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Applied, ApplyError<K::Error>> {
    let mut work = Work::new(harbor, desired, store, random);
    let mut options = options;
    let asked_to_prune = options.prune;
    let (mut actual, mut plan) = start;
    let mut before: Option<Vec<Change>> = None;
    for _ in 0..ROUNDS {
        plan.changes.retain(|change| !work.failed.contains(change));
        if plan.changes.is_empty() {
            break;
        }
        if before.as_ref() == Some(&plan.changes) {
            if let Some(other) =
                plan.changes.iter().find(|change| !matches!(change, Change::UpdateProject { .. }))
            {
                let view = other.view();
                return Err(ApplyError::NotKept(format!("{} {}", view.object, view.name)));
            }
            // Keys that this version does not know vanish without a word.
            for change in &plan.changes {
                if let Change::UpdateProject { name, metadata } = change {
                    options.unkept.extend(metadata.iter().map(|(key, ..)| (name.clone(), (*key).to_owned())));
                }
            }
        } else {
            let raced = work.round(&actual, &plan.changes, tell).await?;
            before = (!raced).then(|| plan.changes.clone());
            // Nothing shows afterwards that they were sent.
            options.renew_secrets &= raced;
            // What is missing may be what keeps the rest in use.
            options.prune &= !work.lacks_something();
            options.given_up.clone_from(&work.given_up);
        }
        let known = work.read_inventory()?;
        actual = observe(work.harbor, &work.desired, known.as_ref()).await?;
        plan = reconcile(&work.desired, &actual, &options);
    }
    plan.changes.retain(|change| !work.failed.contains(change));
    if let Some(change) = plan.changes.first() {
        let view = change.view();
        return Err(ApplyError::NotKept(format!(
            "{} {}: another process changes it back",
            view.object, view.name
        )));
    }
    if asked_to_prune && !options.prune {
        let message = "nothing was pruned, since a change before it failed".to_owned();
        let help = Some("fix what failed, then apply again with --prune".to_owned());
        let object = "prune".to_owned();
        plan.notices.insert(0, Notice { weight: Weight::Warning, object, message, help });
    }
    Ok(Applied { made: work.made, failures: work.failures, plan, sealed: work.sealed })
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It was made.
    Made,
    /// What it needs is not there.
    Skipped,
}

/// A run at work.
pub(super) struct Work<'a, 'r, K: CredentialStore> {
    pub(super) harbor: &'a mut Harbor,
    pub(super) desired: Desired,
    store: &'a mut K,
    random: &'a mut Random<'r>,
    /// The credentials that the inventory had when it was last read.
    pub(super) known: Option<Account>,
    made: usize,
    sealed: bool,
    failed: Vec<Change>,
    failures: Vec<Failure>,
    /// Projects that could not be made, or whose registry could not.
    given_up: BTreeSet<String>,
    /// Registries and projects that are there, by name.
    registries: BTreeMap<String, i64>,
    projects: BTreeSet<String>,
}

impl<'a, 'r, K: CredentialStore> Work<'a, 'r, K> {
    pub(super) fn new(
        harbor: &'a mut Harbor,
        desired: Desired,
        store: &'a mut K,
        random: &'a mut Random<'r>,
    ) -> Self {
        Self {
            harbor,
            desired,
            store,
            random,
            known: None,
            made: 0,
            sealed: false,
            failed: Vec::new(),
            failures: Vec::new(),
            given_up: BTreeSet::new(),
            registries: BTreeMap::new(),
            projects: BTreeSet::new(),
        }
    }

    /// Reads the credentials again: another process may have put them there.
    pub(super) fn read_inventory(&mut self) -> Result<Option<Secret<String>>, ApplyError<K::Error>> {
        self.known = self.store.current().map_err(ApplyError::CredentialStore)?;
        self.desired.robot.username = self.known.as_ref().map(|account| account.user.clone());
        if let Some(account) = &self.known {
            self.harbor.hide(&account.password);
        }
        Ok(self.known.as_ref().map(|account| account.password.clone()))
    }

    /// Makes changes, one after the other; returns whether another process was in the way.
    async fn round(
        &mut self,
        actual: &Actual,
        changes: &[Change],
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool, ApplyError<K::Error>> {
        self.begin(actual)?;
        let mut raced = false;
        for change in changes {
            if change.is_deletion() && self.lacks_something() {
                continue;
            }
            let change = &self.possible(change);
            match self.step(actual, change).await {
                Ok(Step::Made) => {
                    self.made += 1;
                    tell(Event::Done(change));
                }
                Ok(Step::Skipped) => {}
                Err(ApplyError::Harbor(error)) => match error.refused() {
                    Refused::Raced | Refused::NotFound => {
                        raced = true;
                        tell(Event::Raced(change));
                    }
                    Refused::Forbidden | Refused::Alone => {
                        tell(Event::Failed(change, &error));
                        self.fail(change, *error);
                    }
                    Refused::Fatal => return Err(ApplyError::Harbor(error)),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(raced)
    }

    pub(super) fn begin(&mut self, actual: &Actual) -> Result<(), ApplyError<K::Error>> {
        self.read_inventory()?;
        self.registries =
            actual.registries.iter().map(|registry| (registry.name.clone(), registry.id)).collect();
        self.projects = actual.projects.iter().map(|project| project.name.clone()).collect();
        Ok(())
    }

    /// Returns whether something that the inventory wants could not be made or changed.
    fn lacks_something(&self) -> bool {
        self.failed.iter().any(|change| !change.is_deletion())
    }

    /// Puts a failure down, and leaves out what depends on it.
    fn fail(&mut self, change: &Change, error: HarborError) {
        let lost: Option<&str> = match change {
            Change::CreateRegistry { name, .. } => {
                self.desired.of_registry(name).map(|wanted| wanted.project.as_str())
            }
            Change::CreateProject { name, .. } => Some(name),
            Change::UpdateRegistry { .. }
            | Change::DeleteRegistry { .. }
            | Change::UpdateProject { .. }
            | Change::DeleteProject { .. }
            | Change::SetRetention { .. }
            | Change::SetQuota { .. }
            | Change::SetGc { .. }
            | Change::WriteUsername { .. }
            | Change::CreateRobot { .. }
            | Change::UpdateRobot { .. }
            | Change::SetRobotSecret { .. }
            | Change::DeleteRobot { .. } => None,
        };
        self.given_up.extend(lost.map(str::to_owned));
        self.failed.push(change.clone());
        self.failures.push(Failure { change: change.view(), error });
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        doing: &str,
    ) -> Result<super::client::Reply, HarborError> {
        self.harbor.call(method, path, body, doing).await
    }

    /// Returns a change without the projects that are not there: a robot for one is refused whole.
    pub(super) fn possible(&self, change: &Change) -> Change {
        let mut change = change.clone();
        if let Change::CreateRobot { projects, .. } | Change::UpdateRobot { projects, .. } = &mut change {
            projects.retain(|project| self.projects.contains(project));
        }
        change
    }

    /// Makes one change; skips one whose registry or projects failed or are just being made by another process.
    pub(super) async fn step(
        &mut self,
        actual: &Actual,
        change: &Change,
    ) -> Result<Step, ApplyError<K::Error>> {
        match change {
            Change::CreateRegistry { name, adapter, .. } => {
                let Some(wanted) = self.desired.of_registry(name).cloned() else { return Ok(Step::Skipped) };
                let password = self.upstream_password(wanted.credentials.as_ref())?;
                let takes_ca = actual.version.takes_ca();
                let body =
                    body::new_registry(&wanted, adapter, &self.desired.mark, password.as_ref(), takes_ca);
                let doing = format!("create registry `{name}`");
                let reply = self.call(Method::POST, "/api/v2.0/registries", Some(&body), &doing).await?;
                self.registries.extend(reply.made().map(|id| (name.clone(), id)));
            }
            Change::UpdateRegistry { id, name, registry, fields } => {
                let Some(wanted) = self.desired.of_registry(registry).cloned() else {
                    return Ok(Step::Skipped);
                };
                let password = self.upstream_password(wanted.credentials.as_ref())?;
                let body = body::changed_registry(&wanted, fields, &self.desired.mark, password.as_ref());
                let path = format!("/api/v2.0/registries/{id}");
                self.call(Method::PUT, &path, Some(&body), &format!("change registry `{name}`")).await?;
            }
            Change::CreateProject { name, registry, metadata, quota, .. } => {
                // Its registry failed, or another process is just making it: the next round sees.
                let Some(id) = self.registries.get(registry) else { return Ok(Step::Skipped) };
                let body = body::new_project(name, *id, metadata, *quota);
                let doing = format!("create project `{name}`");
                self.call(Method::POST, "/api/v2.0/projects", Some(&body), &doing).await?;
                self.projects.insert(name.clone());
                if let Change::CreateProject { retention: Some(to), .. } = change {
                    self.retain(name, *to).await?;
                }
            }
            Change::UpdateProject { name, metadata } => {
                let body = body::changed_project(metadata);
                let path = format!("/api/v2.0/projects/{name}");
                self.call(Method::PUT, &path, Some(&body), &format!("change project `{name}`")).await?;
            }
            Change::SetRetention { project, project_id, policy, to, .. } => {
                let old = actual.retentions.get(project_id);
                let body = body::retention(*project_id, old, *to);
                let doing = format!("set the retention policy of project `{project}`");
                let (method, path) = match policy {
                    Some(id) => (Method::PUT, format!("/api/v2.0/retentions/{id}")),
                    None => (Method::POST, "/api/v2.0/retentions".to_owned()),
                };
                self.call(method, &path, Some(&body), &doing).await?;
            }
            Change::SetQuota { project, id, to, .. } => {
                let path = format!("/api/v2.0/quotas/{id}");
                let doing = format!("set the quota of project `{project}`");
                self.call(Method::PUT, &path, Some(&body::quota(*to)), &doing).await?;
            }
            Change::SetGc { from, to, .. } => {
                let method = if from.is_some() { Method::PUT } else { Method::POST };
                let doing = "set the schedule of the garbage collection";
                self.call(method, "/api/v2.0/system/gc/schedule", Some(&body::gc(to)), doing).await?;
            }
            Change::DeleteProject { name } => {
                let path = format!("/api/v2.0/projects/{name}");
                self.call(Method::DELETE, &path, None, &format!("delete project `{name}`")).await?;
            }
            Change::DeleteRegistry { id, name } => {
                let path = format!("/api/v2.0/registries/{id}");
                self.call(Method::DELETE, &path, None, &format!("delete registry `{name}`")).await?;
            }
            Change::DeleteRobot { id, name } => {
                let path = format!("/api/v2.0/robots/{id}");
                self.call(Method::DELETE, &path, None, &format!("delete robot `{name}`")).await?;
            }
            Change::WriteUsername { to, .. } => self.write_username(to)?,
            // Harbor makes no robot without permissions.
            Change::CreateRobot { projects, .. } if projects.is_empty() => return Ok(Step::Skipped),
            Change::CreateRobot { name, full_name, projects, secret } => {
                self.create_robot(name, full_name, projects, *secret).await?;
            }
            Change::UpdateRobot { id, full_name, projects, .. } => {
                let body = body::robot(full_name, &self.desired.mark, projects);
                let path = format!("/api/v2.0/robots/{id}");
                self.call(Method::PUT, &path, Some(&body), &format!("change robot `{full_name}`")).await?;
            }
            Change::SetRobotSecret { id, full_name, secret } => {
                let account = self.account(full_name, *secret)?;
                self.set_secret(*id, full_name, &account).await?;
            }
        }
        Ok(Step::Made)
    }

    /// Sets what a project keeps that was just made: Harbor gives it a policy of 7 days by itself.
    async fn retain(&self, name: &str, to: Retention) -> Result<(), HarborError> {
        let doing = format!("set the retention policy of project `{name}`");
        let project: Project = self.harbor.get(&format!("/api/v2.0/projects/{name}"), &doing).await?;
        let policy = project.retention_id().map(|id| RetentionPolicy { id, ..RetentionPolicy::default() });
        let body = body::retention(project.id, policy.as_ref(), to);
        let (method, path) = match &policy {
            Some(policy) => (Method::PUT, format!("/api/v2.0/retentions/{}", policy.id)),
            None => (Method::POST, "/api/v2.0/retentions".to_owned()),
        };
        self.call(method, &path, Some(&body), &doing).await.map(|_| ())
    }

    fn upstream_password(
        &mut self,
        credentials: Option<&(String, SecretRef)>,
    ) -> Result<Option<Secret<String>>, ApplyError<K::Error>> {
        let Some((_, reference)) = credentials else { return Ok(None) };
        let password = self.store.secret(reference).map_err(ApplyError::CredentialStore)?;
        self.harbor.hide(&password);
        Ok(Some(password))
    }

    /// Writes another user name beside the same secret.
    fn write_username(&mut self, to: &str) -> Result<(), ApplyError<K::Error>> {
        let Some(known) = &self.known else { return Ok(()) };
        let account = Account { user: to.to_owned(), password: known.password.clone() };
        self.seal(account)
    }

    fn seal(&mut self, account: Account) -> Result<(), ApplyError<K::Error>> {
        self.harbor.hide(&account.password);
        self.store.seal(&account).map_err(ApplyError::CredentialStore)?;
        self.sealed = true;
        self.desired.robot.username = Some(account.user.clone());
        self.known = Some(account);
        Ok(())
    }

    /// Returns the secret that a robot gets; one that is made is in the inventory before Harbor hears of it.
    fn account(&mut self, full_name: &str, secret: SecretFrom) -> Result<Account, ApplyError<K::Error>> {
        let before = self.known.clone();
        self.read_inventory()?;
        let changed = match (&before, &self.known) {
            (Some(before), Some(now)) => before.user != now.user || before.password != now.password,
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        let password = match (&self.known, secret, changed) {
            // Another process has put one there in the meantime: one is enough.
            (Some(known), _, true) | (Some(known), SecretFrom::Inventory, false) => known.password.clone(),
            (None, _, _) | (Some(_), SecretFrom::Made, false) => make_secret(self.random),
        };
        let account = Account { user: full_name.to_owned(), password };
        let same = self.known.as_ref();
        if same.is_none_or(|known| known.user != account.user || known.password != account.password) {
            self.seal(account.clone())?;
        }
        Ok(account)
    }

    async fn create_robot(
        &mut self,
        name: &str,
        full_name: &str,
        projects: &[String],
        secret: SecretFrom,
    ) -> Result<(), ApplyError<K::Error>> {
        #[derive(serde::Deserialize)]
        struct Made {
            id: i64,
            name: String,
        }
        let mut account = self.account(full_name, secret)?;
        let body = body::robot(name, &self.desired.mark, projects);
        let doing = format!("create robot `{full_name}`");
        let made: Made = self.call(Method::POST, "/api/v2.0/robots", Some(&body), &doing).await?.json()?;
        if made.name != full_name {
            // The prefix could not be read, and is another one than usual.
            account.user.clone_from(&made.name);
            self.seal(account.clone())?;
        }
        self.set_secret(made.id, &made.name, &account).await
    }

    async fn set_secret(&self, id: i64, name: &str, account: &Account) -> Result<(), ApplyError<K::Error>> {
        let body = json!({ "secret": account.password.expose() });
        let path = format!("/api/v2.0/robots/{id}");
        self.call(Method::PATCH, &path, Some(&body), &format!("set the secret of robot `{name}`")).await?;
        Ok(())
    }
}
