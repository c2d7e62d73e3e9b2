use super::actual::{Access, Actual, Login, Permission, Project, Robot};
use super::change::{Change, SecretFrom};
use super::desired::{Desired, WantedRobot};
use super::plan::{Notice, Options, Plan, Weight};
use crate::secret::{Random, Secret};

/// What stands before the names of robots where Harbor was not told otherwise.
pub const DEFAULT_PREFIX: &str = "robot$";

/// What the name of the second robot ends with, which takes over from the first while both secrets work.
pub const SECOND: &str = "-2";

/// How long before its end a robot is told about.
const SOON: i64 = 14 * 24 * 60 * 60;

/// What the mirror's credentials mean for the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RobotName {
    /// The robot's name, without Harbor's prefix.
    Robot(String),
    /// The credentials are a user's, or a robot's of one project: nothing is done about them.
    Foreign(String),
}

/// Returns the robot's name: that of the inventory's credentials, or what the inventory asks for.
pub fn robot_name(wanted: &WantedRobot, prefix: Option<&str>, robots: &[Robot], mark: &str) -> RobotName {
    let prefix = prefix.unwrap_or(DEFAULT_PREFIX);
    let asked = || RobotName::Robot(wanted.name.clone().unwrap_or_else(|| wanted.default_name.clone()));
    let Some(username) = &wanted.username else { return asked() };
    let own = |short: &&str| {
        robots.iter().any(|robot| robot.description == mark && robot.name == format!("{prefix}{short}"))
    };
    // A prefix that was changed is not known any more: what it was stands before a name that is.
    let suffixes = username.char_indices().filter_map(|(at, _)| username.get(at..));
    let short = username.strip_prefix(prefix).filter(|name| !name.is_empty());
    let short =
        short.or_else(|| suffixes.into_iter().find(own)).or_else(|| username.strip_prefix(DEFAULT_PREFIX));
    match (short, &wanted.name) {
        (Some(short), None) if short.contains('+') => RobotName::Foreign(username.clone()),
        (Some(short), None) => RobotName::Robot(short.to_owned()),
        (Some(short), Some(name)) if short == format!("{name}{SECOND}") => RobotName::Robot(short.to_owned()),
        (Some(_) | None, Some(_)) => asked(),
        (None, None) => RobotName::Foreign(username.clone()),
    }
}

/// Returns what stands before the names of robots as the robot shows that the inventory's credentials name, where it
/// bears our mark; the account may not be allowed to read Harbor's configuration.
pub(super) fn shown_prefix(wanted: &WantedRobot, robots: &[Robot], mark: &str) -> Option<String> {
    let username = wanted.username.as_deref()?;
    robots.iter().find(|robot| robot.description == mark && robot.name == username)?;
    let name = wanted.name.as_deref().unwrap_or(&wanted.default_name);
    let names = [name.to_owned(), other_name(name)];
    let prefix = names.iter().find_map(|name| username.strip_suffix(name.as_str()));
    prefix.filter(|prefix| !prefix.is_empty()).map(str::to_owned)
}

/// Returns the name of the robot that takes over.
pub fn other_name(short: &str) -> String {
    short.strip_suffix(SECOND).map_or_else(|| format!("{short}{SECOND}"), str::to_owned)
}

/// Returns a secret that Harbor takes: 8 to 128 characters with an upper case letter, a lower case letter and a digit.
pub fn make_secret(random: &mut Random<'_>) -> Secret<String> {
    const LENGTH: usize = 40;
    const CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    loop {
        let mut text = String::with_capacity(LENGTH);
        while text.len() < LENGTH {
            let mut byte = [0];
            random(&mut byte);
            // Of 256 values 248 are four of each character; the rest would favour the first ones.
            let [byte] = byte;
            let picked = CHARACTERS.get(usize::from(byte % 62)).filter(|_| byte < 248);
            text.extend(picked.map(|character| char::from(*character)));
        }
        let secret = Secret::new(text);
        if is_strong(secret.expose()) {
            return secret;
        }
    }
}

/// Returns whether Harbor takes a secret.
pub fn is_strong(secret: &str) -> bool {
    let has = |is: fn(&char) -> bool| secret.chars().any(|c| is(&c));
    (8..=128).contains(&secret.len())
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_digit)
}

/// Returns what a robot may do that pulls from projects, and nothing else.
pub(super) fn pull_permissions<'a>(projects: impl IntoIterator<Item = &'a str>) -> Vec<Permission> {
    let permission = |project: &str| Permission {
        kind: "project".to_owned(),
        namespace: project.to_owned(),
        access: vec![Access { resource: "repository".to_owned(), action: "pull".to_owned() }],
    };
    projects.into_iter().map(permission).collect()
}

