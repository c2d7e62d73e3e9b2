use super::desired::Adapter;
use crate::inventory::{Quota, Retention};

/// One thing that is not as it should be, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A registry that is missing.
    CreateRegistry {
        /// Its name.
        name: String,
        /// As what Harbor asks it.
        adapter: Adapter,
        /// The user that it is asked as.
        user: Option<String>,
        /// Whether it gets authorities of its own.
        has_ca: bool,
    },
    /// A registry that differs.
    UpdateRegistry {
        /// Its number.
        id: i64,
        /// Its name in Harbor.
        name: String,
        /// The registry of the inventory.
        registry: String,
        /// What differs.
        fields: Vec<RegistryField>,
    },
    /// A registry that the inventory no longer has.
    DeleteRegistry {
        /// Its number.
        id: i64,
        /// Its name.
        name: String,
    },
    /// A project that is missing.
    CreateProject {
        /// Its name.
        name: String,
        /// The registry that it passes on.
        registry: String,
        /// Its settings.
        metadata: Vec<(&'static str, String)>,
        /// What is kept.
        retention: Option<Retention>,
        /// How large it may grow.
        quota: Option<Quota>,
    },
    /// A project whose settings differ.
    UpdateProject {
        /// Its name.
        name: String,
        /// The settings, each with what it is and what it should be.
        metadata: Vec<(&'static str, Option<String>, String)>,
    },
    /// A project that the inventory no longer has.
    DeleteProject {
        /// Its name.
        name: String,
    },
    /// A retention policy that differs, or is missing.
    SetRetention {
        /// The project.
        project: String,
        /// Its number.
        project_id: i64,
        /// The number of the policy, if there is one.
        policy: Option<i64>,
        /// What it comes to now.
        from: String,
        /// What it should be.
        to: Retention,
    },
    /// A quota that differs.
    SetQuota {
        /// The project.
        project: String,
        /// The number of the quota.
        id: i64,
        /// What it is.
        from: Quota,
        /// What it should be.
        to: Quota,
    },
    /// A schedule of the garbage collection that differs.
    SetGc {
        /// What it is.
        from: Option<String>,
        /// What it should be.
        to: String,
        /// Whether it deletes images that were pulled by digest.
        deletes_untagged: bool,
    },
    /// The user name of the inventory that is not the robot's.
    WriteUsername {
        /// What the inventory has.
        from: String,
        /// What Harbor calls the robot.
        to: String,
    },
    /// A robot that is missing.
    CreateRobot {
        /// Its name without Harbor's prefix.
        name: String,
        /// Its whole name.
        full_name: String,
        /// The projects that it may pull from.
        projects: Vec<String>,
        /// Where its secret comes from.
        secret: SecretFrom,
    },
    /// A robot that differs.
    UpdateRobot {
        /// Its number.
        id: i64,
        /// Its whole name.
        full_name: String,
        /// The projects that it may pull from.
        projects: Vec<String>,
        /// What differs, in words.
        fields: Vec<String>,
    },
    /// A robot that has another secret than the inventory.
    SetRobotSecret {
        /// Its number.
        id: i64,
        /// Its whole name.
        full_name: String,
        /// Where its secret comes from.
        secret: SecretFrom,
    },
    /// A robot that is no longer used.
    DeleteRobot {
        /// Its number.
        id: i64,
        /// Its whole name.
        name: String,
    },
}

/// What differs about a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryField {
    /// Its description: it becomes ours.
    Adopted,
    /// Its URL.
    Url {
        /// What it is.
        from: String,
        /// What it should be.
        to: String,
    },
    /// Its user, and with it the secret.
    User {
        /// What it is.
        from: Option<String>,
        /// What it should be.
        to: Option<String>,
    },
    /// The secret, which is sent again since Harbor never shows it.
    Secret,
    /// Whether its certificate goes unchecked.
    Insecure(bool),
    /// Its authorities.
    Ca,
}

/// Where the secret of a robot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFrom {
    /// It is the one that the inventory has.
    Inventory,
    /// It is made, and put into the inventory before Harbor learns it.
    Made,
}

