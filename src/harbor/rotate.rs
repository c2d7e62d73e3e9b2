use super::actual::Login;
use super::apply::{ApplyError, CredentialStore, Step, Work};
use super::change::{Change, SecretFrom};
use super::client::Harbor;
use super::desired::Desired;
use super::error::HarborError;
use super::observe::observe;
use super::plan::Options;
use super::reconcile::reconcile;
use super::robot::{DEFAULT_PREFIX, RobotName, other_name, robot_name};
use crate::secret::Random;

/// What becomes of the old secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It ends at once: nodes are refused until they have the new one.
    No,
    /// It works on: a second robot has the new one.
    Yes,
}

/// What a rotation has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// A rotation that was interrupted is finished: Harbor has the secret that the inventory had already.
    Finished {
        /// The robot.
        robot: String,
    },
    /// The robot has a new secret, and the old one is refused.
    Replaced {
        /// The robot.
        robot: String,
    },
    /// Another robot takes over, and the old one works on.
    TakesOver {
        /// The robot that the nodes have.
        old: String,
        /// The robot that the inventory has.
        new: String,
    },
}

/// Why there is no new secret.
#[derive(Debug, thiserror::Error)]
pub enum RotateError<E> {
    /// Reading or writing failed.
    #[error(transparent)]
    Apply(#[from] ApplyError<E>),
    /// The inventory has no robot yet.
    #[error("the mirror has no robot yet")]
    NoRobot,
    /// The inventory has the credentials of something else.
    #[error("`{0}` is not a system robot of this Harbor")]
    NotARobot(String),
    /// The robot of the inventory's credentials is another's.
    #[error("robot `{0}` is not ours: what else uses it would be refused")]
    NotOurs(String),
    /// There is nothing that a robot could pull from.
    #[error("no project of the inventory is there that robot `{0}` could pull from")]
    NoProject(String),
    /// A robot of an earlier rotation is still there.
    #[error(
        "robot `{0}`, which the rotation before the last left, is still there, and nodes may still use it"
    )]
    NotFinished(String),
    /// The new secret is refused.
    #[error("Harbor refuses the secret of `{0}` that was just set")]
    Refused(String),
}

impl<E> From<HarborError> for RotateError<E> {
    fn from(error: HarborError) -> Self {
        Self::Apply(error.into())
    }
}

/// Gives the robot a new secret: made here, sealed into the inventory, then set.
///
/// Killed before Harbor has it, the inventory has a secret that Harbor does not take, and the nodes' old one works; the next
/// run sets it, and makes no other.
pub async fn rotate<K: CredentialStore>(
    harbor: &mut Harbor,
    desired: Desired,
    options: &Options,
    overlap: Overlap,
    store: &mut K,
    random: &mut Random<'_>,
) -> Result<Rotated, RotateError<K::Error>> {
    let mut work = Work::new(harbor, desired, store, random);
    let Some(secret) = work.read_inventory()? else { return Err(RotateError::NoRobot) };
    let actual = observe(work.harbor, &work.desired, Some(&secret)).await?;
    work.begin(&actual)?;
    let prefix = actual.robot_prefix.as_deref();
    let short = match robot_name(&work.desired.robot, prefix, &actual.robots, &work.desired.mark) {
        RobotName::Robot(short) => short,
        RobotName::Foreign(user) => return Err(RotateError::NotARobot(user)),
    };
    let prefix = prefix.unwrap_or(DEFAULT_PREFIX);
    let full_name = format!("{prefix}{short}");
    let robot = actual.robots.iter().find(|robot| robot.name == full_name);
    if let Some(robot) = robot.filter(|robot| robot.description != work.desired.mark) {
        if !options.adopt {
            return Err(RotateError::NotOurs(full_name));
        }
        // Where its secret is another one, what follows takes it over.
        let plan = reconcile(&work.desired, &actual, options);
        let adopted = |change: &&Change| is_update_of(change, robot.id) && actual.login == Login::Accepted;
        for change in plan.changes.iter().filter(adopted) {
            let change = work.possible(change);
            work.step(&actual, &change).await?;
        }
    }
    let robot = match robot {
        Some(robot) if actual.login == Login::Accepted => robot,
        // Killed between the inventory and Harbor.
        Some(_) | None => {
            let plan = reconcile(&work.desired, &actual, options);
            let changes: Vec<Change> = plan.changes.into_iter().filter(Change::is_about_the_robot).collect();
            if robot.is_none() && !changes.iter().any(|change| matches!(change, Change::CreateRobot { .. })) {
                return Err(RotateError::NoProject(full_name));
            }
            for change in &changes {
                let change = work.possible(change);
                if work.step(&actual, &change).await? == Step::Skipped {
                    return Err(RotateError::NoProject(full_name));
                }
            }
            return Ok(Rotated::Finished { robot: proved(&mut work).await? });
        }
    };
    if overlap == Overlap::No {
        let full_name = full_name.clone();
        let change = Change::SetRobotSecret { id: robot.id, full_name, secret: SecretFrom::Made };
        work.step(&actual, &change).await?;
        return Ok(Rotated::Replaced { robot: proved(&mut work).await? });
    }
    let name = other_name(&short);
    let new = format!("{prefix}{name}");
    if let Some(left) = actual.robots.iter().find(|robot| robot.name == new) {
        return Err(RotateError::NotFinished(left.name.clone()));
    }
    let pulls = |project: &&str| robot.pulls(project);
    let projects = work.desired.project_names().filter(pulls).map(str::to_owned).collect();
    let change = Change::CreateRobot { name, full_name: new.clone(), projects, secret: SecretFrom::Made };
    if work.step(&actual, &change).await? == Step::Skipped {
        return Err(RotateError::NoProject(new));
    }
    Ok(Rotated::TakesOver { old: full_name, new: proved(&mut work).await? })
}

/// Returns the robot that the inventory has now, if Harbor takes what the inventory has of it.
async fn proved<K: CredentialStore>(work: &mut Work<'_, '_, K>) -> Result<String, RotateError<K::Error>> {
    work.read_inventory()?;
    let Some(account) = &work.known else { return Err(RotateError::NoRobot) };
    if work.harbor.admits(account).await? {
        Ok(account.user.clone())
    } else {
        Err(RotateError::Refused(account.user.clone()))
    }
}

fn is_update_of(change: &Change, robot: i64) -> bool {
    matches!(change, Change::UpdateRobot { id, .. } if *id == robot)
}