/// Adds what has to happen to the robot.
pub(super) fn reconcile(desired: &Desired, actual: &Actual, options: &Options, plan: &mut Plan) {
    let prefix = actual.robot_prefix.as_deref();
    let mut notice = |weight, object: &str, message: String, help: Option<&str>| {
        plan.notices.push(Notice {
            weight,
            object: object.to_owned(),
            message,
            help: help.map(str::to_owned),
        });
    };
    let short = match robot_name(&desired.robot, prefix, &actual.robots, &desired.mark) {
        RobotName::Robot(short) => short,
        RobotName::Foreign(user) => {
            let message =
                "the inventory's credentials are not those of a system robot: left alone".to_owned();
            notice(Weight::Note, &format!("user {user}"), message, None);
            return;
        }
    };
    if prefix.is_none() {
        let message =
            format!("the account may not read `robot_name_prefix`; it is taken to be `{DEFAULT_PREFIX}`");
        notice(Weight::Note, "robot", message, None);
    }
    let full_name = format!("{}{short}", prefix.unwrap_or(DEFAULT_PREFIX));
    let object = format!("robot {full_name}");
    // A project that is there and is not a proxy is another one's: nodes get nothing from it.
    let usable = |name: &&str| {
        let is_proxy = |project: &Project| project.name == **name && project.proxied().is_some();
        let is_made =
            |change: &Change| matches!(change, Change::CreateProject { name: made, .. } if made == name);
        actual.projects.iter().any(is_proxy) || plan.changes.iter().any(is_made)
    };
    let projects: Vec<String> = desired.project_names().filter(usable).map(str::to_owned).collect();
    let mut changes = Vec::new();
    let username = desired.robot.username.as_ref().filter(|username| **username != full_name);
    changes.extend(username.map(|from| Change::WriteUsername { from: from.clone(), to: full_name.clone() }));
    let secret = match actual.login {
        Login::None => SecretFrom::Made,
        Login::Accepted | Login::Refused => SecretFrom::Inventory,
    };
    match actual.robots.iter().find(|robot| robot.name == full_name) {
        None if projects.is_empty() => {}
        None => changes.push(Change::CreateRobot { name: short.clone(), full_name, projects, secret }),
        Some(robot) if robot.description != desired.mark && !options.adopt => {
            let missing: Vec<&str> =
                projects.iter().map(String::as_str).filter(|project| !robot.pulls(project)).collect();
            let ended = robot.disable || robot.has_expired(options.now);
            let help = Some("--adopt takes it over");
            if ended {
                let message = "it is not ours, and is switched off or has expired".to_owned();
                notice(Weight::Blocked, &object, message, help);
            } else if !missing.is_empty() {
                let message = format!("it is not ours, and may not pull from {}", missing.join(", "));
                notice(Weight::Blocked, &object, message, help);
            } else if actual.login != Login::Accepted {
                let message = "it is not ours, and the inventory does not have its secret".to_owned();
                notice(Weight::Blocked, &object, message, help);
            } else {
                notice(
                    Weight::Note,
                    &object,
                    "it is not ours: used as it is, and left alone".to_owned(),
                    help,
                );
                if robot.expires_at > 0 && robot.expires_at - options.now < SOON {
                    let days = (robot.expires_at - options.now) / (24 * 60 * 60);
                    let message = format!("it expires in {days} days: every pull with it is refused then");
                    notice(Weight::Warning, &object, message, help);
                }
            }
        }
        Some(robot) => {
            let (projects, fields) = differences(desired, &projects, robot, options, &mut |message| {
                notice(Weight::Note, &object, message, Some("--prune takes them away"));
            });
            // Harbor refuses a robot without permissions.
            if !fields.is_empty() && !projects.is_empty() {
                let full_name = full_name.clone();
                changes.push(Change::UpdateRobot { id: robot.id, full_name, projects, fields });
            }
            // One that is switched off refuses the right secret, too.
            let tells = !robot.disable && !robot.has_expired(options.now);
            if actual.login == Login::None || (actual.login == Login::Refused && tells) {
                changes.push(Change::SetRobotSecret { id: robot.id, full_name: full_name.clone(), secret });
            }
        }
    }
    for robot in &actual.robots {
        let unused = robot.description == desired.mark
            && robot.name != format!("{}{short}", prefix.unwrap_or(DEFAULT_PREFIX));
        match (unused, options.prune) {
            (false, _) => {}
            (true, true) => changes.push(Change::DeleteRobot { id: robot.id, name: robot.name.clone() }),
            (true, false) => plan.notices.push(Notice {
                weight: Weight::Note,
                object: format!("robot {}", robot.name),
                message: "it is ours, and the inventory no longer uses it".to_owned(),
                help: Some("when no node uses it any more, --prune deletes it".to_owned()),
            }),
        }
    }
    plan.changes.extend(changes);
}