/// What a change does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
}

impl Action {
    /// Returns the sign that stands before a change.
    pub fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Delete => '-',
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A change as people and scripts see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeView {
    /// What happens.
    pub action: Action,
    /// To what kind of object.
    pub object: &'static str,
    /// To which.
    pub name: String,
    /// What it gets.
    pub details: Vec<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Change {
    /// Returns whether it is about the robot alone.
    pub fn is_about_the_robot(&self) -> bool {
        match self {
            Self::CreateRobot { .. }
            | Self::UpdateRobot { .. }
            | Self::SetRobotSecret { .. }
            | Self::WriteUsername { .. } => true,
            Self::CreateRegistry { .. }
            | Self::UpdateRegistry { .. }
            | Self::DeleteRegistry { .. }
            | Self::CreateProject { .. }
            | Self::UpdateProject { .. }
            | Self::DeleteProject { .. }
            | Self::SetRetention { .. }
            | Self::SetQuota { .. }
            | Self::SetGc { .. }
            | Self::DeleteRobot { .. } => false,
        }
    }

    /// Returns whether it deletes something.
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::DeleteRegistry { .. } | Self::DeleteProject { .. } | Self::DeleteRobot { .. } => true,
            Self::CreateRegistry { .. }
            | Self::UpdateRegistry { .. }
            | Self::CreateProject { .. }
            | Self::UpdateProject { .. }
            | Self::SetRetention { .. }
            | Self::SetQuota { .. }
            | Self::SetGc { .. }
            | Self::WriteUsername { .. }
            | Self::CreateRobot { .. }
            | Self::UpdateRobot { .. }
            | Self::SetRobotSecret { .. } => false,
        }
    }

    /// Returns whether the inventory is written for it.
    pub fn writes_the_inventory(&self) -> bool {
        match self {
            Self::CreateRobot { secret, .. } | Self::SetRobotSecret { secret, .. } => {
                *secret == SecretFrom::Made
            }
            Self::WriteUsername { .. } => true,
            Self::CreateRegistry { .. }
            | Self::UpdateRegistry { .. }
            | Self::DeleteRegistry { .. }
            | Self::CreateProject { .. }
            | Self::UpdateProject { .. }
            | Self::DeleteProject { .. }
            | Self::SetRetention { .. }
            | Self::SetQuota { .. }
            | Self::SetGc { .. }
            | Self::UpdateRobot { .. }
            | Self::DeleteRobot { .. } => false,
        }
    }