/// Returns the projects that a robot of ours pulls from afterwards, and what is to be changed about it.
fn differences(
    desired: &Desired,
    wanted: &[String],
    robot: &Robot,
    options: &Options,
    tell: &mut dyn FnMut(String),
) -> (Vec<String>, Vec<String>) {
    let mut fields = Vec::new();
    if robot.description != desired.mark {
        fields.push("adopted".to_owned());
    }
    if robot.disable {
        fields.push("switched on".to_owned());
    }
    if robot.duration != -1 {
        fields.push("never expires".to_owned());
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let missing: Vec<&str> = wanted.iter().copied().filter(|project| !robot.pulls(project)).collect();
    if !missing.is_empty() {
        fields.push(format!("pull on {}", missing.join(", ")));
    }
    let namespaces = || robot.permissions.iter().filter(|permission| permission.kind == "project");
    let extra: Vec<&str> = namespaces()
        .map(|permission| permission.namespace.as_str())
        .filter(|namespace| !wanted.contains(namespace) && *namespace != "*")
        .collect();
    let wide = robot.permissions.iter().any(|permission| {
        permission.kind != "project"
            || permission.namespace == "*"
            || !permission.access.iter().all(Access::is_pull)
    });
    if wide {
        fields.push("nothing but pull".to_owned());
    }
    let mut projects: Vec<String> = wanted.iter().map(|project| (*project).to_owned()).collect();
    if !extra.is_empty() {
        if options.prune {
            fields.push(format!("no longer on {}", extra.join(", ")));
        } else {
            let (other, gone): (Vec<&str>, Vec<&str>) =
                extra.iter().partition(|extra| desired.project_names().any(|name| name == **extra));
            for (names, why) in [(gone, "which the inventory no longer has"), (other, "which is not a proxy")]
            {
                if !names.is_empty() {
                    tell(format!("it may also pull from {}, {why}", names.join(", ")));
                }
            }
            projects.extend(extra.into_iter().map(str::to_owned));
        }
    }
    (projects, fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(username: Option<&str>, asked: Option<&str>, prefix: Option<&str>) -> RobotName {
        let wanted = WantedRobot {
            name: asked.map(str::to_owned),
            default_name: "talos-pull".to_owned(),
            username: username.map(str::to_owned),
        };
        let robot = |name: &str| Robot { name: name.into(), description: "ours".into(), ..Robot::default() };
        robot_name(&wanted, prefix, &[robot("bot+proxy-cache"), robot("robot$other")], "ours")
    }

    #[test]
    fn whose_name_it_is() {
        let robot = |text: &str| RobotName::Robot(text.to_owned());
        let foreign = |text: &str| RobotName::Foreign(text.to_owned());
        assert_eq!(name(None, None, None), robot("talos-pull"));
        assert_eq!(name(None, Some("mine"), None), robot("mine"));
        assert_eq!(name(Some("robot$proxy-cache"), None, None), robot("proxy-cache"));
        assert_eq!(name(Some("bot+proxy-cache"), None, Some("bot+")), robot("proxy-cache"));
        // The prefix was changed, from one that is not known any more.
        assert_eq!(name(Some("old.proxy-cache"), None, Some("bot+")), robot("proxy-cache"));
        assert_eq!(name(Some("robot$unseen"), None, Some("bot+")), robot("unseen"));
        assert_eq!(name(Some("robot$a-2"), Some("a"), None), robot("a-2"));
        assert_eq!(name(Some("robot$b"), Some("a"), None), robot("a"));
        assert_eq!(name(Some("admin"), None, None), foreign("admin"));
        assert_eq!(name(Some("robot$library+x"), None, None), foreign("robot$library+x"));
        assert_eq!([other_name("a"), other_name("a-2")], ["a-2", "a"]);
    }

    #[test]
    fn a_prefix_that_may_not_be_read_is_seen_in_a_name() {
        let shown = |username: Option<&str>, asked: Option<&str>| {
            let wanted = WantedRobot {
                name: asked.map(str::to_owned),
                default_name: "talos-pull".to_owned(),
                username: username.map(str::to_owned),
            };
            let robot = |name: &str, mark: &str| Robot {
                name: name.into(),
                description: mark.into(),
                ..Robot::default()
            };
            let robots =
                [robot("bot+pull", "ours"), robot("bot+talos-pull-2", "ours"), robot("x+pull", "another's")];
            shown_prefix(&wanted, &robots, "ours")
        };
        assert_eq!(shown(Some("bot+pull"), Some("pull")).as_deref(), Some("bot+"));
        assert_eq!(shown(Some("bot+talos-pull-2"), None).as_deref(), Some("bot+"));
        assert_eq!(shown(Some("bot+pull"), Some("other")), None);
        assert_eq!(shown(Some("x+pull"), Some("pull")), None);
        assert_eq!(shown(Some("gone+pull"), Some("pull")), None);
        assert_eq!(shown(None, Some("pull")), None);
    }

    proptest! {
        #[test]
        fn secrets_are_strong(seed in any::<u64>()) {
            // Knuth's linear congruential generator: every seed gives another row of bytes.
            let mut state = seed;
            let mut random = |out: &mut [u8]| out.fill_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            });
            let secret = make_secret(&mut random);
            prop_assert!(is_strong(secret.expose()));
            prop_assert_eq!(secret.expose().len(), 40);
        }
    }
}