    /// Returns the change as people and scripts see it.
    pub fn view(&self) -> ChangeView {
        let view = |action, object, name: &str, details: Vec<String>| ChangeView {
            action,
            object,
            name: name.to_owned(),
            details,
            reason: None,
        };
        match self {
            Self::CreateRegistry { name, adapter, user, has_ca } => {
                let mut details = vec![format!("{} {}", adapter.kind, adapter.url)];
                details
                    .push(user.as_ref().map_or_else(|| "anonymous".to_owned(), |user| format!("as {user}")));
                details.extend(has_ca.then(|| "CA of its own".to_owned()));
                view(Action::Create, "registry", name, details)
            }
            Self::UpdateRegistry { name, fields, .. } => {
                view(Action::Update, "registry", name, fields.iter().map(RegistryField::words).collect())
            }
            Self::DeleteRegistry { name, .. } => {
                view(Action::Delete, "registry", name, Vec::new()).because("the inventory no longer has it")
            }
            Self::CreateProject { name, registry, metadata, retention, quota } => {
                let mut details = vec![format!("proxy of {registry}")];
                details.extend(metadata.iter().map(|(key, value)| setting(key, value)));
                details.extend(retention.map(kept));
                details.extend(quota.map(|quota| format!("quota {quota}")));
                view(Action::Create, "project", name, details)
            }
            Self::UpdateProject { name, metadata } => {
                let details = metadata.iter().map(|(key, from, to)| match from {
                    Some(from) => format!("{} → {}", setting(key, from), setting(key, to)),
                    None => setting(key, to),
                });
                view(Action::Update, "project", name, details.collect())
            }
            Self::DeleteProject { name } => {
                view(Action::Delete, "project", name, Vec::new()).because("the inventory no longer has it")
            }
            Self::SetRetention { project, from, to, .. } => {
                let default = from == "7d";
                let view = view(Action::Update, "retention", project, vec![format!("{from} → {to}")]);
                if default {
                    view.because("7 days is Harbor's default: a stable cluster pulls nothing for longer")
                } else {
                    view
                }
            }
            Self::SetQuota { project, from, to, .. } => {
                view(Action::Update, "quota", project, vec![format!("{from} → {to}")])
            }
            Self::SetGc { from, to, deletes_untagged } => {
                let from = from.as_deref().unwrap_or("never");
                let view = view(Action::Update, "gc", "schedule", vec![format!("{from} → {to}")]);
                if *deletes_untagged {
                    view.because("it deletes what has no tag: images that are pulled by digest")
                } else {
                    view
                }
            }
            Self::WriteUsername { from, to } => {
                view(Action::Update, "inventory", "username", vec![format!("{from} → {to}")]).because(
                    "Harbor's `robot_name_prefix` was changed: nodes that use the old name are refused",
                )
            }
            Self::CreateRobot { full_name, projects, secret, .. } => {
                let details = vec![format!("pull on {}", list(projects)), secret.words().to_owned()];
                view(Action::Create, "robot", full_name, details)
            }
            Self::UpdateRobot { full_name, fields, .. } => {
                view(Action::Update, "robot", full_name, fields.clone())
            }
            Self::SetRobotSecret { full_name, secret, .. } => {
                view(Action::Update, "robot", full_name, vec![secret.words().to_owned()]).because(
                    match secret {
                        SecretFrom::Inventory => "Harbor does not take the secret that the inventory has",
                        SecretFrom::Made => "the inventory has no secret of it",
                    },
                )
            }
            Self::DeleteRobot { name, .. } => {
                view(Action::Delete, "robot", name, Vec::new()).because("the inventory no longer uses it")
            }
        }
    }
}

impl ChangeView {
    fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }
}

impl RegistryField {
    fn words(&self) -> String {
        let who = |user: &Option<String>| user.clone().unwrap_or_else(|| "anonymous".to_owned());
        match self {
            Self::Adopted => "adopted".to_owned(),
            Self::Url { from, to } => format!("URL {from} → {to}"),
            Self::User { from, to } => format!("credentials {} → {}", who(from), who(to)),
            Self::Secret => "secret sent again".to_owned(),
            Self::Insecure(true) => "certificate no longer checked".to_owned(),
            Self::Insecure(false) => "certificate checked".to_owned(),
            Self::Ca => "CA of its own".to_owned(),
        }
    }
}

impl SecretFrom {
    fn words(self) -> &'static str {
        match self {
            Self::Inventory => "secret of the inventory",
            Self::Made => "new secret, sealed into the inventory first",
        }
    }
}

/// Returns the word of a project's setting.
fn setting(key: &str, value: &str) -> String {
    match (key, value) {
        ("public", "true") => "public".to_owned(),
        ("public", _) => "private".to_owned(),
        ("proxy_cache_local_on_not_found", "true") => "serves what the upstream no longer has".to_owned(),
        ("proxy_cache_local_on_not_found", _) => "drops what the upstream no longer has".to_owned(),
        ("proxy_speed_kb", value) => format!("at most {value} kbit/s"),
        ("max_upstream_conn", value) => format!("at most {value} connections"),
        (key, value) => format!("{key} {value}"),
    }
}

fn kept(retention: Retention) -> String {
    match retention {
        Retention::Days(days) => format!("keeps {days} days (Harbor's default is 7)"),
        Retention::Forever => "keeps everything (Harbor's default is 7 days)".to_owned(),
    }
}

fn list(projects: &[String]) -> String {
    match projects {
        [] => "nothing".to_owned(),
        projects => projects.join(", "),
    }
}
